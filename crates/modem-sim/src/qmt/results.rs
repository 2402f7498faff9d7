//! How operations of `AT+QMT…` end, and what comes from the broker unasked.

use tokio::time::Instant;

use super::{Link, Operation};
use crate::{
    broker::{self, Event},
    cmqtt::code,
    firmware::{Action, Firmware},
    illness::Symptom,
};

impl Firmware {
    /// Takes an event of a connection.
    pub(crate) fn qmt_event(&mut self, index: usize, connection: u64, event: Event, now: Instant) {
        self.now = now;
        let Some(client) = self.qmt.by_connection(index, connection) else { return };
        match event {
            Event::Dialled => {
                client.link = Link::Open;
                self.qmt_finish(index, "0");
            }
            Event::Connected => {
                client.link = Link::Up;
                self.qmt_finish(index, "0,0");
            }
            Event::Refused(code) => self.qmt_refused(index, code),
            Event::Done(code::OK) => self.qmt_finish(index, "0"),
            // The broker's SUBACK says no; everything else is a packet without an answer.
            Event::Done(code::FAILED) => self.qmt_finish(index, "0,128"),
            Event::Done(_) => self.qmt_finish(index, "2"),
            Event::Disconnected => {
                client.link = Link::Down;
                self.qmt_finish(index, "0");
            }
            Event::Message { topic, payload } => {
                self.counts.received += 1;
                self.qmt_message(index, &topic, &payload);
            }
            Event::PingFailed => self.qmt_lost(index, 2),
            Event::Lost => self.qmt_lost(index, 1),
        }
    }

    /// OPEN or CONN came to nothing.
    fn qmt_refused(&mut self, index: usize, code: u8) {
        let Some(client) = self.qmt.clients.get_mut(index) else { return };
        let opening = client.link == Link::Opening;
        client.link = Link::Down;
        let result = match (opening, code) {
            (true, code::DNS) => "4",
            // Seen on an EC25 for certificates that do not fit; no manual has it.
            (true, code::HANDSHAKE | code::NO_CERTIFICATE | code::SSL_SESSION) => "-1",
            (true, _) => "5",
            (false, code::REFUSED_VERSION) => "0,1",
            (false, code::REFUSED_ID) => "0,2",
            (false, code::REFUSED_UNAVAILABLE) => "0,3",
            (false, code::REFUSED_LOGIN) => "0,4",
            (false, code::REFUSED_NOT_AUTHORIZED) => "0,5",
            (false, _) => "2",
        };
        self.qmt_finish(index, result);
    }

    /// A connection is gone: what was in flight has failed, and the host is told.
    fn qmt_lost(&mut self, index: usize, cause: u8) {
        let Some(client) = self.qmt.clients.get_mut(index) else { return };
        match std::mem::take(&mut client.link) {
            Link::Down => {}
            Link::Opening => self.qmt_finish(index, "5"),
            Link::Open | Link::Connecting | Link::Up => {
                self.qmt_finish(index, "2");
                self.urc(&format!("+QMTSTAT: {index},{cause}"));
            }
        }
    }

    /// Cuts a connection so that its later events mean nothing.
    pub(super) fn qmt_cut(&mut self, index: usize) {
        self.actions.push(Action::Cut { client: index });
        self.qmt.connections += 1;
        if let Some(client) = self.qmt.clients.get_mut(index) {
            client.connection = self.qmt.connections;
        }
    }

    /// Drops every connection and tells the cause.
    pub(crate) fn qmt_lose(&mut self, cause: u8) {
        for index in self.qmt.linked() {
            self.qmt_cut(index);
            self.qmt_lost(index, cause);
        }
    }

    /// Drops every connection without a word, as without power.
    pub(crate) fn qmt_cut_all(&mut self) {
        for index in self.qmt.linked() {
            self.qmt_cut(index);
        }
    }

    /// Stops every connection from moving bytes, or lets them go on.
    pub(crate) fn qmt_freeze(&mut self, frozen: bool) {
        for client in self.qmt.linked() {
            self.actions.push(Action::Order { client, order: broker::Order::Freeze(frozen) });
        }
    }

    /// Tells the end of the operation of a client, where one is under way.
    fn qmt_finish(&mut self, index: usize, result: &str) {
        let client = self.qmt.clients.get_mut(index);
        let Some(Operation { word, port, packet }) = client.and_then(|c| c.operation.take()) else {
            return;
        };
        let published = word.starts_with("PUB") && result == "0";
        self.counts.published += u64::from(published);
        let packet = packet.map_or(String::new(), |packet| format!("{packet},"));
        self.result(port, &format!("+QMT{word}: {index},{packet}{result}"));
    }

    /// Prints a received message as the client's `recv/mode` says.
    pub(crate) fn qmt_message(&mut self, index: usize, topic: &str, payload: &[u8]) {
        let Some(client) = self.qmt.clients.get_mut(index) else { return };
        if !client.settings.buffered {
            let bytes = self.qmt_message_line(index, topic, payload);
            return self.urc_bytes(&bytes);
        }
        match client.buffer.keep(topic, payload) {
            Some(number) => self.urc(&format!("+QMTRECV: {index},{number}")),
            None => tracing::debug!(index, "no room for one more message until one is read"),
        }
    }

    /// A received message as it is printed.
    pub(super) fn qmt_message_line(
        &mut self,
        index: usize,
        topic: &str,
        payload: &[u8],
    ) -> Vec<u8> {
        let settings = self.qmt.clients.get(index).map(|client| &client.settings);
        let is_hex = settings.is_some_and(|settings| settings.hex.1);
        let digits: String = payload.iter().map(|octet| format!("{octet:02X}")).collect();
        let payload = if is_hex { digits.as_bytes() } else { payload };
        let with_length = settings.is_some_and(|settings| settings.with_length);
        let length = payload.len();
        let length = match with_length && !self.suffers(Symptom::NoLength) {
            true => format!("{length},"),
            false => String::new(),
        };
        let mut bytes = format!("\r\n+QMTRECV: {index},0,\"{topic}\",{length}\"").into_bytes();
        let start = bytes.len();
        bytes.extend_from_slice(payload);
        self.dice.lose_bytes(&mut bytes, start);
        bytes.extend_from_slice(b"\"\r\n");
        bytes
    }

    /// An operation ends that no broker answers.
    pub(crate) fn end_qmt(&mut self, index: usize, connection: u64, code: u8) {
        let Some(client) = self.qmt.by_connection(index, connection) else { return };
        match client.link {
            Link::Opening | Link::Connecting => self.qmt_refused(index, code),
            _ => self.qmt_finish(index, "2"),
        }
    }
}
