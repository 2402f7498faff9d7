//! Hand-in: the one place in which all messages of applications are checked and stored.
//!
//! A message is checked, given its lane, and appended to the queue; the answer comes once it is on disk.
//! HTTP and MQTT differ only in reading a message and in answering it.

mod identity;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use modem::mqtt::MAX_PAYLOAD;
use queue::{
    AppendError, DEFAULT_PRIORITY, InvalidMessage, Key, LaneStat, MessageId, NewMessage, Outcome,
    Receipt, StoreError,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::messages::forward::{LONGEST_ID, Variables, batch, lanes, session_lane};
use crate::metrics::Metrics;
use crate::metrics::labels::WayIn;
use crate::now::{Now, View, find_session};
use fleet::{Route, SessionId, Template};

pub use identity::identity;

/// The longest topic, in bytes: the modems' limit.
pub const MAX_TOPIC: usize = 1_024;

/// A message as an application hands it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Its topic.
    pub topic: String,
    /// Any bytes, at most [`MAX_PAYLOAD`].
    pub payload: Vec<u8>,
    /// 0, 1 or 2: how the modem publishes it.
    pub qos: u8,
    /// True if the broker is to keep it.
    pub retain: bool,
    /// The session that it waits for, whatever the routes say.
    pub session: Option<SessionId>,
    /// The time for which it is worth sending.
    pub ttl: Option<Duration>,
    /// 0 to [`queue::MAX_PRIORITY`].
    pub priority: u8,
    /// A second message with a remembered key stores nothing.
    pub key: Option<String>,
}

impl Submission {
    /// A message of QoS 1 that takes its route, never expires and has no key.
    pub fn new(topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: 1,
            retain: false,
            session: None,
            ttl: None,
            priority: DEFAULT_PRIORITY,
            key: None,
        }
    }
}

/// The reason for which a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The agent is ending.
    #[error("the agent is ending")]
    Ending,
    /// The topic is too long, or no topic.
    #[error("the topic {} is not valid: {reason}", shown(topic))]
    Topic {
        /// The topic.
        topic: String,
        /// The end of a sentence.
        reason: &'static str,
    },
    /// The payload is longer than a modem takes.
    #[error("the payload has {bytes} bytes; at most {MAX_PAYLOAD} fit")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// It is larger than the modem of any path takes, or empty if they take nothing empty.
    #[error(
        "no modem of the route takes a topic of {topic} and a payload of {payload} bytes; they take {room}"
    )]
    TooLargeForPaths {
        /// Bytes of the topic.
        topic: usize,
        /// Bytes of the payload.
        payload: usize,
        /// The sizes that they take, in words.
        room: String,
    },
    /// The fleet has no such session.
    #[error("there is no session {session}; there are: {known}")]
    UnknownSession {
        /// The session asked for.
        session: SessionId,
        /// Those there are.
        known: String,
    },
    /// It cannot stand in a batch of its route.
    #[error("the payload {reason}")]
    Unbatchable {
        /// The end of a sentence.
        reason: &'static str,
    },
    /// It is said to be text (MQTT 5's Payload Format Indicator), and is none.
    #[error("the payload is marked as UTF-8, but is not UTF-8")]
    NoText,
    /// No route matches.
    #[error("no route matches the topic {topic:?}")]
    NoRoute {
        /// The topic.
        topic: String,
    },
    /// A user property of MQTT 5 that means something here has a value that means nothing.
    #[error("the user property {name} {reason}")]
    Property {
        /// Its name.
        name: &'static str,
        /// The end of a sentence.
        reason: String,
    },
    /// The queue did not take it.
    #[error(transparent)]
    Queue(AppendError),
}

/// The beginning of a topic that may be long and may hold anything.
fn shown(topic: &str) -> String {
    let mut shown: String = topic.chars().take(64).collect();
    if shown.len() < topic.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Store(StoreError::Closed) => Self::Ending,
            AppendError::Invalid(InvalidMessage::Topic { .. }) => {
                Self::Topic { topic: String::new(), reason: "must not be longer than 1024 bytes" }
            }
            error => Self::Queue(error),
        }
    }
}

impl Refusal {
    /// Reports whether the queue is full: the same message may be taken later.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Queue(AppendError::Full { .. }))
    }

    /// Reports whether the disk failed, which is not the caller's fault.
    pub fn is_disk(&self) -> bool {
        matches!(self, Self::Queue(AppendError::Store(_)))
    }
}

/// The answer to a message that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Of the message, or of its first copy.
    pub first: Receipt,
    /// The ids of all its copies with the first, in the order of the route's paths; empty if there is one
    /// message only.
    pub copies: Vec<MessageId>,
}

impl Taken {
    /// Of the receipts of all copies.
    fn of(receipts: Vec<Receipt>) -> Result<Self, AppendError> {
        let first = *receipts.first().ok_or(AppendError::Store(StoreError::Closed))?;
        let copies = match receipts.as_slice() {
            [_] => Vec::new(),
            all => all.iter().map(|receipt| receipt.id).collect(),
        };
        Ok(Self { first, copies })
    }
}

/// The way in of messages; a cheap handle, to be cloned.
#[derive(Clone)]
pub struct HandIn {
    view: View,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    /// The messages on their way to the disk, which will be in the queue's figures.
    on_its_way: watch::Sender<Amount>,
}

impl HandIn {
    /// Hand-in by the routes and into the queue of `view`, until `stop`.
    pub fn new(view: View, metrics: Arc<Metrics>, stop: CancellationToken) -> Self {
        Self { view, metrics, stop, on_its_way: watch::Sender::default() }
    }

    /// Takes a message; when this answers, it is on disk or was given up by the queue's policy
    /// ([`Outcome::Dropped`]). Calls that are polled for the first time in some order are appended in
    /// that order, as long as none of them has to wait for tokio's budget or for a place in the queue's line.
    ///
    /// # Errors
    /// [`Refusal`]; the message was then not taken.
    ///
    /// # Cancel safety
    /// A dropped call may or may not have taken the message.
    pub async fn take(&self, way: WayIn, submission: Submission) -> Result<Receipt, Refusal> {
        self.take_copies(way, submission).await.map(|taken| taken.first)
    }

    /// [`Self::take`], which names the copies as well that a route of the policy `all` makes.
    ///
    /// # Errors
    /// [`Refusal`]; nothing was then taken.
    ///
    /// # Cancel safety
    /// The same as for [`Self::take`].
    pub async fn take_copies(&self, way: WayIn, submission: Submission) -> Result<Taken, Refusal> {
        self.take_into(way, submission, None).await
    }

    /// As [`Self::take`], into the room that was reserved for this message.
    ///
    /// # Errors
    /// As [`Self::take`].
    ///
    /// # Cancel safety
    /// The same as for [`Self::take`]; the room is free again.
    pub async fn take_reserved(
        &self,
        way: WayIn,
        submission: Submission,
        room: Room,
    ) -> Result<Receipt, Refusal> {
        self.take_into(way, submission, Some(room)).await.map(|taken| taken.first)
    }

    async fn take_into(
        &self,
        way: WayIn,
        submission: Submission,
        room: Option<Room>,
    ) -> Result<Taken, Refusal> {
        let taken = self.append(submission, room).await;
        let result = match taken.as_ref().map(|taken| taken.first.outcome) {
            Ok(Outcome::Stored | Outcome::Duplicate) => "accepted",
            Ok(Outcome::Dropped) => "dropped",
            Err(refusal) if refusal.is_disk() => "failed",
            Err(_) => "refused",
        };
        if let Err(refusal) = &taken
            && refusal.is_disk()
        {
            let words = modem::session::Chain(refusal);
            tracing::error!("a message could not be stored: {words}");
        }
        self.metrics.applications.handed_in(way, result);
        taken
    }

    /// Counts a message that was refused before it came to [`Self::take`].
    pub fn refused(&self, way: WayIn) {
        self.metrics.applications.handed_in(way, "refused");
    }

    /// Checks that a message of this topic could be handed in now. Its end is not foretold.
    ///
    /// # Errors
    /// [`Refusal`], as [`Self::take`] would say it.
    pub fn check(&self, submission: &Submission) -> Result<(), Refusal> {
        self.checked(submission)?;
        lanes(&self.view.now(), submission).map(drop)
    }

    /// Room for a message in all its copies, beside all that is on its way. `None` if it does not fit surely.
    /// A queue that drops instead of refusing always has room.
    pub fn reserve(&self, submission: &Submission) -> Option<Room> {
        // What cannot be taken needs no room: it is refused for that.
        let lanes = lanes(&self.view.now(), submission).unwrap_or_default();
        self.reserve_in(&lanes, submission, |fits, _| fits)
    }

    /// Reserves room in these lanes if `may` allows it. Its arguments: the message fits, and so many others are on their way.
    fn reserve_in(
        &self,
        lanes: &[String],
        submission: &Submission,
        may: impl Fn(bool, Amount) -> bool,
    ) -> Option<Room> {
        let (size, amount) = (size(submission), Self::amount(submission, lanes));
        let reserved = self.on_its_way.send_if_modified(|on_its_way| {
            let Amount { messages, bytes } = *on_its_way;
            let beside = LaneStat { messages, bytes };
            let yes = may(self.view.queue.has_room(lanes, size, beside), *on_its_way);
            if yes {
                on_its_way.add(amount);
            }
            yes
        });
        reserved.then(|| Room { of: self.on_its_way.clone(), amount })
    }

    /// Returns what a submission costs against the queue's bounds, in all its copies.
    fn amount(submission: &Submission, lanes: &[String]) -> Amount {
        let copies = u64::try_from(lanes.len()).unwrap_or(u64::MAX);
        Amount { messages: copies, bytes: size(submission).saturating_mul(copies) }
    }

    /// Room for a message that does not wait for it. The queue may know its key; it is asked even if it is full,
    /// but only once nothing is on its way: room that others have reserved is theirs.
    async fn room(&self, lanes: &[String], submission: &Submission) -> Result<Room, Refusal> {
        let has_key = submission.key.is_some();
        let mut on_its_way = self.on_its_way.subscribe();
        loop {
            let may = |fits, others: Amount| fits || (has_key && others == Amount::default());
            if let Some(room) = self.reserve_in(lanes, submission, may) {
                return Ok(room);
            }
            if !has_key {
                let now = self.view.now();
                let config = &now.fleet.queue;
                let (max_bytes, max_messages) = (config.max_bytes, config.max_messages);
                return Err(AppendError::Full { max_bytes, max_messages }.into());
            }
            // An error is the end of what this borrows.
            drop(on_its_way.changed().await);
        }
    }

    async fn append(&self, submission: Submission, room: Option<Room>) -> Result<Taken, Refusal> {
        if self.stop.is_cancelled() {
            return Err(Refusal::Ending);
        }
        self.checked(&submission)?;
        let now = self.view.now();
        let lanes = lanes(&now, &submission)?;
        let _room = match room {
            Some(room) => room,
            None => self.room(&lanes, &submission).await?,
        };
        let taken = self.view.queue.append_copies(message(submission, &lanes), lanes).await;
        // A reload came in between: its lane may be one without a forwarder.
        if !Arc::ptr_eq(&now, &self.view.now()) {
            self.view.strays.notify_one();
        }
        Ok(Taken::of(taken?)?)
    }

    fn checked(&self, submission: &Submission) -> Result<(), Refusal> {
        let topic = &submission.topic;
        fleet::check_name(topic)
            .map_err(|reason| Refusal::Topic { topic: topic.clone(), reason })?;
        let bytes = submission.payload.len();
        if bytes > MAX_PAYLOAD { Err(Refusal::TooLarge { bytes }) } else { Ok(()) }
    }
}

fn message(submission: Submission, lanes: &[String]) -> NewMessage {
    let key = submission.key.clone();
    NewMessage {
        lane: lanes.first().cloned().unwrap_or_default(),
        qos: submission.qos,
        retain: submission.retain,
        priority: submission.priority,
        expires_at: submission.ttl.and_then(|ttl| SystemTime::now().checked_add(ttl)),
        key: key.map(|name| Key { name, digest: identity(&submission) }),
        ..NewMessage::new("", submission.topic, submission.payload)
    }
}

/// The lanes in which a message waits: its session's, or those of the first route that matches.
fn lanes(now: &Now, submission: &Submission) -> Result<Vec<String>, Refusal> {
    let (topic, payload) = (submission.topic.as_str(), submission.payload.as_slice());
    if let Some(session) = &submission.session {
        if find_session(&now.modems, session).is_some() {
            let published = Published { topic, bytes: payload.len(), publish_as: None };
            published.fits(now, std::slice::from_ref(session))?;
            return Ok(vec![session_lane(session)]);
        }
        let known: Vec<String> = now.sessions().map(|s| s.id.to_string()).collect();
        let known = known.join(", ");
        return Err(Refusal::UnknownSession { session: session.clone(), known });
    }
    let Some(route) = now.fleet.route(topic).filter(|route| !route.to.is_empty()) else {
        return Err(Refusal::NoRoute { topic: topic.to_owned() });
    };
    let publish_as = route.publish_as.as_ref();
    let published = Published { topic, bytes: payload.len(), publish_as };
    published.check_topics(now, &route.to)?;
    let published = Published { bytes: published_bytes(route, payload)?, ..published };
    let lanes = lanes::of_topic(route, topic);
    lanes.iter().try_for_each(|lane| published.fits(now, &lane.to))?;
    Ok(lanes.into_iter().map(|lane| lane.name).collect())
}

/// A message as its route publishes it.
struct Published<'a> {
    /// The topic that it is handed in with.
    topic: &'a str,
    /// Bytes of its payload.
    bytes: usize,
    publish_as: Option<&'a Template>,
}

impl Published<'_> {
    fn variables<'a>(&'a self, now: &'a Now, session: &'a fleet::Session) -> Variables<'a> {
        let (id, gateway) = (LONGEST_ID, now.fleet.gateway.as_str());
        Variables { topic: self.topic, id, gateway, session: &session.id, vars: &session.vars }
    }

    /// Checks that the topic by the route is valid on each of these paths.
    fn check_topics(&self, now: &Now, to: &[SessionId]) -> Result<(), Refusal> {
        let Some(publish_as) = self.publish_as else { return Ok(()) };
        for session in now.fleet.sessions().filter(|session| to.contains(&session.id)) {
            let topic = self.variables(now, session).fill(Some(publish_as));
            fleet::check_name(&topic)
                .map_err(|reason| Refusal::Topic { topic: topic.clone(), reason })?;
        }
        Ok(())
    }

    /// Bytes of the topic on which this session publishes it.
    fn topic_length(&self, now: &Now, id: &SessionId) -> usize {
        let by_route = || {
            let session = now.fleet.sessions().find(|session| session.id == *id)?;
            Some(self.variables(now, session).length(self.publish_as))
        };
        self.publish_as.and_then(|_| by_route()).unwrap_or(self.topic.len())
    }

    /// Checks that one of the paths takes its sizes, as far as their modems are known.
    fn fits(&self, now: &Now, to: &[SessionId]) -> Result<(), Refusal> {
        let takes = |id: &SessionId| {
            let modem = now.modem(id.modem.as_str());
            let topic = || self.topic_length(now, id);
            modem.is_none_or(|modem| modem.snapshot.borrow().may_take(topic(), self.bytes))
        };
        if to.iter().any(takes) {
            return Ok(());
        }
        let modems = to.iter().filter_map(|id| now.modem(id.modem.as_str()));
        let rooms: BTreeSet<_> =
            modems.filter_map(|modem| modem.snapshot.borrow().room()).collect();
        let room = rooms.into_iter().collect::<Vec<_>>().join(", or ");
        let topic = to.iter().map(|id| self.topic_length(now, id)).min();
        let topic = topic.unwrap_or(self.topic.len());
        Err(Refusal::TooLargeForPaths { topic, payload: self.bytes, room })
    }
}

/// Bytes of the payload as its route publishes it, alone in its batch if it makes batches.
fn published_bytes(route: &Route, payload: &[u8]) -> Result<usize, Refusal> {
    let Some(batch) = &route.batch else { return Ok(payload.len()) };
    if let Some(reason) = batch::flaw(batch, payload) {
        return Err(Refusal::Unbatchable { reason });
    }
    let bytes = batch::alone(batch, payload.len());
    if bytes > MAX_PAYLOAD { Err(Refusal::TooLarge { bytes }) } else { Ok(bytes) }
}

/// The cost of a submission against the queue's bound.
fn size(submission: &Submission) -> u64 {
    let bytes = submission.topic.len().saturating_add(submission.payload.len());
    u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(queue::OVERHEAD)
}

/// So many messages of so many accounted bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amount {
    messages: u64,
    bytes: u64,
}

impl Amount {
    fn add(&mut self, other: Self) {
        self.messages = self.messages.saturating_add(other.messages);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    fn take(&mut self, other: Self) {
        self.messages = self.messages.saturating_sub(other.messages);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

/// Room in the queue for one message, reserved until this is dropped.
#[derive(Debug)]
pub struct Room {
    of: watch::Sender<Amount>,
    amount: Amount,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.of.send_modify(|on_its_way| on_its_way.take(self.amount));
    }
}
