//! Tables of text for people, aligned by display width and not by bytes.

use std::fmt::Write;

use clap::builder::styling::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use fleet::printable::printable;

/// The spaces between two columns.
const GAP: usize = 2;

/// The tone of a cell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Tone {
    /// Without colour.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// It may recover by itself.
    Warning,
    /// It needs the operator.
    Bad,
}

impl Tone {
    fn style(self) -> Style {
        let colour = match self {
            Self::Plain => return Style::new(),
            Self::Good => AnsiColor::Green,
            Self::Warning => AnsiColor::Yellow,
            Self::Bad => AnsiColor::Red,
        };
        Style::new().fg_color(Some(colour.into()))
    }
}

/// One cell.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// Returns a cell of text that may come from a modem: control characters are replaced.
    pub(super) fn new(text: &str) -> Self {
        Self { text: printable(text), tone: Tone::Plain }
    }

    /// Returns the cell in this tone.
    pub(super) fn toned(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }
}

/// Rows below a headline.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Returns a table with these columns.
    pub(super) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|word| Cell::new(word)).collect()] }
    }

    /// Adds a row.
    pub(super) fn push(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    /// Returns the lines, cut to `width` columns if it is given.
    pub(super) fn render(&self, colour: bool, width: Option<usize>) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(|column| self.width(column)).collect();
        let mut out = String::new();
        for row in &self.rows {
            line(row, &widths, colour, width.unwrap_or(usize::MAX), &mut out);
        }
        out
    }

    fn width(&self, column: usize) -> usize {
        self.rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.text.width())
            .max()
            .unwrap_or(0)
    }
}

fn line(row: &[Cell], widths: &[usize], colour: bool, room: usize, out: &mut String) {
    // Spaces are written only before further text, so no line ends with spaces.
    let (mut owed, mut used) = (0, 0);
    for (cell, width) in row.iter().zip(widths) {
        let text = cut(&cell.text, room.saturating_sub(used + owed));
        if !text.is_empty() {
            out.extend(std::iter::repeat_n(' ', owed));
            used += owed + text.width();
            owed = 0;
            if colour && cell.tone != Tone::Plain {
                let style = cell.tone.style();
                // Writing into a string does not fail.
                let _ = write!(out, "{style}{text}{style:#}");
            } else {
                out.push_str(text);
            }
        }
        owed += width.saturating_sub(text.width()) + GAP;
    }
    out.push('\n');
}

/// Returns the beginning of `text` that needs at most `room` columns.
fn cut(text: &str, room: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find(|(_, c)| {
        used += c.width().unwrap_or(0);
        used > room
    });
    end.and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_the_terminal_whatever_is_in_them() {
        let mut table = Table::new(&["A", "B"]);
        table.push(vec![Cell::new("中国移动").toned(Tone::Bad), Cell::new("long reason")]);
        assert_eq!(table.render(false, None), "A         B\n中国移动  long reason\n");
        assert_eq!(table.render(false, Some(12)), "A         B\n中国移动  lo\n");
        assert_eq!(table.render(false, Some(5)), "A\n中国\n");
        assert_eq!(table.render(true, Some(0)), "\n\n");
    }
}
