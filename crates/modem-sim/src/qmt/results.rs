//! The ends of `AT+QMT…` operations, and the broker's messages.

use super::{Clients, Link, Operation};
use crate::{
    broker::{Event, Failure},
    illness::Symptom,
    stack::Stack,
    unit::{Action, Unit},
};

impl Clients {
    /// Takes an event of a connection.
    pub(super) fn take_event(
        &mut self,
        unit: &mut Unit,
        index: usize,
        connection: u64,
        event: Event,
    ) {
        let Some(client) = self.by_connection(index, connection) else { return };
        match event {
            Event::Dialled => {
                client.link = Link::Open;
                self.finish(unit, index, "0");
            }
            Event::Connected => {
                client.link = Link::Up;
                self.finish(unit, index, "0,0");
            }
            Event::Refused(failure) => self.refused(unit, index, failure),
            Event::Done(Ok(())) => self.finish(unit, index, "0"),
            // The broker's SUBACK refuses; every other failure is a packet without an answer.
            Event::Done(Err(Failure::NotGranted)) => self.finish(unit, index, "0,128"),
            Event::Done(Err(_)) => self.finish(unit, index, "2"),
            Event::Disconnected => {
                client.link = Link::Down;
                self.finish(unit, index, "0");
            }
            Event::Message { topic, payload } => {
                unit.counts.received += 1;
                self.message(unit, index, &topic, &payload);
            }
            Event::PingFailed => self.lost(unit, index, 2),
            Event::Lost => self.lost(unit, index, 1),
        }
    }

    /// Handles a failed OPEN or CONN.
    fn refused(&mut self, unit: &mut Unit, index: usize, failure: Failure) {
        let Some(client) = self.clients.get_mut(index) else { return };
        let opening = client.link == Link::Opening;
        client.link = Link::Down;
        let result = match (opening, failure) {
            (true, Failure::NameLookup) => "4",
            // Seen on an EC25 for certificates that do not match; no manual has it.
            (true, Failure::Handshake | Failure::NoCertificate | Failure::BadCertificate) => "-1",
            (true, _) => "5",
            (false, Failure::RefusedVersion) => "0,1",
            (false, Failure::RefusedId) => "0,2",
            (false, Failure::RefusedUnavailable) => "0,3",
            (false, Failure::RefusedLogin) => "0,4",
            (false, Failure::RefusedNotAuthorized) => "0,5",
            (false, _) => "2",
        };
        self.finish(unit, index, result);
    }

    /// Handles a lost connection: an operation in flight has failed, and the host gets a line.
    fn lost(&mut self, unit: &mut Unit, index: usize, cause: u8) {
        let Some(client) = self.clients.get_mut(index) else { return };
        match std::mem::take(&mut client.link) {
            Link::Down => {}
            Link::Opening => self.finish(unit, index, "5"),
            Link::Open | Link::Connecting | Link::Up => {
                self.finish(unit, index, "2");
                unit.urc(&format!("+QMTSTAT: {index},{cause}"));
            }
        }
    }

    /// Cuts a connection so that its later events mean nothing.
    pub(super) fn cut(&mut self, unit: &mut Unit, index: usize) {
        unit.actions.push(Action::Cut { client: index });
        self.connections += 1;
        if let Some(client) = self.clients.get_mut(index) {
            client.connection = self.connections;
        }
    }

    /// Drops every connection and prints the cause.
    pub(super) fn lose(&mut self, unit: &mut Unit, cause: u8) {
        for index in self.linked() {
            self.cut(unit, index);
            self.lost(unit, index, cause);
        }
    }

    /// Prints the end of a client's operation, if an operation is under way.
    fn finish(&mut self, unit: &mut Unit, index: usize, result: &str) {
        let client = self.clients.get_mut(index);
        let Some(Operation { word, port, packet }) = client.and_then(|c| c.operation.take()) else {
            return;
        };
        let published = word.starts_with("PUB") && result == "0";
        unit.counts.published += u64::from(published);
        let packet = packet.map_or(String::new(), |packet| format!("{packet},"));
        unit.result(port, &format!("+QMT{word}: {index},{packet}{result}"));
    }

    /// Prints a received message according to the client's `recv/mode`.
    pub(super) fn message(&mut self, unit: &mut Unit, index: usize, topic: &str, payload: &[u8]) {
        let Some(client) = self.clients.get_mut(index) else { return };
        if !client.settings.buffered {
            let bytes = self.message_line(unit, index, topic, payload);
            return unit.urc_bytes(&bytes);
        }
        match client.buffer.keep(topic, payload) {
            Some(number) => unit.urc(&format!("+QMTRECV: {index},{number}")),
            None => tracing::debug!(index, "no room for another message until one is read"),
        }
    }

    /// Returns a received message as it is printed.
    pub(super) fn message_line(
        &mut self,
        unit: &mut Unit,
        index: usize,
        topic: &str,
        payload: &[u8],
    ) -> Vec<u8> {
        let settings = self.clients.get(index).map(|client| &client.settings);
        let is_hex = settings.is_some_and(|settings| settings.hex.1);
        let digits: String = payload.iter().map(|octet| format!("{octet:02X}")).collect();
        let payload = if is_hex { digits.as_bytes() } else { payload };
        let with_length = settings.is_some_and(|settings| settings.with_length);
        let length = payload.len();
        let length = match with_length && !unit.suffers(Symptom::NoLength) {
            true => format!("{length},"),
            false => String::new(),
        };
        let mut bytes = format!("\r\n+QMTRECV: {index},0,\"{topic}\",{length}\"").into_bytes();
        let start = bytes.len();
        bytes.extend_from_slice(payload);
        unit.dice.lose_bytes(&mut bytes, start);
        bytes.extend_from_slice(b"\"\r\n");
        bytes
    }

    /// Ends an operation that no broker answers.
    pub(super) fn end_unanswered(
        &mut self,
        unit: &mut Unit,
        index: usize,
        connection: u64,
        failure: Failure,
    ) {
        let Some(client) = self.by_connection(index, connection) else { return };
        match client.link {
            Link::Opening | Link::Connecting => self.refused(unit, index, failure),
            _ => self.finish(unit, index, "2"),
        }
    }
}
