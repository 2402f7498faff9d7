//! Why a session is down, in words.

use crate::mqtt::MqttError;

/// Why a session is down: the cause of the loss that came under an operation first, then how the operation failed.
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
