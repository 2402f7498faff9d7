//! The monthly budget of each SIM: counted, kept over restarts, and enforced.
//!
//! A SIM is known by its ICCID, so its count follows it to another modem. The budget of the modem
//! that holds the SIM sets the limit and the day of the reset. The bytes are estimates (`cost.rs`),
//! since the modem's own TCP/IP does not report them.

mod books;
mod cost;
mod period;

pub use books::{Allowance, Books, Meter, Stage, Standing};
pub use period::Calendar;
