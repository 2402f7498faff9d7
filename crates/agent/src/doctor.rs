//! What is wrong with a gateway, and what to do about it.
//!
//! Facts are collected in one place ([`host`], [`survey`]) and judged in another: what judges is a function
//! from facts to findings that touches nothing, so that any state of a gateway can be tested. Who collects
//! matters: of rights, secrets and its queue only the agent's own process knows (its user, its sandbox, its
//! credentials), of ModemManager and who has a port open only one outside of that sandbox does.

pub mod budget;
pub mod gateway;
pub mod host;
pub mod modem;
pub mod port;
pub mod rights;
pub mod service;
pub mod session;
pub mod survey;
pub mod usb;

use api::doctor::Finding;
