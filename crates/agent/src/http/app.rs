//! The parts of the agent that the handlers of the API share.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use modem::console::Commands;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::accept::Places;
use super::bounds::Bounds;
use super::error::ApiError;
use super::guesses::Guesses;
use super::token::{Door, Tokens};
use crate::chronicle::Chronicle;
use crate::logging::Log;
use crate::messages::downlink::Downlink;
use crate::messages::forward::Given;
use crate::messages::hand_in::HandIn;
use crate::metrics::Metrics;
use crate::metrics::labels::HttpRefusal;
use crate::modems::devices::Devices;
use crate::now::{ModemView, View};
use crate::reload::{Planner, Reloads};
use crate::upkeep::history::History;

/// No request takes longer than one fsync of a slow card; a client that sends its body drop by drop
/// is cut off.
pub(super) const REQUEST: Duration = Duration::from_secs(30);

/// The parts of the agent, for the handlers.
#[derive(Clone)]
pub struct App {
    /// The way in of messages.
    pub hand_in: HandIn,
    /// The messages that sessions receive.
    pub downlink: Downlink,
    /// The session that has each message.
    pub given: Given,
    /// The modems and sessions that run now.
    pub view: View,
    /// The devices that are plugged in.
    pub devices: Devices,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The last day's signals and messages.
    pub history: Arc<History>,
    /// The history of events.
    pub chronicle: Chronicle,
    /// Places for connections over all doors.
    pub places: Places,
    /// Places for costly requests.
    pub bounds: Bounds,
    /// The tables that judge commands to modems.
    pub commands: Commands,
    /// The log.
    pub log: Log,
    /// Tokens that callers of the API must show over TCP.
    pub tokens: watch::Receiver<Tokens>,
    /// Wrong tokens that were shown.
    pub guesses: Arc<Guesses>,
    /// The listener by which the callers of this router come.
    pub door: Door,
    /// Requests of reloads.
    pub reloads: Reloads,
    /// Planner that compares other fleet files with the running one.
    pub planner: Planner,
    /// Cancelled when the agent ends: it then takes no more messages.
    pub stop: CancellationToken,
}

impl App {
    /// The modem of this name, or 404.
    pub(super) fn modem(&self, name: &str) -> Result<ModemView, ApiError> {
        self.view.now().modem(name).cloned().ok_or_else(|| {
            let words = format!("the fleet has no modem {name:?}");
            ApiError::new(StatusCode::NOT_FOUND, "unknown_modem", words)
        })
    }
}

impl App {
    /// Counts a refusal, and answers it.
    pub(super) fn refuse(&self, why: HttpRefusal) -> Response {
        self.metrics.applications.http_refused(why);
        why.into_response()
    }
}
