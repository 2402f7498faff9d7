//! The state of a session, for its observers.

use serde::Serialize;

/// The phase of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionPhase {
    /// The modem cannot carry it now.
    Waiting,
    /// Signing in.
    Connecting,
    /// Signed in and subscribed.
    Connected,
    /// Waiting before the next attempt.
    BackingOff,
    /// It can never work as configured.
    Failed,
}

impl SessionPhase {
    /// Returns the phase as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::BackingOff => "backing_off",
            Self::Failed => "failed",
        }
    }
}

/// The phase of a session, and its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionState {
    /// The phase.
    pub phase: SessionPhase,
    /// The reason why it is not connected, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl SessionState {
    /// Reports whether it can carry messages.
    pub fn is_connected(&self) -> bool {
        self.phase == SessionPhase::Connected
    }
}
