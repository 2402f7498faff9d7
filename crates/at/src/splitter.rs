//! Bytes into tokens: lines, prompts, and data cut by an announced length.

use crate::Framing;

/// Longest line that is kept. `AT&V` and `AT+COPS=?` print long lines; 8 KiB is several times theirs.
const MAX_LINE: usize = 8 * 1024;

/// One token of the modem's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// A line, trimmed, never empty. Bytes that are no UTF-8 are replaced.
    Line(String),
    /// `>` at the beginning of a line, while one is awaited; `echoed` where the echo of the command
    /// stood before it with no LF between.
    Prompt { echoed: bool },
    /// An announcing line and its data.
    Data { line: String, data: Vec<u8> },
    /// A line that grew past the bound, or announced more than is believed; its rest is skipped.
    Overlong,
}

/// What the engine expects just now; it decides what `>` and repeated data mean.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Expect<'a> {
    /// A prompt is awaited.
    pub prompt: bool,
    /// The command line in flight, whose echo may stand before the prompt with no LF between.
    pub echo: Option<&'a str>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Line,
    /// Collecting `left` more bytes for `line`; where they are `quoted`, the last is the closing mark.
    Data { line: String, data: Vec<u8>, left: usize, quoted: bool },
    /// The echo of prompt data: `matched` bytes of `data` came back so far.
    DataEcho { data: Vec<u8>, matched: usize },
    /// Skipping to the next LF.
    Skip,
}

/// The splitter. It is fed byte by byte where lines are concerned, so where a read ends cannot matter.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    framing: Framing,
    state: State,
    line: Vec<u8>,
    /// Bytes taken for an echo that turned out to be none; they come before all further input.
    replay: Vec<u8>,
}

impl Splitter {
    pub(crate) fn set_framing(&mut self, framing: Framing) {
        self.framing = framing;
    }

    pub(crate) fn framing(&self) -> &Framing {
        &self.framing
    }

    /// Whether announced data is awaited.
    pub(crate) fn in_data(&self) -> bool {
        matches!(self.state, State::Data { .. })
    }

    /// Gives up announced data that stays out.
    pub(crate) fn abandon_data(&mut self) {
        if self.in_data() {
            self.state = State::Line;
        }
    }

    /// The modem echoes, and `data` was just sent: if it comes back it is no answer.
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
                // A second mismatch cannot happen while replaying: the state is `Line` by then.
                self.replay = rest.to_vec();
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
            if let State::Data { line, data, left, quoted } = &mut self.state {
                let (now, later) = input.split_at((*left).min(input.len()));
                data.extend_from_slice(now);
                *left -= now.len();
                *input = later;
                if *left == 0 {
                    if *quoted {
                        data.pop();
                    }
                    let token =
                        Token::Data { line: std::mem::take(line), data: std::mem::take(data) };
                    self.state = State::Line;
                    return Some(token);
                }
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
                    // What stands between the prompt and the echo: `> data`, or a new line.
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
            State::Line | State::Data { .. } => self.line_byte(byte, expect),
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
                b'"' => return self.begin_quoted(length),
                b'\r' | b'\n' | b' ' => return None,
                // No data after all: the line stands for itself.
                _ => {
                    let line =
                        String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
                    self.line.push(byte);
                    return Some(Token::Line(line));
                }
            }
        }
        if byte != b'\n' {
            self.line.push(byte);
            if self.line.len() > MAX_LINE {
                self.line.clear();
                self.state = State::Skip;
                return Some(Token::Overlong);
            }
            return None;
        }
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        // Some units print NULs while they boot.
        let line = line.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned();
        if line.is_empty() {
            return None;
        }
        let announced = self.framing.announced.iter().find(|a| line.starts_with(a.prefix));
        match announced.map(|a| a.length(&line)) {
            None => Some(Token::Line(line)),
            Some(Some(0)) => Some(Token::Data { line, data: Vec::new() }),
            Some(Some(left)) => {
                let data = Vec::with_capacity(left);
                self.state = State::Data { line, data, left, quoted: false };
                None
            }
            Some(None) => Some(Token::Overlong),
        }
    }

    /// The length of the quoted data that is due next, where it is.
    fn quoted_length(&self) -> Option<Result<usize, ()>> {
        let line = self.line.trim_ascii_start();
        self.framing.quoted.iter().find_map(|quoted| quoted.length(line))
    }

    fn begin_quoted(&mut self, length: Result<usize, ()>) -> Option<Token> {
        let line = std::mem::take(&mut self.line);
        let Ok(length) = length else {
            self.state = State::Skip;
            return Some(Token::Overlong);
        };
        let line = String::from_utf8_lossy(line.trim_ascii());
        let line = line.trim_end_matches(',').to_owned();
        let data = Vec::with_capacity(length + 1);
        self.state = State::Data { line, data, left: length + 1, quoted: true };
        None
    }

    /// Whether the next byte is the first of a line. The echo of a command ends with CR alone, so a
    /// line that holds just that echo is over.
    fn at_line_start(&self, echo: Option<&str>) -> bool {
        let text = self.line.trim_ascii();
        text.is_empty()
            || (self.line.ends_with(b"\r") && echo.is_some_and(|echo| echo.as_bytes() == text))
    }
}
