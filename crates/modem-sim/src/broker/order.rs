//! Orders to a connection, and its events.

use bytes::Bytes;
use tokio::{sync::mpsc, time::Duration};

use super::{failure::Failure, handshake::Terms};

/// The values with which a connection begins.
#[derive(Debug, Clone)]
pub(crate) struct Connect {
    /// Host and port as for a name look-up.
    pub(crate) address: String,
    pub(crate) client_id: String,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) keep_alive: u16,
    pub(crate) clean: bool,
    pub(crate) will: Option<Will>,
    /// The limit of the whole handshake.
    pub(crate) timeout: Duration,
    /// The terms of TLS, if TLS is on.
    pub(crate) tls: Option<Terms>,
    /// True for MQTT 3.1 instead of 3.1.1.
    pub(crate) is_3_1: bool,
}

/// The destination of a connection that signs in later.
#[derive(Debug, Clone)]
pub(crate) struct Dial {
    /// Host and port as for a name look-up.
    pub(crate) address: String,
    /// The limit of the whole handshake.
    pub(crate) timeout: Duration,
    /// The terms of TLS, if TLS is on.
    pub(crate) tls: Option<Terms>,
}

/// The will of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) message: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
}

/// An order to a connection.
#[derive(Debug)]
pub(crate) enum Order {
    /// Sign in over a connection that was only dialled.
    SignIn(Box<Connect>),
    Publish {
        topic: String,
        payload: Vec<u8>,
        qos: u8,
        retain: bool,
        dup: bool,
        timeout: Duration,
    },
    Subscribe {
        filters: Vec<(String, u8)>,
        timeout: Duration,
    },
    Unsubscribe {
        filters: Vec<String>,
        timeout: Duration,
    },
    Disconnect,
    /// Stop (or continue) to read and write, as without radio.
    Freeze(bool),
}

/// An event of a connection.
#[derive(Debug)]
pub(crate) enum Event {
    /// TCP is open.
    Dialled,
    Connected,
    /// No connection.
    Refused(Failure),
    /// The publish, subscribe or unsubscribe in flight has ended.
    Done(Result<(), Failure>),
    Disconnected,
    Message {
        topic: String,
        payload: Bytes,
    },
    /// No answer to a ping; the connection is given up.
    PingFailed,
    /// The broker, or a device on the way, has closed.
    Lost,
}

/// The channel of events, with the number that distinguishes a connection from earlier connections of the same
/// client.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    pub(crate) client: usize,
    pub(crate) connection: u64,
    pub(crate) sender: mpsc::Sender<(usize, u64, Event)>,
}

impl Events {
    /// Sends an event. Fails only if the modem is gone, and then nothing needs the event.
    pub(super) async fn send(&self, event: Event) {
        drop(self.sender.send((self.client, self.connection, event)).await);
    }
}
