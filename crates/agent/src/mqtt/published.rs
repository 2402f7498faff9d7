//! What a client published and is not on disk yet: in order, bounded, and held back while the queue is full.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesOrdered, StreamExt};
use queue::{MAX_NAME, MAX_PRIORITY, Receipt};
use tokio::time::Instant;

use super::wire::{Id, Message};
use super::{IN_HAND, ROOM_AGAIN};
use crate::config::{Name, SessionId};
use crate::hand_in::{HandIn, Refusal, Submission, Way};

/// A message of the client that is not answered yet.
#[derive(Debug)]
pub(super) struct Held {
    /// Its packet's number where its QoS is 1 or 2.
    pub(super) id: Option<Id>,
    submission: Submission,
    /// Why it is refused whatever the queue says; it is answered in its turn all the same.
    flaw: Option<Refusal>,
    /// Whether the full queue refused it: from then on it is alone on its way.
    refused: bool,
}

impl Held {
    /// A message as it came.
    pub(super) fn new(id: Option<Id>, message: Message) -> Self {
        let reserved = message.topic.split('/').next() == Some("$SYS");
        let topic = message.topic.clone();
        match submission(message) {
            Ok(submission) if reserved => {
                let reason = "must not begin with $SYS: that is the broker's own";
                Self {
                    id,
                    submission,
                    flaw: Some(Refusal::Topic { topic, reason }),
                    refused: false,
                }
            }
            Ok(submission) => Self { id, submission, flaw: None, refused: false },
            Err(flaw) => Self {
                id,
                submission: Submission::new(topic, Vec::new()),
                flaw: Some(flaw),
                refused: false,
            },
        }
    }

    /// 0, 1 or 2.
    pub(super) fn qos(&self) -> u8 {
        self.submission.qos
    }
}

/// A message as it is handed in. Message expiry is its time to live, and the user properties `session`,
/// `priority` and `idempotency-key` are what the HTTP API's parameters of these names are; others are left alone.
pub(super) fn submission(message: Message) -> Result<Submission, Refusal> {
    let mut submission = Submission {
        qos: message.qos,
        retain: message.retain,
        ttl: message.expiry,
        ..Submission::new(message.topic, message.payload)
    };
    for (name, value) in message.properties {
        match name.as_str() {
            "session" => submission.session = Some(session(&value)?),
            "priority" => submission.priority = priority(&value)?,
            "idempotency-key" => submission.key = Some(key(value)?),
            _ => {}
        }
    }
    Ok(submission)
}

fn session(value: &str) -> Result<SessionId, Refusal> {
    let id = value.split_once('/').and_then(|(modem, session)| {
        Some(SessionId { modem: Name::new(modem)?, session: Name::new(session)? })
    });
    id.ok_or_else(|| wrong("session", "is MODEM/SESSION".to_owned()))
}

fn priority(value: &str) -> Result<u8, Refusal> {
    let number = value.parse().ok().filter(|number| *number <= MAX_PRIORITY);
    number.ok_or_else(|| wrong("priority", format!("is a number from 0 to {MAX_PRIORITY}")))
}

fn key(value: String) -> Result<String, Refusal> {
    match value.len() {
        1..=MAX_NAME => Ok(value),
        _ => Err(wrong("idempotency-key", format!("has 1 to {MAX_NAME} bytes"))),
    }
}

fn wrong(name: &'static str, reason: String) -> Refusal {
    Refusal::Property { name, reason }
}

/// What became of a message.
pub(super) struct Settled {
    pub(super) held: Held,
    pub(super) result: Result<Receipt, Refusal>,
}

/// How a message of QoS 2 stands, by its packet's number (MQTT 3.1.1 §4.3.3).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Its first copy is on its way to the disk, and is answered once it is there.
    Storing,
    /// It is on disk; PUBREC was sent and PUBREL is awaited.
    Stored,
    /// It is new.
    New,
}

/// The messages of one client between PUBLISH and its answer.
pub(super) struct InHand {
    hand_in: HandIn,
    /// On their way to the disk, answered in the order they came.
    running: FuturesOrdered<BoxFuture<'static, Settled>>,
    /// Those that the full queue refused, in order; they go before all that came after them.
    again: VecDeque<Held>,
    waiting: VecDeque<Held>,
    refused_at: Option<Instant>,
    storing: HashSet<Id>,
    unreleased: HashSet<Id>,
}

impl InHand {
    pub(super) fn new(hand_in: HandIn) -> Self {
        Self {
            hand_in,
            running: FuturesOrdered::new(),
            again: VecDeque::new(),
            waiting: VecDeque::new(),
            refused_at: None,
            storing: HashSet::new(),
            unreleased: HashSet::new(),
        }
    }

    /// Whether one more may be read.
    pub(super) fn has_place(&self) -> bool {
        let held = self.running.len() + self.again.len() + self.waiting.len();
        held < usize::from(IN_HAND)
    }

    /// Whether a message of QoS 2 with this number was seen.
    pub(super) fn known(&self, id: Id) -> Known {
        if self.unreleased.contains(&id) {
            Known::Stored
        } else if self.storing.contains(&id) {
            Known::Storing
        } else {
            Known::New
        }
    }

    /// PUBREL came: the number is free. `false` where it was not taken.
    pub(super) fn release(&mut self, id: Id) -> bool {
        self.unreleased.remove(&id)
    }

    /// Takes a message to be stored.
    pub(super) fn push(&mut self, held: Held) {
        if let (2, Some(id)) = (held.qos(), held.id) {
            self.storing.insert(id);
        }
        self.waiting.push_back(held);
        self.start();
    }

    /// Starts what may be started: all of it while it fits surely, since what is appended together shares
    /// one sync; one at a time once the queue is full, so that none overtakes another.
    pub(super) fn start(&mut self) {
        while let Some(next) = self.again.front().or(self.waiting.front()) {
            if next.flaw.is_none() && !self.may_start(&next.submission) {
                break;
            }
            let next = self.again.pop_front().or_else(|| self.waiting.pop_front());
            let Some(held) = next else { break };
            self.running.push_back(settle(self.hand_in.clone(), held).boxed());
        }
    }

    fn may_start(&self, submission: &Submission) -> bool {
        let pause = |at: Instant| at.elapsed() >= ROOM_AGAIN;
        match self.refused_at {
            Some(at) => self.running.is_empty() && pause(at) && self.hand_in.has_room(submission),
            None => self.hand_in.has_room(submission),
        }
    }

    /// How long until the queue is asked again, where a message waits for that.
    pub(super) fn pause(&self) -> Option<Duration> {
        let waits = !self.again.is_empty() || !self.waiting.is_empty();
        waits.then_some(ROOM_AGAIN)
    }

    /// The next message whose fate is known, in the order they came.
    ///
    /// # Cancel safety
    /// A dropped call takes nothing.
    pub(super) async fn next(&mut self) -> Settled {
        match self.running.next().await {
            Some(settled) => settled,
            None => std::future::pending().await,
        }
    }

    /// Forgets the messages that the client sends again since they are not answered.
    pub(super) fn give_back(&mut self) {
        for held in [&mut self.again, &mut self.waiting] {
            held.retain(|held| held.qos() == 0);
        }
    }

    /// How many messages of QoS 0 wait for room.
    pub(super) fn waiting_of_qos_0(&self) -> usize {
        self.again.iter().chain(&self.waiting).filter(|held| held.qos() == 0).count()
    }

    /// Whether none is on its way to the disk.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Notes what became of a message and hands it on; a full queue is tried again instead.
    pub(super) fn settled(&mut self, settled: Settled) -> Option<Settled> {
        let Settled { mut held, result } = settled;
        if result.as_ref().is_err_and(Refusal::is_full) {
            self.refused_at = Some(Instant::now());
            // Others that came after it may have been refused with it the first time.
            if std::mem::replace(&mut held.refused, true) {
                self.again.push_front(held);
            } else {
                self.again.push_back(held);
            }
            return None;
        }
        if self.again.is_empty() {
            self.refused_at = None;
        }
        if let (2, Some(id)) = (held.qos(), held.id) {
            self.storing.remove(&id);
            if result.is_ok() {
                self.unreleased.insert(id);
            }
        }
        Some(Settled { held, result })
    }
}

async fn settle(hand_in: HandIn, mut held: Held) -> Settled {
    let result = match held.flaw.take() {
        Some(flaw) => {
            hand_in.refused(Way::Mqtt);
            Err(flaw)
        }
        // A copy stays here: a full queue is tried again.
        None => hand_in.take(Way::Mqtt, held.submission.clone()).await,
    };
    Settled { held, result }
}
