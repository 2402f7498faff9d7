//! The identification of a modem at an open port.

use std::time::Duration;

use at::Answer;
use tokio::sync::mpsc;

use crate::catalog::{Catalog, Model};
use crate::end::End;
use crate::identity::Identity;
use crate::port::{At, Kind, PortEvent};
use crate::profile::{self, Profile, StepError};
use crate::reply;

/// The time within which the engine is in step, unless the modem is busy: then one more question is
/// sent.
const IN_STEP: Duration = Duration::from_secs(8);

/// Finds the catalog's entry for a model name. A line that came while the port was out of step may
/// have been another one, so an unknown name is asked for once more.
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

/// Returns the model name of the modem at a port that was just opened. It is asked for in step: an
/// earlier line may have been another one.
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

/// Identifies the modem at a port that was just opened. Only our side's framing is set.
pub(crate) async fn identity(
    catalog: &Catalog,
    at: &At,
    events: &mut mpsc::Receiver<PortEvent>,
    with_iccid: bool,
) -> Result<Identity, End> {
    Ok(with_profile(catalog, at, events, with_iccid).await?.2)
}

/// [`identity`], with its entry in the catalog.
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
        // A SIM that is missing or locked does not hinder the identification of the modem.
        let iccid = if with_iccid { profile.iccid(at).await.ok() } else { None };
        Ok((entry, profile, Identity { model, imei, iccid }))
    };
    // URCs that come now mean nothing to us, but must be read.
    tokio::select! {
        found = asking => found,
        end = ignore(events) => Err(end),
    }
}

/// Waits until the modem is in step, and returns its model line.
pub(crate) async fn in_step(
    at: &At,
    events: &mut mpsc::Receiver<PortEvent>,
) -> Result<String, End> {
    loop {
        match tokio::time::timeout(IN_STEP, events.recv()).await {
            Ok(Some(PortEvent::InStep { answer })) => return Ok(answer),
            Ok(Some(_)) => {}
            Ok(None) => return Err(End::Gone),
            // The event came while no task read events: ask once more.
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
