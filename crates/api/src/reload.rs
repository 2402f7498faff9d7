//! `POST /api/v1/reload` and `/api/v1/reload/plan`: the changes by a new fleet file, made or
//! planned.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// A line for each entry.
    pub plan: Vec<Line>,
    /// The number of lines of each kind, in words.
    #[serde(default)]
    pub summary: String,
}

impl From<Vec<Line>> for Plan {
    fn from(plan: Vec<Line>) -> Self {
        Self { summary: summary(&plan), plan }
    }
}

/// One line of a plan, as printed and as in the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// `+` added, `-` removed, `~` changed, `=` kept.
    pub sign: char,
    /// `modem`, `session`, `route` or `setting`.
    pub kind: String,
    /// Its name, its topic or its key.
    pub name: String,
    /// The change and its effect. Empty if the sign says enough.
    pub note: String,
    /// True if the change takes effect only at the next start of the agent.
    pub at_restart: bool,
}

/// Returns the number of lines of each kind, in words.
pub fn summary(lines: &[Line]) -> String {
    let count =
        |sign: char| lines.iter().filter(|line| line.sign == sign && !line.at_restart).count();
    let restart = lines.iter().filter(|line| line.at_restart).count();
    let mut words: Vec<String> =
        [('+', "added"), ('~', "changed"), ('-', "removed"), ('=', "kept")]
            .into_iter()
            .map(|(sign, word)| format!("{} {word}", count(sign)))
            .collect();
    if restart > 0 {
        words.push(format!("{restart} at the next start of the agent"));
    }
    words.join(", ")
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.sign, self.kind, self.name)?;
        if self.note.is_empty() { Ok(()) } else { write!(f, ": {}", self.note) }
    }
}
