//! One exchange: the command line, its optional prompt data, what ends it, and how long it may take.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

/// Longest command line that is sent, in bytes without its CR. SIMCom's `AT+CMQTTCONNECT` with every
/// argument at its limit needs about 800 (manual V3.00 ch. 16).
const MAX_LINE: usize = 1_600;

/// What an exchange may collect before it counts as a flood, unless it asks for more.
const DEFAULT_MAX_ANSWER: usize = 64 * 1024;

/// The longest that a modem may take for a command whose maximum nothing names. SIMCom's manuals give 9 s for most;
/// in the field a status query took 20 s while the modem looked for a network.
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
    /// Reads a line as a final result code, or says that it is none.
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

/// Which lines belong to the answer of an exchange. All others are URCs.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Only the final result code.
    None,
    /// Lines that begin with this prefix, such as `+CSQ:`.
    Prefix(&'static str),
    /// Lines for which this holds; for answers that a URC of the same prefix may interrupt
    /// (`+CREG: 0,1` is the answer, `+CREG: 1` is not).
    Matching(fn(&str) -> bool),
    /// Any line that is no declared URC and has no `+`, `*` or `^` prefix, such as the reply to
    /// `AT+CGMM`.
    Bare,
    /// Lines that begin with one of these names and a colon, and those of [`Bare`](Self::Bare): for a
    /// person's own commands. A registration or SIM report in the form in which it comes unasked is a URC
    /// all the same (27.007 §7.2, §8.3), so that it is not taken away from those who wait for it.
    Named(Arc<[String]>),
    /// Every line that is no declared URC: where nobody else listens.
    Any,
}

impl Answer {
    /// Whether lines without a name belong to the answer, such as an IMEI or a model.
    pub(crate) fn takes_bare(&self) -> bool {
        matches!(self, Self::Bare | Self::Named(_) | Self::Any)
    }

    /// Whether `line` belongs to the answer; `declared` tells that the framing names it as a URC.
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

/// Whether a line is in the form in which registration and the SIM's loss are told unasked. An answer has
/// `<n>` before its `<stat>`: its second argument is a short number, where a report has an area code, in
/// quotation marks or of four digits and more, or nothing.
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
/// It may come before or after `OK`. SIMCom's manual shows both orders for one command, and units in
/// the field differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultLine {
    /// How the line begins, colon included: `+CMQTTPUB:`.
    pub prefix: &'static str,
    /// What its first argument must be, where the operation belongs to one client index.
    pub first: Option<u8>,
    /// What its second argument must be, where operations are numbered: a result that comes late is
    /// then no other operation's.
    pub second: Option<u16>,
    /// The place (counted from 0) and text of an argument that tells that the operation goes on, such
    /// as a packet that is sent again. Such a line is no result.
    pub interim: Option<(usize, &'static str)>,
}

impl ResultLine {
    /// Any line of no prefix at all: what the fields are where nothing is said of them.
    pub const BLANK: Self = Self { prefix: "", first: None, second: None, interim: None };

    /// Whether `line` is this result.
    pub(crate) fn matches(&self, line: &str) -> bool {
        let Some(rest) = line.strip_prefix(self.prefix) else { return false };
        let argument = |at: usize| rest.split(',').nth(at).map(str::trim);
        let number = |at: usize| argument(at).and_then(|text| text.parse::<u16>().ok());
        self.first.is_none_or(|first| number(0) == Some(first.into()))
            && self.second.is_none_or(|second| number(1) == Some(second))
            && self.interim.is_none_or(|(at, text)| argument(at) != Some(text))
    }
}

/// Why a command line was refused before it reached the modem.
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
    /// Longer than any modem takes.
    #[error("{length} bytes, more than {MAX_LINE}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
}

/// Puts a value between quotation marks, or refuses it: V.250 has no escape for a quotation mark that
/// the modems at hand honour, so a value that holds one cannot be sent.
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

/// With what a modem asks for the data of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// `>` as the first byte of a line.
    Mark,
    /// The line [`CONNECT`].
    Connect,
}

/// The line that opens a data mode (V.250 §5.7.1). It ends no command, and answers none.
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
    /// An exchange that ends with its final result code. After `timeout` without one the modem is asked whether it
    /// is there; the exchange goes on until that question is answered first, or until its
    /// [`at_most`](Self::at_most).
    ///
    /// # Errors
    /// [`InvalidLine`] where the line could not be sent as one command.
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

    /// How long the modem's manual lets the command take until its final result code, where that is long. Until
    /// then a modem that answers nothing is busy, and not mute.
    #[must_use]
    pub fn at_most(mut self, maximum: Duration) -> Self {
        self.maximum = self.timeout.max(maximum);
        self
    }

    /// How long the modem may be busy with it, though its caller gives it up before: so long it does not count as mute.
    #[must_use]
    pub fn busy_for(mut self, busy: Duration) -> Self {
        self.busy = busy;
        self
    }

    /// How long at least its answer or its prompt is waited for before the modem is asked whether it is there: the
    /// question would be taken for data after a late prompt, and its answer for a bare line that is late.
    #[must_use]
    pub fn undisturbed_for(mut self, undisturbed: Duration) -> Self {
        self.undisturbed = undisturbed;
        self
    }

    /// Which lines belong to the answer.
    #[must_use]
    pub fn answer(mut self, answer: Answer) -> Self {
        self.answer = answer;
        self
    }

    /// Data to send after the prompt `>`; the command line must announce its length.
    #[must_use]
    pub fn prompt(mut self, data: impl Into<Vec<u8>>) -> Self {
        self.data = Some(Zeroizing::new(data.into()));
        self
    }

    /// The data takes effect at its last byte, such as a message that is published then. Where the prompt comes
    /// too late, what is due there is this data and no padding, which would take effect too.
    #[must_use]
    pub fn takes_effect(mut self) -> Self {
        self.takes_effect = true;
        self
    }

    /// The data waits for the line `CONNECT` (V.250 §5.7.1) in the place of `>`, as that of an upload does.
    #[must_use]
    pub fn after_connect(mut self) -> Self {
        self.prompt = Prompt::Connect;
        self
    }

    /// The data is secret: a key. What the modem says of it, by an echo that comes late, is not told on.
    /// A command with [`shown_as`](Self::shown_as) is secret as well.
    #[must_use]
    pub fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    /// The line that ends the operation, and how long after `OK` it may take.
    #[must_use]
    pub fn result(mut self, line: ResultLine, timeout: Duration) -> Self {
        self.result = Some((line, timeout));
        self
    }

    /// A refusal that came without the result line is told so much later, or with that line: some firmware gives
    /// the reason behind `ERROR`.
    #[must_use]
    pub fn reason_within(mut self, grace: Duration) -> Self {
        self.reason_within = Some(grace);
        self
    }

    /// URCs after which the result is due within seconds or never, such as the loss of the connection
    /// that the operation runs over.
    #[must_use]
    pub fn cut_by(mut self, lines: impl Into<Vec<ResultLine>>) -> Self {
        self.cut_by = lines.into();
        self
    }

    /// What its result says cannot be taken back, such as that a message was acknowledged, which is then given up.
    /// A line that may be part of a text is not believed to be such a result.
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

    /// What logs show instead of the line, for commands that carry a secret. They show nothing of its
    /// answer either.
    #[must_use]
    pub fn shown_as(mut self, shown: impl Into<String>) -> Self {
        self.shown = Some(shown.into());
        self.is_secret = true;
        self.secret_answer()
    }

    /// The answer is secret, such as the contents of a file: whoever asked sees it, and no log does.
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

    /// The longest it may take from its start on, by its own times: until the prompt, the final result
    /// code, and the line that ends it.
    pub fn longest(&self) -> Duration {
        let code = if self.may_be_late() { self.maximum } else { self.patience() };
        let prompt = if self.has_prompt() { self.patience() } else { Duration::ZERO };
        let result = self.result.map_or(Duration::ZERO, |(_, timeout)| timeout);
        code.saturating_add(prompt).saturating_add(result)
    }

    /// How long its prompt, and then its answer, is waited for before anything else is sent.
    pub(crate) fn patience(&self) -> Duration {
        self.timeout.max(self.undisturbed)
    }

    /// Whether its answer can be told from that of the question who is there, so that a late one is still its own.
    pub(crate) fn may_be_late(&self) -> bool {
        !self.has_prompt() && !self.answer.takes_bare()
    }

    /// The command line as it goes to the modem, without CR.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The command line as logs may show it.
    pub fn shown(&self) -> &str {
        self.shown.as_deref().unwrap_or(&self.line)
    }

    /// Whether no log may show what the modem answers.
    pub fn hides_answer(&self) -> bool {
        self.hides_answer
    }

    /// What logs and URCs must not show, where there is something: the line, and the data below it.
    pub(crate) fn veil(&self) -> Option<Veil> {
        let data = self.data.as_ref().map_or(&[][..], |data| data.as_slice());
        self.is_secret.then(|| Veil(Zeroizing::new([self.line.as_bytes(), b"\n", data].concat())))
    }

    /// Whether the exchange sends data after a prompt.
    pub fn has_prompt(&self) -> bool {
        self.data.is_some()
    }

    /// Whether a line after `OK` ends it.
    pub fn has_result(&self) -> bool {
        self.result.is_some()
    }
}

/// What must not be shown.
pub(crate) struct Veil(Zeroizing<Vec<u8>>);

impl Veil {
    /// Whether a line is a piece of it. Shorter pieces tell nothing, and could be any URC.
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

/// An exchange that ended with `OK` (and with its result line, where it has one).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reply {
    /// The lines of the answer, trimmed, without the final result code.
    pub lines: Vec<String>,
    /// The result line.
    pub result: Option<String>,
}

/// What an exchange was waiting for when its time ran out.
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

/// How an exchange failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The modem said no. `lines` and `result` hold what it said before.
    #[error("the modem answered {code}")]
    Refused {
        /// The final result code.
        code: FinalCode,
        /// The lines of the answer before it.
        lines: Vec<String>,
        /// The result line, where it came early.
        result: Option<String>,
    },
    /// Nothing came in time. The engine resynchronises before the next command.
    #[error("no answer in time: the modem still owed {0}")]
    Timeout(WaitingFor),
    /// `OK` came where a prompt was due.
    #[error("the modem answered OK where a prompt was due")]
    NoPrompt,
    /// The modem booted meanwhile: it has forgotten the command.
    #[error("the modem booted meanwhile")]
    Booted,
    /// More than the exchange allows, or a line longer than any modem's.
    #[error("the answer grew past its bound")]
    Flood,
    /// The command could not be written whole.
    #[error("the port took only part of the command")]
    WriteFailed,
    /// The port is at its end: unplugged, or closed by us.
    #[error("the port closed")]
    Closed,
}
