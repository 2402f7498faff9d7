//! Finding out what is at the other end of an open port.

use std::time::Duration;

use at::Answer;
use tokio::sync::mpsc;

use crate::catalog::{Catalog, Model};
use crate::end::End;
use crate::identity::Identity;
use crate::port::{At, Kind, PortEvent};
use crate::profile::{self, Profile, StepError};
use crate::reply;

/// The engine is in step sooner than this, unless the modem is busy: then it is asked for once more.
const IN_STEP: Duration = Duration::from_secs(8);

/// The catalog's entry for what the modem calls itself. What came while getting in step may have
/// been a line of something else, so a name that is unknown is asked for once more.
pub(crate) async fn model(
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
                "no profile knows the model {cgmm:?}; `modemfleet profiles explain --model {cgmm:?}` shows how to add it"
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
) -> Result<Identity, End> {
    Ok(with_profile(catalog, at, events, with_iccid).await?.2)
}

/// [`identity`], with what the catalog has for it.
pub(crate) async fn with_profile(
    catalog: &Catalog,
    at: &At,
    events: &mut mpsc::Receiver<PortEvent>,
    with_iccid: bool,
) -> Result<(Model, &'static dyn Profile, Identity), End> {
    let cgmm = in_step(at, events).await?;
    let asking = async {
        let ((entry, model), profile) = model(catalog, at, cgmm).await?;
        at.set_framing(profile.framing()).await;
        let imei = imei(at).await?;
        // A SIM that is missing or locked is no reason not to know the modem.
        let iccid = if with_iccid { profile.iccid(at).await.ok() } else { None };
        Ok((entry, profile, Identity { model, imei, iccid }))
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

pub(crate) async fn imei(at: &At) -> Result<String, End> {
    let digits = |line: &str| line.len() == 15 && line.bytes().all(|byte| byte.is_ascii_digit());
    let lines = profile::run(at, Kind::Basic, "AT+CGSN", Answer::Matching(digits)).await?;
    let serial = reply::serial(&lines).map_err(StepError::from)?;
    match serial.imei {
        Some(imei) => Ok(imei.as_str().to_owned()),
        None => Err(End::Failed(format!("AT+CGSN gave no IMEI but {:?}", serial.raw))),
    }
}
