//! `GET /api/v1/devices`: every USB modem, whose it is, and who has its ports.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::app::App;
use super::error::ApiError;

/// How long a caller is kept waiting for news; proxies and the server itself give up later.
const NEWS: Duration = Duration::from_secs(20);

/// What may be asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// The `version` of the last answer: wait until there is another, for a while.
    after: Option<String>,
}

pub(super) async fn devices(
    State(app): State<Arc<App>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<axum::Json<Value>, ApiError> {
    let Query(asked) = asked?;
    let end = Instant::now() + NEWS;
    loop {
        let now = document(&app).await;
        let is_news = asked.after.as_deref() != now.get("version").and_then(Value::as_str);
        if is_news || Instant::now() >= end || app.stop.is_cancelled() {
            return Ok(axum::Json(now));
        }
        // Both arms are cancel safe, and none awaits in its body.
        tokio::select! {
            () = app.devices.changed() => {}
            () = app.stop.cancelled() => {}
        }
    }
}

async fn document(app: &App) -> Value {
    let devices = json!(app.devices.report().await);
    let mut hasher = DefaultHasher::new();
    devices.to_string().hash(&mut hasher);
    json!({ "devices": devices, "version": format!("{:016x}", hasher.finish()) })
}
