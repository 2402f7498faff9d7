//! `GET` and `PUT /api/v1/log`: what is logged, and whose AT dialogue, changed while the agent runs;
//! `GET /api/v1/log/recent`: the last of it, for a support bundle.

use std::sync::Arc;
use std::time::Duration;

use api::log::{Change, Logged};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::Value;

use super::app::App;
use super::error::ApiError;

/// A dialogue is logged for this long where nobody says how long: it is chatty, and easily forgotten.
const TRACED: Duration = Duration::from_secs(600);

/// The longest that can be asked for.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

pub(super) async fn read(State(app): State<Arc<App>>) -> axum::Json<Logged> {
    axum::Json(now(&app))
}

/// The last of the log and of each modem's AT dialogue.
pub(super) async fn recent(State(app): State<Arc<App>>) -> axum::Json<Value> {
    axum::Json(app.log.recent().json())
}

fn now(app: &App) -> Logged {
    Logged { filter: app.log.filter(), traced: app.log.traced().names() }
}

/// Changes what is logged, and answers what is logged now.
pub(super) async fn change(
    State(app): State<Arc<App>>,
    body: Bytes,
) -> Result<axum::Json<Logged>, ApiError> {
    let bad = |code, words: String| ApiError::new(StatusCode::BAD_REQUEST, code, words);
    let change: Change =
        serde_json::from_slice(&body).map_err(|error| bad("body", error.to_string()))?;
    for modem in change.trace.iter().chain(&change.untrace) {
        app.modem(modem)?;
    }
    let time = change.for_seconds.map_or(TRACED, Duration::from_secs);
    if time.is_zero() || time > LONGEST {
        return Err(bad("for_seconds", "a dialogue is logged for 1 to 86400 seconds".to_owned()));
    }
    if let Some(filter) = &change.filter {
        app.log.set_filter(filter).map_err(|words| bad("filter", words))?;
        tracing::info!(filter, "log filter changed");
    }
    if let Some(modem) = &change.trace {
        app.log.traced().set(modem, time);
        tracing::info!(modem, seconds = time.as_secs(), "trace of the AT dialogue started");
    }
    if let Some(modem) = &change.untrace {
        app.log.traced().set(modem, Duration::ZERO);
    }
    Ok(axum::Json(now(&app)))
}
