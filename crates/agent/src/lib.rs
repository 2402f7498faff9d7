//! The fleet agent: configuration, routes, hand-in, metrics, command line.
//!
//! It is the only crate that knows the fleet file, HTTP and the disk, and it knows no AT command.
//! Profiles are values handed to [`cli::main`]; a third party's binary hands over its own as well.

mod agent;
pub mod aliyun;
pub mod backlog;
pub mod budget;
pub mod cli;
pub mod config;
mod demo;
pub mod descriptors;
pub mod devices;
pub mod discovery;
pub mod doctor;
pub mod downlink;
pub mod fleet;
pub mod forward;
pub mod hand_in;
pub mod health;
pub mod history;
pub mod http;
pub mod inbox;
mod json_file;
pub mod ledger;
pub mod logging;
pub mod metrics;
pub mod mqtt;
pub mod origin;
pub mod pem;
pub mod plugged;
pub mod printable;
pub mod private;
pub mod process;
pub mod receipt;
pub mod reconcile;
pub mod recover;
pub mod reload;
pub mod run;
pub mod secret;
pub mod systemd;
pub mod telemetry;
pub mod version;
pub mod view;

use std::io::Write;
use std::process::ExitCode;

/// Exit code for a wrong configuration or wrong usage.
pub(crate) fn wrong() -> ExitCode {
    ExitCode::from(2)
}

/// Says something on standard error, where there is one.
pub(crate) fn complain(words: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable::printable_lines(words));
}
