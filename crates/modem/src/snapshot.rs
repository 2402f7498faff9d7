//! What is known of a modem now, for those who watch it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

use crate::limits::is_zero;
use crate::observe::RecoveryCause;
use crate::reply::{Carrier, Registration, Signal};

/// Where a modem stands, in the words of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its tty is not there, or cannot be opened.
    Absent,
    /// Finding out what it is.
    Identifying,
    /// Waiting for its SIM.
    Sim,
    /// Waiting for a network.
    Searching,
    /// Its sessions run.
    Serving,
    /// It was mute, or lost its service, and is being brought back.
    Recovering,
    /// It cannot be used as configured, or nothing that may be done brings it back.
    Failed,
}

impl State {
    /// All states, for metrics that show each as 0 or 1.
    pub const ALL: [Self; 7] = [
        Self::Absent,
        Self::Identifying,
        Self::Sim,
        Self::Searching,
        Self::Serving,
        Self::Recovering,
        Self::Failed,
    ];

    /// The state in the words of the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Identifying => "identifying",
            Self::Sim => "sim",
            Self::Searching => "searching",
            Self::Serving => "serving",
            Self::Recovering => "recovering",
            Self::Failed => "failed",
        }
    }
}

/// What a modem said it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identified {
    /// Entry of the catalog.
    pub model_id: String,
    /// The model as `AT+CGMM` gave it.
    pub model: String,
    /// Its maker.
    pub manufacturer: String,
    /// Revision of its firmware.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// The profile that speaks to it.
    pub profile: String,
    /// Its IMEI.
    pub imei: String,
    /// The identity of its SIM, once read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iccid: Option<String>,
    /// The longest topic it takes, in bytes.
    pub max_topic: usize,
    /// The longest payload it takes, in bytes.
    pub max_payload: usize,
    /// The shortest payload it takes, in bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub min_payload: usize,
}

/// All that is known of a modem now. What is not known is absent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Snapshot {
    /// Where it stands.
    pub state: State,
    /// Why it does not serve, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is wrong with it; several may hold at a time.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub causes: BTreeSet<RecoveryCause>,
    /// Whether it takes longer than usual for an answer, within the time that its manual allows.
    pub busy: bool,
    /// Whether its tty is there.
    pub present: bool,
    /// The tty it is spoken to at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tty: Option<PathBuf>,
    /// What it is; from identification until the port goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identified: Option<Identified>,
    /// Whether sessions may open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration: Option<Registration>,
    /// One entry per radio access technology in use.
    pub signals: Vec<Signal>,
    /// The carriers that are aggregated, if the module reports them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub carriers: Vec<Carrier>,
    /// The network's name or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// Of the module, in °C.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_celsius: Option<f64>,
    /// From the tty found to the profile loaded, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detection_seconds: Option<f64>,
    /// From the tty found to the first session up, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_seconds: Option<f64>,
    /// How often it came back within the last ten minutes.
    pub returns: usize,
}

impl Snapshot {
    /// Whether a message of so many bytes fits this modem; of one that is not identified nobody knows, and
    /// it may.
    pub fn may_take(&self, topic: usize, payload: usize) -> bool {
        let fits = |is: &Identified| {
            topic <= is.max_topic && (is.min_payload..=is.max_payload).contains(&payload)
        };
        self.identified.as_ref().is_none_or(fits)
    }

    /// What it takes, in words; `None` while it is not identified.
    pub fn room(&self) -> Option<String> {
        let is = self.identified.as_ref()?;
        let (topic, least, most) = (is.max_topic, is.min_payload, is.max_payload);
        Some(format!("a topic of at most {topic} and a payload of {least} to {most} bytes"))
    }

    /// Nothing is known.
    pub fn absent() -> Self {
        Self {
            state: State::Absent,
            reason: None,
            causes: BTreeSet::new(),
            busy: false,
            present: false,
            tty: None,
            identified: None,
            registration: None,
            signals: Vec::new(),
            carriers: Vec::new(),
            operator: None,
            temperature_celsius: None,
            detection_seconds: None,
            ready_seconds: None,
            returns: 0,
        }
    }
}
