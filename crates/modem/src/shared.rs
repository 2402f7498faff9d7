//! The news of one service: URCs that were sorted, for the search, the poll and the sessions.

use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::holders::Holders;
use crate::kept::Kept;
use crate::veto::Heard;

/// What the sorting of URCs tells the rest.
pub(crate) struct Shared {
    /// When the modem was identified.
    pub(crate) since: Instant,
    pub(crate) registered: watch::Sender<bool>,
    /// The fleet file forbids to be connected as things are.
    pub(crate) forbidden: watch::Sender<bool>,
    pub(crate) service_up: watch::Sender<bool>,
    /// Since when there has been no registration.
    pub(crate) unregistered: watch::Sender<Option<Instant>>,
    /// When the network was seen to deny data last; none since it gave some.
    pub(crate) denied: watch::Sender<Option<Instant>>,
    pub(crate) heard: Heard,
    /// Counts the losses of the service's network.
    pub(crate) service_lost: watch::Sender<u64>,
    pub(crate) connected: Notify,
    /// The first poll was made.
    pub(crate) settled: Notify,
    /// The registration wants a look before the next poll.
    pub(crate) look: Notify,
    /// A text message was printed.
    pub(crate) printed: Notify,
    /// Who holds which client of the MQTT stack, by its index.
    pub(crate) holders: Holders,
    /// Messages that the modem keeps until it is asked.
    pub(crate) kept: Kept,
}

impl Shared {
    /// Of a modem that was identified just now.
    pub(crate) fn new() -> Self {
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
        }
    }

    /// How long there has been no registration.
    pub(crate) fn searched_for(&self) -> Option<Duration> {
        self.unregistered.borrow().map(|since| since.elapsed())
    }

    pub(crate) fn lose_service(&self) {
        self.service_lost.send_modify(|losses| *losses += 1);
    }
}
