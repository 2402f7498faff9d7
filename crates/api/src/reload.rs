//! `POST /api/v1/reload` and `/api/v1/reload/plan`: what a new fleet file changed, or would change.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// A line for each entry.
    pub plan: Vec<Line>,
    /// How many lines there are of each kind, in words.
    #[serde(default)]
    pub summary: String,
}

impl From<Vec<Line>> for Plan {
    fn from(plan: Vec<Line>) -> Self {
        Self { summary: summary(&plan), plan }
    }
}

/// One line of a plan, as it is printed and as the API tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// `+` it comes, `-` it goes, `~` it changes, `=` it stays as it is.
    pub sign: char,
    /// `modem`, `session`, `route` or `setting`.
    pub kind: String,
    /// Its name, its topic or its key.
    pub name: String,
    /// What changes, and what that means. Empty where the sign says it all.
    pub note: String,
    /// Whether it changes at the next start of the agent only.
    pub at_restart: bool,
}

/// How many lines there are of each kind, in words.
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
