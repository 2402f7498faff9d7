//! Looking for a network, and what it means where none is found.

use std::time::Duration;

use tokio::time::Instant;

use crate::chain::Chain;
use crate::end::{End, unless_ended};
use crate::identify::Known;
use crate::modem::Core;
use crate::port::At;
use crate::profile;
use crate::recovery::Cause;
use crate::reply::{Registration, Stat};
use crate::service::Shared;
use crate::snapshot::State;

/// How often the registration is asked for while there is none, for a minute.
const SEARCH: Duration = Duration::from_secs(1);

/// How often after that, where the status is polled less often.
const SEARCH_LATER: Duration = Duration::from_secs(20);

/// So long a refusal counts at least: modems try other networks for minutes before they ask the same one again.
const DENIED_FOR: Duration = Duration::from_secs(300);

pub(crate) const LOST: &str = "not registered in a network for too long";
const DENIED: &str = "the network denies data to this SIM";

impl Core {
    /// Waits for a registration that the sessions may use.
    pub(crate) async fn search(&self, at: &At, known: &Known, shared: &Shared) -> Result<(), End> {
        shared.unregistered.send_if_modified(|since| {
            since.get_or_insert_with(Instant::now);
            false
        });
        let since = Instant::now();
        loop {
            match profile::registration(at, &known.model.registration).await {
                Ok(registration) => self.registered(registration, shared),
                Err(error) if error.is_gone() => return Err(End::Gone),
                Err(error) => self.stand(State::Searching, Some(Chain(&error).to_string())),
            }
            if *shared.registered.borrow() {
                return Ok(());
            }
            self.mind_radio(at, shared).await?;
            // The reason may be seen there.
            match known.profile.status(at).await {
                Ok(status) => self.learned(status),
                Err(error) => drop(unless_ended::<()>(error)?),
            }
            if let Some((cause, words)) = self.lost_because(shared) {
                self.climb(at, known.profile, cause, words).await?;
            }
            let is_young = since.elapsed() < Duration::from_secs(60);
            self.pause(if is_young { SEARCH } else { self.config.poll.min(SEARCH_LATER) }).await?;
        }
    }

    /// What a missing registration means for the ladder, once it is trouble.
    pub(crate) fn lost_because(&self, shared: &Shared) -> Option<(Cause, &'static str)> {
        // A modem that is denied looks again now and then: in between it is not denied, and has no data all the same.
        let lately = self.config.recovery.registration_lost.max(DENIED_FOR);
        if shared.denied.borrow().is_some_and(|at| at.elapsed() < lately) {
            return Some((Cause::Denied, DENIED));
        }
        self.is_lost_too_long(shared).then_some((Cause::Unregistered, LOST))
    }

    /// Reports whether there was no registration for as long as may be.
    fn is_lost_too_long(&self, shared: &Shared) -> bool {
        let since = *shared.unregistered.borrow();
        since.is_some_and(|since| since.elapsed() >= self.config.recovery.registration_lost)
    }

    /// Waits until there was no registration for as long as may be.
    pub(crate) async fn lost_too_long(&self, shared: &Shared) {
        let mut unregistered = shared.unregistered.subscribe();
        loop {
            let since = *unregistered.borrow_and_update();
            let Some(since) = since else {
                let _ = unregistered.changed().await;
                continue;
            };
            let until = since + self.config.recovery.registration_lost;
            if tokio::time::timeout_at(until, unregistered.changed()).await.is_err() {
                return;
            }
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
