//! Messages of a client that are not on disk yet: in order, bounded, and held back while the queue is full.

use std::collections::{HashSet, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use queue::{MAX_NAME, MAX_PRIORITY, Receipt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::unconstrained;
use tokio::time::Instant;

use super::wire::{Id, Message};
use super::{IN_HAND, LEFT_COST, ROOM_AGAIN};
use crate::messages::hand_in::{HandIn, Refusal, Submission};
use crate::metrics::labels::WayIn;
use fleet::{Name, SessionId};

/// A message of the client that is not answered yet.
#[derive(Debug)]
pub(super) struct Unanswered {
    /// Its packet's number if its QoS is 1 or 2; a will has none.
    pub(super) id: Option<Id>,
    /// True if it is the client's will.
    pub(super) is_will: bool,
    submission: Submission,
    /// The reason for which it is refused whatever the queue says. It is answered in its turn all the same.
    flaw: Option<Refusal>,
    came: Instant,
    /// True if the queue was full after all: from then on it is alone on its way.
    was_refused: bool,
    /// Room in memory, once its client has gone.
    memory: Option<OwnedSemaphorePermit>,
}

impl Unanswered {
    /// A message as it came.
    pub(super) fn new(id: Option<Id>, message: Message) -> Self {
        let (topic, qos) = (message.topic.clone(), message.qos);
        let (submission, flaw) = match submission(message) {
            Ok(submission) => (submission, None),
            Err(flaw) => (Submission { qos, ..Submission::new(topic, Vec::new()) }, Some(flaw)),
        };
        let came = Instant::now();
        Self { id, is_will: false, submission, flaw, came, was_refused: false, memory: None }
    }

    /// The client's will.
    pub(super) fn will(message: Message) -> Self {
        Self { is_will: true, ..Self::new(None, message) }
    }

    /// 0, 1 or 2.
    pub(super) fn qos(&self) -> u8 {
        self.submission.qos
    }

    /// Reports whether the client gave it so little time that it is over.
    pub(super) fn has_expired(&self) -> bool {
        self.submission.ttl.is_some_and(|ttl| ttl <= self.came.elapsed())
    }

    /// Returns the message to hand in now: the wait here is a part of its time.
    fn now(&self) -> Submission {
        let ttl = self.submission.ttl.map(|ttl| ttl.saturating_sub(self.came.elapsed()));
        Submission { ttl, ..self.submission.clone() }
    }

    /// Bytes of memory, about.
    fn cost(&self) -> u32 {
        let bytes = self.submission.topic.len() + self.submission.payload.len();
        u32::try_from(bytes).unwrap_or(u32::MAX).saturating_add(LEFT_COST)
    }
}

/// A message as it is handed in. Message expiry is its time to live, and the user properties `session`,
/// `priority` and `idempotency-key` mean the same as the HTTP API's parameters of these names; others are left alone.
///
/// # Errors
/// [`Refusal`] of a message that contradicts its own properties.
pub(super) fn submission(message: Message) -> Result<Submission, Refusal> {
    // MQTT 5.0 §3.3.2.3.2
    if message.is_text && str::from_utf8(&message.payload).is_err() {
        return Err(Refusal::NoText);
    }
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

/// A message with its answer.
pub(super) struct Settled {
    pub(super) message: Unanswered,
    pub(super) result: Result<Receipt, Refusal>,
}

/// The state of a message of QoS 2, by its packet's number (MQTT 3.1.1 §4.3.3).
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
    /// In the order they came, in which they are started and answered too.
    line: VecDeque<Entry>,
    refused_at: Option<Instant>,
    unreleased: HashSet<Id>,
    /// Nothing is started: messages that an earlier client of the same name left behind go first.
    is_held_back: bool,
    /// Once the client has gone: memory for the messages of such clients.
    left: Option<Arc<Semaphore>>,
    lost: usize,
}

struct Entry {
    message: Unanswered,
    stage: Stage,
}

enum Stage {
    /// For its turn, or for room in the queue.
    Waiting,
    /// On its way to the disk.
    Running(BoxFuture<'static, Result<Receipt, Refusal>>),
    /// Its result is known, and is answered after those before it.
    Done(Result<Receipt, Refusal>),
}

impl InHand {
    pub(super) fn new(hand_in: HandIn) -> Self {
        Self {
            hand_in,
            line: VecDeque::new(),
            refused_at: None,
            unreleased: HashSet::new(),
            is_held_back: false,
            left: None,
            lost: 0,
        }
    }

    /// Starts nothing as long as this is set.
    pub(super) fn hold_back(&mut self, yes: bool) {
        self.is_held_back = yes;
    }

    /// Reports whether nothing may be started.
    pub(super) fn is_held_back(&self) -> bool {
        self.is_held_back
    }

    /// Reports whether one more may be read.
    pub(super) fn has_place(&self) -> bool {
        self.left.is_some() || self.line.len() < usize::from(IN_HAND)
    }

    /// Returns the state of the message of QoS 2 with this number.
    pub(super) fn known(&self, id: Id) -> Known {
        let is_it = |entry: &Entry| entry.message.id == Some(id) && entry.message.qos() == 2;
        if self.unreleased.contains(&id) {
            Known::Stored
        } else if self.line.iter().any(is_it) {
            Known::Storing
        } else {
            Known::New
        }
    }

    /// PUBREL came: the number is free. `false` if it was not taken.
    pub(super) fn release(&mut self, id: Id) -> bool {
        self.unreleased.remove(&id)
    }

    /// Takes a message to be stored. Of a client that has gone, only one that it would not send again.
    pub(super) fn push(&mut self, mut message: Unanswered) {
        if self.left.is_some() && !self.keep(&mut message) {
            return;
        }
        self.line.push_back(Entry { message, stage: Stage::Waiting });
        self.start();
    }

    /// Starts all messages that surely fit, since those that are appended together share one sync; one at a time once the
    /// queue was full after all. A started message has its room, so that none behind it is stored in its stead.
    pub(super) fn start(&mut self) {
        if self.is_held_back {
            return;
        }
        let mut is_alone = !self.line.iter().any(Entry::is_running);
        for Entry { message, stage } in &mut self.line {
            if !matches!(stage, Stage::Waiting) {
                continue;
            }
            if let Some(flaw) = message.flaw.take() {
                self.hand_in.refused(WayIn::Mqtt);
                *stage = Stage::Done(Err(flaw));
                continue;
            }
            if self.refused_at.is_some_and(|at| !is_alone || at.elapsed() < ROOM_AGAIN) {
                break;
            }
            let Some(room) = self.hand_in.reserve(&message.submission) else { break };
            let (hand_in, submission) = (self.hand_in.clone(), message.now());
            let taken =
                async move { hand_in.take_reserved(WayIn::Mqtt, submission, room).await }.boxed();
            *stage = Stage::Running(taken);
            is_alone = false;
        }
    }

    /// Returns the time until the queue is asked again, if a message waits for that.
    pub(super) fn pause(&self) -> Option<Duration> {
        self.line.iter().any(Entry::is_waiting).then_some(ROOM_AGAIN)
    }

    /// The next message whose result is known, in the order they came. `None` if the queue was full after
    /// all, so that one waits again.
    ///
    /// # Cancel safety
    /// A dropped call takes nothing.
    pub(super) async fn next(&mut self) -> Option<Settled> {
        // Not within tokio's budget: messages that it puts off would be woken, and stored, in the reverse order.
        unconstrained(poll_fn(|cx| self.poll_next(cx))).await
    }

    /// All are polled in their order, whichever was woken: the queue takes them as they ask for the first time.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Settled>> {
        if let Some(settled) = self.first() {
            return Poll::Ready(Some(settled));
        }
        let mut was_full = false;
        for Entry { message, stage } in &mut self.line {
            let Stage::Running(taken) = stage else { continue };
            let Poll::Ready(result) = taken.poll_unpin(cx) else { continue };
            if result.as_ref().is_err_and(Refusal::is_full) {
                (message.was_refused, was_full) = (true, true);
                self.refused_at = Some(Instant::now());
                *stage = Stage::Waiting;
            } else {
                *stage = Stage::Done(result);
            }
        }
        match self.first() {
            Some(settled) => Poll::Ready(Some(settled)),
            None if was_full => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// The first message, once its result is known.
    fn first(&mut self) -> Option<Settled> {
        let entry = self.line.pop_front()?;
        let (message, result) = match entry {
            Entry { message, stage: Stage::Done(result) } => (message, result),
            entry => {
                self.line.push_front(entry);
                return None;
            }
        };
        if !self.line.iter().any(|entry| entry.message.was_refused && entry.is_waiting()) {
            self.refused_at = None;
        }
        if let (2, Some(id), Ok(_)) = (message.qos(), message.id, &result) {
            self.unreleased.insert(id);
        }
        Some(Settled { message, result })
    }

    /// The client has gone. Messages that it sends again, since they are not answered, are forgotten. The rest waits for
    /// room in the queue as long as `memory` has room for it.
    pub(super) fn leave(&mut self, memory: &Arc<Semaphore>) {
        if self.left.replace(Arc::clone(memory)).is_some() {
            return;
        }
        for mut entry in std::mem::take(&mut self.line) {
            if !entry.is_waiting() || self.keep(&mut entry.message) {
                self.line.push_back(entry);
            }
        }
    }

    /// Makes room in memory for a message of a client that has gone. `false` if it is not kept.
    fn keep(&mut self, message: &mut Unanswered) -> bool {
        let Some(memory) = self.left.as_ref().filter(|_| message.id.is_none()) else {
            return false;
        };
        match Arc::clone(memory).try_acquire_many_owned(message.cost()) {
            Ok(permit) => message.memory = Some(permit),
            Err(_) => self.lost += 1,
        }
        message.memory.is_some()
    }

    /// Reports whether none is on its way to the disk, or would be if there were room.
    pub(super) fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Reports whether some are on their way to the disk, or not answered yet.
    pub(super) fn is_busy(&self) -> bool {
        self.line.iter().any(|entry| !entry.is_waiting())
    }

    /// Counts the messages that are lost if the line is dropped now: no client sends them again.
    pub(super) fn lost(&self) -> usize {
        let lost =
            self.line.iter().filter(|entry| entry.is_waiting() && entry.message.id.is_none());
        self.lost + lost.count()
    }
}

impl Entry {
    fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Waiting)
    }

    fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running(_))
    }
}

#[cfg(test)]
mod tests;
