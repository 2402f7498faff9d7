//! The questions of a forwarder to the queue. It never waits for an answer: what the sessions say meanwhile is heard.

use std::time::Duration;

use modem::session::Chain;
use queue::{Lease, State, StoreError, Trace};
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::batch::flaw;
use super::super::ledger::{End, MOST_SUSPECTS, Order};
use super::super::target::Target;
use super::Forwarder;

/// Messages leased ahead, so that the modem never waits for the disk: as many as were used up within
/// [`AHEAD_TIME`], between these bounds. Those that are leased no longer make way for a higher priority.
const AHEAD: (usize, usize) = (2, 16);

/// The time that messages leased ahead should last.
const AHEAD_TIME: Duration = Duration::from_millis(50);

/// The wait after the store failed.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// The most messages that are held although they wait for nothing but the disk, as when it refuses to set them aside.
const STRANDED: usize = 64;

/// An answer of the queue.
pub(super) enum Answer {
    /// The messages that were asked for in this round.
    Leased(u64, Result<Vec<Lease>, StoreError>),
    /// The end of a message is on disk, or could not be written.
    Ended(Order, Result<bool, StoreError>),
    /// The place of a message that was passed over.
    Found(Result<Option<Trace>, StoreError>),
}

/// The state of leasing, and whether there is more.
pub(super) struct Leases {
    leasable: watch::Receiver<u64>,
    /// Answers of an earlier round came too late: what they hold may be out of order by now.
    round: u64,
    is_asking: bool,
    /// Since nothing changed, there is no more to be had from this priority on.
    dry_from: Option<u8>,
    asked: usize,
    /// The number to lease ahead, and when that was done last.
    ahead: usize,
    last: Instant,
}

impl Leases {
    pub(super) fn new(leasable: watch::Receiver<u64>) -> Self {
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

    /// Waits until there may be more. `false`: the queue was closed.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub(super) async fn more(&mut self) -> bool {
        let more = self.leasable.changed().await.is_ok();
        self.dry_from = None;
        more
    }

    /// Reports whether more may come with this floor.
    fn may_come(&mut self, floor: u8) -> bool {
        if self.leasable.has_changed().unwrap_or(false) {
            self.dry_from = None;
        }
        self.is_asking || self.dry_from.is_none_or(|dry| floor < dry)
    }
}

impl Forwarder {
    /// Below so many that wait, more are leased.
    fn wanted(&self) -> usize {
        let batched = self.routing.batch.as_ref().map_or(0, |batch| batch.max_messages);
        batched.max(self.leases.ahead / 2).max(1)
    }

    /// The least and the most to lease ahead: enough for each place of a window.
    fn ahead(&self) -> (usize, usize) {
        let window = self.targets.iter().map(|target| target.uplink.window.size()).max();
        let batch = self.routing.batch.as_ref().map_or(1, |batch| batch.max_messages);
        let least = AHEAD.0.max(window.unwrap_or_default().saturating_mul(batch));
        (least, AHEAD.1.max(least))
    }

    /// The most that is held at all: what all windows take, what is leased ahead, and what cannot go.
    fn most(&self) -> usize {
        let windows = self.targets.iter().map(|target| target.uplink.window.size()).sum::<usize>();
        let batch = self.routing.batch.as_ref().map_or(1, |batch| batch.max_messages);
        windows.saturating_mul(batch) + self.ahead().1 + MOST_SUSPECTS + STRANDED
    }

    /// Reports whether more are wanted than there are.
    pub(super) fn is_hungry(&self) -> bool {
        let must_wait = self.leases.is_asking || self.retry_at.is_some();
        !must_wait && self.has_path && self.ledger.waiting() < self.wanted()
    }

    /// Reports whether more messages may follow.
    pub(super) fn may_follow(&mut self) -> bool {
        let floor = self.floor();
        self.leases.may_come(floor)
    }

    /// Asks for messages, if some are wanted and there may be any.
    pub(super) fn lease(&mut self) {
        let floor = self.floor();
        if !self.is_hungry() || !self.leases.may_come(floor) {
            return;
        }
        let stat = self.queue.stat();
        if stat.lanes.get(self.lane.as_str()).is_none_or(|lane| lane.messages == 0) {
            self.leases.leasable.borrow_and_update();
            self.leases.dry_from = Some(floor);
            return;
        }
        let (least, most) = self.ahead();
        let leases = &mut self.leases;
        let fast = leases.last.elapsed() < AHEAD_TIME;
        leases.ahead = if fast { leases.ahead * 2 } else { leases.ahead / 2 }.clamp(least, most);
        let wanted = leases.ahead.saturating_sub(self.ledger.waiting());
        let wanted = wanted.min(self.most().saturating_sub(self.ledger.len()));
        if wanted == 0 {
            return;
        }
        let leases = &mut self.leases;
        leases.leasable.borrow_and_update();
        (leases.last, leases.is_asking, leases.asked) = (Instant::now(), true, wanted);
        // Unless as many come as were asked for.
        leases.dry_from = Some(floor);
        let (queue, lane, round) = (self.queue.clone(), self.lane.clone(), leases.round);
        self.asked.push(Box::pin(async move {
            Answer::Leased(round, queue.lease_from(&lane, wanted, floor).await)
        }));
    }

    /// Gives back what waits, and has the queue hand out again what was passed over: all comes anew, in its order.
    pub(super) fn look_again(&mut self) {
        self.withdraw_all();
        self.passed.look_again(&self.queue, &self.lane);
        self.ledger.looked_again();
        self.leases.dry_from = None;
    }

    /// Gives back what waits, so that priorities and expiry hold for it.
    pub(super) fn withdraw_all(&mut self) {
        self.leases.round += 1;
        for id in self.ledger.withdraw_all() {
            drop(self.queue.release(id));
        }
    }

    pub(super) fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Leased(round, found) => {
                self.leases.is_asking = false;
                match found {
                    Ok(leases) => self.leased(round, leases),
                    Err(StoreError::Closed) => {}
                    Err(error) => {
                        let lane = &self.lane;
                        tracing::error!(lane, "could not lease messages: {}", Chain(&error));
                        self.leases.dry_from = None;
                        self.retry_at = Some(Instant::now() + STORE_RETRY);
                    }
                }
            }
            Answer::Ended(order, Ok(_)) => self.ledger.committed(order),
            // The queue was closed under it: there is no later.
            Answer::Ended(_, Err(StoreError::Closed)) => {}
            Answer::Ended(order, Err(error)) => {
                let id = self.ledger.lease(order).map(|lease| lease.id.to_string());
                tracing::error!(
                    id,
                    "could not record the outcome of a message; trying again: {}",
                    Chain(&error)
                );
                self.ledger.not_committed(order);
                self.retry_at = Some(Instant::now() + STORE_RETRY);
            }
            Answer::Found(Ok(found)) => {
                let is_there =
                    found.is_some_and(|t| matches!(t.state, State::Waiting | State::Leased));
                if !is_there {
                    self.look_again();
                }
            }
            Answer::Found(Err(_)) => {}
        }
    }

    fn leased(&mut self, round: u64, leases: Vec<Lease>) {
        if leases.len() >= self.leases.asked {
            self.leases.dry_from = None;
        }
        for lease in leases {
            if round != self.leases.round {
                drop(self.queue.release(lease.id));
                continue;
            }
            // Hand-in refuses such a message; this one was there before its route made batches.
            let flaw = self.routing.batch.as_ref().and_then(|batch| flaw(batch, &lease.payload));
            match (self.ledger.admit(lease), flaw) {
                (Ok(order), Some(flaw)) => self.refuse(order, &format!("its payload {flaw}")),
                (Ok(_), None) => {}
                (Err(suspect), _) => self.passed.pass_over(&self.queue, suspect.id, None),
            }
        }
    }

    pub(super) fn refuse(&mut self, order: Order, words: &str) {
        self.ledger.set_aside(order, "refused", words);
        self.begin_end(order);
    }

    /// Passes one over that only an absent path can take.
    pub(super) fn pass_over(&mut self, order: Order) {
        if let Some(lease) = self.ledger.withdraw(order) {
            self.passed.pass_over(&self.queue, lease.id, Some(lease.appended_at));
        }
    }

    /// Tries again what the disk refused, when it is time.
    pub(super) fn retry(&mut self) {
        if self.retry_at.is_some_and(|at| at <= Instant::now()) {
            self.retry_at = None;
            for order in self.ledger.again() {
                self.commit(order);
            }
        }
    }

    /// Looks whether the oldest message is still there that only an absent path can take.
    pub(super) fn check_passed(&mut self) {
        if let Some(id) = self.passed.due(Instant::now()) {
            let queue = self.queue.clone();
            self.asked.push(Box::pin(async move { Answer::Found(queue.trace(id).await) }));
        }
    }

    /// Sends the end of a message on its way to the disk; if the agent dies before it is there, a delivered one
    /// is published once more.
    pub(super) fn commit(&mut self, order: Order) {
        let may_ride = !self.may_follow() && self.ledger.waits() == 0;
        let Some((lease, end)) = self.ledger.end(order) else { return };
        let id = lease.id;
        match end {
            End::Acknowledged { path } => {
                let Some(Target { path, uplink, .. }) = self.targets.get(*path) else { return };
                // It may wait for another commit as long as nobody waits for its place, nor may soon.
                if may_ride && !uplink.window.is_full() {
                    let done = self.queue.ack_with_next(id, path);
                    self.asked.push(Box::pin(async move { Answer::Ended(order, done.await) }));
                } else {
                    let done = self.queue.ack(id, path);
                    self.asked.push(Box::pin(async move { Answer::Ended(order, done.await) }));
                }
            }
            End::Aside { reason, words } => {
                let done = self.queue.set_aside(id, reason, words);
                self.asked.push(Box::pin(async move { Answer::Ended(order, done.await) }));
            }
        }
    }
}
