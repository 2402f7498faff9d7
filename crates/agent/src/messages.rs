//! Messages: in from applications, through the queue and a modem's session, and what comes down.

pub mod backlog;
pub mod downlink;
pub mod forward;
pub mod hand_in;
pub mod receipt;
