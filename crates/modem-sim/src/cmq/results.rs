//! How operations of `AT+CMQ…` end, and what comes from the broker unasked.

use std::fmt::Write as _;

use super::{CLIENT, Client, Doing, Link, Operation};
use crate::{
    broker::Event,
    reply::Reply,
    unit::{Action, Unit},
};

impl Client {
    /// Takes an event of the connection.
    pub(super) fn cmq_event(&mut self, unit: &mut Unit, connection: u64, event: Event) {
        if self.connection != connection {
            return;
        }
        match event {
            Event::Dialled => self.cmq_became(unit, Link::Open),
            Event::Connected => self.cmq_became(unit, Link::Up),
            Event::Disconnected => self.cmq_became(unit, Link::Free),
            Event::Refused(_) => self.cmq_refused(unit),
            Event::Done(end) => drop(self.cmq_finish(unit, end.is_ok())),
            Event::Message { topic, payload } => {
                unit.counts.received += 1;
                self.cmq_message_came(unit, &topic, &payload);
            }
            Event::PingFailed | Event::Lost => self.cmq_lost(unit),
        }
    }

    fn cmq_became(&mut self, unit: &mut Unit, link: Link) {
        self.link = link;
        self.cmq_finish(unit, true);
    }

    /// There is no connection, or the broker wants none. What was created stays used.
    fn cmq_refused(&mut self, unit: &mut Unit) {
        let was_opening = self.link == Link::Opening;
        self.link = if was_opening { Link::Free } else { Link::Ended };
        if !self.cmq_finish(unit, false) {
            unit.urc("+CMQDISCON: 0");
        }
    }

    /// The connection is gone: what was in flight has failed, and the host is told.
    fn cmq_lost(&mut self, unit: &mut Unit) {
        match self.link {
            Link::Free | Link::Ended => {}
            Link::Opening => self.cmq_refused(unit),
            Link::Open | Link::Connecting | Link::Up => {
                self.link = Link::Ended;
                self.cmq_finish(unit, false);
                unit.urc("+CMQDISCON: 0");
            }
        }
    }

    /// Cuts the connection so that its later events mean nothing.
    pub(super) fn cmq_cut(&mut self, unit: &mut Unit) {
        unit.actions.push(Action::Cut { client: CLIENT });
        self.connection += 1;
    }

    /// Drops the connection and tells so.
    pub(super) fn cmq_lose(&mut self, unit: &mut Unit) {
        if self.is_linked() {
            self.cmq_cut(unit);
            self.cmq_lost(unit);
        }
    }

    /// Ends the operation under way. Returns whether anybody was told.
    fn cmq_finish(&mut self, unit: &mut Unit, done: bool) -> bool {
        let Some(Operation { doing, port }) = self.operation.take() else { return false };
        if done && doing == Doing::Publish {
            unit.counts.published += 1;
        }
        let Some(port) = port else { return false };
        let reply = match (done, doing) {
            (false, _) => Reply::error(),
            (true, Doing::New) => Reply::line("+CMQNEW: 0"),
            (true, _) => Reply::ok(),
        };
        unit.print_reply(port, &reply);
        unit.unblock(port);
        true
    }

    /// Prints a received message. One that is larger than the buffer has no place to be.
    fn cmq_message_came(&mut self, unit: &mut Unit, topic: &str, payload: &[u8]) {
        if topic.len() + payload.len() + 7 > self.buffer {
            tracing::debug!("a message is larger than the buffer, and is dropped");
            return;
        }
        let (length, shown) = if self.digits {
            let digits = payload.iter().fold(String::new(), |mut digits, byte| {
                // Writing to a string never fails.
                let _ = write!(digits, "{byte:02X}");
                digits
            });
            (digits.len(), digits.into_bytes())
        } else {
            (payload.len(), payload.to_vec())
        };
        let head = format!("\r\n+CMQPUB: 0,\"{topic}\",0,0,0,{length},\"");
        unit.urc_bytes(&[head.as_bytes(), &shown, b"\"\r\n"].concat());
    }
}
