//! Places for connections: how many there are, whose time is over, and who gives way to whom.
//!
//! A connection waits for its client (a head, a body, the next request, an answer that is not read), or its client waits for the
//! agent. If no place is free, one of the former gives way to one that comes, so that
//! idle and unfinished connections, however many, keep no other out.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::descriptors;
use crate::http::Refused;
use crate::metrics::Metrics;
use crate::origin;

/// Connections over TCP and the unix socket together.
const PLACES: usize = 256;

/// One of so many places is kept for the unix socket.
const SOCKET_PART: usize = 8;

/// One of so many is kept for who asks how the agent is ([`super::OPEN`]).
const OPEN_PART: usize = 16;

/// One of so many may be a stream: the others are for requests.
const STREAM_PART: usize = 2;

/// From a connection, or the first byte of a request, to a whole head.
const HEAD: Duration = Duration::from_secs(10);

/// Between two requests. Above a minute, so that a client that sends one each minute needs no new connection each time.
const IDLE: Duration = Duration::from_secs(75);

/// How long a client may take no byte of what is written to it.
const UNREAD: Duration = Duration::from_secs(30);

/// After so long, such a client gives way.
const SLOW: Duration = Duration::from_secs(1);

/// An answer that takes longer than this gives way to others that need its memory.
const LONG: Duration = Duration::from_secs(60);

/// Memory in bytes for answers that are not read yet.
const ANSWERS: u64 = 24 * 1024 * 1024;

/// An answer of at most so many bytes is not counted: all places together hold no more than 16 MiB of them.
const SMALL: u64 = 64 * 1024;

/// The log says at most so often who gave way.
const SAID: Duration = Duration::from_secs(10);

/// From where a connection comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::http) enum Origin {
    /// The unix socket.
    Socket,
    /// An address. One host commonly has a whole /64 of IPv6.
    Address(IpAddr),
}

impl Origin {
    /// The origin of a connection from this address.
    pub(in crate::http) fn of(address: IpAddr) -> Self {
        Self::Address(origin::of(address))
    }

    fn is_remote(self) -> bool {
        matches!(self, Self::Address(address) if !address.is_loopback())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket => f.write_str("the unix socket"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// State of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It was accepted, and not read from yet.
    New,
    /// Its head is not whole.
    Head,
    /// Its body is not whole.
    Body,
    /// Its request is worked on, or answered.
    Served,
    /// Its request is refused, and the answer waits so that guessing is slow.
    Delayed,
    /// It may send another request.
    Idle,
}

/// Order of giving way; the least goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Unfinished,
    Idle,
}

/// Facts of a connection.
struct Seat {
    origin: Origin,
    phase: Phase,
    /// Since when it is idle, or since when its request comes.
    since: Instant,
    /// Since when the client takes nothing of what is written.
    blocked: Option<Instant>,
    /// Bytes of its answer, if that is a large one.
    answer: u64,
    is_stream: bool,
    out: CancellationToken,
}

impl Seat {
    fn new(origin: Origin, now: Instant) -> Self {
        let (phase, out) = (Phase::New, CancellationToken::new());
        Self { origin, phase, since: now, blocked: None, answer: 0, is_stream: false, out }
    }

    fn is_blocked(&self, now: Instant, time: Duration) -> bool {
        self.blocked.is_some_and(|since| now - since >= time)
    }

    fn is_over(&self, now: Instant) -> bool {
        let waited = now - self.since;
        let is_late = match self.phase {
            Phase::New | Phase::Head => waited >= HEAD,
            Phase::Idle => waited >= IDLE,
            // The router has a time for it.
            Phase::Body | Phase::Served | Phase::Delayed => false,
        };
        is_late || self.is_blocked(now, UNREAD)
    }

    /// Its rank, if it may give way. One that was not read from yet may have sent all.
    fn rank(&self, now: Instant) -> Option<Rank> {
        match self.phase {
            Phase::Head | Phase::Body | Phase::Delayed => Some(Rank::Unfinished),
            _ if self.is_blocked(now, SLOW) => Some(Rank::Unfinished),
            Phase::Idle => Some(Rank::Idle),
            Phase::New | Phase::Served => None,
        }
    }

    /// Reports whether it is slow enough to give way to another answer.
    fn is_slow(&self, now: Instant) -> bool {
        self.answer > 0 && (self.is_blocked(now, SLOW) || now - self.since >= LONG)
    }
}

/// Connections that were closed for want of places, since the log said so.
#[derive(Default)]
struct Closed {
    count: u64,
    last: Option<Origin>,
    said: Option<Instant>,
}

#[derive(Default)]
struct State {
    next: u64,
    seats: BTreeMap<u64, Seat>,
    /// How many seats each origin has.
    origins: HashMap<Origin, usize>,
    closed: Closed,
}

impl State {
    fn seat(&mut self, seat: Seat) -> u64 {
        let id = self.next;
        self.next = id.wrapping_add(1);
        *self.origins.entry(seat.origin).or_default() += 1;
        self.seats.insert(id, seat);
        id
    }

    /// Takes a seat away and has its connection closed.
    fn cut(&mut self, id: u64) -> Option<Origin> {
        let seat = self.seats.remove(&id)?;
        seat.out.cancel();
        if let Some(seats) = self.origins.get_mut(&seat.origin) {
            *seats -= 1;
            if *seats == 0 {
                self.origins.remove(&seat.origin);
            }
        }
        Some(seat.origin)
    }

    fn of_tcp(&self) -> usize {
        self.seats.len() - self.origins.get(&Origin::Socket).copied().unwrap_or_default()
    }

    fn answers(&self) -> u64 {
        self.seats.values().map(|seat| seat.answer).sum()
    }

    /// Returns the connection that gives way to one of this origin: of those that wait for their clients one that is unfinished,
    /// from another host, from where most come, and for the longest time, in this order of importance.
    fn gives_way(&self, to: Origin, now: Instant) -> Option<u64> {
        let may = |seat: &Seat| to == Origin::Socket || seat.origin != Origin::Socket;
        let ranked = self.seats.iter().filter(|(_, seat)| may(seat)).filter_map(|(id, seat)| {
            let others = self.origins.get(&seat.origin).copied().unwrap_or_default();
            let key = (seat.rank(now)?, !seat.origin.is_remote(), usize::MAX - others, seat.since);
            Some((key, *id))
        });
        ranked.min().map(|(_, id)| id)
    }

    /// Returns the slowest of those that have a large answer.
    fn slowest(&self, now: Instant) -> Option<u64> {
        let slow = self.seats.iter().filter(|(_, seat)| seat.is_slow(now));
        slow.min_by_key(|(_, seat)| seat.blocked.unwrap_or(seat.since)).map(|(id, _)| *id)
    }

    /// Returns how many were closed and where the last came from, if it is time to log it.
    fn news(&mut self, now: Instant) -> Option<(u64, Origin)> {
        let last = self.closed.last?;
        if self.closed.said.is_some_and(|said| now - said < SAID) {
            return None;
        }
        let count = self.closed.count;
        self.closed = Closed { said: Some(now), ..Closed::default() };
        Some((count, last))
    }
}

/// The places of all listeners; a cheap handle, to be cloned.
#[derive(Clone)]
pub struct Places(Arc<Inner>);

struct Inner {
    metrics: Arc<Metrics>,
    /// How many there are.
    most: usize,
    state: Mutex<State>,
}

impl Places {
    /// As many places as the limit of open files allows, and 256 at most.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self::of(descriptors::share(PLACES), metrics)
    }

    fn of(most: usize, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Inner { metrics, most, state: Mutex::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock leaves it half changed.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports whether anyone is connected.
    pub(super) fn is_any_taken(&self) -> bool {
        !self.lock().seats.is_empty()
    }

    /// Gives a connection a place, if need be that of another one which gives way. `None` if all are served.
    pub(super) fn take(&self, origin: Origin) -> Option<Place> {
        let (most, now) = (self.0.most, Instant::now());
        let mut state = self.lock();
        let for_tcp = most - most / SOCKET_PART;
        let is_tcp = origin != Origin::Socket;
        let has_room = |state: &State, kept: usize| {
            state.seats.len() < most && (!is_tcp || state.of_tcp() < for_tcp - kept)
        };
        let mut is_kept = false;
        if !has_room(&state, most / OPEN_PART) {
            if let Some(gone) = state.gives_way(origin, now).and_then(|id| state.cut(id)) {
                self.count(&mut state, gone);
            } else if is_tcp && has_room(&state, 0) {
                is_kept = true;
            } else {
                self.count(&mut state, origin);
                return None;
            }
        }
        let seat = Seat::new(origin, now);
        let out = seat.out.clone();
        let id = state.seat(seat);
        Some(Place { id, is_kept, origin, out, places: self.clone() })
    }

    /// Counts a connection that is closed at once.
    pub(super) fn refuse(&self, origin: Origin) {
        self.count(&mut self.lock(), origin);
    }

    fn count(&self, state: &mut State, origin: Origin) {
        self.0.metrics.http_refused(Refused::Connections);
        state.closed.count += 1;
        state.closed.last = Some(origin);
    }

    /// Closes those whose time is over, and has the log say who was closed for want of places.
    pub(super) fn look(&self) {
        let now = Instant::now();
        let mut state = self.lock();
        let over: Vec<u64> =
            state.seats.iter().filter(|(_, seat)| seat.is_over(now)).map(|(id, _)| *id).collect();
        for id in over {
            state.cut(id);
        }
        let said = state.news(now);
        drop(state);
        if let Some((count, origin)) = said {
            let places = self.0.most;
            tracing::warn!(
                count,
                last_from = %origin,
                "more HTTP connections than the {places} places: those that wait longest for their clients are closed"
            );
        }
    }
}

/// A connection's place, until this is dropped.
pub(in crate::http) struct Place {
    id: u64,
    /// True for one of the last places, which are kept for who asks how the agent is.
    is_kept: bool,
    origin: Origin,
    out: CancellationToken,
    places: Places,
}

impl Place {
    pub(super) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Waits until the connection is to be closed.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn cut_off(&self) {
        self.out.cancelled().await;
    }

    fn note(&self, note: impl FnOnce(&mut Seat)) {
        if let Some(seat) = self.places.lock().seats.get_mut(&self.id) {
            note(seat);
        }
    }

    /// Notes that it was read from, and if bytes came.
    pub(super) fn read(&self, came: bool) {
        self.note(|seat| match seat.phase {
            Phase::New => seat.phase = Phase::Head,
            Phase::Idle if came => (seat.phase, seat.since) = (Phase::Head, Instant::now()),
            _ => {}
        });
    }

    /// Notes whether the client takes what is written.
    pub(super) fn written(&self, taken: bool) {
        self.note(|seat| match taken {
            true => seat.blocked = None,
            false => _ = seat.blocked.get_or_insert_with(Instant::now),
        });
    }

    /// Notes that a whole head is there.
    pub(super) fn begin(&self) {
        self.note(|seat| (seat.phase, seat.since) = (Phase::Served, Instant::now()));
    }

    /// Notes that its request is refused, and that the answer is delayed: meanwhile it gives way to others.
    pub(in crate::http) fn delay(&self) {
        self.note(|seat| (seat.phase, seat.since) = (Phase::Delayed, Instant::now()));
    }

    /// Returns from where it comes.
    pub(in crate::http) fn origin(&self) -> Origin {
        self.origin
    }

    /// Notes whether the request's body is waited for.
    pub(super) fn waits_for_body(&self, waits: bool) {
        self.note(|seat| match seat.phase {
            Phase::Served if waits => seat.phase = Phase::Body,
            Phase::Body if !waits => seat.phase = Phase::Served,
            _ => {}
        });
    }

    /// Takes memory for an answer of so many bytes, or the right to stream if that is not known. `false` if there is none.
    pub(super) fn hold(&self, bytes: Option<u64>) -> bool {
        let now = Instant::now();
        let mut state = self.places.lock();
        let holds = match bytes {
            None => {
                let streams = state.seats.values().filter(|seat| seat.is_stream).count();
                streams < self.places.0.most / STREAM_PART
            }
            Some(..=SMALL) => return true,
            Some(bytes) => self.make_room(&mut state, bytes, now),
        };
        match state.seats.get_mut(&self.id) {
            Some(seat) if holds => {
                (seat.answer, seat.is_stream) = (bytes.unwrap_or(0), bytes.is_none());
            }
            _ => self.places.count(&mut state, self.origin),
        }
        holds
    }

    /// Cuts slow readers off until an answer of so many bytes fits. One that is larger than all memory for answers has it alone.
    fn make_room(&self, state: &mut State, bytes: u64, now: Instant) -> bool {
        while state.answers() > 0 && state.answers().saturating_add(bytes) > ANSWERS {
            let Some(gone) = state.slowest(now).and_then(|id| state.cut(id)) else { return false };
            self.places.count(state, gone);
        }
        true
    }

    /// Counts a request that is refused for want of places.
    pub(super) fn refuse(&self) {
        self.places.refuse(self.origin);
    }

    /// Notes that the answer is written.
    pub(super) fn end(&self) {
        self.note(|seat| {
            (seat.phase, seat.since) = (Phase::Idle, Instant::now());
            (seat.answer, seat.is_stream) = (0, false);
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().cut(self.id);
    }
}

#[cfg(test)]
mod tests;
