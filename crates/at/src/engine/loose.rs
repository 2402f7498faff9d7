//! A message that came without its length, and what came right behind it.
//!
//! Older firmware prints `+QMTRECV: 0,1,"topic","payload"`. Nothing tells where that payload ends: it may hold line ends,
//! and behind them lines that look like results. So what follows in the same breath is kept back until the modem
//! pauses. What stands before the last line that ends with a quotation mark may be a piece of the message; what stands
//! behind it is not, since the message would end with one.

use std::time::{Duration, Instant};

use super::{CUT_GRACE, Cause, Engine, Event, Urc};
use crate::exchange::Prompt;
use crate::splitter::Token;
use crate::{Failure, Framing};

/// How long the modem must be silent before what comes next is no piece of the message. It prints one in one go; at
/// 115,200 baud this is the time of 2,300 bytes.
const PAUSE: Duration = Duration::from_millis(200);

/// How long chatter may put that off.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// How many tokens are kept back at most.
const MAX_HELD: usize = 256;

/// A message whose end is not known yet.
#[derive(Debug)]
pub(super) struct Loose {
    line: String,
    held: Vec<Token>,
    latest: Instant,
    pub(super) deadline: Instant,
}

/// What was kept back, sorted.
#[derive(Debug)]
struct Sorted {
    /// The message, where it ends with its line; else its beginning, without the mark that would end it.
    message: String,
    /// May be pieces of it.
    doubtful: Vec<Token>,
    /// Is none.
    certain: Vec<Token>,
}

impl Loose {
    /// Begins where a line is a message without its length.
    fn begin(line: &str, framing: &Framing, now: Instant) -> Option<Self> {
        is_message(line, framing).then(|| Self {
            line: line.to_owned(),
            held: Vec::new(),
            latest: now + MAX_WAIT,
            deadline: now + PAUSE,
        })
    }

    /// Keeps a token back; tells whether it may keep more.
    fn hold(&mut self, token: Token) -> bool {
        self.held.push(token);
        self.held.len() < MAX_HELD
    }

    /// Something came: the modem has not paused yet.
    pub(super) fn heard(&mut self, now: Instant) {
        self.deadline = (now + PAUSE).min(self.latest);
    }

    /// The modem paused.
    fn sort(self, framing: &Framing) -> Sorted {
        let Self { mut line, mut held, .. } = self;
        let is_closed = line.ends_with('"');
        let last = held.iter().rposition(ends_with_mark).map_or(0, |at| at + 1);
        // A message that nothing ends was torn: all that came is in doubt.
        let pieces = if is_closed || last > 0 { last } else { held.len() };
        let certain = held.split_off(pieces);
        // Messages that follow each other are common: the broker's retained ones come so.
        let is_whole = is_closed
            && held.iter().filter(|token| ends_with_mark(token)).all(|token| match token {
                Token::Line(line) => is_message(line, framing),
                _ => false,
            });
        if !is_whole && is_closed {
            line.pop();
        }
        Sorted { message: line, doubtful: held, certain }
    }
}

/// Whether a line is a message whose length the splitter did not see: those that have one are no lines.
fn is_message(line: &str, framing: &Framing) -> bool {
    let rest = framing.quoted.iter().find_map(|quoted| line.strip_prefix(quoted.prefix));
    rest.is_some_and(|rest| rest.contains('"'))
}

fn ends_with_mark(token: &Token) -> bool {
    matches!(token, Token::Line(line) if line.ends_with('"'))
}

impl Engine {
    pub(super) fn token(&mut self, token: Token, now: Instant) {
        if let Some(loose) = &mut self.loose {
            if !loose.hold(token) {
                self.release_loose(now);
            }
            return;
        }
        match token {
            Token::Line(line) => {
                self.loose = Loose::begin(&line, self.splitter.framing(), now);
                if self.loose.is_none() {
                    self.line(line, now);
                }
            }
            Token::Prompt { echoed } => self.prompt(Prompt::Mark, echoed, now),
            Token::Data { line, data } => {
                self.events.push_back(Event::Urc(Urc { line, data: Some(data) }));
            }
            Token::Overlong => self.fail_in_flight(Failure::Flood, Cause::Flood, now),
        }
    }

    /// Lets go of what was kept back once the modem has paused. It may be what something else waits for.
    pub(super) fn release_due(&mut self, now: Instant) {
        if self.loose.as_ref().is_some_and(|loose| loose.deadline <= now) {
            self.release_loose(now);
        }
    }

    /// The modem paused behind a message without a length: what cannot be a piece of it counts as it stands. Of what
    /// may be one, messages are told, and a result makes its operation's own one due soon or never: it may have been it.
    fn release_loose(&mut self, now: Instant) {
        let Some(loose) = self.loose.take() else { return };
        let Sorted { message, doubtful, certain } = loose.sort(self.splitter.framing());
        self.line(message, now);
        for token in doubtful {
            let Token::Line(line) = token else { continue };
            if is_message(&line, self.splitter.framing()) {
                self.line(line, now);
                continue;
            }
            for pending in self.pending.iter_mut().filter(|pending| pending.line.matches(&line)) {
                pending.deadline = pending.deadline.min(now + CUT_GRACE);
            }
        }
        for token in certain {
            self.token(token, now);
        }
    }
}
