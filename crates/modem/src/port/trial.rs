//! The doubt whether a port speaks AT at all, until an answer proves it.

use std::time::Duration;

use tokio::time::Instant;

use crate::foreign::{Foreign, Protocol};

/// The time to wait for an answer at a port that no layout names: the question, and once more.
const GUESS: Duration = Duration::from_millis(2_500);

/// The suspicion against a port, which its first answer ends.
pub(super) struct Trial {
    foreign: Option<Foreign>,
    /// The time at which a port that no layout names is given up, if nothing was answered.
    patience: Option<Instant>,
}

impl Trial {
    pub(super) fn new(now: Instant) -> Self {
        Self { foreign: Some(Foreign::new(now)), patience: None }
    }

    /// Sets the time at which the port is given up: no layout names it as an AT port.
    pub(super) fn is_a_guess(&mut self) {
        self.patience = Some(Instant::now() + GUESS);
    }

    /// Returns the protocol that these bytes show, unless AT is proven.
    pub(super) fn hear(&mut self, bytes: &[u8], now: Instant) -> Option<Protocol> {
        self.foreign.as_mut()?.hear(bytes, now)
    }

    /// Returns the verdict on the bytes read; an answer to the engine may have ended the trial
    /// meanwhile.
    pub(super) fn verdict(&mut self, heard: Option<Protocol>) -> Option<Protocol> {
        if self.foreign.as_ref().is_some_and(Foreign::is_at) {
            self.end();
        }
        heard.filter(|_| self.foreign.is_some())
    }

    /// Ends the trial: an answer proves that the port speaks AT.
    pub(super) fn end(&mut self) {
        (self.foreign, self.patience) = (None, None);
    }

    /// Returns the time at which the port is given up, if any.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.patience
    }
}
