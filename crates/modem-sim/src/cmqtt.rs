//! The MQTT service on board: the state of `AT+CMQTT…` for its two clients.
//!
//! The commands are in [`commands`], [`fields`] and [`filters`]. The ends of operations and the broker's
//! messages are in [`results`], the firmware's view in [`stack`].

mod aliauth;
mod code;
mod commands;
mod fields;
mod filters;
mod queries;
mod results;
mod stack;

use aliauth::Triple;

use crate::{broker, model::Order, tls::Contexts};

/// The state of a client's connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Link {
    #[default]
    Down,
    Connecting,
    Up,
    /// The keep-alive failed: the connection is lost, but the host has to disconnect.
    Dead,
}

/// The order in which the result of an operation is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telling {
    /// `OK` at once, the result later.
    OkFirst,
    /// The result, then `OK`; or the result, then `ERROR`.
    ResultFirst,
    /// `OK`, then the result; or the result, then `ERROR`, with nothing before.
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

/// The values given to ACCQ.
#[derive(Debug)]
struct Acquired {
    id: String,
    tls: bool,
    /// 3 is MQTT 3.1, 4 is 3.1.1.
    version: u32,
    /// True if `ACCQ?` prints the version, as on models whose ACCQ takes it.
    shows_version: bool,
}

/// The values given to CONNECT, all of which `CONNECT?` prints.
#[derive(Debug)]
struct Target {
    url: String,
    keep_alive: u32,
    clean: u32,
    user: Option<String>,
    password: Option<String>,
}

/// A client, of two.
#[derive(Debug)]
struct Client {
    acquired: Option<Acquired>,
    link: Link,
    /// Distinguishes events of this connection from events of earlier connections.
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
    /// The device with which it signs in by itself.
    triple: Option<Triple>,
    all_ports: bool,
    /// Messages are printed in a single line, with their length or without (A76xx, "argtopic").
    one_line: Option<bool>,
    /// True if the client is in use for ever, and nothing releases it.
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
    /// The number of connections so far.
    connections: u64,
    tls: Contexts,
}

impl Service {
    /// Returns the state after a reset or a loss of the network: files and contexts of TLS, and the count that
    /// distinguishes late events of old connections from new events. If clients are left over, they stay too.
    fn after_reset(&mut self, leaves_clients: bool) -> Self {
        let tls = std::mem::take(&mut self.tls);
        let mut service = Self { connections: self.connections, tls, ..Self::default() };
        if leaves_clients {
            for (left, client) in service.clients.iter_mut().zip(&mut self.clients) {
                left.acquired = client.acquired.take();
                left.connection = client.connection;
            }
        }
        service
    }

    /// Acquires both clients, as an earlier program did.
    fn leave_clients(&mut self) {
        for client in self.clients.iter_mut().filter(|client| client.acquired.is_none()) {
            let id = "earlier".to_owned();
            client.acquired = Some(Acquired { id, tls: false, version: 4, shows_version: true });
        }
    }

    /// Returns the clients that are connected.
    fn connected(&self) -> Vec<usize> {
        let up = self.clients.iter().enumerate().filter(|(_, client)| client.link == Link::Up);
        up.map(|(index, _)| index).collect()
    }

    /// Returns the client of this event, unless its connection is over.
    fn by_connection(&mut self, index: usize, connection: u64) -> Option<&mut Client> {
        self.clients.get_mut(index).filter(|client| client.connection == connection)
    }
}

/// Returns the will of a connection, if both its parts were given.
fn will(client: &Client) -> Option<broker::Will> {
    let topic = String::from_utf8(client.will_topic.clone()?).ok()?;
    let (message, qos) = client.will_message.clone()?;
    // This stack cannot have a will retained.
    Some(broker::Will { topic, message, qos, retain: false })
}
