//! The counters and histograms of the contract, each under a typed method.
//!
//! What is counted as it happens lives here; what is a state (signal, registration, queue) is read
//! from its owner at each scrape, by [`crate::view`]. A scrape never talks to a modem.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use modem::holder::Busy;
use modem::mqtt::Message;
use modem::observe::{
    DisconnectReason, ExchangeResult, Observer, PublishResult, Received, RecoveryAction,
    RecoveryOutcome,
};
use modem::port::Kind;
use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry,
};

use crate::budget::Meter;
use crate::config::{Fleet, SessionId};
use crate::downlink;
use crate::hand_in::Way;

/// The prefix of all names.
pub const PREFIX: &str = "modemfleet";

/// An exchange takes milliseconds on USB, and a slow command seconds.
const COMMAND_BUCKETS: [f64; 7] = [0.005, 0.02, 0.05, 0.2, 1.0, 5.0, 30.0];

/// A publish over a cellular link: tens of milliseconds in 5G, seconds in a bad cell.
const PUBLISH_BUCKETS: [f64; 7] = [0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0];

/// From a booted modem (milliseconds) to one that is still booting (half a minute).
const DETECTION_BUCKETS: [f64; 7] = [0.1, 0.25, 0.5, 1.0, 4.0, 15.0, 60.0];

/// Why a route took another path, in the words of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwitchCause {
    /// The session before is not connected.
    Down,
    /// A result stays out there.
    Stalled,
    /// The budget of its SIM is used up.
    Budget,
    /// A preferred path came back and held, or has a budget again.
    FailBack,
}

impl SwitchCause {
    /// All causes, for metrics that start at 0.
    pub const ALL: [Self; 4] = [Self::Down, Self::Stalled, Self::Budget, Self::FailBack];

    /// The cause in the words of the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Stalled => "stalled",
            Self::Budget => "budget",
            Self::FailBack => "fail_back",
        }
    }
}

/// What happened on a modem, for those who ask the agent itself: a counter of the library can be
/// scraped but not read.
#[derive(Debug, Clone, Default)]
pub struct Activity {
    /// Means of recovery used.
    pub recoveries: u64,
    /// When the broker last acknowledged a publish, in seconds since the epoch, by session.
    pub last_ack: BTreeMap<String, f64>,
    /// The port that another process has.
    pub busy: Option<Busy>,
}

/// All families that are counted.
pub struct Metrics {
    registry: Registry,
    activity: Mutex<BTreeMap<String, Activity>>,
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
    downlink_dropped: IntCounterVec,
    clients: IntGauge,
    unclaimed: IntGauge,
    duplicate_imeis: IntGauge,
    ports_busy: GaugeVec,
    unclaimed_ports_busy: IntGauge,
}

/// Makes families and registers them. A name or help that Prometheus refuses is a mistake in this
/// file, which every test that makes a registry finds.
struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(name, help).namespace(PREFIX)
    }

    fn counter(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        let family = IntCounterVec::new(Self::opts(name, help), labels)?;
        self.0.register(Box::new(family.clone()))?;
        Ok(family)
    }

    fn number(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        let gauge = IntGauge::with_opts(Self::opts(name, help))?;
        self.0.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<GaugeVec> {
        let family = GaugeVec::new(Self::opts(name, help), labels)?;
        self.0.register(Box::new(family.clone()))?;
        Ok(family)
    }

    fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: &[&str],
    ) -> prometheus::Result<HistogramVec> {
        let opts = HistogramOpts { common_opts: Self::opts(name, help), buckets: buckets.to_vec() };
        let family = HistogramVec::new(opts, labels)?;
        self.0.register(Box::new(family.clone()))?;
        Ok(family)
    }
}

impl Metrics {
    /// Makes all families and registers them.
    ///
    /// # Errors
    /// Where Prometheus refuses a name, which is a mistake in this file.
    pub fn new() -> prometheus::Result<Arc<Self>> {
        let registry = Registry::new();
        let make = Maker(&registry);
        let detection = make.histogram(
            "detection_duration_seconds",
            "From the device's first event to its profile loaded.",
            &DETECTION_BUCKETS,
            &[],
        )?;
        let ready = make.histogram(
            "ready_duration_seconds",
            "From the device's first event to its first session up.",
            &DETECTION_BUCKETS,
            &[],
        )?;
        let build = make.gauge("build_info", "What runs.", &["version", "commit"])?;
        build
            .get_metric_with_label_values(&[crate::version::NUMBER, crate::version::COMMIT])?
            .set(1.0);
        let metrics = Self {
            detection: detection.get_metric_with_label_values::<&str>(&[])?,
            ready: ready.get_metric_with_label_values::<&str>(&[])?,
            hotplug: make.counter("hotplug_events_total", "Modems that came and went.", &["action"])?,
            panics: make.counter("modem_panics_total", "Times the modem's task panicked and was started again.", &["modem"])?,
            at_commands: make.counter("at_commands_total", "AT exchanges by what they were for and how they ended.", &["modem", "command", "result"])?,
            at_seconds: make.histogram("at_command_duration_seconds", "Time of an AT exchange from its start on the port to its end.", &COMMAND_BUCKETS, &["modem", "command"])?,
            at_urcs: make.counter("at_urcs_total", "Unsolicited result codes received.", &["modem"])?,
            at_desyncs: make.counter("at_desyncs_total", "Times the agent had to get back in step with the modem.", &["modem"])?,
            implausible: make.counter("implausible_values_total", "Values of replies that were left out as impossible.", &["modem"])?,
            connects: make.counter("mqtt_connects_total", "CONNECTs by how they ended.", &["modem", "session", "result"])?,
            disconnects: make.counter("mqtt_disconnects_total", "Ends of connected sessions by reason.", &["modem", "session", "reason"])?,
            publishes: make.counter("mqtt_publishes_total", "Publishes by how they ended; unknown counts a result that stayed out, which may still come.", &["modem", "session", "qos", "result"])?,
            publish_seconds: make.histogram("mqtt_publish_duration_seconds", "Time of a successful publish from its topic to the broker's acknowledgement.", &PUBLISH_BUCKETS, &["modem", "session"])?,
            received: make.counter("mqtt_received_total", "Messages received.", &["modem", "session"])?,
            last_ack: make.gauge("mqtt_last_ack_timestamp_seconds", "When the broker last acknowledged a publish of this session.", &["modem", "session"])?,
            recovery: make.counter("recovery_actions_total", "Means of recovery by what they came to: cured, failed, or skipped as of no use or not to be had.", &["modem", "action", "outcome"])?,
            set_aside: make.counter("messages_set_aside_total", "Messages taken out of the way; they stay on disk until they are brought back or purged.", &["reason"])?,
            handed_in: make.counter("hand_in_total", "Messages handed in, by way and by what became of them.", &["way", "result"])?,
            route_active: make.gauge("route_active", "Whether a route's messages take this path now.", &["route", "modem", "session"])?,
            route_switches: make.counter("route_switches_total", "Times a route took another path, by what was wrong with the one before.", &["route", "cause"])?,
            reloads: make.counter("config_reloads_total", "Reloads of the fleet file: applied, or refused with the old fleet running on.", &["result"])?,
            downlink_dropped: make.counter("downlink_dropped_total", "Received messages that a local consumer missed because it fell behind.", &["consumer"])?,
            clients: make.number("hand_in_connections", "Connections of local applications to the MQTT listener.")?,
            unclaimed: make.number("unclaimed_modems", "USB modems of a known layout that no entry of the fleet file claims.")?,
            duplicate_imeis: make.number("duplicate_imeis", "IMEIs that more than one USB modem told.")?,
            ports_busy: make.gauge("ports_busy", "AT ports of the modem that another process was found to have.", &["modem"])?,
            unclaimed_ports_busy: make.number("unclaimed_ports_busy", "AT ports of USB modems that no entry has (yet) which another process was found to have.")?,
            registry,
            activity: Mutex::default(),
        };
        for reason in ["refused", "poison"] {
            bump(&metrics.set_aside, &[reason], 0);
        }
        for way in [Way::Http, Way::Mqtt] {
            for result in ["accepted", "dropped", "refused", "failed"] {
                bump(&metrics.handed_in, &[way.as_str(), result], 0);
            }
        }
        for result in ["applied", "refused"] {
            bump(&metrics.reloads, &[result], 0);
        }
        for kind in [downlink::Kind::Mqtt, downlink::Kind::Sse] {
            bump(&metrics.downlink_dropped, &[kind.as_str()], 0);
        }
        for action in ["add", "remove"] {
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

    /// A local consumer missed messages.
    pub fn downlink_dropped(&self, kind: downlink::Kind, count: u64) {
        bump(&self.downlink_dropped, &[kind.as_str()], count);
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

    /// What a modem's row of the status page tells beside its state.
    pub fn activity(&self, modem: &str) -> Activity {
        let all = self.activity.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(modem).cloned().unwrap_or_default()
    }

    fn note(&self, modem: &str, note: impl FnOnce(&mut Activity)) {
        let mut all = self.activity.lock().unwrap_or_else(PoisonError::into_inner);
        note(all.entry(modem.to_owned()).or_default());
    }

    /// Another process has a port of the modem, or none does.
    fn set_busy(&self, modem: &str, busy: Option<&Busy>) {
        if let Ok(gauge) = self.ports_busy.get_metric_with_label_values(&[modem]) {
            gauge.set(f64::from(u8::from(busy.is_some())));
        }
        self.note(modem, |activity| activity.busy = busy.cloned());
    }

    /// The observer of one modem. Known label values start at 0, so that `rate()` sees the first event.
    /// What its sessions receive goes on to `hear`, which returns at once; `meter` counts bytes.
    pub fn modem(
        self: &Arc<Self>,
        modem: &str,
        hear: Hear,
        meter: Option<Meter>,
    ) -> Arc<dyn Observer> {
        bump(&self.panics, &[modem], 0);
        self.set_busy(modem, None);
        for family in [&self.at_urcs, &self.at_desyncs, &self.implausible] {
            bump(family, &[modem], 0);
        }
        for kind in Kind::ALL {
            for result in ExchangeResult::ALL {
                bump(&self.at_commands, &[modem, kind.as_str(), result.as_str()], 0);
            }
        }
        Arc::new(ModemMetrics { metrics: Arc::clone(self), modem: modem.to_owned(), hear, meter })
    }

    /// A session of a modem, from now on. What it counted before goes on.
    pub fn session(&self, id: &SessionId) {
        let (modem, session) = (id.modem.as_str(), id.session.as_str());
        bump(&self.received, &[modem, session], 0);
        for result in ["ok", "error"] {
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
            &self.implausible,
            &self.connects,
            &self.disconnects,
            &self.publishes,
            &self.received,
            &self.recovery,
        ];
        counters.into_iter().for_each(|family| prune(family, keep));
        [&self.at_seconds, &self.publish_seconds]
            .into_iter()
            .for_each(|family| prune(family, keep));
        [&self.last_ack, &self.route_active, &self.ports_busy]
            .into_iter()
            .for_each(|family| prune(family, keep));
        let mut activity = self.activity.lock().unwrap_or_else(PoisonError::into_inner);
        activity.retain(|modem, _| fleet.modems.iter().any(|m| m.name.as_str() == modem));
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

/// Who gets what a session of a modem receives.
pub type Hear = Box<dyn Fn(&str, Received) + Send + Sync>;

/// Counts for one modem.
struct ModemMetrics {
    metrics: Arc<Metrics>,
    modem: String,
    hear: Hear,
    /// Counts what its SIM carries, where somebody asks for that.
    meter: Option<Meter>,
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

    fn connect(&self, session: &str, ok: bool) {
        bump(&self.metrics.connects, &[&self.modem, session, if ok { "ok" } else { "error" }], 1);
        if let Some(meter) = &self.meter {
            meter.connect(session, ok);
        }
    }

    fn disconnect(&self, session: &str, reason: DisconnectReason) {
        bump(&self.metrics.disconnects, &[&self.modem, session, reason.as_str()], 1);
        if let Some(meter) = &self.meter {
            meter.disconnect(session);
        }
    }

    fn sending(&self, session: &str, message: &Message) {
        if let Some(meter) = &self.meter {
            meter.sending(session, message);
        }
    }

    fn sim(&self, iccid: Option<&str>) {
        if let Some(meter) = &self.meter {
            meter.sim(iccid);
        }
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
        self.metrics.note(&self.modem, |activity| {
            activity.last_ack.insert(session.to_owned(), now.as_secs_f64());
        });
    }

    fn received(&self, session: &str, message: Received) {
        bump(&self.metrics.received, &[&self.modem, session], 1);
        tracing::debug!(session, topic = message.topic, bytes = message.payload.len(), "received");
        if let Some(meter) = &self.meter {
            meter.received(session, &message);
        }
        (self.hear)(session, message);
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
        if outcome != RecoveryOutcome::Skipped {
            self.metrics.note(&self.modem, |activity| activity.recoveries += 1);
        }
    }

    fn implausible(&self, count: u32) {
        bump(&self.metrics.implausible, &[&self.modem], u64::from(count));
    }
}
