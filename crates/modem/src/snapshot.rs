//! The state of a modem now, for its observers.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

use crate::limits::is_zero;
use crate::observe::RecoveryCause;
use crate::reply::{Carrier, Registration, Signal};

/// The state of a modem, in the words of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its tty is absent, or cannot be opened.
    Absent,
    /// It is being identified.
    Identifying,
    /// Waiting for its SIM.
    Sim,
    /// Waiting for a network.
    Searching,
    /// Its sessions run.
    Serving,
    /// It was mute, or lost its service, and is being brought back.
    Recovering,
    /// It cannot be used as configured, or no allowed action brings it back.
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

/// The identity of a modem, as it reported it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identified {
    /// Its entry in the catalog.
    pub model_id: String,
    /// The model as `AT+CGMM` gave it.
    pub model: String,
    /// Its manufacturer.
    pub manufacturer: String,
    /// Revision of its firmware.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// The profile of its model.
    pub profile: String,
    /// Its IMEI.
    pub imei: String,
    /// The ICCID of its SIM, once read.
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

/// The state of a modem now. Unknown values are absent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Snapshot {
    /// Its stage on the way to service.
    pub state: State,
    /// The reason why it does not serve, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its troubles; several may hold at a time.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub causes: BTreeSet<RecoveryCause>,
    /// True if it takes longer than usual for an answer, within the time that its manual allows.
    pub busy: bool,
    /// True if its tty is there.
    pub present: bool,
    /// The tty through which it is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tty: Option<PathBuf>,
    /// Its identity, from identification until the port goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identified: Option<Identified>,
    /// Its registration, which decides whether sessions may open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration: Option<Registration>,
    /// One entry per radio access technology in use.
    pub signals: Vec<Signal>,
    /// The aggregated carriers, if the module reports them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub carriers: Vec<Carrier>,
    /// The network's name or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// The module's temperature in °C.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_celsius: Option<f64>,
    /// The time from the tty found to the profile loaded, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detection_seconds: Option<f64>,
    /// The time from the tty found to the first session up, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_seconds: Option<f64>,
    /// The number of its returns within the last ten minutes.
    pub returns: usize,
}

impl Snapshot {
    /// Reports whether a message of this size fits the modem. True for a modem that is not
    /// identified, since it may fit.
    pub fn may_take(&self, topic: usize, payload: usize) -> bool {
        let fits = |is: &Identified| {
            topic <= is.max_topic && (is.min_payload..=is.max_payload).contains(&payload)
        };
        self.identified.as_ref().is_none_or(fits)
    }

    /// Returns the sizes that fit, as text; `None` while the modem is not identified.
    pub fn room(&self) -> Option<String> {
        let is = self.identified.as_ref()?;
        let (topic, least, most) = (is.max_topic, is.min_payload, is.max_payload);
        Some(format!("a topic of at most {topic} and a payload of {least} to {most} bytes"))
    }

    /// Returns the snapshot of a modem that was not seen yet.
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
