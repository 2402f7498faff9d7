//! The parts of the agent that the routes use. A handler names the part that it takes (`State<HandIn>`).

use std::sync::Arc;

use axum::extract::FromRef;

use super::actions::Notes;
use super::console::Console;
use super::gate::Gate;
use super::modems::Status;
use super::queue::Listings;
use super::receipts::Receipts;
use super::reload::Reloading;
use super::stream::Streams;
use crate::chronicle::Chronicle;
use crate::logging::Log;
use crate::messages::hand_in::HandIn;
use crate::metrics::Metrics;
use crate::modems::devices::Devices;
use crate::now::View;

/// The parts of the agent, for the routes.
#[derive(Clone)]
pub struct App {
    /// The right of each caller.
    pub gate: Gate,
    /// The way in of messages.
    pub hand_in: HandIn,
    /// The place of each message.
    pub receipts: Receipts,
    /// Event streams of messages that sessions receive, and the inbox.
    pub streams: Streams,
    /// The modems and sessions that run now.
    pub view: View,
    /// The same for the status page, with the last hour's signals.
    pub status: Status,
    /// The devices that are plugged in.
    pub devices: Devices,
    /// The history of events.
    pub chronicle: Chronicle,
    /// Pages of the queue.
    pub listings: Listings,
    /// Commands to modems.
    pub console: Console,
    /// Requests of reloads, and plans of them.
    pub reloading: Reloading,
    /// The log.
    pub log: Log,
    /// The metrics.
    pub metrics: Arc<Metrics>,
}

/// The state of the router. Every layer clones it for every request.
#[derive(Clone)]
pub(super) struct Shared(Arc<App>);

impl Shared {
    pub(super) fn new(app: App) -> Self {
        Self(Arc::new(app))
    }
}

/// Lets handlers take a part of [`App`] by its type.
macro_rules! parts {
    ($($name:ident: $part:ty,)*) => {
        $(impl FromRef<Shared> for $part {
            fn from_ref(shared: &Shared) -> Self {
                shared.0.$name.clone()
            }
        })*
    };
}

parts! {
    chronicle: Chronicle,
    gate: Gate,
    hand_in: HandIn,
    receipts: Receipts,
    streams: Streams,
    view: View,
    status: Status,
    devices: Devices,
    listings: Listings,
    console: Console,
    reloading: Reloading,
    log: Log,
    metrics: Arc<Metrics>,
}

impl FromRef<Shared> for Notes {
    fn from_ref(shared: &Shared) -> Self {
        Self::new(shared.0.gate.clone(), shared.0.chronicle.clone())
    }
}
