//! The HTTP API of the agent: types of its answers by path, a client, and the search for the
//! running agent.
//!
//! The agent fills the types, and clients read them. A client may be of another version than its
//! agent. So unknown keys are ignored, and keys that may be absent have a default. Words of a list
//! that may grow are strings.

pub mod at;
pub mod client;
pub mod devices;
pub mod doctor;
pub mod error;
pub mod events;
pub mod history;
pub mod inbox;
pub mod log;
pub mod messages;
pub mod modems;
pub mod queue;
pub mod reload;
