//! The engine: which exchange is in flight, whose line this is, and what is due when.

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

/// After a URC that cuts an operation short, how long its result may still take.
const CUT_GRACE: Duration = Duration::from_secs(3);

/// After so many commands without an echo it is off. With echo on, some logs of real units lack one now and then.
const QUIET: u32 = 4;

/// Names one submitted exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Why the engine is not sure what the modem will answer next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The port was just opened: anything may be in the modem's buffers.
    Opened,
    /// An exchange ran out of time.
    Timeout,
    /// The line that ends an operation stayed out.
    ResultTimeout,
    /// An answer or a line grew past its bound.
    Flood,
    /// A command was written in part.
    WriteFailed,
    /// Announced data stopped half-way.
    TornData,
    /// A final result code came that no command asked for.
    StrayFinal,
    /// `OK` came where a prompt was due.
    NoPrompt,
    /// The modem booted.
    Booted,
    /// The owner of the port has a reason of its own.
    Doubt,
}

/// What the engine tells the owner of the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An exchange ended.
    Completed(Ticket, Result<Reply, Failure>),
    /// The modem said something unasked.
    Urc(Urc),
    /// The engine lost its step and is getting it back; no command starts until then.
    Desync(Cause),
    /// The engine is in step. `answer` is what the modem answered to the question of [`Identity`].
    InStep {
        /// The model line, or the IMEI.
        answer: String,
        /// How often it was asked.
        questions: u32,
    },
    /// The modem echoes commands again after it had stopped to. It booted, as a rule, and said nothing of it.
    EchoBack,
    /// The modem answers nothing: the port is of no use until it is opened again.
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
    /// The deadline was put off until a pending result is in.
    extended: bool,
    /// When its command line was sent.
    since: Instant,
    /// It had no final result code within its time, and the modem was asked whether it is there.
    overdue: bool,
}

impl InFlight {
    /// With what the modem has still to ask for its data.
    fn awaits(&self) -> Option<Prompt> {
        (self.exchange.has_prompt() && !self.prompted).then_some(self.exchange.prompt)
    }

    /// When it is given up.
    fn latest(&self) -> Instant {
        self.since + self.exchange.maximum
    }

    /// Until when the modem may be busy with it.
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
    /// It was refused, and the line would only tell why.
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

    /// What it ended with, given its line or none.
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
/// [`poll_event`](Self::poll_event), and asks [`poll_timeout`](Self::poll_timeout) again.
#[derive(Debug)]
pub struct Engine {
    splitter: Splitter,
    in_flight: Option<InFlight>,
    pending: Vec<Pending>,
    resync: Option<Resync>,
    identity: Identity,
    /// What the modem at this port called itself first.
    model: Option<String>,
    /// So many commands in a row were answered without their echo.
    quiet: u32,
    transmit: VecDeque<Zeroizing<Vec<u8>>>,
    events: VecDeque<Event>,
    /// Announced data or a text that is awaited.
    due: Option<Due>,
    /// Why what is heard now may not be what it looks like.
    doubt: Option<Doubt>,
    /// The last exchange's secrets, until the next one: a late echo of them is no URC.
    veil: Option<Veil>,
    tickets: u64,
    closed: bool,
    /// Questions that were open when it was closed.
    left_open: u32,
}

impl Engine {
    /// An engine for a port that was just opened. It begins by getting in step.
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

    /// Tells what the modem's lines mean, once its model is known.
    pub fn set_framing(&mut self, framing: Framing) {
        self.splitter.set_framing(framing);
    }

    /// Tells what only this modem answers.
    pub fn set_identity(&mut self, identity: Identity) {
        self.identity = identity;
    }

    /// Whether this exchange could start now.
    ///
    /// Not while another is in flight, while the engine is out of step, or while a result of the same
    /// lane is awaited.
    pub fn ready_for(&self, exchange: &Exchange) -> bool {
        let lane_busy =
            exchange.lane.is_some() && self.pending.iter().any(|p| p.lane == exchange.lane);
        !self.closed && self.in_flight.is_none() && self.resync.is_none() && !lane_busy
    }

    /// Whether nothing is in flight, pending, or out of step.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.pending.is_empty() && self.resync.is_none()
    }

    /// Whether the modem takes longer than usual for its answer: it is busy, or about to count as mute. Not while a
    /// port was just opened, where it is not known whether a modem is there.
    pub fn is_busy(&self) -> bool {
        let is_known = self.identity != Identity::Unknown || self.model.is_some();
        is_known && self.resync.as_ref().is_some_and(|resync| resync.asked() > 1)
            || self.in_flight.as_ref().is_some_and(|in_flight| in_flight.overdue)
    }

    /// Whether an operation was accepted whose result is still out.
    pub fn awaits_result(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Starts an exchange.
    ///
    /// # Errors
    /// Gives the exchange back while it could not start; see [`ready_for`](Self::ready_for).
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

    /// The owner has a reason to doubt that the next answer is the next command's, such as an
    /// operation that failed in a way after which some firmware sends one more `OK`.
    pub fn doubt(&mut self, now: Instant) {
        if self.resync.is_none() && self.in_flight.is_none() && !self.closed {
            self.lose_step(Cause::Doubt, Answer::None, 0, now);
        }
    }

    /// Takes bytes as they were read, cut anywhere.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) {
        let mut input = bytes;
        loop {
            // More comes behind what a token changed, as if it came by a read of its own.
            if !input.is_empty() {
                self.heard(now);
            }
            let in_flight = self.in_flight.as_ref();
            let expect = Expect {
                // While out of step a late prompt must be seen too: it opens a data mode.
                prompt: self.resync.is_some()
                    || in_flight.and_then(InFlight::awaits) == Some(Prompt::Mark),
                echo: in_flight.map(|f| f.exchange.line()),
            };
            let Some(token) = self.splitter.next(&mut input, expect) else { break };
            self.token(token, now);
        }
        self.due = Due::after(self.due.take(), self.splitter.pause(), now);
    }

    /// Bytes came: a sign of life.
    fn heard(&mut self, now: Instant) {
        if let Some(resync) = &mut self.resync {
            resync.heard(now);
        }
        self.doubt = self.doubt.and_then(|doubt| doubt.heard(now));
    }

    /// The next bytes to write, whole and in this order. They may hold a secret: who has written them wipes
    /// them.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmit.pop_front().map(|mut bytes| std::mem::take(&mut *bytes))
    }

    /// The next event.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout). May change with every other call.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let in_flight = self.in_flight.as_ref().map(|f| f.deadline);
        let resync = self.resync.as_ref().map(|r| r.deadline);
        let pending = self.pending.iter().map(|p| p.deadline).min();
        let due = self.due.as_ref().map(Due::deadline);
        [in_flight, resync, pending, due].into_iter().flatten().min()
    }

    /// Time passed. Does nothing where nothing is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire_due(now);
        self.expire_pending(now);
        self.expire_in_flight(now);
        if self.resync.as_ref().is_some_and(|r| r.deadline <= now) {
            self.resync_overdue(now);
        }
    }

    /// The port took only part of what [`poll_transmit`](Self::poll_transmit) gave.
    pub fn write_failed(&mut self, now: Instant) {
        self.transmit.clear();
        self.fail_in_flight(Failure::WriteFailed, Cause::WriteFailed, now);
    }

    /// The port is at its end. Whatever was under way fails; nothing starts any more.
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

    /// A line that the framing declares as a URC ends no command: a call that ends on a modem that is
    /// not used for calls (`NO CARRIER`) would else take the answer of the command in flight.
    fn final_code(&self, line: &str) -> Option<FinalCode> {
        if self.splitter.framing().declares(line) { None } else { FinalCode::parse(line) }
    }

    /// The modem booted: nothing of before will be answered. A question that was asked just before is
    /// lost too, so the engine begins anew.
    fn booted(&mut self, line: String, now: Instant) {
        let in_flight = self.in_flight.take().map(|f| f.ticket);
        for ticket in in_flight.into_iter().chain(self.pending.drain(..).map(|p| p.ticket)) {
            self.events.push_back(Event::Completed(ticket, Err(Failure::Booted)));
        }
        self.urc(line);
        self.quiet = 0;
        if !self.closed {
            // The IMEI may take its time after a boot; the model does not. Questions of before may lie
            // in the modem's buffer still: they are awaited, or given up after a quiet second.
            self.identity = self.model.clone().map_or(Identity::Unknown, Identity::Model);
            let open = self.resync.take().map_or(0, |resync| resync.open());
            self.lose_step(Cause::Booted, Answer::None, 0, now);
            if let Some(resync) = &mut self.resync {
                resync.expect_more(open);
            }
        }
    }

    /// A final result code with no command in flight: an error ends the one operation that is
    /// pending, unless it was refused already; anything else is a late answer, and there may be more where it
    /// came from.
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
            // The failed exchange's prompt came after all: the modem takes what follows as data.
            if let Some(data) = resync.release(prompt, now) {
                self.transmit.push_back(data);
            } else if !resync.is_silent() && resync.may_ask() {
                // While another kind of prompt is waited for, that one would take the question.
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

    /// A final result code for the command in flight.
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

    /// Notes whether a command came back as an echo.
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

    /// An operation ended: a command that was given time because of it has its own time again.
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
        // It may be slow: it is asked whether it is there, and waited for.
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
