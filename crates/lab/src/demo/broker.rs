//! The demo's own MQTT 3.1.1 broker.
//!
//! One task owns subscriptions and retained messages. Each client has its own task
//! ([`api::client`]) that talks to that task. The broker is for the demo only: it has no sessions,
//! wills or passwords, and grants at most QoS 1, as §3.9.3 allows.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::Publish;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::client;
use fleet::topic_matches;

/// The most notes that wait for the broker. When the channel is full, the clients' tasks wait, and
/// so do their peers.
const NOTES: usize = 64;

/// The most clients: more than the demo and a few curious users need.
const CLIENTS: usize = 64;

/// The most topics with a retained message: more than the demo has. Beyond it no message is
/// retained.
const RETAINED: usize = 256;

/// The wait after a failed `accept`, since the next one may fail at once as well.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// A message from a client's task to the broker.
#[derive(Debug)]
pub(super) enum Note {
    /// A client connected. An earlier client with this id is disconnected (§3.1.4).
    Opened { connection: u64, id: String, outbox: mpsc::Sender<Publish> },
    /// It subscribed, with the granted QoS.
    Subscribed { connection: u64, filters: Vec<(String, QoS)> },
    /// It unsubscribed.
    Unsubscribed { connection: u64, filters: Vec<String> },
    /// It published.
    Published(Publish),
    /// Its connection ended.
    Closed { connection: u64 },
}

/// A broker that listens but does not serve yet.
pub(super) struct Broker {
    listener: TcpListener,
    address: SocketAddr,
}

impl Broker {
    /// Listens on a free port of the loopback.
    ///
    /// # Errors
    /// The system's error.
    pub(super) async fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Returns its address.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until it is dropped.
    ///
    /// # Cancel safety
    /// Dropping it closes every connection.
    pub(super) async fn run(self) {
        let (notes, mut inbox) = mpsc::channel(NOTES);
        let (mut hub, mut clients) = (Hub::default(), JoinSet::new());
        for connection in 0.. {
            // All three arms are cancel safe: a connection, a note or an end that is not taken now
            // stays for the next turn.
            let stream = loop {
                tokio::select! {
                    accepted = self.listener.accept(), if clients.len() < CLIENTS => break accepted,
                    Some(note) = inbox.recv() => hub.take(note),
                    Some(_) = clients.join_next() => {}
                }
            };
            match stream {
                Ok((stream, _)) => {
                    clients.spawn(serve(stream, connection, notes.clone()));
                }
                Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
            }
        }
    }
}

async fn serve(stream: TcpStream, connection: u64, notes: mpsc::Sender<Note>) {
    client::serve(stream, connection, &notes).await;
    // It fails only if the broker is gone, and then there is no state to clear.
    drop(notes.send(Note::Closed { connection }).await);
}

/// The broker's state: clients with their subscriptions, and retained messages.
#[derive(Default)]
struct Hub {
    clients: HashMap<u64, Client>,
    retained: BTreeMap<String, Publish>,
}

struct Client {
    id: String,
    outbox: mpsc::Sender<Publish>,
    filters: Vec<(String, QoS)>,
}

impl Client {
    /// Returns the best QoS of the matching subscriptions; `None` if none matches.
    fn wants(&self, topic: &str) -> Option<QoS> {
        let matching = self.filters.iter().filter(|(filter, _)| topic_matches(filter, topic));
        matching.map(|(_, qos)| *qos).reduce(|best, qos| if qos > best { qos } else { best })
    }

    /// Passes a message on. Returns false if the client is gone, or so far behind that it must be
    /// dropped.
    fn hand(&self, message: &Publish, granted: QoS) -> bool {
        let mut message = message.clone();
        message.qos = if granted < message.qos { granted } else { message.qos };
        self.outbox.try_send(message).is_ok()
    }
}

impl Hub {
    fn take(&mut self, note: Note) {
        match note {
            Note::Opened { connection, id, outbox } => {
                // The connection's task ends when its outbox is dropped.
                self.clients.retain(|_, client| client.id != id);
                self.clients.insert(connection, Client { id, outbox, filters: Vec::new() });
            }
            Note::Subscribed { connection, filters } => self.subscribe(connection, filters),
            Note::Unsubscribed { connection, filters } => {
                if let Some(client) = self.clients.get_mut(&connection) {
                    client.filters.retain(|(filter, _)| !filters.contains(filter));
                }
            }
            Note::Published(message) => self.publish(message),
            Note::Closed { connection } => {
                self.clients.remove(&connection);
            }
        }
    }

    fn subscribe(&mut self, connection: u64, filters: Vec<(String, QoS)>) {
        let Some(client) = self.clients.get_mut(&connection) else { return };
        for (filter, qos) in filters {
            client.filters.retain(|(known, _)| *known != filter);
            for (topic, message) in &self.retained {
                if topic_matches(&filter, topic) {
                    // If the client is too far behind at its first message, the next message shows
                    // it.
                    let _ = client.hand(message, qos);
                }
            }
            client.filters.push((filter, qos));
        }
    }

    fn publish(&mut self, mut message: Publish) {
        if message.retain {
            self.retain(&message);
        }
        // §3.3.1.3: only a message for a new subscription is marked as retained.
        message.retain = false;
        self.clients.retain(|_, client| {
            client.wants(&message.topic).is_none_or(|granted| client.hand(&message, granted))
        });
    }

    fn retain(&mut self, message: &Publish) {
        if message.payload.is_empty() {
            self.retained.remove(&message.topic);
        } else if self.retained.len() < RETAINED || self.retained.contains_key(&message.topic) {
            self.retained.insert(message.topic.clone(), message.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: &str, qos: QoS, retain: bool) -> Publish {
        let mut message = Publish::new(topic, qos, "x");
        message.retain = retain;
        message
    }

    fn client(hub: &mut Hub, connection: u64, depth: usize) -> mpsc::Receiver<Publish> {
        let (outbox, inbox) = mpsc::channel(depth);
        hub.take(Note::Opened { connection, id: format!("c{connection}"), outbox });
        inbox
    }

    fn subscribe(hub: &mut Hub, connection: u64, filter: &str, qos: QoS) {
        hub.take(Note::Subscribed { connection, filters: vec![(filter.to_owned(), qos)] });
    }

    #[test]
    fn who_subscribed_gets_one_copy_with_the_lower_qos() {
        let mut hub = Hub::default();
        let (mut one, mut two) = (client(&mut hub, 1, 8), client(&mut hub, 2, 8));
        subscribe(&mut hub, 1, "a/#", QoS::AtMostOnce);
        subscribe(&mut hub, 1, "a/+", QoS::AtLeastOnce);
        subscribe(&mut hub, 2, "b", QoS::AtLeastOnce);
        hub.take(Note::Published(message("a/b", QoS::ExactlyOnce, false)));
        assert_eq!(one.try_recv().unwrap().qos, QoS::AtLeastOnce);
        assert!(one.try_recv().is_err() && two.try_recv().is_err());
        hub.take(Note::Unsubscribed { connection: 2, filters: vec!["b".to_owned()] });
        hub.take(Note::Published(message("b", QoS::AtLeastOnce, false)));
        assert!(two.try_recv().is_err());
    }

    #[test]
    fn a_retained_message_waits_for_who_subscribes_later() {
        let mut hub = Hub::default();
        let mut one = client(&mut hub, 1, 8);
        hub.take(Note::Published(message("a", QoS::AtLeastOnce, true)));
        subscribe(&mut hub, 1, "#", QoS::AtLeastOnce);
        assert!(one.try_recv().unwrap().retain);
        let mut empty = message("a", QoS::AtLeastOnce, true);
        empty.payload.clear();
        hub.take(Note::Published(empty));
        assert!(!one.try_recv().unwrap().retain && hub.retained.is_empty());
    }

    #[test]
    fn who_does_not_read_is_thrown_out_and_so_is_a_namesake() {
        let mut hub = Hub::default();
        let _slow = client(&mut hub, 1, 1);
        subscribe(&mut hub, 1, "#", QoS::AtLeastOnce);
        hub.take(Note::Published(message("a", QoS::AtLeastOnce, false)));
        assert_eq!(hub.clients.len(), 1);
        hub.take(Note::Published(message("a", QoS::AtLeastOnce, false)));
        assert!(hub.clients.is_empty());
        for connection in [2, 3] {
            let (outbox, _) = mpsc::channel(1);
            hub.take(Note::Opened { connection, id: "same".to_owned(), outbox });
        }
        assert_eq!(hub.clients.keys().collect::<Vec<_>>(), [&3]);
    }
}
