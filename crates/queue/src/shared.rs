//! The state that callers and the writer share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, watch};

use crate::{
    bounds::Bounds,
    checks::Checks,
    intake::Intake,
    stat::{LaneStat, Stat},
    tally::Amount,
    trace::Trace,
};

/// The number of outcomes that a slow reader may fall behind.
const OUTCOMES: usize = 1024;

/// The state that callers and the writer share.
#[expect(
    clippy::disallowed_types,
    reason = "who falls behind with outcomes learns how many it missed, and can ask for each message"
)]
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) intake: Arc<Intake>,
    pub(crate) checks: Checks,
    pub(crate) leasable: watch::Sender<u64>,
    pub(crate) ended: watch::Sender<bool>,
    pub(crate) outcomes: broadcast::Sender<Trace>,
    stat: Mutex<Stat>,
    bounds: Mutex<Bounds>,
}

impl Default for Shared {
    #[expect(clippy::disallowed_types, reason = "as above")]
    fn default() -> Self {
        Self {
            intake: Arc::default(),
            checks: Checks::default(),
            leasable: watch::Sender::new(0),
            ended: watch::Sender::new(false),
            outcomes: broadcast::Sender::new(OUTCOMES),
            stat: Mutex::default(),
            bounds: Mutex::default(),
        }
    }
}

impl Shared {
    /// Closes the intake; waiting commands are still done.
    pub(crate) fn close(&self) {
        self.checks.end();
        self.intake.close();
    }

    /// Reports whether a copy for each of `lanes` fits, by the present figures and after
    /// `on_the_way`.
    pub(crate) fn has_room(&self, lanes: &[String], size: u64, on_the_way: LaneStat) -> bool {
        let (bounds, stat) = (self.lock_bounds(), self.lock_stat());
        let held = |lane: &str| stat.lanes.get(lane).map_or_else(Amount::default, LaneStat::amount);
        let mut total = Amount::of(stat.messages, stat.bytes);
        total.join(on_the_way.amount());
        bounds.fits(lanes, size, total, held)
    }

    pub(crate) fn stat(&self) -> Stat {
        self.lock_stat().clone()
    }

    /// Locks the figures. No code that holds a lock here leaves the data half changed, so poison is
    /// ignored.
    pub(crate) fn lock_stat(&self) -> MutexGuard<'_, Stat> {
        self.stat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_bounds(&self) -> MutexGuard<'_, Bounds> {
        self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
