//! The demo's output: a table that is redrawn on a terminal, plain lines otherwise.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::reading::{Reading, Row};
use super::tally::Tally;
use fleet::printable::printable;

/// The number of events under the table.
const EVENTS: usize = 10;

/// The interval of progress lines if there is no table.
const PLAIN: Duration = Duration::from_secs(5);

/// The size of a terminal that does not report it, in columns and rows.
const USUAL: (usize, usize) = (80, 24);

/// Standard output: a terminal, a file or a pipe.
pub(super) struct Screen {
    terminal: bool,
    /// The number of the table's lines above the cursor.
    drawn: usize,
    events: VecDeque<String>,
    /// The time of the next progress line.
    due: Duration,
}

impl Screen {
    /// Returns the screen on standard output.
    pub(super) fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        Self { terminal, drawn: 0, events: VecDeque::new(), due: PLAIN }
    }

    /// Prints lines that stay. An earlier table stays above them.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn print(&mut self, text: &str) -> io::Result<()> {
        self.drawn = 0;
        writeln!(io::stdout(), "{text}")
    }

    /// Prints an event with the time since the start.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn event(&mut self, since: Duration, text: &str) -> io::Result<()> {
        let line = format!("{:7.1} s  {text}", since.as_secs_f64());
        if !self.terminal {
            return writeln!(io::stdout(), "{line}");
        }
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(line);
        Ok(())
    }

    /// Shows the present figures: at once in the table, or at an interval as a line.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn show(
        &mut self,
        since: Duration,
        tally: &Tally,
        reading: &Reading,
    ) -> io::Result<()> {
        if self.terminal {
            return self.draw(since, tally, reading);
        }
        if since < self.due {
            return Ok(());
        }
        self.due = since + PLAIN;
        let modems: Vec<String> =
            reading.modems.iter().map(|row| format!("{} {}", row.name, row.state)).collect();
        let text = format!("{}; {}", counts(tally, reading), modems.join(", "));
        self.event(since, &text)
    }

    fn draw(&mut self, since: Duration, tally: &Tally, reading: &Reading) -> io::Result<()> {
        let (columns, rows) = size();
        let mut lines =
            vec![String::new(), format!("{} s  {}", since.as_secs(), counts(tally, reading))];
        lines.extend(table(&reading.modems));
        lines.push(String::new());
        // A table taller than the terminal could not be redrawn.
        let room = rows.saturating_sub(lines.len() + 1);
        lines.extend(self.events.iter().skip(self.events.len().saturating_sub(room)).cloned());
        let mut out = String::new();
        if self.drawn > 0 {
            // Up to the start of the last table, and clear from there (ECMA-48 CUU, ED).
            out += &format!("\x1b[{}A\r\x1b[J", self.drawn);
        }
        for line in &lines {
            // The last column stays free: some terminals wrap when it is written.
            out += &fit(line, columns.saturating_sub(1));
            out.push('\n');
        }
        self.drawn = lines.len();
        let mut stdout = io::stdout();
        stdout.write_all(out.as_bytes())?;
        stdout.flush()
    }
}

fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            (usize::from(size.ws_col), usize::from(size.ws_row))
        }
        _ => USUAL,
    }
}

fn counts(tally: &Tally, reading: &Reading) -> String {
    format!(
        "published {}, acknowledged {}, received {}, duplicates {}, in the queue {}",
        tally.handed_in, reading.acknowledged, tally.received, tally.duplicates, reading.queued
    )
}

/// Returns the table of modems: a headline, then one line each, in columns as wide as needed.
fn table(modems: &[Row]) -> Vec<String> {
    let head = ["MODEM", "MODEL", "STATE", "SIGNAL", "SESSION", "PUBLISHED"].map(str::to_owned);
    let row = |row: &Row| {
        let known = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let Row { name, model, state, signal, session, acknowledged } = row;
        let [model, signal, session] = [model, signal, session].map(|text| known(text));
        [name.clone(), model, state.clone(), signal, session, acknowledged.to_string()]
    };
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(modems.iter().map(row)).collect();
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Returns the part of a line that fits. A modem's text may hold anything, so control characters
/// are replaced.
fn fit(text: &str, columns: usize) -> String {
    printable(text).chars().take(columns).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_what_is_not_known_is_a_dash() {
        let modems = [
            Row {
                name: "n".into(),
                model: "SIM7600".into(),
                state: "serving".into(),
                ..Row::default()
            },
            Row {
                name: "south".into(),
                state: "absent".into(),
                acknowledged: 12,
                ..Row::default()
            },
        ];
        assert_eq!(
            table(&modems),
            [
                "MODEM  MODEL    STATE    SIGNAL  SESSION  PUBLISHED",
                "n      SIM7600  serving  -       -        0",
                "south  -        absent   -       -        12",
            ]
        );
    }

    #[test]
    fn a_line_fits_and_holds_no_escapes() {
        assert_eq!(fit("a\x1b[2Jbc", 3), "a\u{fffd}[");
    }
}
