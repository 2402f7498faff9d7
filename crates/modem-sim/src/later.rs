//! Actions that the firmware takes by itself after a while.

use tokio::time::Instant;

use crate::{broker::Failure, command::Command};

/// An action to take later.
#[derive(Debug)]
pub(crate) enum Later {
    /// Carries out a slow command of this port.
    Execute(usize, Command),
    /// Ends the operation of this client with this failure, since its broker does not answer.
    End { client: usize, connection: u64, failure: Failure },
    /// The supply fails for a moment.
    BrownOut,
    /// Prints the progress of the update that began at `since`.
    Progress { since: Instant },
    /// Delivers a text or message that contains this line.
    Forge(String),
}

/// The planned actions and their times. A loss of power forgets them.
#[derive(Debug, Default)]
pub(crate) struct Agenda(Vec<(Instant, Later)>);

impl Agenda {
    pub(crate) fn add(&mut self, due: Instant, later: Later) {
        self.0.push((due, later));
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.iter().map(|(due, _)| *due).min()
    }

    /// Takes the first action that is due.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Later> {
        let first = self.next().filter(|due| *due <= now)?;
        let place = self.0.iter().position(|(due, _)| *due == first)?;
        Some(self.0.remove(place).1)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
