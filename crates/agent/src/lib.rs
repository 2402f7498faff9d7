//! The daemon: it takes messages in, sends them through the sessions of modems, and reports the
//! outcome.
//!
//! It runs by a fleet file (`fleet`) and the devices found (`discovery`). It knows no AT command
//! and no profile. A modem is a value of the package `modem`, made from a catalog that the binary
//! hands over.

pub mod activity;
pub mod agent;
pub mod budget;
pub mod chronicle;
pub mod doctor;
pub mod http;
mod json_file;
pub mod logging;
pub mod messages;
pub mod metrics;
pub mod modems;
pub mod mqtt;
pub mod now;
pub mod origin;
pub mod recover;
pub mod reload;
pub mod upkeep;
pub mod version;
