//! The client of the agent's HTTP API, and how the command line finds the running agent.

pub mod client;
