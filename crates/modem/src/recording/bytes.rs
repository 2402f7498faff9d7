//! Lines of a transcript from the bytes of a port.

use std::time::Duration;

use at::{Framing, Urc};
use tokio::time::Instant;

use super::piece::Piece;
use crate::transcript::{Entry, Transcript};

/// The shortest pause that matters: shorter pauses are the line and its USB adapter.
const PAUSE: Duration = Duration::from_millis(500);

/// The number of entries in which the line of a URC is looked for. The mark follows its line at
/// once, so a line further back is another.
const NEAR: usize = 1_024;

/// Leaves a prompt, and begins nothing.
const ESCAPE: u8 = 0x1b;

/// Makes a transcript of the pieces of a recording. If the recording was cut, questions after the
/// first that stayed without an answer are left out: they are the port's way back into step.
pub(super) fn transcript(
    pieces: &[(Instant, Piece)],
    urcs: &[Urc],
    framing: &Framing,
    is_cut: bool,
) -> Transcript {
    let mut reader = Reader::new(framing);
    let mut urcs = urcs.iter();
    for (at, piece) in pieces {
        match piece {
            Piece::Sent(bytes) => reader.sent(*at, bytes),
            Piece::Received(bytes) => reader.received(*at, bytes),
            Piece::Urc => {
                if let Some(urc) = urcs.next() {
                    reader.mark(urc);
                }
            }
            Piece::Note(note) => {
                reader.flush();
                reader.transcript.notes.push((reader.transcript.entries.len(), note.clone()));
            }
        }
    }
    reader.flush();
    reader.rest();
    let mut transcript = reader.transcript;
    if is_cut {
        let entries = &mut transcript.entries;
        let tail = entries.iter().rev().take_while(|entry| matches!(entry, Entry::Sent(_)));
        entries.truncate(entries.len().saturating_sub(tail.count().saturating_sub(1)));
        let most = entries.len();
        transcript.notes.iter_mut().for_each(|(at, _)| *at = most.min(*at));
    }
    transcript
}

struct Reader<'a> {
    framing: &'a Framing,
    transcript: Transcript,
    /// Bytes that were sent and not answered.
    sent: Vec<u8>,
    sent_at: Option<Instant>,
    /// Received bytes of a line that has not ended.
    open: Vec<u8>,
    open_at: Option<Instant>,
    /// The length of the data that follows.
    data: Option<usize>,
    /// The time of the last entry.
    last: Option<Instant>,
}

impl<'a> Reader<'a> {
    fn new(framing: &'a Framing) -> Self {
        Self {
            framing,
            transcript: Transcript::default(),
            sent: Vec::new(),
            sent_at: None,
            open: Vec::new(),
            open_at: None,
            data: None,
            last: None,
        }
    }

    fn push(&mut self, at: Option<Instant>, entry: Entry) {
        if let (Some(at), Some(last)) = (at, self.last) {
            let pause = at.saturating_duration_since(last);
            if pause >= PAUSE && !matches!(entry, Entry::Sent(_)) {
                self.transcript.entries.push(Entry::Pause(pause));
            }
        }
        self.last = at.or(self.last);
        self.transcript.entries.push(entry);
    }

    fn sent(&mut self, at: Instant, bytes: &[u8]) {
        self.sent.extend_from_slice(bytes);
        self.sent_at.get_or_insert(at);
    }

    /// Takes the bytes that were sent: data if the modem had asked for them, or else commands.
    fn flush(&mut self) {
        let (bytes, at) = (std::mem::take(&mut self.sent), self.sent_at.take());
        if bytes.is_empty() {
            return;
        }
        if self.open.trim_ascii() == b">" {
            self.open.clear();
            let prompted = self.open_at.take();
            self.push(prompted, Entry::Prompt);
            let is_padding =
                bytes.iter().all(|byte| *byte == b'\r') || bytes.first() == Some(&ESCAPE);
            if !is_padding {
                self.last = at.or(self.last);
                self.transcript.entries.push(Entry::Data(bytes.len(), text(&bytes)));
                return;
            }
        }
        for command in bytes.split(|byte| *byte == b'\r') {
            let command: String =
                String::from_utf8_lossy(command).chars().filter(|c| !c.is_control()).collect();
            if !command.is_empty() {
                self.push(at, Entry::Sent(command));
            }
        }
    }

    fn received(&mut self, at: Instant, bytes: &[u8]) {
        self.flush();
        if self.open.trim_ascii().is_empty() {
            self.open_at = Some(at);
        }
        self.open.extend_from_slice(bytes);
        while self.take(at) {}
    }

    /// Takes the next line or the next data; false if it is not whole.
    fn take(&mut self, at: Instant) -> bool {
        if let Some(length) = self.data {
            if self.open.len() < length {
                return false;
            }
            let data: Vec<u8> = self.open.drain(..length).collect();
            self.data = None;
            self.transcript.entries.push(Entry::Data(length, text(&data)));
            return true;
        }
        let Some(end) = self.open.iter().position(|byte| *byte == b'\n') else { return false };
        let line: Vec<u8> = self.open.drain(..=end).collect();
        let since = self.open_at.replace(at);
        if let Some(line) = printable(&line) {
            self.data = self.framing.announced.iter().find_map(|each| each.length(&line));
            self.push(since, Entry::Answer(line));
        }
        true
    }

    /// Takes a line that did not end.
    fn rest(&mut self) {
        let (line, at) = (std::mem::take(&mut self.open), self.open_at.take());
        match printable(&line) {
            Some(line) if line.trim() == ">" => self.push(at, Entry::Prompt),
            Some(line) => self.push(at, Entry::Answer(line)),
            None => {}
        }
    }

    /// Marks the last line with this text as unsolicited, and a message that follows it.
    fn mark(&mut self, urc: &Urc) {
        let entries = &mut self.transcript.entries;
        let is_it = |entry: &Entry| match entry {
            Entry::Answer(line) if urc.data.is_some() => line.starts_with(&urc.line),
            Entry::Answer(line) => line.trim() == urc.line.trim(),
            _ => false,
        };
        let from = entries.len().saturating_sub(NEAR);
        let near = entries.get(from..).unwrap_or_default();
        let Some(place) = near.iter().rposition(is_it) else { return };
        let data = urc.data.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let mut lines = entries.iter_mut().skip(from + place);
        for (number, entry) in lines.by_ref().enumerate() {
            match entry {
                Entry::Answer(line) if number == 0 || data.lines().any(|text| text == line) => {
                    *entry = Entry::Unsolicited(std::mem::take(line));
                }
                _ => return,
            }
        }
    }
}

/// Returns data as text, if it is a piece of one line.
fn text(data: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(data).ok()?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// Returns a line without its end; `None` if it is blank. Blanks stay, and other control characters
/// become a mark that is visible.
fn printable(line: &[u8]) -> Option<String> {
    let line = String::from_utf8_lossy(line);
    let line = line.trim_matches(['\r', '\n', '\0']);
    let shown = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    (!line.trim().is_empty()).then(|| line.chars().map(shown).collect())
}

#[cfg(test)]
mod tests {
    use at::Announced;

    use super::*;

    fn written(pieces: &[(u64, Piece)], urcs: &[Urc], is_cut: bool) -> String {
        let start = Instant::now();
        let pieces: Vec<_> = pieces
            .iter()
            .map(|(ms, piece)| (start + Duration::from_millis(*ms), piece.clone()))
            .collect();
        let framing = Framing {
            announced: vec![Announced { prefix: "+RX:", length_at: 1 }],
            ..Framing::default()
        };
        let transcript = transcript(&pieces, urcs, &framing, is_cut);
        let lines: Vec<_> = transcript.entries.iter().map(ToString::to_string).collect();
        lines.join("\n")
    }

    fn sent(bytes: &[u8]) -> Piece {
        Piece::Sent(bytes.to_vec())
    }

    fn got(bytes: &[u8]) -> Piece {
        Piece::Received(bytes.to_vec())
    }

    fn urc(line: &str, data: Option<&[u8]>) -> Urc {
        Urc { line: line.to_owned(), data: data.map(<[u8]>::to_vec) }
    }

    #[test]
    fn echo_answer_and_pause_are_lines_whatever_the_pieces() {
        let pieces = [
            (0, sent(b"AT+C")),
            (0, sent(b"SQ\r")),
            (10, got(b"AT+CSQ\r\r\n+CSQ:  2")),
            (20, got(b"0,99\r\n\r\nOK\r")),
            (21, got(b"\n")),
            (22, sent(b"AT+COPS?\r")),
            (1_232, got(b"\r\n+CME ERROR: 30\r\n")),
        ];
        let expected =
            "> AT+CSQ\n< AT+CSQ\n< +CSQ:  20,99\n< OK\n> AT+COPS?\n~ 1.2s\n< +CME ERROR: 30";
        assert_eq!(written(&pieces, &[], false), expected);
    }

    #[test]
    fn data_behind_a_prompt_and_announced_data_are_taken_by_length() {
        let pieces = [
            (0, sent(b"AT+PUB=0,5\r")),
            (1, got(b"\r\n> ")),
            (2, sent(b"hello")),
            (3, got(b"\r\nOK\r\n\r\n+RX: 0,4\r\na\r\nb\r\n+CREG: 1\r\n")),
            (3, Piece::Urc),
            (3, Piece::Urc),
        ];
        let urcs = [urc("+RX: 0,4", Some(b"a\r\nb")), urc("+CREG: 1", None)];
        let expected = "> AT+PUB=0,5\n< >\n~ 5 hello\n< OK\n! +RX: 0,4\n~ 4\n! +CREG: 1";
        assert_eq!(written(&pieces, &urcs, false), expected);
    }

    #[test]
    fn a_line_is_unsolicited_by_the_mark_behind_it_and_not_by_its_text() {
        let pieces = [
            (0, sent(b"AT+CREG?\r")),
            (1, got(b"\r\n+CREG: 1\r\n\r\nOK\r\n")),
            (2, got(b"\r\n+CREG: 1\r\n")),
            (2, Piece::Urc),
            (3, got(b"\r\n+CMT: \"+49\"\r\nhi\r\n")),
            (3, Piece::Urc),
        ];
        let urcs = [urc("+CREG: 1", None), urc("+CMT: \"+49\"", Some(b"hi"))];
        let expected = "> AT+CREG?\n< +CREG: 1\n< OK\n! +CREG: 1\n! +CMT: \"+49\"\n! hi";
        assert_eq!(written(&pieces, &urcs, false), expected);
    }

    #[test]
    fn a_recording_that_was_cut_ends_with_the_question_that_stayed_open() {
        let pieces = [
            (0, sent(b"AT\r")),
            (1, got(b"\r\nOK\r\n")),
            (2, sent(b"AT+CSQ\r")),
            (15_000, sent(b"\x1b\r\rAT+CGMM\r")),
            (16_000, sent(b"\rAT+CGMM\r")),
        ];
        assert_eq!(written(&pieces, &[], true), "> AT\n< OK\n> AT+CSQ");
    }
}
