//! Whether the files are still where they were: what goes into a deleted file is gone at the end.

use std::time::{Duration, Instant};

use super::Writer;
use crate::{error::StoreError, stat::Failing};

/// How often to look.
const EACH: Duration = Duration::from_secs(1);

/// What the last look found.
#[derive(Debug, Default)]
pub(super) struct Place {
    looked: Option<Instant>,
    lost: bool,
}

impl Place {
    /// Reports whether the files were removed or replaced.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// The same in the words of the figures.
    pub(super) fn failing(&self) -> Option<Failing> {
        self.lost.then_some(Failing::Removed)
    }
}

impl Writer {
    /// Looks whether the files are in their place, once a second.
    pub(super) fn look_at_place(&mut self) {
        if self.place.looked.is_some_and(|at| at.elapsed() < EACH) {
            return;
        }
        self.place.looked = Some(now());
        let elsewhere = self.store.elsewhere();
        if let Some(is) = elsewhere.as_deref().filter(|_| !self.place.lost) {
            let (dir, is) = (self.dir.display(), is.display());
            tracing::error!(
                "a file of the queue in {dir} was removed or replaced, and is {is} now; nothing is taken any more, since it would be gone at the end: put it back, or restart"
            );
        }
        self.place.lost = elsewhere.is_some();
    }

    /// The error of who wants to store something meanwhile.
    pub(super) fn refuse_lost(&mut self) -> StoreError {
        self.failed_commits = self.failed_commits.saturating_add(1);
        StoreError::Removed
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own waits for real time, and the wall clock may be set"
)]
fn now() -> Instant {
    Instant::now()
}
