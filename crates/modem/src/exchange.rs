//! An exchange with a modem: its purpose, and the reason for a failure.

use at::Failure;

/// The purpose of an exchange, by which it is queued (status last) and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Identification and line settings.
    Basic,
    /// Polling of signal, registration and similar readings. Waits while anything else can run.
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

    /// Returns the kind's name in metrics.
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

/// The reason why an exchange failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ExchangeError {
    /// The exchange itself failed.
    #[error("{command} failed")]
    Failed {
        /// The command as logs may show it.
        command: String,
        /// The failure.
        #[source]
        failure: Failure,
    },
    /// The port is gone; the exchange may or may not have reached the modem.
    #[error("the port closed")]
    Gone,
}

impl ExchangeError {
    /// Returns the refusal, if the modem refused the exchange.
    pub fn refusal(&self) -> Option<&Failure> {
        match self {
            Self::Failed { failure: failure @ Failure::Refused { .. }, .. } => Some(failure),
            _ => None,
        }
    }
}
