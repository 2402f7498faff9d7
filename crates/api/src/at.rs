//! `/api/v1/at`: a person's commands to a modem's port, and what the modem says unasked.

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
    /// How long its answer may take, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Whether it is to be sent although it may harm.
    #[serde(default)]
    pub dangerous: bool,
}

/// The event `urc` of the stream: what the modem said unasked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Urc {
    /// The line.
    pub line: String,
    /// The data that came with it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub data_base64: Option<String>,
}
