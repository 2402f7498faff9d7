//! The HTTP API of the agent: its answers, by path, a client of it, and how the command line finds the running agent.
//!
//! The agent fills the types, and clients read them. A client may be of another version than its agent: unknown
//! keys are ignored, what may be absent has a default, and words of a list that may grow are texts.

pub mod at;
pub mod client;
pub mod devices;
pub mod doctor;
pub mod error;
pub mod inbox;
pub mod log;
pub mod messages;
pub mod modems;
pub mod queue;
pub mod reload;
