//! The MQTT service on board: what `AT+CMQTT…` keeps for its two clients.
//!
//! The commands are in [`commands`], [`fields`] and [`filters`], the ends of operations and what comes from the broker in
//! [`results`].

mod aliauth;
mod commands;
mod fields;
mod filters;
mod queries;
mod results;

use aliauth::Triple;

use crate::{broker, model::Order, qmt::Outgoing};

/// Result codes (SIM7600 manual p.365, the same in the SIM82XX manual p.341).
pub(crate) mod code {
    pub(crate) const OK: u8 = 0;
    pub(crate) const FAILED: u8 = 1;
    pub(crate) const BAD_UTF8: u8 = 2;
    pub(crate) const SOCKET_CONNECT: u8 = 3;
    pub(crate) const RECEIVE: u8 = 6;
    pub(crate) const NETWORK_OPEN: u8 = 7;
    pub(crate) const NOT_OPENED: u8 = 9;
    pub(crate) const INDEX: u8 = 10;
    pub(crate) const NO_CONNECTION: u8 = 11;
    pub(crate) const PARAMETER: u8 = 12;
    pub(crate) const NOT_SUPPORTED: u8 = 13;
    pub(crate) const BUSY: u8 = 14;
    pub(crate) const SOCKET_SEND: u8 = 16;
    pub(crate) const TIMEOUT: u8 = 17;
    pub(crate) const NO_TOPIC: u8 = 18;
    pub(crate) const USED: u8 = 19;
    pub(crate) const NOT_ACQUIRED: u8 = 20;
    pub(crate) const NOT_RELEASED: u8 = 21;
    pub(crate) const LENGTH: u8 = 22;
    pub(crate) const OPENED: u8 = 23;
    pub(crate) const PACKET: u8 = 24;
    pub(crate) const DNS: u8 = 25;
    pub(crate) const CLOSED_BY_SERVER: u8 = 26;
    pub(crate) const REFUSED_VERSION: u8 = 27;
    pub(crate) const REFUSED_ID: u8 = 28;
    pub(crate) const REFUSED_UNAVAILABLE: u8 = 29;
    pub(crate) const REFUSED_LOGIN: u8 = 30;
    pub(crate) const REFUSED_NOT_AUTHORIZED: u8 = 31;
    pub(crate) const HANDSHAKE: u8 = 32;
    pub(crate) const NO_CERTIFICATE: u8 = 33;
    pub(crate) const SSL_SESSION: u8 = 34;
}

/// What prompt data is for.
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
    /// What asks for the data.
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
    /// A topic that is subscribed to at once.
    Sub {
        qos: u8,
    },
    /// A topic that is unsubscribed from at once.
    Unsub,
}

impl Field {
    /// The word of its command.
    fn word(self) -> &'static str {
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

/// How far a client's connection is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Link {
    #[default]
    Down,
    Connecting,
    Up,
    /// The keep-alive failed: gone, but the host has to disconnect.
    Dead,
}

/// How the result of an operation is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telling {
    /// `OK` at once, the result later.
    OkFirst,
    /// The result, then `OK`; or the result, then `ERROR`.
    ResultFirst,
    /// `OK`, then the result; or the result, then `ERROR`; nothing before.
    Early,
}

impl From<Order> for Telling {
    fn from(order: Order) -> Self {
        match order {
            Order::OkFirst => Self::OkFirst,
            Order::ResultFirst => Self::ResultFirst,
        }
    }
}

/// An operation under way.
#[derive(Debug, Clone, Copy)]
struct Operation {
    word: &'static str,
    port: usize,
    telling: Telling,
}

/// What ACCQ gave.
#[derive(Debug)]
struct Acquired {
    id: String,
    tls: bool,
    /// 3 is MQTT 3.1, 4 is 3.1.1.
    version: u32,
    /// Whether `ACCQ?` tells it, as where ACCQ takes it.
    shows_version: bool,
}

/// What CONNECT gave, for `CONNECT?`, which prints it all.
#[derive(Debug)]
struct Target {
    url: String,
    keep_alive: u32,
    clean: u32,
    user: Option<String>,
    password: Option<String>,
}

/// One of the two clients.
#[derive(Debug)]
struct Client {
    acquired: Option<Acquired>,
    link: Link,
    /// Tells events of this connection from those of earlier ones.
    connection: u64,
    operation: Option<Operation>,
    target: Option<Target>,
    topic: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
    will_topic: Option<Vec<u8>>,
    will_message: Option<(Vec<u8>, u8)>,
    subscribe: Vec<(Vec<u8>, u8)>,
    unsubscribe: Vec<Vec<u8>>,
    check_utf8: bool,
    operation_timeout: u32,
    tls_context: Option<u32>,
    /// What it signs in with by itself.
    triple: Option<Triple>,
    all_ports: bool,
    /// Messages come in one line, with their length or without (A76xx, "argtopic").
    one_line: Option<bool>,
    /// It is in use for ever, whatever is done to it.
    stuck: bool,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            acquired: None,
            link: Link::Down,
            connection: 0,
            operation: None,
            target: None,
            topic: None,
            payload: None,
            will_topic: None,
            will_message: None,
            subscribe: Vec::new(),
            unsubscribe: Vec::new(),
            check_utf8: true,
            operation_timeout: 120,
            tls_context: None,
            triple: None,
            all_ports: false,
            one_line: None,
            stuck: false,
        }
    }
}

/// The MQTT service.
#[derive(Debug, Default)]
pub(crate) struct Service {
    started: bool,
    clients: [Client; 2],
    /// Connections so far.
    connections: u64,
}

impl Service {
    /// What is left after a reset or a loss of the network: nothing but the count that tells late
    /// events of old connections from those of new ones; where clients are left over, they too.
    pub(crate) fn after_reset(&mut self, leaves_clients: bool) -> Self {
        let mut service = Self { connections: self.connections, ..Self::default() };
        if leaves_clients {
            for (left, client) in service.clients.iter_mut().zip(&mut self.clients) {
                left.acquired = client.acquired.take();
                left.connection = client.connection;
            }
        }
        service
    }

    /// Both clients are there, as of an earlier program.
    pub(crate) fn leave_clients(&mut self) {
        for client in self.clients.iter_mut().filter(|client| client.acquired.is_none()) {
            let id = "earlier".to_owned();
            client.acquired = Some(Acquired { id, tls: false, version: 4, shows_version: true });
        }
    }

    pub(crate) fn is_started(&self) -> bool {
        self.started
    }

    /// The clients that are connected.
    pub(crate) fn connected(&self) -> Vec<usize> {
        let up = self.clients.iter().enumerate().filter(|(_, client)| client.link == Link::Up);
        up.map(|(index, _)| index).collect()
    }

    /// The clients that have a socket or are about to.
    fn linked(&self) -> Vec<usize> {
        let linked = |link| matches!(link, Link::Connecting | Link::Up);
        let clients = self.clients.iter().enumerate().filter(|(_, client)| linked(client.link));
        clients.map(|(index, _)| index).collect()
    }

    /// The client that this event belongs to, unless its connection is over.
    fn by_connection(&mut self, index: usize, connection: u64) -> Option<&mut Client> {
        self.clients.get_mut(index).filter(|client| client.connection == connection)
    }
}

/// The will of a connection, where both its parts were given.
fn will(client: &Client) -> Option<broker::Will> {
    let topic = String::from_utf8(client.will_topic.clone()?).ok()?;
    let (message, qos) = client.will_message.clone()?;
    // This stack cannot have a will retained.
    Some(broker::Will { topic, message, qos, retain: false })
}
