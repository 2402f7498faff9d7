//! `/api/v1/log`: what is logged, and whose AT dialogue.

use serde::{Deserialize, Serialize};

/// What is logged now.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Logged {
    /// The filter, as of `modemfleet run --log`.
    pub filter: String,
    /// The modems whose AT dialogue is logged.
    pub traced: Vec<String>,
}

/// A change of what is logged; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// A filter, as of `modemfleet run --log`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// A modem whose AT dialogue is to be logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// For so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<u64>,
    /// A modem whose AT dialogue is to be logged no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untrace: Option<String>,
}
