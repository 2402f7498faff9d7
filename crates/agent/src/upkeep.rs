//! The agent's own upkeep: health, the service manager, file descriptors, history and telemetry.

pub mod descriptors;
pub mod health;
pub mod history;
pub mod systemd;
pub mod telemetry;
