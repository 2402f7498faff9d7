//! What is true now, as metrics and as JSON: read from the owners' last word at each scrape.
//!
//! A value that is not known has no series: a gauge of 0 or -1 for "unknown" would be read as a value.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use modem::console::Access;
use modem::exam::Link;
use modem::session::{SessionState, Uplink};
use modem::{RecoveryCause, Snapshot, State};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, GaugeVec};
use queue::Queue;
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, watch};

use crate::budget::{Meter, Stage, Standing};
use crate::forward::Waiting;
use crate::history::{self, History};
use crate::metrics::families::{self as all, Family};
use crate::metrics::{Activity, Metrics};
use fleet::{Fleet, SessionId};

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
    /// For each lane by its name, since when messages wait.
    pub waiting: Vec<(String, watch::Receiver<Waiting>)>,
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
        families.finish()
    }
}

/// Families under construction, by their order of first use.
#[derive(Default)]
pub(crate) struct Families {
    open: Vec<(&'static str, GaugeVec)>,
    done: Vec<MetricFamily>,
}

impl Families {
    /// All of them.
    pub(crate) fn finish(self) -> Vec<MetricFamily> {
        let gauges = self.open.into_iter().flat_map(|(_, family)| family.collect());
        gauges.chain(self.done).collect()
    }

    /// Adds one sample.
    pub(crate) fn gauge(&mut self, is: &'static Family, labels: &[&str], value: f64) {
        let known = self.open.iter().position(|(open, _)| *open == is.name);
        let family = match known.and_then(|at| self.open.get(at)) {
            Some((_, family)) => family.clone(),
            None => match GaugeVec::new(is.opts(), &is.label_names()) {
                Ok(family) => {
                    self.open.push((is.name, family.clone()));
                    family
                }
                Err(error) => return tracing::error!("a metric is wired wrongly: {error}"),
            },
        };
        match family.get_metric_with_label_values(labels) {
            Ok(gauge) => gauge.set(value),
            Err(error) => tracing::error!("a metric is wired wrongly: {error}"),
        }
    }

    /// Adds a counter with all its samples.
    pub(crate) fn counter<const LABELS: usize>(
        &mut self,
        is: &'static Family,
        samples: &[([&str; LABELS], f64)],
    ) {
        match CounterVec::new(is.opts(), &is.label_names()) {
            Ok(family) => {
                for (labels, count) in samples {
                    match family.get_metric_with_label_values(labels) {
                        Ok(counter) => counter.inc_by(*count),
                        Err(error) => tracing::error!("a metric is wired wrongly: {error}"),
                    }
                }
                self.done.extend(family.collect());
            }
            Err(error) => tracing::error!("a metric is wired wrongly: {error}"),
        }
    }
}

fn yes(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

fn modem_families(families: &mut Families, modem: &ModemView) {
    let snapshot = modem.snapshot.borrow().clone();
    let name = modem.name.as_str();
    families.gauge(&all::MODEM_PRESENT, &[name], yes(snapshot.present));
    families.gauge(&all::MODEM_UP, &[name], yes(snapshot.identified.is_some()));
    for state in State::ALL {
        families.gauge(&all::MODEM_STATE, &[name, state.as_str()], yes(state == snapshot.state));
    }
    families.gauge(&all::MODEM_BUSY, &[name], yes(snapshot.busy));
    for cause in RecoveryCause::ALL {
        let labels = [name, cause.as_str()];
        families.gauge(&all::RECOVERY_CAUSE, &labels, yes(snapshot.causes.contains(&cause)));
    }
    if let Some(is) = &snapshot.identified {
        let firmware = is.firmware.as_deref().unwrap_or_default();
        let labels = [name, &is.manufacturer, &is.model, firmware, &is.profile];
        families.gauge(&all::MODEM_INFO, &labels, 1.0);
    }
    if let Some(registration) = &snapshot.registration {
        families.gauge(&all::REGISTERED, &[name], yes(registration.stat.is_registered()));
    }
    for signal in &snapshot.signals {
        signal_families(families, name, signal);
    }
    let optional = [
        (&all::TEMPERATURE, snapshot.temperature_celsius),
        (&all::LAST_DETECTION, snapshot.detection_seconds),
        (&all::LAST_READY, snapshot.ready_seconds),
    ];
    for (family, value) in optional {
        if let Some(value) = value {
            families.gauge(family, &[name], value);
        }
    }
    if let Some(standing) = modem.standing() {
        budget_families(families, name, &standing);
    }
    session_families(families, modem);
}

fn session_families(families: &mut Families, modem: &ModemView) {
    for session in &modem.sessions {
        let labels = [modem.name.as_str(), session.id.session.as_str()];
        families.gauge(&all::CONNECTED, &labels, yes(session.state().is_connected()));
        if session.security == Security::InsecureTls {
            families.gauge(&all::TLS_INSECURE, &labels, 1.0);
        }
    }
}

fn budget_families(families: &mut Families, modem: &str, standing: &Standing) {
    let resets_at = standing.resets_at.map(|at| at.as_duration().as_secs_f64());
    let values = [
        (&all::BUDGET, Some(count(standing.bytes))),
        (&all::BUDGET_USED, standing.used.map(count)),
        (&all::BUDGET_LEFT, standing.left().map(count)),
        (&all::BUDGET_RESET, resets_at),
    ];
    for (family, value) in values {
        if let Some(value) = value {
            families.gauge(family, &[modem], value);
        }
    }
    for stage in Stage::ALL {
        let labels = [modem, stage.as_str()];
        families.gauge(&all::BUDGET_STAGE, &labels, yes(stage == standing.stage));
    }
}

fn signal_families(families: &mut Families, modem: &str, signal: &modem::reply::Signal) {
    let values = [
        (&all::RSSI, signal.rssi_dbm),
        (&all::RSRP, signal.rsrp_dbm),
        (&all::RSRQ, signal.rsrq_db),
        (&all::SINR, signal.sinr_db),
    ];
    for (family, value) in values {
        if let Some(value) = value {
            families.gauge(family, &[modem, signal.rat.as_str()], value);
        }
    }
}

fn queue_families(families: &mut Families, queue: &Queue) {
    let stat = queue.stat();
    families.gauge(&all::QUEUE_MESSAGES, &[], count(stat.messages));
    families.gauge(&all::QUEUE_BYTES, &[], count(stat.bytes));
    families.gauge(&all::QUEUE_LIMIT, &[], count(queue.max_bytes()));
    families.gauge(&all::QUEUE_ASIDE, &[], count(stat.aside.messages));
    if let Some(oldest) = stat.oldest {
        let when = oldest.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        families.gauge(&all::QUEUE_OLDEST, &[], when);
    }
    families.counter(&all::QUEUE_CORRUPTIONS, &[([], count(stat.salvages))]);
    families.counter(&all::QUEUE_COMMIT_ERRORS, &[([], count(stat.failed_commits))]);
    families.counter(&all::QUEUE_SYNC_ERRORS, &[([], count(stat.failed_syncs))]);
    let dropped = stat.dropped.by_reason().map(|(reason, dropped)| ([reason], count(dropped)));
    families.counter(&all::QUEUE_DROPPED, &dropped);
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
