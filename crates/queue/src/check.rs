//! The look for damage in the background: on a thread and a connection of its own, so that nobody waits.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rusqlite::InterruptHandle;

use crate::{Inspector, OpenError, StoreError, intake::Command, writer::Shared};

/// After an unclean stop the first messages go out before the file is read through.
const FIRST: Duration = Duration::from_secs(2);

/// Ends the watch; shared with its thread.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    ended: bool,
    /// Stops the check that runs.
    running: Option<InterruptHandle>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Watch {
    /// Ends it, and a check that runs: it would keep the log from being taken in.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        if let Some(running) = &state.running {
            running.interrupt();
        }
        self.wake.notify_all();
    }

    /// Waits; false if the watch ends.
    fn pause(&self, time: Duration) -> bool {
        let state = self.lock();
        let waited = self.wake.wait_timeout_while(state, time, |state| !state.ended);
        !waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    /// Runs a check that [`Self::end`] can stop; `None` if it did.
    fn checked(&self, dir: &Path) -> Option<Result<Vec<String>, OpenError>> {
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks the queue in `dir` at once where it was not stopped cleanly, and then each `period`, until
/// the watch ends. Damage is told to the writer, which then salvages.
pub(crate) fn run(shared: &Arc<Shared>, dir: PathBuf, period: Duration, unclean: bool) {
    let mut wait = if unclean { FIRST.min(period) } else { period };
    while shared.watch.pause(wait) {
        wait = period;
        let after = shared.stat().salvages;
        let Some(checked) = shared.watch.checked(&dir) else { return };
        let damage = match checked {
            Ok(found) => found.into_iter().next(),
            Err(OpenError::Store { source: StoreError::Corrupt(cause), .. }) => {
                Some(cause.to_string())
            }
            Err(error) => {
                let chain: &dyn std::error::Error = &error;
                tracing::warn!(error = chain, "could not check the queue's file");
                continue;
            }
        };
        match damage {
            None => tracing::debug!("the queue's file was checked: it is sound"),
            Some(words) => {
                tracing::error!("the queue's file is damaged: {words}");
                shared.intake.push(Command::Salvage { after }, None);
            }
        }
    }
}
