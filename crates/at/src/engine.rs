//! The AT engine: the exchange in flight, the owner of each line, and the deadlines.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::exchange::{CONNECT, Prompt, Veil};
use crate::resync::Resync;
use crate::splitter::{Expect, Splitter};
use crate::{
    Answer, Exchange, Failure, FinalCode, Framing, Identity, Reply, ResultLine, WaitingFor,
};

mod data;
mod questions;
mod step;
pub use data::Urc;
use data::{Doubt, Due};

/// The longest wait for an operation's result after a URC that cuts the operation short.
const CUT_GRACE: Duration = Duration::from_secs(3);

/// Commands in a row without an echo after which echo counts as off. With echo on, some logs of
/// real units lack an echo now and then.
const QUIET: u32 = 4;

/// Names one submitted exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// The reason for the engine's doubt about the next answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The port was just opened: the modem's buffers may hold anything.
    Opened,
    /// An exchange ran out of time.
    Timeout,
    /// The line that ends an operation did not come.
    ResultTimeout,
    /// An answer or a line grew past its bound.
    Flood,
    /// Only part of a command was written.
    WriteFailed,
    /// Announced data stopped half-way.
    TornData,
    /// A final result code came without a command in flight.
    StrayFinal,
    /// `OK` came instead of a prompt.
    NoPrompt,
    /// The modem booted.
    Booted,
    /// The owner of the port has a reason to doubt.
    Doubt,
}

/// An event for the owner of the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An exchange ended.
    Completed(Ticket, Result<Reply, Failure>),
    /// The modem sent an unsolicited result code.
    Urc(Urc),
    /// The engine is out of step and resynchronises. No command starts until it is in step.
    Desync(Cause),
    /// The engine is in step. `answer` is the modem's answer to the question of [`Identity`].
    InStep {
        /// The model line, or the IMEI.
        answer: String,
        /// The number of questions sent.
        questions: u32,
    },
    /// The modem echoes commands again after it had stopped. It usually booted without a boot URC.
    EchoBack,
    /// The modem answers nothing: the port is useless until it is opened again.
    Mute,
}

#[derive(Debug)]
struct InFlight {
    ticket: Ticket,
    exchange: Exchange,
    prompted: bool,
    echoed: bool,
    lines: Vec<String>,
    bytes: usize,
    result: Option<String>,
    deadline: Instant,
    /// True if the deadline was put off until a pending result is in.
    extended: bool,
    /// The time at which its command line was sent.
    since: Instant,
    /// True if no final result code came in time, and the modem was asked the question of
    /// [`Identity`].
    overdue: bool,
}

impl InFlight {
    /// Returns the kind of prompt still awaited, if any.
    fn awaits(&self) -> Option<Prompt> {
        (self.exchange.has_prompt() && !self.prompted).then_some(self.exchange.prompt)
    }

    /// Returns the time at which the exchange is given up.
    fn latest(&self) -> Instant {
        self.since + self.exchange.maximum
    }

    /// Returns the time until which the modem may be busy with the exchange.
    fn busy_until(&self) -> Instant {
        self.since + self.exchange.maximum.max(self.exchange.busy)
    }
}

#[derive(Debug)]
struct Pending {
    ticket: Ticket,
    line: ResultLine,
    cut_by: Vec<ResultLine>,
    is_irrevocable: bool,
    lane: Option<&'static str>,
    lines: Vec<String>,
    deadline: Instant,
    /// The final result code if the command was refused; the result line would only give the
    /// reason.
    refused: Option<FinalCode>,
}

impl Pending {
    fn of(
        ticket: Ticket,
        line: ResultLine,
        of: Exchange,
        lines: Vec<String>,
        deadline: Instant,
    ) -> Self {
        let Exchange { lane, cut_by, is_irrevocable, .. } = of;
        Self { ticket, line, cut_by, is_irrevocable, lane, lines, deadline, refused: None }
    }

    /// Ends the operation, with or without its result line.
    fn end(self, result: Option<String>) -> Result<Reply, Failure> {
        match (self.refused, result) {
            (Some(code), result) => Err(Failure::Refused { code, lines: self.lines, result }),
            (None, None) => Err(Failure::Timeout(WaitingFor::Result)),
            (None, result) => Ok(Reply { lines: self.lines, result }),
        }
    }
}

/// The AT engine of one port.
///
/// After every call of [`submit`](Self::submit), [`receive`](Self::receive),
/// [`handle_timeout`](Self::handle_timeout), [`write_failed`](Self::write_failed) or
/// [`close`](Self::close) the owner drains [`poll_transmit`](Self::poll_transmit) and
/// [`poll_event`](Self::poll_event), and calls [`poll_timeout`](Self::poll_timeout) again.
#[derive(Debug)]
pub struct Engine {
    splitter: Splitter,
    in_flight: Option<InFlight>,
    pending: Vec<Pending>,
    resync: Option<Resync>,
    identity: Identity,
    /// The modem's first answer to `AT+CGMM` at this port.
    model: Option<String>,
    /// Commands answered without an echo, in a row.
    quiet: u32,
    transmit: VecDeque<Zeroizing<Vec<u8>>>,
    events: VecDeque<Event>,
    /// Announced data or a text that is awaited.
    due: Option<Due>,
    /// The reason not to believe the lines that arrive now.
    doubt: Option<Doubt>,
    /// The last exchange's secrets, until the next exchange: a late echo of the secrets is not a
    /// URC.
    veil: Option<Veil>,
    tickets: u64,
    closed: bool,
    /// Open questions when the engine was closed.
    left_open: u32,
}

impl Engine {
    /// Creates the engine for a port that was just opened. The engine resynchronises first.
    pub fn new(framing: Framing, now: Instant) -> Self {
        let mut splitter = Splitter::default();
        splitter.set_framing(framing);
        let mut engine = Self {
            splitter,
            in_flight: None,
            pending: Vec::new(),
            resync: None,
            identity: Identity::Unknown,
            model: None,
            quiet: 0,
            transmit: VecDeque::new(),
            events: VecDeque::new(),
            due: None,
            doubt: None,
            veil: None,
            tickets: 0,
            closed: false,
            left_open: 0,
        };
        engine.lose_step(Cause::Opened, Answer::None, 0, now);
        engine
    }

    /// Sets the meaning of the modem's lines, once its model is known.
    pub fn set_framing(&mut self, framing: Framing) {
        self.splitter.set_framing(framing);
    }

    /// Sets the answer that only this modem gives.
    pub fn set_identity(&mut self, identity: Identity) {
        self.identity = identity;
    }

    /// Reports whether this exchange could start now.
    ///
    /// False while another exchange is in flight, while the engine is out of step, or while a
    /// result of the same lane is awaited.
    pub fn ready_for(&self, exchange: &Exchange) -> bool {
        let lane_busy =
            exchange.lane.is_some() && self.pending.iter().any(|p| p.lane == exchange.lane);
        !self.closed && self.in_flight.is_none() && self.resync.is_none() && !lane_busy
    }

    /// Reports whether the engine is in step with no exchange in flight or pending.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.pending.is_empty() && self.resync.is_none()
    }

    /// Reports whether the modem takes longer than usual for its answer: it is busy, or about to
    /// count as mute. False at a port that was just opened, since a modem may not be there.
    pub fn is_busy(&self) -> bool {
        let is_known = self.identity != Identity::Unknown || self.model.is_some();
        is_known && self.resync.as_ref().is_some_and(|resync| resync.asked() > 1)
            || self.in_flight.as_ref().is_some_and(|in_flight| in_flight.overdue)
    }

    /// Reports whether an accepted operation still waits for its result.
    pub fn awaits_result(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Starts an exchange.
    ///
    /// # Errors
    /// Returns the exchange if it cannot start now; see [`ready_for`](Self::ready_for).
    pub fn submit(&mut self, exchange: Exchange, now: Instant) -> Result<Ticket, Box<Exchange>> {
        if !self.ready_for(&exchange) {
            return Err(Box::new(exchange));
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.transmit.push_back([exchange.line().as_bytes(), b"\r"].concat().into());
        self.veil = exchange.veil();
        self.in_flight = Some(InFlight {
            ticket,
            deadline: now + exchange.patience(),
            since: now,
            overdue: false,
            prompted: false,
            echoed: false,
            lines: Vec::new(),
            bytes: 0,
            result: None,
            extended: false,
            exchange,
        });
        Ok(ticket)
    }

    /// Resynchronises because the owner doubts the next answer. For example, after some failed
    /// operations firmware sends one more `OK`.
    pub fn doubt(&mut self, now: Instant) {
        if self.resync.is_none() && self.in_flight.is_none() && !self.closed {
            self.lose_step(Cause::Doubt, Answer::None, 0, now);
        }
    }

    /// Takes bytes as they were read, split at any place.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) {
        let mut input = bytes;
        loop {
            // Bytes after a token that changed the state count as a read of their own.
            if !input.is_empty() {
                self.heard(now);
            }
            let in_flight = self.in_flight.as_ref();
            let expect = Expect {
                // While out of step, a late prompt must be seen too: it opens a data mode.
                prompt: self.resync.is_some()
                    || in_flight.and_then(InFlight::awaits) == Some(Prompt::Mark),
                echo: in_flight.map(|f| f.exchange.line()),
            };
            let Some(token) = self.splitter.next(&mut input, expect) else { break };
            self.token(token, now);
        }
        self.due = Due::after(self.due.take(), self.splitter.pause(), now);
    }

    /// Notes that bytes arrived, which is a sign of life.
    fn heard(&mut self, now: Instant) {
        if let Some(resync) = &mut self.resync {
            resync.heard(now);
        }
        self.doubt = self.doubt.and_then(|doubt| doubt.heard(now));
    }

    /// Returns the next bytes to write, whole and in this order. They may hold a secret: the caller
    /// wipes them after the write.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmit.pop_front().map(|mut bytes| std::mem::take(&mut *bytes))
    }

    /// Returns the next event.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns the time for the next [`handle_timeout`](Self::handle_timeout). Any other call may
    /// change it.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let in_flight = self.in_flight.as_ref().map(|f| f.deadline);
        let resync = self.resync.as_ref().map(|r| r.deadline);
        let pending = self.pending.iter().map(|p| p.deadline).min();
        let due = self.due.as_ref().map(Due::deadline);
        [in_flight, resync, pending, due].into_iter().flatten().min()
    }

    /// Handles the deadlines that have passed, if any.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire_due(now);
        self.expire_pending(now);
        self.expire_in_flight(now);
        if self.resync.as_ref().is_some_and(|r| r.deadline <= now) {
            self.resync_overdue(now);
        }
    }

    /// Notes that the port took only part of the bytes from [`poll_transmit`](Self::poll_transmit).
    pub fn write_failed(&mut self, now: Instant) {
        self.transmit.clear();
        self.fail_in_flight(Failure::WriteFailed, Cause::WriteFailed, now);
    }

    /// Closes the engine at the end of the port. Every exchange under way fails, and none starts
    /// any more.
    pub fn close(&mut self) {
        self.left_open = self.open_questions();
        self.closed = true;
        self.transmit.clear();
        self.resync = None;
        self.due = None;
        let in_flight = self.in_flight.take().map(|f| f.ticket);
        for ticket in in_flight.into_iter().chain(self.pending.drain(..).map(|p| p.ticket)) {
            self.events.push_back(Event::Completed(ticket, Err(Failure::Closed)));
        }
    }

    // --- lines -------------------------------------------------------------------------------------

    fn line(&mut self, line: String, now: Instant) {
        if self.disbelieves(&line, now) || self.take_pending_result(&line, now) {
            return;
        }
        for pending in &mut self.pending {
            if pending.cut_by.iter().any(|cut| cut.matches(&line)) {
                pending.deadline = pending.deadline.min(now + CUT_GRACE);
            }
        }
        if self.splitter.framing().tells_boot(&line) {
            return self.booted(line, now);
        }
        if self.resync.is_some() {
            return self.line_while_out_of_step(line, now);
        }
        let code = self.final_code(&line);
        let Some(in_flight) = &mut self.in_flight else {
            return match code {
                Some(code) => self.final_while_idle(code, now),
                None => self.urc(line),
            };
        };
        if !in_flight.echoed && line == in_flight.exchange.line() {
            in_flight.echoed = true;
        } else if line == CONNECT && in_flight.awaits() == Some(Prompt::Connect) {
            self.prompt(Prompt::Connect, false, now);
        } else if let Some(code) = code {
            self.finish(code, now);
        } else if in_flight.exchange.result.is_some_and(|(result, _)| result.matches(&line)) {
            in_flight.result = Some(line);
        } else if in_flight.exchange.answer.takes(&line, self.splitter.framing().declares(&line)) {
            in_flight.bytes += line.len();
            in_flight.lines.push(line);
            if in_flight.bytes > in_flight.exchange.max_answer {
                self.fail_in_flight(Failure::Flood, Cause::Flood, now);
            }
        } else {
            self.urc(line);
        }
    }

    /// Parses a final result code. A line that the framing declares as a URC ends no command: on a
    /// modem that is not used for calls, `NO CARRIER` of an ended call would otherwise take the
    /// answer of the command in flight.
    fn final_code(&self, line: &str) -> Option<FinalCode> {
        if self.splitter.framing().declares(line) { None } else { FinalCode::parse(line) }
    }

    /// Handles a boot of the modem: it answers nothing that was sent before. A recent question is
    /// lost too, so the engine resynchronises again.
    fn booted(&mut self, line: String, now: Instant) {
        let in_flight = self.in_flight.take().map(|f| f.ticket);
        for ticket in in_flight.into_iter().chain(self.pending.drain(..).map(|p| p.ticket)) {
            self.events.push_back(Event::Completed(ticket, Err(Failure::Booted)));
        }
        self.urc(line);
        self.quiet = 0;
        if !self.closed {
            // The IMEI may take its time after a boot; the model does not. Earlier questions may
            // still be in the modem's buffer: their answers are awaited, or given up after a quiet
            // second.
            self.identity = self.model.clone().map_or(Identity::Unknown, Identity::Model);
            let open = self.resync.take().map_or(0, |resync| resync.open());
            self.lose_step(Cause::Booted, Answer::None, 0, now);
            if let Some(resync) = &mut self.resync {
                resync.expect_more(open);
            }
        }
    }

    /// Handles a final result code without a command in flight. An error ends the operation that is
    /// pending, if there is just one and it was not refused already. Anything else is a late
    /// answer, and more may follow.
    fn final_while_idle(&mut self, code: FinalCode, now: Instant) {
        if code != FinalCode::Ok
            && self.pending.len() == 1
            && let Some(pending) = self.pending.pop_if(|pending| pending.refused.is_none())
        {
            let failure = Failure::Refused { code, lines: pending.lines, result: None };
            self.events.push_back(Event::Completed(pending.ticket, Err(failure)));
            return;
        }
        self.lose_step(Cause::StrayFinal, Answer::None, 0, now);
    }

    fn take_pending_result(&mut self, line: &str, now: Instant) -> bool {
        let Some(at) = self.pending.iter().position(|p| p.line.matches(line)) else { return false };
        let pending = self.pending.swap_remove(at);
        let ended = Event::Completed(pending.ticket, pending.end(Some(line.to_owned())));
        self.events.push_back(ended);
        self.rearm(now);
        true
    }

    fn prompt(&mut self, prompt: Prompt, echoed: bool, now: Instant) {
        if self.is_damaged() {
            return;
        }
        if let Some(resync) = &mut self.resync {
            // The failed exchange's prompt came late: the modem takes the next bytes as data.
            if let Some(data) = resync.release(prompt, now) {
                self.transmit.push_back(data);
            } else if !resync.is_silent() && resync.may_ask() {
                // While another kind of prompt is awaited, that prompt would take the question.
                self.ask(now);
            }
            return;
        }
        let Some(in_flight) = &mut self.in_flight else { return };
        let Some(data) = &in_flight.exchange.data else { return };
        let ticket = in_flight.ticket;
        in_flight.prompted = true;
        in_flight.echoed |= echoed;
        in_flight.deadline = now + in_flight.exchange.patience();
        if in_flight.echoed {
            self.splitter.expect_data_echo(data);
        }
        if !data.is_empty() {
            self.transmit.push_back(data.clone());
        }
        self.answered(ticket);
    }

    /// Handles a final result code for the command in flight.
    fn finish(&mut self, code: FinalCode, now: Instant) {
        let Some(in_flight) = self.in_flight.take() else { return };
        let InFlight { ticket, exchange, prompted, lines, result, echoed, .. } = in_flight;
        self.heard_echo(echoed);
        self.answered(ticket);
        let outcome = match (code, exchange.result, result) {
            (FinalCode::Ok, _, _) if exchange.has_prompt() && !prompted => {
                self.lose_step_in(exchange, prompted, Cause::NoPrompt, now);
                Err(Failure::NoPrompt)
            }
            (FinalCode::Ok, Some((line, timeout)), None) => {
                let pending = Pending::of(ticket, line, exchange, lines, now + timeout);
                return self.pending.push(pending);
            }
            (FinalCode::Ok, _, result) => Ok(Reply { lines, result }),
            (code, Some((line, _)), None) if exchange.reason_within.is_some() => {
                let deadline = now + exchange.reason_within.unwrap_or_default();
                let pending = Pending::of(ticket, line, exchange, lines, deadline);
                return self.pending.push(Pending { refused: Some(code), ..pending });
            }
            (code, _, result) => Err(Failure::Refused { code, lines, result }),
        };
        self.events.push_back(Event::Completed(ticket, outcome));
    }

    /// Notes whether a command was echoed.
    fn heard_echo(&mut self, echoed: bool) {
        let quiet = self.quiet;
        self.quiet = if echoed { 0 } else { quiet.saturating_add(1) };
        if echoed && quiet >= QUIET {
            self.events.push_back(Event::EchoBack);
        }
    }

    // --- time --------------------------------------------------------------------------------------

    fn expire_pending(&mut self, now: Instant) {
        while let Some(at) = self.pending.iter().position(|p| p.deadline <= now) {
            let pending = self.pending.swap_remove(at);
            let is_refused = pending.refused.is_some();
            self.events.push_back(Event::Completed(pending.ticket, pending.end(None)));
            if !is_refused && self.in_flight.is_none() && self.resync.is_none() {
                self.lose_step(Cause::ResultTimeout, Answer::None, 0, now);
            }
            self.rearm(now);
        }
    }

    /// Restores the normal deadline of a command that was given more time because of an operation.
    fn rearm(&mut self, now: Instant) {
        if let Some(in_flight) = self.in_flight.as_mut().filter(|f| f.extended) {
            in_flight.extended = false;
            in_flight.deadline = now + in_flight.exchange.patience();
        }
    }

    fn expire_in_flight(&mut self, now: Instant) {
        let last_result = self.pending.iter().map(|p| p.deadline).max();
        let Some(in_flight) = &mut self.in_flight else { return };
        if in_flight.deadline > now {
            return;
        }
        // Some firmware answers nothing until the operation under way has its result.
        if let Some(last_result) = last_result {
            in_flight.deadline = last_result + in_flight.exchange.patience();
            in_flight.extended = true;
            return;
        }
        // The modem may be slow: it is asked a question, and the answer is still awaited.
        if self.resync.is_none() && in_flight.exchange.may_be_late() && now < in_flight.latest() {
            let (latest, busy) = (in_flight.latest(), in_flight.busy_until());
            (in_flight.overdue, in_flight.deadline) = (true, latest);
            let identity = self.known_identity();
            let mut resync = Resync::new(identity, Answer::None, 0, self.patience(), now);
            resync.busy_until(busy);
            self.resync = Some(resync);
            return self.ask(now);
        }
        let waiting = in_flight.awaits().map_or(WaitingFor::FinalCode, |_| WaitingFor::Prompt);
        self.fail_in_flight(Failure::Timeout(waiting), Cause::Timeout, now);
    }
}
