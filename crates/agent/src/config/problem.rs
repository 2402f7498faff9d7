//! What is wrong with a configuration, where, and how it is shown.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};

/// The most problems that one reading keeps; a file of garbage must not become a flood of text.
const MAX_PROBLEMS: usize = 100;

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
    pub(super) span: Range<usize>,
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
    /// The text with secrets masked: what may be shown.
    text: String,
    list: Vec<Problem>,
    dropped: usize,
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
        Self { list: news.cloned().collect(), ..self.clone() }
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are.
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
            out.push_str(&renderer.render(&[self.group(problem)]));
            out.push_str("\n\n");
        }
        if self.dropped > 0 {
            out.push_str(&format!("… and {} more\n", self.dropped));
        }
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
        let more = (self.dropped > 0).then(|| format!("and {} more", self.dropped));
        self.list.iter().map(place).chain(more).collect::<Vec<_>>().join("; ")
    }

    fn group<'a>(&'a self, problem: &'a Problem) -> Group<'a> {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        // Only the line: the renderer goes through all it is given, for each problem anew.
        let before = self.text.get(..problem.span.start).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = self.text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let snippet =
            Snippet::source(line).path(self.file.as_str()).line_start(problem.line).annotation(
                AnnotationKind::Primary.span(problem.span.start - start..problem.span.end - start),
            );
        let group = level.primary_title(problem.message.as_str()).element(snippet);
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

/// The text of a file and the places of its lines and characters.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// The name to print.
    pub(super) file: String,
    /// The text, without a byte order mark.
    pub(super) text: String,
    lines: Vec<usize>,
    chars: Vec<usize>,
}

impl Source {
    pub(super) fn new(file: &str, text: String) -> Self {
        let mut lines = vec![0];
        lines.extend(text.match_indices('\n').map(|(at, _)| at + 1));
        let mut chars: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        chars.push(text.len());
        Self { file: file.to_owned(), text, lines, chars }
    }

    /// The byte at which the character `index` begins; the end of the text for any beyond it.
    pub(super) fn byte_of(&self, index: usize) -> usize {
        self.chars.get(index).copied().unwrap_or(self.text.len())
    }

    /// Line and column, both from 1, of a byte.
    pub(super) fn position(&self, byte: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= byte).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..byte).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    /// The word that begins at a byte, quotes included: what a key without a node looks like.
    pub(super) fn word_at(&self, byte: usize) -> Range<usize> {
        let rest = self.text.get(byte..).unwrap_or_default();
        let end = rest.find([':', ',', '\n', '\r', '}']).unwrap_or(rest.len());
        byte..byte + rest.get(..end).unwrap_or_default().trim_end().len()
    }

    /// `span` as far as it lies in the line it begins in, without the white space at its end.
    pub(super) fn first_line(&self, span: Range<usize>) -> Range<usize> {
        let within = self.text.get(span.clone()).unwrap_or_default();
        let line = within.split(['\n', '\r']).next().unwrap_or_default().trim_end();
        span.start..span.start + line.len()
    }
}

/// Collects problems while a file is read.
#[derive(Debug, Default)]
pub(super) struct Report {
    list: Vec<Problem>,
    dropped: usize,
    masks: Vec<Range<usize>>,
}

impl Report {
    /// Notes an error at `span`.
    pub(super) fn error(
        &mut self,
        source: &Source,
        span: Range<usize>,
        path: &str,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.push(source, Severity::Error, span, path, message.into(), help);
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
        self.push(source, Severity::Warning, span, path, message.into(), help);
    }

    fn push(
        &mut self,
        source: &Source,
        severity: Severity,
        span: Range<usize>,
        path: &str,
        message: String,
        help: Option<String>,
    ) {
        let span = source.first_line(span);
        let (line, column) = source.position(span.start);
        // Keys of the file may hold escapes, and a terminal would obey them.
        let (path, message) = (harmless(path), harmless(&message));
        let help = help.as_deref().map(harmless);
        let problem = Problem { severity, line, column, path, message, help, span };
        if self.list.contains(&problem) {
            return;
        }
        // An error is never dropped for a warning's sake: the verdict hangs on it.
        if self.list.len() < MAX_PROBLEMS {
            self.list.push(problem);
        } else {
            self.dropped += 1;
            if severity == Severity::Error
                && !self.has_errors()
                && let Some(last) = self.list.last_mut()
            {
                *last = problem;
            }
        }
    }

    /// Marks bytes that are shown to nobody.
    pub(super) fn mask(&mut self, span: Range<usize>) {
        self.masks.push(span);
    }

    /// Whether further problems are only counted, so that none need be worded well.
    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= MAX_PROBLEMS
    }

    /// Marks what follows one of `keys` on its line, and the next line where nothing does. For
    /// files without a tree, in which nobody can say any better where a secret ends.
    pub(super) fn mask_secret_lines(&mut self, source: &Source, keys: &[&str]) {
        let starts = source.lines.iter().copied();
        let ends = source.lines.iter().skip(1).copied().chain([source.text.len()]);
        let (mut goes_on, mut in_pem) = (false, false);
        for (start, end) in starts.zip(ends) {
            let line = source.text.get(start..end).unwrap_or_default();
            if in_pem || line.contains("-----BEGIN") {
                self.mask(start..end);
                in_pem = !line.contains("-----END");
                continue;
            }
            let after = keys.iter().filter_map(|key| line.find(key).map(|at| at + key.len()));
            let from = if goes_on { Some(0) } else { after.min() };
            let Some(from) = from else { continue };
            self.mask(start + from..end);
            let rest = line.get(from..).unwrap_or_default();
            goes_on = !goes_on && !rest.contains(|c: char| c.is_alphanumeric());
        }
    }

    /// How many errors there are so far, those among them that are only counted.
    pub(super) fn errors(&self) -> usize {
        let errors = self.list.iter().filter(|problem| problem.severity == Severity::Error);
        errors.count() + self.dropped
    }

    pub(super) fn has_errors(&self) -> bool {
        self.list.iter().any(|problem| problem.severity == Severity::Error)
    }

    pub(super) fn finish(mut self, source: Source) -> Problems {
        self.list.sort_by_key(|problem| (problem.span.start, problem.span.end));
        let text = masked(source.text, &self.masks);
        Problems { file: source.file, text, list: self.list, dropped: self.dropped }
    }
}

fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Replaces each masked byte by a star, line ends apart: every other byte keeps its place.
fn masked(text: String, masks: &[Range<usize>]) -> String {
    if masks.is_empty() {
        return text;
    }
    let mut hidden = vec![false; text.len()];
    for mask in masks {
        if let Some(bytes) = hidden.get_mut(mask.clone()) {
            bytes.fill(true);
        }
    }
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if c != '\n' && c != '\r' && hidden.get(at) == Some(&true) {
            out.extend(std::iter::repeat_n('*', c.len_utf8()));
        } else {
            out.push(c);
        }
    }
    out
}
