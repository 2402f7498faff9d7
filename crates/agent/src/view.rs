//! What is true now, as metrics and as JSON: read from the owners' last word at each scrape.
//!
//! A value that is not known has no series: a gauge of 0 or -1 for "unknown" would be read as a value.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use modem::console::Access;
use modem::exam::Link;
use modem::session::{SessionState, Uplink};
use modem::{Snapshot, State};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, GaugeVec, IntCounter, Opts};
use queue::Queue;
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, watch};

use crate::budget::{Meter, Stage, Standing};
use crate::config::{Fleet, SessionId};
use crate::history::{self, History};
use crate::metrics::{Activity, Metrics, PREFIX};

/// One modem as others see it.
#[derive(Clone)]
pub struct ModemView {
    /// Its name in the fleet file.
    pub name: String,
    /// Where it is looked for: a tty, or a place on USB.
    pub port: String,
    /// Where on USB it is plugged in, for a modem that is found there.
    pub usb_path: Option<String>,
    /// What is known of it.
    pub snapshot: watch::Receiver<Snapshot>,
    /// The way to it while it is identified.
    pub link: watch::Receiver<Option<Link>>,
    /// Counts what its SIM carries, where a modem of the fleet has a budget.
    pub meter: Option<Meter>,
    /// The way to its port, for a person's own commands.
    pub access: Access,
    /// Its sessions, in file order.
    pub sessions: Vec<SessionView>,
}

/// One session as others see it.
#[derive(Clone)]
pub struct SessionView {
    /// `modem/session`.
    pub id: SessionId,
    /// Its broker's name in the fleet file.
    pub broker: String,
    /// How it is secured.
    pub security: Security,
    /// Where it stands, and how to hand it messages.
    pub uplink: Uplink,
}

impl SessionView {
    /// Where it stands.
    pub fn state(&self) -> SessionState {
        self.uplink.state.borrow().clone()
    }
}

/// How a session is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Plain TCP.
    Plain,
    /// TLS, and the broker's certificate has to be signed by the given authority.
    Tls,
    /// TLS, and any certificate is taken (`insecure: true`).
    InsecureTls,
}

/// What runs now: one value, so that nobody sees the half of a reload.
pub struct Now {
    /// The fleet file as it is applied.
    pub fleet: Fleet,
    /// All modems, in file order.
    pub modems: Vec<ModemView>,
    /// For each lane, since when a message waits that a connected session of it could carry.
    pub waiting: Vec<watch::Receiver<Option<SystemTime>>>,
}

impl Now {
    /// All sessions, in file order.
    pub fn sessions(&self) -> impl Iterator<Item = &SessionView> {
        self.modems.iter().flat_map(|modem| &modem.sessions)
    }

    /// The modem of this name.
    pub fn modem(&self, name: &str) -> Option<&ModemView> {
        self.modems.iter().find(|modem| modem.name == name)
    }
}

/// A session and its modem.
pub fn find_session<'a>(
    modems: &'a [ModemView],
    id: &SessionId,
) -> Option<(&'a ModemView, &'a SessionView)> {
    let modem = modems.iter().find(|modem| modem.name == id.modem.as_str())?;
    Some((modem, modem.sessions.iter().find(|session| session.id == *id)?))
}

/// The fleet and its queue as others see them.
#[derive(Clone)]
pub struct View {
    now: watch::Receiver<Arc<Now>>,
    /// The queue.
    pub queue: Queue,
    /// Told where a message may have been put into a lane that a reload has just taken away.
    pub strays: Arc<Notify>,
}

impl View {
    /// Of what `now` holds, and will.
    pub fn new(now: watch::Receiver<Arc<Now>>, queue: Queue) -> Self {
        Self { now, queue, strays: Arc::default() }
    }

    /// What runs now. Whoever keeps it for longer than a step keeps what is over.
    pub fn now(&self) -> Arc<Now> {
        Arc::clone(&self.now.borrow())
    }

    /// The fleet for `GET /api/v1/modems` and the status page.
    pub fn json(&self, metrics: &Metrics, history: &History) -> Value {
        let now = self.now();
        let modem =
            |modem: &ModemView| modem.json(&metrics.activity(&modem.name), history.of(&modem.name));
        let modems: Vec<Value> = now.modems.iter().map(modem).collect();
        json!({
            "gateway": now.fleet.gateway.as_str(),
            "version": crate::version::NUMBER,
            "commit": crate::version::COMMIT,
            "modems": modems,
            "queue": queue_json(&self.queue),
        })
    }
}

impl ModemView {
    fn json(&self, activity: &Activity, history: Vec<Option<f64>>) -> Value {
        let mut object = Map::new();
        let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
        put("name", json!(self.name));
        put("port", json!(self.port));
        if let Some(usb_path) = &self.usb_path {
            put("usb_path", json!(usb_path));
        }
        if let Some((measure, dbm)) = history::signal(&self.snapshot.borrow()) {
            put("signal", json!({ "measure": measure, "dbm": dbm }));
        }
        put("signal_history_dbm", json!(history));
        put("recoveries", json!(activity.recoveries));
        if let Some(standing) = self.standing() {
            put("budget", budget_json(&standing));
        }
        if let Some(busy) = &activity.busy {
            put("busy", json!(busy));
        }
        put("sessions", self.sessions.iter().map(|session| session.json(activity)).collect());
        if let Ok(Value::Object(snapshot)) = serde_json::to_value(&*self.snapshot.borrow()) {
            object.extend(snapshot);
        }
        Value::Object(object)
    }
}

impl ModemView {
    /// How its SIM stands; `None` where it has no budget.
    pub fn standing(&self) -> Option<Standing> {
        self.meter.as_ref()?.standing()
    }
}

fn budget_json(standing: &Standing) -> Value {
    let mut object = json!({ "bytes": standing.bytes, "stage": standing.stage });
    let Value::Object(map) = &mut object else { return object };
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    if let (Some(used), Some(left)) = (standing.used, standing.left()) {
        put("used_bytes", json!(used));
        put("left_bytes", json!(left));
    }
    if let Some(at) = standing.resets_at {
        put("resets_at", json!(at.to_string()));
    }
    if let Some(words) = standing.words() {
        put("reason", json!(words));
    }
    object
}

impl SessionView {
    fn json(&self, activity: &Activity) -> Value {
        let state = self.state();
        let name = self.id.session.as_str();
        let mut object = Map::new();
        let mut put = |key: &str, value: Value| drop(object.insert(key.to_owned(), value));
        put("name", json!(name));
        put("broker", json!(self.broker));
        match self.security {
            Security::Plain => {}
            Security::Tls => put("tls", json!("on")),
            Security::InsecureTls => put("tls", json!("insecure")),
        }
        put("phase", json!(state.phase));
        put("connected", json!(state.is_connected()));
        if let Some(reason) = state.reason {
            put("reason", json!(reason));
        }
        if let Some(when) = activity.last_ack.get(name) {
            put("last_ack_timestamp_seconds", json!(when));
        }
        Value::Object(object)
    }
}

fn queue_json(queue: &Queue) -> Value {
    let stat = queue.stat();
    let dropped: Map<String, Value> = stat
        .dropped
        .by_reason()
        .map(|(reason, count)| (reason.to_owned(), json!(count)))
        .into_iter()
        .collect();
    let mut object = json!({
        "messages": stat.messages,
        "bytes": stat.bytes,
        "limit_bytes": queue.max_bytes(),
        "set_aside": stat.aside.messages,
        "dropped": dropped,
    });
    if let (Some(age), Value::Object(object)) = (oldest_age(queue), &mut object) {
        object.insert("oldest_age_seconds".to_owned(), json!(age.as_secs()));
    }
    object
}

impl Collector for View {
    /// None: which series there are is known at the scrape only.
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Families::default();
        for modem in &self.now().modems {
            modem_families(&mut families, modem);
        }
        queue_families(&mut families, &self.queue);
        families.done
    }
}

/// Families under construction, by their order of first use.
#[derive(Default)]
struct Families {
    open: Vec<(&'static str, GaugeVec)>,
    done: Vec<MetricFamily>,
}

impl Families {
    /// Adds one sample.
    fn gauge(&mut self, name: &'static str, help: &str, labels: &[(&str, &str)], value: f64) {
        let (names, values): (Vec<&str>, Vec<&str>) = labels.iter().copied().unzip();
        let known = self.open.iter().position(|(open, _)| *open == name);
        let family = match known.and_then(|at| self.open.get(at)) {
            Some((_, family)) => family.clone(),
            None => match GaugeVec::new(Opts::new(name, help).namespace(PREFIX), &names) {
                Ok(family) => {
                    self.open.push((name, family.clone()));
                    family
                }
                Err(error) => return tracing::error!("a metric is wired wrongly: {error}"),
            },
        };
        match family.get_metric_with_label_values(&values) {
            Ok(gauge) => gauge.set(value),
            Err(error) => tracing::error!("a metric is wired wrongly: {error}"),
        }
    }

    /// Adds a counter without labels.
    fn total(&mut self, name: &str, help: &str, value: u64) {
        match IntCounter::with_opts(Opts::new(name, help).namespace(PREFIX)) {
            Ok(counter) => {
                counter.inc_by(value);
                self.done.extend(counter.collect());
            }
            Err(error) => tracing::error!("a metric is wired wrongly: {error}"),
        }
    }

    fn counter(&mut self, name: &str, help: &str, label: &str, values: &[(&str, f64)]) {
        match CounterVec::new(Opts::new(name, help).namespace(PREFIX), &[label]) {
            Ok(family) => {
                for (value, count) in values {
                    if let Ok(counter) = family.get_metric_with_label_values(&[*value]) {
                        counter.inc_by(*count);
                    }
                }
                self.done.extend(family.collect());
            }
            Err(error) => tracing::error!("a metric is wired wrongly: {error}"),
        }
    }
}

fn modem_families(families: &mut Families, modem: &ModemView) {
    let snapshot = modem.snapshot.borrow().clone();
    let name = modem.name.as_str();
    let yes = |yes: bool| f64::from(u8::from(yes));
    families.gauge(
        "modem_present",
        "Whether the modem's port is there.",
        &[("modem", name)],
        yes(snapshot.present),
    );
    let up = snapshot.identified.is_some();
    families.gauge(
        "modem_up",
        "1 from profile loaded and IMEI read until the port goes.",
        &[("modem", name)],
        yes(up),
    );
    for state in State::ALL {
        let labels = [("modem", name), ("state", state.as_str())];
        families.gauge(
            "modem_state",
            "The state the modem is in: 1 for one of them.",
            &labels,
            yes(state == snapshot.state),
        );
    }
    if let Some(is) = &snapshot.identified {
        let labels = [
            ("modem", name),
            ("manufacturer", is.manufacturer.as_str()),
            ("model", is.model.as_str()),
            ("firmware", is.firmware.as_deref().unwrap_or_default()),
            ("profile", is.profile.as_str()),
        ];
        families.gauge("modem_info", "What the modem is.", &labels, 1.0);
    }
    if let Some(registration) = &snapshot.registration {
        let registered = yes(registration.stat.is_registered());
        families.gauge(
            "registered",
            "Whether the modem is registered in a network.",
            &[("modem", name)],
            registered,
        );
    }
    for signal in &snapshot.signals {
        signal_families(families, name, signal);
    }
    let optional = [
        ("modem_temperature_celsius", "Temperature of the module.", snapshot.temperature_celsius),
        (
            "modem_last_detection_seconds",
            "Last time from the device's first event to its profile loaded.",
            snapshot.detection_seconds,
        ),
        (
            "modem_last_ready_seconds",
            "Last time from the device's first event to its first session up.",
            snapshot.ready_seconds,
        ),
    ];
    for (family, help, value) in optional {
        if let Some(value) = value {
            families.gauge(family, help, &[("modem", name)], value);
        }
    }
    if let Some(standing) = modem.standing() {
        budget_families(families, name, &standing);
    }
    session_families(families, modem);
}

fn session_families(families: &mut Families, modem: &ModemView) {
    for session in &modem.sessions {
        let labels = [("modem", modem.name.as_str()), ("session", session.id.session.as_str())];
        families.gauge(
            "mqtt_connected",
            "Whether the session is connected.",
            &labels,
            f64::from(u8::from(session.state().is_connected())),
        );
        if session.security == Security::InsecureTls {
            families.gauge(
                "tls_insecure",
                "1 for a session that takes any broker's certificate (insecure: true).",
                &labels,
                1.0,
            );
        }
    }
}

fn budget_families(families: &mut Families, modem: &str, standing: &Standing) {
    let resets_at = standing.resets_at.map(|at| at.as_duration().as_secs_f64());
    let values = [
        ("budget_bytes", "Bytes that the SIM may carry in a month.", Some(count(standing.bytes))),
        (
            "budget_used_bytes",
            "Bytes that the SIM has carried since the last reset, as estimated.",
            standing.used.map(count),
        ),
        ("budget_left_bytes", "Bytes of the budget that are left.", standing.left().map(count)),
        ("budget_reset_timestamp_seconds", "When the count begins anew.", resets_at),
    ];
    for (family, help, value) in values {
        if let Some(value) = value {
            families.gauge(family, help, &[("modem", modem)], value);
        }
    }
    for stage in Stage::ALL {
        families.gauge(
            "budget_stage",
            "How far the SIM is through its budget: 1 for one of them.",
            &[("modem", modem), ("stage", stage.as_str())],
            f64::from(u8::from(stage == standing.stage)),
        );
    }
}

fn signal_families(families: &mut Families, modem: &str, signal: &modem::reply::Signal) {
    let values = [
        ("signal_rssi_dbm", "Received signal strength.", signal.rssi_dbm),
        ("signal_rsrp_dbm", "Reference signal received power.", signal.rsrp_dbm),
        ("signal_rsrq_db", "Reference signal received quality.", signal.rsrq_db),
        ("signal_sinr_db", "Signal to interference and noise ratio.", signal.sinr_db),
    ];
    for (family, help, value) in values {
        if let Some(value) = value {
            families.gauge(family, help, &[("modem", modem), ("rat", signal.rat.as_str())], value);
        }
    }
}

fn queue_families(families: &mut Families, queue: &Queue) {
    let stat = queue.stat();
    families.gauge(
        "queue_messages",
        "Messages in the queue, those on their way included.",
        &[],
        count(stat.messages),
    );
    families.gauge(
        "queue_bytes",
        "Accounted size of the messages in the queue.",
        &[],
        count(stat.bytes),
    );
    families.gauge(
        "queue_limit_bytes",
        "The most bytes the queue takes (queue.max_bytes).",
        &[],
        count(queue.max_bytes()),
    );
    families.gauge(
        "queue_set_aside_messages",
        "Of the messages in the queue, those that were set aside until somebody requeues or purges them.",
        &[],
        count(stat.aside.messages),
    );
    if let Some(oldest) = stat.oldest {
        let when = oldest.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        families.gauge(
            "queue_oldest_timestamp_seconds",
            "When the oldest message in the queue was handed in.",
            &[],
            when,
        );
    }
    let open = std::mem::take(&mut families.open);
    families.done.extend(open.into_iter().flat_map(|(_, family)| family.collect()));
    families.total(
        "queue_corruptions_total",
        "Times the queue's file was found damaged and replaced by what could be read of it.",
        stat.salvages,
    );
    families.total(
        "queue_sync_errors_total",
        "Syncs of `fsync: interval` that the system refused.",
        stat.failed_syncs,
    );
    let dropped = stat.dropped.by_reason().map(|(reason, dropped)| (reason, count(dropped)));
    families.counter(
        "queue_dropped_total",
        "Messages given up without an acknowledgement.",
        "reason",
        &dropped,
    );
}

/// A count as Prometheus has it. Beyond 2^53 it is rounded, which no queue reaches.
pub(crate) fn count(count: u64) -> f64 {
    #[expect(
        clippy::as_conversions,
        reason = "there is no lossless conversion, and none is needed"
    )]
    let count = count as f64;
    count
}

/// How long the oldest message has waited, where there is one.
fn oldest_age(queue: &Queue) -> Option<std::time::Duration> {
    SystemTime::now().duration_since(queue.stat().oldest?).ok()
}
