//! The reason of a session's end, in words.

use crate::mqtt::MqttError;

/// Gives the reason of a session's end: first the cause of a loss that came under an operation, then the operation's
/// own failure.
pub(super) fn with_cause(cause: Option<&'static str>, error: &MqttError) -> String {
    match cause {
        Some(cause) => format!("{cause}; {}", Chain(error)),
        None => Chain(error).to_string(),
    }
}

/// An error with its causes, as one sentence for a log line.
pub struct Chain<'a>(pub &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
