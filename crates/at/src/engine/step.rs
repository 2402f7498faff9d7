//! Losing step with the modem, the lines in the meantime, and getting back in step.

use std::time::Instant;

use super::{Cause, Engine, Event, InFlight};
use crate::exchange::{CONNECT, Prompt};
use crate::resync::{Patience, Resync, Step};
use crate::{Answer, Exchange, Failure, FinalCode, Identity, WaitingFor};

impl Engine {
    pub(super) fn line_while_out_of_step(&mut self, line: String, now: Instant) {
        if line == CONNECT {
            return self.prompt(Prompt::Connect, false, now);
        }
        let code = self.final_code(&line);
        let Some(resync) = &mut self.resync else { return };
        let has_line = resync.has_line();
        let code = match (code, self.in_flight.is_some()) {
            // Answers come in order: this late one is the command's.
            (Some(code), true) if !has_line => return self.finish(code, now),
            (Some(code), true) if code == FinalCode::Ok => {
                // The question was answered first, so the command was lost.
                let late = Failure::Timeout(WaitingFor::FinalCode);
                self.fail_in_flight(late, Cause::Timeout, now);
                Some(code)
            }
            (code, _) => code,
        };
        let Some(resync) = &mut self.resync else { return };
        if let Some(code) = code {
            if resync.take_final(code == FinalCode::Ok, now) {
                self.in_step();
            } else if code != FinalCode::Ok && self.pending.is_empty() && resync.lets_go() {
                self.ask(now);
            }
        } else if !self.take_late_line(&line) && !self.take_question_line(&line) {
            self.urc(line);
        }
    }

    /// Takes a line of the answer to the command in flight, which is overdue.
    fn take_late_line(&mut self, line: &str) -> bool {
        let framing = self.splitter.framing();
        let (Some(in_flight), Some(resync)) = (&mut self.in_flight, &mut self.resync) else {
            return false;
        };
        if resync.take_fitting(line, framing) {
            return true;
        }
        if in_flight.exchange.result.is_some_and(|(result, _)| result.matches(line)) {
            in_flight.result = Some(line.to_owned());
            return true;
        }
        let takes = in_flight.exchange.answer.takes(line, framing.declares(line));
        // Lines beyond the bound are dropped: the answer is useless by then.
        if takes && in_flight.bytes <= in_flight.exchange.max_answer {
            in_flight.bytes += line.len();
            in_flight.lines.push(line.to_owned());
        }
        takes
    }

    fn take_question_line(&mut self, line: &str) -> bool {
        let framing = self.splitter.framing();
        self.resync.as_mut().is_some_and(|resync| resync.take_line(line, framing))
    }

    pub(super) fn resync_overdue(&mut self, now: Instant) {
        let pending = !self.pending.is_empty();
        match self.resync.as_ref().map(|resync| resync.overdue(pending, now)) {
            None => {}
            Some(Step::Ask) => self.ask(now),
            Some(Step::Done) => self.in_step(),
            Some(Step::Mute) => {
                // Keep listening, but ask no more: the owner decides about the port.
                self.close();
                self.events.push_back(Event::Mute);
            }
        }
    }

    /// Fails the exchange in flight, if any, and loses step either way.
    pub(super) fn fail_in_flight(&mut self, failure: Failure, cause: Cause, now: Instant) {
        if self.closed {
            return;
        }
        let in_flight = self.in_flight.take();
        if let Some(in_flight) = &in_flight {
            self.events.push_back(Event::Completed(in_flight.ticket, Err(failure)));
        }
        if let Some(resync) = &mut self.resync {
            // The question has been sent already.
            if let Some(in_flight) = in_flight {
                resync.expect_late(in_flight.exchange.answer);
                self.events.push_back(Event::Desync(cause));
            }
            return;
        }
        let Some(in_flight) = in_flight else {
            return self.lose_step(cause, Answer::None, 0, now);
        };
        let busy = in_flight.busy_until();
        let InFlight { exchange, prompted, .. } = in_flight;
        // Its late answer may look like the answer to the question, whatever the question was.
        let same = u32::from(exchange.answer.takes_bare());
        self.lose_step_in(exchange, prompted, cause, now);
        if let Some(resync) = &mut self.resync {
            resync.expect_more(same);
            resync.busy_until(busy);
        }
    }

    /// Returns the answer that only this modem gives: until its IMEI is known, the model it gave at
    /// this port.
    pub(super) fn known_identity(&self) -> Identity {
        match (&self.identity, &self.model) {
            (Identity::Unknown, Some(model)) => Identity::Model(model.clone()),
            (identity, _) => identity.clone(),
        }
    }

    /// Returns the time for which the modem is awaited while it answers no question.
    pub(super) fn patience(&self) -> Patience {
        if self.model.is_some() { Patience::KNOWN } else { Patience::OPENED }
    }

    /// Loses step in this exchange: its prompt may still come, or the modem may have part of its
    /// data.
    pub(super) fn lose_step_in(
        &mut self,
        exchange: Exchange,
        prompted: bool,
        cause: Cause,
        now: Instant,
    ) {
        let Exchange { answer, data, takes_effect, prompt, .. } = exchange;
        let padding = data.as_ref().map_or(0, |data| data.len());
        // A command that was written in part causes no prompt.
        let may_prompt = takes_effect && !prompted && cause != Cause::WriteFailed;
        match data.filter(|_| may_prompt) {
            None => self.lose_step(cause, answer, padding, now),
            Some(data) => {
                self.events.push_back(Event::Desync(cause));
                let patience = self.patience();
                let mut resync = Resync::new(self.known_identity(), answer, padding, patience, now);
                resync.hold(data, prompt, now);
                self.resync = Some(resync);
            }
        }
    }

    pub(super) fn lose_step(&mut self, cause: Cause, late: Answer, padding: usize, now: Instant) {
        self.events.push_back(Event::Desync(cause));
        let patience = self.patience();
        self.resync = Some(Resync::new(self.known_identity(), late, padding, patience, now));
        self.ask(now);
    }

    pub(super) fn ask(&mut self, now: Instant) {
        if let Some(resync) = &mut self.resync {
            self.transmit.push_back(resync.ask(self.splitter.framing(), now).into());
        }
    }

    pub(super) fn in_step(&mut self) {
        let Some(resync) = self.resync.take() else { return };
        self.doubt = None;
        let questions = resync.asked();
        let Some(answer) = resync.into_answer() else { return };
        if self.identity == Identity::Unknown {
            self.model.get_or_insert_with(|| answer.clone());
        }
        self.events.push_back(Event::InStep { answer, questions });
    }
}
