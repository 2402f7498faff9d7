//! The fleet agent: configuration, routes, hand-in, metrics, command line.
//!
//! It is the only crate that knows the fleet file, HTTP and the disk, and it knows no AT command.
//! Profiles are values handed to [`cli::main`]; a third party's binary hands over its own as well.

pub mod agent;
pub mod backlog;
pub mod budget;
pub mod descriptors;
pub mod devices;
pub mod doctor;
pub mod downlink;
pub mod forward;
pub mod hand_in;
pub mod health;
pub mod history;
pub mod http;
mod json_file;
pub mod ledger;
pub mod logging;
pub mod metrics;
pub mod modems;
pub mod mqtt;
pub mod now;
pub mod origin;
pub mod process;
pub mod receipt;
pub mod reconcile;
pub mod recover;
pub mod reload;
pub mod systemd;
pub mod telemetry;
pub mod version;
