//! Acknowledgements that wait for another commit to go with: of a message that comes alone, that halves
//! what is written.

use std::time::{Duration, Instant};

use crate::intake::Write;

/// How long an acknowledgement may wait. A kill in that time has its message published once more.
const LONGEST: Duration = Duration::from_secs(2);

/// So many are committed whatever waits.
const MOST: usize = 64;

/// Those that wait.
#[derive(Debug, Default)]
pub(super) struct Riding {
    waiting: Vec<Write>,
    /// When they are committed at the latest.
    due: Option<Instant>,
    hurried: bool,
}

impl Riding {
    /// Takes a write that may wait, and gives back any other.
    pub(super) fn board(&mut self, write: Write) -> Option<Write> {
        if !write.rides() {
            return Some(write);
        }
        if self.waiting.is_empty() {
            self.due = now().checked_add(LONGEST);
        }
        self.waiting.push(write);
        None
    }

    /// Something waits for them.
    pub(super) fn hurry(&mut self) {
        self.hurried = !self.waiting.is_empty();
    }

    /// Reports whether they are to be committed now, `wanted` or not.
    pub(super) fn is_due(&self, wanted: bool) -> bool {
        !self.waiting.is_empty()
            && (self.hurried
                || wanted
                || self.waiting.len() >= MOST
                || self.due.is_some_and(|due| due <= now()))
    }

    /// How long until they are due.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(now()))
    }

    /// Takes them all.
    pub(super) fn take(&mut self) -> Vec<Write> {
        (self.due, self.hurried) = (None, false);
        std::mem::take(&mut self.waiting)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own waits for real time, and the wall clock may be set"
)]
fn now() -> Instant {
    Instant::now()
}
