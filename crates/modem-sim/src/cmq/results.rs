//! How operations of `AT+CMQ…` end, and what comes from the broker unasked.

use std::fmt::Write as _;

use tokio::time::Instant;

use super::{Doing, Link, Operation, commands::CLIENT};
use crate::{
    broker::{self, Event},
    cmqtt::code,
    firmware::{Action, Firmware},
    reply::Reply,
};

impl Firmware {
    /// Takes an event of the connection.
    pub(crate) fn cmq_event(&mut self, connection: u64, event: Event, now: Instant) {
        self.now = now;
        if self.cmq.connection != connection {
            return;
        }
        match event {
            Event::Dialled => self.cmq_became(Link::Open),
            Event::Connected => self.cmq_became(Link::Up),
            Event::Disconnected => self.cmq_became(Link::Free),
            Event::Refused(_) => self.cmq_refused(),
            Event::Done(code) => drop(self.cmq_finish(code == code::OK)),
            Event::Message { topic, payload } => {
                self.counts.received += 1;
                self.cmq_message_came(&topic, &payload);
            }
            Event::PingFailed | Event::Lost => self.cmq_lost(),
        }
    }

    fn cmq_became(&mut self, link: Link) {
        self.cmq.link = link;
        self.cmq_finish(true);
    }

    /// There is no connection, or the broker wants none. What was created stays used.
    fn cmq_refused(&mut self) {
        let was_opening = self.cmq.link == Link::Opening;
        self.cmq.link = if was_opening { Link::Free } else { Link::Ended };
        if !self.cmq_finish(false) {
            self.urc("+CMQDISCON: 0");
        }
    }

    /// The connection is gone: what was in flight has failed, and the host is told.
    fn cmq_lost(&mut self) {
        match self.cmq.link {
            Link::Free | Link::Ended => {}
            Link::Opening => self.cmq_refused(),
            Link::Open | Link::Connecting | Link::Up => {
                self.cmq.link = Link::Ended;
                self.cmq_finish(false);
                self.urc("+CMQDISCON: 0");
            }
        }
    }

    /// Cuts the connection so that its later events mean nothing.
    pub(super) fn cmq_cut(&mut self) {
        self.actions.push(Action::Cut { client: CLIENT });
        self.cmq.connection += 1;
    }

    /// Drops the connection and tells so.
    pub(crate) fn cmq_lose(&mut self) {
        if self.cmq.is_linked() {
            self.cmq_cut();
            self.cmq_lost();
        }
    }

    /// Drops the connection without a word, as without power.
    pub(crate) fn cmq_cut_all(&mut self) {
        if self.cmq.is_linked() {
            self.cmq_cut();
        }
    }

    /// Stops the connection from moving bytes, or lets it go on.
    pub(crate) fn cmq_freeze(&mut self, frozen: bool) {
        if self.cmq.is_linked() {
            let order = broker::Order::Freeze(frozen);
            self.actions.push(Action::Order { client: CLIENT, order });
        }
    }

    /// Ends the operation under way. Returns whether anybody was told.
    fn cmq_finish(&mut self, done: bool) -> bool {
        let Some(Operation { doing, port }) = self.cmq.operation.take() else { return false };
        if done && doing == Doing::Publish {
            self.counts.published += 1;
        }
        let Some(port) = port else { return false };
        let reply = match (done, doing) {
            (false, _) => Reply::error(),
            (true, Doing::New) => Reply::line("+CMQNEW: 0"),
            (true, _) => Reply::ok(),
        };
        self.print_reply(port, &reply);
        if let Some(state) = self.ports.get_mut(port) {
            state.blocked = false;
        }
        self.advance(port);
        true
    }

    /// Prints a received message. One that is larger than the buffer has no place to be.
    fn cmq_message_came(&mut self, topic: &str, payload: &[u8]) {
        if topic.len() + payload.len() + 7 > self.cmq.buffer {
            tracing::debug!("a message is larger than the buffer, and is dropped");
            return;
        }
        let (length, shown) = if self.cmq.digits {
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
        self.urc_bytes(&[head.as_bytes(), &shown, b"\"\r\n"].concat());
    }
}
