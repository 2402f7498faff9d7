//! All problems of a file in its order, and how they are shown.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::problem::{Excerpt, MAX_PROBLEMS, Problem, Report, Severity};
use super::shown::Shown;
use super::source::Source;
use crate::printable::printable;

/// The most characters of a line that are shown, and how many of them stand before the problem.
const EXCERPT: usize = 160;
const BEFORE: usize = 80;

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
    /// All that was found, with the lines as far as they may be shown.
    pub(super) fn of(report: Report, source: &Source, shown: impl FnOnce() -> Shown) -> Self {
        let is_cut = report.is_over();
        let mut list = report.errors;
        list.extend(report.warnings);
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
        Self { file: printable(&source.file), list, dropped: report.dropped, is_cut }
    }

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

    /// Reports whether there are no problems.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The number of problems, as far as the file was judged.
    pub fn len(&self) -> usize {
        self.list.len() + self.dropped
    }

    /// Reports whether one of them refuses the file.
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

    /// Place and message of each problem, without the lines of the file: a comment in a line may hold text that a
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
            return Some(format!(
                "after {MAX_PROBLEMS} errors the rest of the file is not checked"
            ));
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

/// The line of a problem, or of a long line the part around the problem.
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
