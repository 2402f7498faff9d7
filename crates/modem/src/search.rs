//! The search for a network, and the consequences if none is found.

use std::time::Duration;

use tokio::time::Instant;

use crate::attach::may_serve;
use crate::chain::Chain;
use crate::climb::climb;
use crate::core::Core;
use crate::end::{End, unless_ended};
use crate::known::Known;
use crate::port::At;
use crate::profile;
use crate::radio::mind_radio;
use crate::recovery::{Cause, Sign};
use crate::reply::{Registration, Stat};
use crate::shared::Shared;
use crate::snapshot::State;

/// The interval between questions for the registration during the first minute without one.
const SEARCH: Duration = Duration::from_secs(1);

/// The interval after that, if the status is polled less often.
const SEARCH_LATER: Duration = Duration::from_secs(20);

/// The least time for which a refusal counts: modems try other networks for minutes before they ask
/// the same one again.
const DENIED_FOR: Duration = Duration::from_secs(300);

pub(crate) const LOST: &str = "not registered in a network for too long";
const DENIED: &str = "the network denies data to this SIM";

/// Waits for a registration that the sessions may use.
pub(crate) async fn search(
    core: &Core,
    at: &At,
    known: &Known,
    shared: &Shared,
) -> Result<(), End> {
    shared.unregistered.send_if_modified(|since| {
        since.get_or_insert_with(Instant::now);
        false
    });
    let since = Instant::now();
    loop {
        match profile::registration(at, &known.model.registration).await {
            Ok(registration) => registered(core, registration, shared),
            Err(error) if error.is_gone() => return Err(End::Gone),
            Err(error) => core.stand(State::Searching, Some(Chain(&error).to_string())),
        }
        if *shared.registered.borrow() {
            return Ok(());
        }
        look_at_radio(core, at, shared).await?;
        // The status may show the reason.
        match known.profile.status(at).await {
            Ok(status) => core.learned(status),
            Err(error) => drop(unless_ended::<()>(error)?),
        }
        if let Some((cause, words)) = lost_because(core, shared) {
            climb(core, at, known.profile, cause, words).await?;
        }
        let is_young = since.elapsed() < Duration::from_secs(60);
        core.pause(if is_young { SEARCH } else { core.config.poll.min(SEARCH_LATER) }).await?;
    }
}

/// Handles a registration, and lets the sessions open or not.
pub(crate) fn registered(core: &Core, registration: Registration, shared: &Shared) {
    let may = may_serve(&registration, core.config.roaming);
    shared.registered.send_if_modified(|now| std::mem::replace(now, may.is_ok()) != may.is_ok());
    let forbidden = registration.stat.is_roaming() && !core.config.roaming;
    shared.forbidden.send_if_modified(|now| std::mem::replace(now, forbidden) != forbidden);
    if is_denied(&registration) {
        shared.denied.send_replace(Some(Instant::now()));
    }
    if registration.stat.is_registered() {
        shared.denied.send_replace(None);
        shared.unregistered.send_if_modified(|since| since.take().is_some());
        core.shows(Sign::Registered);
    } else {
        shared.unregistered.send_if_modified(|since| {
            let is_new = since.is_none();
            since.get_or_insert_with(Instant::now);
            is_new
        });
    }
    core.update(|s| s.registration = Some(registration));
    let serving = core.snapshot.borrow().state == State::Serving;
    match may {
        Ok(()) if !serving && *shared.service_up.borrow() => core.stand(State::Serving, None),
        Ok(()) => {}
        Err(reason) => {
            if !core.snapshot.borrow().reason.as_ref().is_some_and(|was| was.ends_with(&reason)) {
                tracing::info!("{reason}");
            }
            core.stand(State::Searching, Some(reason));
        }
    }
}

/// Looks at the radio during a long search, if the radio is ours.
pub(crate) async fn look_at_radio(core: &Core, at: &At, shared: &Shared) -> Result<(), End> {
    if !core.config.radio_is_ours {
        return Ok(());
    }
    mind_radio(&core.radio, at, shared.searched_for()).await
}

/// Returns the ladder's cause for a missing registration, once that is trouble.
pub(crate) fn lost_because(core: &Core, shared: &Shared) -> Option<(Cause, &'static str)> {
    // A denied modem searches again from time to time. In between it is not denied, but has no
    // data.
    let lately = core.config.recovery.registration_lost.max(DENIED_FOR);
    if shared.denied.borrow().is_some_and(|at| at.elapsed() < lately) {
        return Some((Cause::Denied, DENIED));
    }
    is_lost_too_long(core, shared).then_some((Cause::Unregistered, LOST))
}

/// Reports whether the registration is missing for longer than the fleet file allows.
fn is_lost_too_long(core: &Core, shared: &Shared) -> bool {
    let since = *shared.unregistered.borrow();
    since.is_some_and(|since| since.elapsed() >= core.config.recovery.registration_lost)
}

/// Waits until the registration is missing for longer than the fleet file allows.
pub(crate) async fn lost_too_long(core: &Core, shared: &Shared) {
    let mut unregistered = shared.unregistered.subscribe();
    loop {
        let since = *unregistered.borrow_and_update();
        let Some(since) = since else {
            let _ = unregistered.changed().await;
            continue;
        };
        let until = since + core.config.recovery.registration_lost;
        if tokio::time::timeout_at(until, unregistered.changed()).await.is_err() {
            return;
        }
    }
}

/// Reports whether the network knows the SIM but gives it no data. It is denied, registered for
/// short messages or emergencies only (27.007 §7.2), or for speech only.
pub(crate) fn is_denied(registration: &Registration) -> bool {
    use Stat::{Denied, Emergency, HomeSmsOnly, RoamingSmsOnly};
    let stats = [Denied, Emergency, HomeSmsOnly, RoamingSmsOnly];
    stats.contains(&registration.stat)
        || (registration.voice_only && !registration.stat.is_registered())
}
