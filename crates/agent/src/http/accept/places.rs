//! Places for connections: how many there are, whose time is over, and who gives way to whom.
//!
//! A connection waits for its client (a head, a body, the next request, an answer that is not read), or its client waits for the
//! agent. If no place is free, one of the former gives way to one that comes, so that
//! idle and unfinished connections, however many, keep no other out.
//!
//! One place in sixteen is kept for who asks how the agent is, and one in eight for the unix socket, which uses more as long as they
//! are free.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::metrics::labels::HttpRefusal;
use crate::origin;
use crate::upkeep::descriptors;

/// Connections over TCP and the unix sockets together.
const PLACES: usize = 256;

/// One of so many places is kept for the unix socket. Beyond these its connections give way to others too.
const SOCKET_PART: usize = 8;

/// One of so many is kept for who asks how the agent is ([`crate::http::paths::OPEN`]), by any way but the unix socket.
const OPEN_PART: usize = 16;

/// One of so many may be a stream: the others are for requests.
const STREAM_PART: usize = 2;

/// One of so many streams may be of who may publish and no more: who may do all watches all the same.
const PUBLISHER_PART: usize = 2;

/// From a connection, or the first byte of a request, to a whole head.
const HEAD: Duration = Duration::from_secs(10);

/// Between two requests. Above a minute, so that a client that sends one each minute needs no new connection each time.
const IDLE: Duration = Duration::from_secs(75);

/// The longest time in which a client takes no byte of its answer.
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

/// The origin of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::http) enum Origin {
    /// The unix socket.
    Socket,
    /// The unix socket of who may publish.
    PublishSocket,
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
            Self::PublishSocket => f.write_str("the publishing socket"),
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
    /// True for one of the last places, which are kept for who asks how the agent is.
    is_kept: bool,
    phase: Phase,
    /// Since when it is idle, or since when its request comes.
    since: Instant,
    /// The time since which the client takes nothing of its answer.
    blocked: Option<Instant>,
    /// Bytes of its answer, if that is a large one.
    answer: u64,
    is_stream: bool,
    /// Its request may publish and no more.
    is_publisher: bool,
    out: CancellationToken,
}

impl Seat {
    fn new(origin: Origin, is_kept: bool, now: Instant) -> Self {
        Self {
            origin,
            is_kept,
            phase: Phase::New,
            since: now,
            blocked: None,
            answer: 0,
            is_stream: false,
            is_publisher: false,
            out: CancellationToken::new(),
        }
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

struct State {
    /// The number of places.
    most: usize,
    next: u64,
    seats: BTreeMap<u64, Seat>,
    closed: Closed,
}

impl State {
    fn new(most: usize) -> Self {
        Self { most, next: 0, seats: BTreeMap::new(), closed: Closed::default() }
    }

    fn seat(&mut self, seat: Seat) -> u64 {
        let id = self.next;
        self.next = id.wrapping_add(1);
        self.seats.insert(id, seat);
        id
    }

    /// Takes a seat away and has its connection closed.
    fn cut(&mut self, id: u64) -> Option<Origin> {
        let seat = self.seats.remove(&id)?;
        seat.out.cancel();
        Some(seat.origin)
    }

    fn count(&self, is_one: impl Fn(&Seat) -> bool) -> usize {
        self.seats.values().filter(|seat| is_one(seat)).count()
    }

    fn answers(&self) -> u64 {
        self.seats.values().map(|seat| seat.answer).sum()
    }

    /// Reports whether a place is free for this origin, of the kept ones or of the others.
    fn has_room(&self, origin: Origin, is_kept: bool) -> bool {
        let (kept, of_socket) = (self.most / OPEN_PART, self.most / SOCKET_PART);
        if is_kept {
            return self.count(|seat| seat.is_kept) < kept;
        }
        let others = self.most - kept;
        let is_free = self.count(|seat| !seat.is_kept) < others;
        let is_other = |seat: &Seat| !seat.is_kept && seat.origin != Origin::Socket;
        is_free && (origin == Origin::Socket || self.count(is_other) < others - of_socket)
    }

    /// Returns the connection whose place, a kept one or another, is given to one of this origin. Of those that wait for their
    /// clients it is one of the origin that has more than half of them, that is unfinished, from another host, from where most
    /// come, and that waits for the longest time, in this order of importance.
    fn gives_way(&self, to: Origin, is_kept: bool, now: Instant) -> Option<u64> {
        let of_socket = self.count(|seat| seat.origin == Origin::Socket);
        let may_socket = to == Origin::Socket || of_socket > self.most / SOCKET_PART;
        let may =
            |seat: &Seat| seat.is_kept == is_kept && (may_socket || seat.origin != Origin::Socket);
        // Connections of each origin, and how many of them may give way.
        let mut origins: HashMap<Origin, (usize, usize)> = HashMap::new();
        let mut ranked = Vec::new();
        for (id, seat) in &self.seats {
            let (connected, waiting) = origins.entry(seat.origin).or_default();
            *connected += 1;
            if let Some(rank) = seat.rank(now).filter(|_| may(seat)) {
                *waiting += 1;
                ranked.push((*id, seat, rank));
            }
        }
        let key = |(_, seat, rank): &(u64, &Seat, Rank)| {
            let (connected, waiting) = origins.get(&seat.origin).copied().unwrap_or_default();
            let is_few = waiting <= ranked.len() / 2;
            (is_few, *rank, !seat.origin.is_remote(), Reverse(connected), seat.since)
        };
        ranked.iter().min_by_key(|one| key(one)).map(|(id, ..)| *id)
    }

    /// Reports whether one more may stream, by the request of this seat.
    fn may_stream(&self, seat: &Seat) -> bool {
        let most = self.most / STREAM_PART;
        let of_publishers = self.count(|seat| seat.is_stream && seat.is_publisher);
        self.count(|seat| seat.is_stream) < most
            && (!seat.is_publisher || of_publishers < most / PUBLISHER_PART)
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
    state: Mutex<State>,
}

impl Places {
    /// Makes as many places as the limit of open files allows, and 256 at most.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self::of(descriptors::share(PLACES), metrics)
    }

    fn of(most: usize, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Inner { metrics, state: Mutex::new(State::new(most)) }))
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
        let now = Instant::now();
        let mut state = self.lock();
        // A kept place stays one, whoever gives way there: it is the worse one for all other paths.
        let kinds = if origin == Origin::Socket { &[false][..] } else { &[false, true] };
        let found = kinds.iter().find(|is_kept| self.is_free(&mut state, origin, **is_kept, now));
        let Some(&is_kept) = found else {
            self.count(&mut state, origin);
            return None;
        };
        let seat = Seat::new(origin, is_kept, now);
        let out = seat.out.clone();
        let id = state.seat(seat);
        Some(Place { id, is_kept, origin, out, places: self.clone() })
    }

    /// Reports whether a place is free, perhaps since a connection gave way.
    fn is_free(&self, state: &mut State, origin: Origin, is_kept: bool, now: Instant) -> bool {
        if state.has_room(origin, is_kept) {
            return true;
        }
        let gone = state.gives_way(origin, is_kept, now).and_then(|id| state.cut(id));
        gone.inspect(|gone| self.count(state, *gone)).is_some()
    }

    /// Counts a connection that is closed at once.
    pub(super) fn refuse(&self, origin: Origin) {
        self.count(&mut self.lock(), origin);
    }

    fn count(&self, state: &mut State, origin: Origin) {
        self.0.metrics.applications.http_refused(HttpRefusal::Connections);
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
        let (said, places) = (state.news(now), state.most);
        drop(state);
        if let Some((count, origin)) = said {
            tracing::warn!(
                count,
                last_from = %origin,
                "more HTTP connections than the {places} places: those that have waited longest for their clients are closed"
            );
        }
    }
}

/// A connection's place, until this is dropped.
pub(in crate::http) struct Place {
    id: u64,
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

    /// Notes whether the client takes its answer.
    pub(super) fn written(&self, taken: bool) {
        self.note(|seat| match taken {
            true => seat.blocked = None,
            false => _ = seat.blocked.get_or_insert_with(Instant::now),
        });
    }

    /// Notes that a whole head is there.
    pub(super) fn begin(&self) {
        self.note(|seat| {
            (seat.phase, seat.since) = (Phase::Served, Instant::now());
            seat.is_publisher = false;
        });
    }

    /// Notes that its request is refused, and that the answer is delayed: meanwhile it gives way to others.
    pub(in crate::http) fn delay(&self) {
        self.note(|seat| (seat.phase, seat.since) = (Phase::Delayed, Instant::now()));
    }

    /// Notes that its request may publish and no more.
    pub(in crate::http) fn may_only_publish(&self) {
        self.note(|seat| seat.is_publisher = true);
    }

    /// Returns its origin.
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

    /// Takes memory for an answer of so many bytes, or the right to stream if that is not known. `false` if there is none, or if its
    /// connection is cut off already, which is not counted again.
    pub(super) fn hold(&self, bytes: Option<u64>) -> bool {
        if bytes.is_some_and(|bytes| bytes <= SMALL) {
            return true;
        }
        let now = Instant::now();
        let mut state = self.places.lock();
        let Some(seat) = state.seats.get(&self.id) else { return false };
        let holds = match bytes {
            None => state.may_stream(seat),
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

    /// Counts a request that is refused for want of places, unless its connection is cut off already.
    pub(super) fn refuse(&self) {
        let mut state = self.places.lock();
        if state.seats.contains_key(&self.id) {
            self.places.count(&mut state, self.origin);
        }
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
