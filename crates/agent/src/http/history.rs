//! `GET /api/v1/modems/NAME/history`: the last hour and day of a modem; `GET /api/v1/events/history`: what happened
//! to the fleet.

use api::events::History;
use api::history::ModemHistory;
use axum::Json;
use axum::extract::{Path, RawQuery, State};

use super::error::ApiError;
use super::modems::{self, Status};
use super::query::Query;
use crate::chronicle::Chronicle;
use crate::now::View;

/// The events of a page by default, and at most.
const PAGE: (usize, usize) = (100, 500);

/// Answers with the courses of one modem.
///
/// # Errors
/// [`ApiError`]: 404 for an unknown modem.
pub(super) async fn modem(
    State(status): State<Status>,
    State(view): State<View>,
    Path(name): Path<String>,
) -> Result<Json<ModemHistory>, ApiError> {
    modems::named(&view, &name)?;
    Ok(Json(status.history_of(&name)))
}

/// Answers with a page of events, the newest first.
///
/// # Errors
/// [`ApiError`]: 400 for a parameter. A modem that is not in the fleet any more may have events.
pub(super) async fn events(
    State(chronicle): State<Chronicle>,
    RawQuery(query): RawQuery,
) -> Result<Json<History>, ApiError> {
    let mut query = Query::once(query.as_deref(), &["modem", "before", "limit"])
        .map_err(ApiError::parameter)?;
    let modem = query.take("modem");
    let before = number(&mut query, "before")?.unwrap_or(u64::MAX);
    let limit = number(&mut query, "limit")?.map(|limit| usize::try_from(limit).unwrap_or(PAGE.1));
    let limit = limit.unwrap_or(PAGE.0);
    if !(1..=PAGE.1).contains(&limit) {
        let words = format!("limit is a number from 1 to {}", PAGE.1);
        return Err(ApiError::bad("parameter", words));
    }
    let (events, has_more) = chronicle.page(modem.as_deref(), before, limit);
    let next = events.last().map(|last| last.id).filter(|_| has_more);
    Ok(Json(History { events, next }))
}

fn number(query: &mut Query<'_>, key: &'static str) -> Result<Option<u64>, ApiError> {
    let wrong = |text: &str| ApiError::bad("parameter", format!("{key} is a number, not {text:?}"));
    query.take(key).map(|text| text.parse().map_err(|_| wrong(&text))).transpose()
}
