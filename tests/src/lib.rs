//! Real processes for the tests from outside: a broker, simulated modems, the agent, and its
//! clients.
//!
//! Each type here starts a program on a free port in its own folder, waits until it answers, and
//! kills it on drop. No type uses the agent's internals: a test observes it by HTTP, the broker,
//! the exit code and the output.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "this is test code: it ends at the first surprise, and the clock of other processes \
              can neither be paused nor awaited"
)]

mod agent;
mod binary;
mod browser;
mod disk;
mod http;
mod lab;
mod metrics;
mod mosquitto;
pub mod mqtt_peer;
mod pki;
mod port;
mod process;
mod prometheus;
mod sim;
mod subscriber;
mod wait;

pub use agent::{Agent, Site};
pub use binary::{acmefleet, modemfleet};
pub use browser::Browser;
pub use disk::{Disk, Fault};
pub use http::{Answer, Http, read_answer};
pub use lab::Lab;
pub use metrics::{Sample, Scrape};
pub use mosquitto::Mosquitto;
pub use pki::{Authority, Pair};
pub use port::Port;
pub use process::{Process, run};
pub use prometheus::Prometheus;
pub use rustix::process::Signal;
pub use sim::Sim;
pub use subscriber::{Received, Subscriber};
pub use wait::{PATIENCE, Stopwatch, pause, until, within};
