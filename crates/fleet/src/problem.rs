//! What is wrong with a configuration, where, and how it is shown.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::shown::Shown;
use super::source::Source;
use crate::printable::printable;

/// The errors after which a file is judged no further, and the most warnings that are kept.
pub const MAX_PROBLEMS: usize = 100;

/// The most characters of a line that are shown, and how many of them stand before the problem.
const EXCERPT: usize = 160;
const BEFORE: usize = 80;

/// Whether a problem stops the agent from taking the file.
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
    /// Whether the file is refused for it.
    pub severity: Severity,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The keys that lead there, such as `modems.north.apn`; empty for the whole file.
    pub path: String,
    /// What is wrong, in one sentence without secrets.
    pub message: String,
    /// What to write instead, where that is known.
    pub help: Option<String>,
    /// The bytes of the file it is about; never across a line end.
    span: Range<usize>,
    excerpt: Excerpt,
}

/// Shown part of a problem's line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Excerpt {
    text: String,
    /// Place of the problem in `text`.
    marked: Range<usize>,
    /// True if the beginning of the line is missing.
    is_cut: bool,
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

/// All that was found in one reading of a file, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    file: String,
    list: Vec<Problem>,
    /// Warnings that were not kept.
    dropped: usize,
    /// True if the file was not judged to its end.
    is_cut: bool,
}

impl Problems {
    /// The file's name as it was given.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The problems in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// Those that are not among `told`.
    pub fn without(&self, told: &[Problem]) -> Self {
        let news = self.list.iter().filter(|problem| !told.contains(problem));
        Self { file: self.file.clone(), list: news.cloned().collect(), ..*self }
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are, as far as the file was judged.
    pub fn len(&self) -> usize {
        self.list.len() + self.dropped
    }

    /// Whether one of them refuses the file.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// The problems as a compiler shows them: place, line, caret, help. `styled` adds colours.
    pub fn render(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for problem in &self.list {
            let rendered = renderer.render(&[self.group(problem)]);
            out.push_str(&self.with_column(rendered, problem));
            out.push_str("\n\n");
        }
        out.extend(self.more().map(|more| format!("… {more}")));
        out.truncate(out.trim_end().len());
        out
    }

    /// Place and words of each problem, without the lines of the file: a comment in one may hold what a
    /// log must not.
    pub fn places(&self) -> String {
        let place = |problem: &Problem| {
            let Problem { line, column, severity, message, .. } = problem;
            format!("{}:{line}:{column}: {}: {message}", self.file, severity.word())
        };
        self.list.iter().map(place).chain(self.more()).collect::<Vec<_>>().join("; ")
    }

    /// Rest that is not listed, in words.
    fn more(&self) -> Option<String> {
        if self.is_cut {
            return Some(format!("after {MAX_PROBLEMS} errors the rest of the file is not judged"));
        }
        (self.dropped > 0).then(|| format!("and {} more warnings", self.dropped))
    }

    /// Of a line that is shown in part the renderer does not know the column.
    fn with_column(&self, rendered: String, problem: &Problem) -> String {
        let Problem { line, column, excerpt: Excerpt { text, marked, is_cut }, .. } = problem;
        if !is_cut {
            return rendered;
        }
        let seen = text.get(..marked.start).unwrap_or_default().chars().count() + 1;
        let place = |column| format!("{}:{line}:{column}", self.file);
        rendered.replacen(&place(seen), &place(*column), 1)
    }

    fn group<'a>(&'a self, problem: &'a Problem) -> Group<'a> {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let Excerpt { text, marked, .. } = &problem.excerpt;
        let snippet = Snippet::source(text.as_str())
            .line_start(problem.line)
            .annotation(AnnotationKind::Primary.span(marked.clone()));
        let group = level.primary_title(problem.message.as_str());
        let group = group.element(snippet.path(self.file.as_str()));
        match &problem.help {
            Some(help) => group.element(Level::HELP.message(help.as_str())),
            None => group,
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}

/// Collects problems while a file is read.
#[derive(Debug, Default)]
pub(super) struct Report {
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
    /// Warnings that were not kept.
    dropped: usize,
    /// All errors so far.
    count: usize,
    /// How often a name was looked for among those that are known.
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

    /// Reports whether the file is judged no further: its errors are enough, or its caller has left.
    pub(super) fn is_over(&self) -> bool {
        self.errors.len() >= MAX_PROBLEMS || self.is_stopped()
    }

    /// Reports whether a name that is not known is still compared with all that are: the first few times. Each call
    /// counts as one of them.
    pub(super) fn may_suggest(&mut self) -> bool {
        self.suggested += 1;
        self.suggested <= MAX_SUGGESTIONS
    }

    /// How many errors there are so far.
    pub(super) fn errors(&self) -> usize {
        self.count
    }

    pub(super) fn has_errors(&self) -> bool {
        self.count > 0
    }

    /// All that was found, with the lines as far as they may be shown.
    pub(super) fn finish(self, source: &Source, shown: impl FnOnce() -> Shown) -> Problems {
        let is_cut = self.is_over();
        let mut list = self.errors;
        list.extend(self.warnings);
        list.sort_by_key(|problem| (problem.span.start, problem.span.end));
        if !list.is_empty() {
            let shown = shown();
            for problem in &mut list {
                problem.excerpt = excerpt(source, &problem.span, &shown);
                shown.conceal(&mut problem.path);
                shown.conceal(&mut problem.message);
                problem.help.take_if(|_| shown.is_private_elsewhere(problem.span.start));
                problem.help.iter_mut().for_each(|help| shown.conceal(help));
            }
        }
        Problems { file: printable(&source.file), list, dropped: self.dropped, is_cut }
    }
}

/// A slip is looked for among all names of a file, so often.
const MAX_SUGGESTIONS: usize = 10;

/// Adds a problem that is not there yet: what an alias stands for is judged at each of them.
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

/// The line of a problem, or of a long one what stands around it.
fn excerpt(source: &Source, span: &Range<usize>, shown: &Shown) -> Excerpt {
    let line = source.line(span.start);
    let around = source.around(span.start, &line, BEFORE, EXCERPT);
    let visible = shown.visible(source, &line, &around);
    let mut text = String::new();
    let is_cut = around.start > line.start;
    text.extend(is_cut.then_some('…'));
    let (mut from, mut to) = (None, None);
    let written = source.text.get(around.clone()).unwrap_or_default();
    for ((at, c), is_visible) in written.char_indices().zip(visible) {
        let at = around.start + at;
        if at >= span.start {
            from.get_or_insert(text.len());
        }
        if at >= span.end {
            to.get_or_insert(text.len());
        }
        if is_visible {
            text.push_str(&printable(c.encode_utf8(&mut [0; 4])));
        } else {
            text.push('*');
        }
    }
    let (from, to) = (from.unwrap_or(text.len()), to.unwrap_or(text.len()));
    text.extend((around.end < line.end).then_some('…'));
    Excerpt { text, marked: from..to.max(from), is_cut }
}
