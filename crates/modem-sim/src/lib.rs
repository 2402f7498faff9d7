//! A simulated cellular modem on a pty, a tty or in memory. Its MQTT clients are real clients at a real broker;
//! faults occur on demand. It shares no code with the AT engine, so that a misreading of a manual is not made
//! twice.
//!
//! ```no_run
//! # async fn example() -> Result<(), modem_sim::PortError> {
//! use modem_sim::{Model, Modem, Options};
//! let options =
//!     Options { broker: Some("127.0.0.1:1883".into()), ..Options::new(Model::Sim7600) };
//! let modem = Modem::new(options).on_pty(None)?;
//! let handle = modem.handle();
//! println!("{:?}", handle.tty());
//! modem.run().await;
//! # Ok(()) }
//! ```
//!
//! # Limits
//! - TLS of CMQTT and QMT is real, TLS 1.2 alone. The name in the broker's certificate is not compared.
//!   Encrypted keys (`keypwd`), `ciphersuites` and `negotiatetime` are kept and shown only.
//! - CMQ over TLS (`CMQTTSNEW`), the clouds' commands, and the quality of service of a received message are
//!   missing.
//! - `"argtopic"` of an A76xx changes received messages and SUB; not PUB and UNSUB.
//! - The data mode of `QFUPL` waits for its data for ever; real units stop waiting.
//! - Text messages are received only, and none can be read from the store.
//! - The SIM7020's MQTT stack has a single illness: `no-data`.
//! - Several commands in a line, calls and data over PPP are missing.
//!
//! # Adding to it
//! A model of a known dialect is a variant of [`Model`] and its answers there. Another dialect is a module
//! beside `cmqtt`, `cmq` and `qmt` with a `Stack`, a line in `dialect`, and orders to the same broker
//! connections.

mod broker;
mod clock;
mod cmq;
mod cmqtt;
mod command;
mod commands;
mod course;
mod dialect;
mod dispatch;
mod fault;
mod firmware;
mod fleet;
mod handle;
mod health;
mod illness;
mod later;
mod model;
mod modem;
mod network;
mod options;
mod output;
mod port;
mod port_state;
mod power;
mod prompt;
mod qmt;
mod quectel;
mod reply;
mod sim_card;
mod sms;
mod stack;
mod tls;
mod ufs;
mod unit;

pub use crate::{
    fault::{Fault, FaultError, FaultRate, Faults},
    fleet::{Fleet, FleetOptions, Member, run},
    handle::{Handle, HandleError},
    illness::{Cure, Forgery, Illness, IllnessError, Onset, Symptom},
    model::{Model, Order, UnknownModel},
    modem::Modem,
    options::{
        Access, Clock, Coverage, Options, PUK, Radio, Registration, Signal, UnknownRegistration,
    },
    port::{PortError, Wire},
};
