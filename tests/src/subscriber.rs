//! Another client of the broker, which keeps every message that arrives.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rumqttc::{Client, Event, MqttOptions, Packet, QoS};

use crate::wait::{until, within};

/// A message at the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
    /// The quality of service of this delivery: the sender's, since the subscription asks for 2.
    pub qos: u8,
    /// True if it had been retained before the subscription.
    pub retain: bool,
}

impl Received {
    /// The payload as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

/// A subscribed client that keeps its messages in order.
pub struct Subscriber {
    client: Client,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    subscribed: bool,
    messages: Vec<Received>,
}

impl Subscriber {
    /// Subscribes to everything at an open broker, and waits until it is done.
    #[must_use]
    pub fn new(port: u16) -> Self {
        Self::start(port, None)
    }

    /// As [`new`](Self::new), with a name and a password.
    #[must_use]
    pub fn with_login(port: u16, user: &str, password: &str) -> Self {
        Self::start(port, Some((user, password)))
    }

    fn start(port: u16, login: Option<(&str, &str)>) -> Self {
        // A second client of the same name would disconnect the first.
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("subscriber-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut options = MqttOptions::new(name, "127.0.0.1", port);
        options.set_max_packet_size(100_000, 100_000).set_keep_alive(Duration::from_secs(30));
        if let Some((user, password)) = login {
            options.set_credentials(user, password);
        }
        let (client, mut connection) = Client::new(options, 64);
        client.subscribe("#", QoS::ExactlyOnce).unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let sink = Arc::clone(&seen);
        thread::spawn(move || {
            for event in connection.iter() {
                let mut seen = sink.lock().unwrap_or_else(PoisonError::into_inner);
                match event {
                    Ok(Event::Incoming(Packet::SubAck(_))) => seen.subscribed = true,
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        let qos = match publish.qos {
                            QoS::AtMostOnce => 0,
                            QoS::AtLeastOnce => 1,
                            QoS::ExactlyOnce => 2,
                        };
                        let payload = publish.payload.to_vec();
                        let (topic, retain) = (publish.topic, publish.retain);
                        seen.messages.push(Received { topic, payload, qos, retain });
                    }
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        let subscriber = Self { client, seen };
        until("the subscription", || subscriber.look(|seen| seen.subscribed).then_some(()));
        subscriber
    }

    fn look<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns all messages in the order of their arrival.
    #[must_use]
    pub fn messages(&self) -> Vec<Received> {
        self.look(|seen| seen.messages.clone())
    }

    /// Returns the number of messages, duplicates included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.look(|seen| seen.messages.len())
    }

    /// Returns the payloads as text, without duplicates.
    #[must_use]
    pub fn distinct(&self) -> BTreeSet<String> {
        self.look(|seen| seen.messages.iter().map(Received::text).collect())
    }

    /// Waits until `count` different payloads are there; returns `false` if the limit passes first.
    #[must_use]
    pub fn has_within(&self, count: usize, limit: Duration) -> bool {
        within(limit, || (self.distinct().len() >= count).then_some(())).is_some()
    }

    /// Waits until `count` messages are there, and returns them.
    ///
    /// # Panics
    /// If they do not come in time.
    #[track_caller]
    pub fn wait(&self, count: usize) -> Vec<Received> {
        until(&format!("{count} messages at the broker"), || {
            (self.count() >= count).then(|| self.messages())
        })
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        drop(self.client.try_disconnect());
    }
}
