//! The news of one service: URCs that were sorted, for the search, the poll and the sessions.

use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::holders::Holders;
use crate::kept::Kept;
use crate::veto::Heard;

/// The news that the sorting of URCs has for the other parts.
pub(crate) struct Shared {
    /// The time of the modem's identification.
    pub(crate) since: Instant,
    pub(crate) registered: watch::Sender<bool>,
    /// True if the fleet file forbids a connection at present, because the modem roams.
    pub(crate) forbidden: watch::Sender<bool>,
    pub(crate) service_up: watch::Sender<bool>,
    /// The time since which there is no registration.
    pub(crate) unregistered: watch::Sender<Option<Instant>>,
    /// The time of the network's last denial of data; `None` once it gave data again.
    pub(crate) denied: watch::Sender<Option<Instant>>,
    pub(crate) heard: Heard,
    /// Counts the losses of the service's network.
    pub(crate) service_lost: watch::Sender<u64>,
    pub(crate) connected: Notify,
    /// Notified after the first poll.
    pub(crate) settled: Notify,
    /// Notified when the registration has to be read before the next poll.
    pub(crate) look: Notify,
    /// Notified when a text message was printed.
    pub(crate) printed: Notify,
    /// The session that holds each client of the MQTT stack.
    pub(crate) holders: Holders,
    /// Messages that the modem keeps until they are fetched.
    pub(crate) kept: Kept,
    /// Cancelled when the sessions are to sign out: the agent ends, or a person resets the modem.
    pub(crate) parting: CancellationToken,
}

impl Shared {
    /// Creates the news of a modem that was identified just now; `stop` ends its sessions.
    pub(crate) fn new(stop: &CancellationToken) -> Self {
        Self {
            since: Instant::now(),
            registered: watch::Sender::default(),
            forbidden: watch::Sender::default(),
            service_up: watch::Sender::default(),
            unregistered: watch::Sender::default(),
            denied: watch::Sender::default(),
            heard: Heard::default(),
            service_lost: watch::Sender::default(),
            connected: Notify::new(),
            settled: Notify::new(),
            look: Notify::new(),
            printed: Notify::new(),
            holders: Holders::default(),
            kept: Kept::default(),
            parting: stop.child_token(),
        }
    }

    /// Returns the time for which there has been no registration.
    pub(crate) fn searched_for(&self) -> Option<Duration> {
        self.unregistered.borrow().map(|since| since.elapsed())
    }

    pub(crate) fn lose_service(&self) {
        self.service_lost.send_modify(|losses| *losses += 1);
    }
}
