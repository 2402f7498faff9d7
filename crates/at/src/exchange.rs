//! One exchange: its command line, optional prompt data, end and time limits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

/// Longest command line that is sent, in bytes without its CR. SIMCom's `AT+CMQTTCONNECT` with
/// every argument at its limit needs about 800 (manual V3.00 ch. 16).
const MAX_LINE: usize = 1_600;

/// Bytes of an answer beyond which it counts as a flood, unless the exchange allows more.
const DEFAULT_MAX_ANSWER: usize = 64 * 1024;

/// The longest time for a command without a maximum of its own. SIMCom's manuals give 9 s for most;
/// in the field a status query took 20 s while the modem searched for a network.
pub const MAXIMUM: Duration = Duration::from_secs(30);

/// A final result code (V.250 §5.7, 27.007 §9.1): the line that ends a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinalCode {
    /// `OK`.
    Ok,
    /// `ERROR` and the call-related codes (`NO CARRIER`, `BUSY` …), as sent.
    Error(String),
    /// `+CME ERROR: …`; the text or number after the colon.
    Cme(String),
    /// `+CMS ERROR: …`; the text or number after the colon.
    Cms(String),
}

impl FinalCode {
    /// Parses a line as a final result code; `None` if it is not one.
    pub fn parse(line: &str) -> Option<Self> {
        match line {
            "OK" => return Some(Self::Ok),
            "ERROR"
            | "NO CARRIER"
            | "BUSY"
            | "NO ANSWER"
            | "NO DIALTONE"
            | "NO DIAL TONE"
            | "COMMAND NOT SUPPORT" => return Some(Self::Error(line.to_owned())),
            _ => {}
        }
        let after = |prefix: &str| line.strip_prefix(prefix).map(|rest| rest.trim().to_owned());
        after("+CME ERROR:").map(Self::Cme).or_else(|| after("+CMS ERROR:").map(Self::Cms))
    }
}

impl fmt::Display for FinalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("OK"),
            Self::Error(text) => f.write_str(text),
            Self::Cme(text) => write!(f, "+CME ERROR: {text}"),
            Self::Cms(text) => write!(f, "+CMS ERROR: {text}"),
        }
    }
}

/// The lines that belong to the answer of an exchange. All others are URCs.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Only the final result code.
    None,
    /// Lines that begin with this prefix, such as `+CSQ:`.
    Prefix(&'static str),
    /// Lines that pass this test, for answers that a URC of the same prefix may interrupt (`+CREG:
    /// 0,1` is the answer, `+CREG: 1` is not).
    Matching(fn(&str) -> bool),
    /// Any line that is not a declared URC and has no `+`, `*` or `^` prefix, such as the reply to
    /// `AT+CGMM`.
    Bare,
    /// Lines that begin with one of these names and a colon, and those of [`Bare`](Self::Bare): for
    /// commands typed by a person. A registration or SIM report in its unsolicited form is still a
    /// URC (27.007 §7.2, §8.3), so that its consumers receive it.
    Named(Arc<[String]>),
    /// Every line that is not a declared URC, for a port without other consumers.
    Any,
}

impl Answer {
    /// Reports whether lines without a name, such as an IMEI or a model, belong to the answer.
    pub(crate) fn takes_bare(&self) -> bool {
        matches!(self, Self::Bare | Self::Named(_) | Self::Any)
    }

    /// Reports whether `line` belongs to the answer. `declared` is true if the framing names it as
    /// a URC.
    pub(crate) fn takes(&self, line: &str, declared: bool) -> bool {
        match self {
            Self::None => false,
            Self::Prefix(prefix) => line.starts_with(prefix),
            Self::Matching(holds) => holds(line),
            Self::Bare => !declared && !line.starts_with(['+', '*', '^']),
            Self::Named(names) => {
                let after = |name: &String| line.strip_prefix(name.as_str());
                Self::Bare.takes(line, declared)
                    || !declared
                        && !is_report(line)
                        && names
                            .iter()
                            .filter_map(after)
                            .any(|rest| rest.trim_start().starts_with(':'))
            }
            Self::Any => !declared,
        }
    }
}

/// Reports whether a line has the form of an unsolicited report of registration or of the SIM's
/// loss. An answer has `<n>` before its `<stat>`, so its second argument is a short number. A
/// report has an area code there (in quotation marks, or of four digits and more) or nothing.
fn is_report(line: &str) -> bool {
    let Some((name, told)) = line.split_once(':') else { return false };
    let mut arguments = told.split(',').map(str::trim);
    let first = arguments.next().unwrap_or_default();
    match name.trim_end() {
        "+CREG" | "+CGREG" | "+CEREG" | "+C5GREG" => {
            let is_number = |text: &str, most: usize| {
                (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
            };
            is_number(first, 2) && !arguments.next().is_some_and(|stat| is_number(stat, 2))
        }
        "+CPIN" => matches!(first, "SIM REMOVED" | "NOT READY" | "NOT INSERTED"),
        _ => false,
    }
}

/// The line that ends an operation for which `OK` means acceptance only.
///
/// It may come before or after `OK`. SIMCom's manual shows both orders for one command, and units
/// in the field differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultLine {
    /// The beginning of the line, colon included: `+CMQTTPUB:`.
    pub prefix: &'static str,
    /// The required first argument, if the operation belongs to one client index.
    pub first: Option<u8>,
    /// The required second argument, if operations are numbered: a late result then matches no
    /// other operation.
    pub second: Option<u16>,
    /// The place (counted from 0) and text of an argument that means that the operation goes on,
    /// such as a packet that is sent again. Such a line is not a result.
    pub interim: Option<(usize, &'static str)>,
}

impl ResultLine {
    /// Matches any line; the default for the other fields.
    pub const BLANK: Self = Self { prefix: "", first: None, second: None, interim: None };

    /// Reports whether `line` is this result.
    pub(crate) fn matches(&self, line: &str) -> bool {
        let Some(rest) = line.strip_prefix(self.prefix) else { return false };
        let argument = |at: usize| rest.split(',').nth(at).map(str::trim);
        let number = |at: usize| argument(at).and_then(|text| text.parse::<u16>().ok());
        self.first.is_none_or(|first| number(0) == Some(first.into()))
            && self.second.is_none_or(|second| number(1) == Some(second))
            && self.interim.is_none_or(|(at, text)| argument(at) != Some(text))
    }
}

/// The reason why a command line was refused before it reached the modem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLine {
    /// The line is empty, or does not begin with `AT`.
    #[error("a command line begins with AT")]
    NotAt,
    /// A CR, LF or other control byte would end the command early and begin another.
    #[error("control byte 0x{byte:02x} at position {at}")]
    Control {
        /// The byte.
        byte: u8,
        /// Its position, counted from 0.
        at: usize,
    },
    /// A quotation mark would end the string early.
    #[error("quotation mark at position {at} of a quoted value")]
    Quote {
        /// Its position, counted from 0.
        at: usize,
    },
    /// The line is longer than any modem takes.
    #[error("{length} bytes, more than {MAX_LINE}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
}

/// Puts a value between quotation marks, or refuses it. A value that holds a quotation mark cannot
/// be sent: V.250 has no escape for it that the modems at hand honour.
///
/// # Errors
/// [`InvalidLine::Quote`] and [`InvalidLine::Control`].
pub fn quote(value: &str) -> Result<String, InvalidLine> {
    if let Some(at) = value.find('"') {
        return Err(InvalidLine::Quote { at });
    }
    refuse_control(value)?;
    Ok(format!("\"{value}\""))
}

fn refuse_control(text: &str) -> Result<(), InvalidLine> {
    match text.bytes().enumerate().find(|(_, byte)| byte.is_ascii_control()) {
        Some((at, byte)) => Err(InvalidLine::Control { byte, at }),
        None => Ok(()),
    }
}

/// The kind of prompt by which a modem asks for the data of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// `>` as the first byte of a line.
    Mark,
    /// The line [`CONNECT`].
    Connect,
}

/// The line that opens a data mode (V.250 §5.7.1). It neither ends nor answers a command.
pub(crate) const CONNECT: &str = "CONNECT";

/// One exchange with a modem, submitted as one message and never interrupted half-way.
#[derive(Clone)]
pub struct Exchange {
    line: Zeroizing<String>,
    shown: Option<String>,
    is_secret: bool,
    hides_answer: bool,
    pub(crate) answer: Answer,
    pub(crate) data: Option<Zeroizing<Vec<u8>>>,
    pub(crate) takes_effect: bool,
    pub(crate) prompt: Prompt,
    pub(crate) result: Option<(ResultLine, Duration)>,
    pub(crate) cut_by: Vec<ResultLine>,
    pub(crate) is_irrevocable: bool,
    pub(crate) reason_within: Option<Duration>,
    pub(crate) lane: Option<&'static str>,
    pub(crate) timeout: Duration,
    pub(crate) maximum: Duration,
    pub(crate) busy: Duration,
    undisturbed: Duration,
    pub(crate) max_answer: usize,
}

impl Exchange {
    /// Creates an exchange that ends with its final result code. After `timeout` without the code
    /// the modem is asked the question of [`Identity`](crate::Identity). The exchange goes on until
    /// the question is answered first, or until its [`at_most`](Self::at_most).
    ///
    /// # Errors
    /// [`InvalidLine`] if the line could not be sent as one command.
    pub fn new(line: impl Into<String>, timeout: Duration) -> Result<Self, InvalidLine> {
        let line = Zeroizing::new(line.into());
        if !line.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("AT")) {
            return Err(InvalidLine::NotAt);
        }
        if line.len() > MAX_LINE {
            return Err(InvalidLine::TooLong { length: line.len() });
        }
        refuse_control(&line)?;
        Ok(Self {
            line,
            shown: None,
            is_secret: false,
            hides_answer: false,
            answer: Answer::None,
            data: None,
            takes_effect: false,
            prompt: Prompt::Mark,
            result: None,
            cut_by: Vec::new(),
            is_irrevocable: false,
            reason_within: None,
            lane: None,
            timeout,
            maximum: timeout.max(MAXIMUM),
            busy: Duration::ZERO,
            undisturbed: Duration::ZERO,
            max_answer: DEFAULT_MAX_ANSWER,
        })
    }

    /// Sets the longest time until the final result code by the modem's manual, if it is long.
    /// Until then a modem that answers nothing is busy, not mute.
    #[must_use]
    pub fn at_most(mut self, maximum: Duration) -> Self {
        self.maximum = self.timeout.max(maximum);
        self
    }

    /// Sets the time for which the modem may be busy after its caller gives up: until then it does
    /// not count as mute.
    #[must_use]
    pub fn busy_for(mut self, busy: Duration) -> Self {
        self.busy = busy;
        self
    }

    /// Sets the least time to wait for the answer or the prompt before the modem is asked a
    /// question. After a late prompt the question would be taken for data, and its answer for a
    /// late bare line.
    #[must_use]
    pub fn undisturbed_for(mut self, undisturbed: Duration) -> Self {
        self.undisturbed = undisturbed;
        self
    }

    /// Sets the lines that belong to the answer.
    #[must_use]
    pub fn answer(mut self, answer: Answer) -> Self {
        self.answer = answer;
        self
    }

    /// Sets the data to send after the prompt `>`; the command line must announce its length.
    #[must_use]
    pub fn prompt(mut self, data: impl Into<Vec<u8>>) -> Self {
        self.data = Some(Zeroizing::new(data.into()));
        self
    }

    /// Marks the data as taking effect at its last byte, such as a message that is published then.
    /// After a late prompt this data is sent, not padding: padding would take effect too.
    #[must_use]
    pub fn takes_effect(mut self) -> Self {
        self.takes_effect = true;
        self
    }

    /// Makes the data wait for the line `CONNECT` (V.250 §5.7.1) instead of `>`, as that of an
    /// upload does.
    #[must_use]
    pub fn after_connect(mut self) -> Self {
        self.prompt = Prompt::Connect;
        self
    }

    /// Marks the data as secret: a key. A late echo of it is not reported as a URC. A command with
    /// [`shown_as`](Self::shown_as) is secret as well.
    #[must_use]
    pub fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    /// Sets the line that ends the operation, and the longest time for it after `OK`.
    #[must_use]
    pub fn result(mut self, line: ResultLine, timeout: Duration) -> Self {
        self.result = Some((line, timeout));
        self
    }

    /// Delays the report of a refusal by `grace`, or until the result line: some firmware sends the
    /// reason after `ERROR`.
    #[must_use]
    pub fn reason_within(mut self, grace: Duration) -> Self {
        self.reason_within = Some(grace);
        self
    }

    /// Sets URCs after which the result is due within seconds or never, such as the loss of the
    /// connection that the operation runs over.
    #[must_use]
    pub fn cut_by(mut self, lines: impl Into<Vec<ResultLine>>) -> Self {
        self.cut_by = lines.into();
        self
    }

    /// Marks the result as final, such as the acknowledgement of a message, which is then given up.
    /// A line that may be part of a text does not count as such a result.
    #[must_use]
    pub fn irrevocable(mut self) -> Self {
        self.is_irrevocable = true;
        self
    }

    /// Excludes this exchange while a result of the same lane is awaited.
    #[must_use]
    pub fn lane(mut self, lane: &'static str) -> Self {
        self.lane = Some(lane);
        self
    }

    /// Sets the text that logs show instead of the line, for commands that carry a secret. Logs do
    /// not show its answer either.
    #[must_use]
    pub fn shown_as(mut self, shown: impl Into<String>) -> Self {
        self.shown = Some(shown.into());
        self.is_secret = true;
        self.secret_answer()
    }

    /// Marks the answer as secret, such as the contents of a file: the caller sees it, and logs do
    /// not.
    #[must_use]
    pub fn secret_answer(mut self) -> Self {
        self.hides_answer = true;
        self
    }

    /// Allows a longer answer than 64 KiB (`AT+COPS=?`, a whole message store).
    #[must_use]
    pub fn max_answer(mut self, bytes: usize) -> Self {
        self.max_answer = bytes;
        self
    }

    /// Returns the longest duration by its own times: until the prompt, the final result code and
    /// the result line.
    pub fn longest(&self) -> Duration {
        let code = if self.may_be_late() { self.maximum } else { self.patience() };
        let prompt = if self.has_prompt() { self.patience() } else { Duration::ZERO };
        let result = self.result.map_or(Duration::ZERO, |(_, timeout)| timeout);
        code.saturating_add(prompt).saturating_add(result)
    }

    /// Returns the time to wait for the prompt, and then for the answer, before anything else is
    /// sent.
    pub(crate) fn patience(&self) -> Duration {
        self.timeout.max(self.undisturbed)
    }

    /// Reports whether its answer differs from that to the question of
    /// [`Identity`](crate::Identity), so that a late answer still counts.
    pub(crate) fn may_be_late(&self) -> bool {
        !self.has_prompt() && !self.answer.takes_bare()
    }

    /// Returns the command line as it is sent to the modem, without CR.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Returns the command line as logs may show it.
    pub fn shown(&self) -> &str {
        self.shown.as_deref().unwrap_or(&self.line)
    }

    /// Reports whether logs must hide the modem's answer.
    pub fn hides_answer(&self) -> bool {
        self.hides_answer
    }

    /// Returns the secrets that logs and URCs must not show, if any: the line, and the data below
    /// it.
    pub(crate) fn veil(&self) -> Option<Veil> {
        let data = self.data.as_ref().map_or(&[][..], |data| data.as_slice());
        self.is_secret.then(|| Veil(Zeroizing::new([self.line.as_bytes(), b"\n", data].concat())))
    }

    /// Reports whether the exchange sends data after a prompt.
    pub fn has_prompt(&self) -> bool {
        self.data.is_some()
    }

    /// Reports whether a line after `OK` ends the exchange.
    pub fn has_result(&self) -> bool {
        self.result.is_some()
    }
}

/// Secrets that must not be shown.
pub(crate) struct Veil(Zeroizing<Vec<u8>>);

impl Veil {
    /// Reports whether a line is a piece of a secret. Shorter pieces reveal nothing, and could be
    /// any URC.
    pub(crate) fn covers(&self, line: &str) -> bool {
        line.len() >= 4 && self.0.windows(line.len()).any(|piece| piece == line.as_bytes())
    }
}

impl fmt::Debug for Veil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Veil")
    }
}

impl fmt::Debug for Exchange {
    /// Shows neither secrets nor data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("line", &self.shown())
            .field("data_bytes", &self.data.as_ref().map(|data| data.len()))
            .finish_non_exhaustive()
    }
}

/// An exchange that ended with `OK`, and with its result line if it has one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reply {
    /// The lines of the answer, trimmed, without the final result code.
    pub lines: Vec<String>,
    /// The result line.
    pub result: Option<String>,
}

/// The step that an exchange was waiting for when its time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitingFor {
    /// The prompt `>`.
    Prompt,
    /// The final result code.
    FinalCode,
    /// The line that ends the operation; the command itself was accepted.
    Result,
}

impl fmt::Display for WaitingFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prompt => "its prompt",
            Self::FinalCode => "its final result code",
            Self::Result => "its result line",
        })
    }
}

/// The reason why an exchange failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The modem refused. `lines` and `result` hold its earlier output.
    #[error("the modem answered {code}")]
    Refused {
        /// The final result code.
        code: FinalCode,
        /// The lines of the answer before it.
        lines: Vec<String>,
        /// The result line, if it came early.
        result: Option<String>,
    },
    /// Nothing came in time. The engine resynchronises before the next command.
    #[error("no answer in time: the modem still owed {0}")]
    Timeout(WaitingFor),
    /// `OK` came instead of a prompt.
    #[error("the modem answered OK where a prompt was due")]
    NoPrompt,
    /// The modem booted meanwhile and has forgotten the command.
    #[error("the modem booted meanwhile")]
    Booted,
    /// The answer is longer than the exchange allows, or a line longer than any modem's.
    #[error("the answer grew past its bound")]
    Flood,
    /// The command could not be written whole.
    #[error("the port took only part of the command")]
    WriteFailed,
    /// The port is at its end: unplugged, or closed by us.
    #[error("the port closed")]
    Closed,
}
