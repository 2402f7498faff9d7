//! `GET /api/v1/doctor`: what is wrong, and what to do about it.

use serde::{Deserialize, Serialize};

/// The answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Findings {
    /// All that was looked at.
    pub findings: Vec<Finding>,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, or may work; somebody should know.
    Warn,
    /// It does not work like this.
    Fail,
}

impl Level {
    /// The word that is printed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at, in a word: `port`, `sim`, `tls` …
    pub check: String,
    /// Of which modem (`north`) or session (`north/cloud`); absent for the gateway and the agent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subject: Option<String>,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub message: String,
    /// What to do; never absent where something is wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub advice: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn ok(check: &str, message: impl Into<String>) -> Self {
        Self {
            check: check.to_owned(),
            subject: None,
            level: Level::Ok,
            message: message.into(),
            advice: None,
        }
    }

    /// Somebody should know, and may do this.
    pub fn warn(check: &str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Warn, advice: Some(advice.into()), ..Self::ok(check, message) }
    }

    /// It does not work, and this may help.
    pub fn fail(check: &str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Fail, ..Self::warn(check, message, advice) }
    }

    /// The same of a modem or a session.
    #[must_use]
    pub fn of(self, subject: impl ToString) -> Self {
        Self { subject: Some(subject.to_string()), ..self }
    }
}

/// The worst of all levels.
pub fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
}
