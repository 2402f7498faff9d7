//! The forwarder's work with the queue: leases, and the record of each message's end.

use modem::session::Chain;
use queue::{Lease, State, StoreError};

use super::super::batch::flaw;
use super::super::lane_queue::{Answer, LaneQueue};
use super::super::ledger::{End, MOST_SUSPECTS, Order};
use super::Forwarder;

/// The most messages that are held although they wait for nothing but the disk, as when it refuses to set them aside.
const STRANDED: usize = 64;

impl Forwarder {
    /// The most messages of one publish.
    fn batch(&self) -> usize {
        self.paths.routing().batch.as_ref().map_or(1, |batch| batch.max_messages)
    }

    /// Reports whether more are wanted than there are.
    pub(super) fn is_hungry(&self) -> bool {
        let low = self.batch().max(self.queue.low());
        self.queue.may_lease() && self.paths.is_open() && self.ledger.waiting() < low
    }

    /// Reports whether more messages may follow.
    pub(super) fn may_follow(&mut self) -> bool {
        self.queue.may_come(self.paths.floor())
    }

    /// Leases messages, if some are wanted and there may be any. The most that is held at all: the messages of all
    /// windows, those that are leased ahead, and those that cannot go.
    pub(super) fn lease(&mut self) {
        if !self.is_hungry() {
            return;
        }
        let (largest, all) = self.paths.windows();
        let ahead = LaneQueue::ahead(largest.saturating_mul(self.batch()));
        let most = all.saturating_mul(self.batch()) + ahead.1 + MOST_SUSPECTS + STRANDED;
        let room = most.saturating_sub(self.ledger.len());
        self.queue.lease(self.paths.floor(), ahead, self.ledger.waiting(), room);
    }

    /// Gives back the messages that wait, and has the queue hand out again all of them in its order, with those that were
    /// passed over.
    pub(super) fn look_again(&mut self) {
        self.withdraw_all();
        self.queue.look_again();
        self.ledger.looked_again();
    }

    /// Gives back the messages that wait, so that priorities and expiry hold for them.
    pub(super) fn withdraw_all(&mut self) {
        self.queue.release_all(self.ledger.withdraw_all());
    }

    pub(super) fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Leased(round, Ok(leases)) => {
                let leases = self.queue.leased(round, leases);
                leases.into_iter().for_each(|lease| self.admit(lease));
            }
            Answer::Leased(_, Err(error)) => self.queue.not_leased(&error),
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
                self.queue.try_later();
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

    fn admit(&mut self, lease: Lease) {
        // Hand-in refuses such a message; this one was there before its route made batches.
        let batch = self.paths.routing().batch.as_ref();
        let flaw = batch.and_then(|batch| flaw(batch, &lease.payload));
        match (self.ledger.admit(lease), flaw) {
            (Ok(order), Some(flaw)) => self.refuse(order, &format!("its payload {flaw}")),
            (Ok(_), None) => {}
            (Err(suspect), _) => self.queue.pass_over(suspect.id, None),
        }
    }

    pub(super) fn refuse(&mut self, order: Order, words: &str) {
        self.ledger.set_aside(order, "refused", words);
        self.begin_end(order);
    }

    /// Begins to write the end of a message.
    pub(super) fn begin_end(&mut self, order: Order) {
        if let Some((lease, End::Aside { reason, words })) = self.ledger.end(order) {
            self.metrics.set_aside(reason);
            tracing::error!(id = %lease.id, topic = lease.topic, "a message became a dead letter, see `modemfleet queue inspect`: {words}");
        }
        self.commit(order);
    }

    /// Sends the end of a message on its way to the disk.
    pub(super) fn commit(&mut self, order: Order) {
        let is_quiet = !self.may_follow() && self.ledger.waits() == 0;
        let Some((lease, end)) = self.ledger.end(order) else { return };
        match end {
            End::Acknowledged { path } => {
                let Some(target) = self.paths.get(*path) else { return };
                // It may wait for another commit as long as nothing waits for its place, nor may soon.
                let may_ride = is_quiet && !target.uplink.window.is_full();
                self.queue.ack(order, lease.id, &target.path, may_ride);
            }
            End::Aside { reason, words } => self.queue.set_aside(order, lease.id, reason, words),
        }
    }
}
