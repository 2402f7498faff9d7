//! The state of a session, for those who watch it.

use serde::Serialize;

/// Where a session stands.
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
    /// The phase in a word.
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

/// Where a session stands, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionState {
    /// The phase.
    pub phase: SessionPhase,
    /// Why it is not connected, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl SessionState {
    /// Whether it can carry messages.
    pub fn is_connected(&self) -> bool {
        self.phase == SessionPhase::Connected
    }
}
