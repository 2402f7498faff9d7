//! The HTTP server: metrics, health, and the API for local applications.

mod accept;
mod actions;
mod app;
mod console;
mod devices;
mod doctor;
mod error;
mod gate;
mod guesses;
mod history;
mod inbox;
mod log;
mod messages;
mod modems;
mod page;
mod paths;
mod publish;
mod query;
mod queue;
mod receipts;
mod reload;
mod stream;
mod token;

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use modem::mqtt::MAX_PAYLOAD;
use prometheus::{Encoder, TextEncoder};
use rustix::net::{listen, sockopt};
use serde_json::json;
use tokio::net::{TcpListener, UnixListener, UnixSocket, UnixStream};
use tokio_util::sync::CancellationToken;
use tower_http::timeout::TimeoutLayer;
use tracing::Instrument as _;

use crate::messages::downlink::Downlink;
use crate::metrics::Metrics;
use crate::modems::devices::Devices;
use crate::now::{View, Waiting};
use crate::upkeep::health::{self, Degraded};
use fleet::printable::printable_lines;
use token::Right;

use accept::Origin;
use app::Shared;
use paths::{CONSOLE, MAX_FILE, PLAN, REQUEST};

pub use accept::Places;
pub use app::App;
pub use console::Console;
pub use error::ApiError;
pub use gate::Gate;
pub use modems::Status;
pub use queue::Listings;
pub use receipts::Receipts;
pub use reload::Reloading;
pub use stream::Streams;
pub use token::{Door, Tokens};

/// A message that a connected session could carry must not wait longer than this for the gateway to
/// count as ready.
const READY_AGE: Duration = Duration::from_secs(300);

/// Connections to the unix socket that wait to be taken; the system bounds it further (`somaxconn`).
const SOCKET_BACKLOG: u32 = 1_024;

/// All routes.
pub fn router(app: App) -> Router {
    let (gate, app) = (app.gate.clone(), Shared::new(app));
    let allowed = |least| middleware::from_fn_with_state((gate.clone(), least), gate::allowed);
    let publishing = Router::new()
        .route("/api/v1/messages/{id}", get(receipts::receipt))
        .route("/api/v1/outcomes", get(receipts::outcomes))
        .route("/api/v1/publish", post(publish::publish))
        .layer(allowed(Right::Publish));
    let api = Router::new()
        .merge(page::files())
        .route("/api/v1/devices", get(devices::devices))
        .route("/api/v1/doctor", get(doctor::doctor))
        .route("/api/v1/events", get(page::events))
        .route("/api/v1/events/history", get(history::events))
        .route("/api/v1/inbox", get(inbox::read).delete(inbox::confirm))
        .route("/api/v1/inbox/readers", get(inbox::readers))
        .route("/api/v1/log", get(log::read).put(log::change))
        .route("/api/v1/log/recent", get(log::recent))
        .route("/api/v1/messages", get(messages::messages))
        .route("/api/v1/modems", get(modems::modems))
        .route("/api/v1/modems/{name}/history", get(history::modem))
        .route("/api/v1/modems/{name}/reset", post(actions::reset))
        .route("/api/v1/modems/{name}/sessions/{session}/reconnect", post(actions::reconnect))
        .route("/api/v1/modems/{name}/sessions/{session}/test", post(actions::test))
        .route("/api/v1/queue", get(queue::stat))
        .route("/api/v1/queue/messages", get(queue::messages))
        .route("/api/v1/queue/requeue", post(queue::requeue))
        .route("/api/v1/queue/purge", post(queue::purge))
        .route("/api/v1/reload", post(reload::apply))
        .route(PLAN, plan(&app))
        .layer(middleware::from_fn_with_state(app.clone(), actions::noted))
        .layer(allowed(Right::All));
    // A command may wait for longer than a request.
    let console = Router::new()
        .route(CONSOLE, get(console::urcs).post(console::run))
        .layer(DefaultBodyLimit::max(console::MAX_BODY))
        .layer(allowed(Right::All))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, console::LONGEST));
    let open = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz));
    in_time(api.merge(publishing).merge(open))
        .merge(console)
        .fallback(|| async { ApiError::new(StatusCode::NOT_FOUND, "not_found", "no such path") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this path needs another method",
            )
        })
        // Read one byte more than a payload may have, so that too large a one gets our own answer.
        .layer(DefaultBodyLimit::max(MAX_PAYLOAD + 1))
        .layer(middleware::from_fn(json_errors))
        .layer(middleware::from_fn_with_state(gate, gate::passed))
        .layer(middleware::from_fn(in_span))
        .with_state(app)
}

/// Has the log name the request. The path is the route's: one that comes from outside may hold anything.
async fn in_span(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let path = route.map(MatchedPath::as_str);
    let span = tracing::error_span!("request", method = %request.method(), path);
    next.run(request).instrument(span).await
}

/// Gives requests to these routes a bounded time, and all of them the same.
fn in_time<S: Clone + Send + Sync + 'static>(routes: Router<S>) -> Router<S> {
    routes.layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST))
}

/// A fleet file is much larger than all other bodies, so only a few are taken at the same time.
fn plan(app: &Shared) -> MethodRouter<Shared> {
    post(reload::plan)
        .layer(DefaultBodyLimit::max(MAX_FILE))
        .layer(middleware::from_fn_with_state(app.clone(), reload::has_place))
}

/// The most bytes of a body at this path, and its name in a sentence.
fn most(path: &str) -> (usize, &'static str) {
    match path {
        PLAN => (MAX_FILE, "a fleet file has"),
        CONSOLE => (console::MAX_BODY, "a command and its data have"),
        _ => (MAX_PAYLOAD, "a payload has"),
    }
}

/// Reports whether a body is announced that is too large; it is refused before it comes.
fn is_announced_too_large(request: &Request, most: usize) -> bool {
    let Some(announced) = request.headers().get(header::CONTENT_LENGTH) else { return false };
    let bytes = announced.to_str().ok().and_then(|bytes| bytes.parse().ok());
    bytes.is_none_or(|bytes: usize| bytes > most)
}

/// Errors that the framework makes are plain text; ours are JSON, all of them.
async fn json_errors(request: Request, next: Next) -> Response {
    let most = most(request.uri().path());
    if is_announced_too_large(&request, most.0) {
        return too_large(most);
    }
    let response = next.run(request).await;
    let is_json =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    match response.status() {
        status if is_json || !status.is_client_error() => response,
        StatusCode::PAYLOAD_TOO_LARGE => too_large(most),
        status => {
            let message = "the request could not be read";
            ApiError::new(status, "bad_request", message).into_response()
        }
    }
}

fn too_large((most, what): (usize, &str)) -> Response {
    let message = format!("{what} at most {most} bytes");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message).into_response()
}

/// The text format; a scrape reads what is cached and never talks to a modem.
async fn metrics(State(metrics): State<Arc<Metrics>>, State(devices): State<Devices>) -> Response {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    devices.count();
    match encoder.encode(&metrics.registry().gather(), &mut text) {
        Ok(()) => {
            let kind = HeaderValue::from_static(prometheus::TEXT_FORMAT);
            // A modem's texts may hold anything, and `curl` shows them.
            let text = printable_lines(&String::from_utf8_lossy(&text));
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => {
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "metrics", error.to_string())
                .into_response()
        }
    }
}

/// Reports whether the loops make progress: a restart may cure it if they do not.
async fn livez(State(view): State<View>) -> Response {
    match health::check(&view.queue).await {
        Ok(()) => "ok\n".into_response(),
        Err(error) => unhealthy("queue", &error.to_string()),
    }
}

/// Reports the same, and whether the disks of queue and inbox take writes, which an operator has to cure.
async fn healthz(State(view): State<View>, State(streams): State<Streams>) -> Response {
    let alive = livez(State(view.clone())).await;
    if alive.status() != StatusCode::OK {
        return alive;
    }
    if let Some(degraded) = Degraded::of(&view.queue.stat()) {
        return unhealthy(degraded.why.as_str(), &degraded.to_string());
    }
    unstored(streams.downlink()).map_or(alive, |words| unhealthy("inbox", &words))
}

/// The reason for which the inbox cannot store messages, if it cannot.
fn unstored(downlink: &Downlink) -> Option<String> {
    let failing = downlink.inbox()?.stat().failing?;
    Some(format!("received messages cannot be stored: {}", failing.words()))
}

fn unhealthy(word: &'static str, message: &str) -> Response {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, word, message).into_response()
}

/// Reports whether messages flow: a session is connected, none waits that it could carry, and the inbox stores messages.
async fn readyz(State(view): State<View>, State(streams): State<Streams>) -> Response {
    let mut reasons = Vec::new();
    let now = view.now();
    if !now.sessions().any(|session| session.state().is_connected()) {
        reasons.push("no session is connected".to_owned());
    }
    let lanes: Vec<(&str, Waiting)> =
        now.waiting.iter().map(|(lane, waiting)| (lane.as_str(), *waiting.borrow())).collect();
    if let Some(age) = too_old(lanes.iter().filter_map(|(_, waiting)| waiting.oldest).min()) {
        let words = "s ago a message was published that a connected session has not delivered yet";
        reasons.push(format!("{age} {words}"));
    }
    for (lane, waiting) in lanes {
        if let Some(age) = too_old(waiting.unfit) {
            let words = "that only an unavailable path can carry";
            reasons
                .push(format!("{age} s ago a message was published to the lane {lane:?} {words}"));
        }
    }
    reasons.extend(unstored(streams.downlink()));
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(json!({ "ready": reasons.is_empty(), "reasons": reasons }))).into_response()
}

/// The seconds since then, if they are too many for a message to wait.
fn too_old(handed_in: Option<SystemTime>) -> Option<u64> {
    let age = SystemTime::now().duration_since(handed_in?).ok()?;
    (age > READY_AGE).then_some(age.as_secs())
}

/// Binds a unix socket for user and group, in the place of a stale one.
///
/// # Errors
/// The system's error; `AddrInUse` if another process listens there.
pub async fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    let stale = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    match UnixStream::connect(path).await {
        Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        // Anything else there is not ours to delete.
        Err(error) if stale && error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)?;
        }
        Err(_) => {}
    }
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    // Before it listens: until then the umask decides who may connect.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    socket.listen(SOCKET_BACKLOG)
}

/// Bytes of an answer that the system keeps until the client reads them. Without a bound it would be megabytes for each, of the service's
/// memory; and a client that takes some of them every now and then would not be seen to.
const SEND: usize = 64 * 1024;

/// Connections that wait to be accepted, as far as the system allows (`net.core.somaxconn`). Beyond it the system forgets who comes,
/// and a client tries again after a second.
const BACKLOG: i32 = 4096;

/// Serves until `stop`, and then waits for the requests that are under way.
///
/// # Cancel safety
/// Dropping it closes every connection.
pub async fn serve(listener: TcpListener, router: Router, places: Places, stop: CancellationToken) {
    // Best effort; accepted connections inherit the bound.
    let _ = listen(&listener, BACKLOG);
    let _ = sockopt::set_socket_send_buffer_size(&listener, SEND);
    accept::serve(listener, |peer| Origin::of(peer.ip()), router, places, stop).await;
}

/// [`serve`] on the unix socket of this door.
///
/// # Cancel safety
/// The same as of [`serve`].
pub async fn serve_socket(
    listener: UnixListener,
    door: Door,
    router: Router,
    places: Places,
    stop: CancellationToken,
) {
    let origin = if door == Door::PublishSocket { Origin::PublishSocket } else { Origin::Socket };
    accept::serve(listener, |_| origin, router, places, stop).await;
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, Bytes, to_bytes};
    use futures_util::stream;
    use tokio::time::Instant;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_that_takes_too_long_is_answered_like_every_other() {
        let routes = Router::new().route("/", post(async |body: Bytes| body));
        let routes = in_time(routes).layer(middleware::from_fn(json_errors));
        let start = Instant::now();
        let body = Body::from_stream(stream::pending::<Result<Bytes, io::Error>>());
        let request = Request::post("/").body(body).unwrap();
        let answer = routes.oneshot(request).await.unwrap();
        assert_eq!((answer.status(), start.elapsed()), (StatusCode::REQUEST_TIMEOUT, REQUEST));
        let body = to_bytes(answer.into_body(), MAX_PAYLOAD).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"], "bad_request");
    }
}
