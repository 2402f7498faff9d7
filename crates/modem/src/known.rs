//! An identified modem: compared with the fleet file, shown, and lent for questions beside its
//! service.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use at::Identity as Answered;
use tokio::sync::mpsc;

use crate::apn::CONTEXT;
use crate::catalog::Model;
use crate::core::Core;
use crate::end::End;
use crate::exam::Link;
use crate::identify::{ignore, imei, in_step, model};
use crate::identity::{Identity, fits_model};
use crate::port::{At, PortEvent};
use crate::profile::{Profile, prepare};
use crate::snapshot::Identified;

/// A modem that is identified and in step.
pub(crate) struct Known {
    pub(crate) profile: &'static dyn Profile,
    pub(crate) model: Model,
    pub(crate) imei: String,
}

/// Identifies the modem at an open port, and checks it against the fleet file.
pub(crate) async fn identify(
    core: &Core,
    at: &At,
    events: &mut mpsc::Receiver<PortEvent>,
) -> Result<Known, End> {
    let asking = async {
        let cgmm = in_step(at, events).await?;
        // URCs that come now mean nothing to us yet, but must be read.
        tokio::select! {
            known = identify_in_step(core, at, cgmm) => known,
            end = ignore(events) => Err(end),
        }
    };
    // Nothing is open yet that would need to be closed.
    tokio::select! {
        known = asking => known,
        () = core.env.stop.cancelled() => Err(End::Stopped),
    }
}

async fn identify_in_step(core: &Core, at: &At, cgmm: String) -> Result<Known, End> {
    let catalog = Arc::clone(&core.env.catalog.borrow());
    let (model, profile) = model(&catalog, at, cgmm).await?;
    at.set_framing(profile.framing()).await;
    prepare(at).await?;
    let imei = imei(at).await?;
    at.set_identity(Answered::Imei(imei.clone())).await;
    let (model, cgmm) = model;
    core.config.port.tell(&cgmm, &imei, None);
    core.must_be("imei", core.config.imei.as_deref(), |wanted| wanted == imei, &imei)?;
    core.must_be("model", core.config.model.as_deref(), |wanted| fits_model(wanted, &cgmm), &cgmm)?;
    core.observer.sim(None);
    identified(core, &model, profile, cgmm, imei.clone());
    Ok(Known { profile, model, imei })
}

/// Shows the identity that discovery found, if it fits the fleet file. The modem is identified
/// again before it serves.
pub(crate) fn introduced(core: &Core, identity: Identity) {
    let catalog = Arc::clone(&core.env.catalog.borrow());
    let Some((model, profile)) = catalog.identify(&identity.model) else { return };
    let is_imei = core.config.imei.as_ref().is_none_or(|wanted| *wanted == identity.imei);
    if is_imei && core.config.model.as_ref().is_none_or(|wanted| identity.is_model(wanted)) {
        identified(core, model, profile, identity.model, identity.imei);
    }
}

/// Shows the identity, and counts the time since the modem was plugged in.
fn identified(core: &Core, model: &Model, profile: &dyn Profile, cgmm: String, imei: String) {
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
    let known = core.snapshot.borrow().identified.clone();
    if known.as_ref() != Some(&identified) {
        tracing::info!(
            model = identified.model,
            imei = identified.imei,
            profile = identified.profile,
            "identified"
        );
    }
    let took = core.found.elapsed();
    if core.count_detection.swap(false, Ordering::Relaxed) {
        core.observer.detected(took);
    }
    core.update(|s| {
        s.identified = Some(identified);
        s.detection_seconds.get_or_insert(took.as_secs_f64());
    });
}

/// Lets others ask the modem, as long as its identification holds.
pub(crate) fn lend<'a>(core: &'a Core, at: &At, known: &Known) -> LinkLoan<'a> {
    let identified = core.snapshot.borrow().identified.clone();
    let link = identified.map(|is| {
        let identity = Identity { model: is.model, imei: is.imei, iccid: None };
        let cid = core.config.apn.as_ref().map_or(CONTEXT, |apn| apn.cid);
        Link::new(at.clone(), known.profile, known.model.clone(), identity, cid)
    });
    core.link.send_replace(link);
    LinkLoan(core)
}

/// A link that others may use until it is dropped.
pub(crate) struct LinkLoan<'a>(&'a Core);

impl Drop for LinkLoan<'_> {
    fn drop(&mut self) {
        self.0.link.send_replace(None);
    }
}
