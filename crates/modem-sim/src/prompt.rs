//! Purposes of the data of a prompt.

/// The purpose of prompt data.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// A field of this client.
    Field(usize, Field),
    /// A message of the QMT stack.
    Publish(Outgoing),
    /// A certificate file of this name.
    Certificate(String),
    /// A file of this name on a Quectel modem.
    Upload(String),
}

impl Purpose {
    /// Returns the bytes that ask for the data.
    pub(crate) fn prompt(&self) -> &'static [u8] {
        match self {
            Self::Upload(_) => b"\r\nCONNECT\r\n",
            Self::Field(..) | Self::Publish(_) | Self::Certificate(_) => b"\r\n>",
        }
    }
}

/// A field of a client that is filled at a prompt.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Field {
    Topic,
    Payload,
    WillTopic,
    WillMessage {
        qos: u8,
    },
    SubTopic {
        qos: u8,
    },
    UnsubTopic,
    /// A topic to subscribe to at once.
    Sub {
        qos: u8,
    },
    /// A topic to unsubscribe from at once.
    Unsub,
}

impl Field {
    /// Returns the word of its command.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Topic => "TOPIC",
            Self::Payload => "PAYLOAD",
            Self::WillTopic => "WILLTOPIC",
            Self::WillMessage { .. } => "WILLMSG",
            Self::SubTopic { .. } => "SUBTOPIC",
            Self::UnsubTopic => "UNSUBTOPIC",
            Self::Sub { .. } => "SUB",
            Self::Unsub => "UNSUB",
        }
    }
}

/// A message that waits at its prompt.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) client: usize,
    pub(crate) word: &'static str,
    pub(crate) packet: u32,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) topic: String,
}
