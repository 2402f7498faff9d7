//! Finding out what is at the other end of an open port.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use at::{Answer, Identity};
use tokio::sync::mpsc;

use crate::catalog::{Catalog, Model};
use crate::end::End;
use crate::identity::{self, fits_model};
use crate::modem::Core;
use crate::port::{At, Kind, PortEvent};
use crate::profile::{self, Profile, StepError};
use crate::reply;
use crate::snapshot::Identified;

/// The engine is in step sooner than this, unless the modem is busy: then it is asked for once more.
const IN_STEP: Duration = Duration::from_secs(8);

/// A modem that is known and in step.
pub(crate) struct Known {
    pub(crate) profile: &'static dyn Profile,
    pub(crate) model: Model,
    pub(crate) imei: String,
}

impl Core {
    pub(crate) async fn identify(
        &self,
        at: &At,
        events: &mut mpsc::Receiver<PortEvent>,
    ) -> Result<Known, End> {
        let asking = async {
            let cgmm = in_step(at, events).await?;
            // URCs that come now mean nothing to us yet, but must be read.
            tokio::select! {
                known = self.identify_in_step(at, cgmm) => known,
                end = ignore(events) => Err(end),
            }
        };
        // Nothing is open yet that would have to be closed.
        tokio::select! {
            known = asking => known,
            () = self.env.stop.cancelled() => Err(End::Stopped),
        }
    }

    async fn identify_in_step(&self, at: &At, cgmm: String) -> Result<Known, End> {
        let catalog = Arc::clone(&self.env.catalog.borrow());
        let (model, profile) = model(&catalog, at, cgmm).await?;
        at.set_framing(profile.framing()).await;
        profile::prepare(at).await?;
        let imei = imei(at).await?;
        at.set_identity(Identity::Imei(imei.clone())).await;
        let (model, cgmm) = model;
        self.config.port.tell(&cgmm, &imei, None);
        self.must_be("imei", self.config.imei.as_deref(), |wanted| wanted == imei, &imei)?;
        self.must_be(
            "model",
            self.config.model.as_deref(),
            |wanted| fits_model(wanted, &cgmm),
            &cgmm,
        )?;
        self.observer.sim(None);
        self.identified(&model, profile, cgmm, imei.clone());
        Ok(Known { profile, model, imei })
    }

    /// Shows who told discovery who it is, if it is who it is to be; it is asked again before it serves.
    pub(crate) fn introduced(&self, identity: identity::Identity) {
        let catalog = Arc::clone(&self.env.catalog.borrow());
        let Some((model, profile)) = catalog.identify(&identity.model) else { return };
        let is_imei = self.config.imei.as_ref().is_none_or(|wanted| *wanted == identity.imei);
        if is_imei && self.config.model.as_ref().is_none_or(|wanted| identity.is_model(wanted)) {
            self.identified(model, profile, identity.model, identity.imei);
        }
    }

    /// Shows who it is, and counts how long that took since it was plugged in.
    fn identified(&self, model: &Model, profile: &dyn Profile, cgmm: String, imei: String) {
        let identified = Identified {
            model_id: model.id.clone(),
            model: cgmm,
            manufacturer: model.manufacturer.clone(),
            firmware: None,
            profile: profile.id().to_owned(),
            imei,
            iccid: None,
            max_topic: model.mqtt.topic,
            max_payload: model.mqtt.payload,
            min_payload: model.mqtt.least_payload,
        };
        let known = self.snapshot.borrow().identified.clone();
        if known.as_ref() != Some(&identified) {
            tracing::info!(
                model = identified.model,
                imei = identified.imei,
                profile = identified.profile,
                "identified"
            );
        }
        let took = self.found.elapsed();
        if self.count_detection.swap(false, Ordering::Relaxed) {
            self.observer.detected(took);
        }
        self.update(|s| {
            s.identified = Some(identified);
            s.detection_seconds.get_or_insert(took.as_secs_f64());
        });
    }

    pub(crate) fn must_be(
        &self,
        what: &str,
        wanted: Option<&str>,
        fits: impl Fn(&str) -> bool,
        is: &str,
    ) -> Result<(), End> {
        match wanted {
            Some(wanted) if !fits(wanted) => Err(End::Unusable(format!(
                "the fleet file wants {what} {wanted} at {}, and the modem there has {is}",
                self.config.port
            ))),
            _ => Ok(()),
        }
    }
}

/// The catalog's entry for what the modem calls itself. What came while getting in step may have
/// been a line of something else, so a name that is unknown is asked for once more.
async fn model(
    catalog: &Catalog,
    at: &At,
    cgmm: String,
) -> Result<((Model, String), &'static dyn Profile), End> {
    if let Some((model, profile)) = catalog.identify(&cgmm) {
        return Ok(((model.clone(), cgmm), profile));
    }
    let lines = profile::run(at, Kind::Basic, "AT+CGMM", Answer::Bare).await?;
    let cgmm = reply::model(&lines).map_err(StepError::from)?.raw;
    match catalog.identify(&cgmm) {
        Some((model, profile)) => Ok(((model.clone(), cgmm), profile)),
        None => Err(End::Unusable(catalog.without_profile(&cgmm).unwrap_or_else(|| {
            format!(
                "no profile knows the model {cgmm:?}; `modemfleet profiles explain --model NAME` says what to do"
            )
        }))),
    }
}

/// What the modem at a port that was just opened calls itself. It is asked once in step: what came before
/// may have been a line of something else.
pub(crate) async fn name(at: &At, events: &mut mpsc::Receiver<PortEvent>) -> Result<String, End> {
    in_step(at, events).await?;
    let asking = async {
        let lines = profile::run(at, Kind::Basic, "AT+CGMM", Answer::Bare).await?;
        Ok(reply::model(&lines).map_err(StepError::from)?.raw)
    };
    // URCs that come now mean nothing to us, but must be read.
    tokio::select! {
        found = asking => found,
        end = ignore(events) => Err(end),
    }
}

/// Who is at a port that was just opened. Nothing is set there but the framing, on our side.
pub(crate) async fn identity(
    catalog: &Catalog,
    at: &At,
    events: &mut mpsc::Receiver<PortEvent>,
    with_iccid: bool,
) -> Result<identity::Identity, End> {
    Ok(with_profile(catalog, at, events, with_iccid).await?.2)
}

/// [`identity`], with what the catalog has for it.
pub(crate) async fn with_profile(
    catalog: &Catalog,
    at: &At,
    events: &mut mpsc::Receiver<PortEvent>,
    with_iccid: bool,
) -> Result<(Model, &'static dyn Profile, identity::Identity), End> {
    let cgmm = in_step(at, events).await?;
    let asking = async {
        let ((entry, model), profile) = model(catalog, at, cgmm).await?;
        at.set_framing(profile.framing()).await;
        let imei = imei(at).await?;
        // A SIM that is missing or locked is no reason not to know the modem.
        let iccid = if with_iccid { profile.iccid(at).await.ok() } else { None };
        Ok((entry, profile, identity::Identity { model, imei, iccid }))
    };
    // URCs that come now mean nothing to us, but must be read.
    tokio::select! {
        found = asking => found,
        end = ignore(events) => Err(end),
    }
}

/// The model line of a modem that is in step.
pub(crate) async fn in_step(
    at: &At,
    events: &mut mpsc::Receiver<PortEvent>,
) -> Result<String, End> {
    loop {
        match tokio::time::timeout(IN_STEP, events.recv()).await {
            Ok(Some(PortEvent::InStep { answer })) => return Ok(answer),
            Ok(Some(_)) => {}
            Ok(None) => return Err(End::Gone),
            // It was told while nobody listened for it: ask for it once more.
            Err(_) => at.doubt().await,
        }
    }
}

/// Reads events that mean nothing yet.
pub(crate) async fn ignore(events: &mut mpsc::Receiver<PortEvent>) -> End {
    while events.recv().await.is_some() {}
    End::Gone
}

async fn imei(at: &At) -> Result<String, End> {
    let digits = |line: &str| line.len() == 15 && line.bytes().all(|byte| byte.is_ascii_digit());
    let lines = profile::run(at, Kind::Basic, "AT+CGSN", Answer::Matching(digits)).await?;
    let serial = reply::serial(&lines).map_err(StepError::from)?;
    match serial.imei {
        Some(imei) => Ok(imei.as_str().to_owned()),
        None => Err(End::Failed(format!("AT+CGSN gave no IMEI but {:?}", serial.raw))),
    }
}
