//! The counters and histograms of the contract, each under a typed method.
//!
//! What is counted as it happens lives here; what is a state (signal, registration, queue) is read
//! from its owner at each scrape, by [`crate::now`]. A scrape never talks to a modem.

pub mod families;
pub mod labels;
pub mod process;
pub mod scrape;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use modem::holder::Busy;
use modem::mqtt::Received;
use modem::observe::{
    DisconnectReason, ExchangeResult, Observer, PublishResult, RecoveryAction, RecoveryOutcome,
};
use modem::port::Kind;
use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry,
};

use families::{Family, Kind as FamilyKind};
use fleet::{Fleet, SessionId};
use labels::{ConsumerKind, Refused, SwitchCause, Way};

/// All families that are counted.
pub struct Metrics {
    registry: Registry,
    reloads: IntCounterVec,
    route_active: GaugeVec,
    route_switches: IntCounterVec,
    detection: Histogram,
    ready: Histogram,
    hotplug: IntCounterVec,
    panics: IntCounterVec,
    at_commands: IntCounterVec,
    at_seconds: HistogramVec,
    at_urcs: IntCounterVec,
    at_desyncs: IntCounterVec,
    damaged: IntCounterVec,
    at_precautions: IntCounterVec,
    implausible: IntCounterVec,
    connects: IntCounterVec,
    disconnects: IntCounterVec,
    publishes: IntCounterVec,
    publish_seconds: HistogramVec,
    received: IntCounterVec,
    last_ack: GaugeVec,
    recovery: IntCounterVec,
    set_aside: IntCounterVec,
    handed_in: IntCounterVec,
    http_refused: IntCounterVec,
    downlink_dropped: IntCounterVec,
    downlink_refused: IntCounterVec,
    connections_refused: IntCounterVec,
    clients: IntGauge,
    unclaimed: IntGauge,
    duplicate_imeis: IntGauge,
    ports_busy: GaugeVec,
    unclaimed_ports_busy: IntGauge,
}

/// Makes families and registers them. A family that Prometheus refuses is a mistake in their table, which
/// every test that makes a registry finds.
struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn counter(&self, family: &Family) -> prometheus::Result<IntCounterVec> {
        let made = IntCounterVec::new(family.opts(), &family.label_names())?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }

    fn number(&self, family: &Family) -> prometheus::Result<IntGauge> {
        let made = IntGauge::with_opts(family.opts())?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }

    fn gauge(&self, family: &Family) -> prometheus::Result<GaugeVec> {
        let made = GaugeVec::new(family.opts(), &family.label_names())?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }

    fn histogram(&self, family: &Family) -> prometheus::Result<HistogramVec> {
        let FamilyKind::Histogram(buckets) = family.kind else {
            return Err(prometheus::Error::Msg(format!("{} is no histogram", family.name)));
        };
        let opts = HistogramOpts { common_opts: family.opts(), buckets: buckets.to_vec() };
        let made = HistogramVec::new(opts, &family.label_names())?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }
}

impl Metrics {
    /// Makes all families and registers them.
    ///
    /// # Errors
    /// Where Prometheus refuses a name, which is a mistake in the table of families.
    pub fn new() -> prometheus::Result<Arc<Self>> {
        let registry = Registry::new();
        let make = Maker(&registry);
        let detection = make.histogram(&families::DETECTION)?;
        let ready = make.histogram(&families::READY)?;
        make.gauge(&families::BUILD_INFO)?
            .get_metric_with_label_values(&[crate::version::NUMBER, crate::version::COMMIT])?
            .set(1.0);
        let metrics = Self {
            detection: detection.get_metric_with_label_values::<&str>(&[])?,
            ready: ready.get_metric_with_label_values::<&str>(&[])?,
            hotplug: make.counter(&families::HOTPLUG)?,
            panics: make.counter(&families::PANICS)?,
            at_commands: make.counter(&families::AT_COMMANDS)?,
            at_seconds: make.histogram(&families::AT_SECONDS)?,
            at_urcs: make.counter(&families::AT_URCS)?,
            at_desyncs: make.counter(&families::AT_DESYNCS)?,
            damaged: make.counter(&families::DAMAGED)?,
            at_precautions: make.counter(&families::AT_PRECAUTIONS)?,
            implausible: make.counter(&families::IMPLAUSIBLE)?,
            connects: make.counter(&families::CONNECTS)?,
            disconnects: make.counter(&families::DISCONNECTS)?,
            publishes: make.counter(&families::PUBLISHES)?,
            publish_seconds: make.histogram(&families::PUBLISH_SECONDS)?,
            received: make.counter(&families::RECEIVED)?,
            last_ack: make.gauge(&families::LAST_ACK)?,
            recovery: make.counter(&families::RECOVERY)?,
            set_aside: make.counter(&families::SET_ASIDE)?,
            handed_in: make.counter(&families::HANDED_IN)?,
            route_active: make.gauge(&families::ROUTE_ACTIVE)?,
            route_switches: make.counter(&families::ROUTE_SWITCHES)?,
            reloads: make.counter(&families::RELOADS)?,
            http_refused: make.counter(&families::HTTP_REFUSED)?,
            downlink_dropped: make.counter(&families::DOWNLINK_DROPPED)?,
            downlink_refused: make.counter(&families::DOWNLINK_REFUSED)?,
            connections_refused: make.counter(&families::CONNECTIONS_REFUSED)?,
            clients: make.number(&families::CLIENTS)?,
            unclaimed: make.number(&families::UNCLAIMED)?,
            duplicate_imeis: make.number(&families::DUPLICATE_IMEIS)?,
            ports_busy: make.gauge(&families::PORTS_BUSY)?,
            unclaimed_ports_busy: make.number(&families::UNCLAIMED_PORTS_BUSY)?,
            registry,
        };
        for reason in families::ASIDE_REASONS {
            bump(&metrics.set_aside, &[reason], 0);
        }
        for way in Way::ALL {
            for result in families::HAND_IN_RESULTS {
                bump(&metrics.handed_in, &[way.as_str(), result], 0);
            }
        }
        for result in families::RELOAD_RESULTS {
            bump(&metrics.reloads, &[result], 0);
        }
        for why in Refused::ALL {
            bump(&metrics.http_refused, &[why.as_str()], 0);
        }
        for kind in ConsumerKind::ALL {
            bump(&metrics.downlink_dropped, &[kind.as_str()], 0);
        }
        for reason in families::ConnectionRefusal::ALL {
            bump(&metrics.connections_refused, &[reason.as_str()], 0);
        }
        for action in families::PLUG_ACTIONS {
            metrics.hotplug.get_metric_with_label_values(&[action])?;
        }
        Ok(Arc::new(metrics))
    }

    /// The registry, for what is read at each scrape.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A modem's task panicked.
    pub fn panicked(&self, modem: &str) {
        bump(&self.panics, &[modem], 1);
    }

    /// A message was handed in, or tried to be.
    pub fn handed_in(&self, way: Way, result: &str) {
        bump(&self.handed_in, &[way.as_str(), result], 1);
    }

    /// A route with these paths, none of which is active yet.
    pub fn route(&self, route: &str, paths: &[&SessionId]) {
        for cause in SwitchCause::ALL {
            bump(&self.route_switches, &[route, cause.as_str()], 0);
        }
        for path in paths {
            self.set_active(route, path, 0.0);
        }
    }

    /// A route takes another path; `cause` is none where it had none.
    pub fn route_switched(
        &self,
        route: &str,
        from: Option<&SessionId>,
        to: &SessionId,
        cause: Option<SwitchCause>,
    ) {
        if let Some(from) = from {
            self.set_active(route, from, 0.0);
        }
        self.set_active(route, to, 1.0);
        if let Some(cause) = cause {
            bump(&self.route_switches, &[route, cause.as_str()], 1);
        }
    }

    fn set_active(&self, route: &str, path: &SessionId, active: f64) {
        let labels = [route, path.modem.as_str(), path.session.as_str()];
        if let Ok(gauge) = self.route_active.get_metric_with_label_values(&labels) {
            gauge.set(active);
        }
    }

    /// The fleet file was read again, and applied or refused.
    pub fn reloaded(&self, applied: bool) {
        bump(&self.reloads, &[if applied { "applied" } else { "refused" }], 1);
    }

    /// An HTTP request was refused.
    pub fn http_refused(&self, why: Refused) {
        bump(&self.http_refused, &[why.as_str()], 1);
    }

    /// A local consumer missed messages.
    pub fn downlink_dropped(&self, kind: ConsumerKind, count: u64) {
        bump(&self.downlink_dropped, &[kind.as_str()], count);
    }

    /// A message came down on a topic that is none.
    pub fn downlink_refused(&self, id: &SessionId) {
        bump(&self.downlink_refused, &[id.modem.as_str(), id.session.as_str()], 1);
    }

    /// A connection to the MQTT listener was refused.
    pub fn connection_refused(&self, reason: families::ConnectionRefusal) {
        bump(&self.connections_refused, &[reason.as_str()], 1);
    }

    /// The gauge of local MQTT clients.
    pub fn clients(&self) -> &IntGauge {
        &self.clients
    }

    /// The gauge of modems that no entry claims.
    pub fn unclaimed(&self) -> &IntGauge {
        &self.unclaimed
    }

    /// The gauge of IMEIs that more than one modem has.
    pub fn duplicate_imeis(&self) -> &IntGauge {
        &self.duplicate_imeis
    }

    /// The gauge of busy ports of modems that no entry has.
    pub fn unclaimed_ports_busy(&self) -> &IntGauge {
        &self.unclaimed_ports_busy
    }

    /// A message was taken out of the way.
    pub fn set_aside(&self, reason: &str) {
        bump(&self.set_aside, &[reason], 1);
    }

    /// Another process has a port of the modem, or none does.
    fn set_busy(&self, modem: &str, busy: Option<&Busy>) {
        if let Ok(gauge) = self.ports_busy.get_metric_with_label_values(&[modem]) {
            gauge.set(f64::from(u8::from(busy.is_some())));
        }
    }

    /// The observer of one modem. Known label values start at 0, so that `rate()` sees the first event.
    pub fn modem(self: &Arc<Self>, modem: &str) -> Arc<dyn Observer> {
        bump(&self.panics, &[modem], 0);
        self.set_busy(modem, None);
        for family in [
            &self.at_urcs,
            &self.at_desyncs,
            &self.at_precautions,
            &self.damaged,
            &self.implausible,
        ] {
            bump(family, &[modem], 0);
        }
        for kind in Kind::ALL {
            for result in ExchangeResult::ALL {
                bump(&self.at_commands, &[modem, kind.as_str(), result.as_str()], 0);
            }
        }
        Arc::new(ModemMetrics { metrics: Arc::clone(self), modem: modem.to_owned() })
    }

    /// A session of a modem, from now on. What it counted before goes on.
    pub fn session(&self, id: &SessionId) {
        let (modem, session) = (id.modem.as_str(), id.session.as_str());
        bump(&self.received, &[modem, session], 0);
        bump(&self.downlink_refused, &[modem, session], 0);
        for result in families::CONNECT_RESULTS {
            bump(&self.connects, &[modem, session, result], 0);
        }
        for reason in DisconnectReason::ALL {
            bump(&self.disconnects, &[modem, session, reason.as_str()], 0);
        }
    }

    /// Takes away the series of modems and sessions that are not in the fleet any more.
    pub fn keep_fleet(&self, fleet: &Fleet) {
        let keep = |labels: &Labels<'_>| match (labels.get("modem"), labels.get("session")) {
            (Some(modem), Some(session)) => fleet
                .sessions()
                .any(|s| s.id.modem.as_str() == *modem && s.id.session.as_str() == *session),
            (Some(modem), None) => fleet.modems.iter().any(|m| m.name.as_str() == *modem),
            (None, _) => true,
        };
        let counters = [
            &self.panics,
            &self.at_commands,
            &self.at_urcs,
            &self.at_desyncs,
            &self.damaged,
            &self.at_precautions,
            &self.implausible,
            &self.connects,
            &self.disconnects,
            &self.publishes,
            &self.received,
            &self.downlink_refused,
            &self.recovery,
        ];
        counters.into_iter().for_each(|family| prune(family, keep));
        [&self.at_seconds, &self.publish_seconds]
            .into_iter()
            .for_each(|family| prune(family, keep));
        [&self.last_ack, &self.route_active, &self.ports_busy]
            .into_iter()
            .for_each(|family| prune(family, keep));
    }

    /// Takes away the series of routes and their paths that are not these.
    pub fn keep_routes(&self, paths: &BTreeSet<(String, SessionId)>) {
        prune(&self.route_active, |labels| {
            paths.iter().any(|(route, id)| {
                labels.get("route") == Some(&route.as_str())
                    && labels.get("modem") == Some(&id.modem.as_str())
                    && labels.get("session") == Some(&id.session.as_str())
            })
        });
        prune(&self.route_switches, |labels| {
            paths.iter().any(|(route, _)| labels.get("route") == Some(&route.as_str()))
        });
    }
}

type Labels<'a> = HashMap<&'a str, &'a str>;

/// Takes away the series whose labels are not to be kept.
fn prune<T: MetricVecBuilder>(vec: &MetricVec<T>, keep: impl Fn(&Labels<'_>) -> bool)
where
    MetricVec<T>: Collector,
{
    for family in vec.collect() {
        for metric in family.get_metric() {
            let labels: Labels<'_> =
                metric.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
            if !keep(&labels) {
                // It was there a moment ago.
                let _ = vec.remove(&labels);
            }
        }
    }
}

/// Adds to a counter. A wrong number of labels is a mistake in this file and must not end a modem.
fn bump(family: &IntCounterVec, labels: &[&str], by: u64) {
    match family.get_metric_with_label_values(labels) {
        Ok(counter) => IntCounter::inc_by(&counter, by),
        Err(error) => tracing::error!("a metric is wired wrongly: {error}"),
    }
}

fn observe(family: &HistogramVec, labels: &[&str], seconds: Duration) {
    match family.get_metric_with_label_values(labels) {
        Ok(histogram) => histogram.observe(seconds.as_secs_f64()),
        Err(error) => tracing::error!("a metric is wired wrongly: {error}"),
    }
}

/// Counts for one modem.
struct ModemMetrics {
    metrics: Arc<Metrics>,
    modem: String,
}

impl Observer for ModemMetrics {
    fn exchange(&self, kind: Kind, result: ExchangeResult, took: Duration) {
        bump(&self.metrics.at_commands, &[&self.modem, kind.as_str(), result.as_str()], 1);
        observe(&self.metrics.at_seconds, &[&self.modem, kind.as_str()], took);
    }

    fn urc(&self) {
        bump(&self.metrics.at_urcs, &[&self.modem], 1);
    }

    fn desync(&self) {
        bump(&self.metrics.at_desyncs, &[&self.modem], 1);
    }

    fn precaution(&self) {
        bump(&self.metrics.at_precautions, &[&self.modem], 1);
    }

    fn connect(&self, session: &str, ok: bool) {
        bump(&self.metrics.connects, &[&self.modem, session, if ok { "ok" } else { "error" }], 1);
    }

    fn disconnect(&self, session: &str, reason: DisconnectReason) {
        bump(&self.metrics.disconnects, &[&self.modem, session, reason.as_str()], 1);
    }

    fn publish(&self, session: &str, qos: u8, result: PublishResult, took: Duration) {
        let qos = qos.to_string();
        bump(&self.metrics.publishes, &[&self.modem, session, &qos, result.as_str()], 1);
        if result != PublishResult::Ok {
            return;
        }
        observe(&self.metrics.publish_seconds, &[&self.modem, session], took);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if let Ok(gauge) =
            self.metrics.last_ack.get_metric_with_label_values(&[&self.modem, session])
        {
            gauge.set(now.as_secs_f64());
        }
    }

    fn received(&self, session: &str, message: &Received) {
        bump(&self.metrics.received, &[&self.modem, session], 1);
        tracing::debug!(session, topic = message.topic, bytes = message.payload.len(), "received");
    }

    fn damaged(&self) {
        bump(&self.metrics.damaged, &[&self.modem], 1);
    }

    fn appeared(&self) {
        bump(&self.metrics.hotplug, &["add"], 1);
    }

    fn opened(&self, busy: Option<&Busy>) {
        self.metrics.set_busy(&self.modem, busy);
    }

    fn vanished(&self) {
        self.metrics.set_busy(&self.modem, None);
        bump(&self.metrics.hotplug, &["remove"], 1);
    }

    fn detected(&self, took: Duration) {
        self.metrics.detection.observe(took.as_secs_f64());
    }

    fn ready(&self, took: Duration) {
        self.metrics.ready.observe(took.as_secs_f64());
    }

    fn recovery(&self, action: RecoveryAction, outcome: RecoveryOutcome) {
        bump(&self.metrics.recovery, &[&self.modem, action.as_str(), outcome.as_str()], 1);
    }

    fn implausible(&self, count: u32) {
        bump(&self.metrics.implausible, &[&self.modem], u64::from(count));
    }
}
