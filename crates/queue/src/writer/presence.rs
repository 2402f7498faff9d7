//! The check that the files are still in their place: writes to a deleted file are lost at the end.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use crate::{clock::now, stat::Failing, store::Store};

/// The interval of the check.
const EACH: Duration = Duration::from_secs(1);

/// The result of the last check.
#[derive(Debug, Default)]
pub(super) struct Presence {
    looked: Option<Instant>,
    lost: bool,
}

impl Presence {
    /// Reports whether the files were removed or replaced.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Returns the failure for the figures.
    pub(super) fn failing(&self) -> Option<Failing> {
        self.lost.then_some(Failing::Removed)
    }

    /// Checks once a second that the files of `store` are in their place, in `dir`.
    pub(super) fn look(&mut self, store: &Store, dir: &Path) {
        if self.looked.is_some_and(|at| at.elapsed() < EACH) {
            return;
        }
        self.looked = Some(now());
        let elsewhere = store.elsewhere();
        if let Some(is) = elsewhere.as_deref().filter(|_| !self.lost) {
            let (dir, is) = (dir.display(), is.display());
            tracing::error!(
                "a file of the queue in {dir} was removed or replaced, and is {is} now; no message is accepted any more, since it would be lost at the end: restore the file, or restart"
            );
        }
        self.lost = elsewhere.is_some();
    }
}
