//! Fuzz targets: for each parser of input from outside, a function of bytes that panics if the
//! parser is wrong.
//!
//! libFuzzer calls them from `fuzz/` (`cargo xtask fuzz`), and plain tests replay its findings
//! (`tests/replay.rs`). Inputs are made to be mutated: marks separate their parts, not lengths, and
//! every text is a valid input.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic is how a target says that something is wrong"
)]

pub mod api;
mod cost;
mod damage;
pub mod engine;
pub mod fleet;
mod gateway;
pub mod inbox_file;
mod input;
pub mod listener;
pub mod overlay;
mod place;
pub mod queue_file;
pub mod replies;

/// A target of fuzzing.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name: of the libFuzzer program, of its corpus, and of the folder of its past crashes.
    pub name: &'static str,
    /// Runs one input. A panic, of any thread, is a finding.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "api", run: api::run },
    Target { name: "engine", run: engine::run },
    Target { name: "fleet", run: fleet::run },
    Target { name: "inbox", run: inbox_file::run },
    Target { name: "listener", run: listener::run },
    Target { name: "overlay", run: overlay::run },
    Target { name: "queue", run: queue_file::run },
    Target { name: "replies", run: replies::run },
];
