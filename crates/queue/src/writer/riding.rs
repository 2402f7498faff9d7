//! Acknowledgements that wait to join another commit: for a message that arrives alone, that halves
//! the writes.

use std::time::{Duration, Instant};

use crate::{clock::now, intake::Write};

/// The longest wait of an acknowledgement. After a kill in that time, its message is published
/// again.
const LONGEST: Duration = Duration::from_secs(2);

/// The number that is committed without further waiting.
const MOST: usize = 64;

/// The waiting acknowledgements.
#[derive(Debug, Default)]
pub(super) struct Riding {
    waiting: Vec<Write>,
    /// The latest time of their commit.
    due: Option<Instant>,
    hurried: bool,
}

impl Riding {
    /// Takes a write that may wait, and returns any other.
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

    /// Notes that something waits for them.
    pub(super) fn hurry(&mut self) {
        self.hurried = !self.waiting.is_empty();
    }

    /// Reports whether they are to be committed now; `wanted` is a reason to.
    pub(super) fn is_due(&self, wanted: bool) -> bool {
        !self.waiting.is_empty()
            && (self.hurried
                || wanted
                || self.waiting.len() >= MOST
                || self.due.is_some_and(|due| due <= now()))
    }

    /// Returns the time until they are due.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(now()))
    }

    /// Takes all of them.
    pub(super) fn take(&mut self) -> Vec<Write> {
        (self.due, self.hurried) = (None, false);
        std::mem::take(&mut self.waiting)
    }
}
