//! `GET /api/v1/modems`: the fleet, its sessions and its queue.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The fleet. `S` is what is known of each modem: all of it where the agent writes, [`Seen`] where a client reads.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fleet<S = Seen> {
    /// The gateway's name.
    #[serde(default)]
    pub gateway: String,
    /// The agent's version.
    #[serde(default)]
    pub version: String,
    /// The commit that it was built of.
    #[serde(default)]
    pub commit: String,
    /// The modems, in file order.
    pub modems: Vec<Modem<S>>,
    /// The queue.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub queue: Option<Queue>,
}

/// One modem.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Modem<S = Seen> {
    /// Its name in the fleet file.
    pub name: String,
    /// Where it is looked for: a tty, or a place on USB.
    #[serde(default)]
    pub port: String,
    /// Where on USB it is plugged in, for a modem that is found there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub usb_path: Option<String>,
    /// The signal that tells most of it now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signal: Option<Level>,
    /// The last hour's signal in dBm, a value a minute, the oldest first.
    #[serde(default)]
    pub signal_history_dbm: Vec<Option<f64>>,
    /// Means of recovery used.
    #[serde(default)]
    pub recoveries: u64,
    /// Its SIM's budget, where it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub budget: Option<Budget>,
    /// Its sessions, in file order.
    #[serde(default)]
    pub sessions: Vec<Session>,
    /// What is known of it.
    #[serde(flatten)]
    pub snapshot: S,
}

/// A signal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Level {
    /// `rsrp` or `rssi`.
    pub measure: String,
    /// In dBm.
    pub dbm: f64,
}

/// The budget of a SIM.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Budget {
    /// The bytes of it.
    pub bytes: u64,
    /// `normal`, `warned`, `shedding` or `stopped`.
    pub stage: String,
    /// Bytes carried since the last reset, where it is known which SIM it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,
    /// Bytes that are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_bytes: Option<u64>,
    /// When the count begins again (RFC 3339, UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resets_at: Option<String>,
    /// Why messages wait or soon will, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One session.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// Its name in the fleet file.
    pub name: String,
    /// Its broker's name there.
    pub broker: String,
    /// `on`, or `insecure` where any certificate is taken; absent over plain TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// `waiting`, `connecting`, `connected`, `backing_off` or `failed`.
    pub phase: String,
    /// Whether it can carry messages.
    pub connected: bool,
    /// Why it is not connected, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the broker last acknowledged a publish, in seconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_ack_timestamp_seconds: Option<f64>,
}

/// The queue in a few figures.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Queue {
    /// Messages in it.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The most bytes.
    pub limit_bytes: u64,
    /// Messages that were set aside.
    pub set_aside: u64,
    /// Messages that were given up, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// How long the oldest has waited, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_age_seconds: Option<u64>,
}

/// What is known of a modem, as far as clients show it. What is not known is absent.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// Its state in the words of the metrics.
    pub state: String,
    /// Why it does not serve, in words.
    pub reason: Option<String>,
    /// What it is.
    pub identified: Option<Identified>,
    /// The network's name or number.
    pub operator: Option<String>,
    /// An entry for each radio access technology in use.
    pub signals: Vec<Signal>,
    /// Whether sessions may open.
    pub registration: Option<Registration>,
    /// Of the module, in °C.
    pub temperature_celsius: Option<f64>,
}

/// What a modem said it is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Identified {
    /// The model as `AT+CGMM` gave it.
    pub model: String,
}

/// The levels of one radio.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Signal {
    /// The radio access technology.
    pub rat: String,
    /// Reference signal received power, in dBm.
    pub rsrp_dbm: Option<f64>,
    /// Received power over the whole channel, in dBm.
    pub rssi_dbm: Option<f64>,
}

/// A registration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Registration {
    /// Its state in a word.
    pub state: String,
    /// Whether the modem is registered for speech while it is not for data.
    pub voice_only: bool,
}
