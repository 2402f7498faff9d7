//! The reason for a session's end, as text.

use crate::chain::Chain;
use crate::mqtt::MqttError;

/// Returns the reason for a session's end: first the cause of a loss that came during an operation,
/// then the operation's own failure.
pub(super) fn with_cause(cause: Option<&'static str>, error: &MqttError) -> String {
    match cause {
        Some(cause) => format!("{cause}; {}", Chain(error)),
        None => Chain(error).to_string(),
    }
}
