//! `GET /api/v1/modems`: the fleet, its sessions and its queue.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::history::ModemHistory;
use api::modems::{Budget, Fleet, Level, Modem, Session};
use axum::extract::State;
use axum::http::StatusCode;
use modem::Snapshot;
use queue::Queue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::error::ApiError;
use super::token::Tokens;
use crate::activity::Activity;
use crate::budget::Standing;
use crate::now::{ModemView, Security, SessionView, View};
use crate::upkeep::history::{self, History};

/// Answers with the fleet.
pub(super) async fn modems(State(status): State<Status>) -> axum::Json<Fleet<Snapshot>> {
    axum::Json(status.fleet())
}

/// The modem of this name, or 404.
pub(super) fn named(view: &View, name: &str) -> Result<ModemView, ApiError> {
    view.now().modem(name).cloned().ok_or_else(|| {
        let words = format!("the fleet has no modem {name:?}");
        ApiError::new(StatusCode::NOT_FOUND, "unknown_modem", words)
    })
}

/// Open status pages.
const PAGES: usize = 32;

/// The fleet as the API and the status page show it.
#[derive(Clone)]
pub struct Status {
    view: View,
    history: Arc<History>,
    tokens: watch::Receiver<Tokens>,
    pages: Arc<Semaphore>,
}

impl Status {
    /// Shows this fleet, with no signals yet.
    pub fn new(view: View, tokens: watch::Receiver<Tokens>) -> Self {
        Self { view, history: Arc::default(), tokens, pages: Arc::new(Semaphore::new(PAGES)) }
    }

    /// Returns the last hour and day of a modem.
    pub(super) fn history_of(&self, name: &str) -> ModemHistory {
        self.history.all_of(name)
    }

    /// Takes down the signals, until `stop`.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn keep(&self, stop: &CancellationToken) {
        self.history.keep(&self.view, stop).await;
    }

    /// A place for one more page that is open.
    ///
    /// # Errors
    /// [`ApiError`]: 503 if all are taken.
    pub(super) fn open_page(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.pages).try_acquire_owned().map_err(|_| {
            let words = format!("{PAGES} pages are open; close one");
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_many", words)
        })
    }

    /// Returns the fleet for this path and for the status page.
    pub(super) fn fleet(&self) -> Fleet<Snapshot> {
        let now = self.view.now();
        Fleet {
            gateway: now.fleet.gateway.to_string(),
            version: crate::version::NUMBER.to_owned(),
            commit: crate::version::COMMIT.to_owned(),
            modems: now.modems.iter().map(|view| self.modem(view)).collect(),
            queue: Some(figures(&self.view.queue)),
            asks_for_token: self.tokens.borrow().are_asked_for(),
        }
    }

    fn modem(&self, view: &ModemView) -> Modem<Snapshot> {
        let activity = view.activity.read();
        let snapshot = view.snapshot.borrow().clone();
        let level = |(measure, dbm): (&str, f64)| Level { measure: measure.to_owned(), dbm };
        Modem {
            name: view.name.clone(),
            port: view.port.clone(),
            usb_path: view.usb_path.clone(),
            signal: history::signal(&snapshot).map(level),
            signal_history_dbm: self.history.of(&view.name),
            recoveries: activity.recoveries,
            budget: view.standing().as_ref().map(budget),
            sessions: view.sessions.iter().map(|view| session(view, &activity)).collect(),
            snapshot,
        }
    }
}

fn budget(standing: &Standing) -> Budget {
    Budget {
        bytes: standing.bytes,
        stage: standing.stage.as_str().to_owned(),
        used_bytes: standing.used,
        left_bytes: standing.left(),
        resets_at: standing.resets_at.map(|at| at.to_string()),
        reason: standing.words(),
    }
}

fn session(view: &SessionView, activity: &Activity) -> Session {
    let state = view.state();
    let name = view.id.session.as_str();
    let tls = match view.security {
        Security::Plain => None,
        Security::Tls => Some("on"),
        Security::InsecureTls => Some("insecure"),
    };
    Session {
        name: name.to_owned(),
        broker: view.broker.clone(),
        tls: tls.map(str::to_owned),
        phase: state.phase.as_str().to_owned(),
        connected: state.is_connected(),
        reason: state.reason,
        last_ack_timestamp_seconds: activity.last_ack.get(name).copied(),
    }
}

fn figures(queue: &Queue) -> api::modems::Queue {
    let stat = queue.stat();
    api::modems::Queue {
        messages: stat.messages,
        bytes: stat.bytes,
        limit_bytes: queue.max_bytes(),
        set_aside: stat.aside.messages,
        dropped: stat.dropped.by_reason().map(|(reason, count)| (reason.to_owned(), count)).into(),
        oldest_age_seconds: oldest_age(queue).map(|age| age.as_secs()),
    }
}

/// Returns how long the oldest message has waited, if there is one.
fn oldest_age(queue: &Queue) -> Option<Duration> {
    SystemTime::now().duration_since(queue.stat().oldest?).ok()
}
