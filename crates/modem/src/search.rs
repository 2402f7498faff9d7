//! Looking for a network, and what it means where none is found.

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

/// How often the registration is asked for while there is none, for a minute.
const SEARCH: Duration = Duration::from_secs(1);

/// How often after that, where the status is polled less often.
const SEARCH_LATER: Duration = Duration::from_secs(20);

/// So long a refusal counts at least: modems try other networks for minutes before they ask the same one again.
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
        // The reason may be seen there.
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

/// Takes in a registration, and tells the sessions whether they may open.
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

/// Looks at a radio that is ours where a network has been searched for long.
pub(crate) async fn look_at_radio(core: &Core, at: &At, shared: &Shared) -> Result<(), End> {
    if !core.config.radio_is_ours {
        return Ok(());
    }
    mind_radio(&core.radio, at, shared.searched_for()).await
}

/// What a missing registration means for the ladder, once it is trouble.
pub(crate) fn lost_because(core: &Core, shared: &Shared) -> Option<(Cause, &'static str)> {
    // A modem that is denied looks again now and then: in between it is not denied, and has no data all the same.
    let lately = core.config.recovery.registration_lost.max(DENIED_FOR);
    if shared.denied.borrow().is_some_and(|at| at.elapsed() < lately) {
        return Some((Cause::Denied, DENIED));
    }
    is_lost_too_long(core, shared).then_some((Cause::Unregistered, LOST))
}

/// Reports whether there was no registration for as long as may be.
fn is_lost_too_long(core: &Core, shared: &Shared) -> bool {
    let since = *shared.unregistered.borrow();
    since.is_some_and(|since| since.elapsed() >= core.config.recovery.registration_lost)
}

/// Waits until there was no registration for as long as may be.
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

/// Whether the network knows the SIM, and gives it no data: denied, registered for short messages or emergencies only
/// (27.007 §7.2), or for speech only.
pub(crate) fn is_denied(registration: &Registration) -> bool {
    use Stat::{Denied, Emergency, HomeSmsOnly, RoamingSmsOnly};
    let stats = [Denied, Emergency, HomeSmsOnly, RoamingSmsOnly];
    stats.contains(&registration.stat)
        || (registration.voice_only && !registration.stat.is_registered())
}
