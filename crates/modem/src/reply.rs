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
mod error;
mod functionality;
mod identity;
mod network;
mod radio;
mod registration;
mod result_code;
mod signal;
mod sim;

pub use args::{Arg, Args, body, own_rows, parse_decimal, parse_hex, parse_uint};
pub use carrier::{Carrier, Role};
pub use clock::{Clock, clock, clock_setting};
pub use context::{
    Activation, Context, ContextLogin, Dynamic, PdpAddress, PdpType, context_addresses,
    context_logins, contexts, contexts_active, contexts_dynamic,
};
pub use decode::{DECODERS, Decoder, decoder, value};
pub use error::{Excerpt, ReplyError};
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

#[cfg(test)]
mod tests;
