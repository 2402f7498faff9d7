//! A recording through another program that has the port, such as the agent: the lines of each
//! answer come as that program read them.

use std::time::Duration;

use tokio::time::Instant;

use super::{Heard, PATIENCE, Plan, Published, Recording, Redaction, dialect, firmware};
use crate::console::{Outcome, Wish};
use crate::profile::Profile;
use crate::script::Question;
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
            let text =
                std::str::from_utf8(data).ok().filter(|text| !text.contains(char::is_control));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    fn outcome(lines: &[&str], code: &str) -> Outcome {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        Outcome { lines, code: Some(code.to_owned()), ok: code == "OK", ..Outcome::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_of_another_program_become_lines() {
        let catalog = Catalog::new(&[]).unwrap();
        let plan = Plan { catalog: &catalog, like: None, broker: None, progress: &|_| () };
        let mut conversation = Conversation::new(&plan);
        let mut asked = 0;
        while let Some(question) = conversation.question(asked) {
            asked += 1;
            let sent = Instant::now();
            let outcome = match question.command {
                "AT+CGMM" => outcome(&["+CGMM: \"NEW 4G\""], "OK"),
                "AT+CGMR" => outcome(&["+CGMR: V1"], "OK"),
                "AT+CGSN" => outcome(&["861234567123456"], "OK"),
                "AT+CFUN?" => {
                    tokio::time::advance(Duration::from_secs(2)).await;
                    outcome(&[], "+CME ERROR: 3")
                }
                "AT+CPIN?" => {
                    Outcome { failure: Some("no answer".to_owned()), ..Outcome::default() }
                }
                _ => outcome(&[], "OK"),
            };
            if !conversation.answered(question, sent, outcome) {
                break;
            }
            if question.command == "AT" {
                conversation.unsolicited("+CREG: 1", None);
            }
        }
        let recording = conversation.recording().unwrap();
        assert_eq!(
            (recording.cgmm.as_str(), recording.firmware.as_deref()),
            ("NEW 4G", Some("V1"))
        );
        assert_eq!(recording.evidence(&catalog), None, "it has no entry");
        let expected = "# source: \n# models: new4g\n# recorded by modemfleet, script 1\n# through the agent: \
            without echo and blank lines, and with no MQTT session of its own\n> AT\n< OK\n! +CREG: 1\n> ATI\n\
            < OK\n> AT+CGMI\n< OK\n> AT+CGMM\n< +CGMM: \"NEW 4G\"\n< OK\n> AT+CGMR\n< +CGMR: V1\n< OK\n\
            > AT+CGSN\n< 861234567000000\n< OK\n> AT+CMEE?\n< OK\n> AT+CFUN?\n~ 2.0s\n< +CME ERROR: 3\n\
            > AT+CPIN?\n# the recording ends early: AT+CPIN? had no whole answer: no answer\n";
        assert_eq!(recording.transcript.to_string(), expected);
    }

    #[tokio::test]
    async fn without_a_model_there_is_no_recording() {
        let catalog = Catalog::new(&[]).unwrap();
        let plan = Plan { catalog: &catalog, like: None, broker: None, progress: &|_| () };
        assert!(Conversation::new(&plan).recording().is_none());
    }
}
