//! What the firmware does by itself after a while.

use tokio::time::Instant;

use crate::{broker::Failure, command::Command};

/// Something to be done.
#[derive(Debug)]
pub(crate) enum Later {
    /// Carry out a command of this port that takes long.
    Execute(usize, Command),
    /// End the operation of this client, whose broker does not answer, of this failure.
    End { client: usize, connection: u64, failure: Failure },
    /// The supply fails for a moment.
    BrownOut,
    /// Print how far the update is that began then.
    Progress { since: Instant },
    /// Let something come that holds this line.
    Forge(String),
}

/// What is to be done, and when. A loss of power forgets it.
#[derive(Debug, Default)]
pub(crate) struct Agenda(Vec<(Instant, Later)>);

impl Agenda {
    pub(crate) fn add(&mut self, due: Instant, later: Later) {
        self.0.push((due, later));
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.iter().map(|(due, _)| *due).min()
    }

    /// Takes what is due first.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Later> {
        let first = self.next().filter(|due| *due <= now)?;
        let place = self.0.iter().position(|(due, _)| *due == first)?;
        Some(self.0.remove(place).1)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
