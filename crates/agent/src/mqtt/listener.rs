//! Accepting clients: how many there may be, and who of two namesakes stays.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::{CONNECTIONS, Users};
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
    names: Mutex<HashMap<String, CancellationToken>>,
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
        Arc::new(Self { hand_in, downlink, users, metrics, stop, names: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        // No code that holds the lock leaves it half changed.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Signs a client in; who had its name is thrown out (MQTT 3.1.1 §3.1.4).
    pub(super) fn sign_in(self: &Arc<Self>, name: &str) -> SignedIn {
        let out = CancellationToken::new();
        if let Some(earlier) = self.lock().insert(name.to_owned(), out.clone()) {
            earlier.cancel();
        }
        self.metrics.clients().inc();
        SignedIn { serving: Arc::clone(self), name: name.to_owned(), out }
    }
}

/// A client's name, its own until this is dropped or somebody else takes it.
pub(super) struct SignedIn {
    serving: Arc<Serving>,
    name: String,
    /// Cancelled when another client comes with the same name.
    pub(super) out: CancellationToken,
}

impl Drop for SignedIn {
    fn drop(&mut self) {
        self.serving.metrics.clients().dec();
        // Once thrown out, the name is somebody else's. Who throws out holds the lock.
        let mut names = self.serving.lock();
        if !self.out.is_cancelled() {
            names.remove(&self.name);
        }
    }
}

/// Serves clients until the agent ends and all messages in hand are on disk.
///
/// # Cancel safety
/// Dropping it closes every connection; what is not acknowledged may or may not have been taken.
pub async fn listen(listener: TcpListener, serving: Arc<Serving>) {
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
        match accepted {
            Ok((_, peer)) if clients.len() >= CONNECTIONS => {
                tracing::warn!(%peer, "{CONNECTIONS} local MQTT clients are connected: one more is closed");
            }
            Ok((stream, peer)) => {
                // Best effort: it only makes small packets leave sooner.
                let _ = stream.set_nodelay(true);
                clients
                    .spawn(Connection::new(stream, Arc::clone(&serving), peer.to_string()).serve());
            }
            Err(error) => {
                tracing::warn!("could not accept a local MQTT client: {error}");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    drop(listener);
    while clients.join_next().await.is_some() {}
}
