//! The service from the firmware's view.

use super::{Link, Service, results::whole_message};
use crate::{
    broker::{Event, Failure},
    command::Command,
    illness::Symptom,
    prompt::Purpose,
    reply::{Answer, Reply},
    stack::Stack,
    unit::Unit,
};

impl Stack for Service {
    fn shares(&self, _: &str) -> bool {
        true
    }

    fn command(&mut self, unit: &mut Unit, port: usize, command: &Command) -> Option<Answer> {
        self.tls.command(command).or_else(|| self.stack_command(unit, port, command))
    }

    fn data(&mut self, unit: &mut Unit, port: usize, purpose: Purpose, data: Vec<u8>) -> Answer {
        match purpose {
            Purpose::Certificate(name) => {
                self.tls.store(name, data);
                Reply::ok().into()
            }
            Purpose::Field(index, field) => {
                self.fill(unit, port, index, field, data).unwrap_or_else(Answer::from)
            }
            Purpose::Publish(_) | Purpose::Upload(_) => Reply::error().into(),
        }
    }

    fn event(&mut self, unit: &mut Unit, client: usize, connection: u64, event: Event) {
        self.take_event(unit, client, connection, event);
    }

    fn end(&mut self, unit: &mut Unit, client: usize, connection: u64, failure: Failure) {
        self.end_unanswered(unit, client, connection, failure);
    }

    fn linked(&self) -> Vec<usize> {
        let linked = |link| matches!(link, Link::Connecting | Link::Up);
        let clients = self.clients.iter().enumerate().filter(|(_, client)| linked(client.link));
        clients.map(|(index, _)| index).collect()
    }

    fn lose_connections(&mut self, unit: &mut Unit) {
        for index in self.linked() {
            self.cut(unit, index);
            self.lost(unit, index, 1);
        }
    }

    /// Ends the service too.
    fn lose_network(&mut self, unit: &mut Unit) {
        for index in self.linked() {
            self.cut(unit, index);
            self.lost(unit, index, 3);
        }
        if self.started {
            self.reset(unit);
            unit.urc("+CMQTTNONET");
        }
    }

    fn cut_connections(&mut self, unit: &mut Unit) {
        for index in self.linked() {
            self.cut(unit, index);
        }
    }

    fn reset(&mut self, unit: &Unit) {
        *self = self.after_reset(unit.suffers(Symptom::LeftClients));
    }

    /// Prints the lines of a SIM7600EI.
    fn announce_reset(&self, unit: &mut Unit) {
        if self.started {
            unit.urc("+CIPEVENT: NETWORK CLOSED UNEXPECTEDLY");
            for client in self.connected() {
                unit.urc(&format!("+CMQTTCONNLOST: {client},3"));
            }
            unit.urc("+CMQTTNONET");
        }
    }

    fn leave(&mut self, symptom: Symptom) {
        if symptom == Symptom::LeftClients {
            self.leave_clients();
        }
    }

    fn download(&mut self, unit: &mut Unit, payload: &[u8]) {
        whole_message(unit, 0, b"down", payload);
    }
}
