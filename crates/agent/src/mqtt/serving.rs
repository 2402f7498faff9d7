//! Parts that the connections of the listener share: places, names, and the choice between two clients of a name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::{CONNECTIONS, LEFT, Users};
use crate::messages::downlink::Downlink;
use crate::messages::hand_in::HandIn;
use crate::metrics::Metrics;

/// The parts of the agent and the places, for every connection.
pub struct Serving {
    pub(super) hand_in: HandIn,
    pub(super) downlink: Downlink,
    pub(super) users: watch::Receiver<Users>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stop: CancellationToken,
    /// Memory for messages that clients leave behind when they go, in bytes.
    pub(super) left: Arc<Semaphore>,
    /// Of clients that are let in. One that has gone gives its place back, though its task may go on with messages that it left
    /// behind.
    places: Arc<Semaphore>,
    names: Mutex<HashMap<String, Namesakes>>,
    /// In the order in which they fell silent.
    unheard: Mutex<BTreeMap<u64, CancellationToken>>,
}

/// The clients of a name: the one that is connected, and those that left something behind.
#[derive(Default)]
struct Namesakes {
    /// Throws out the last that came.
    out: CancellationToken,
    /// The number and the user of the one that is connected, if users are checked.
    holder: Option<(u64, String)>,
    /// Their numbers, in the order they came.
    turns: BTreeSet<u64>,
}

impl Serving {
    /// A listener's parts, with no client connected.
    pub fn new(
        hand_in: HandIn,
        downlink: Downlink,
        users: watch::Receiver<Users>,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let (left, names) = (Arc::new(Semaphore::new(LEFT)), Mutex::default());
        let (places, unheard) = (Arc::new(Semaphore::new(CONNECTIONS)), Mutex::default());
        Arc::new(Self { hand_in, downlink, users, metrics, stop, left, places, names, unheard })
    }

    /// Notes a client that is not read from and has no way to be heard: it gives way to one that wants a place.
    pub(super) fn unheard(self: &Arc<Self>) -> Unheard {
        let displaced = CancellationToken::new();
        let mut unheard = self.lock_unheard();
        let turn = unheard.last_key_value().map_or(0, |(last, _)| last + 1);
        unheard.insert(turn, displaced.clone());
        Unheard { serving: Arc::clone(self), turn, displaced }
    }

    /// Takes a place for a client that is let in. `None` if all are taken: then a client that is not heard gives way, and
    /// there is one once its connection is closed.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        if place.is_none() {
            tracing::warn!("{CONNECTIONS} local MQTT clients are connected: one more is refused");
            if let Some((_, displaced)) = self.lock_unheard().pop_first() {
                displaced.cancel();
            }
        }
        place
    }

    fn lock_unheard(&self) -> MutexGuard<'_, BTreeMap<u64, CancellationToken>> {
        // As for the names.
        self.unheard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Namesakes>> {
        // No code that holds the lock leaves it half changed.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Signs a client in; the one that had its name is thrown out (MQTT 3.1.1 §3.1.4). `None` if that one is another
    /// user's.
    pub(super) fn sign_in(self: &Arc<Self>, name: &str, user: Option<&str>) -> Option<SignedIn> {
        let out = CancellationToken::new();
        let turn = {
            let mut names = self.lock();
            let namesakes = names.entry(name.to_owned()).or_default();
            if let (Some((_, holder)), Some(user)) = (&namesakes.holder, user)
                && holder != user
            {
                return None;
            }
            std::mem::replace(&mut namesakes.out, out.clone()).cancel();
            let turn = namesakes.turns.last().map_or(0, |last| last + 1);
            namesakes.holder = user.map(|user| (turn, user.to_owned()));
            namesakes.turns.insert(turn);
            turn
        };
        self.metrics.applications.clients().inc();
        let name = name.to_owned();
        Some(SignedIn { serving: Arc::clone(self), name, turn, out, is_connected: true })
    }
}

/// A client that is not heard, as long as this lives.
pub(super) struct Unheard {
    serving: Arc<Serving>,
    turn: u64,
    displaced: CancellationToken,
}

impl Unheard {
    /// Reports whether another one wants its place.
    pub(super) fn is_displaced(&self) -> bool {
        self.displaced.is_cancelled()
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        // Who displaces holds the lock; the number may be another one's by now.
        let mut unheard = self.serving.lock_unheard();
        if !self.is_displaced() {
            unheard.remove(&self.turn);
        }
    }
}

/// A client's name, until nothing that it left behind waits.
pub(super) struct SignedIn {
    serving: Arc<Serving>,
    name: String,
    turn: u64,
    /// Cancelled when another client comes with the same name.
    pub(super) out: CancellationToken,
    is_connected: bool,
}

impl SignedIn {
    /// Reports whether nothing waits that an earlier client of this name left behind.
    pub(super) fn is_first(&self) -> bool {
        let names = self.serving.lock();
        names.get(&self.name).is_none_or(|of| of.turns.first().is_none_or(|it| *it >= self.turn))
    }

    /// Its connection is closed; messages that it left behind may wait on.
    pub(super) fn close(&mut self) {
        if !std::mem::take(&mut self.is_connected) {
            return;
        }
        self.serving.metrics.applications.clients().dec();
        if let Some(namesakes) = self.serving.lock().get_mut(&self.name) {
            namesakes.holder.take_if(|(turn, _)| *turn == self.turn);
        }
    }
}

impl Drop for SignedIn {
    fn drop(&mut self) {
        self.close();
        let mut names = self.serving.lock();
        let Some(namesakes) = names.get_mut(&self.name) else { return };
        namesakes.turns.remove(&self.turn);
        if namesakes.turns.is_empty() {
            names.remove(&self.name);
        }
    }
}
