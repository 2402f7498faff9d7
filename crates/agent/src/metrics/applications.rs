//! Counters of the messages and requests of local applications.

use fleet::SessionId;
use prometheus::{IntCounterVec, IntGauge};

use super::families::{self, ConnectionRefusal};
use super::labels::{ConsumerKind, HttpRefusal, WayIn};
use super::series::{Labels, Maker, bump, prune};

/// The traffic with applications on this gateway.
pub struct ApplicationMetrics {
    handed_in: IntCounterVec,
    http_refused: IntCounterVec,
    downlink_dropped: IntCounterVec,
    downlink_refused: IntCounterVec,
    connections_refused: IntCounterVec,
    clients: IntGauge,
}

impl ApplicationMetrics {
    pub(super) fn new(make: &Maker<'_>) -> prometheus::Result<Self> {
        let made = Self {
            handed_in: make.counter(&families::HANDED_IN)?,
            http_refused: make.counter(&families::HTTP_REFUSED)?,
            downlink_dropped: make.counter(&families::DOWNLINK_DROPPED)?,
            downlink_refused: make.counter(&families::DOWNLINK_REFUSED)?,
            connections_refused: make.counter(&families::CONNECTIONS_REFUSED)?,
            clients: make.number(&families::CLIENTS)?,
        };
        for way in WayIn::ALL {
            for result in families::HAND_IN_RESULTS {
                bump(&made.handed_in, &[way.as_str(), result], 0);
            }
        }
        for why in HttpRefusal::ALL {
            bump(&made.http_refused, &[why.as_str()], 0);
        }
        for kind in ConsumerKind::ALL {
            bump(&made.downlink_dropped, &[kind.as_str()], 0);
        }
        for reason in ConnectionRefusal::ALL {
            bump(&made.connections_refused, &[reason.as_str()], 0);
        }
        Ok(made)
    }

    /// Adds the series of a session.
    pub(super) fn begin_session(&self, id: &SessionId) {
        bump(&self.downlink_refused, &[id.modem.as_str(), id.session.as_str()], 0);
    }

    /// Counts a publish by an application, with its result.
    pub fn handed_in(&self, way: WayIn, result: &str) {
        bump(&self.handed_in, &[way.as_str(), result], 1);
    }

    /// Counts a refused HTTP request.
    pub fn http_refused(&self, why: HttpRefusal) {
        bump(&self.http_refused, &[why.as_str()], 1);
    }

    /// Counts messages that a local consumer missed.
    pub fn downlink_dropped(&self, kind: ConsumerKind, count: u64) {
        bump(&self.downlink_dropped, &[kind.as_str()], count);
    }

    /// Counts a received message whose topic MQTT does not allow.
    pub fn downlink_refused(&self, id: &SessionId) {
        bump(&self.downlink_refused, &[id.modem.as_str(), id.session.as_str()], 1);
    }

    /// Counts a refused connection to the MQTT listener.
    pub fn connection_refused(&self, reason: ConnectionRefusal) {
        bump(&self.connections_refused, &[reason.as_str()], 1);
    }

    /// Returns the gauge of local MQTT clients.
    pub fn clients(&self) -> &IntGauge {
        &self.clients
    }

    pub(super) fn keep(&self, keep: impl Fn(&Labels<'_>) -> bool + Copy) {
        prune(&self.downlink_refused, keep);
    }
}
