//! `GET /api/v1/modems`: the fleet, its sessions and its queue.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::modems::{Budget, Fleet, Level, Modem, Session};
use axum::extract::State;
use modem::Snapshot;
use queue::Queue;

use super::app::App;
use crate::activity::Activity;
use crate::budget::Standing;
use crate::now::{ModemView, Security, SessionView};
use crate::upkeep::history;

/// Answers with the fleet.
pub(super) async fn modems(State(app): State<Arc<App>>) -> axum::Json<Fleet<Snapshot>> {
    axum::Json(fleet(&app))
}

/// Returns the fleet for this path and for the status page.
pub(super) fn fleet(app: &App) -> Fleet<Snapshot> {
    let now = app.view.now();
    Fleet {
        gateway: now.fleet.gateway.to_string(),
        version: crate::version::NUMBER.to_owned(),
        commit: crate::version::COMMIT.to_owned(),
        modems: now.modems.iter().map(|view| modem(app, view)).collect(),
        queue: Some(figures(&app.view.queue)),
        asks_for_token: app.tokens.borrow().are_asked_for(),
    }
}

fn modem(app: &App, view: &ModemView) -> Modem<Snapshot> {
    let activity = view.activity.read();
    let snapshot = view.snapshot.borrow().clone();
    let level = |(measure, dbm): (&str, f64)| Level { measure: measure.to_owned(), dbm };
    Modem {
        name: view.name.clone(),
        port: view.port.clone(),
        usb_path: view.usb_path.clone(),
        signal: history::signal(&snapshot).map(level),
        signal_history_dbm: app.history.of(&view.name),
        recoveries: activity.recoveries,
        budget: view.standing().as_ref().map(budget),
        sessions: view.sessions.iter().map(|view| session(view, &activity)).collect(),
        snapshot,
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
