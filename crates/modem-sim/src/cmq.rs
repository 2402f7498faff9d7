//! The MQTT stack of the SIM7020: `AT+CMQ…` for a single client, and this model's other answers of its own.
//!
//! Based on the AT manual V1.05 and on reports of users; no transcript of a unit was available. Gaps of the
//! manual are filled so that a host must not rely on them: a client stays used after its connection ended, and
//! an answer of `ERROR` has no code.

mod commands;
mod results;
mod stack;
mod status;

use tokio::time::Duration;

/// The only client of the modem, and of the simulator's connections.
const CLIENT: usize = 0;

/// The state of the client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Link {
    #[default]
    Free,
    /// NEW is under way.
    Opening,
    /// TCP is open; MQTT is not yet.
    Open,
    Connecting,
    Up,
    /// The connection ended; CMQDISCON frees the client.
    Ended,
}

/// The kind of an operation under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    New,
    Connect,
    Publish,
    Other,
    Disconnect,
}

/// An operation under way, and the port whose answer waits for it; `None` if the answer was given at once.
#[derive(Debug, Clone, Copy)]
struct Operation {
    doing: Doing,
    port: Option<usize>,
}

/// The only client.
#[derive(Debug)]
pub(crate) struct Client {
    link: Link,
    /// Distinguishes events of this connection from events of earlier connections.
    connection: u64,
    operation: Option<Operation>,
    server: String,
    timeout: Duration,
    /// The most bytes of a packet.
    buffer: usize,
    /// `CMQTSYNC`: an answer waits for the broker's.
    waits: bool,
    /// `CREVHEX`: payloads are hexadecimal digits.
    digits: bool,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            link: Link::Free,
            connection: 0,
            operation: None,
            server: String::new(),
            timeout: Duration::ZERO,
            buffer: 0,
            waits: false,
            digits: true,
        }
    }
}

impl Client {
    /// Returns the state after a reset: the settings, which are in flash, and the count that distinguishes late
    /// events of old connections from new events.
    fn after_reset(&self) -> Self {
        let Self { connection, waits, digits, .. } = *self;
        Self { connection, waits, digits, ..Self::default() }
    }

    /// Reports whether the client has a socket, or is about to open a socket.
    fn is_linked(&self) -> bool {
        matches!(self.link, Link::Opening | Link::Open | Link::Connecting | Link::Up)
    }
}
