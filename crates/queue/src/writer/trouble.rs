//! A disk that refuses: why, and whether it still does.

use std::time::{Duration, Instant};

use crate::{clock::Clock, stat::Failing, store::Store};

/// How often to try whether something can be stored again, where nobody else tries.
const EACH: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 5_000 });

/// Why the last transaction failed that nothing has made good since.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    met: Option<Met>,
}

#[derive(Debug)]
struct Met {
    why: Failing,
    /// Something was to be stored; what removes a message may succeed meanwhile.
    stores: bool,
    tried: Instant,
}

impl Trouble {
    /// A transaction failed.
    pub(super) fn met(&mut self, why: Failing, stores: bool) {
        let stores = stores || self.met.as_ref().is_some_and(|met| met.stores);
        self.met = Some(Met { why, stores, tried: now() });
    }

    /// A transaction succeeded.
    pub(super) fn ended(&mut self, stores: bool) {
        self.met.take_if(|met| stores || !met.stores);
    }

    /// The reason.
    pub(super) fn failing(&self) -> Option<Failing> {
        self.met.as_ref().map(|met| met.why)
    }

    /// How long until it is tried again.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.met.as_ref().map(|met| EACH.saturating_sub(met.tried.elapsed()))
    }

    /// Tries whether something can be stored again.
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
