//! Messages that a Quectel modem keeps until they are read: `"recv/mode"` 1 and `AT+QMTRECV`.

/// The number of messages that a client keeps.
const ROOM: usize = 5;

/// A received message.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
}

/// The messages of a client, each at its number.
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

    /// Returns the message at a number, and forgets it.
    pub(super) fn take(&mut self, number: usize) -> Option<Kept> {
        self.0.get_mut(number)?.take()
    }

    /// Returns the numbers that hold a message, in the form of `AT+QMTRECV?`.
    pub(super) fn states(&self) -> String {
        let states: Vec<&str> =
            self.0.iter().map(|place| if place.is_some() { "1" } else { "0" }).collect();
        states.join(",")
    }
}
