//! The modems of the fleet: how each is made and kept running, what is plugged in, and what its SIM carries.

pub mod activity;
pub mod budget;
pub mod devices;
pub mod factory;
pub mod ledger;
pub mod reconcile;
pub mod session_inbox;
