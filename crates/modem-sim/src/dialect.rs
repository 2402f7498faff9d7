//! Which of the stacks a model has.

use tokio::time::Instant;

use crate::{broker, command::Command, firmware::Firmware, model::Dialect, reply::Answer};

impl Firmware {
    /// The answer of a model that has commands of its own throughout. Another dialect is one more line here, and one
    /// below.
    pub(crate) fn by_dialect(&mut self, port: usize, command: &Command) -> Option<Answer> {
        match self.options.model.dialect() {
            Dialect::Cmqtt => None,
            Dialect::Cmq => Some(self.sim7020(port, command)),
            Dialect::Qmt => Some(self.quectel(port, command)),
        }
    }

    /// The answer to a command that modems have alike: the basic ones, the card's, the messages', the network's.
    pub(crate) fn standard(&mut self, port: usize, command: &Command) -> Option<Answer> {
        self.basic(port, command)
            .or_else(|| self.sim_command(command))
            .or_else(|| self.message_command(command).map(Answer::from))
            .or_else(|| self.network_command(command))
    }

    /// Ends an operation that no broker answers.
    pub(crate) fn end_unanswered(&mut self, client: usize, connection: u64, code: u8) {
        match self.options.model.dialect() {
            Dialect::Cmqtt => self.end_cmqtt(client, connection, code),
            Dialect::Qmt => self.end_qmt(client, connection, code),
            // Its one client has no broker of this kind.
            Dialect::Cmq => {}
        }
    }

    /// A message of the broker that is announced whole, with a topic of its own.
    pub(crate) fn download(&mut self, payload: &[u8]) {
        match self.options.model.dialect() {
            Dialect::Cmqtt => self.whole_message(0, b"down", payload),
            Dialect::Qmt => self.qmt_message(0, "down", payload),
            Dialect::Cmq => {}
        }
    }

    /// Gives an event of a connection to the stack of this model.
    pub(crate) fn event(
        &mut self,
        client: usize,
        connection: u64,
        event: broker::Event,
        now: Instant,
    ) {
        match self.options.model.dialect() {
            Dialect::Cmqtt => self.broker_event(client, connection, event, now),
            Dialect::Cmq => self.cmq_event(connection, event, now),
            Dialect::Qmt => self.qmt_event(client, connection, event, now),
        }
    }
}
