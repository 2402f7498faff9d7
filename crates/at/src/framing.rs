//! Bytes into tokens: lines, prompts, and data cut by an announced length.

use std::borrow::Cow;

/// Longest line that is kept. `AT&V` and `AT+COPS=?` print long lines; 8 KiB is several times theirs.
const MAX_LINE: usize = 8 * 1024;

/// A line that announces raw bytes after its CR LF, such as `+CMQTTRXPAYLOAD: 0,1500`.
///
/// The announced bytes are data whatever they hold. The CR LF that modems print after them is not
/// counted in the length, and is nothing but an empty line to the splitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// How the line begins, colon included.
    pub prefix: &'static str,
    /// Which argument, counted from 0, is the length in bytes.
    pub length_at: usize,
    /// The largest length that is believed.
    pub max: usize,
}

impl Announced {
    fn length(&self, line: &str) -> Option<usize> {
        let argument = line.strip_prefix(self.prefix)?.split(',').nth(self.length_at)?;
        argument.trim().parse().ok().filter(|length| *length <= self.max)
    }
}

/// A line whose last argument is a string of announced length in quotation marks, such as
/// `+QMTRECV: 0,1,"topic",5,"hello"`: the length stands between the string before it and the data.
///
/// Quotation marks inside are not escaped, so only the length tells where the data ends. Some firmware
/// begins a new line before the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quoted {
    /// How the line begins, colon included.
    pub prefix: &'static str,
    /// The largest length that is believed.
    pub max: usize,
}

impl Quoted {
    /// The length in a line that goes up to the comma before the data; `None` where it is not there yet.
    fn length(&self, line: &[u8]) -> Option<Result<usize, ()>> {
        let rest = line.strip_prefix(self.prefix.as_bytes())?.strip_suffix(b",")?;
        let digits = rest.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let (before, digits) = rest.split_at_checked(rest.len() - digits)?;
        if digits.is_empty() || !before.ends_with(b"\",") {
            return None;
        }
        let length = std::str::from_utf8(digits).ok()?.parse().map_err(|_| ());
        Some(length.and_then(|length| if length <= self.max { Ok(length) } else { Err(()) }))
    }
}

/// A line that holds a secret, such as the answer to `AT+CMQTTCONNECT?`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guarded {
    /// How the line begins, colon included.
    pub prefix: &'static str,
    /// From which argument on, counted from 0, nobody is shown it. Commas between quotation marks divide
    /// no arguments.
    pub from: usize,
}

impl Guarded {
    /// How much of the line may be shown, where it is one and goes on after that.
    fn open_part<'a>(&self, line: &'a str) -> Option<&'a str> {
        let rest = line.strip_prefix(self.prefix)?;
        let (mut commas, mut quoted) = (0, false);
        for (at, byte) in rest.bytes().enumerate() {
            if self.from == commas {
                return line.get(..self.prefix.len() + at);
            }
            match byte {
                b'"' => quoted = !quoted,
                b',' if !quoted => commas += 1,
                _ => {}
            }
        }
        None
    }
}

/// Lines that a modem prints while it updates its firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update {
    /// How they begin.
    pub prefix: &'static str,
    /// What the last of them holds behind that.
    pub end: &'static str,
}

/// What a vendor's lines mean to the splitter. Declared by profiles; those of all profiles together
/// hold until the model is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Framing {
    /// Lines that announce data.
    pub announced: Vec<Announced>,
    /// Lines that hold data of announced length in quotation marks.
    pub quoted: Vec<Quoted>,
    /// Beginnings of lines that are URCs although they have no `+` prefix, such as `SMS DONE`.
    pub urcs: Vec<&'static str>,
    /// Lines that a modem prints when it has booted, such as `RDY`: what was in flight is gone, and
    /// another modem may answer now. They count as URCs as well.
    pub boots: Vec<&'static str>,
    /// The longest data a prompt of this modem asks for, in bytes: what it takes to leave a data mode
    /// that an earlier program entered.
    pub max_prompt_data: usize,
    /// Lines that hold a secret.
    pub guarded: Vec<Guarded>,
    /// Lines of a firmware update.
    pub updates: Vec<Update>,
}

impl Framing {
    /// Both together.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        self.announced.extend(
            other
                .announced
                .iter()
                .filter(|a| !self.announced.contains(a))
                .copied()
                .collect::<Vec<_>>(),
        );
        self.quoted.extend(
            other.quoted.iter().filter(|q| !self.quoted.contains(q)).copied().collect::<Vec<_>>(),
        );
        self.urcs.extend(
            other.urcs.iter().filter(|u| !self.urcs.contains(u)).copied().collect::<Vec<_>>(),
        );
        self.boots.extend(
            other.boots.iter().filter(|b| !self.boots.contains(b)).copied().collect::<Vec<_>>(),
        );
        self.max_prompt_data = self.max_prompt_data.max(other.max_prompt_data);
        self.guarded.extend(
            other.guarded.iter().filter(|g| !self.guarded.contains(g)).copied().collect::<Vec<_>>(),
        );
        let updates = other.updates.iter().filter(|update| !self.updates.contains(update));
        self.updates.extend(updates.copied().collect::<Vec<_>>());
        self
    }

    /// Whether a line is of a firmware update; `true` for the last of them.
    pub fn tells_update(&self, line: &str) -> Option<bool> {
        let rest = |update: &Update| Some(line.strip_prefix(update.prefix)?.contains(update.end));
        self.updates.iter().find_map(rest)
    }

    /// A line as logs and people may be shown it: from the place on where a secret begins, `***`.
    pub fn shown<'a>(&self, line: &'a str) -> Cow<'a, str> {
        let open = self.guarded.iter().filter_map(|guarded| guarded.open_part(line));
        match open.min_by_key(|open| open.len()) {
            Some(open) => Cow::Owned(format!("{open}***")),
            None => Cow::Borrowed(line),
        }
    }

    /// Whether `line` is declared as a URC.
    pub(crate) fn declares(&self, line: &str) -> bool {
        self.urcs.iter().chain(&self.boots).any(|start| line.starts_with(start))
    }

    /// Whether `line` tells that the modem has booted.
    pub(crate) fn tells_boot(&self, line: &str) -> bool {
        self.boots.iter().any(|start| line.starts_with(start))
    }
}

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
