//! `POST /api/v1/reload`: the fleet file is read again; `…/plan` lists the changes that another one would make.

use std::path::PathBuf;
use std::sync::Arc;

use api::reload::Plan;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::error::ApiError;
use super::query::Query;
use crate::reload::{Planner, Refused, Reloads, Sent};

/// The longest name of a file, and of its folder: every path of the file that is not absolute gets the folder.
const MAX_PATH: usize = 1024;

/// Fleet files that are sent and judged at the same time: each is up to a megabyte, and more while it is read.
const UPLOADS: usize = 4;

/// Requests of reloads, and plans of them.
#[derive(Clone)]
pub struct Reloading {
    reloads: Reloads,
    planner: Planner,
    uploads: Arc<Semaphore>,
}

impl Reloading {
    /// Asks for reloads, and has other fleet files compared with the running one.
    pub fn new(reloads: Reloads, planner: Planner) -> Self {
        Self { reloads, planner, uploads: Arc::new(Semaphore::new(UPLOADS)) }
    }
}

/// Lets a request with a fleet file through if there is a place for it; its body is not read before.
pub(super) async fn has_place(
    State(reloading): State<Reloading>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let Ok(_place) = reloading.uploads.try_acquire() else {
        let words = format!("{UPLOADS} fleet files are being sent or checked; try again later");
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "busy", words));
    };
    Ok(next.run(request).await)
}

/// Reads the fleet file again, and answers once it is applied.
///
/// # Errors
/// [`ApiError`]: 422 if the file is refused, 429 if too many wait, 503 while the agent ends.
pub(super) async fn apply(State(reloading): State<Reloading>) -> Result<Json<Plan>, ApiError> {
    let lines = reloading.reloads.ask().await.map_err(refused)?;
    Ok(Json(lines.into()))
}

/// Answers with the changes that a reload of the fleet file in the body would make. `name` is its name for messages,
/// `folder` is the folder of relative paths in it.
///
/// # Errors
/// [`ApiError`]: 400 for a parameter, 422 if the file is refused, 429 while another one is judged, 503 while the
/// agent ends.
pub(super) async fn plan(
    State(reloading): State<Reloading>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Result<Json<Plan>, Response> {
    let sent = sent(query.as_deref(), body).map_err(IntoResponse::into_response)?;
    let lines = reloading.planner.plan(sent).await.map_err(not_planned)?;
    Ok(Json(lines.into()))
}

/// The file, with its name and folder from the query.
fn sent(query: Option<&str>, body: Bytes) -> Result<Sent, ApiError> {
    let bad = |words: String| ApiError::new(StatusCode::BAD_REQUEST, "parameter", words);
    let mut query = Query::repeated(query, &["name", "folder"]).map_err(bad)?;
    let name = query.take("name").unwrap_or_else(|| "fleet.yaml".to_owned());
    let folder: PathBuf = query.take("folder").unwrap_or_default().into();
    if let Some((key, _)) = [("name", name.len()), ("folder", folder.as_os_str().len())]
        .into_iter()
        .find(|(_, length)| *length > MAX_PATH)
    {
        return Err(bad(format!("{key} has more than {MAX_PATH} bytes")));
    }
    Ok(Sent { name, folder, text: body.into() })
}

fn not_planned(why: Refused) -> Response {
    let is_busy = matches!(why, Refused::Planning);
    let mut response = refused(why).into_response();
    if is_busy {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn refused(refused: Refused) -> ApiError {
    let (status, code) = match &refused {
        Refused::File(_) | Refused::Models(_) | Refused::Secret(_) | Refused::Books(_) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "refused")
        }
        Refused::Thread => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        Refused::Busy | Refused::Planning => (StatusCode::TOO_MANY_REQUESTS, "busy"),
        Refused::Ending => (StatusCode::SERVICE_UNAVAILABLE, "ending"),
    };
    ApiError::new(status, code, modem::session::Chain(&refused).to_string())
}
