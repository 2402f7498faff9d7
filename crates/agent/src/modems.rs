//! The modems of the fleet: how each is made.

pub mod factory;
