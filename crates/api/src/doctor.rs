//! `GET /api/v1/doctor`: problems, and the advice that cures them.

use serde::{Deserialize, Serialize};

/// The answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Findings {
    /// One finding for each check.
    pub findings: Vec<Finding>,
}

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, or may work; the operator should know.
    Warn,
    /// It does not work in this state.
    Fail,
}

impl Level {
    /// Returns the word that is printed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The check in a word: `port`, `sim`, `tls` …
    pub check: String,
    /// The modem (`north`) or the session (`north/cloud`); absent for the gateway and the agent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subject: Option<String>,
    /// The severity.
    pub level: Level,
    /// The result.
    pub message: String,
    /// The cure; present for every problem.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub advice: Option<String>,
}

impl Finding {
    /// Returns a finding without a problem.
    pub fn ok(check: &str, message: impl Into<String>) -> Self {
        Self {
            check: check.to_owned(),
            subject: None,
            level: Level::Ok,
            message: message.into(),
            advice: None,
        }
    }

    /// Returns a warning: the operator should know, and may follow the advice.
    pub fn warn(check: &str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Warn, advice: Some(advice.into()), ..Self::ok(check, message) }
    }

    /// Returns a failure: it does not work, and the advice may help.
    pub fn fail(check: &str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Fail, ..Self::warn(check, message, advice) }
    }

    /// Returns the finding as one of this modem or session.
    #[must_use]
    pub fn of(self, subject: impl ToString) -> Self {
        Self { subject: Some(subject.to_string()), ..self }
    }
}

/// Returns the worst of all levels.
pub fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
}
