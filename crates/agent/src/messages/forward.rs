//! From the queue to the sessions: one forwarder per lane, failing over between its sessions.
//!
//! A lane of the queue is a route, or a session that messages were pinned to. Its forwarder leases
//! messages in order and gives them to the first session of the lane that is connected. The queue owns
//! a message until the broker's acknowledgement: a forwarder that dies loses nothing but its leases.

mod adopt;
pub(crate) mod batch;
mod delivery;
mod forwarder;
mod given;
mod lane_queue;
pub mod lanes;
mod ledger;
mod passed;
mod paths;
mod places;
mod plan;
mod routing;
mod running;
mod target;

use fleet::SessionId;

pub use adopt::{Adopter, Adoption, Held};
pub use given::Given;
pub use plan::{LanePlan, plan};
pub use routing::{LONGEST_ID, Routing, Variables};
pub use running::Forwarding;

/// The lane of messages that wait for one session only.
pub fn session_lane(session: &SessionId) -> String {
    format!("session {session}")
}

#[cfg(test)]
mod tests;
