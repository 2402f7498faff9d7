//! `/api/v1/at`: a person's commands to a modem's port, and the modem's URCs.

use std::sync::Arc;
use std::time::Duration;

use api::at::{Command, Urc};
use axum::body::Bytes;
use axum::extract::{FromRequest, RawQuery, Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::response::sse::Event;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use modem::console::{self, Commands, ConsoleContext, Hearing, Outcome, Refusal, Wish};
use modem::session::Chain;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::actions::Notes;
use super::error::ApiError;
use super::gate::Gate;
use super::modems;
use super::paths::REQUEST;
use super::query::Query;
use super::stream::{Streams, gapped};
use crate::now::{ModemView, View};

/// A command line, and the most data in Base64.
pub(super) const MAX_BODY: usize = 24 * 1024;

/// A command waits for its turn, its prompt, its answer and its result.
pub(super) const LONGEST: Duration = Duration::from_secs(3 * console::LONGEST.as_secs() + 60);

/// Commands to modems at the same time, of all modems: more than people type.
const COMMANDS: usize = 16;

/// Commands to modems: those that may be sent, and places for them.
#[derive(Clone)]
pub struct Console {
    commands: Commands,
    places: Arc<Semaphore>,
}

impl Console {
    /// Commands that these tables judge.
    pub fn new(commands: Commands) -> Self {
        Self { commands, places: Arc::new(Semaphore::new(COMMANDS)) }
    }
}

/// Runs a command, and answers with its outcome. If the caller goes away before its turn, it is not
/// sent; after that the port finishes it.
///
/// # Errors
/// [`ApiError`]: 400 for a line that is not a command, 403 for one that may harm, 404 for an unknown modem, 408 for a body
/// that does not come, 409 if the port is not open, 415 for another type than JSON, 429 if too many
/// are under way.
pub(super) async fn run(
    State(gate): State<Gate>,
    State(notes): State<Notes>,
    State(console): State<Console>,
    State(view): State<View>,
    request: Request,
) -> Result<axum::Json<Outcome>, ApiError> {
    // A web page elsewhere may have a browser post a form, but no JSON.
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if kind.is_none_or(|kind| !kind.starts_with("application/json")) {
        let words = "send `Content-Type: application/json`";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", words));
    }
    let body = body_of(request).await?;
    let asked: Command = serde_json::from_slice(&body).map_err(|error| {
        // Its words would repeat the text, which may be a secret.
        let words = format!("the body is not valid, at column {}", error.column());
        ApiError::new(StatusCode::BAD_REQUEST, "body", words)
    })?;
    let modem = modems::named(&view, &asked.modem)?;
    let (name, dangerous) = (modem.name.as_str(), asked.dangerous);
    if dangerous && gate.is_unguarded() {
        let words = "anyone who reaches this port could make the modem unusable: commands that may do harm need \
                     `http.socket` or an `http.token`";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "needs_token", words));
    }
    let order = console.commands.order(wish(asked)?, ConsoleContext::Shared).map_err(refused)?;
    let Ok(_place) = console.places.try_acquire() else {
        let words = format!("{COMMANDS} commands are running; wait until one ends");
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "busy", words));
    };
    let at = modem.access.at().ok_or_else(|| no_port(&modem))?;
    if order.is_harmless() {
        tracing::debug!(modem = name, command = order.shown(), "command sent from the console");
    } else {
        tracing::warn!(
            modem = name,
            command = order.shown(),
            dangerous,
            "command sent from the console"
        );
        notes.action(Some(name), None, &format!("sent {}", order.shown()));
    }
    Ok(axum::Json(console.commands.run(&at, order).await))
}

/// The whole body: only the command itself may take longer than a request.
async fn body_of(request: Request) -> Result<Bytes, ApiError> {
    let Ok(body) = tokio::time::timeout(REQUEST, Bytes::from_request(request, &())).await else {
        let words = format!("the body did not arrive within {} s", REQUEST.as_secs());
        return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", words));
    };
    body.map_err(|rejection| match rejection.status() {
        status @ StatusCode::PAYLOAD_TOO_LARGE => {
            let words = format!("a command and its data have at most {MAX_BODY} bytes");
            ApiError::new(status, "too_large", words)
        }
        status => ApiError::new(status, "body", rejection.body_text()),
    })
}

fn wish(asked: Command) -> Result<Wish, ApiError> {
    let data = asked.data_base64.map(|data| STANDARD.decode(Zeroizing::new(data).as_bytes()));
    let data = data.transpose().map_err(|_fault| {
        ApiError::new(StatusCode::BAD_REQUEST, "body", "data_base64 is not Base64")
    })?;
    Ok(Wish {
        line: Zeroizing::new(asked.line),
        data: data.map(Zeroizing::new),
        timeout: asked.timeout_ms.map(Duration::from_millis),
        dangerous: asked.dangerous,
    })
}

fn refused(refusal: Refusal) -> ApiError {
    let words = Chain(&refusal).to_string();
    if refusal.is_danger() {
        return ApiError::new(StatusCode::FORBIDDEN, "dangerous", words);
    }
    ApiError::new(StatusCode::BAD_REQUEST, "command", words)
}

fn no_port(modem: &ModemView) -> ApiError {
    let snapshot = modem.snapshot.borrow();
    let reason = snapshot.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let words =
        format!("{} has no open port now, it is {}{reason}", modem.name, snapshot.state.as_str());
    ApiError::new(StatusCode::CONFLICT, "no_port", words)
}

/// One reader of a modem's URCs.
struct Reader {
    hearing: Hearing,
    stop: CancellationToken,
}

impl Reader {
    /// The next event, and how many were missed before it; `None` when the modem leaves the fleet, or the
    /// agent ends.
    async fn next(&mut self) -> Option<(Event, u64)> {
        // Both arms are cancel safe, and none awaits in its body.
        let heard = tokio::select! {
            heard = self.hearing.next() => heard?,
            () = self.stop.cancelled() => return None,
        };
        let data_base64 = heard.data.as_ref().map(|data| STANDARD.encode(data));
        let event =
            Event::default().event("urc").json_data(Urc { line: heard.line, data_base64 }).ok()?;
        Some((event, self.hearing.take_missed()))
    }
}

/// Streams a modem's URCs from now on, as server-sent events.
///
/// # Errors
/// [`ApiError`]: 400, 404 for an unknown modem, 503 if too many listen.
pub(super) async fn urcs(
    State(view): State<View>,
    State(streams): State<Streams>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let whose =
        Query::once(query.as_deref(), &["modem"]).map_err(ApiError::parameter)?.take("modem");
    let name = whose.ok_or_else(|| ApiError::parameter("the parameter modem is missing"))?;
    let hearing = modems::named(&view, &name)?.access.listen().ok_or_else(|| {
        let words = "too many consoles listen to this modem; close one";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_many", words)
    })?;
    let reader = Reader { hearing, stop: streams.stop().clone() };
    Ok(gapped(stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((event, reader))
    })))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::Body;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_drop_by_drop_is_given_up_long_before_a_command() {
        let drops = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(7)).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), ()))
        });
        let start = Instant::now();
        let refused = body_of(Request::new(Body::from_stream(drops))).await.unwrap_err();
        assert_eq!((refused.status, refused.code), (StatusCode::REQUEST_TIMEOUT, "timeout"));
        assert_eq!(start.elapsed(), REQUEST);
        let whole = body_of(Request::new(Body::from("{}"))).await;
        assert_eq!(whole.unwrap(), "{}");
    }
}
