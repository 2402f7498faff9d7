//! The modems of the fleet, made from its file and kept running, and the plugged-in devices.

pub mod devices;
pub mod factory;
pub mod ledger;
pub mod reconcile;
pub mod session_inbox;
