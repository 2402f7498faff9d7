//! What the firmware does by itself after a while.

use tokio::time::Instant;

use crate::{command::Command, firmware::Firmware};

/// Something to be done.
#[derive(Debug)]
pub(crate) enum Later {
    /// Carry out a command of this port that takes long.
    Execute(usize, Command),
    /// End the operation of this client, whose broker does not answer, with this code.
    End { client: usize, connection: u64, code: u8 },
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
    fn due(&mut self, now: Instant) -> Option<Later> {
        let first = self.next().filter(|due| *due <= now)?;
        let place = self.0.iter().position(|(due, _)| *due == first)?;
        Some(self.0.remove(place).1)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Firmware {
    /// Does what has come due.
    pub(crate) fn work_off_agenda(&mut self) {
        while let Some(later) = self.agenda.due(self.now) {
            match later {
                Later::Execute(port, command) => {
                    if let Some(state) = self.ports.get_mut(port) {
                        state.blocked = false;
                    }
                    let answer = self.dispatch(port, &command);
                    self.answer(port, answer);
                    self.advance(port);
                }
                Later::End { client, connection, code } => {
                    self.end_unanswered(client, connection, code);
                }
                Later::BrownOut => self.reset(),
                Later::Progress { since } => self.progress(since),
                Later::Forge(line) => self.forge(&line),
            }
        }
    }
}
