//! How operations of the MQTT service end, and what comes from the broker unasked.

use tokio::time::Instant;

use super::{Link, Operation, Telling, code};
use crate::{
    broker::{self, Event},
    firmware::{Action, Firmware},
    illness::Symptom,
    reply::{Reply, framed},
};

/// The longest piece in which a received topic or payload is printed (SIM7600 manual p.367).
const PIECE: usize = 1_500;

impl Firmware {
    /// Takes an event of a connection.
    pub(crate) fn broker_event(
        &mut self,
        index: usize,
        connection: u64,
        event: Event,
        now: Instant,
    ) {
        self.now = now;
        let Some(client) = self.service.by_connection(index, connection) else { return };
        match event {
            Event::Connected => {
                client.link = Link::Up;
                self.finish(index, code::OK);
            }
            Event::Refused(code) => {
                client.link = Link::Down;
                client.tls_context = None;
                self.finish(index, code);
            }
            Event::Done(code) => self.finish(index, code),
            Event::Disconnected => {
                client.link = Link::Down;
                client.tls_context = None;
                self.finish(index, code::OK);
            }
            Event::Message { topic, payload } => {
                self.counts.received += 1;
                self.message(index, topic.as_bytes(), &payload);
            }
            // The A76xx have no `+CMQTTPING`.
            Event::PingFailed if self.options.model.is_a76xx() => self.lost(index, 2),
            Event::PingFailed => {
                client.link = Link::Dead;
                self.finish(index, code::TIMEOUT);
                self.urc(&format!("+CMQTTPING: {index},{}", code::TIMEOUT));
            }
            Event::Lost => self.lost(index, 1),
            // This stack never dials without signing in.
            Event::Dialled => {}
        }
    }

    /// An operation ends that no broker answers.
    pub(crate) fn end_cmqtt(&mut self, index: usize, connection: u64, code: u8) {
        let Some(client) = self.service.by_connection(index, connection) else { return };
        if client.link == Link::Connecting {
            client.link = Link::Down;
            client.tls_context = None;
        }
        self.finish(index, code);
    }

    /// A connection is gone: what was in flight has failed, and the host is told.
    fn lost(&mut self, index: usize, cause: u8) {
        let Some(client) = self.service.clients.get_mut(index) else { return };
        let was = std::mem::replace(&mut client.link, Link::Down);
        match was {
            Link::Connecting => self.finish(index, code::SOCKET_CONNECT),
            Link::Up => {
                // The order in which real units were seen to tell it.
                self.finish(index, code::RECEIVE);
                self.urc(&format!("+CMQTTCONNLOST: {index},{cause}"));
            }
            Link::Down | Link::Dead => {}
        }
    }

    /// Cuts a connection so that its later events mean nothing.
    fn cut(&mut self, index: usize) {
        self.actions.push(Action::Cut { client: index });
        self.service.connections += 1;
        if let Some(client) = self.service.clients.get_mut(index) {
            client.connection = self.service.connections;
        }
    }

    /// Drops every connection as a broker does that closes them.
    pub(crate) fn lose_connections(&mut self) {
        self.cmq_lose();
        self.qmt_lose(1);
        for index in self.service.linked() {
            self.cut(index);
            self.lost(index, 1);
        }
    }

    /// Drops every connection for want of a network, and ends the service.
    pub(crate) fn lose_network(&mut self) {
        self.cmq_lose();
        self.qmt_lose(7);
        for index in self.service.linked() {
            self.cut(index);
            self.lost(index, 3);
        }
        if self.service.is_started() {
            self.service = self.service.after_reset(self.suffers(Symptom::LeftClients));
            self.urc("+CMQTTNONET");
        }
    }

    /// Drops every connection without a word, as without power.
    pub(crate) fn cut_connections(&mut self) {
        self.cmq_cut_all();
        self.qmt_cut_all();
        for index in self.service.linked() {
            self.cut(index);
        }
    }

    /// Stops every connection from moving bytes, or lets them go on.
    pub(crate) fn freeze_connections(&mut self, frozen: bool) {
        self.cmq_freeze(frozen);
        self.qmt_freeze(frozen);
        for client in self.service.linked() {
            self.actions.push(Action::Order { client, order: broker::Order::Freeze(frozen) });
        }
    }

    /// Tells the end of the operation of a client, where one is under way.
    fn finish(&mut self, index: usize, code: u8) {
        let client = self.service.clients.get_mut(index);
        let Some(Operation { word, port, telling }) = client.and_then(|c| c.operation.take())
        else {
            return;
        };
        if word == "PUB" && code == code::OK {
            self.counts.published += 1;
        }
        let line = format!("+CMQTT{word}: {index},{code}");
        match telling {
            Telling::OkFirst => return self.tell(index, port, &line),
            Telling::ResultFirst if code == code::OK => {
                self.print_reply(port, &Reply::line(line));
            }
            Telling::Early if code == code::OK => {
                self.print_reply(port, &Reply { after: vec![line], ..Reply::ok() });
            }
            Telling::ResultFirst | Telling::Early => {
                self.print_reply(port, &Reply::refused(line));
            }
        }
        if let Some(state) = self.ports.get_mut(port) {
            state.blocked = false;
        }
        self.advance(port);
    }

    /// Prints a result on the port that asked, or on all where `acturc` says so.
    fn tell(&mut self, index: usize, port: usize, line: &str) {
        if self.service.clients.get(index).is_some_and(|client| client.all_ports) {
            self.urc(line);
        } else {
            self.result(port, line);
        }
    }

    /// Prints a received message. An empty payload has no RXPAYLOAD line.
    fn message(&mut self, index: usize, topic: &[u8], payload: &[u8]) {
        if let Some(with_length) = self.service.clients.get(index).and_then(|c| c.one_line) {
            return self.message_in_one_line(index, topic, payload, with_length);
        }
        self.message_in_pieces(index, topic, payload, PIECE);
    }

    /// A message whose payload is announced in one piece, whatever its length.
    pub(crate) fn whole_message(&mut self, index: usize, topic: &[u8], payload: &[u8]) {
        self.message_in_pieces(index, topic, payload, payload.len().max(PIECE));
    }

    fn message_in_pieces(&mut self, index: usize, topic: &[u8], payload: &[u8], longest: usize) {
        let (topic_length, payload_length) = (topic.len(), payload.len());
        let mut bytes = framed(&format!("+CMQTTRXSTART: {index},{topic_length},{payload_length}"));
        for (word, whole) in [("RXTOPIC", topic), ("RXPAYLOAD", payload)] {
            for piece in whole.chunks(longest) {
                bytes.extend(framed(&format!("+CMQTT{word}: {index},{}", piece.len())));
                let start = bytes.len();
                bytes.extend_from_slice(piece);
                if word == "RXPAYLOAD" {
                    self.dice.lose_bytes(&mut bytes, start);
                }
                bytes.extend_from_slice(b"\r\n");
            }
        }
        bytes.extend(framed(&format!("+CMQTTRXEND: {index}")));
        self.urc_bytes(&bytes);
    }

    fn message_in_one_line(&mut self, index: usize, topic: &[u8], payload: &[u8], length: bool) {
        let length = if length { format!("{},", payload.len()) } else { String::new() };
        let mut bytes = format!("\r\n+CMQTTRECV: {index},\"").into_bytes();
        bytes.extend_from_slice(topic);
        bytes.extend_from_slice(format!("\",{length}\"").as_bytes());
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"\"\r\n");
        self.urc_bytes(&bytes);
    }
}
