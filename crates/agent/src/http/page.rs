//! The status page at `/`, and the stream that keeps it live.

use std::collections::BTreeMap;
use std::time::Duration;

use api::events::Changes;
use api::modems::{Fleet, Queue};
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, header};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream::unfold;
use modem::Snapshot;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::app::Shared;
use super::error::ApiError;
use super::modems::Status;
use super::query::Query;
use super::stream::{self, Streams};
use crate::chronicle::Chronicle;

/// The time between two looks for a change; a page that is open costs a look a second, a closed one nothing.
const LOOK: Duration = Duration::from_secs(1);

/// The most events of the history in one event of the stream. A page that needs more asks for the history.
const NEWS: usize = 50;

/// The page loads and runs only files of this server.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The files of the page: path, media type and text.
const FILES: [(&str, &str, &str); 12] = [
    ("/", HTML, include_str!("page/page.html")),
    ("/page.css", CSS, include_str!("page/page.css")),
    ("/page.js", SCRIPT, include_str!("page/page.js")),
    ("/page/actions.js", SCRIPT, include_str!("page/actions.js")),
    ("/page/charts.js", SCRIPT, include_str!("page/charts.js")),
    ("/page/client.js", SCRIPT, include_str!("page/client.js")),
    ("/page/detail.js", SCRIPT, include_str!("page/detail.js")),
    ("/page/dom.js", SCRIPT, include_str!("page/dom.js")),
    ("/page/fleet.js", SCRIPT, include_str!("page/fleet.js")),
    ("/page/history.js", SCRIPT, include_str!("page/history.js")),
    ("/page/theme.js", SCRIPT, include_str!("page/theme.js")),
    ("/page/words.js", SCRIPT, include_str!("page/words.js")),
];

/// Returns the routes of the page's files.
pub(super) fn files() -> Router<Shared> {
    FILES.into_iter().fold(Router::new(), |routes, (path, kind, text)| {
        routes.route(path, get(move || async move { file(kind, text) }))
    })
}

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

/// The parts of the fleet as a page has them.
#[derive(Default)]
struct Shown {
    /// Each modem without its history, as JSON.
    modems: BTreeMap<String, String>,
    order: Vec<String>,
    queue: String,
    /// The number of the newest event of the history.
    event: u64,
}

impl Shown {
    /// Returns the changes, which are then shown; `None` if nothing changed.
    fn changes(
        &mut self,
        mut now: Fleet<Snapshot>,
        chronicle: &Chronicle,
    ) -> Option<Changes<Snapshot>> {
        let order: Vec<String> = now.modems.iter().map(|modem| modem.name.clone()).collect();
        let is_other = order != self.order;
        self.modems.retain(|name, _| order.contains(name));
        let mut changed = Vec::new();
        for mut modem in now.modems.drain(..) {
            modem.signal_history_dbm.clear();
            // Every modem can be written as JSON.
            let text = serde_json::to_string(&modem).unwrap_or_default();
            if self.modems.get(&modem.name) != Some(&text) {
                self.modems.insert(modem.name.clone(), text);
                changed.push(modem);
            }
        }
        let events = chronicle.since(self.event, NEWS);
        self.event = events.last().map_or(self.event, |last| last.id);
        let queue = now.queue.filter(|queue| self.is_other_queue(queue));
        if changed.is_empty() && !is_other && queue.is_none() && events.is_empty() {
            return None;
        }
        self.order.clone_from(&order);
        let order = if is_other { order } else { Vec::new() };
        Some(Changes { modems: changed, order, queue, events })
    }

    fn is_other_queue(&mut self, queue: &Queue) -> bool {
        let text = serde_json::to_string(queue).unwrap_or_default();
        let is_other = text != self.queue;
        self.queue = text;
        is_other
    }
}

/// One open page.
struct Watcher {
    status: Status,
    chronicle: Chronicle,
    stop: CancellationToken,
    look: Interval,
    /// The whole fleet as it was sent last, for a reader that gets it whole each time.
    whole: String,
    /// The parts that were sent, for a reader that gets changes.
    parts: Option<Shown>,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    /// The next state that differs from the one shown; `None` when the agent ends.
    async fn next(&mut self) -> Option<Event> {
        // Both arms are cancel safe, and none awaits in its body.
        while tokio::select! { _ = self.look.tick() => true, () = self.stop.cancelled() => false } {
            if let Some(event) = self.event() {
                return Some(event);
            }
        }
        None
    }

    fn event(&mut self) -> Option<Event> {
        let now = self.status.fleet();
        if let Some(parts) = self.parts.as_mut().filter(|_| !self.whole.is_empty()) {
            let changes = parts.changes(now, &self.chronicle)?;
            return Event::default().event("changes").json_data(changes).ok();
        }
        // Every fleet can be written as JSON.
        let text = serde_json::to_string(&now).ok()?;
        if text == self.whole {
            return None;
        }
        if let Some(parts) = &mut self.parts {
            parts.event = self.chronicle.newest();
            parts.changes(now, &self.chronicle);
        }
        self.whole.clone_from(&text);
        Some(Event::default().event("fleet").data(text))
    }
}

/// The fleet as server-sent events: at once, and again whenever something changed. With `changes=true` only the first
/// is whole.
///
/// # Errors
/// [`ApiError`]: 400 for a parameter, 503 if too many pages are open.
pub(super) async fn events(
    State(status): State<Status>,
    State(streams): State<Streams>,
    State(chronicle): State<Chronicle>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let mut query = Query::once(query.as_deref(), &["changes"]).map_err(ApiError::parameter)?;
    let parts = match query.take("changes").as_deref() {
        None | Some("false") => None,
        Some("true") => Some(Shown::default()),
        Some(other) => {
            let words = format!("changes is true or false, not {other:?}");
            return Err(ApiError::bad("parameter", words));
        }
    };
    let place = status.open_page()?;
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (stop, whole) = (streams.stop().clone(), String::new());
    let watcher = Watcher { status, chronicle, stop, look, whole, parts, _place: place };
    let changes = unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await?;
        Some((event, watcher))
    });
    Ok(stream::events(changes))
}
