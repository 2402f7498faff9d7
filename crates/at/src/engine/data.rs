//! Announced data and text messages: their time limits, and the doubt after damage.

use std::time::{Duration, Instant};

use super::{CUT_GRACE, Cause, Engine, Event, Ticket};
use crate::exchange::Prompt;
use crate::splitter::{DATA_PAUSE, TEXT_PAUSE, Token};
use crate::{Answer, Failure, FinalCode, ResultLine, WaitingFor};

/// The longest time for one piece of data, however often a byte comes: 64 KiB at 9,600 baud and a
/// third more. A modem that prints a line each second all day must not count as sending data all
/// day.
const DATA_TIME: Duration = Duration::from_secs(90);

/// The longest doubt after damaged data: the time that it takes to be in step among chatter.
const DAMAGE_TIME: Duration = Duration::from_secs(10);

/// The longest doubt after a text of unknown length: 160 characters take a fraction of it at 9,600
/// baud.
const TEXT_TIME: Duration = Duration::from_secs(2);

/// An unsolicited result code, with the data it announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Urc {
    /// The line, trimmed.
    pub line: String,
    /// The data that the line announced, cut by length.
    pub data: Option<Vec<u8>>,
}

/// Data or a text that is awaited.
#[derive(Debug)]
pub(super) struct Due {
    /// The number of this data or text.
    number: u64,
    /// The time at which it is given up in any case.
    latest: Instant,
    /// The time at which it is given up if nothing arrives.
    quiet: Instant,
}

impl Due {
    /// Returns the awaited data after bytes arrived: continued from before, or new.
    pub(super) fn after(
        before: Option<Self>,
        pause: Option<(Duration, u64)>,
        now: Instant,
    ) -> Option<Self> {
        let (pause, number) = pause?;
        let latest = before.filter(|before| before.number == number).map(|before| before.latest);
        Some(Self { number, latest: latest.unwrap_or(now + DATA_TIME), quiet: now + pause })
    }

    pub(super) fn deadline(&self) -> Instant {
        self.quiet.min(self.latest)
    }
}

/// A time in which a line may be part of something else, so that it does not count as a result or a
/// boot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doubt {
    /// True if bytes were lost: URCs are not believed either.
    is_damage: bool,
    /// The last command sent before the doubt: an answer to a later command is outside of a text.
    before: Ticket,
    /// The pause after which the doubt ends.
    pause: Duration,
    until: Instant,
    /// The time at which the doubt ends in any case.
    latest: Instant,
}

impl Doubt {
    /// The doubt after lost bytes. It ends when the modem is in step again, or after a pause that
    /// is too long within data.
    fn of_damage(before: Ticket, now: Instant) -> Self {
        let (pause, latest) = (DATA_PAUSE, now + DAMAGE_TIME);
        Self { is_damage: true, before, pause, until: now + pause, latest }
    }

    /// The doubt after a text of unknown length: output without a pause after it may be more of the
    /// text.
    fn of_text(before: Ticket, now: Instant) -> Self {
        let (pause, latest) = (TEXT_PAUSE, now + TEXT_TIME);
        Self { is_damage: false, before, pause, until: now + pause, latest }
    }

    /// Returns the rest of the doubt, now that bytes arrived.
    pub(super) fn heard(self, now: Instant) -> Option<Self> {
        let until = (now + self.pause).min(self.latest);
        (now < self.until).then_some(Self { until, ..self })
    }
}

impl Engine {
    /// Takes one token of the modem's output.
    pub(super) fn token(&mut self, token: Token, now: Instant) {
        match token {
            Token::Line(line) => {
                let is_unmeasured = self.splitter.framing().is_unmeasured(&line);
                self.line(line, now);
                if is_unmeasured {
                    self.doubts_more(now);
                }
            }
            Token::Text(text) => self.text(&text, now),
            Token::Prompt { echoed } => self.prompt(Prompt::Mark, echoed, now),
            Token::Data { line, data } => {
                self.events.push_back(Event::Urc(Urc { line, data: Some(data) }));
            }
            Token::Message { line, text, measured } => {
                self.events.push_back(Event::Urc(Urc { line, data: Some(text) }));
                if !measured {
                    self.doubts_more(now);
                }
            }
            Token::Damaged { line, counted } => self.damaged(line, counted, now),
            Token::Overlong => self.fail_in_flight(Failure::Flood, Cause::Flood, now),
        }
    }

    /// Begins the doubt after a text of unknown length.
    fn doubts_more(&mut self, now: Instant) {
        if !self.is_damaged() {
            self.doubt = Some(Doubt::of_text(Ticket(self.tickets), now));
        }
    }

    /// Notes that the modem answered a command. If the command was sent after a text, the text is
    /// over.
    pub(super) fn answered(&mut self, ticket: Ticket) {
        self.doubt.take_if(|doubt| !doubt.is_damage && ticket > doubt.before);
    }

    /// Takes the lines of a stored text message. They belong to the same answer as its header.
    fn text(&mut self, text: &str, now: Instant) {
        let asks = |answer: &Answer| ["+CMGL:", "+CMGR:"].iter().any(|it| answer.takes(it, false));
        let in_flight = self.in_flight.as_mut().filter(|_| self.resync.is_none());
        let in_flight = in_flight.filter(|in_flight| asks(&in_flight.exchange.answer));
        let Some(in_flight) = in_flight else { return };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            in_flight.bytes += line.len();
            in_flight.lines.push(line.to_owned());
        }
        if in_flight.bytes > in_flight.exchange.max_answer {
            self.fail_in_flight(Failure::Flood, Cause::Flood, now);
        }
    }

    /// Handles announced data that did not arrive as announced: its line is reported without data.
    /// Later output is outside of the data if it is `counted`.
    fn damaged(&mut self, line: String, counted: bool, now: Instant) {
        self.events.push_back(Event::Urc(Urc { line, data: None }));
        self.fail_in_flight(Failure::Timeout(WaitingFor::FinalCode), Cause::TornData, now);
        if let Some(resync) = self.resync.as_mut().filter(|_| !counted) {
            // The data's bytes may hold an answer to the question, so the modem must be quiet after
            // them.
            resync.expect_more(1);
            self.doubt = Some(Doubt::of_damage(Ticket(self.tickets), now));
        }
    }

    /// Gives up data or a text that is overdue.
    pub(super) fn expire_due(&mut self, now: Instant) {
        let Some(due) = self.due.take_if(|due| due.deadline() <= now) else { return };
        match self.splitter.abandon() {
            // If bytes still arrive, they may belong to the data.
            Some(Token::Damaged { line, .. }) => self.damaged(line, due.quiet <= now, now),
            Some(token) => self.token(token, now),
            None => {}
        }
    }

    /// Reports whether a line is not believed because it may be part of a damaged message or of a
    /// text. After a text only lines with final effects are not believed: a result by which a
    /// message is given up, a boot, an error without a command. If the line looks like the result
    /// of an operation, that operation may have ended: its wait is cut short, and its outcome is
    /// then unknown.
    pub(super) fn disbelieves(&mut self, line: &str, now: Instant) -> bool {
        let Some(Doubt { is_damage, before, .. }) = self.doubt else { return false };
        let mut is_result = false;
        for pending in self.pending.iter_mut().filter(|pending| pending.line.matches(line)) {
            if is_damage || pending.is_irrevocable {
                pending.deadline = pending.deadline.min(now + CUT_GRACE);
                is_result = true;
            }
        }
        let is_own = self.in_flight.as_ref().is_some_and(|in_flight| {
            let doubted = in_flight.exchange.is_irrevocable && in_flight.ticket <= before;
            let result = in_flight.exchange.result;
            (is_damage || doubted) && result.is_some_and(|(result, _)| result.matches(line))
        });
        // The line would cut the wait for a result short.
        let cuts = |cut: &ResultLine| is_damage && cut.matches(line);
        let is_cut = self.pending.iter().any(|pending| pending.cut_by.iter().any(cuts));
        // An error would end the operation that is pending, or the wait for a prompt.
        let is_error = self.final_code(line).is_some_and(|code| code != FinalCode::Ok)
            && (is_damage || self.in_flight.is_none());
        is_result || is_own || is_cut || is_error || self.splitter.framing().tells_boot(line)
    }

    /// Reports whether bytes were lost a moment ago.
    pub(super) fn is_damaged(&self) -> bool {
        self.doubt.is_some_and(|doubt| doubt.is_damage)
    }

    pub(super) fn urc(&mut self, line: String) {
        let is_doubtful = self.is_damaged() && !self.splitter.framing().is_part(&line);
        if is_doubtful || self.veil.as_ref().is_some_and(|veil| veil.covers(&line)) {
            return;
        }
        self.events.push_back(Event::Urc(Urc { line, data: None }));
    }
}
