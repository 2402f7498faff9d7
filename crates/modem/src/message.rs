//! Messages of MQTT, on their way up and down.

/// The largest payload of a message in bytes: the limit of `AT+CMQTTPAYLOAD`, and of every way in.
pub const MAX_PAYLOAD: usize = 10_240;

/// The index of one MQTT client inside the modem, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Client(pub u8);

/// Quality of service of MQTT 3.1.1 §4.3.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Qos {
    /// At most once.
    AtMostOnce,
    /// At least once.
    #[default]
    AtLeastOnce,
    /// Exactly once.
    ExactlyOnce,
}

impl Qos {
    /// Returns 0, 1 or 2.
    pub fn number(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
            Self::ExactlyOnce => 2,
        }
    }

    /// Returns the quality of service of 0, 1 or 2.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// 1 to 65,535 bytes; the modem's own limit is in its model.
    pub topic: String,
    /// Any bytes; may be empty.
    pub payload: Vec<u8>,
    /// Quality of service.
    pub qos: Qos,
    /// True if the broker keeps it for later subscribers.
    pub retain: bool,
}

/// A message that a session received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its topic.
    pub topic: String,
    /// Its payload, any bytes.
    pub payload: Vec<u8>,
}

/// The place to which a session hands its received messages.
///
/// A closure is an inbox:
///
/// ```
/// use modem::mqtt::{Inbox, Received};
/// use tokio::sync::mpsc;
///
/// let (sender, mut messages) = mpsc::channel(64);
/// let inbox = move |received: Received| {
///     if sender.try_send(received).is_err() {
///         // The channel is full: count the loss, and never wait.
///     }
/// };
/// inbox.take(Received { topic: "down/valve".to_owned(), payload: b"open".to_vec() });
/// assert_eq!(messages.try_recv().unwrap().topic, "down/valve");
/// ```
pub trait Inbox: Send + Sync {
    /// Takes a message, which the modem has acknowledged to the broker before. It is called from
    /// the modem's task, so it returns at once, and counts a message for which it has no room.
    fn take(&self, received: Received);
}

impl<F: Fn(Received) + Send + Sync> Inbox for F {
    fn take(&self, received: Received) {
        self(received);
    }
}

impl Received {
    /// Returns a message whose topic stood in a line. `None` if the topic may differ from the
    /// original. Bytes of a line that are not UTF-8 become U+FFFD, which cannot be distinguished
    /// from a U+FFFD in the topic.
    pub fn in_line(topic: &str, payload: Vec<u8>) -> Option<Self> {
        let is_text = !topic.contains(char::REPLACEMENT_CHARACTER);
        is_text.then(|| Self { topic: topic.to_owned(), payload })
    }

    /// Returns a message whose topic came as bytes. `None` if it is not UTF-8 (MQTT 3.1.1
    /// [MQTT-3.3.2-1]).
    pub fn in_bytes(topic: Vec<u8>, payload: Vec<u8>) -> Option<Self> {
        String::from_utf8(topic).ok().map(|topic| Self { topic, payload })
    }
}

/// The log line about a message without a topic.
pub const NO_TOPIC: &str = "a received message is lost: its topic is not UTF-8";
