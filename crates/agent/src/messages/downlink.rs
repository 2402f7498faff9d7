//! Downlink: messages that sessions receive, handed to local consumers.
//!
//! The modem acknowledges a message to the broker before the agent sees it. If there is an inbox, the message is
//! stored there first, and readers of the inbox miss nothing. All other consumers get messages as they come: one
//! that is not connected misses them, and so does one that falls behind by more than [`BACKLOG`] messages. A missed
//! message is counted by a metric, and an event stream has the count in its place. Nothing waits for a consumer,
//! least of all the modem.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use inbox::{Inbox, NewMessage};
use tokio::sync::mpsc;

use crate::metrics::Metrics;
use crate::metrics::labels::ConsumerKind;
use fleet::{SessionId, check_received, topic_matches};

/// Messages that wait for one consumer. A burst of them waits; a consumer that falls further behind misses the
/// newest. Consumers share the messages' bytes, which are at most about 11 KiB each.
pub const BACKLOG: usize = 256;

/// MQTT clients that subscribe at the same time: as many as the listener has connections.
const SUBSCRIBERS: usize = 256;

/// Event streams at the same time.
const READERS: usize = 128;

/// A message that a session received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The session.
    pub session: SessionId,
    /// Its topic.
    pub topic: String,
    /// The most its QoS can be: modems do not report it, the subscription bounds it.
    pub qos: u8,
    /// Any bytes.
    pub payload: Bytes,
}

/// The place for messages that sessions receive; a cheap handle, to be cloned.
#[derive(Clone)]
pub struct Downlink {
    inner: Arc<Inner>,
}

struct Inner {
    metrics: Arc<Metrics>,
    inbox: Option<Inbox>,
    consumers: Mutex<Consumers>,
}

#[derive(Default)]
struct Consumers {
    next: u64,
    all: BTreeMap<u64, Consumer>,
}

impl Consumers {
    fn has_place(&self, kind: ConsumerKind) -> bool {
        let taken = self.all.values().filter(|it| it.kind == kind && it.has_place).count();
        taken < places(kind)
    }
}

struct Consumer {
    kind: ConsumerKind,
    /// True from its first filter on: a client that only publishes takes no place from others.
    has_place: bool,
    /// True if it wants all topics, those with a leading `$` included, which `#` does not reach.
    everything: bool,
    /// True if it reads stored messages from the inbox, and gets here those that could not be stored.
    reads_inbox: bool,
    /// Filters with the QoS granted.
    filters: Vec<(String, u8)>,
    outbox: mpsc::Sender<(Arc<Message>, u8)>,
    missed: Arc<AtomicU64>,
}

impl Consumer {
    /// The best QoS of the filters that match; `None` if none does.
    fn wants(&self, topic: &str) -> Option<u8> {
        if self.everything {
            return Some(2);
        }
        let matching = self.filters.iter().filter(|(filter, _)| topic_matches(filter, topic));
        matching.map(|(_, qos)| *qos).max()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Consumers> {
        // No code that holds the lock leaves it half changed.
        self.consumers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The most consumers of a kind.
fn places(kind: ConsumerKind) -> usize {
    match kind {
        ConsumerKind::Mqtt => SUBSCRIBERS,
        ConsumerKind::Sse => READERS,
    }
}

impl Downlink {
    /// No consumer yet.
    pub fn new(metrics: Arc<Metrics>, inbox: Option<Inbox>) -> Self {
        Self { inner: Arc::new(Inner { metrics, inbox, consumers: Mutex::default() }) }
    }

    /// The inbox in which messages are stored first, if there is one.
    pub fn inbox(&self) -> Option<&Inbox> {
        self.inner.inbox.as_ref()
    }

    /// Judges a message's topic, stores the message if there is an inbox, and hands it to everyone who wants it and has room;
    /// returns at once. One that comes faster than the disk takes them is given to no consumer, and is
    /// counted by the inbox: it must not overtake those before it.
    ///
    /// On a topic that MQTT does not allow it is given to no consumer, and is counted: clients of the listener would close their
    /// connection for it, and miss others.
    pub fn deliver(&self, message: Message) {
        if let Err(reason) = check_received(&message.topic) {
            self.inner.metrics.applications.downlink_refused(&message.session);
            // Without the topic, so that the log counts repetitions instead.
            let session = &message.session;
            return tracing::warn!(%session, "a received message is dropped: its topic {reason}");
        }
        let message = Arc::new(message);
        let Some(inbox) = &self.inner.inbox else { return self.spread(&message, false) };
        let stored = NewMessage {
            source: message.session.to_string(),
            topic: message.topic.clone(),
            qos: message.qos,
            payload: message.payload.clone(),
        };
        let downlink = self.clone();
        // A disk that refused it is no reason to withhold it.
        let then = move |stored: Result<_, _>| downlink.spread(&message, stored.is_ok());
        if inbox.put(stored, then).is_err() {
            tracing::warn!("messages arrive faster than the disk stores them: the newest are lost");
        }
    }

    /// Hands a message to everyone who wants it and has room.
    fn spread(&self, message: &Arc<Message>, is_stored: bool) {
        for consumer in self.inner.lock().all.values().filter(|c| !(is_stored && c.reads_inbox)) {
            let Some(granted) = consumer.wants(&message.topic) else { continue };
            let delivery = (Arc::clone(message), granted.min(message.qos));
            // A closed outbox belongs to a consumer that is just going.
            if let Err(mpsc::error::TrySendError::Full(_)) = consumer.outbox.try_send(delivery) {
                consumer.missed.fetch_add(1, Ordering::Relaxed);
                self.inner.metrics.applications.downlink_dropped(consumer.kind, 1);
            }
        }
    }

    /// A reader of an event stream, with no filter yet; `None` if there are too many.
    pub fn reader(&self) -> Option<Subscription> {
        let consumers = self.inner.lock();
        consumers.has_place(ConsumerKind::Sse).then(|| self.add(consumers, ConsumerKind::Sse, true))
    }

    /// A client of the MQTT listener, which takes a place with its first filter.
    pub fn client(&self) -> Subscription {
        self.add(self.inner.lock(), ConsumerKind::Mqtt, false)
    }

    fn add(
        &self,
        mut consumers: MutexGuard<'_, Consumers>,
        kind: ConsumerKind,
        has_place: bool,
    ) -> Subscription {
        let (outbox, inbox) = mpsc::channel(BACKLOG);
        let missed = Arc::default();
        let consumer = Consumer {
            kind,
            has_place,
            everything: false,
            reads_inbox: false,
            filters: Vec::new(),
            outbox,
            missed: Arc::clone(&missed),
        };
        let id = consumers.next;
        consumers.next = id.wrapping_add(1);
        consumers.all.insert(id, consumer);
        Subscription { id, downlink: self.clone(), inbox, missed }
    }
}

/// One consumer's place; it ends when this is dropped.
pub struct Subscription {
    id: u64,
    downlink: Downlink,
    inbox: mpsc::Receiver<(Arc<Message>, u8)>,
    missed: Arc<AtomicU64>,
}

impl Subscription {
    /// The next message, with the QoS to deliver it with.
    ///
    /// # Cancel safety
    /// A dropped call takes nothing.
    pub async fn next(&mut self) -> (Arc<Message>, u8) {
        match self.inbox.recv().await {
            Some(delivery) => delivery,
            // The other end is in the map until this is dropped.
            None => std::future::pending().await,
        }
    }

    /// Returns the number of messages that were missed since the last call.
    pub fn take_missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }

    /// From now on every message comes, whatever its topic.
    pub fn want_everything(&self) {
        if let Some(own) = self.downlink.inner.lock().all.get_mut(&self.id) {
            own.everything = true;
        }
    }

    /// From now on it reads stored messages from the inbox, and gets only the others here.
    pub fn read_from_inbox(&self) {
        if let Some(own) = self.downlink.inner.lock().all.get_mut(&self.id) {
            own.reads_inbox = true;
        }
    }

    /// Adds a filter, or gives it another QoS. `false` if there would be more than `most`, or if all places are taken.
    pub fn add(&self, filter: &str, qos: u8, most: usize) -> bool {
        let mut consumers = self.downlink.inner.lock();
        let is_free = |own: &Consumer| own.has_place || consumers.has_place(own.kind);
        let has_place = consumers.all.get(&self.id).is_some_and(is_free);
        let Some(own) = consumers.all.get_mut(&self.id).filter(|_| has_place) else { return false };
        own.filters.retain(|(known, _)| known != filter);
        let fits = own.filters.len() < most;
        if fits {
            own.filters.push((filter.to_owned(), qos));
        }
        own.has_place |= fits;
        fits
    }

    /// Takes a filter away. `false` if there was none.
    pub fn remove(&self, filter: &str) -> bool {
        let mut consumers = self.downlink.inner.lock();
        let Some(own) = consumers.all.get_mut(&self.id) else { return false };
        let before = own.filters.len();
        own.filters.retain(|(known, _)| known != filter);
        own.filters.len() < before
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.downlink.inner.lock().all.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::Name;

    fn message(topic: &str) -> Message {
        let name = |text| Name::new(text).unwrap();
        Message {
            session: SessionId { modem: name("north"), session: name("cloud") },
            topic: topic.to_owned(),
            qos: 1,
            payload: Bytes::from_static(b"x"),
        }
    }

    #[tokio::test]
    async fn a_message_comes_once_with_the_best_qos_of_the_filters_that_match() {
        let downlink = Downlink::new(Metrics::new().unwrap(), None);
        let mut one = downlink.client();
        assert!(one.add("a/#", 0, 2) && one.add("a/+", 1, 2) && !one.add("b", 1, 2));
        downlink.deliver(message("b"));
        downlink.deliver(message("a/b"));
        let (got, qos) = one.next().await;
        assert_eq!((got.topic.as_str(), qos), ("a/b", 1));
        assert!(one.remove("a/+") && !one.remove("a/+"));
        downlink.deliver(message("a/c"));
        let (got, qos) = one.next().await;
        assert_eq!((got.topic.as_str(), qos), ("a/c", 0), "nothing of a/b came twice");
    }

    #[tokio::test]
    async fn a_topic_that_is_none_reaches_neither_consumers_nor_the_inbox() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Inbox::open(inbox::Config::new(dir.path(), topic_matches)).unwrap();
        let metrics = Metrics::new().unwrap();
        let downlink = Downlink::new(Arc::clone(&metrics), Some(inbox.clone()));
        let mut stream = downlink.reader().unwrap();
        stream.want_everything();
        for bad in ["", "a/#", "+", "a\0b", "a\u{1}", "a\u{9f}", "\u{fffe}", "\u{fdd0}/a"] {
            downlink.deliver(message(bad));
        }
        for good in ["$SYS/broker/uptime", "a b", &"x".repeat(2_000)] {
            downlink.deliver(message(good));
            assert_eq!(stream.next().await.0.topic, good);
        }
        assert_eq!(inbox.read("r", None, 10).await.unwrap().messages.len(), 3);
        let families = metrics.registry().gather();
        let refused = families.iter().find(|f| f.name() == "modemfleet_downlink_refused_total");
        assert_eq!(refused.unwrap().get_metric()[0].get_counter().get_value(), 8.0);
        inbox.close().await;
    }

    #[tokio::test]
    async fn who_falls_behind_misses_the_newest_and_is_told_how_many() {
        let downlink = Downlink::new(Metrics::new().unwrap(), None);
        let (mut slow, mut quick) = (downlink.reader().unwrap(), downlink.client());
        assert!(slow.add("#", 2, 1) && quick.add("#", 1, 1));
        for number in 0..BACKLOG + 3 {
            downlink.deliver(message(&number.to_string()));
            assert_eq!(quick.next().await.0.topic, number.to_string());
        }
        assert_eq!((slow.take_missed(), slow.take_missed(), quick.take_missed()), (3, 0, 0));
        assert_eq!(slow.next().await.0.topic, "0");
    }

    #[tokio::test]
    async fn readers_and_subscribers_have_places_of_their_own_and_who_only_publishes_takes_none() {
        let downlink = Downlink::new(Metrics::new().unwrap(), None);
        let mut publishers: Vec<_> = (0..SUBSCRIBERS).map(|_| downlink.client()).collect();
        let readers: Vec<_> = (0..READERS).map(|_| downlink.reader().unwrap()).collect();
        assert!(downlink.reader().is_none());
        let subscribers: Vec<_> = (0..SUBSCRIBERS).map(|_| downlink.client()).collect();
        assert!(subscribers.iter().all(|it| it.add("a", 1, 2) && it.add("b", 1, 2)));
        let late = publishers.pop().unwrap();
        assert!(!late.add("a", 1, 2));
        assert!(subscribers[0].remove("a") && subscribers[0].add("c", 1, 2));
        drop((subscribers, readers));
        assert!(late.add("a", 1, 2) && downlink.reader().is_some());
    }

    #[tokio::test]
    async fn what_is_stored_comes_from_the_inbox_and_what_is_not_comes_here_to_all() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Inbox::open(inbox::Config::new(dir.path(), topic_matches)).unwrap();
        let downlink = Downlink::new(Metrics::new().unwrap(), Some(inbox.clone()));
        let (mut live, mut kept) = (downlink.reader().unwrap(), downlink.client());
        assert!(live.add("#", 2, 1) && kept.add("#", 1, 1));
        kept.read_from_inbox();
        downlink.deliver(message("stored"));
        assert_eq!(live.next().await.0.topic, "stored");
        let page = inbox.read("r", None, 10).await.unwrap();
        let (_, stored) = &page.messages[0];
        assert_eq!((stored.topic.as_str(), stored.source.as_str()), ("stored", "north/cloud"));
        // As if the disk refused it.
        inbox.close().await;
        downlink.deliver(message("not stored"));
        assert_eq!(live.next().await.0.topic, "not stored");
        assert_eq!(kept.next().await.0.topic, "not stored", "and the one before came elsewhere");
    }
}
