//! The clients from the firmware's view.

use super::{Clients, Link};
use crate::{
    broker::{Event, Failure},
    command::Command,
    illness::Symptom,
    prompt::Purpose,
    quectel,
    reply::{Answer, Reply},
    stack::Stack,
    unit::Unit,
};

impl Stack for Clients {
    fn own(&self, unit: &Unit, command: &Command) -> Option<Reply> {
        quectel::own(unit, command)
    }

    fn shares(&self, name: &str) -> bool {
        quectel::SHARED.contains(&name)
    }

    fn command(&mut self, unit: &mut Unit, port: usize, command: &Command) -> Option<Answer> {
        self.storage.command(command).or_else(|| self.stack_command(unit, port, command))
    }

    fn data(&mut self, unit: &mut Unit, port: usize, purpose: Purpose, data: Vec<u8>) -> Answer {
        match purpose {
            Purpose::Publish(outgoing) => self.take_data(unit, port, outgoing, data),
            Purpose::Upload(name) => self.storage.store(name, data).into(),
            Purpose::Field(..) | Purpose::Certificate(_) => Reply::error().into(),
        }
    }

    fn event(&mut self, unit: &mut Unit, client: usize, connection: u64, event: Event) {
        self.take_event(unit, client, connection, event);
    }

    fn end(&mut self, unit: &mut Unit, client: usize, connection: u64, failure: Failure) {
        self.end_unanswered(unit, client, connection, failure);
    }

    fn linked(&self) -> Vec<usize> {
        let clients = self.clients.iter().enumerate().filter(|(_, c)| c.link != Link::Down);
        clients.map(|(index, _)| index).collect()
    }

    fn lose_connections(&mut self, unit: &mut Unit) {
        self.lose(unit, 1);
    }

    fn lose_network(&mut self, unit: &mut Unit) {
        self.lose(unit, 7);
    }

    fn cut_connections(&mut self, unit: &mut Unit) {
        for index in self.linked() {
            self.cut(unit, index);
        }
    }

    fn reset(&mut self, _: &Unit) {
        *self = self.after_reset();
    }

    fn leave(&mut self, symptom: Symptom) {
        match symptom {
            Symptom::Buffered => self.leave_buffered(),
            Symptom::HexData => self.leave_hex(),
            _ => {}
        }
    }

    fn download(&mut self, unit: &mut Unit, payload: &[u8]) {
        self.message(unit, 0, "down", payload);
    }
}
