//! A recording through another program that has the port, such as the agent: the lines of each
//! answer come as that program read them.

use std::time::Duration;

use tokio::time::Instant;

use super::{Heard, PATIENCE, Plan, Published, Question, Recording, Redaction, dialect, firmware};
use crate::console::{Outcome, Wish};
use crate::profile::Profile;
use crate::transcript::{Entry, Transcript};

/// The shortest pause that matters. An answer through another program comes later than on a tty.
const PAUSE: Duration = Duration::from_secs(1);

/// The comment of such a recording.
const NOTE: &str =
    "through the agent: without echo and blank lines, and with no MQTT session of its own";

/// The answers so far.
pub struct Conversation<'a> {
    plan: &'a Plan<'a>,
    transcript: Transcript,
    cgmm: Option<String>,
    firmware: Option<String>,
    cut: Option<String>,
}

impl<'a> Conversation<'a> {
    /// Creates an empty conversation.
    pub fn new(plan: &'a Plan<'a>) -> Self {
        let transcript = Transcript { notes: vec![(0, NOTE.to_owned())], ..Transcript::default() };
        Self { plan, transcript, cgmm: None, firmware: None, cut: None }
    }

    /// Returns the commands that follow the first `asked`. The vendor's own are known once
    /// `AT+CGMM` is answered.
    pub fn question(&self, asked: usize) -> Option<&'static Question> {
        let profile = self.cgmm.as_deref().and_then(|cgmm| dialect(self.plan, cgmm).1);
        self.plan.catalog.script(profile.map(Profile::id)).nth(asked)
    }

    /// Returns a question as a command.
    pub fn wish(question: &Question) -> Wish {
        let line = question.command.to_owned().into();
        Wish { line, timeout: Some(PATIENCE), ..Wish::default() }
    }

    /// Takes an unsolicited line.
    pub fn unsolicited(&mut self, line: &str, data: Option<&[u8]>) {
        self.transcript.entries.push(Entry::Unsolicited(line.to_owned()));
        if let Some(data) = data {
            let text = std::str::from_utf8(data).ok().filter(|text| !text.contains(char::is_control));
            let text = text.filter(|text| !text.is_empty()).map(str::to_owned);
            self.transcript.entries.push(Entry::Data(data.len(), text));
        }
    }

    /// Takes the answer to a command that was sent at this time. False ends the conversation: the
    /// modem gave no whole answer.
    pub fn answered(&mut self, question: &Question, sent: Instant, outcome: Outcome) -> bool {
        if question.command == "AT+CGMR" {
            self.firmware = firmware(&outcome);
        }
        if question.command == "AT+CGMM" && outcome.ok {
            self.cgmm = outcome.lines.iter().find(|line| !line.is_empty()).map(|line| {
                line.strip_prefix("+CGMM:").unwrap_or(line).trim().trim_matches('"').to_owned()
            });
        }
        let entries = &mut self.transcript.entries;
        entries.push(Entry::Sent(question.command.to_owned()));
        let pause = sent.elapsed();
        if pause >= PAUSE {
            entries.push(Entry::Pause(pause));
        }
        let ends = outcome.code.into_iter().chain(outcome.result);
        entries.extend(outcome.lines.into_iter().chain(ends).map(Entry::Answer));
        if let Some(failure) = outcome.failure {
            self.cut = Some(format!("{} had no whole answer: {failure}", question.command));
        }
        self.cut.is_none()
    }

    /// Ends the conversation before its time.
    pub fn cut(&mut self, reason: String) {
        self.cut.get_or_insert(reason);
    }

    /// Returns the recording; `None` if the modem did not name its model.
    pub fn recording(self) -> Option<Recording> {
        let Self { plan, transcript, cgmm, firmware, cut } = self;
        let published = Published::NotAsked;
        let heard = Heard { cgmm: cgmm?, firmware, transcript, published, cut };
        Some(Recording::of(heard, plan, &Redaction::new(plan.catalog.commands())))
    }
}
