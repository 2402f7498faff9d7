//! Faults of a gateway, and their cures.
//!
//! Facts are collected in one place ([`host`], [`survey`]) and judged in another. A judge is a pure
//! function from facts to findings, so that tests can cover any state of a gateway.
//!
//! Two processes collect. Only the agent's own process knows its rights, secrets and queue (its
//! user, its sandbox, its credentials). Only a process outside of that sandbox sees ModemManager
//! and the holders of ports.

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
