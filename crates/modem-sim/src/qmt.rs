//! The MQTT stack of Quectel's modems: `AT+QMT…` for six clients, each with a connection of its own.
//!
//! From public logs and third-party drivers, not from Quectel's manual. Operations are accepted by `OK` and end
//! with their line. Settings outlive a connection. A command for a client that is not open is refused with
//! `ERROR`.

mod buffer;
mod commands;
mod results;
mod stack;

use buffer::Buffer;

use crate::{broker, command::Arg, stack::CLIENTS, ufs::Storage};

/// The state of a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Link {
    #[default]
    Down,
    /// OPEN is under way.
    Opening,
    /// TCP is open; MQTT is not yet.
    Open,
    Connecting,
    Up,
}

/// An operation under way: its command's word, its port, and the packet's number.
#[derive(Debug, Clone, Copy)]
struct Operation {
    word: &'static str,
    port: usize,
    packet: Option<u32>,
}

/// The destination of OPEN.
#[derive(Debug, Clone)]
struct Target {
    host: String,
    port: u32,
}

/// Settings of `QMTCFG`; they stay until the modem boots.
#[derive(Debug, Clone)]
struct Settings {
    keep_alive: u32,
    clean: bool,
    will: Option<broker::Will>,
    packet_timeout: u32,
    buffered: bool,
    with_length: bool,
    /// `"dataformat"`: true if payloads are hexadecimal digits, sent and received.
    hex: (bool, bool),
    /// The TLS context, if TLS is on.
    tls: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keep_alive: 120,
            clean: true,
            will: None,
            packet_timeout: 5,
            buffered: false,
            with_length: false,
            hex: (false, false),
            tls: None,
        }
    }
}

/// A client.
#[derive(Debug, Default)]
struct Client {
    link: Link,
    /// Distinguishes events of this connection from events of earlier connections.
    connection: u64,
    operation: Option<Operation>,
    target: Option<Target>,
    settings: Settings,
    /// Messages that were announced and not yet read.
    buffer: Buffer,
}

/// The clients.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    clients: [Client; CLIENTS],
    /// The number of connections so far.
    connections: u64,
    storage: Storage,
}

impl Clients {
    /// Returns the state after a reset: files, and the count that distinguishes late events of old connections
    /// from new events.
    fn after_reset(&mut self) -> Self {
        let storage = self.storage.after_reset();
        Self { connections: self.connections, storage, ..Self::default() }
    }

    /// Applies the settings of an earlier program that read its messages.
    fn leave_buffered(&mut self) {
        self.clients.iter_mut().for_each(|client| client.settings.buffered = true);
    }

    /// Applies the settings of an earlier program that wrote digits.
    fn leave_hex(&mut self) {
        self.clients.iter_mut().for_each(|client| client.settings.hex = (true, true));
    }

    fn by_connection(&mut self, index: usize, connection: u64) -> Option<&mut Client> {
        self.clients.get_mut(index).filter(|client| client.connection == connection)
    }
}

/// Returns the index in the first argument.
fn index(args: &[Arg]) -> Option<usize> {
    usize::try_from(args.first()?.within(0..=5)?).ok()
}
