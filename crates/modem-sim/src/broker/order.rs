//! What a connection is asked, and what it tells.

use bytes::Bytes;
use tokio::{sync::mpsc, time::Duration};

use super::{failure::Failure, handshake::Terms};

/// What a connection begins with.
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
    /// How long the whole may take.
    pub(crate) timeout: Duration,
    /// Over TLS, and with what.
    pub(crate) tls: Option<Terms>,
    /// In MQTT 3.1 instead of 3.1.1.
    pub(crate) is_3_1: bool,
}

/// Where a connection leads that is signed in over later.
#[derive(Debug, Clone)]
pub(crate) struct Dial {
    /// Host and port as for a name look-up.
    pub(crate) address: String,
    /// How long the whole may take.
    pub(crate) timeout: Duration,
    /// Over TLS, and with what.
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

/// What a connection is asked to do.
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
    /// Stop (or go on) to read and write, as without radio.
    Freeze(bool),
}

/// What a connection tells.
#[derive(Debug)]
pub(crate) enum Event {
    /// TCP stands.
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
    /// The broker, or something on the way, has closed.
    Lost,
}

/// Where events go, with what tells a connection from earlier ones of the same client.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    pub(crate) client: usize,
    pub(crate) connection: u64,
    pub(crate) sender: mpsc::Sender<(usize, u64, Event)>,
}

impl Events {
    /// Fails only where the modem is gone, and then nobody is left to hear it.
    pub(super) async fn send(&self, event: Event) {
        drop(self.sender.send((self.client, self.connection, event)).await);
    }
}
