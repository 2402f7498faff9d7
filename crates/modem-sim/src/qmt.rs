//! The MQTT stack of Quectel's modems: `AT+QMT…` for six clients, each with a connection of its own.
//!
//! From public logs and third-party drivers, not from Quectel's manual: operations are accepted by `OK` and end with
//! their line; settings outlive a connection; what is not open is refused with `ERROR`.

mod buffer;
mod commands;
mod results;
mod stack;

use buffer::Buffer;

use crate::{broker, command::Arg, stack::CLIENTS, ufs::Storage};

/// How far a client is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Link {
    #[default]
    Down,
    /// OPEN is under way.
    Opening,
    /// TCP stands; MQTT does not yet.
    Open,
    Connecting,
    Up,
}

/// An operation under way: its command's word, the port that asked, and the packet's number.
#[derive(Debug, Clone, Copy)]
struct Operation {
    word: &'static str,
    port: usize,
    packet: Option<u32>,
}

/// Where OPEN leads.
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
    /// `"dataformat"`: whether payloads are hexadecimal digits, on their way up and down.
    hex: (bool, bool),
    /// The TLS context, where it is to be over TLS.
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

/// One client.
#[derive(Debug, Default)]
struct Client {
    link: Link,
    /// Tells events of this connection from those of earlier ones.
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
    /// Connections so far.
    connections: u64,
    storage: Storage,
}

impl Clients {
    /// What is left after a reset: files, and the count that tells late events of old connections from new ones.
    fn after_reset(&mut self) -> Self {
        let storage = self.storage.after_reset();
        Self { connections: self.connections, storage, ..Self::default() }
    }

    /// The settings of an earlier program that read its messages.
    fn leave_buffered(&mut self) {
        self.clients.iter_mut().for_each(|client| client.settings.buffered = true);
    }

    /// The settings of an earlier program that wrote digits.
    fn leave_hex(&mut self) {
        self.clients.iter_mut().for_each(|client| client.settings.hex = (true, true));
    }

    fn by_connection(&mut self, index: usize, connection: u64) -> Option<&mut Client> {
        self.clients.get_mut(index).filter(|client| client.connection == connection)
    }
}

/// The index in the first argument.
fn index(args: &[Arg]) -> Option<usize> {
    usize::try_from(args.first()?.within(0..=5)?).ok()
}
