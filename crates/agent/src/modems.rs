//! The modems of the fleet: how each is made and kept running, and which devices are plugged in.

pub mod devices;
pub mod factory;
pub mod ledger;
pub mod reconcile;
pub mod session_inbox;
