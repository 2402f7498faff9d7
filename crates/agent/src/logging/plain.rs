//! Standard error, without characters that could command a terminal or deceive its reader.
//!
//! A message quotes words of modems and brokers. Their formatter escapes fields, but not messages.

use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

use fleet::printable::{INSTEAD, is_unprintable};

/// Makes a writer for each line.
pub(super) struct Plain {
    /// True if the formatter colours its lines.
    pub(super) is_coloured: bool,
}

impl<'a> MakeWriter<'a> for Plain {
    type Writer = Line<io::Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        Line { out: io::stderr(), is_coloured: self.is_coloured }
    }
}

/// Writes the line of one event in one piece.
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

/// Returns the line of one event without unprintable characters. Its line end stays, and so do the
/// formatter's own styles.
pub(super) fn plain(text: &str, is_coloured: bool) -> String {
    let (text, end) = text.strip_suffix('\n').map_or((text, ""), |text| (text, "\n"));
    let mut line = String::with_capacity(text.len() + 1);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let style = if is_coloured { style(rest) } else { 0 };
        let (taken, after) = rest.split_at(style.max(c.len_utf8()));
        match c {
            _ if style > 0 => line.push_str(taken),
            '\n' | '\r' | '\t' => line.push(' '),
            c => line.push(if is_unprintable(c) { INSTEAD } else { c }),
        }
        rest = after;
    }
    line + end
}

/// The styles that the formatter writes (ECMA-48, SGR): reset, bold, dim, italic, and a colour for
/// each level. Styles that hide text or change its background are not among them.
const STYLES: [&str; 9] = [
    "\u{1b}[0m",
    "\u{1b}[1m",
    "\u{1b}[2m",
    "\u{1b}[3m",
    "\u{1b}[31m",
    "\u{1b}[32m",
    "\u{1b}[33m",
    "\u{1b}[34m",
    "\u{1b}[35m",
];

/// Returns the length of a formatter's style at the start of the text, else 0.
fn style(text: &str) -> usize {
    STYLES.iter().find(|style| text.starts_with(**style)).map_or(0, |style| style.len())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

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
            // Hidden text, a background, combined styles, and the short form of the reset.
            ("\u{1b}[8ma\u{1b}[41m\n", true, "\u{fffd}[8ma\u{fffd}[41m\n"),
            ("\u{1b}[1;8m\u{1b}[38;5;0m\n", true, "\u{fffd}[1;8m\u{fffd}[38;5;0m\n"),
            ("\u{1b}[m\u{1b}[311m\n", true, "\u{fffd}[m\u{fffd}[311m\n"),
            ("\u{1b}[", true, "\u{fffd}["),
            ("", true, ""),
        ] {
            assert_eq!(plain(text, is_coloured), want, "{text:?}");
        }
        let mut out = Vec::new();
        Line { out: &mut out, is_coloured: false }.write_all("ä\u{202e}\n".as_bytes()).unwrap();
        assert_eq!(out, "ä\u{fffd}\n".as_bytes());
    }

    /// A writer that keeps the formatter's lines.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn all_styles_of_the_formatter_stay() {
        let kept = Kept::default();
        let to = kept.clone();
        let text = tracing_subscriber::fmt::layer().with_ansi(true).with_writer(move || to.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(text), || {
            let _span = tracing::error_span!("modem", name = "north").entered();
            let error = io::Error::other(io::Error::other("the source"));
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "a");
            tracing::warn!(code = 1, "b");
            tracing::info!("c");
            tracing::debug!("d");
            tracing::trace!("e");
        });
        let bytes = kept.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.lines().count(), 5);
        for line in text.split_inclusive('\n') {
            assert_eq!(plain(line, true), line);
        }
        for style in STYLES {
            assert!(text.contains(style), "{style:?} is written nowhere");
        }
    }
}
