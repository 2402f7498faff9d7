//! `GET /api/v1/doctor`: the faults that the agent's own process finds.

use api::doctor::Findings;
use axum::extract::{RawQuery, State};
use tokio::sync::Semaphore;

use super::error::ApiError;
use super::modems;
use super::query::Query;
use crate::doctor::survey;
use crate::modems::devices::Devices;
use crate::now::View;

/// One request at a time: two would only keep the modems busy for longer.
static TURN: Semaphore = Semaphore::const_new(1);

/// Answers with the findings, of one `modem` or of all.
///
/// # Errors
/// [`ApiError`]: 400 for a parameter, 404 for an unknown modem.
pub(super) async fn doctor(
    State(view): State<View>,
    State(devices): State<Devices>,
    RawQuery(query): RawQuery,
) -> Result<axum::Json<Findings>, ApiError> {
    let only =
        Query::once(query.as_deref(), &["modem"]).map_err(ApiError::parameter)?.take("modem");
    let only = only.as_deref();
    if let Some(name) = only {
        modems::named(&view, name)?;
    }
    let _turn = TURN.acquire().await;
    let findings = survey::by_agent(&view, &devices, only).await;
    Ok(axum::Json(Findings { findings }))
}
