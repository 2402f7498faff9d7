//! `/api/v1/at`: commands to a modem's port, and the URCs that come back.

use serde::{Deserialize, Serialize};

/// A command. It may hold secrets.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The modem.
    pub modem: String,
    /// The command line.
    pub line: String,
    /// The answer to the command's prompt.
    pub data_base64: Option<String>,
    /// The time limit of the answer, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// True to send it even if it may do harm.
    #[serde(default)]
    pub dangerous: bool,
}

/// The event `urc` of the stream: an unsolicited result code.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Urc {
    /// The line.
    pub line: String,
    /// The data that came with it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub data_base64: Option<String>,
}
