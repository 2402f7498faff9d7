//! What each SIM may carry in a month: counted, kept over restarts, and held to.
//!
//! A SIM is known by its ICCID, so its count goes with it to another modem; the budget of the modem
//! that it is in says how much that may be and when it begins anew. The bytes are estimates
//! (`cost.rs`), since the modem's own TCP/IP does not tell them.

mod books;
mod cost;
mod period;

pub use books::{Allowance, Books, Meter, Stage, Standing};
pub use period::Calendar;
