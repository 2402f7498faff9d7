//! An exchange with a modem: its purpose, and why it did not succeed.

use at::Failure;

/// What an exchange is for: by this it is queued (status last) and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Identification and line settings.
    Basic,
    /// Polling of signal, registration and their like. Waits while anything else can run.
    Status,
    /// Opening and closing of service, sessions and subscriptions.
    Setup,
    /// Data that follows a prompt.
    Prompt,
    /// A publish.
    Publish,
}

impl Kind {
    /// All kinds, for metrics that start at 0.
    pub const ALL: [Self; 5] =
        [Self::Basic, Self::Status, Self::Setup, Self::Prompt, Self::Publish];

    /// The kind in the words of the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Status => "status",
            Self::Setup => "setup",
            Self::Prompt => "prompt",
            Self::Publish => "publish",
        }
    }
}

/// Why an exchange did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ExchangeError {
    /// The exchange itself failed.
    #[error("{command} failed")]
    Failed {
        /// The command as logs may show it.
        command: String,
        /// How it failed.
        #[source]
        failure: Failure,
    },
    /// The port is gone; the exchange may or may not have reached the modem.
    #[error("the port closed")]
    Gone,
}

impl ExchangeError {
    /// How the modem refused, where it did.
    pub fn refusal(&self) -> Option<&Failure> {
        match self {
            Self::Failed { failure: failure @ Failure::Refused { .. }, .. } => Some(failure),
            _ => None,
        }
    }
}
