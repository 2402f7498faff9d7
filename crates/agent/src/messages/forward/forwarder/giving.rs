//! The choice of a path for each message, and its handing over.

use std::collections::BTreeSet;
use std::time::SystemTime;

use modem::session::{Job, Place};
use queue::Lease;
use tokio::time::Instant;

use super::super::batch::{Candidate, Gathered, gather};
use super::super::delivery::give;
use super::super::ledger::{Destination, Order, Outbound};
use super::super::paths::Switch;
use super::super::places::Asked;
use super::super::target::Target;
use super::{Forwarder, Hold};

impl Forwarder {
    /// Gives out all messages that can go, and leases more.
    pub(super) fn fill(&mut self) {
        let now = Instant::now();
        if self.queue.retries(now) {
            for order in self.ledger.again() {
                self.commit(order);
            }
        }
        self.queue.check_passed(now);
        self.move_stalled();
        let gains = self.paths.gain();
        self.choose();
        if !self.paths.is_open() {
            return self.stop_giving();
        }
        if self.ledger.wants_all() || gains && self.queue.passed().oldest().is_some() {
            self.look_again();
        }
        let mut wanted = BTreeSet::new();
        while self.give_next(&mut wanted) {}
        self.places.keep(|path| wanted.contains(&path));
        self.lease();
    }

    /// Stops giving out: no path is free, or the agent ends.
    pub(super) fn stop_giving(&mut self) {
        self.places.keep(|_| false);
        (self.due_at, self.turn_at) = (None, None);
        match self.queue.passed().is_empty() {
            true => self.withdraw_all(),
            false => self.look_again(),
        }
    }

    /// Gives out the next message. `false`: none can go. `wanted`: paths that have no place for a message that is ready.
    fn give_next(&mut self, wanted: &mut BTreeSet<usize>) -> bool {
        let more = self.may_follow();
        let out = self.ledger.outbound(&self.paths, Instant::now(), more);
        let Outbound { by_path, trial, misfits, turn } = out;
        self.turn_at = turn;
        if self.turn_away(misfits) {
            // Messages behind those may go now.
            return true;
        }
        if let Some((path, order)) = trial
            && let Some(place) = self.place(path, wanted)
        {
            self.give(&[order], path, place);
            return true;
        }
        let mut due_at = None;
        for (path, ready) in by_path {
            match self.next_of(path, &ready) {
                Gathered::Now(orders) => {
                    if let Some(place) = self.place(path, wanted) {
                        self.due_at = None;
                        self.give(&orders, path, place);
                        return true;
                    }
                }
                Gathered::Later(left) => {
                    let at = Instant::now() + left;
                    due_at = Some(due_at.map_or(at, |due: Instant| due.min(at)));
                }
                Gathered::Nothing => {}
            }
        }
        // Never later than it was once said: the clock may be set meanwhile.
        self.due_at = due_at.map(|at| self.due_at.map_or(at, |due| due.min(at)));
        false
    }

    /// The next publish by this path, of the messages that are ready for it.
    fn next_of(&self, path: usize, ready: &[Order]) -> Gathered {
        let Some(batch) = &self.paths.routing().batch else {
            let first = ready.first().map(|order| Gathered::Now(vec![*order]));
            return first.unwrap_or(Gathered::Nothing);
        };
        let most = self.paths.get(path).map_or(usize::MAX, Target::max_payload);
        let is_due = self.due_at.is_some_and(|at| at <= Instant::now());
        let candidate = |order: &Order| {
            let (order, is_apart) = (*order, self.ledger.is_apart(*order));
            Some(Candidate { order, lease: self.ledger.lease(order)?, is_apart })
        };
        let ready = ready.iter().filter_map(candidate);
        gather(batch, batch.max_bytes.min(most), ready, is_due, SystemTime::now())
    }

    /// A place in the window of a path's session, or a turn to get one.
    fn place(&mut self, path: usize, wanted: &mut BTreeSet<usize>) -> Option<Place> {
        match self.places.take(path, &self.paths.get(path)?.uplink.window) {
            Asked::Free(place) => return Some(place),
            // A place may wait for an acknowledgement that waits for company.
            Asked::Full { is_new: true } => self.queue.hurry(),
            Asked::Full { is_new: false } => {}
        }
        wanted.insert(path);
        None
    }

    /// Takes messages out of the way that cannot go now. Reports whether there were any.
    fn turn_away(&mut self, misfits: Vec<(Order, Destination)>) -> bool {
        let before = self.ledger.waits();
        for (order, destination) in misfits {
            match destination {
                Destination::Later => {
                    if let Some(lease) = self.ledger.withdraw(order) {
                        self.queue.pass_over(lease.id, Some(lease.appended_at));
                    }
                }
                // Not leased again before a budget lets it through.
                Destination::Below => {
                    if let Some(lease) = self.ledger.withdraw(order) {
                        self.queue.release(lease.id);
                    }
                }
                Destination::Never => {
                    let payload = self.ledger.lease(order).map_or(0, |lease| lease.payload.len());
                    let rooms = self.paths.rooms();
                    let words = format!(
                        "its payload of {payload} bytes, or its topic, fits no path; the paths take {rooms}"
                    );
                    self.refuse(order, &words);
                }
                Destination::Path(_) => {}
            }
        }
        self.ledger.waits() < before
    }

    /// Hands messages of one topic over as one publish.
    fn give(&mut self, orders: &[Order], path: usize, place: Place) {
        let Some(target) = self.paths.get(path) else { return };
        let leases: Vec<&Lease> =
            orders.iter().filter_map(|order| self.ledger.lease(*order)).collect();
        let message = match self.paths.routing().publish(&leases, target) {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(fault) => {
                let words = format!("its topic by the route {fault}");
                return orders.iter().for_each(|order| self.refuse(*order, &words));
            }
        };
        let given = self.given.note(leases.iter().map(|lease| lease.id), &target.path);
        let flight = self.ledger.give(orders, path, Hold { _place: place, _given: given });
        let (mut job, news) = Job::new(message, self.paths.routing().stall);
        job.is_suspect = self.ledger.is_excused(flight);
        self.in_flight.push(Box::pin(give(flight, job, news, target)));
    }

    /// Lets messages whose result stays out take another path, as soon as one is free.
    pub(super) fn move_stalled(&mut self) {
        let stalled = self.ledger.all_stalled().into_iter();
        let moves: Vec<_> = stalled
            .filter(|(_, path, first)| self.paths.takes_beside(*path, first))
            .map(|(flight, path, first)| (flight, path, first.id))
            .collect();
        for (flight, path, id) in moves {
            if let Some(target) = self.paths.get(path) {
                tracing::warn!(%id, session = %target.id, "no result in time; trying the next path");
                target.is_late.send_replace(true);
            }
            self.ledger.move_on(flight);
        }
    }

    /// Chooses the path to take now, and reports if that is another one.
    fn choose(&mut self) {
        let now = Instant::now();
        let switch = self.paths.choose(now);
        for path in self.paths.free() {
            self.ledger.path_is_free(path, now);
        }
        let Some(Switch { from, to, cause }) = switch else { return };
        let Some(route) = &self.paths.routing().label else { return };
        if let (Some(from), Some(cause)) = (&from, cause) {
            let cause = cause.as_str();
            tracing::info!(route, %from, %to, cause, "another path");
        }
        self.metrics.routes.switched(route, from.as_ref(), &to, cause);
    }
}
