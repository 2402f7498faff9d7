//! Messages that a Quectel modem keeps until they are read: `"recv/mode"` 1 and `AT+QMTRECV`.

/// So many messages a client keeps.
const ROOM: usize = 5;

/// A message that came.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
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

    /// Gives out the message at a number, and forgets it.
    pub(super) fn take(&mut self, number: usize) -> Option<Kept> {
        self.0.get_mut(number)?.take()
    }

    /// Which numbers hold a message, as `AT+QMTRECV?` shows it.
    pub(super) fn states(&self) -> String {
        let states: Vec<&str> =
            self.0.iter().map(|place| if place.is_some() { "1" } else { "0" }).collect();
        states.join(",")
    }
}
