//! The MQTT stack of the SIM7020: `AT+CMQ…` for one client, and what else this model answers in its own way.
//!
//! From the AT manual V1.05 and what users say of their units; no transcript of a unit was to be had. What the manual
//! leaves open is chosen so that a host must not rely on it: a client stays used after its connection ended, and an
//! answer of `ERROR` has no code.

mod commands;
mod results;
mod stack;
mod status;

use tokio::time::Duration;

/// The only client of the modem, and of the simulator's connections.
const CLIENT: usize = 0;

/// How far the client is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Link {
    #[default]
    Free,
    /// NEW is under way.
    Opening,
    /// TCP stands; MQTT does not yet.
    Open,
    Connecting,
    Up,
    /// The connection ended; CMQDISCON frees the client.
    Ended,
}

/// What an operation under way does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    New,
    Connect,
    Publish,
    Other,
    Disconnect,
}

/// An operation under way, and the port whose answer waits for it; none where the answer was given at once.
#[derive(Debug, Clone, Copy)]
struct Operation {
    doing: Doing,
    port: Option<usize>,
}

/// The one client.
#[derive(Debug)]
pub(crate) struct Client {
    link: Link,
    /// Tells events of this connection from those of earlier ones.
    connection: u64,
    operation: Option<Operation>,
    server: String,
    timeout: Duration,
    /// Bytes that a packet may have.
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
    /// What is left after a reset: the settings, which are in flash, and the count that tells late events of old
    /// connections from new ones.
    fn after_reset(&self) -> Self {
        let Self { connection, waits, digits, .. } = *self;
        Self { connection, waits, digits, ..Self::default() }
    }

    /// Whether it has a socket, or is about to.
    fn is_linked(&self) -> bool {
        matches!(self.link, Link::Opening | Link::Open | Link::Connecting | Link::Up)
    }
}
