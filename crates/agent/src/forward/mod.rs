//! From the queue to the sessions: one forwarder per lane, failing over between its sessions.
//!
//! A lane of the queue is a route, or a session that messages were pinned to. Its forwarder leases
//! messages in order and gives them to the first session of the lane that is connected. The queue owns
//! a message until the broker's acknowledgement: a forwarder that dies loses nothing but its leases.

mod delivery;
mod forwarder;

use std::sync::Arc;

use futures_util::future::join_all;
use queue::{Queue, StoreError};
use sha1::{Digest, Sha1};
use tokio_util::sync::CancellationToken;

use crate::config::{Fleet, Route, SessionId};
use crate::metrics::Metrics;
use crate::view::View;

pub use forwarder::Forwarder;

use forwarder::Target;

/// The lane of a route. Filters that are too long for a lane's name stand there as a digest.
pub fn route_lane(route: &Route) -> String {
    let lane = format!("route {}", route.topic);
    if lane.len() <= queue::MAX_NAME {
        return lane;
    }
    let digest: String =
        Sha1::digest(route.topic.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
    format!("route sha1:{digest}")
}

/// The lane of messages that wait for one session only.
pub fn session_lane(session: &SessionId) -> String {
    format!("session {session}")
}

/// Moves messages of lanes that the fleet file no longer has to the routes that match them now. Those
/// that match none stay, and are named.
///
/// # Errors
/// [`StoreError`] where the queue could not be read.
pub async fn adopt_orphans(queue: &Queue, fleet: &Fleet) -> Result<(), StoreError> {
    let known: Vec<String> = fleet
        .routes()
        .iter()
        .map(route_lane)
        .chain(fleet.sessions().map(|s| session_lane(&s.id)))
        .collect();
    let lanes: Vec<String> = queue.stat().lanes.keys().map(ToString::to_string).collect();
    for lane in lanes.into_iter().filter(|lane| !known.contains(lane)) {
        // A message pinned to a session waits for that session, even if it comes back later.
        let stranded = match lane.starts_with("session ") {
            true => queue.stat().lanes.get(lane.as_str()).map_or(0, |lane| lane.messages),
            false => reroute(queue, fleet, &lane).await?,
        };
        if stranded > 0 {
            tracing::warn!(
                lane,
                stranded,
                "queued messages have no way out by this fleet file; they are kept"
            );
        }
    }
    Ok(())
}

/// Moves what a route matches; tells how many messages no route matches.
async fn reroute(queue: &Queue, fleet: &Fleet, lane: &str) -> Result<u64, StoreError> {
    let mut stranded = Vec::new();
    loop {
        let leases = queue.lease(lane, 256).await?;
        if leases.is_empty() {
            break;
        }
        // Asked for together, the moves of a batch share one commit.
        let moves = leases.into_iter().map(|lease| async move {
            let Some(route) = fleet.route(&lease.topic) else { return Some(lease.id) };
            match queue.transfer(lease.id, &route_lane(route)).await {
                Ok(_) => None,
                Err(error) => {
                    tracing::error!(id = %lease.id, "could not move a message to its new route: {error}");
                    Some(lease.id)
                }
            }
        });
        stranded.extend(join_all(moves).await.into_iter().flatten());
    }
    let count = u64::try_from(stranded.len()).unwrap_or(u64::MAX);
    for id in stranded {
        drop(queue.release(id));
    }
    Ok(count)
}

/// All forwarders of a fleet: one per route, and one per session for what is pinned to it.
pub fn forwarders(
    fleet: &Fleet,
    view: &View,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
) -> Vec<Forwarder> {
    let forwarder = |lane: String, to: &[SessionId]| {
        let targets: Vec<Target> = to
            .iter()
            .filter_map(|id| Some(Target::new(id.clone(), view.session(id)?.uplink.clone())))
            .collect();
        // A fleet may watch modems and carry nothing.
        let some = !targets.is_empty();
        some.then(|| {
            Forwarder::new(view.queue.clone(), lane, targets, Arc::clone(metrics), stop.clone())
        })
    };
    let routes = fleet.routes().iter().filter_map(|route| forwarder(route_lane(route), &route.to));
    let pinned = fleet
        .sessions()
        .filter_map(|s| forwarder(session_lane(&s.id), std::slice::from_ref(&s.id)));
    routes.chain(pinned).collect()
}

#[cfg(test)]
mod tests;
