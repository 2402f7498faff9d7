//! One session of a lane, as its forwarder sees it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use modem::Snapshot;
use modem::session::Uplink;
use queue::MAX_PRIORITY;
use tokio::sync::watch;
use tokio::time::Instant;

use super::routing::Path;
use crate::budget::Allowance;
use fleet::SessionId;

/// One session of a lane.
pub(super) struct Target {
    pub(super) id: SessionId,
    /// The same in words, for the record of a message.
    pub(super) path: Arc<str>,
    pub(super) uplink: Uplink,
    /// The session's variables for the topics of routes.
    pub(super) vars: BTreeMap<String, String>,
    /// The facts about its modem, whose limits may be small.
    modem: Option<watch::Receiver<Snapshot>>,
    /// The messages that the budget of its SIM lets through.
    allowance: Option<watch::Receiver<Allowance>>,
    /// Its state when it was looked at last.
    seen: Seen,
    /// True if it was connected when it was looked at last; `None` before it ever was.
    was_connected: Option<bool>,
    /// The time since which it is connected again after it was down.
    back_since: Option<Instant>,
    /// True while a result is late, and its message of this lane went elsewhere. The session gets nothing more
    /// from the lane until that result is in. (`uplink.stalled` is the same of any lane, and as long as the session says.)
    pub(super) is_late: watch::Sender<bool>,
}

/// The messages that a path takes while it is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    floor: u8,
    /// The longest topic, the shortest and the longest payload, as far as they are known.
    limits: Option<(usize, usize, usize)>,
}

/// The state on which a forwarder's choice rests.
#[derive(Clone, Copy, Default)]
struct Seen {
    connected: bool,
    stalled: bool,
    floor: u8,
}

impl Target {
    pub(super) fn new(id: SessionId, uplink: Uplink) -> Self {
        Self {
            path: id.to_string().into(),
            id,
            uplink,
            vars: BTreeMap::new(),
            modem: None,
            allowance: None,
            seen: Seen::default(),
            was_connected: None,
            back_since: None,
            is_late: watch::Sender::new(false),
        }
    }

    pub(super) fn with_vars(mut self, vars: BTreeMap<String, String>) -> Self {
        self.vars = vars;
        self
    }

    pub(super) fn with_modem(mut self, modem: watch::Receiver<Snapshot>) -> Self {
        self.modem = Some(modem);
        self
    }

    pub(super) fn with_allowance(mut self, allowance: Option<watch::Receiver<Allowance>>) -> Self {
        self.allowance = allowance;
        self
    }

    /// The least priority that the budget of its SIM lets through; beyond [`MAX_PRIORITY`] none does.
    pub(super) fn floor(&self) -> u8 {
        self.allowance.as_ref().map_or(0, |allowance| allowance.borrow().floor)
    }

    /// Waits for a change since the last [`look`](Self::look): it came or went, stalls or does so
    /// no more, or its budget lets through something else.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub(super) fn changed(&self) -> impl Future<Output = ()> + Send + use<> {
        let Seen { connected, stalled: is_stalled, floor } = self.seen;
        let (mut state, mut allowance) = (self.uplink.state.clone(), self.allowance.clone());
        let mut stalled = self.uplink.stalled.clone();
        async move {
            let moved = async {
                // A modem that is gone for good changes nothing any more.
                if state.wait_for(|state| state.is_connected() != connected).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let allowed = async {
                let changed = match &mut allowance {
                    Some(allowance) => allowance.wait_for(|now| now.floor != floor).await.is_ok(),
                    None => false,
                };
                if !changed {
                    std::future::pending::<()>().await;
                }
            };
            let stalls = async {
                if stalled.wait_for(|stalled| *stalled != is_stalled).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            // All arms are cancel safe, and none awaits in its body.
            tokio::select! { () = moved => {}, () = allowed => {}, () = stalls => {} }
        }
    }

    /// Reports whether a topic and a payload of these bytes fit the modem, as far as that is known.
    pub(super) fn may_take(&self, topic: usize, payload: usize) -> bool {
        let takes = |modem: &watch::Receiver<Snapshot>| modem.borrow().may_take(topic, payload);
        self.modem.as_ref().is_none_or(takes)
    }

    /// The sizes that the modem takes, in words, as far as they are known.
    pub(super) fn room(&self) -> Option<String> {
        self.modem.as_ref().and_then(|modem| modem.borrow().room())
    }

    /// The longest payload that the modem takes, as far as that is known.
    pub(super) fn max_payload(&self) -> usize {
        let known = |modem: &watch::Receiver<Snapshot>| {
            modem.borrow().identified.as_ref().map(|is| is.max_payload)
        };
        self.modem.as_ref().and_then(known).unwrap_or(usize::MAX)
    }

    /// Takes a look, for the choice among paths. That a session comes up for the first time is no return.
    pub(super) fn look(&mut self, now: Instant) -> Path {
        let connected = self.is_connected();
        let stalled = *self.uplink.stalled.borrow();
        self.seen = Seen { connected, stalled, floor: self.floor() };
        if connected && self.was_connected == Some(false) {
            self.back_since = Some(now);
        }
        if connected || self.was_connected.is_some() {
            self.was_connected = Some(connected);
        }
        Path { free: self.is_free(), floor: self.floor(), back_since: self.back_since }
    }

    /// Its reach, if it can take anything now.
    pub(super) fn reach(&self) -> Option<Reach> {
        let limits = |modem: &watch::Receiver<Snapshot>| {
            let modem = modem.borrow();
            modem.identified.as_ref().map(|is| (is.max_topic, is.min_payload, is.max_payload))
        };
        let limits = self.modem.as_ref().and_then(limits);
        self.is_free().then(|| Reach { floor: self.floor(), limits })
    }

    pub(super) fn is_connected(&self) -> bool {
        self.uplink.state.borrow().is_connected()
    }

    /// Reports whether a result is late, of a message of this lane that went elsewhere or of any other.
    pub(super) fn is_stalled(&self) -> bool {
        *self.is_late.borrow() || *self.uplink.stalled.borrow()
    }

    /// Reports whether it can take any message at all.
    pub(super) fn is_free(&self) -> bool {
        self.is_connected() && !self.is_stalled() && self.floor() <= MAX_PRIORITY
    }
}
