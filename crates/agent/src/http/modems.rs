//! `GET /api/v1/modems`: the fleet, its sessions and its queue.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::State;
use queue::Queue;
use serde_json::{Map, Value, json};

use super::app::App;
use crate::activity::Activity;
use crate::budget::Standing;
use crate::now::{ModemView, Security, SessionView};
use crate::upkeep::history;

/// Answers with the fleet.
pub(super) async fn modems(State(app): State<Arc<App>>) -> axum::Json<Value> {
    axum::Json(fleet(&app))
}

/// Returns the fleet for this path and for the status page.
pub(super) fn fleet(app: &App) -> Value {
    let now = app.view.now();
    let modem = |modem: &ModemView| {
        let activity = modem.activity.read();
        modem_json(modem, &activity, app.history.of(&modem.name))
    };
    let modems: Vec<Value> = now.modems.iter().map(modem).collect();
    json!({
        "gateway": now.fleet.gateway.as_str(),
        "version": crate::version::NUMBER,
        "commit": crate::version::COMMIT,
        "modems": modems,
        "queue": queue_json(&app.view.queue),
    })
}

fn modem_json(modem: &ModemView, activity: &Activity, history: Vec<Option<f64>>) -> Value {
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("name", json!(modem.name));
    put("port", json!(modem.port));
    if let Some(usb_path) = &modem.usb_path {
        put("usb_path", json!(usb_path));
    }
    if let Some((measure, dbm)) = history::signal(&modem.snapshot.borrow()) {
        put("signal", json!({ "measure": measure, "dbm": dbm }));
    }
    put("signal_history_dbm", json!(history));
    put("recoveries", json!(activity.recoveries));
    if let Some(standing) = modem.standing() {
        put("budget", budget_json(&standing));
    }
    if let Some(busy) = &activity.busy {
        put("busy", json!(busy));
    }
    put("sessions", modem.sessions.iter().map(|session| session_json(session, activity)).collect());
    if let Ok(Value::Object(snapshot)) = serde_json::to_value(&*modem.snapshot.borrow()) {
        object.extend(snapshot);
    }
    Value::Object(object)
}

fn budget_json(standing: &Standing) -> Value {
    let mut object = json!({ "bytes": standing.bytes, "stage": standing.stage });
    let Value::Object(map) = &mut object else { return object };
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    if let (Some(used), Some(left)) = (standing.used, standing.left()) {
        put("used_bytes", json!(used));
        put("left_bytes", json!(left));
    }
    if let Some(at) = standing.resets_at {
        put("resets_at", json!(at.to_string()));
    }
    if let Some(words) = standing.words() {
        put("reason", json!(words));
    }
    object
}

fn session_json(session: &SessionView, activity: &Activity) -> Value {
    let state = session.state();
    let name = session.id.session.as_str();
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| drop(object.insert(key.to_owned(), value));
    put("name", json!(name));
    put("broker", json!(session.broker));
    match session.security {
        Security::Plain => {}
        Security::Tls => put("tls", json!("on")),
        Security::InsecureTls => put("tls", json!("insecure")),
    }
    put("phase", json!(state.phase));
    put("connected", json!(state.is_connected()));
    if let Some(reason) = state.reason {
        put("reason", json!(reason));
    }
    if let Some(when) = activity.last_ack.get(name) {
        put("last_ack_timestamp_seconds", json!(when));
    }
    Value::Object(object)
}

fn queue_json(queue: &Queue) -> Value {
    let stat = queue.stat();
    let dropped: Value = stat.dropped.by_reason().into_iter().collect();
    let mut object = json!({
        "messages": stat.messages,
        "bytes": stat.bytes,
        "limit_bytes": queue.max_bytes(),
        "set_aside": stat.aside.messages,
        "dropped": dropped,
    });
    if let (Some(age), Value::Object(object)) = (oldest_age(queue), &mut object) {
        object.insert("oldest_age_seconds".to_owned(), json!(age.as_secs()));
    }
    object
}

/// Returns how long the oldest message has waited, if there is one.
fn oldest_age(queue: &Queue) -> Option<Duration> {
    SystemTime::now().duration_since(queue.stat().oldest?).ok()
}
