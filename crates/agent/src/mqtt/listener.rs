//! Accepting clients: how many there may be, and who of two namesakes stays.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::{CONNECTIONS, LEFT, Users, link};
use crate::downlink::Downlink;
use crate::hand_in::HandIn;
use crate::metrics::Metrics;

/// Before the next `accept` after one that failed, which without a pause may fail as fast as it is called.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What every connection works with.
pub struct Serving {
    pub(super) hand_in: HandIn,
    pub(super) downlink: Downlink,
    pub(super) users: watch::Receiver<Users>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stop: CancellationToken,
    /// Memory for what clients that have gone leave behind, in bytes.
    pub(super) left: Arc<Semaphore>,
    names: Mutex<HashMap<String, Namesakes>>,
    /// In the order in which they fell silent.
    unheard: Mutex<BTreeMap<u64, CancellationToken>>,
}

/// The clients of a name: the one that is connected, and those that left something behind.
#[derive(Default)]
struct Namesakes {
    /// Throws out the last that came.
    out: CancellationToken,
    /// Their numbers, in the order they came.
    turns: BTreeSet<u64>,
}

impl Serving {
    /// A listener's parts, with nobody connected.
    pub fn new(
        hand_in: HandIn,
        downlink: Downlink,
        users: watch::Receiver<Users>,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let (left, names) = (Arc::new(Semaphore::new(LEFT)), Mutex::default());
        let unheard = Mutex::default();
        Arc::new(Self { hand_in, downlink, users, metrics, stop, left, names, unheard })
    }

    /// Notes a client that is not read from and has no way to be heard: it gives way to one that wants a place.
    pub(super) fn unheard(self: &Arc<Self>) -> Unheard {
        let displaced = CancellationToken::new();
        let mut unheard = self.lock_unheard();
        let turn = unheard.last_key_value().map_or(0, |(last, _)| last + 1);
        unheard.insert(turn, displaced.clone());
        Unheard { serving: Arc::clone(self), turn, displaced }
    }

    /// Makes place for another client, which is there once the connection that gives way is closed.
    fn make_place(&self) {
        let mut unheard = self.lock_unheard();
        if let Some((_, displaced)) = unheard.pop_first() {
            displaced.cancel();
        }
    }

    fn lock_unheard(&self) -> MutexGuard<'_, BTreeMap<u64, CancellationToken>> {
        // As for the names.
        self.unheard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Namesakes>> {
        // No code that holds the lock leaves it half changed.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Signs a client in; who had its name is thrown out (MQTT 3.1.1 §3.1.4).
    pub(super) fn sign_in(self: &Arc<Self>, name: &str) -> SignedIn {
        let out = CancellationToken::new();
        let turn = {
            let mut names = self.lock();
            let namesakes = names.entry(name.to_owned()).or_default();
            std::mem::replace(&mut namesakes.out, out.clone()).cancel();
            let turn = namesakes.turns.last().map_or(0, |last| last + 1);
            namesakes.turns.insert(turn);
            turn
        };
        self.metrics.clients().inc();
        let name = name.to_owned();
        SignedIn { serving: Arc::clone(self), name, turn, out, is_connected: true }
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

    /// Its connection is closed; what it left behind may wait on.
    pub(super) fn close(&mut self) {
        if std::mem::take(&mut self.is_connected) {
            self.serving.metrics.clients().dec();
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

/// Serves clients until the agent ends and all messages in hand are on disk.
///
/// # Cancel safety
/// Dropping it closes every connection; what is not acknowledged may or may not have been taken.
pub async fn listen(listener: TcpListener, serving: Arc<Serving>) {
    // A client that has gone gives back its place, though its task may go on with what it left behind.
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut clients = JoinSet::new();
    loop {
        // All arms are cancel safe: a connection or an end that is not taken now is taken the next time.
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(ended) = clients.join_next() => {
                if let Err(error) = ended {
                    tracing::error!("a local MQTT client's task was lost: {error}");
                }
                continue;
            }
            () = serving.stop.cancelled() => break,
        };
        let place = Arc::clone(&places).try_acquire_owned();
        match (accepted, place) {
            (Ok((_, peer)), Err(_)) => {
                tracing::warn!(%peer, "{CONNECTIONS} local MQTT clients are connected: one more is closed");
                serving.make_place();
            }
            (Ok((stream, peer)), Ok(place)) => {
                // Best effort: it only makes small packets leave sooner.
                let _ = stream.set_nodelay(true);
                link::watch(&stream);
                let (serving, peer) = (Arc::clone(&serving), peer.to_string());
                clients.spawn(Connection::new(stream, serving, peer).serve(place));
            }
            (Err(error), _) => {
                tracing::warn!("could not accept a local MQTT client: {error}");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    drop(listener);
    while clients.join_next().await.is_some() {}
}
