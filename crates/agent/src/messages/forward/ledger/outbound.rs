//! The messages of a ledger that may go out now, and by which path.

use std::collections::{BTreeMap, HashMap};

use queue::Lease;
use tokio::time::Instant;

use super::{Entry, Ledger, Order, State};

/// The path that a message can take now, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Destination {
    /// This path, which is free.
    Path(usize),
    /// None that is free, but one that is not.
    Later,
    /// None at all.
    Never,
    /// No free path lets its priority through.
    Below,
}

/// Knows the destinations of messages.
pub(in super::super) trait Destinations {
    /// The destination of a message, as things are now.
    fn destination(&self, lease: &Lease) -> Destination;
}

/// The messages that may go out now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Outbound {
    /// For each path those that it may be given, in their order. No message overtakes one of its topic
    /// if they go in this order.
    pub(in super::super) by_path: BTreeMap<usize, Vec<Order>>,
    /// A suspect whose turn it is; it goes alone.
    pub(in super::super) trial: Option<(usize, Order)>,
    /// Those that cannot go by any path now, and why.
    pub(in super::super) misfits: Vec<(Order, Destination)>,
    /// The time of the next suspect's turn.
    pub(in super::super) turn: Option<Instant>,
}

/// By which path alone the next message of a topic may go; `None`: by none.
type Taken<'a> = HashMap<&'a str, Option<usize>>;

impl<P> Ledger<P> {
    /// A path takes messages.
    pub(in super::super) fn path_is_free(&mut self, path: usize, now: Instant) {
        self.doubts.path_is_free(path, now);
    }

    /// Sorts those that wait. `more`: others may follow from the queue.
    ///
    /// While a message of a topic is on its way by one path, the next of it goes by no other: it might
    /// arrive first.
    pub(in super::super) fn outbound(
        &self,
        paths: &impl Destinations,
        now: Instant,
        more: bool,
    ) -> Outbound {
        let mut out = Outbound::default();
        let mut taken = self.taken();
        let mut suspects = Vec::new();
        for (order, entry) in self.ready() {
            if self.is_suspect(entry) {
                suspects.push((order, entry));
                continue;
            }
            match paths.destination(&entry.lease) {
                Destination::Path(path) => {
                    let only = taken.entry(&entry.lease.topic).or_insert(Some(path));
                    if *only == Some(path) {
                        out.by_path.entry(path).or_default().push(order);
                    } else {
                        *only = None;
                    }
                }
                none => out.misfits.push((order, none)),
            }
        }
        self.try_suspect(suspects, &taken, paths, (now, more), &mut out);
        for flight in self.flights.values().filter(|flight| flight.is_trial && !flight.has_ended) {
            out.by_path.remove(&flight.path);
        }
        out
    }

    fn taken(&self) -> Taken<'_> {
        let mut taken = Taken::new();
        for entry in self.entries.values() {
            if let State::Given(id) | State::Stalled(id) = entry.state
                && let Some(flight) = self.flights.get(&id)
            {
                taken.insert(&entry.lease.topic, Some(flight.path));
            }
        }
        taken
    }

    fn try_suspect(
        &self,
        suspects: Vec<(Order, &Entry)>,
        taken: &Taken<'_>,
        paths: &impl Destinations,
        (now, more): (Instant, bool),
        out: &mut Outbound,
    ) {
        let Some((order, entry)) = self.first_suspect(suspects) else { return };
        let given = |entry: &Entry| matches!(entry.state, State::Given(_));
        let others = more || !out.by_path.is_empty() || self.entries.values().any(given);
        let rank = self.doubts.rank(&entry.lease.topic, entry.lease.id);
        out.turn = self.doubts.turn(rank, others).filter(|turn| *turn > now);
        if out.turn.is_some() {
            return;
        }
        let path = match paths.destination(&entry.lease) {
            Destination::Path(path) => path,
            none => return out.misfits.push((order, none)),
        };
        if taken.get(entry.lease.topic.as_str()).is_some_and(|only| *only != Some(path)) {
            return;
        }
        // Nothing else is on its way by that path, so that a loss accuses no other message.
        out.by_path.remove(&path);
        let is_busy =
            |path| self.flights.values().any(|f| f.path == path && !f.has_ended && !f.is_late);
        if !is_busy(path) {
            out.trial = Some((path, order));
        }
    }

    /// The suspect that is tried first: of those under which nothing was lost the one farthest behind, since a row of
    /// forbidden topics has an end; then those that were lost least often. Of a topic the first, as long as it was never lost.
    fn first_suspect<'a>(&self, suspects: Vec<(Order, &'a Entry)>) -> Option<(Order, &'a Entry)> {
        let mut met: Vec<&str> = Vec::new();
        let mut eligible = Vec::new();
        for (order, entry) in suspects {
            let topic = entry.lease.topic.as_str();
            let rank = self.doubts.rank(topic, entry.lease.id);
            if rank.is_untried() {
                if met.contains(&topic) {
                    continue;
                }
                met.push(topic);
            }
            let at = if rank.is_unheard() { u64::MAX - order } else { order };
            eligible.push(((rank, at), (order, entry)));
        }
        eligible.into_iter().min_by_key(|(key, _)| *key).map(|(_, suspect)| suspect)
    }
}
