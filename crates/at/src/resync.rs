//! Getting back in step: a question that only one answer fits.
//!
//! A bare `AT` proves nothing, since a late `OK` answers it as well. So the engine asks for the
//! IMEI it knows, or for the model until it knows the IMEI. It believes only that line followed by
//! its `OK`. Every question asked is counted. A modem that was merely slow answers all of them in
//! the end. The last of these answers must not meet the next command.

use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::exchange::{MAXIMUM, Prompt};
use crate::{Answer, Framing};

/// The first wait for an answer before the question is asked again.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest time between two questions. A busy modem answers each of them in the end.
const PROBE_PAUSE: Duration = Duration::from_secs(10);

/// The quiet time after a right answer, until questions still open count as lost.
const QUIET: Duration = Duration::from_secs(1);

/// The longest wait for a late prompt, for data which takes effect, after its exchange was given
/// up.
const LATE_PROMPT: Duration = Duration::from_secs(10);

/// The longest time after a right answer that chatter can put off the verdict that open questions
/// count as lost.
const MAX_QUIET_WAIT: Duration = Duration::from_secs(10);

/// The number of questions that are sent a second apart, and may be led by padding. Further ones
/// are for a busy modem.
const QUICK_PROBES: u32 = 6;

/// The rule by which a port that answers no question counts as mute.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// The time without a byte.
    silence: Duration,
    /// The longest time for which bytes that are not answers put it off.
    longest: Duration,
    /// True if questions keep their first pace, each led by padding: an earlier program may have
    /// left anything.
    is_new: bool,
}

impl Patience {
    /// For a port that was just opened, and may not be a modem's.
    pub(crate) const OPENED: Self =
        Self { silence: Duration::from_secs(6), longest: Duration::from_secs(30), is_new: true };

    /// For a modem that answered at this port before. Work of its own (a search for a network, a
    /// write to its flash) may keep it from answering; modems were seen to take 20 s for a query.
    pub(crate) const KNOWN: Self =
        Self { silence: MAXIMUM, longest: Duration::from_secs(15 * 60), is_new: false };
}

/// The byte that gives up a message at its prompt.
const ESCAPE: u8 = 0x1b;

/// An answer of the modem that cannot be confused with a late reply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Identity {
    /// Nothing is known yet: any bare line answers `AT+CGMM`.
    #[default]
    Unknown,
    /// `AT+CGMM` answers this line.
    Model(String),
    /// `AT+CGSN` answers this line.
    Imei(String),
}

impl Identity {
    /// Returns the question, without CR.
    pub(crate) fn question(&self) -> &'static str {
        match self {
            Self::Unknown | Self::Model(_) => "AT+CGMM",
            Self::Imei(_) => "AT+CGSN",
        }
    }

    /// Reports whether `line` is the answer to the question.
    fn fits(&self, line: &str, framing: &Framing) -> bool {
        match self {
            Self::Unknown => {
                let echo = line.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("AT"));
                let sentence = line.starts_with('$'); // NMEA
                !echo && !sentence && Answer::Bare.takes(line, framing.declares(line))
            }
            Self::Model(known) | Self::Imei(known) => line == known,
        }
    }
}

/// The next action after a timeout of the resynchronisation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask (again), after padding for the announced data.
    Ask,
    /// In step.
    Done,
    /// The port is mute.
    Mute,
}

/// One resynchronisation under way.
#[derive(Debug)]
pub(crate) struct Resync {
    identity: Identity,
    /// Answers of the exchange that failed are dropped here: they are late, and not URCs.
    late: Answer,
    /// CRs to send before each question: empty lines in command mode, padding in data mode.
    padding: usize,
    /// The data for a late prompt.
    held: Option<(Prompt, Zeroizing<Vec<u8>>)>,
    asked: u32,
    open: u32,
    /// The line that fits, waiting for its `OK`.
    line: Option<String>,
    /// A whole right answer.
    answer: Option<String>,
    patience: Patience,
    /// The time at which the port counts as mute, if no byte comes before.
    mute_at: Instant,
    /// The time at which the port counts as mute, whatever comes except an answer.
    mute_at_last: Instant,
    /// The longest wait for the answer to the next question.
    pause: Duration,
    /// The time at which a right answer counts, whatever else arrives.
    latest: Instant,
    pub(crate) deadline: Instant,
}

impl Resync {
    pub(crate) fn new(
        identity: Identity,
        late: Answer,
        padding: usize,
        patience: Patience,
        now: Instant,
    ) -> Self {
        Self {
            patience,
            mute_at: now + patience.silence,
            mute_at_last: now + patience.longest,
            pause: PROBE_TIMEOUT,
            identity,
            late,
            padding,
            held: None,
            asked: 0,
            open: 0,
            line: None,
            answer: None,
            latest: now,
            deadline: now,
        }
    }

    /// Keeps silent for a while: a prompt may be on its way. Anything written before it, including
    /// the question, would be taken for this data.
    pub(crate) fn hold(&mut self, data: Zeroizing<Vec<u8>>, prompt: Prompt, now: Instant) {
        self.deadline = now + LATE_PROMPT;
        self.held = Some((prompt, data));
    }

    /// Reports whether a prompt is still awaited, so that nothing may be written before it.
    pub(crate) fn is_silent(&self) -> bool {
        self.held.is_some()
    }

    /// Notes that the modem refused the given-up exchange late: it is in command mode, and no
    /// prompt is on its way. Returns whether a prompt was awaited; then the question is due at
    /// once.
    pub(crate) fn lets_go(&mut self) -> bool {
        let was_held = self.held.take().is_some();
        if was_held {
            self.padding = 0;
        }
        was_held
    }

    /// Returns the held data once, if a late prompt is of its kind. The question follows the
    /// modem's answer, or a second later.
    pub(crate) fn release(&mut self, prompt: Prompt, now: Instant) -> Option<Zeroizing<Vec<u8>>> {
        let (_, data) = self.held.take_if(|(awaited, _)| *awaited == prompt)?;
        self.padding = 0;
        self.deadline = now + PROBE_TIMEOUT;
        Some(data)
    }

    /// Returns the bytes that ask once more. The CR before the question ends any half line in the
    /// modem's buffer.
    pub(crate) fn ask(&mut self, framing: &Framing, now: Instant) -> Vec<u8> {
        let padding = match self.asked {
            0 => self.padding,
            // A port that was just opened may be in a data mode of an earlier program, with any
            // length.
            1..QUICK_PROBES if self.patience.is_new => self.padding.max(framing.max_prompt_data),
            1..QUICK_PROBES => self.padding,
            _ => 0,
        };
        self.held = None;
        self.asked += 1;
        self.open += 1;
        self.deadline = (now + self.pause).min(self.mute_at.max(now + PROBE_TIMEOUT));
        if !self.patience.is_new || self.asked >= QUICK_PROBES {
            self.pause = self.pause.saturating_mul(2).min(PROBE_PAUSE);
        }
        let mut bytes = vec![b'\r'; padding + 1];
        if padding > 0 {
            // ESC leaves a data mode that a control character ends (27.005 §3.5.1). In command mode
            // it does nothing (V.250 §5.2.2), and if bytes are counted it is one of them.
            bytes.insert(0, ESCAPE);
        }
        bytes.extend_from_slice(self.identity.question().as_bytes());
        bytes.push(b'\r');
        bytes
    }

    /// Returns the number of questions sent.
    pub(crate) fn asked(&self) -> u32 {
        self.asked
    }

    /// Returns the number of unanswered questions.
    pub(crate) fn open(&self) -> u32 {
        self.open
    }

    /// Expects answers to `open` questions of an earlier attempt too.
    pub(crate) fn expect_more(&mut self, open: u32) {
        self.open = self.open.saturating_add(open);
    }

    /// Takes a line that is not a final result code. Returns whether it belongs here; if not, it is
    /// a URC.
    pub(crate) fn take_line(&mut self, line: &str, framing: &Framing) -> bool {
        let declared = framing.declares(line);
        if line == self.identity.question() {
            return true;
        }
        if self.identity.fits(line, framing) {
            self.line = Some(line.to_owned());
            return true;
        }
        self.late.takes(line, declared) || Answer::Bare.takes(line, declared)
    }

    /// Takes a final result code. Returns whether the modem is in step now.
    pub(crate) fn take_final(&mut self, ok: bool, now: Instant) -> bool {
        let line = self.line.take();
        if !ok || line.is_none() {
            return false;
        }
        if self.answer.is_none() {
            self.latest = now + MAX_QUIET_WAIT;
        }
        self.answer = line;
        self.open = self.open.saturating_sub(1);
        self.deadline = (now + QUIET).min(self.latest);
        self.open == 0
    }

    /// Sets the time until which, by its manual, the modem may be busy with a command sent before
    /// the step was lost.
    pub(crate) fn busy_until(&mut self, until: Instant) {
        self.mute_at = self.mute_at.max(until);
        self.mute_at_last = self.mute_at_last.max(until);
    }

    /// Expects late answers of this kind, which are not URCs.
    pub(crate) fn expect_late(&mut self, late: Answer) {
        self.late = late;
    }

    /// Reports whether the line that fits was read, so that the next final result code is the question's.
    pub(crate) fn has_line(&self) -> bool {
        self.line.is_some()
    }

    /// Takes the line that fits the question, and no other.
    pub(crate) fn take_fitting(&mut self, line: &str, framing: &Framing) -> bool {
        let fits = self.identity.fits(line, framing);
        if fits {
            self.line = Some(line.to_owned());
        }
        fits
    }

    /// Notes a sign of life: any byte puts off the verdict that open questions are lost.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.mute_at = self.mute_at.max(self.mute_at_last.min(now + self.patience.silence));
        if self.answer.is_some() {
            self.deadline = (now + QUIET).min(self.latest);
        }
    }

    /// Reports whether a late prompt may cause one more question; a port that prints `>` for ever
    /// may not.
    pub(crate) fn may_ask(&self) -> bool {
        self.asked < QUICK_PROBES
    }

    /// Returns the next action after the deadline passed. While a result is `pending` the modem may
    /// be busy with it: that does not prove a mute port.
    pub(crate) fn overdue(&self, pending: bool, now: Instant) -> Step {
        if self.answer.is_some() {
            Step::Done
        } else if now < self.mute_at || pending {
            Step::Ask
        } else {
            Step::Mute
        }
    }

    /// Returns the line that answered the question.
    pub(crate) fn into_answer(self) -> Option<String> {
        self.answer
    }
}
