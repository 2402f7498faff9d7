//! The queue as the forwarder of one lane uses it. The forwarder asks, and meanwhile goes on hearing from its sessions.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use modem::session::Chain;
use queue::{Lease, MessageId, Queue, StoreError, Trace};
use tokio::sync::watch;
use tokio::time::Instant;

use super::ledger::Order;
use super::passed::Passed;

/// The least and the most messages leased ahead, so that the modem never waits for the disk: as many as were used up
/// within [`AHEAD_TIME`]. Those that are leased no longer make way for a higher priority.
const AHEAD: (usize, usize) = (2, 16);

/// The time that messages leased ahead should last.
const AHEAD_TIME: Duration = Duration::from_millis(50);

/// The wait after the store failed.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// An answer of the queue.
pub(super) enum Answer {
    /// The messages that were asked for in this round.
    Leased(Round, Result<Vec<Lease>, StoreError>),
    /// The end of a message is on disk, or could not be written.
    Ended(Order, Result<bool, StoreError>),
    /// The place of a message that was passed over.
    Found(Result<Option<Trace>, StoreError>),
}

/// An event of the queue.
pub(super) enum QueueEvent {
    Answer(Answer),
    /// There may be more to lease.
    More,
    /// The queue was closed.
    Closed,
}

/// The leases between two times at which all were given back. Those of an earlier round may be out of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Round(u64);

/// The queue, one of its lanes, and the questions that are open.
pub(super) struct LaneQueue {
    queue: Queue,
    lane: String,
    asked: FuturesUnordered<Pin<Box<dyn Future<Output = Answer> + Send>>>,
    leasing: Leasing,
    passed: Passed,
    /// The store failed: not before this time again.
    retry_at: Option<Instant>,
}

impl LaneQueue {
    pub(super) fn new(queue: Queue, lane: String) -> Self {
        Self {
            leasing: Leasing::new(queue.watch()),
            queue,
            lane,
            asked: FuturesUnordered::new(),
            passed: Passed::default(),
            retry_at: None,
        }
    }

    /// The next answer; `None` if no question is open.
    ///
    /// # Cancel safety
    /// A dropped call takes nothing.
    pub(super) async fn answer(&mut self) -> Option<Answer> {
        self.asked.next().await
    }

    /// Waits for an answer, or if `is_hungry` until there may be more to lease.
    ///
    /// # Cancel safety
    /// A dropped call takes nothing.
    pub(super) async fn event(&mut self, is_hungry: bool) -> QueueEvent {
        // Both arms are cancel safe, and none awaits in its body.
        tokio::select! {
            biased;
            Some(answer) = self.asked.next() => QueueEvent::Answer(answer),
            more = self.leasing.more(), if is_hungry => match more {
                true => QueueEvent::More,
                false => QueueEvent::Closed,
            },
            else => std::future::pending().await,
        }
    }

    fn ask(&self, answer: impl Future<Output = Answer> + Send + 'static) {
        self.asked.push(Box::pin(answer));
    }

    /// Reports whether messages may be leased now: no answer is due, and the store did not fail just now.
    pub(super) fn may_lease(&self) -> bool {
        !self.leasing.is_asking && self.retry_at.is_none()
    }

    /// Reports whether more messages may come, with this floor.
    pub(super) fn may_come(&mut self, floor: u8) -> bool {
        self.leasing.may_come(floor)
    }

    /// Below so many that wait, more are leased.
    pub(super) fn low(&self) -> usize {
        self.leasing.ahead / 2
    }

    /// The least and the most to lease ahead, if a lane needs this many to fill each place of a window.
    pub(super) fn ahead(filling: usize) -> (usize, usize) {
        let least = AHEAD.0.max(filling);
        (least, AHEAD.1.max(least))
    }

    /// Leases messages of at least the priority `floor`, if there may be any. `bounds`: the least and the most to lease
    /// ahead, of which `waiting` are there. `room`: so many more are taken.
    pub(super) fn lease(&mut self, floor: u8, bounds: (usize, usize), waiting: usize, room: usize) {
        if !self.leasing.may_come(floor) {
            return;
        }
        let stat = self.queue.stat();
        if stat.lanes.get(self.lane.as_str()).is_none_or(|lane| lane.messages == 0) {
            return self.leasing.is_dry(floor);
        }
        let wanted = self.leasing.adapt(bounds).saturating_sub(waiting).min(room);
        if wanted == 0 {
            return;
        }
        let round = self.leasing.ask(wanted, floor);
        let (queue, lane) = (self.queue.clone(), self.lane.clone());
        self.ask(
            async move { Answer::Leased(round, queue.lease_from(&lane, wanted, floor).await) },
        );
    }

    /// Takes in messages that were asked for. Those of an earlier round go back: they may be out of order.
    pub(super) fn leased(&mut self, round: Round, leases: Vec<Lease>) -> Vec<Lease> {
        if self.leasing.answered(round, leases.len()) {
            return leases;
        }
        leases.iter().for_each(|lease| self.release(lease.id));
        Vec::new()
    }

    /// Leasing failed: it is tried again later.
    pub(super) fn not_leased(&mut self, error: &StoreError) {
        self.leasing.is_asking = false;
        if matches!(error, StoreError::Closed) {
            return;
        }
        tracing::error!(lane = self.lane, "could not lease messages: {}", Chain(error));
        self.leasing.dry_from = None;
        self.try_later();
    }

    /// The store failed: it is asked again later.
    pub(super) fn try_later(&mut self) {
        self.retry_at = Some(Instant::now() + STORE_RETRY);
    }

    /// Gives a message back.
    pub(super) fn release(&self, id: MessageId) {
        drop(self.queue.release(id));
    }

    /// Gives these back, and whatever was asked for, so that priorities and expiry hold for them.
    pub(super) fn release_all(&mut self, ids: impl IntoIterator<Item = MessageId>) {
        self.leasing.round += 1;
        ids.into_iter().for_each(|id| self.release(id));
    }

    /// Passes a message over. `unfit`: when it was handed in, if only an absent path can take it.
    pub(super) fn pass_over(&mut self, id: MessageId, unfit: Option<SystemTime>) {
        self.passed.pass_over(&self.queue, id, unfit);
    }

    /// The messages that were passed over.
    pub(super) fn passed(&self) -> &Passed {
        &self.passed
    }

    /// Has the queue hand out again the messages that were passed over, each in its old place.
    pub(super) fn look_again(&mut self) {
        self.passed.look_again(&self.queue, &self.lane);
        self.leasing.dry_from = None;
    }

    /// Looks whether the oldest message is still there that only an absent path can take, if it is time.
    pub(super) fn check_passed(&mut self, now: Instant) {
        if let Some(id) = self.passed.due(now) {
            let queue = self.queue.clone();
            self.ask(async move { Answer::Found(queue.trace(id).await) });
        }
    }

    /// Records that a path has delivered a message. If the agent dies before that is on disk, the message is published
    /// once more. `may_ride`: it may wait for another commit.
    pub(super) fn ack(&self, order: Order, id: MessageId, path: &Arc<str>, may_ride: bool) {
        if may_ride {
            let done = self.queue.ack_with_next(id, path);
            self.ask(async move { Answer::Ended(order, done.await) });
        } else {
            let done = self.queue.ack(id, path);
            self.ask(async move { Answer::Ended(order, done.await) });
        }
    }

    /// Records that a message is set aside, with a word and more words.
    pub(super) fn set_aside(&self, order: Order, id: MessageId, reason: &str, words: &str) {
        let done = self.queue.set_aside(id, reason, words);
        self.ask(async move { Answer::Ended(order, done.await) });
    }

    /// Has the queue commit acknowledgements that wait for company.
    pub(super) fn hurry(&self) {
        self.queue.hurry();
    }

    /// The time to ask the store again after a failure.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Reports whether it is time to ask the store again after a failure.
    pub(super) fn retries(&mut self, now: Instant) -> bool {
        self.retry_at.take_if(|at| *at <= now).is_some()
    }
}

/// The state of leasing, and whether there is more.
struct Leasing {
    leasable: watch::Receiver<u64>,
    round: u64,
    is_asking: bool,
    /// Since nothing changed, there is no more to be had from this priority on.
    dry_from: Option<u8>,
    asked: usize,
    /// The number to lease ahead, and when that was done last.
    ahead: usize,
    last: Instant,
}

impl Leasing {
    fn new(leasable: watch::Receiver<u64>) -> Self {
        Self {
            leasable,
            round: 0,
            is_asking: false,
            dry_from: None,
            asked: 0,
            ahead: AHEAD.0,
            last: Instant::now(),
        }
    }

    async fn more(&mut self) -> bool {
        let more = self.leasable.changed().await.is_ok();
        self.dry_from = None;
        more
    }

    fn may_come(&mut self, floor: u8) -> bool {
        if self.leasable.has_changed().unwrap_or(false) {
            self.dry_from = None;
        }
        self.is_asking || self.dry_from.is_none_or(|dry| floor < dry)
    }

    fn is_dry(&mut self, floor: u8) {
        self.leasable.borrow_and_update();
        self.dry_from = Some(floor);
    }

    /// Leases more ahead if the last ones were used up fast, else fewer, between these bounds.
    fn adapt(&mut self, (least, most): (usize, usize)) -> usize {
        let is_fast = self.last.elapsed() < AHEAD_TIME;
        let ahead = if is_fast { self.ahead.saturating_mul(2) } else { self.ahead / 2 };
        self.ahead = ahead.clamp(least, most);
        self.ahead
    }

    /// Notes that so many are asked for. Unless as many come, there are no more.
    fn ask(&mut self, wanted: usize, floor: u8) -> Round {
        self.is_dry(floor);
        (self.last, self.is_asking, self.asked) = (Instant::now(), true, wanted);
        Round(self.round)
    }

    /// Notes that so many came. `false` if they are of an earlier round.
    fn answered(&mut self, round: Round, count: usize) -> bool {
        self.is_asking = false;
        if count >= self.asked {
            self.dry_from = None;
        }
        round == Round(self.round)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn more_may_come_until_fewer_come_than_were_asked_for_and_again_after_a_change() {
        let (change, leasable) = watch::channel(0);
        let mut leasing = Leasing::new(leasable);
        let round = leasing.ask(2, 4);
        assert!(leasing.may_come(9), "an answer is due");
        assert!(leasing.answered(round, 2) && leasing.may_come(4), "as many came as were wanted");
        let round = leasing.ask(2, 4);
        assert!(leasing.answered(round, 1) && !leasing.may_come(4) && !leasing.may_come(5));
        assert!(leasing.may_come(3), "of less priority there may be more");
        change.send_replace(1);
        assert!(leasing.may_come(4));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_an_earlier_round_is_not_taken() {
        let mut leasing = Leasing::new(watch::channel(0).1);
        let round = leasing.ask(2, 0);
        leasing.round += 1;
        assert!(!leasing.answered(round, 2) && !leasing.is_asking);
        let round = leasing.ask(2, 0);
        assert!(leasing.answered(round, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_are_leased_ahead_as_are_used_up_in_a_moment() {
        let mut leasing = Leasing::new(watch::channel(0).1);
        let mut ahead = Vec::new();
        for _ in 0..5 {
            ahead.push(leasing.adapt((3, 16)));
            leasing.ask(1, 0);
        }
        assert_eq!(ahead, [4, 8, 16, 16, 16]);
        tokio::time::advance(AHEAD_TIME).await;
        assert_eq!((leasing.adapt((3, 16)), leasing.adapt((3, 16))), (8, 4));
    }
}
