//! Exchanges at a port that have no answer yet.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use at::{Engine, Exchange, Reply, Ticket};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use crate::exchange::{ExchangeError, Kind};

/// The most exchanges that wait for their turn: two sessions, a poll and a console never come near
/// it.
pub(super) const REQUESTS: usize = 32;

/// The channel for an answer.
pub(super) type Answer = oneshot::Sender<Result<Reply, ExchangeError>>;

pub(super) struct Waiting {
    pub(super) kind: Kind,
    pub(super) exchange: Box<Exchange>,
    pub(super) answer: Answer,
}

pub(super) struct Running {
    pub(super) kind: Kind,
    pub(super) command: String,
    pub(super) hides_answer: bool,
    pub(super) since: Instant,
    pub(super) answer: Answer,
}

/// Exchanges that wait, and exchanges that the engine runs.
pub(super) struct Pending {
    waiting: VecDeque<Waiting>,
    running: HashMap<Ticket, Running>,
    /// Its permit is taken while a sequence runs.
    sequence: Arc<Semaphore>,
}

impl Pending {
    pub(super) fn new(sequence: Arc<Semaphore>) -> Self {
        Self { waiting: VecDeque::new(), running: HashMap::new(), sequence }
    }

    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < REQUESTS
    }

    pub(super) fn none_runs(&self) -> bool {
        self.running.is_empty()
    }

    pub(super) fn add(&mut self, waiting: Waiting) {
        self.waiting.push_back(waiting);
    }

    /// Takes the first exchange that may run, status last. Exchanges without a caller are
    /// withdrawn.
    pub(super) fn next(&mut self, engine: &Engine) -> Option<Waiting> {
        self.waiting.retain(|waiting| !waiting.answer.is_closed());
        let ready = |status: bool| {
            self.waiting
                .iter()
                .position(|w| (w.kind == Kind::Status) == status && engine.ready_for(&w.exchange))
        };
        let in_sequence = self.sequence.available_permits() == 0;
        let status_may = !in_sequence || engine.awaits_result();
        let next = ready(false).or_else(|| if status_may { ready(true) } else { None });
        self.waiting.remove(next?)
    }

    /// Puts back an exchange that the engine did not take.
    pub(super) fn put_back(&mut self, waiting: Waiting) {
        self.waiting.push_front(waiting);
    }

    pub(super) fn started(&mut self, ticket: Ticket, running: Running) {
        drop(self.running.insert(ticket, running));
    }

    pub(super) fn ended(&mut self, ticket: Ticket) -> Option<Running> {
        self.running.remove(&ticket)
    }
}
