//! `GET /api/v1/devices`: every USB modem, its entry of the fleet file, and the programs that have its ports.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use api::devices::Devices;
use axum::extract::{RawQuery, State};
use serde_json::json;
use tokio::time::Instant;

use super::error::ApiError;
use super::query::Query;
use super::stream::Streams;
use crate::modems::devices::DeviceReport;

/// The longest that a caller is kept waiting for news; proxies and the server itself give up later.
const NEWS: Duration = Duration::from_secs(20);

/// Answers with the devices; `after` is the `version` of the last answer, and waits until there is another, for a while.
///
/// # Errors
/// [`ApiError`]: 400 for a parameter.
pub(super) async fn devices(
    State(all): State<crate::modems::devices::Devices>,
    State(streams): State<Streams>,
    RawQuery(query): RawQuery,
) -> Result<axum::Json<Devices<DeviceReport>>, ApiError> {
    let after =
        Query::once(query.as_deref(), &["after"]).map_err(ApiError::parameter)?.take("after");
    let end = Instant::now() + NEWS;
    loop {
        let now = document(&all).await;
        let is_news = after.as_ref() != Some(&now.version);
        if is_news || Instant::now() >= end || streams.stop().is_cancelled() {
            return Ok(axum::Json(now));
        }
        // Both arms are cancel safe, and none awaits in its body.
        tokio::select! {
            () = all.changed() => {}
            () = streams.stop().cancelled() => {}
        }
    }
}

async fn document(all: &crate::modems::devices::Devices) -> Devices<DeviceReport> {
    let devices = all.report().await;
    let mut hasher = DefaultHasher::new();
    json!(devices).to_string().hash(&mut hasher);
    Devices { version: format!("{:016x}", hasher.finish()), devices }
}
