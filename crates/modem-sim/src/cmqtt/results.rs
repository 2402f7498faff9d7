//! The ends of the MQTT service's operations, and the broker's messages.

use super::{Link, Operation, Service, Telling, code};
use crate::{
    broker::{Event, Failure},
    reply::{Reply, framed},
    unit::{Action, Unit},
};

/// The longest piece in which a received topic or payload is printed (SIM7600 manual p.367).
const PIECE: usize = 1_500;

impl Service {
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
            Event::Connected => {
                client.link = Link::Up;
                self.finish(unit, index, code::OK);
            }
            Event::Refused(failure) => {
                client.link = Link::Down;
                client.tls_context = None;
                self.finish(unit, index, code::of(failure));
            }
            Event::Done(end) => {
                self.finish(unit, index, end.err().map_or(code::OK, code::of));
            }
            Event::Disconnected => {
                client.link = Link::Down;
                client.tls_context = None;
                self.finish(unit, index, code::OK);
            }
            Event::Message { topic, payload } => {
                unit.counts.received += 1;
                self.message(unit, index, topic.as_bytes(), &payload);
            }
            // The A76xx have no `+CMQTTPING`.
            Event::PingFailed if unit.options.model.is_a76xx() => self.lost(unit, index, 2),
            Event::PingFailed => {
                client.link = Link::Dead;
                self.finish(unit, index, code::TIMEOUT);
                unit.urc(&format!("+CMQTTPING: {index},{}", code::TIMEOUT));
            }
            Event::Lost => self.lost(unit, index, 1),
            // This stack never opens TCP without signing in.
            Event::Dialled => {}
        }
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
        if client.link == Link::Connecting {
            client.link = Link::Down;
            client.tls_context = None;
        }
        self.finish(unit, index, code::of(failure));
    }

    /// Handles a lost connection: an operation in flight has failed, and the host gets a line.
    pub(super) fn lost(&mut self, unit: &mut Unit, index: usize, cause: u8) {
        let Some(client) = self.clients.get_mut(index) else { return };
        let was = std::mem::replace(&mut client.link, Link::Down);
        match was {
            Link::Connecting => self.finish(unit, index, code::SOCKET_CONNECT),
            Link::Up => {
                // The order of real units.
                self.finish(unit, index, code::RECEIVE);
                unit.urc(&format!("+CMQTTCONNLOST: {index},{cause}"));
            }
            Link::Down | Link::Dead => {}
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

    /// Prints the end of a client's operation, if an operation is under way.
    fn finish(&mut self, unit: &mut Unit, index: usize, code: u8) {
        let client = self.clients.get_mut(index);
        let Some(Operation { word, port, telling }) = client.and_then(|c| c.operation.take())
        else {
            return;
        };
        if word == "PUB" && code == code::OK {
            unit.counts.published += 1;
        }
        let line = format!("+CMQTT{word}: {index},{code}");
        match telling {
            Telling::OkFirst => return self.tell(unit, index, port, &line),
            Telling::ResultFirst if code == code::OK => {
                unit.print_reply(port, &Reply::line(line));
            }
            Telling::Early if code == code::OK => {
                unit.print_reply(port, &Reply { after: vec![line], ..Reply::ok() });
            }
            Telling::ResultFirst | Telling::Early => {
                unit.print_reply(port, &Reply::refused(line));
            }
        }
        unit.unblock(port);
    }

    /// Prints a result on the port of its command, or on all ports if `acturc` is set so.
    fn tell(&mut self, unit: &mut Unit, index: usize, port: usize, line: &str) {
        if self.clients.get(index).is_some_and(|client| client.all_ports) {
            unit.urc(line);
        } else {
            unit.result(port, line);
        }
    }

    /// Prints a received message. An empty payload has no RXPAYLOAD line.
    fn message(&mut self, unit: &mut Unit, index: usize, topic: &[u8], payload: &[u8]) {
        if let Some(with_length) = self.clients.get(index).and_then(|c| c.one_line) {
            return message_in_one_line(unit, index, topic, payload, with_length);
        }
        message_in_pieces(unit, index, topic, payload, PIECE);
    }
}

fn message_in_pieces(unit: &mut Unit, index: usize, topic: &[u8], payload: &[u8], longest: usize) {
    let (topic_length, payload_length) = (topic.len(), payload.len());
    let mut bytes = framed(&format!("+CMQTTRXSTART: {index},{topic_length},{payload_length}"));
    for (word, whole) in [("RXTOPIC", topic), ("RXPAYLOAD", payload)] {
        for piece in whole.chunks(longest) {
            bytes.extend(framed(&format!("+CMQTT{word}: {index},{}", piece.len())));
            let start = bytes.len();
            bytes.extend_from_slice(piece);
            if word == "RXPAYLOAD" {
                unit.dice.lose_bytes(&mut bytes, start);
            }
            bytes.extend_from_slice(b"\r\n");
        }
    }
    bytes.extend(framed(&format!("+CMQTTRXEND: {index}")));
    unit.urc_bytes(&bytes);
}

fn message_in_one_line(unit: &mut Unit, index: usize, topic: &[u8], payload: &[u8], length: bool) {
    let length = if length { format!("{},", payload.len()) } else { String::new() };
    let mut bytes = format!("\r\n+CMQTTRECV: {index},\"").into_bytes();
    bytes.extend_from_slice(topic);
    bytes.extend_from_slice(format!("\",{length}\"").as_bytes());
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(b"\"\r\n");
    unit.urc_bytes(&bytes);
}

/// Prints a message whose payload is announced in a single piece, whatever its length.
pub(super) fn whole_message(unit: &mut Unit, index: usize, topic: &[u8], payload: &[u8]) {
    message_in_pieces(unit, index, topic, payload, payload.len().max(PIECE));
}
