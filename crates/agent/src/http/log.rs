//! `GET` and `PUT /api/v1/log`: the log's filter, and the modems whose AT dialogue is logged, changed while the agent runs;
//! `GET /api/v1/log/recent`: the last of it, for a support bundle.

use std::time::Duration;

use api::log::{Change, Logged};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::Value;

use super::error::ApiError;
use super::modems;
use crate::logging::Log;
use crate::now::View;

/// The time for which a dialogue is logged unless the request says another: it is chatty, and easily forgotten.
const TRACED: Duration = Duration::from_secs(600);

/// The longest that can be asked for.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

pub(super) async fn read(State(log): State<Log>) -> axum::Json<Logged> {
    axum::Json(now(&log))
}

/// The last of the log and of each modem's AT dialogue.
pub(super) async fn recent(State(log): State<Log>) -> axum::Json<Value> {
    axum::Json(log.recent().json())
}

fn now(log: &Log) -> Logged {
    Logged { filter: log.filter(), traced: log.traced().names() }
}

/// Changes the filter and the dialogues, and answers with the new state.
pub(super) async fn change(
    State(log): State<Log>,
    State(view): State<View>,
    body: Bytes,
) -> Result<axum::Json<Logged>, ApiError> {
    let bad = |code, words: String| ApiError::new(StatusCode::BAD_REQUEST, code, words);
    let change: Change =
        serde_json::from_slice(&body).map_err(|error| bad("body", error.to_string()))?;
    for name in change.trace.iter().chain(&change.untrace) {
        modems::named(&view, name)?;
    }
    let time = change.for_seconds.map_or(TRACED, Duration::from_secs);
    if time.is_zero() || time > LONGEST {
        return Err(bad("for_seconds", "a dialogue is logged for 1 to 86400 seconds".to_owned()));
    }
    if let Some(filter) = &change.filter {
        log.set_filter(filter).map_err(|words| bad("filter", words))?;
        tracing::info!(filter, "log filter changed");
    }
    if let Some(modem) = &change.trace {
        log.traced().set(modem, time);
        tracing::info!(modem, seconds = time.as_secs(), "trace of the AT dialogue started");
    }
    if let Some(modem) = &change.untrace {
        log.traced().set(modem, Duration::ZERO);
    }
    Ok(axum::Json(now(&log)))
}
