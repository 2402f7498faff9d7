//! The failures of a disk: their reason, and their end.

use std::time::{Duration, Instant};

use crate::{clock::Clock, stat::Failing, store::Store};

/// The interval of tries to store something again, if no command does.
const EACH: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 5_000 });

/// The reason of the last failed transaction, until a success.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    met: Option<Met>,
}

#[derive(Debug)]
struct Met {
    why: Failing,
    /// True if something was to be stored; removing a message may succeed meanwhile.
    stores: bool,
    tried: Instant,
}

impl Trouble {
    /// Notes a failed transaction.
    pub(super) fn met(&mut self, why: Failing, stores: bool) {
        let stores = stores || self.met.as_ref().is_some_and(|met| met.stores);
        self.met = Some(Met { why, stores, tried: now() });
    }

    /// Notes a successful transaction.
    pub(super) fn ended(&mut self, stores: bool) {
        self.met.take_if(|met| stores || !met.stores);
    }

    /// Returns the reason.
    pub(super) fn failing(&self) -> Option<Failing> {
        self.met.as_ref().map(|met| met.why)
    }

    /// Returns the time until the next try.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.met.as_ref().map(|met| EACH.saturating_sub(met.tried.elapsed()))
    }

    /// Tries to store something again.
    pub(super) fn look_again(&mut self, store: &mut Store, clock: &Clock) {
        let Some(met) = &mut self.met else { return };
        if met.tried.elapsed() < EACH {
            return;
        }
        met.tried = now();
        if store.try_writing(clock).is_ok() {
            self.ended(true);
        } else if let Err(error) = store.rollback() {
            tracing::error!(error = %error, "could not roll the queue back");
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own waits for real time, and the wall clock may be set"
)]
fn now() -> Instant {
    Instant::now()
}
