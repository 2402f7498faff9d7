//! The choice of a path for each message, and its handing over.

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::time::SystemTime;

use modem::mqtt::{Message, Qos};
use modem::session::{Job, Place};
use queue::Lease;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

use super::super::batch::{self, Candidate, Gathered, gather};
use super::super::delivery::deliver;
use super::super::ledger::{Order, Outbound, Way, Ways};
use super::super::routing::{Choice, Path, Routing};
use super::super::target::Target;
use super::{Forwarder, Hold};
use crate::metrics::labels::SwitchCause;
use fleet::check_name;

/// The paths of a lane as they are now.
struct Paths<'a> {
    targets: &'a [Target],
    routing: &'a Routing,
    preferred: usize,
}

impl Paths<'_> {
    fn fits(&self, target: &Target, lease: &Lease) -> bool {
        let topic = self.routing.topic_of(lease, &target.id, &target.vars);
        let payload = lease.payload.len();
        let length = self.routing.batch.as_ref().map_or(payload, |by| batch::alone(by, payload));
        target.may_take(&topic, length)
    }

    fn takes(&self, at: usize, lease: &Lease) -> bool {
        let takes = |target: &Target| {
            target.is_free() && target.floor() <= lease.priority && self.fits(target, lease)
        };
        self.targets.get(at).is_some_and(takes)
    }

    fn floor(&self) -> u8 {
        floor(self.targets)
    }
}

impl Ways for Paths<'_> {
    /// The preferred path, or the next free one that is large enough and whose SIM's budget lets it through.
    fn way(&self, lease: &Lease) -> Way {
        let others = (0..self.targets.len()).filter(|at| *at != self.preferred);
        if let Some(at) =
            std::iter::once(self.preferred).chain(others).find(|at| self.takes(*at, lease))
        {
            return Way::By(at);
        }
        match () {
            () if lease.priority < self.floor() => Way::Below,
            () if self.targets.iter().any(|target| self.fits(target, lease)) => Way::Later,
            () => Way::Never,
        }
    }
}

/// The least priority that one of the free paths lets through.
fn floor(targets: &[Target]) -> u8 {
    targets.iter().filter(|target| target.is_free()).map(Target::floor).min().unwrap_or(0)
}

impl Forwarder {
    pub(super) fn floor(&self) -> u8 {
        floor(&self.targets)
    }

    /// Gives out what can be given out, and asks for more.
    pub(super) fn fill(&mut self) {
        self.retry();
        self.check_passed();
        self.move_stalled();
        let gains = self.gains();
        let chosen = self.choose();
        self.has_path = chosen.is_some();
        let Some(preferred) = chosen else { return self.stop_giving() };
        if self.ledger.wants_all() || gains && self.passed.oldest().is_some() {
            self.look_again();
        }
        let mut wanted = BTreeSet::new();
        while self.give_next(preferred, &mut wanted) {}
        // Nobody waits for a place, nor keeps one, that no message of this lane needs.
        self.queued.retain(|path, _| wanted.contains(path));
        self.places.clear();
        self.lease();
    }

    /// No path is free, or the agent ends.
    pub(super) fn stop_giving(&mut self) {
        self.queued.clear();
        self.places.clear();
        (self.due_at, self.turn_at) = (None, None);
        match self.passed.is_empty() {
            true => self.withdraw_all(),
            false => self.look_again(),
        }
    }

    /// Gives out what is next. `false`: nothing can be. `wanted`: paths that have no place for what is ready.
    fn give_next(&mut self, preferred: usize, wanted: &mut BTreeSet<usize>) -> bool {
        let more = self.may_follow();
        let paths = Paths { targets: &self.targets, routing: &self.routing, preferred };
        let out = self.ledger.outbound(&paths, Instant::now(), more);
        let Outbound { by_path, trial, misfits, turn } = out;
        self.turn_at = turn;
        if self.turn_away(misfits) {
            // What is behind those may go now.
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

    /// The next publish by this path, of what is ready for it.
    fn next_of(&self, path: usize, ready: &[Order]) -> Gathered {
        let Some(batch) = &self.routing.batch else {
            let first = ready.first().map(|order| Gathered::Now(vec![*order]));
            return first.unwrap_or(Gathered::Nothing);
        };
        let most = self.targets.get(path).map_or(usize::MAX, Target::max_payload);
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
        if let Some(place) = self.places.remove(&path) {
            return Some(place);
        }
        let window = &self.targets.get(path)?.uplink.window;
        if let Entry::Vacant(queued) = self.queued.entry(path) {
            if let Some(place) = window.try_place() {
                return Some(place);
            }
            queued.insert(Box::pin(window.place()));
            // A place may wait for an acknowledgement that waits for company.
            self.queue.hurry();
        }
        wanted.insert(path);
        None
    }

    /// Takes out of the way what cannot go now. Whether there was any.
    fn turn_away(&mut self, misfits: Vec<(Order, Way)>) -> bool {
        let before = self.ledger.waits();
        for (order, way) in misfits {
            match way {
                Way::Later => self.pass_over(order),
                // Not leased again before a budget lets it through.
                Way::Below => {
                    if let Some(lease) = self.ledger.withdraw(order) {
                        drop(self.queue.release(lease.id));
                    }
                }
                Way::Never => {
                    let words = self.why_never(order);
                    self.refuse(order, &words);
                }
                Way::By(_) => {}
            }
        }
        self.ledger.waits() < before
    }

    fn why_never(&self, order: Order) -> String {
        let rooms: BTreeSet<_> = self.targets.iter().filter_map(Target::room).collect();
        let rooms = rooms.into_iter().collect::<Vec<_>>().join(", or ");
        let payload = self.ledger.lease(order).map_or(0, |lease| lease.payload.len());
        format!(
            "its payload of {payload} bytes, or its topic, fits no path; the paths take {rooms}"
        )
    }

    /// Hands messages of one topic over as one publish.
    fn give(&mut self, orders: &[Order], path: usize, place: Place) {
        let Some(Target { id, path: name, uplink, stalled, vars, .. }) = self.targets.get(path)
        else {
            return;
        };
        let leases: Vec<&Lease> =
            orders.iter().filter_map(|order| self.ledger.lease(*order)).collect();
        let Some(first) = leases.first() else { return };
        let topic = self.routing.topic_of(first, id, vars);
        if let Err(fault) = check_name(&topic) {
            let words = format!("its topic by the route {fault}");
            return orders.iter().for_each(|order| self.refuse(*order, &words));
        }
        let message = Message {
            topic,
            payload: match &self.routing.batch {
                Some(batch) => batch::together(batch, leases.iter().copied()),
                None => first.payload.clone(),
            },
            // The queue was given one of the three.
            qos: Qos::from_number(first.qos).unwrap_or(Qos::AtLeastOnce),
            retain: first.retain,
        };
        let (uplink, stalled) = (uplink.clone(), stalled.subscribe());
        let given = self.given.note(leases.iter().map(|lease| lease.id), name);
        let hold = Hold { _place: place, _given: given };
        let flight = self.ledger.give(orders, path, hold);
        let (mut job, news) = Job::new(message, self.routing.stall);
        job.is_suspect = self.ledger.is_excused(flight);
        // At once: futures that wait for their turn may be woken in another order.
        let job = match uplink.jobs.try_send(job) {
            Err(TrySendError::Full(job)) => Some(job),
            // Of a job that nobody takes the news end.
            Ok(()) | Err(TrySendError::Closed(_)) => None,
        };
        self.in_flight.push(Box::pin(deliver(flight, job, news, uplink, stalled)));
    }

    /// Lets messages whose result stays out take another path, as soon as one is free.
    pub(super) fn move_stalled(&mut self) {
        let preferred = self.active.unwrap_or_default();
        let paths = Paths { targets: &self.targets, routing: &self.routing, preferred };
        let movable = |path: usize, first: &Lease| {
            (0..self.targets.len()).any(|at| at != path && paths.takes(at, first))
        };
        let stalled = self.ledger.all_stalled().into_iter();
        let moves: Vec<_> = stalled
            .filter(|(_, path, first)| movable(*path, first))
            .map(|(flight, path, first)| (flight, path, first.id))
            .collect();
        for (flight, path, id) in moves {
            if let Some(target) = self.targets.get(path) {
                tracing::warn!(%id, session = %target.id, "no result in time; trying the next path");
                target.stalled.send_replace(true);
            }
            self.ledger.move_on(flight);
        }
    }

    /// Reports whether a path takes more than when this was asked last.
    fn gains(&mut self) -> bool {
        let reach: Vec<_> = self.targets.iter().map(Target::reach).collect();
        let gained =
            reach.iter().zip(&self.reach).any(|(now, before)| now.is_some() && now != before);
        self.reach = reach;
        gained
    }

    /// The path to take now; says to the metrics where it is another.
    fn choose(&mut self) -> Option<usize> {
        let now = Instant::now();
        let paths: Vec<Path> = self.targets.iter_mut().map(|target| target.look(now)).collect();
        for (at, _) in paths.iter().enumerate().filter(|(_, path)| path.free) {
            self.ledger.path_is_free(at, now);
        }
        let Choice { path, again } = self.routing.choose(&paths, self.active, now);
        self.choose_at = again;
        let chosen = path?;
        if self.active != Some(chosen) {
            self.tell_switch(chosen);
            self.active = Some(chosen);
        }
        Some(chosen)
    }

    fn tell_switch(&self, chosen: usize) {
        let (Some(route), Some(to)) = (&self.routing.label, self.targets.get(chosen)) else {
            return;
        };
        let from = self.active.and_then(|at| self.targets.get(at));
        let cause = from.map(|from| match (from.is_connected(), from.is_stalled()) {
            (false, _) => SwitchCause::Down,
            (true, true) => SwitchCause::Stalled,
            (true, false) if from.floor() > to.floor() => SwitchCause::Budget,
            (true, false) => SwitchCause::FailBack,
        });
        if let (Some(from), Some(cause)) = (from, cause) {
            let cause = cause.as_str();
            tracing::info!(route, from = %from.id, to = %to.id, cause, "another path");
        }
        self.metrics.routes.switched(route, from.map(|from| &from.id), &to.id, cause);
    }
}
