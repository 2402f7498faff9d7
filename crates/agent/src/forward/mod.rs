//! From the queue to the sessions: one forwarder per lane, failing over between its sessions.
//!
//! A lane of the queue is a route, or a session that messages were pinned to. Its forwarder leases
//! messages in order and gives them to the first session of the lane that is connected. The queue owns
//! a message until the broker's acknowledgement: a forwarder that dies loses nothing but its leases.

pub(crate) mod batch;
mod delivery;
mod forwarder;
mod given;
pub mod lanes;
mod ledger;
mod passed;
mod plan;
mod routing;
mod running;
mod target;

use futures_util::future::join_all;
use modem::session::Chain;
use queue::{Queue, StoreError};
use tokio_util::sync::CancellationToken;

use crate::config::{Fleet, SessionId};
use crate::view::View;

pub use forwarder::Waiting;
pub use given::Given;
pub use plan::{LanePlan, plan};
pub use routing::Routing;
pub use running::Forwarding;

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
        .flat_map(lanes::of_route)
        .map(|lane| lane.name)
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

/// Adopts what was handed in while a reload took its lane away, until told to stop.
///
/// # Cancel safety
/// Dropping the future leaves what is in such lanes to the next start.
pub async fn adopt_strays(view: &View, stop: &CancellationToken) {
    // Both arms are cancel safe, and none awaits in its body.
    while tokio::select! { () = view.strays.notified() => true, () = stop.cancelled() => false } {
        if let Err(error) = adopt_orphans(&view.queue, &view.now().fleet).await {
            tracing::error!("could not look for stray messages: {}", Chain(&error));
        }
    }
}

/// The lane of a topic. Where every session gets a copy, one that was handed in before goes to the first only.
fn lane_of(fleet: &Fleet, topic: &str) -> Option<String> {
    Some(lanes::of_topic(fleet.route(topic)?, topic).into_iter().next()?.name)
}

/// Moves what has a home: the lane that had this name before, or that of its topic; returns how many messages have none.
async fn reroute(queue: &Queue, fleet: &Fleet, lane: &str) -> Result<u64, StoreError> {
    let mut all = fleet.routes().iter().flat_map(lanes::of_route);
    let renamed = all.find(|of| of.was(lane)).map(|lane| lane.name);
    let home = |topic: &str| renamed.clone().or_else(|| lane_of(fleet, topic));
    let (home, mut stranded) = (&home, Vec::new());
    // Its forwarder may have been lost.
    drop(queue.look_again(lane));
    loop {
        let leases = queue.lease(lane, 256).await?;
        if leases.is_empty() {
            break;
        }
        // Asked for together, the moves of a batch share one commit.
        let moves = leases.into_iter().map(|lease| async move {
            let Some(home) = home(&lease.topic) else { return Some(lease.id) };
            match queue.transfer(lease.id, &home).await {
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

#[cfg(test)]
mod tests;
