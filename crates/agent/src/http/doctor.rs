//! `GET /api/v1/doctor`: what is wrong, as the agent's own process sees it.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::app::App;
use super::error::ApiError;
use crate::doctor::survey;

/// Who asks while another is served waits: two at once would only keep the modems busy for longer.
static TURN: Semaphore = Semaphore::const_new(1);

/// What may be asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// A modem of the fleet: of it alone.
    modem: Option<String>,
}

pub(super) async fn doctor(
    State(app): State<Arc<App>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<axum::Json<Value>, ApiError> {
    let Query(asked) = asked?;
    let only = asked.modem.as_deref();
    if let Some(name) = only {
        app.modem(name)?;
    }
    let _turn = TURN.acquire().await;
    let findings = survey::by_agent(&app.view, &app.devices, only).await;
    Ok(axum::Json(json!({ "findings": findings })))
}
