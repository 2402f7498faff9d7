//! An MQTT stack on board, from the firmware's view: a stack for each dialect.

use crate::{
    broker::{Event, Failure, Order},
    command::Command,
    illness::Symptom,
    prompt::Purpose,
    reply::{Answer, Reply},
    unit::{Action, Unit},
};

/// The most clients of a stack.
pub(crate) const CLIENTS: usize = 6;

/// A stack: its commands, its clients, and the state of their connections.
pub(crate) trait Stack: std::fmt::Debug + Send {
    /// Answers the commands whose answers differ from the standard on the stack's models.
    fn own(&self, _: &Unit, _: &Command) -> Option<Reply> {
        None
    }

    /// Reports whether the stack's models have this common command.
    fn shares(&self, name: &str) -> bool;

    /// Carries out a command of the stack.
    fn command(&mut self, unit: &mut Unit, port: usize, command: &Command) -> Option<Answer>;

    /// Takes the data of a prompt.
    fn data(&mut self, unit: &mut Unit, port: usize, purpose: Purpose, data: Vec<u8>) -> Answer;

    /// Takes an event of a connection.
    fn event(&mut self, unit: &mut Unit, client: usize, connection: u64, event: Event);

    /// Ends an operation that no broker answers.
    fn end(&mut self, _: &mut Unit, _client: usize, _connection: u64, _: Failure) {}

    /// Returns the clients that have a socket or are about to open a socket.
    fn linked(&self) -> Vec<usize>;

    /// Drops every connection, like a broker that closes them.
    fn lose_connections(&mut self, unit: &mut Unit);

    /// Drops every connection for want of a network.
    fn lose_network(&mut self, unit: &mut Unit);

    /// Drops every connection without a line, like a loss of power.
    fn cut_connections(&mut self, unit: &mut Unit);

    /// Stops the traffic of every connection, or lets it continue.
    fn freeze_connections(&self, unit: &mut Unit, frozen: bool) {
        for client in self.linked() {
            unit.actions.push(Action::Order { client, order: Order::Freeze(frozen) });
        }
    }

    /// Forgets the state that a loss of power destroys.
    fn reset(&mut self, unit: &Unit);

    /// Prints the lines before a requested reset.
    fn announce_reset(&self, _: &mut Unit) {}

    /// Puts the stack into the state in which an earlier program left it, if this symptom is of that kind.
    fn leave(&mut self, _: Symptom) {}

    /// Prints a message of the broker that is announced whole, with a topic of its own.
    fn download(&mut self, _: &mut Unit, _payload: &[u8]) {}
}
