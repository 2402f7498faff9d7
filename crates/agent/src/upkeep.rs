//! The agent's own upkeep: health, the service manager, file descriptors, histories and telemetry.

pub mod descriptors;
pub mod follow;
pub mod health;
pub mod history;
pub mod systemd;
pub mod telemetry;
