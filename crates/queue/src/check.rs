//! The check for damage in the background, on a thread and a connection of its own, so that no
//! caller waits.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::{
    error::{OpenError, StoreError},
    intake::Command,
    shared::Shared,
};

/// The wait after an unclean stop: the first messages are sent before the file is read through.
const FIRST: Duration = Duration::from_secs(2);

/// Checks the queue in `dir`, at once if it was not stopped cleanly, and then each `period`, until
/// the checks end. Damage is reported to the writer, which then salvages.
pub(crate) fn run(shared: &Arc<Shared>, dir: PathBuf, period: Duration, unclean: bool) {
    let mut wait = if unclean { FIRST.min(period) } else { period };
    while shared.checks.pause(wait) {
        wait = period;
        let after = shared.stat().salvages;
        let Some(checked) = shared.checks.checked(&dir) else { return };
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
