//! The ends of `AT+CMQ…` operations, and the broker's messages.

use std::fmt::Write as _;

use super::{CLIENT, Client, Doing, Link, Operation};
use crate::{
    broker::Event,
    reply::Reply,
    unit::{Action, Unit},
};

impl Client {
    /// Takes an event of the connection.
    pub(super) fn take_event(&mut self, unit: &mut Unit, connection: u64, event: Event) {
        if self.connection != connection {
            return;
        }
        match event {
            Event::Dialled => self.became(unit, Link::Open),
            Event::Connected => self.became(unit, Link::Up),
            Event::Disconnected => self.became(unit, Link::Free),
            Event::Refused(_) => self.refused(unit),
            Event::Done(end) => drop(self.finish(unit, end.is_ok())),
            Event::Message { topic, payload } => {
                unit.counts.received += 1;
                self.message_came(unit, &topic, &payload);
            }
            Event::PingFailed | Event::Lost => self.lost(unit),
        }
    }

    fn became(&mut self, unit: &mut Unit, link: Link) {
        self.link = link;
        self.finish(unit, true);
    }

    /// Handles a missing connection or a broker's refusal. A created client stays used.
    fn refused(&mut self, unit: &mut Unit) {
        let was_opening = self.link == Link::Opening;
        self.link = if was_opening { Link::Free } else { Link::Ended };
        if !self.finish(unit, false) {
            unit.urc("+CMQDISCON: 0");
        }
    }

    /// Handles a lost connection: an operation in flight has failed, and the host gets a line.
    fn lost(&mut self, unit: &mut Unit) {
        match self.link {
            Link::Free | Link::Ended => {}
            Link::Opening => self.refused(unit),
            Link::Open | Link::Connecting | Link::Up => {
                self.link = Link::Ended;
                self.finish(unit, false);
                unit.urc("+CMQDISCON: 0");
            }
        }
    }

    /// Cuts the connection so that its later events mean nothing.
    pub(super) fn cut(&mut self, unit: &mut Unit) {
        unit.actions.push(Action::Cut { client: CLIENT });
        self.connection += 1;
    }

    /// Drops the connection and prints the loss.
    pub(super) fn lose(&mut self, unit: &mut Unit) {
        if self.is_linked() {
            self.cut(unit);
            self.lost(unit);
        }
    }

    /// Ends the operation under way. Returns whether a port got the result.
    fn finish(&mut self, unit: &mut Unit, done: bool) -> bool {
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

    /// Prints a received message. A message larger than the buffer is dropped.
    fn message_came(&mut self, unit: &mut Unit, topic: &str, payload: &[u8]) {
        if topic.len() + payload.len() + 7 > self.buffer {
            tracing::debug!("a message is larger than the buffer and is dropped");
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
