//! A laboratory on one machine: simulated modems on ptys or ttys, and the demo.
//!
//! It uses the agent only from outside: as a process, and through its HTTP API.

pub mod demo;
pub mod sim;
