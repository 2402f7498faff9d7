//! The counters and histograms of the contract, each with a typed method.
//!
//! Events are counted here. States (signal, registration, queue) are read from their owners at each
//! scrape, by [`crate::now`]. A scrape never talks to a modem.

mod applications;
mod at;
pub mod families;
pub mod labels;
mod modems;
mod mqtt;
pub mod process;
mod routes;
pub mod scrape;
mod series;

use std::sync::Arc;
use std::time::Duration;

use fleet::{Fleet, SessionId};
use modem::Observer;
use modem::holder::Busy;
use modem::mqtt::Received;
use modem::observe::{
    DisconnectReason, ExchangeResult, PublishResult, RecoveryAction, RecoveryOutcome,
};
use modem::port::Kind;
use prometheus::{IntCounterVec, Registry};

use applications::ApplicationMetrics;
use at::AtMetrics;
use modems::ModemMetrics;
use mqtt::MqttMetrics;
use routes::RouteMetrics;
use series::{Labels, Maker, bump};

/// All families of counters and histograms, by subject.
pub struct Metrics {
    registry: Registry,
    at: AtMetrics,
    mqtt: MqttMetrics,
    /// Modems' arrivals and departures, detection, panics and recovery.
    pub modems: ModemMetrics,
    /// The paths of the routes.
    pub routes: RouteMetrics,
    /// The traffic with local applications.
    pub applications: ApplicationMetrics,
    set_aside: IntCounterVec,
    reloads: IntCounterVec,
}

impl Metrics {
    /// Makes all families and registers them.
    ///
    /// # Errors
    /// If Prometheus refuses a name, which is a mistake in the table of families.
    pub fn new() -> prometheus::Result<Arc<Self>> {
        let registry = Registry::new();
        let make = Maker(&registry);
        make.gauge(&families::BUILD_INFO)?
            .get_metric_with_label_values(&[crate::version::NUMBER, crate::version::COMMIT])?
            .set(1.0);
        let metrics = Self {
            at: AtMetrics::new(&make)?,
            mqtt: MqttMetrics::new(&make)?,
            modems: ModemMetrics::new(&make)?,
            routes: RouteMetrics::new(&make)?,
            applications: ApplicationMetrics::new(&make)?,
            set_aside: make.counter(&families::SET_ASIDE)?,
            reloads: make.counter(&families::RELOADS)?,
            registry,
        };
        for reason in families::ASIDE_REASONS {
            bump(&metrics.set_aside, &[reason], 0);
        }
        for result in families::RELOAD_RESULTS {
            bump(&metrics.reloads, &[result], 0);
        }
        Ok(Arc::new(metrics))
    }

    /// Returns the registry, for values that are read at each scrape.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Counts a reload of the fleet file, applied or refused.
    pub fn reloaded(&self, applied: bool) {
        bump(&self.reloads, &[if applied { "applied" } else { "refused" }], 1);
    }

    /// Counts a message that was moved to the dead letters.
    pub fn set_aside(&self, reason: &str) {
        bump(&self.set_aside, &[reason], 1);
    }

    /// Returns the observer of one modem. Known label values start at 0, so that `rate()` sees the
    /// first event.
    pub fn modem(self: &Arc<Self>, modem: &str) -> Arc<dyn Observer> {
        self.at.begin(modem);
        self.mqtt.begin(modem);
        self.modems.begin(modem);
        Arc::new(CountingObserver { metrics: Arc::clone(self), modem: modem.to_owned() })
    }

    /// Adds the series of a session. Earlier counts of the session stay.
    pub fn session(&self, id: &SessionId) {
        self.mqtt.begin_session(id);
        self.applications.begin_session(id);
    }

    /// Removes the series of modems and sessions that left the fleet.
    pub fn keep_fleet(&self, fleet: &Fleet) {
        let keep = |labels: &Labels<'_>| match (labels.get("modem"), labels.get("session")) {
            (Some(modem), Some(session)) => fleet
                .sessions()
                .any(|s| s.id.modem.as_str() == *modem && s.id.session.as_str() == *session),
            (Some(modem), None) => fleet.modems.iter().any(|m| m.name.as_str() == *modem),
            (None, _) => true,
        };
        self.at.keep(keep);
        self.mqtt.keep(keep);
        self.modems.keep(keep);
        self.routes.keep(keep);
        self.applications.keep(keep);
    }
}

/// Counts the events of one modem.
struct CountingObserver {
    metrics: Arc<Metrics>,
    modem: String,
}

impl Observer for CountingObserver {
    fn exchange(&self, kind: Kind, result: ExchangeResult, took: Duration) {
        self.metrics.at.exchange(&self.modem, kind, result, took);
    }

    fn urc(&self) {
        self.metrics.at.urc(&self.modem);
    }

    fn desync(&self) {
        self.metrics.at.desync(&self.modem);
    }

    fn precaution(&self) {
        self.metrics.at.precaution(&self.modem);
    }

    fn implausible(&self, count: u32) {
        self.metrics.at.implausible(&self.modem, count);
    }

    fn connect(&self, session: &str, ok: bool) {
        self.metrics.mqtt.connect(&self.modem, session, ok);
    }

    fn disconnect(&self, session: &str, reason: DisconnectReason) {
        self.metrics.mqtt.disconnect(&self.modem, session, reason);
    }

    fn publish(&self, session: &str, qos: u8, result: PublishResult, took: Duration) {
        self.metrics.mqtt.publish(&self.modem, session, qos, result, took);
    }

    fn received(&self, session: &str, message: &Received) {
        self.metrics.mqtt.received(&self.modem, session);
        tracing::debug!(session, topic = message.topic, bytes = message.payload.len(), "received");
    }

    fn damaged(&self) {
        self.metrics.mqtt.damaged(&self.modem);
    }

    fn appeared(&self) {
        self.metrics.modems.appeared();
    }

    fn opened(&self, busy: Option<&Busy>) {
        self.metrics.modems.set_busy(&self.modem, busy.is_some());
    }

    fn vanished(&self) {
        self.metrics.modems.vanished(&self.modem);
    }

    fn detected(&self, took: Duration) {
        self.metrics.modems.detected(took);
    }

    fn ready(&self, took: Duration) {
        self.metrics.modems.ready(took);
    }

    fn recovery(&self, action: RecoveryAction, outcome: RecoveryOutcome) {
        self.metrics.modems.recovery(&self.modem, action, outcome);
    }
}
