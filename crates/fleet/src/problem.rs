//! Problems of a configuration, each with its place.

use std::ops::Range;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::source::Source;
use crate::printable::printable;

/// The errors after which a file is judged no further, and the most warnings that are kept.
pub const MAX_PROBLEMS: usize = 100;

/// The severity of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is taken; the operator should know all the same.
    Warning,
}

impl Severity {
    /// The word that is printed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing to say about one place of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The severity: an error refuses the file.
    pub severity: Severity,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The keys that lead there, such as `modems.north.apn`; empty for the whole file.
    pub path: String,
    /// The fault, in one sentence without secrets.
    pub message: String,
    /// The cure, if there is a known one.
    pub help: Option<String>,
    /// The bytes of the file it is about; never across a line end.
    pub(super) span: Range<usize>,
    pub(super) excerpt: Excerpt,
}

/// Shown part of a problem's line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Excerpt {
    pub(super) text: String,
    /// Place of the problem in `text`.
    pub(super) marked: Range<usize>,
    /// True if the beginning of the line is missing.
    pub(super) is_cut: bool,
}

impl Problem {
    /// As programs read it.
    pub fn to_json(&self) -> Value {
        json!({
            "severity": self.severity.word(),
            "line": self.line,
            "column": self.column,
            "path": self.path,
            "message": self.message,
            "help": self.help,
        })
    }
}

/// Collects problems while a file is read.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) errors: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    /// Warnings that were not kept.
    pub(super) dropped: usize,
    /// All errors so far.
    count: usize,
    /// The number of searches for a name among the known names.
    suggested: usize,
    stop: CancellationToken,
}

impl Report {
    /// One for a reading that ends early once `stop` is cancelled.
    pub(super) fn until(stop: CancellationToken) -> Self {
        Self { stop, ..Self::default() }
    }

    /// Notes an error at `span`.
    pub(super) fn error(
        &mut self,
        source: &Source,
        span: Range<usize>,
        path: &str,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.count += 1;
        if self.errors.len() < MAX_PROBLEMS {
            let problem = problem(source, Severity::Error, span, path, message.into(), help);
            push(&mut self.errors, problem);
        }
    }

    /// Notes a warning at `span`.
    pub(super) fn warn(
        &mut self,
        source: &Source,
        span: Range<usize>,
        path: &str,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        if self.warnings.len() < MAX_PROBLEMS {
            let problem = problem(source, Severity::Warning, span, path, message.into(), help);
            push(&mut self.warnings, problem);
        } else {
            self.dropped += 1;
        }
    }

    /// Reports whether the caller has left.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Reports whether the check ends: there are enough errors, or the caller has left.
    pub(super) fn is_over(&self) -> bool {
        self.errors.len() >= MAX_PROBLEMS || self.is_stopped()
    }

    /// Reports whether an unknown name is still compared with all known ones: the first few times. Each call
    /// counts as one of them.
    pub(super) fn may_suggest(&mut self) -> bool {
        self.suggested += 1;
        self.suggested <= MAX_SUGGESTIONS
    }

    /// The number of errors so far.
    pub(super) fn errors(&self) -> usize {
        self.count
    }

    pub(super) fn has_errors(&self) -> bool {
        self.count > 0
    }
}

/// A slip is looked for among all names of a file, so often.
const MAX_SUGGESTIONS: usize = 10;

/// Adds a problem that is not there yet: the value of an alias is checked at each of its places.
fn push(list: &mut Vec<Problem>, problem: Problem) {
    if !list.contains(&problem) {
        list.push(problem);
    }
}

fn problem(
    source: &Source,
    severity: Severity,
    span: Range<usize>,
    path: &str,
    message: String,
    help: Option<String>,
) -> Problem {
    let span = source.first_line(span);
    let (line, column) = source.position(span.start);
    // Keys of the file may hold escapes, and a terminal would obey them.
    let (path, message) = (printable(path), printable(&message));
    let help = help.as_deref().map(printable);
    Problem { severity, line, column, path, message, help, span, excerpt: Excerpt::default() }
}
