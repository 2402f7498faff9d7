//! The client from the firmware's view.

use super::{CLIENT, Client, status};
use crate::{
    broker::Event,
    command::Command,
    prompt::Purpose,
    reply::{Answer, Reply},
    stack::Stack,
    unit::Unit,
};

impl Stack for Client {
    fn own(&self, unit: &Unit, command: &Command) -> Option<Reply> {
        status::own(unit, command)
    }

    fn shares(&self, name: &str) -> bool {
        status::SHARED.contains(&name)
    }

    fn command(&mut self, unit: &mut Unit, port: usize, command: &Command) -> Option<Answer> {
        self.stack_command(unit, port, command)
    }

    /// Refuses data: none of the commands has a prompt.
    fn data(&mut self, _: &mut Unit, _: usize, _: Purpose, _: Vec<u8>) -> Answer {
        Reply::error().into()
    }

    fn event(&mut self, unit: &mut Unit, _: usize, connection: u64, event: Event) {
        self.take_event(unit, connection, event);
    }

    fn linked(&self) -> Vec<usize> {
        if self.is_linked() { vec![CLIENT] } else { Vec::new() }
    }

    fn lose_connections(&mut self, unit: &mut Unit) {
        self.lose(unit);
    }

    fn lose_network(&mut self, unit: &mut Unit) {
        self.lose(unit);
    }

    fn cut_connections(&mut self, unit: &mut Unit) {
        if self.is_linked() {
            self.cut(unit);
        }
    }

    fn reset(&mut self, _: &Unit) {
        *self = self.after_reset();
    }
}
