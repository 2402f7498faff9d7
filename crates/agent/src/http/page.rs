//! The status page at `/`, and the stream that keeps it live.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior};

use super::app::App;
use super::bounds::PAGES;
use super::error::ApiError;
use super::modems::fleet;
use super::stream;

/// How soon a change is seen; a page that is open costs a look a second, a closed one nothing.
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
    app: Arc<App>,
    look: Interval,
    shown: String,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    /// The next state that differs from the one shown; `None` when the agent ends.
    async fn next(&mut self) -> Option<Event> {
        let stop = self.app.stop.clone();
        // Both arms are cancel safe, and none awaits in its body.
        while tokio::select! { _ = self.look.tick() => true, () = stop.cancelled() => false } {
            // Every fleet can be written as JSON.
            let now = serde_json::to_string(&fleet(&self.app)).ok()?;
            if now != self.shown {
                self.shown.clone_from(&now);
                return Some(Event::default().event("fleet").data(now));
            }
        }
        None
    }
}

/// The fleet as server-sent events: at once, and again whenever something changed.
pub(super) async fn events(State(app): State<Arc<App>>) -> Response {
    let Ok(place) = Arc::clone(&app.bounds.pages).try_acquire_owned() else {
        let words = format!("{PAGES} pages are open; close one");
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_many", words).into_response();
    };
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watcher = Watcher { app, look, shown: String::new(), _place: place };
    let changes = unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await?;
        Some((event, watcher))
    });
    stream::events(changes)
}
