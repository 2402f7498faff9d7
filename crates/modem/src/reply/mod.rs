//! Replies of TS 27.007, TS 27.005 and V.250 as values: pure functions from text to types.
//!
//! Every parser takes the information lines of one answer (no echo, no final result code; see
//! [`body`] for raw text), ignores lines that are not its own, and never guesses: a value the modem
//! did not report, or reported as its "unknown" code, is `None` and is absent from the JSON.

mod args;
mod carrier;
mod clock;
mod context;
mod decode;
mod functionality;
mod identity;
mod network;
mod radio;
mod registration;
mod result_code;
mod signal;
mod sim;

use std::fmt;

pub use args::{Arg, Args, body, own_rows, parse_decimal, parse_hex, parse_uint};
pub use carrier::{Carrier, Role};
pub use clock::{Clock, clock, clock_setting};
pub use context::{
    Activation, Context, ContextLogin, Dynamic, PdpAddress, PdpType, context_addresses,
    context_logins, contexts, contexts_active, contexts_dynamic,
};
pub use decode::{DECODERS, Decoder, decoder, value};
pub use functionality::{Functionality, functionality};
pub use identity::{Imei, Model, Serial, manufacturer, model, revision, serial};
pub use network::{Operator, operator};
pub use radio::{Cesq, Csq, cesq, csq};
pub use registration::{
    Domain, Registration, Stat, is_area, is_cell, is_solicited, solicited, unsolicited,
};
pub use result_code::{CmeError, CmsError, cme_advice, cme_meaning, cms_meaning};
pub use signal::{Act, MAX_EARFCN, MAX_NR_ARFCN, Quantity, Rat, Sieve, Signal};
pub use sim::{Lock, Pin, PinTries, iccid, iccid_digits, imsi, pin, pin_refused, pin_tries};

/// Why a reply was not understood. The text of the modem is kept, cut to [`Excerpt::MAX`] characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// No line of the reply is the answer to the command.
    #[error("reading the reply to {command}: no {wanted} in it")]
    Missing {
        /// The command that was asked, for example `AT+CSQ`.
        command: &'static str,
        /// What was looked for, for example `+CSQ: line`.
        wanted: &'static str,
    },
    /// One argument of the answer has a form or a value that it cannot have.
    #[error("reading the reply to {command}: {argument} should be {expected}, not {got:?}")]
    Argument {
        /// The command that was asked.
        command: &'static str,
        /// The argument's name in the standard or the manual, for example `stat`.
        argument: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What the modem sent there; empty when it sent nothing.
        got: Excerpt,
    },
    /// The modem ended the command with an error instead of an answer.
    #[error("reading the reply to {command}: the modem refused it with {result:?}")]
    Refused {
        /// The command that was asked.
        command: &'static str,
        /// The final result code as sent.
        result: Excerpt,
    },
}

/// The first characters of a text from a modem, short enough for any log line.
#[derive(Clone, PartialEq, Eq)]
pub struct Excerpt(String);

impl Excerpt {
    /// How many characters are kept.
    pub const MAX: usize = 40;

    /// Cuts `text`.
    pub fn new(text: &str) -> Self {
        Self(text.chars().take(Self::MAX).collect())
    }

    /// The text that was kept.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As a quoted string: control bytes of a modem must not reach a terminal.
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests;
