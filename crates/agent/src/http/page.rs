//! The status page at `/`, and the stream that keeps it live.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::error::ApiError;
use super::modems::Status;
use super::stream::{self, Streams};

/// The time between two looks for a change; a page that is open costs a look a second, a closed one nothing.
const LOOK: Duration = Duration::from_secs(1);

/// Nothing but this server's own files runs or is loaded.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, text).into_response()
}

pub(super) async fn html() -> Response {
    file("text/html; charset=utf-8", include_str!("page/page.html"))
}

pub(super) async fn css() -> Response {
    file("text/css; charset=utf-8", include_str!("page/page.css"))
}

pub(super) async fn script() -> Response {
    file("text/javascript; charset=utf-8", include_str!("page/page.js"))
}

/// One open page.
struct Watcher {
    status: Status,
    stop: CancellationToken,
    look: Interval,
    shown: String,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    /// The next state that differs from the one shown; `None` when the agent ends.
    async fn next(&mut self) -> Option<Event> {
        // Both arms are cancel safe, and none awaits in its body.
        while tokio::select! { _ = self.look.tick() => true, () = self.stop.cancelled() => false } {
            // Every fleet can be written as JSON.
            let now = serde_json::to_string(&self.status.fleet()).ok()?;
            if now != self.shown {
                self.shown.clone_from(&now);
                return Some(Event::default().event("fleet").data(now));
            }
        }
        None
    }
}

/// The fleet as server-sent events: at once, and again whenever something changed.
///
/// # Errors
/// [`ApiError`]: 503 if too many pages are open.
pub(super) async fn events(
    State(status): State<Status>,
    State(streams): State<Streams>,
) -> Result<Response, ApiError> {
    let place = status.open_page()?;
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (stop, shown) = (streams.stop().clone(), String::new());
    let watcher = Watcher { status, stop, look, shown, _place: place };
    let changes = unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await?;
        Some((event, watcher))
    });
    Ok(stream::events(changes))
}
