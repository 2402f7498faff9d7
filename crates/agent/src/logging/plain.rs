//! Standard error, without what could command a terminal or deceive its reader.
//!
//! A message quotes what a modem or a broker said. Fields are escaped by their formatter, messages are not.

use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

use crate::printable::{INSTEAD, is_unprintable};

/// Makes writers of one line each.
pub(super) struct Plain {
    /// Whether the formatter colours its lines.
    pub(super) is_coloured: bool,
}

impl<'a> MakeWriter<'a> for Plain {
    type Writer = Line<io::Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        Line { out: io::stderr(), is_coloured: self.is_coloured }
    }
}

/// Where the line of one event goes, in one piece.
pub(super) struct Line<W> {
    out: W,
    is_coloured: bool,
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        self.out.write_all(plain(&text, self.is_coloured).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// One event is one line: its end stays, and so do the formatter's own colours.
fn plain(text: &str, is_coloured: bool) -> String {
    let (text, end) = text.strip_suffix('\n').map_or((text, ""), |text| (text, "\n"));
    let mut line = String::with_capacity(text.len() + 1);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let colour = if is_coloured { colour(rest) } else { 0 };
        let (taken, after) = rest.split_at(colour.max(c.len_utf8()));
        match c {
            _ if colour > 0 => line.push_str(taken),
            '\n' | '\r' | '\t' => line.push(' '),
            c => line.push(if is_unprintable(c) { INSTEAD } else { c }),
        }
        rest = after;
    }
    line + end
}

/// The length of a colour (ECMA-48, SGR) that the text begins with, else 0.
fn colour(text: &str) -> usize {
    let Some(numbers) = text.strip_prefix("\u{1b}[") else { return 0 };
    let end = numbers.find(|c: char| !c.is_ascii_digit() && c != ';');
    end.filter(|end| numbers.get(*end..).is_some_and(|rest| rest.starts_with('m')))
        .map_or(0, |end| "\u{1b}[".len() + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_commands_no_terminal_and_is_one_line() {
        for (text, is_coloured, want) in [
            ("INFO a\n", false, "INFO a\n"),
            ("a\nERROR b\r\tc\n", false, "a ERROR b  c\n"),
            ("\u{1b}[2mINFO\u{1b}[0m a\n", true, "\u{1b}[2mINFO\u{1b}[0m a\n"),
            ("\u{1b}[2mINFO\n", false, "\u{fffd}[2mINFO\n"),
            ("\u{1b}[2J\u{1b}]0;x\u{7}\n", true, "\u{fffd}[2J\u{fffd}]0;x\u{fffd}\n"),
            ("a\u{202e}b\u{2066}c\u{200f}\u{85}\n", true, "a\u{fffd}b\u{fffd}c\u{fffd}\u{fffd}\n"),
            ("\u{1b}[", true, "\u{fffd}["),
            ("", true, ""),
        ] {
            assert_eq!(plain(text, is_coloured), want, "{text:?}");
        }
        let mut out = Vec::new();
        Line { out: &mut out, is_coloured: false }.write_all("ä\u{202e}\n".as_bytes()).unwrap();
        assert_eq!(out, "ä\u{fffd}\n".as_bytes());
    }
}
