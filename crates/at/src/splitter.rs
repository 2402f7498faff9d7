//! Bytes into tokens: lines, prompts, text messages, and data cut by an announced length.

use std::time::Duration;

use crate::Framing;
use crate::text_message::{Form, characters};

/// Longest line that is kept. `AT&V` and `AT+COPS=?` print long lines; 8 KiB is several times theirs.
const MAX_LINE: usize = 8 * 1024;

/// The longest data that is kept. No manual at hand names more than 10,240 bytes (SIMCom V3.00 p.
/// 367), but a unit that announces more, and delivers it, has damaged nothing.
const MAX_DATA: usize = 64 * 1024;

/// The longest data that is counted down, so that its end is known; a number beyond this is not
/// believed to be a length.
const MAX_COUNTED: usize = 1024 * 1024;

/// The longest pause within announced data or a text message. A modem prints a piece without a
/// pause.
pub(crate) const DATA_PAUSE: Duration = Duration::from_secs(2);

/// The pause after which bytes no longer belong to the text before it. A text is printed without a
/// pause: at 9,600 baud there is a byte each millisecond, and a USB adapter holds bytes back for 16
/// ms.
pub(crate) const TEXT_PAUSE: Duration = Duration::from_millis(50);

/// The same within a text of known length, in which a pause means less.
const COUNTED_PAUSE: Duration = Duration::from_millis(250);

/// One token of the modem's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// A line, trimmed, never empty. Bytes that are not UTF-8 are replaced.
    Line(String),
    /// A line of a stored text message: always text, whatever it holds.
    Text(String),
    /// `>` at the beginning of a line, while one is awaited; `echoed` if the command's echo was
    /// before it with no LF between.
    Prompt { echoed: bool },
    /// An announcing line and its data.
    Data { line: String, data: Vec<u8> },
    /// A text message that was printed on arrival, and its text. If the text is not `measured`,
    /// more of the text may look like lines.
    Message { line: String, text: Vec<u8>, measured: bool },
    /// An announcing line whose data did not end correctly, or is too long to be kept. `counted` is
    /// true if later output is known to be outside of the data.
    Damaged { line: String, counted: bool },
    /// A line that grew past the bound; its rest is skipped.
    Overlong,
}

/// The engine's present expectation; it decides the meaning of `>` and of repeated data.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Expect<'a> {
    /// True if a prompt is awaited.
    pub prompt: bool,
    /// The command line in flight, whose echo may be before the prompt with no LF between.
    pub echo: Option<&'a str>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Line,
    Data(Data),
    Text(Text),
    /// After a text of unknown length: a line that follows at once belongs to the text. Anything
    /// else has CR LF before it (V.250 §5.7.1).
    Rest {
        is_stored: bool,
    },
    /// The echo of prompt data: `matched` bytes of `data` came back so far.
    DataEcho {
        data: Vec<u8>,
        matched: usize,
    },
    /// Skipping to the next LF.
    Skip,
}

/// Announced data on its way.
#[derive(Debug)]
struct Data {
    line: String,
    data: Vec<u8>,
    /// The number of bytes due.
    left: usize,
    /// True if the data is in quotation marks.
    is_quoted: bool,
    /// True if the data is too long to be kept, or of unknown length: it is counted down and
    /// dropped.
    is_dropped: bool,
    /// True if the length is known.
    is_counted: bool,
    /// The first byte of its end, once that has arrived.
    ending: Option<u8>,
}

/// The text of a message on its way.
#[derive(Debug)]
struct Text {
    line: String,
    form: Form,
    text: Vec<u8>,
    /// The start of the line of text that is on its way, and the characters before that.
    begins: usize,
    characters: usize,
}

/// The splitter. Lines are fed byte by byte, so the end of a read cannot matter.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    framing: Framing,
    state: State,
    line: Vec<u8>,
    /// Bytes taken for an echo or the end of data that turned out otherwise; they precede all
    /// further input.
    replay: Vec<u8>,
    /// The number of texts and announced data that have begun.
    begun: u64,
}

impl Splitter {
    pub(crate) fn set_framing(&mut self, framing: Framing) {
        self.framing = framing;
    }

    pub(crate) fn framing(&self) -> &Framing {
        &self.framing
    }

    /// Returns the longest pause here, if data or text arrives, and its number, which separates it from
    /// the next.
    pub(crate) fn pause(&self) -> Option<(Duration, u64)> {
        let pause = match &self.state {
            State::Data(_) => DATA_PAUSE,
            State::Text(text) if text.begins == 0 => DATA_PAUSE,
            State::Text(text) if text.is_counted() => COUNTED_PAUSE,
            State::Text(_) | State::Rest { .. } => TEXT_PAUSE,
            State::Line | State::DataEcho { .. } | State::Skip => return None,
        };
        Some((pause, self.begun))
    }

    /// Gives up overdue data or text.
    pub(crate) fn abandon(&mut self) -> Option<Token> {
        self.pause()?;
        match std::mem::take(&mut self.state) {
            State::Data(Data { line, .. }) => Some(Token::Damaged { line, counted: true }),
            State::Text(mut text) => Some(text.end()),
            _ => None,
        }
    }

    /// Expects an echo of `data`, which was just sent to a modem that echoes: the echo is not an
    /// answer.
    pub(crate) fn expect_data_echo(&mut self, data: &[u8]) {
        if matches!(self.state, State::Line) && !data.is_empty() {
            self.state = State::DataEcho { data: data.to_vec(), matched: 0 };
        }
    }

    /// Takes bytes from the front of `input` until a token is whole, or the input is used up.
    pub(crate) fn next(&mut self, input: &mut &[u8], expect: Expect<'_>) -> Option<Token> {
        loop {
            if !self.replay.is_empty() {
                let replayed = std::mem::take(&mut self.replay);
                let mut rest = replayed.as_slice();
                let token = self.from(&mut rest, expect);
                self.replay.extend_from_slice(rest);
                if token.is_some() {
                    return token;
                }
                continue;
            }
            let token = self.from(input, expect);
            if token.is_some() || (self.replay.is_empty() && input.is_empty()) {
                return token;
            }
        }
    }

    fn from(&mut self, input: &mut &[u8], expect: Expect<'_>) -> Option<Token> {
        while let Some((&byte, rest)) = input.split_first() {
            if let State::Data(data) = &mut self.state
                && data.left > 0
            {
                data.take(input);
                continue;
            }
            *input = rest;
            if let Some(token) = self.byte(byte, expect) {
                return Some(token);
            }
            if !self.replay.is_empty() {
                return None;
            }
        }
        None
    }

    fn byte(&mut self, byte: u8, expect: Expect<'_>) -> Option<Token> {
        match &mut self.state {
            State::DataEcho { data, matched } => {
                match data.get(*matched) {
                    Some(&next) if next == byte => *matched += 1,
                    // Bytes between the prompt and the echo: `> data`, or a new line.
                    _ if *matched == 0 && matches!(byte, b' ' | b'\r' | b'\n') => {}
                    _ => {
                        self.replay = data.get(..*matched).unwrap_or_default().to_vec();
                        self.replay.push(byte);
                        self.state = State::Line;
                        return None;
                    }
                }
                if *matched == data.len() {
                    self.state = State::Line;
                }
                None
            }
            State::Skip => {
                if byte == b'\n' {
                    self.state = State::Line;
                }
                None
            }
            State::Data(_) => self.end_byte(byte),
            State::Text(text) => {
                if !text.takes(byte) {
                    return None;
                }
                let token = text.end();
                let is_stored = text.form.is_stored;
                // An empty text is also the empty line before the next output.
                let is_over = text.form.is_one_line || text.characters == 0;
                self.state = if is_over { State::Line } else { State::Rest { is_stored } };
                Some(token)
            }
            State::Rest { is_stored } => {
                let is_stored = *is_stored;
                self.rest_byte(byte, is_stored, expect)
            }
            State::Line => self.line_byte(byte, expect),
        }
    }

    fn line_byte(&mut self, byte: u8, expect: Expect<'_>) -> Option<Token> {
        if byte == b'>' && expect.prompt && self.at_line_start(expect.echo) {
            let echoed = !self.line.trim_ascii().is_empty();
            self.line.clear();
            return Some(Token::Prompt { echoed });
        }
        if let Some(length) = self.quoted_length() {
            match byte {
                b'"' => {
                    let line = String::from_utf8_lossy(self.line.trim_ascii());
                    let line = line.trim_end_matches(',').to_owned();
                    self.line.clear();
                    self.begin_data(line, length, true);
                    return None;
                }
                b'\r' | b'\n' | b' ' => return None,
                // No data after all: the line is complete.
                _ => {
                    let line =
                        String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
                    self.line.push(byte);
                    return Some(Token::Line(line));
                }
            }
        }
        if byte != b'\n' {
            return self.push(byte);
        }
        let line = self.take_line();
        if line.is_empty() {
            return None;
        }
        if let Some(announced) = self.framing.announced.iter().find(|a| line.starts_with(a.prefix))
        {
            let length = announced.length(&line);
            if length == Some(0) {
                return Some(Token::Data { line, data: Vec::new() });
            }
            self.begin_data(line, length, false);
            return None;
        }
        self.whole_line(line)
    }

    /// Takes a line that announces no data.
    fn whole_line(&mut self, line: String) -> Option<Token> {
        let Some(form) = Form::of(&line) else {
            if self.framing.is_unmeasured(&line) {
                self.begun += 1;
                self.state = State::Rest { is_stored: false };
            }
            return Some(Token::Line(line));
        };
        let header = form.is_stored.then(|| Token::Line(line.clone()));
        self.begun += 1;
        self.state = State::Text(Text { line, form, text: Vec::new(), begins: 0, characters: 0 });
        header
    }

    /// Takes a byte at which the text of a message may go on.
    fn rest_byte(&mut self, byte: u8, is_stored: bool, expect: Expect<'_>) -> Option<Token> {
        if self.line.is_empty() && matches!(byte, b'\r' | b'\n') {
            self.state = State::Line;
            return self.line_byte(byte, expect);
        }
        if byte != b'\n' {
            return self.push(byte);
        }
        // An empty line separates an echo from the answer, and its CR ends the echo.
        let is_over = self.line.ends_with(b"\r\r");
        let line = self.take_line();
        let is_echo = expect.echo == Some(line.as_str());
        if (is_over && is_echo) || (is_stored && Form::of(&line).is_some_and(|form| form.is_stored))
        {
            self.state = State::Line;
            return self.whole_line(line);
        }
        is_stored.then_some(Token::Text(line))
    }

    fn push(&mut self, byte: u8) -> Option<Token> {
        self.line.push(byte);
        if self.line.len() <= MAX_LINE {
            return None;
        }
        self.line.clear();
        self.state = State::Skip;
        Some(Token::Overlong)
    }

    fn take_line(&mut self) -> String {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        // Some units print NULs while they boot.
        line.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned()
    }

    /// Returns the length of the quoted data that begins next, if any.
    fn quoted_length(&self) -> Option<Option<usize>> {
        let line = self.line.trim_ascii_start();
        self.framing.quoted.iter().find_map(|quoted| quoted.length(line))
    }

    /// Begins data. If its length is unknown or not believable, all bytes are skipped until the
    /// modem pauses.
    fn begin_data(&mut self, line: String, length: Option<usize>, is_quoted: bool) {
        let counted = length.filter(|length| *length <= MAX_COUNTED);
        let left = counted.unwrap_or(MAX_DATA);
        self.begun += 1;
        self.state = State::Data(Data {
            line,
            data: Vec::new(),
            left,
            is_quoted,
            is_dropped: counted.is_none_or(|length| length > MAX_DATA),
            is_counted: counted.is_some(),
            ending: None,
        });
    }

    /// Takes a byte at the end of announced data, which must be CR LF, or a quotation mark and a
    /// line end. Any other bytes may belong to the next line.
    fn end_byte(&mut self, byte: u8) -> Option<Token> {
        let State::Data(data) = &mut self.state else { return None };
        let fits = match (data.is_quoted, data.ending) {
            (false, None) => byte == b'\r',
            (false, Some(_)) => byte == b'\n',
            (true, None) => byte == b'"',
            (true, Some(_)) => matches!(byte, b'\r' | b'\n'),
        };
        let first = data.ending.replace(byte);
        if fits && first.is_none() {
            return None;
        }
        let is_whole = fits && data.is_counted;
        let (line, data, is_dropped) =
            (std::mem::take(&mut data.line), std::mem::take(&mut data.data), data.is_dropped);
        self.state = State::Line;
        if is_whole && !is_dropped {
            return Some(Token::Data { line, data });
        }
        if !is_whole {
            self.replay.extend(first);
            self.replay.push(byte);
        }
        Some(Token::Damaged { line, counted: is_whole })
    }

    /// Reports whether the next byte is the first of a line. The echo of a command ends with CR
    /// alone, so a line that holds just that echo is over.
    fn at_line_start(&self, echo: Option<&str>) -> bool {
        let text = self.line.trim_ascii();
        text.is_empty()
            || (self.line.ends_with(b"\r") && echo.is_some_and(|echo| echo.as_bytes() == text))
    }
}

impl Data {
    /// Takes the bytes that are due and have arrived.
    fn take(&mut self, input: &mut &[u8]) {
        let (now, later) = input.split_at(self.left.min(input.len()));
        if !self.is_dropped {
            self.data.extend_from_slice(now);
        }
        self.left -= now.len();
        *input = later;
    }
}

impl Text {
    /// Reports whether more text is due by the length that the line named.
    fn is_counted(&self) -> bool {
        self.characters < self.form.length
    }

    /// Takes a byte and returns whether it ends the text. An empty line is a text too.
    fn takes(&mut self, byte: u8) -> bool {
        if self.text.len() >= MAX_DATA && byte != b'\n' {
            return false;
        }
        self.text.push(byte);
        if byte != b'\n' {
            return false;
        }
        let line = self.text.get(self.begins..).unwrap_or_default();
        let text = self.characters + characters(without_end(line));
        self.characters += characters(line);
        self.begins = self.text.len();
        let is_over =
            self.form.is_one_line || text >= self.form.length || self.text.len() >= MAX_DATA;
        if is_over {
            self.characters = text;
        }
        is_over
    }

    fn end(&mut self) -> Token {
        let measured = self.form.is_whole(self.characters);
        let (line, text) = (std::mem::take(&mut self.line), std::mem::take(&mut self.text));
        let text = without_end(&text);
        if self.form.is_stored {
            Token::Text(String::from_utf8_lossy(text).into_owned())
        } else {
            Token::Message { line, text: text.to_vec(), measured }
        }
    }
}

/// Returns a text without the end of its last line.
fn without_end(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}
