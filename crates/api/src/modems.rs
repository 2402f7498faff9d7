//! `GET /api/v1/modems`: the fleet, its sessions and its queue.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The fleet. `S` is the state of each modem: the full snapshot in the agent, [`Seen`] in a client.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fleet<S = Seen> {
    /// The gateway's name.
    #[serde(default)]
    pub gateway: String,
    /// The agent's version.
    #[serde(default)]
    pub version: String,
    /// The commit that it was built from.
    #[serde(default)]
    pub commit: String,
    /// The modems, in file order.
    pub modems: Vec<Modem<S>>,
    /// The queue.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub queue: Option<Queue>,
    /// True if callers over TCP have to show `http.token`; without it the status page is read-only.
    #[serde(default)]
    pub asks_for_token: bool,
}

/// One modem.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Modem<S = Seen> {
    /// Its name in the fleet file.
    pub name: String,
    /// The tty or the place on USB at which it is expected.
    #[serde(default)]
    pub port: String,
    /// The place on USB of its device, for a modem that is found there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub usb_path: Option<String>,
    /// The signal with the best measure.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signal: Option<Level>,
    /// The last hour's signal in dBm: one value a minute, the oldest first.
    #[serde(default)]
    pub signal_history_dbm: Vec<Option<f64>>,
    /// The number of recovery steps that were taken.
    #[serde(default)]
    pub recoveries: u64,
    /// The budget of its SIM, if one is configured.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub budget: Option<Budget>,
    /// Its sessions, in file order.
    #[serde(default)]
    pub sessions: Vec<Session>,
    /// The state of the modem.
    #[serde(flatten)]
    pub snapshot: S,
}

/// A signal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Level {
    /// `rsrp` or `rssi`.
    pub measure: String,
    /// The level in dBm.
    pub dbm: f64,
}

/// The budget of a SIM.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Budget {
    /// The bytes that may be carried in a period.
    pub bytes: u64,
    /// `normal`, `warned`, `shedding` or `stopped`.
    pub stage: String,
    /// Bytes carried since the last reset, if the SIM is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,
    /// Bytes that are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_bytes: Option<u64>,
    /// The time of the next reset (RFC 3339, UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resets_at: Option<String>,
    /// The reason why messages wait, or soon will, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One session.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// Its name in the fleet file.
    pub name: String,
    /// The name of its broker in the fleet file.
    pub broker: String,
    /// `on`, or `insecure` if any certificate is accepted; absent over plain TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// `waiting`, `connecting`, `connected`, `backing_off` or `failed`.
    pub phase: String,
    /// True if it can carry messages.
    pub connected: bool,
    /// The reason why it is not connected, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The time of the broker's last acknowledgement, in seconds since the epoch.
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
    /// The bound in bytes.
    pub limit_bytes: u64,
    /// Dead letters.
    pub set_aside: u64,
    /// Dropped messages, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// The age of the oldest message, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_age_seconds: Option<u64>,
}

/// The state of a modem, limited to the parts that clients show. Unknown values are absent.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// Its state in the words of the metrics.
    pub state: String,
    /// The reason why it does not serve, in words.
    pub reason: Option<String>,
    /// The answers to its identification.
    pub identified: Option<Identified>,
    /// The network's name or number.
    pub operator: Option<String>,
    /// An entry for each radio access technology in use.
    pub signals: Vec<Signal>,
    /// The registration on the network, on which sessions depend.
    pub registration: Option<Registration>,
    /// The temperature of the module in °C.
    pub temperature_celsius: Option<f64>,
}

/// The answers of a modem to its identification.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Identified {
    /// The model as `AT+CGMM` reports it.
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
    /// True if the modem is registered for speech but not for data.
    pub voice_only: bool,
}
