//! Messages that a Quectel modem keeps until they are read: `"recv/mode"` 1 and `AT+QMTRECV`.

use crate::{
    command::Arg,
    firmware::Firmware,
    reply::{Answer, Reply},
};

use super::index;

/// So many messages a client keeps.
const ROOM: usize = 5;

/// A message that came.
#[derive(Debug, Clone)]
struct Kept {
    topic: String,
    payload: Vec<u8>,
}

/// The messages of one client, each at its number.
#[derive(Debug, Default)]
pub(super) struct Buffer([Option<Kept>; ROOM]);

impl Buffer {
    /// Keeps a message; returns its number, or `None` if there is no room.
    pub(super) fn keep(&mut self, topic: &str, payload: &[u8]) -> Option<usize> {
        let free = self.0.iter().position(Option::is_none)?;
        let kept = Kept { topic: topic.to_owned(), payload: payload.to_vec() };
        self.0.get_mut(free).map(|place| *place = Some(kept))?;
        Some(free)
    }

    /// Which numbers hold a message, as `AT+QMTRECV?` shows it.
    pub(super) fn states(&self) -> String {
        let states: Vec<&str> =
            self.0.iter().map(|place| if place.is_some() { "1" } else { "0" }).collect();
        states.join(",")
    }
}

impl Firmware {
    /// `AT+QMTRECV=<client>,<number>`: prints one message and forgets it.
    pub(super) fn qmt_read_message(&mut self, port: usize, args: &[Arg]) -> Option<Answer> {
        let [_, number] = args else { return None };
        let client_index = index(args)?;
        let number = usize::try_from(number.number()?).ok()?;
        let client = self.qmt.clients.get_mut(client_index)?;
        let Kept { topic, payload } = client.buffer.0.get_mut(number)?.take()?;
        let bytes = self.qmt_message_line(client_index, &topic, &payload);
        self.print(port, &bytes, self.delay(false));
        Some(Reply::ok().into())
    }
}
