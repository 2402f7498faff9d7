//! The messages that a lane's forwarder has leased, and the state of each, as a value without I/O and clock.
//!
//! Each leased message is in exactly one [`State`]. A *flight* is one publish that was given to a path: a message, or a
//! batch of one topic. It keeps a place of its session's window until its result is in and the end of each of its
//! messages is on disk. That bounds the messages that are given out and not recorded.
//!
//! No state fills up so that others wait for it. Messages that no free path takes are passed over in the queue, and
//! so are suspects beyond a bound. Only messages whose end the disk refuses stay, and those stop the
//! lane at its bound, as they must.

mod doubts;
mod outbound;

use std::collections::{BTreeMap, HashSet};
use std::time::SystemTime;

use queue::{Lease, MessageId};
use tokio::time::Instant;

use doubts::{Doubts, Judgement, TOPICS};
pub(super) use outbound::{Destination, Destinations, Outbound};

/// The place of a message among those that were leased, in the order of their lease.
pub(super) type Order = u64;

/// One publish, until all of it is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FlightId(u64);

/// The most suspects that are held, the first of each topic apart; those behind them wait in the queue.
const SUSPECTS: usize = 32;

/// The most suspects that are held at all.
pub(super) const MOST_SUSPECTS: usize = SUSPECTS + TOPICS;

/// So many broken sessions in a row are put down to messages; from then on the session's own back-off grows.
const EXCUSED: u32 = 8;

/// The words with a message that is set aside since brokers close their sessions under it.
const POISON: &str =
    "the broker closes the session each time this message is published; it may forbid the topic";

/// The end of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was acknowledged by way of this path.
    Acknowledged { path: usize },
    /// It is to be set aside: a word and more words.
    Aside { reason: &'static str, words: String },
}

/// The state of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It waits for its turn, as a suspect if there is a doubt about it.
    Ready,
    /// A path has it.
    Given(FlightId),
    /// A path has it and no result in time; no other path has it.
    Stalled(FlightId),
    /// It has come to its end, which is not on disk yet. `refused`: the disk did not take it.
    Ending { end: End, refused: bool },
}

#[derive(Debug)]
struct Entry {
    lease: Lease,
    state: State,
    /// It shares a publish with no other.
    is_apart: bool,
}

#[derive(Debug)]
struct Flight<P> {
    path: usize,
    /// Those whose end is not on disk yet.
    open: Vec<Order>,
    /// Its result is in.
    has_ended: bool,
    /// Its result stays out, and its messages went elsewhere.
    is_late: bool,
    /// It is a suspect's.
    is_trial: bool,
    /// Its place in the session's window, which is free once this is dropped.
    _place: P,
}

/// The result of a flight, as its session gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Landing {
    /// The broker has it.
    Acknowledged,
    /// The modem refuses it, for this reason.
    Refused(String),
    /// The broker closed the session under it.
    Kicked,
    /// It was not sent, or its session was lost, and the message is not to blame.
    Back,
}

/// The work that a landing leaves.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Landed {
    /// The end of these is to be written.
    pub(super) ending: Vec<Order>,
    /// The path it was on has no late result any more, and had one.
    pub(super) came_in: Option<usize>,
}

/// All messages that a forwarder has leased. `P`: a place in a session's window.
#[derive(Debug)]
pub(super) struct Ledger<P> {
    entries: BTreeMap<Order, Entry>,
    flights: BTreeMap<FlightId, Flight<P>>,
    doubts: Doubts,
    /// Topics of which suspects were passed over: so are those behind them, or they would overtake them.
    passing: HashSet<String>,
    next: u64,
}

impl<P> Ledger<P> {
    pub(super) fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            flights: BTreeMap::new(),
            doubts: Doubts::default(),
            passing: HashSet::new(),
            next: 0,
        }
    }

    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Takes in a leased message. One that is to be passed over in the queue is given back.
    pub(super) fn admit(&mut self, lease: Lease) -> Result<Order, Lease> {
        self.doubts.meet(&lease.topic);
        if self.doubts.covers(&lease.topic, lease.id) {
            let is_first = self.suspects().all(|(_, held)| held.lease.topic != lease.topic);
            if self.passing.contains(&lease.topic)
                || !is_first && self.suspects().count() >= SUSPECTS
            {
                self.passing.insert(lease.topic.clone());
                return Err(lease);
            }
        }
        let order = self.next();
        self.entries.insert(order, Entry { lease, state: State::Ready, is_apart: false });
        Ok(order)
    }

    /// Counts those that are held.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn ready(&self) -> impl Iterator<Item = (Order, &Entry)> {
        let ready = |(_, entry): &(&Order, &Entry)| entry.state == State::Ready;
        self.entries.iter().filter(ready).map(|(order, entry)| (*order, entry))
    }

    fn suspects(&self) -> impl Iterator<Item = (Order, &Entry)> {
        self.ready().filter(|(_, entry)| self.is_suspect(entry))
    }

    fn is_suspect(&self, entry: &Entry) -> bool {
        self.doubts.covers(&entry.lease.topic, entry.lease.id)
    }

    /// Counts those that wait and are no suspects.
    pub(super) fn waiting(&self) -> usize {
        self.ready().filter(|(_, entry)| !self.is_suspect(entry)).count()
    }

    /// Counts those that wait for their turn.
    pub(super) fn waits(&self) -> usize {
        self.ready().count()
    }

    /// The oldest hand-in among the messages that have not come to their end.
    pub(super) fn oldest(&self) -> Option<SystemTime> {
        let held = self.entries.values().filter(|e| !matches!(e.state, State::Ending { .. }));
        held.map(|entry| entry.lease.appended_at).min()
    }

    pub(super) fn lease(&self, order: Order) -> Option<&Lease> {
        self.entries.get(&order).map(|entry| &entry.lease)
    }

    /// Reports whether it shares a publish with no other.
    pub(super) fn is_apart(&self, order: Order) -> bool {
        self.entries.get(&order).is_some_and(|entry| entry.is_apart)
    }

    /// Forgets one that waits: it goes back to the queue. One whose late result may still come stays.
    pub(super) fn withdraw(&mut self, order: Order) -> Option<Lease> {
        let is_open = |flight: &Flight<P>| flight.open.contains(&order);
        let is_ready = self.entries.get(&order).is_some_and(|entry| entry.state == State::Ready);
        if !is_ready || self.flights.values().any(is_open) {
            return None;
        }
        self.entries.remove(&order).map(|entry| entry.lease)
    }

    /// Forgets all that wait, as [`withdraw`](Self::withdraw) does: the queue hands them out again in its order.
    pub(super) fn withdraw_all(&mut self) -> Vec<MessageId> {
        let ready: Vec<Order> = self.ready().map(|(order, _)| order).collect();
        ready.into_iter().filter_map(|order| Some(self.withdraw(order)?.id)).collect()
    }

    /// Reports whether suspects that were passed over are to be looked at again: none of a topic is held
    /// any more, or a doubt was lifted, and what is behind them would overtake them.
    pub(super) fn wants_all(&self) -> bool {
        let is_held = |topic: &String| self.entries.values().any(|held| held.lease.topic == *topic);
        !self.passing.is_empty() && (self.doubts.was_lifted() || !self.passing.iter().all(is_held))
    }

    /// The queue hands out again what was passed over.
    pub(super) fn looked_again(&mut self) {
        self.passing.clear();
        self.doubts.settle();
    }

    /// Hands messages that wait to a path.
    pub(super) fn give(&mut self, orders: &[Order], path: usize, place: P) -> FlightId {
        let id = FlightId(self.next());
        let is_trial = orders
            .iter()
            .filter_map(|order| self.entries.get(order))
            .any(|entry| self.doubts.covers(&entry.lease.topic, entry.lease.id));
        let mut open = Vec::new();
        for order in orders {
            let Some(entry) = self.entries.get_mut(order) else { continue };
            if entry.state == State::Ready {
                entry.state = State::Given(id);
                open.push(*order);
            }
        }
        let (has_ended, is_late) = (false, false);
        self.flights.insert(id, Flight { path, open, has_ended, is_late, is_trial, _place: place });
        id
    }

    /// Reports whether a kick under this flight speaks against its messages rather than against its session.
    pub(super) fn is_excused(&self, flight: FlightId) -> bool {
        let is_trial = self.flights.get(&flight).is_some_and(|flight| flight.is_trial);
        is_trial || (1..=EXCUSED).contains(&self.doubts.kicks())
    }

    /// No result in time.
    pub(super) fn stalled(&mut self, id: FlightId) {
        for entry in self.entries.values_mut().filter(|entry| entry.state == State::Given(id)) {
            entry.state = State::Stalled(id);
        }
    }

    /// Flights whose result stays out and whose messages are nowhere else: their paths and the first message.
    pub(super) fn all_stalled(&self) -> Vec<(FlightId, usize, &Lease)> {
        let mut found: Vec<(FlightId, usize, &Lease)> = Vec::new();
        for entry in self.entries.values() {
            if let State::Stalled(id) = entry.state
                && found.iter().all(|(other, ..)| *other != id)
                && let Some(flight) = self.flights.get(&id)
            {
                found.push((id, flight.path, &entry.lease));
            }
        }
        found
    }

    /// Lets the messages of a stalled flight take another path. Its result may still come.
    pub(super) fn move_on(&mut self, id: FlightId) {
        for entry in self.entries.values_mut().filter(|entry| entry.state == State::Stalled(id)) {
            entry.state = State::Ready;
        }
        if let Some(flight) = self.flights.get_mut(&id) {
            flight.is_late = true;
        }
    }

    /// The result of a flight is in.
    pub(super) fn landed(&mut self, id: FlightId, landing: Landing, now: Instant) -> Landed {
        let Some(flight) = self.flights.get_mut(&id) else { return Landed::default() };
        flight.has_ended = true;
        let (path, is_trial, was_late) = (flight.path, flight.is_trial, flight.is_late);
        let orders = match &landing {
            Landing::Acknowledged => flight.open.clone(),
            // Nothing of it is recorded: the queue has it as before.
            _ => std::mem::take(&mut flight.open),
        };
        let had = |entry: &Entry| matches!(entry.state, State::Given(at) | State::Stalled(at) if at == id);
        let ours: Vec<Order> = orders
            .iter()
            .copied()
            .filter(|order| self.entries.get(order).is_some_and(had))
            .collect();
        let ending = match landing {
            Landing::Acknowledged => self.acknowledged(&orders, path),
            Landing::Refused(words) => self.refused(&ours, &words),
            Landing::Kicked if !ours.is_empty() => self.kicked(&ours, path, is_trial, now),
            Landing::Kicked | Landing::Back => {
                self.put_back(&ours, false);
                Vec::new()
            }
        };
        self.close_flights();
        let late = |flight: &Flight<P>| flight.path == path && flight.is_late && !flight.has_ended;
        let came_in = (was_late && !self.flights.values().any(late)).then_some(path);
        Landed { ending, came_in }
    }

    /// The broker has them, whatever their state is meanwhile: a late result spares them another path.
    fn acknowledged(&mut self, orders: &[Order], path: usize) -> Vec<Order> {
        let mut ending = Vec::new();
        for order in orders {
            let Some(entry) = self.entries.get_mut(order) else { continue };
            self.doubts.acknowledged(&entry.lease.topic, entry.lease.id, path);
            if !matches!(entry.state, State::Ending { end: End::Acknowledged { .. }, .. }) {
                let end = End::Acknowledged { path };
                entry.state = State::Ending { end, refused: false };
                ending.push(*order);
            }
        }
        ending
    }

    fn refused(&mut self, ours: &[Order], words: &str) -> Vec<Order> {
        if let [order] = ours {
            self.set_aside(*order, "refused", words);
            return vec![*order];
        }
        // One of them is the reason: each goes by itself the next time.
        self.put_back(ours, true);
        Vec::new()
    }

    fn kicked(&mut self, ours: &[Order], path: usize, is_trial: bool, now: Instant) -> Vec<Order> {
        let first = ours.first().and_then(|order| self.entries.get(order));
        let Some(topic) = first.map(|entry| entry.lease.topic.clone()) else { return Vec::new() };
        self.put_back(ours, true);
        let ids: Vec<MessageId> =
            ours.iter().filter_map(|order| Some(self.entries.get(order)?.lease.id)).collect();
        let judgement = self.doubts.kicked(&topic, &ids, path, is_trial, now);
        if !is_trial {
            let plain: Vec<String> = self
                .ready()
                .filter(|(_, entry)| !self.is_suspect(entry))
                .map(|(_, entry)| entry.lease.topic.clone())
                .collect();
            plain.iter().for_each(|topic| self.doubts.meet(topic));
        }
        let is_poison = |(order, entry): &(Order, &Entry)| match judgement {
            Judgement::Suspects => false,
            Judgement::Message => ours.contains(order),
            Judgement::Tried => {
                entry.lease.topic == topic && self.doubts.was_lost(&topic, entry.lease.id)
            }
            Judgement::Topic => entry.lease.topic == topic,
        };
        let poison: Vec<Order> = self.ready().filter(is_poison).map(|(order, _)| order).collect();
        for order in &poison {
            self.set_aside(*order, "poison", POISON);
        }
        poison
    }

    fn put_back(&mut self, orders: &[Order], is_apart: bool) {
        for order in orders {
            if let Some(entry) = self.entries.get_mut(order) {
                entry.state = State::Ready;
                entry.is_apart |= is_apart;
            }
        }
    }

    /// One that waits is to be set aside.
    pub(super) fn set_aside(&mut self, order: Order, reason: &'static str, words: &str) {
        let Some(entry) = self.entries.get_mut(&order) else { return };
        self.doubts.forget(&entry.lease.topic, entry.lease.id);
        let end = End::Aside { reason, words: words.to_owned() };
        entry.state = State::Ending { end, refused: false };
    }

    /// The end of a message, if it has come to that.
    pub(super) fn end(&self, order: Order) -> Option<(&Lease, &End)> {
        let entry = self.entries.get(&order)?;
        match &entry.state {
            State::Ending { end, .. } => Some((&entry.lease, end)),
            _ => None,
        }
    }

    /// The end of a message is on disk.
    pub(super) fn committed(&mut self, order: Order) {
        let Some(entry) = self.entries.get(&order) else { return };
        if !matches!(entry.state, State::Ending { .. }) {
            return;
        }
        self.entries.remove(&order);
        for flight in self.flights.values_mut() {
            flight.open.retain(|open| *open != order);
        }
        self.close_flights();
    }

    /// The disk refused the end of a message: it is tried again.
    pub(super) fn not_committed(&mut self, order: Order) {
        if let Some(entry) = self.entries.get_mut(&order)
            && let State::Ending { refused, .. } = &mut entry.state
        {
            *refused = true;
        }
    }

    /// Those whose end the disk refused, to be tried again now.
    pub(super) fn again(&mut self) -> Vec<Order> {
        let mut orders = Vec::new();
        for (order, entry) in &mut self.entries {
            if let State::Ending { refused, .. } = &mut entry.state
                && std::mem::take(refused)
            {
                orders.push(*order);
            }
        }
        orders
    }

    /// Those that a path has.
    pub(super) fn under_way(&self) -> Vec<MessageId> {
        let given = |e: &&Entry| matches!(e.state, State::Given(_) | State::Stalled(_));
        self.entries.values().filter(given).map(|entry| entry.lease.id).collect()
    }

    fn close_flights(&mut self) {
        self.flights.retain(|_, flight| !flight.has_ended || !flight.open.is_empty());
    }
}

#[cfg(test)]
mod tests;
