//! The checks of the file for damage: their schedule, and the end of a running check.

use std::{
    path::Path,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rusqlite::InterruptHandle;

use crate::{error::OpenError, inspect::Inspector};

/// Ends the checks; shared with their thread.
///
/// No check runs on after the end.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    state: Mutex<Running>,
    wake: Condvar,
}

#[derive(Default)]
struct Running {
    ended: bool,
    /// Stops the running check.
    running: Option<InterruptHandle>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Checks {
    /// Ends the checks, and a running check, which would keep the log from being moved into the
    /// file.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        if let Some(running) = &state.running {
            running.interrupt();
        }
        self.wake.notify_all();
    }

    /// Waits; false if the checks end.
    pub(crate) fn pause(&self, time: Duration) -> bool {
        let state = self.lock();
        let waited = self.wake.wait_timeout_while(state, time, |state| !state.ended);
        !waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    /// Runs a check that [`Self::end`] can stop; `None` if that stopped it.
    pub(crate) fn checked(&self, dir: &Path) -> Option<Result<Vec<String>, OpenError>> {
        let inspector = match Inspector::open(dir) {
            Ok(inspector) => inspector,
            Err(error) => return Some(Err(error)),
        };
        {
            let mut state = self.lock();
            if state.ended {
                return None;
            }
            state.running = Some(inspector.interrupt_handle());
        }
        let found = inspector.quick_check();
        let mut state = self.lock();
        state.running = None;
        if state.ended {
            return None;
        }
        Some(found.map_err(|source| OpenError::Store { path: inspector.path().to_owned(), source }))
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
