//! Every family of `/metrics`: its name, type, labels and meaning, in one table.
//!
//! Nothing is counted or shown under a name outside this table. So `modemfleet schema --metrics`
//! lists all families, and docs/metrics.md follows from it.

use modem::observe::{
    DisconnectReason, ExchangeResult, PublishResult, RecoveryAction, RecoveryOutcome,
};
use modem::port::Kind as Exchange;
use modem::reply::Rat;
use modem::{RecoveryCause, State};
use prometheus::Opts;
use queue::Dropped;
use serde_json::{Value, json};

use super::labels::{ConsumerKind, HttpRefusal, READER_KINDS, SwitchCause, WayIn};
use crate::budget::Stage;

/// An exchange takes milliseconds on USB, and a slow command seconds.
const COMMAND_BUCKETS: &[f64] = &[0.005, 0.02, 0.05, 0.2, 1.0, 5.0, 30.0];

/// A publish over a cellular link: tens of milliseconds in 5G, seconds in a bad cell.
const PUBLISH_BUCKETS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0];

/// From a booted modem (milliseconds) to a booting modem (half a minute).
const DETECTION_BUCKETS: &[f64] = &[0.1, 0.25, 0.5, 1.0, 4.0, 15.0, 60.0];

/// The type of a family.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Only grows while the agent runs.
    Counter,
    /// Rises and falls.
    Gauge,
    /// The number of values below each of these bounds, which are in seconds.
    Histogram(&'static [f64]),
}

/// A label, and its possible values.
#[derive(Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its values.
    pub values: Values,
}

/// The values of a label.
#[derive(Debug)]
pub enum Values {
    /// One of these words.
    Words(fn() -> Vec<&'static str>),
    /// Any value that fits this description.
    Any(&'static str),
}

/// A family of metrics.
#[derive(Debug)]
pub struct Family {
    /// Its name in a scrape.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its meaning, in a sentence.
    pub help: &'static str,
    /// Its labels, in the order of their values.
    pub labels: &'static [&'static Label],
}

impl Family {
    /// Returns the options that the metrics' library asks for.
    pub fn opts(&self) -> Opts {
        Opts::new(self.name, self.help)
    }

    /// Returns the names of its labels.
    pub fn label_names(&self) -> Vec<&'static str> {
        self.labels.iter().map(|label| label.name).collect()
    }

    /// Returns the unit at the end of its name, as Prometheus advises; `None` for a number without
    /// a unit.
    fn unit(&self) -> Option<&'static str> {
        const UNITS: [(&str, &str); 8] = [
            ("_timestamp_seconds", "seconds since 1970"),
            ("_start_time_seconds", "seconds since 1970"),
            ("_seconds_total", "seconds"),
            ("_seconds", "seconds"),
            ("_bytes", "bytes"),
            ("_celsius", "°C"),
            ("_dbm", "dBm"),
            ("_db", "dB"),
        ];
        UNITS.iter().find(|(end, _)| self.name.ends_with(end)).map(|(_, unit)| *unit)
    }

    fn json(&self) -> Value {
        let (kind, buckets) = match self.kind {
            Counter => ("counter", None),
            Gauge => ("gauge", None),
            Histogram(buckets) => ("histogram", Some(buckets)),
        };
        let labels: Vec<Value> = self.labels.iter().map(|label| label.json()).collect();
        let mut family =
            json!({ "name": self.name, "type": kind, "help": self.help, "labels": labels });
        if let Some(object) = family.as_object_mut() {
            let mut put = |key: &str, value: Value| drop(object.insert(key.to_owned(), value));
            if let Some(unit) = self.unit() {
                put("unit", json!(unit));
            }
            if let Some(buckets) = buckets {
                put("buckets", json!(buckets));
            }
        }
        family
    }
}

impl Label {
    fn json(&self) -> Value {
        match self.values {
            Words(words) => json!({ "name": self.name, "values": words() }),
            Any(what) => json!({ "name": self.name, "about": what }),
        }
    }
}

/// Returns all families as JSON: `[{"name", "type", "help", "unit", "buckets", "labels"}]`, by
/// name. A label has its `values`, or a description of them in `about`.
pub fn reference() -> Value {
    let mut all = ALL.to_vec();
    all.sort_unstable_by_key(|family| family.name);
    all.into_iter().map(Family::json).collect()
}

macro_rules! labels {
    ($($id:ident = $name:literal: $values:expr;)*) => {
        $(static $id: Label = Label { name: $name, values: $values };)*
    };
}

macro_rules! families {
    ($($id:ident = $kind:expr, $name:literal, [$($label:ident),*], $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $id: Family =
                Family { name: $name, kind: $kind, help: $help, labels: &[$(&$label),*] };
        )*

        /// All families.
        pub static ALL: &[&Family] = &[$(&$id),*];
    };
}

use Kind::{Counter, Gauge, Histogram};
use Values::{Any, Words};

labels! {
    VERSION = "version": Any("the version of `modemfleet --version`");
    COMMIT = "commit": Any("the commit of the source");
    MODEM = "modem": Any("the modem's name in the fleet file");
    SESSION = "session": Any("the session's name below its modem in the fleet file");
    ROUTE = "route": Any("the topic of a route with `policy: failover`");
    MANUFACTURER = "manufacturer": Any("the manufacturer by the models' data");
    MODEL = "model": Any("the answer to `AT+CGMM`");
    FIRMWARE = "firmware": Any("the answer to `AT+CGMR`");
    PROFILE = "profile": Any("an id of `modemfleet profiles list`");
    QOS = "qos": Words(|| vec!["0", "1", "2"]);
    STATE = "state": Words(|| State::ALL.map(State::as_str).to_vec());
    RAT = "rat": Words(|| Rat::ALL.map(Rat::as_str).to_vec());
    STAGE = "stage": Words(|| Stage::ALL.map(Stage::as_str).to_vec());
    COMMAND = "command": Words(|| Exchange::ALL.map(Exchange::as_str).to_vec());
    EXCHANGE_RESULT = "result": Words(|| ExchangeResult::ALL.map(ExchangeResult::as_str).to_vec());
    CONNECT_RESULT = "result": Words(|| CONNECT_RESULTS.to_vec());
    PUBLISH_RESULT = "result": Words(|| PublishResult::ALL.map(PublishResult::as_str).to_vec());
    HAND_IN_RESULT = "result": Words(|| HAND_IN_RESULTS.to_vec());
    RELOAD_RESULT = "result": Words(|| RELOAD_RESULTS.to_vec());
    DISCONNECT_REASON = "reason": Words(|| DisconnectReason::ALL.map(DisconnectReason::as_str).to_vec());
    ASIDE_REASON = "reason": Words(|| ASIDE_REASONS.to_vec());
    DROP_REASON = "reason": Words(|| Dropped::default().by_reason().map(|(reason, _)| reason).to_vec());
    PLUG_ACTION = "action": Words(|| PLUG_ACTIONS.to_vec());
    RECOVERY_ACTION = "action": Words(|| RecoveryAction::ALL.map(RecoveryAction::as_str).to_vec());
    RECOVERY_CAUSE_WORD = "cause": Words(|| RecoveryCause::ALL.map(RecoveryCause::as_str).to_vec());
    OUTCOME = "outcome": Words(|| RecoveryOutcome::ALL.map(RecoveryOutcome::as_str).to_vec());
    CAUSE = "cause": Words(|| SwitchCause::ALL.map(SwitchCause::as_str).to_vec());
    WAY = "way": Words(|| WayIn::ALL.map(WayIn::as_str).to_vec());
    READER_KIND = "kind": Words(|| READER_KINDS.to_vec());
    INBOX_DROP_REASON = "reason": Words(|| ::inbox::Dropped::default().by_reason().map(|(reason, _)| reason).to_vec());
    CONNECTION_REFUSAL = "reason": Words(|| ConnectionRefusal::ALL.map(ConnectionRefusal::as_str).to_vec());
    HTTP_REFUSAL = "reason": Words(|| HttpRefusal::ALL.map(HttpRefusal::as_str).to_vec());
    CONSUMER = "consumer": Words(|| ConsumerKind::ALL.map(ConsumerKind::as_str).to_vec());
}

/// Results of a CONNECT.
pub const CONNECT_RESULTS: [&str; 2] = ["ok", "error"];
/// Results of a publish by an application.
pub const HAND_IN_RESULTS: [&str; 4] = ["accepted", "dropped", "refused", "failed"];
/// Results of a reload.
pub const RELOAD_RESULTS: [&str; 2] = ["applied", "refused"];
/// A reason to refuse a connection to the MQTT listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionRefusal {
    /// A wrong user name or password.
    Password,
    /// A client id that another user holds.
    ClientId,
    /// No place, or no file descriptor, is left.
    Full,
    /// The connection gave way to others before its CONNECT.
    Displaced,
}

impl ConnectionRefusal {
    /// All reasons, for metrics that start at 0.
    pub const ALL: [Self; 4] = [Self::Password, Self::ClientId, Self::Full, Self::Displaced];

    /// Returns the reason as the metrics spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::ClientId => "client_id",
            Self::Full => "full",
            Self::Displaced => "displaced",
        }
    }
}
/// Reasons for which a message becomes a dead letter while it is served.
pub const ASIDE_REASONS: [&str; 2] = ["refused", "poison"];
/// Plugging in and removal of a modem.
pub const PLUG_ACTIONS: [&str; 2] = ["add", "remove"];

families! {
    BUILD_INFO = Gauge, "modemfleet_build_info", [VERSION, COMMIT], "Version and commit of the running agent; the value is 1.";
    DETECTION = Histogram(DETECTION_BUCKETS), "modemfleet_detection_duration_seconds", [], "Time from the device's first event until its profile is loaded.";
    READY = Histogram(DETECTION_BUCKETS), "modemfleet_ready_duration_seconds", [], "Time from the device's first event until its first session is connected.";
    HOTPLUG = Counter, "modemfleet_hotplug_events_total", [PLUG_ACTION], "Modems that were plugged in or unplugged.";
    PANICS = Counter, "modemfleet_modem_panics_total", [MODEM], "Panics of the modem's task, after which it was restarted.";
    AT_COMMANDS = Counter, "modemfleet_at_commands_total", [MODEM, COMMAND, EXCHANGE_RESULT], "AT exchanges by purpose and result.";
    AT_SECONDS = Histogram(COMMAND_BUCKETS), "modemfleet_at_command_duration_seconds", [MODEM, COMMAND], "Time of an AT exchange from its start on the port to its end.";
    AT_URCS = Counter, "modemfleet_at_urcs_total", [MODEM], "Unsolicited result codes received.";
    AT_DESYNCS = Counter, "modemfleet_at_desyncs_total", [MODEM], "Times the agent had to resynchronise with the modem, because an answer was late, torn or missing.";
    AT_PRECAUTIONS = Counter, "modemfleet_at_precautions_total", [MODEM], "Times the agent checked that it is in step with the modem although no answer was lost: after a refused CONNECT or publish, a missing result, or a boot.";
    IMPLAUSIBLE = Counter, "modemfleet_implausible_values_total", [MODEM], "Values in replies that were ignored as impossible.";
    CONNECTS = Counter, "modemfleet_mqtt_connects_total", [MODEM, SESSION, CONNECT_RESULT], "CONNECTs by result.";
    DISCONNECTS = Counter, "modemfleet_mqtt_disconnects_total", [MODEM, SESSION, DISCONNECT_REASON], "Ends of connected sessions by reason.";
    PUBLISHES = Counter, "modemfleet_mqtt_publishes_total", [MODEM, SESSION, QOS, PUBLISH_RESULT], "Publishes by result; unknown counts results that did not arrive in time, and may still arrive.";
    PUBLISH_SECONDS = Histogram(PUBLISH_BUCKETS), "modemfleet_mqtt_publish_duration_seconds", [MODEM, SESSION], "Time of a successful publish, from sending its topic to the modem until the broker's acknowledgement.";
    RECEIVED = Counter, "modemfleet_mqtt_received_total", [MODEM, SESSION], "Messages received from the broker.";
    DAMAGED = Counter, "modemfleet_received_damaged_total", [MODEM], "Received messages that are lost because they arrived damaged or incomplete from the modem.";
    LAST_ACK = Gauge, "modemfleet_mqtt_last_ack_timestamp_seconds", [MODEM, SESSION], "Time of the broker's last acknowledgement of a publish of this session.";
    RECOVERY = Counter, "modemfleet_recovery_actions_total", [MODEM, RECOVERY_ACTION, OUTCOME], "Recovery actions by outcome: cured, failed, or skipped because they are of no use or not available.";
    SET_ASIDE = Counter, "modemfleet_messages_set_aside_total", [ASIDE_REASON], "Messages that became dead letters. Dead letters stay on disk until an operator requeues or purges them.";
    HANDED_IN = Counter, "modemfleet_hand_in_total", [WAY, HAND_IN_RESULT], "Messages that applications published to the agent, by way and result.";
    ROUTE_ACTIVE = Gauge, "modemfleet_route_active", [ROUTE, MODEM, SESSION], "1 if the route's messages take this path now.";
    ROUTE_SWITCHES = Counter, "modemfleet_route_switches_total", [ROUTE, CAUSE], "Switches of a route to another path, by the fault of the path before.";
    RELOADS = Counter, "modemfleet_config_reloads_total", [RELOAD_RESULT], "Reloads of the fleet file: applied, or refused, in which case the old fleet keeps running.";
    HTTP_REFUSED = Counter, "modemfleet_http_refused_total", [HTTP_REFUSAL], "HTTP requests that were refused before they were read: foreign_origin from a page of another origin, unknown_host for a name that is not this host's, no_token and wrong_token (401), publish_only beyond the rights of the token or socket. connections counts connections that were closed or refused because all places were taken.";
    DOWNLINK_DROPPED = Counter, "modemfleet_downlink_dropped_total", [CONSUMER], "Received messages that a local consumer missed because it was too slow.";
    CLIENTS = Gauge, "modemfleet_hand_in_connections", [], "Connections of local applications to the MQTT listener.";
    DOWNLINK_REFUSED = Counter, "modemfleet_downlink_refused_total", [MODEM, SESSION], "Received messages that were dropped because MQTT does not allow their topic: empty, with wildcards, NUL, other control characters or non-characters.";
    CONNECTIONS_REFUSED = Counter, "modemfleet_hand_in_connections_refused_total", [CONNECTION_REFUSAL], "Connections to the MQTT listener that were refused: password for a wrong user name or password, client_id for a client id that another user has, full if all places are taken or no file descriptor is left, displaced if no CONNECT arrived while other clients waited for a place.";
    UNCLAIMED = Gauge, "modemfleet_unclaimed_modems", [], "USB modems of a known layout that no entry of the fleet file claims.";
    DUPLICATE_IMEIS = Gauge, "modemfleet_duplicate_imeis", [], "IMEIs that more than one modem reports.";
    PORTS_BUSY = Gauge, "modemfleet_ports_busy", [MODEM], "AT ports of the modem that another process has open.";
    UNCLAIMED_PORTS_BUSY = Gauge, "modemfleet_unclaimed_ports_busy", [], "AT ports that another process has open, of USB modems without an entry (yet).";

    MODEM_PRESENT = Gauge, "modemfleet_modem_present", [MODEM], "1 if the modem's port is there.";
    MODEM_UP = Gauge, "modemfleet_modem_up", [MODEM], "1 from the time when profile and IMEI are known until the port goes away.";
    MODEM_STATE = Gauge, "modemfleet_modem_state", [MODEM, STATE], "State of the modem: 1 for the current one, 0 for all others.";
    MODEM_BUSY = Gauge, "modemfleet_modem_busy", [MODEM], "1 if the modem takes longer than usual for an answer, within the time that its manual allows.";
    RECOVERY_CAUSE = Gauge, "modemfleet_modem_recovery_cause", [MODEM, RECOVERY_CAUSE_WORD], "Faults of the modem: 1 for each cause that holds now. docs/recovery.md lists the recovery for each.";
    MODEM_INFO = Gauge, "modemfleet_modem_info", [MODEM, MANUFACTURER, MODEL, FIRMWARE, PROFILE], "Manufacturer, model, firmware and profile of the modem; the value is 1.";
    REGISTERED = Gauge, "modemfleet_registered", [MODEM], "1 if the modem is registered in a network.";
    RSSI = Gauge, "modemfleet_signal_rssi_dbm", [MODEM, RAT], "Received signal strength.";
    RSRP = Gauge, "modemfleet_signal_rsrp_dbm", [MODEM, RAT], "Reference signal received power.";
    RSRQ = Gauge, "modemfleet_signal_rsrq_db", [MODEM, RAT], "Reference signal received quality.";
    SINR = Gauge, "modemfleet_signal_sinr_db", [MODEM, RAT], "Signal to interference and noise ratio.";
    TEMPERATURE = Gauge, "modemfleet_modem_temperature_celsius", [MODEM], "Temperature of the module.";
    LAST_DETECTION = Gauge, "modemfleet_modem_last_detection_seconds", [MODEM], "Last time from the device's first event until its profile was loaded.";
    LAST_READY = Gauge, "modemfleet_modem_last_ready_seconds", [MODEM], "Last time from the device's first event until its first session was connected.";
    CONNECTED = Gauge, "modemfleet_mqtt_connected", [MODEM, SESSION], "1 if the session is connected.";
    TLS_INSECURE = Gauge, "modemfleet_tls_insecure", [MODEM, SESSION], "1 for a session that accepts any broker's certificate (insecure: true).";
    BUDGET = Gauge, "modemfleet_budget_bytes", [MODEM], "Monthly budget of the SIM.";
    BUDGET_USED = Gauge, "modemfleet_budget_used_bytes", [MODEM], "Estimated traffic of the SIM since the last reset of its budget.";
    BUDGET_LEFT = Gauge, "modemfleet_budget_left_bytes", [MODEM], "Unused bytes of the budget.";
    BUDGET_RESET = Gauge, "modemfleet_budget_reset_timestamp_seconds", [MODEM], "Time of the next reset of the budget.";
    BUDGET_STAGE = Gauge, "modemfleet_budget_stage", [MODEM, STAGE], "Stage of the SIM's budget: 1 for the current one, 0 for all others.";
    QUEUE_MESSAGES = Gauge, "modemfleet_queue_messages", [], "Messages in the queue, with those that are being delivered and dead letters.";
    QUEUE_BYTES = Gauge, "modemfleet_queue_bytes", [], "Accounted size of the messages in the queue.";
    QUEUE_LIMIT = Gauge, "modemfleet_queue_limit_bytes", [], "Limit of the queue's size (queue.max_bytes).";
    QUEUE_ASIDE = Gauge, "modemfleet_queue_set_aside_messages", [], "Dead letters in the queue. They stay until an operator requeues or purges them.";
    QUEUE_OLDEST = Gauge, "modemfleet_queue_oldest_timestamp_seconds", [], "Time at which the oldest message in the queue was published.";
    QUEUE_CORRUPTIONS = Counter, "modemfleet_queue_corruptions_total", [], "Times the queue's file was damaged and was replaced by its readable messages.";
    QUEUE_COMMIT_ERRORS = Counter, "modemfleet_queue_commit_errors_total", [], "Commits that the queue's disk refused. A refused commit stores and removes nothing.";
    QUEUE_SYNC_ERRORS = Counter, "modemfleet_queue_sync_errors_total", [], "Syncs of `fsync: interval` that the system refused.";
    QUEUE_DROPPED = Counter, "modemfleet_queue_dropped_total", [DROP_REASON], "Messages that were dropped without an acknowledgement.";
    INBOX_MESSAGES = Gauge, "modemfleet_inbox_messages", [], "Received messages that the inbox holds.";
    INBOX_BYTES = Gauge, "modemfleet_inbox_bytes", [], "Accounted size of the messages that the inbox holds.";
    INBOX_READERS = Gauge, "modemfleet_inbox_readers", [READER_KIND], "Readers by name, and sessions of MQTT clients, for which the inbox keeps messages.";
    INBOX_STORED = Counter, "modemfleet_inbox_stored_total", [], "Received messages that the inbox stored.";
    INBOX_DROPPED = Counter, "modemfleet_inbox_dropped_total", [INBOX_DROP_REASON], "Received messages that the inbox dropped or could not store: full and age if a limit removed them before all readers had read them, slow if they arrived faster than the disk stores, failed if the disk refused them, damaged if their file was damaged.";
    INBOX_COMMIT_ERRORS = Counter, "modemfleet_inbox_commit_errors_total", [], "Transactions of the inbox that failed.";
    INBOX_CORRUPTIONS = Counter, "modemfleet_inbox_corruptions_total", [], "Times the inbox's file was damaged, and was moved aside for a new one.";

    PROCESS_CPU = Counter, "process_cpu_seconds_total", [], "Processor time of the process.";
    PROCESS_FDS = Gauge, "process_open_fds", [], "Open file descriptors.";
    PROCESS_MAX_FDS = Gauge, "process_max_fds", [], "Limit of open file descriptors.";
    PROCESS_VIRTUAL = Gauge, "process_virtual_memory_bytes", [], "Virtual memory of the process.";
    PROCESS_RESIDENT = Gauge, "process_resident_memory_bytes", [], "Resident memory of the process.";
    PROCESS_THREADS = Gauge, "process_threads", [], "Threads of the process.";
    PROCESS_STARTED = Gauge, "process_start_time_seconds", [], "Start time of the process.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_is_named_once_and_as_prometheus_advises() {
        for (at, family) in ALL.iter().enumerate() {
            let name = family.name;
            assert!(ALL.iter().skip(at + 1).all(|other| other.name != name), "{name} twice");
            let counts = matches!(family.kind, Counter);
            assert_eq!(name.ends_with("_total"), counts, "{name}: a counter ends with _total");
            assert!(family.help.ends_with('.'), "{name}: no sentence");
            if let Histogram(buckets) = family.kind {
                assert!(buckets.len() <= 7 && family.unit() == Some("seconds"), "{name}");
            }
        }
    }

    #[test]
    fn the_reference_tells_labels_units_and_bounds() {
        let all = reference();
        let find = |name: &str| all.as_array().unwrap().iter().find(|f| f["name"] == name).unwrap();
        let publishes = find("modemfleet_mqtt_publishes_total");
        assert_eq!(publishes["labels"][2], json!({ "name": "qos", "values": ["0", "1", "2"] }));
        assert_eq!(publishes["labels"][3]["values"], json!(["ok", "error", "timeout", "unknown"]));
        assert!(publishes.get("unit").is_none(), "{publishes}");
        assert_eq!(find("modemfleet_signal_rsrp_dbm")["unit"], "dBm");
        assert_eq!(find("modemfleet_ready_duration_seconds")["buckets"][0], 0.1);
    }
}
