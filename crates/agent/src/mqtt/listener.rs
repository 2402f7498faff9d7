//! Accepting clients.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::connection::Connection;
use super::entrance::Entrance;
use super::link;
use super::serving::Serving;
use crate::metrics::families::ConnectionRefusal;
use crate::upkeep::descriptors;

/// Before the next `accept` after one that failed, which without a pause may fail as fast as it is called.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Connections that the system keeps, in their order, until they are accepted, as far as it allows (`net.core.somaxconn`).
/// Beyond it a client is not answered and tries again later and later, and those that flood try more often.
const WAITING: i32 = 4_096;

/// Serves clients until the agent ends and all messages in hand are on disk.
///
/// # Cancel safety
/// Dropping it closes every connection; a message without acknowledgement may or may not have been taken.
pub async fn listen(listener: TcpListener, serving: Arc<Serving>) {
    // On a socket that listens it changes this number only. Without it the listener serves all the same.
    let _ = rustix::net::listen(&listener, WAITING);
    let entrance = Arc::new(Entrance::default());
    let mut clients = JoinSet::new();
    loop {
        let accept = async {
            entrance.open().await;
            listener.accept().await
        };
        // All arms are cancel safe: a connection or an end that is not taken now is taken the next time.
        let accepted = tokio::select! {
            accepted = accept => accepted,
            Some(ended) = clients.join_next() => {
                if let Err(error) = ended {
                    tracing::error!("a local MQTT client's task was lost: {error}");
                }
                continue;
            }
            () = serving.stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) if !descriptors::may_keep(&stream) => {
                tracing::warn!("no file descriptor is left for one more local MQTT client");
                serving.metrics.applications.connection_refused(ConnectionRefusal::Full);
            }
            Ok((stream, peer)) => {
                // Best effort: it only makes small packets leave sooner.
                let _ = stream.set_nodelay(true);
                link::watch(&stream);
                let at_entrance = entrance.enter(peer.ip());
                let client = Connection::new(stream, Arc::clone(&serving), peer);
                clients.spawn(client.serve(at_entrance));
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
