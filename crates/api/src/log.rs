//! `/api/v1/log`: the log's filter, and the modems whose AT dialogue is logged.

use serde::{Deserialize, Serialize};

/// The present state of the log.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Logged {
    /// The filter, as of `modemfleet run --log`.
    pub filter: String,
    /// The modems whose AT dialogue is logged.
    pub traced: Vec<String>,
}

/// A change of the log; absent keys leave it as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// A filter, as of `modemfleet run --log`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// A modem whose AT dialogue is to be logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The time after which that logging ends, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<u64>,
    /// A modem whose AT dialogue is no longer to be logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untrace: Option<String>,
}
