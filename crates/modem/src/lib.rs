//! One modem: the task that owns its tty, the profile of its model, the life of its MQTT sessions.
//!
//! A [`Modem`] is built from its settings in the fleet and run as one task. Inside, straight-line
//! code takes it from an open port to service: identify, SIM, network, MQTT service, sessions.
//! Three things go on beside that line, all in the same task: the port ([`port`]), the sorting of
//! unsolicited result codes, and the status poll. The ladder of [`recovery`] brings back a modem
//! that stops answering. The steps of that line change the modem's state (`core`), which does not
//! depend on them.
//!
//! The crate does not know the fleet file, udev, HTTP, the disk or any concrete model. Models come
//! in as a [`Catalog`], and events to count go out to an [`Observer`]. Messages come in by an
//! [`Uplink`] and go out to an [`Inbox`].

mod apn;
pub mod attach;
pub mod backoff;
mod card;
pub mod catalog;
mod chain;
mod climb;
mod clock;
mod closed;
pub mod console;
mod core;
mod end;
pub mod environment;
pub mod exam;
mod exchange;
pub mod flapping;
pub mod foreign;
pub mod holder;
mod holders;
mod identify;
mod identity;
mod kept;
mod known;
mod limits;
pub mod location;
mod message;
pub mod modem;
pub mod mqtt;
pub mod observe;
mod place;
pub mod port;
pub mod probe;
pub mod profile;
mod radio;
pub mod recording;
pub mod recovery;
pub mod reply;
pub mod reset;
mod roster;
pub mod script;
mod search;
pub mod serial;
mod service;
mod serving;
pub mod session;
mod shared;
pub mod sim;
pub mod snapshot;
mod step;
mod text_messages;
pub mod tls;
pub mod transcript;
pub mod tty;
pub mod turns;
mod urc_listeners;
mod veto;
mod vitals;

pub use catalog::Catalog;
pub use environment::{Environment, Privileged};
pub use location::Location;
pub use message::Inbox;
pub use modem::{Modem, ModemConfig};
pub use observe::{Observer, RecoveryCause};
pub use port::At;
pub use profile::{Plugin, Profile};
pub use recovery::Recovery;
pub use roster::Roster;
pub use session::{Session, SessionConfig, SessionState, Uplink, session};
pub use snapshot::{Snapshot, State};
