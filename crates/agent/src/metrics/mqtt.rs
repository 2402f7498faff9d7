//! Counters of the MQTT sessions of the modems.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fleet::SessionId;
use modem::observe::{DisconnectReason, PublishResult};
use prometheus::{GaugeVec, HistogramVec, IntCounterVec};

use super::families;
use super::series::{Labels, Maker, bump, observe, prune, set};

/// Connections and messages, by modem and session.
pub(super) struct MqttMetrics {
    connects: IntCounterVec,
    disconnects: IntCounterVec,
    publishes: IntCounterVec,
    publish_seconds: HistogramVec,
    last_ack: GaugeVec,
    received: IntCounterVec,
    damaged: IntCounterVec,
}

impl MqttMetrics {
    pub(super) fn new(make: &Maker<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            connects: make.counter(&families::CONNECTS)?,
            disconnects: make.counter(&families::DISCONNECTS)?,
            publishes: make.counter(&families::PUBLISHES)?,
            publish_seconds: make.histogram(&families::PUBLISH_SECONDS)?,
            last_ack: make.gauge(&families::LAST_ACK)?,
            received: make.counter(&families::RECEIVED)?,
            damaged: make.counter(&families::DAMAGED)?,
        })
    }

    /// Adds the series of a modem.
    pub(super) fn begin(&self, modem: &str) {
        bump(&self.damaged, &[modem], 0);
    }

    /// Adds the series of a session.
    pub(super) fn begin_session(&self, id: &SessionId) {
        let (modem, session) = (id.modem.as_str(), id.session.as_str());
        bump(&self.received, &[modem, session], 0);
        for result in families::CONNECT_RESULTS {
            bump(&self.connects, &[modem, session, result], 0);
        }
        for reason in DisconnectReason::ALL {
            bump(&self.disconnects, &[modem, session, reason.as_str()], 0);
        }
    }

    pub(super) fn connect(&self, modem: &str, session: &str, ok: bool) {
        bump(&self.connects, &[modem, session, if ok { "ok" } else { "error" }], 1);
    }

    pub(super) fn disconnect(&self, modem: &str, session: &str, reason: DisconnectReason) {
        bump(&self.disconnects, &[modem, session, reason.as_str()], 1);
    }

    pub(super) fn publish(
        &self,
        modem: &str,
        session: &str,
        qos: u8,
        result: PublishResult,
        took: Duration,
    ) {
        bump(&self.publishes, &[modem, session, &qos.to_string(), result.as_str()], 1);
        if result == PublishResult::Ok {
            observe(&self.publish_seconds, &[modem, session], took);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            set(&self.last_ack, &[modem, session], now.as_secs_f64());
        }
    }

    pub(super) fn received(&self, modem: &str, session: &str) {
        bump(&self.received, &[modem, session], 1);
    }

    pub(super) fn damaged(&self, modem: &str) {
        bump(&self.damaged, &[modem], 1);
    }

    pub(super) fn keep(&self, keep: impl Fn(&Labels<'_>) -> bool + Copy) {
        let Self { connects, disconnects, publishes, publish_seconds, last_ack, received, damaged } =
            self;
        for family in [connects, disconnects, publishes, received, damaged] {
            prune(family, keep);
        }
        prune(publish_seconds, keep);
        prune(last_ack, keep);
    }
}
