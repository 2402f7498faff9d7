//! Getting back in step: a question that only one answer fits.
//!
//! A bare `AT` proves nothing, since a late `OK` answers it as well. So the engine asks for the IMEI
//! it knows (or, before it knows one, for the model), and believes only that line followed by its
//! `OK`. Every question asked is remembered: where the modem was merely slow, all of them are answered
//! in the end, and the last of these answers must not meet the next command.

use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::exchange::{MAXIMUM, Prompt};
use crate::{Answer, Framing};

/// How long a question may stay unanswered before it is asked again, at first.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest time between two questions. A modem that is busy answers each of them in the end.
const PROBE_PAUSE: Duration = Duration::from_secs(10);

/// After a right answer, how long the port must be quiet before questions still open count as lost.
const QUIET: Duration = Duration::from_secs(1);

/// How long a prompt may be late, after its exchange was given up, that asks for data which takes effect.
const LATE_PROMPT: Duration = Duration::from_secs(10);

/// After a right answer, how long chatter may put off the verdict that open questions count as lost.
const MAX_QUIET_WAIT: Duration = Duration::from_secs(10);

/// So many questions go out a second apart, and may be led by padding. Further ones are for a modem that is busy.
const QUICK_PROBES: u32 = 6;

/// When a port that answers no question counts as mute.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// After so long without a byte.
    silence: Duration,
    /// Bytes that are not answers put it off for so long at most.
    longest: Duration,
    /// Questions keep coming at their first pace, each led by padding: an earlier program may have left anything.
    is_new: bool,
}

impl Patience {
    /// A port that was just opened, and may be a port of something else.
    pub(crate) const OPENED: Self =
        Self { silence: Duration::from_secs(6), longest: Duration::from_secs(30), is_new: true };

    /// A modem that answered at this port before. What it does by itself (a search for a network, a write to its
    /// flash) may keep it from answering; modems were seen to take 20 s for a query.
    pub(crate) const KNOWN: Self =
        Self { silence: MAXIMUM, longest: Duration::from_secs(15 * 60), is_new: false };
}

/// Gives up a message at its prompt.
const ESCAPE: u8 = 0x1b;

/// What the modem answers that no late reply can be taken for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Identity {
    /// Nothing is known yet: `AT+CGMM`, and any bare line is its answer.
    #[default]
    Unknown,
    /// `AT+CGMM` answers this line.
    Model(String),
    /// `AT+CGSN` answers this line.
    Imei(String),
}

impl Identity {
    /// The question, without CR.
    pub(crate) fn question(&self) -> &'static str {
        match self {
            Self::Unknown | Self::Model(_) => "AT+CGMM",
            Self::Imei(_) => "AT+CGSN",
        }
    }

    /// Whether `line` is the answer to the question.
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

/// What a timeout of the resynchronisation asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask (again); first pad what the prompt announced.
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
    /// Answers of the exchange that failed are dropped here: they are late, and no URCs.
    late: Answer,
    /// CRs to send before each question: empty lines in command mode, padding in data mode.
    padding: usize,
    /// What a late prompt asks for.
    held: Option<(Prompt, Zeroizing<Vec<u8>>)>,
    asked: u32,
    open: u32,
    /// The line that fits, waiting for its `OK`.
    line: Option<String>,
    /// A whole right answer.
    answer: Option<String>,
    patience: Patience,
    /// When the port counts as mute, if no byte comes before.
    mute_at: Instant,
    /// When it counts as mute whatever is heard but an answer.
    mute_at_last: Instant,
    /// How long the next question may stay unanswered.
    pause: Duration,
    /// When a right answer counts whatever else is heard.
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

    /// Keeps silent for a while: a prompt may be on its way, and whatever is written before it, the question
    /// included, would be taken for this data.
    pub(crate) fn hold(&mut self, data: Zeroizing<Vec<u8>>, prompt: Prompt, now: Instant) {
        self.deadline = now + LATE_PROMPT;
        self.held = Some((prompt, data));
    }

    /// Whether a prompt is waited for still, so that nothing may be written before it.
    pub(crate) fn is_silent(&self) -> bool {
        self.held.is_some()
    }

    /// The modem refused, late, what was given up: it is in command mode, and no prompt is on its way. Tells
    /// whether one was waited for; then the question is due at once.
    pub(crate) fn lets_go(&mut self) -> bool {
        let was_held = self.held.take().is_some();
        if was_held {
            self.padding = 0;
        }
        was_held
    }

    /// A late prompt came: gives what is due where it is this one, once. The question comes after its answer, or a second.
    pub(crate) fn release(&mut self, prompt: Prompt, now: Instant) -> Option<Zeroizing<Vec<u8>>> {
        let (_, data) = self.held.take_if(|(awaited, _)| *awaited == prompt)?;
        self.padding = 0;
        self.deadline = now + PROBE_TIMEOUT;
        Some(data)
    }

    /// The bytes that ask once more. The CR before the question ends whatever half a line is left in
    /// the modem's buffer.
    pub(crate) fn ask(&mut self, framing: &Framing, now: Instant) -> Vec<u8> {
        let padding = match self.asked {
            0 => self.padding,
            // A port that was just opened may be in a data mode that an earlier program entered, with any length.
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
            // ESC leaves a data mode that a control character ends (27.005 §3.5.1). In command mode it
            // is nothing (V.250 §5.2.2), and where bytes are counted it is one of them.
            bytes.insert(0, ESCAPE);
        }
        bytes.extend_from_slice(self.identity.question().as_bytes());
        bytes.push(b'\r');
        bytes
    }

    /// How often the question was asked.
    pub(crate) fn asked(&self) -> u32 {
        self.asked
    }

    /// How many questions are not answered yet.
    pub(crate) fn open(&self) -> u32 {
        self.open
    }

    /// So many questions of an earlier attempt may be answered too.
    pub(crate) fn expect_more(&mut self, open: u32) {
        self.open = self.open.saturating_add(open);
    }

    /// Takes a line that is no final result code; tells whether it belongs here (else it is a URC).
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

    /// Takes a final result code; tells whether the modem is in step now.
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

    /// The modem may take until then, by its manual, for what it was given before the step was lost.
    pub(crate) fn busy_until(&mut self, until: Instant) {
        self.mute_at = self.mute_at.max(until);
        self.mute_at_last = self.mute_at_last.max(until);
    }

    /// Answers to this may still come, and are not URCs.
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

    /// Any byte is a sign of life, and puts off the verdict that open questions are lost.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.mute_at = self.mute_at.max(self.mute_at_last.min(now + self.patience.silence));
        if self.answer.is_some() {
            self.deadline = (now + QUIET).min(self.latest);
        }
    }

    /// Whether a late prompt may cause one more question; a port that prints `>` for ever may not.
    pub(crate) fn may_ask(&self) -> bool {
        self.asked < QUICK_PROBES
    }

    /// The deadline passed. While a result is `pending` the modem may be busy with it: that is no
    /// proof of a mute port.
    pub(crate) fn overdue(&self, pending: bool, now: Instant) -> Step {
        if self.answer.is_some() {
            Step::Done
        } else if now < self.mute_at || pending {
            Step::Ask
        } else {
            Step::Mute
        }
    }

    /// The line that answered the question.
    pub(crate) fn into_answer(self) -> Option<String> {
        self.answer
    }
}
