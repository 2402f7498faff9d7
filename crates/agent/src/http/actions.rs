//! Actions of people on modems and sessions: `POST /api/v1/modems/NAME/reset`, `…/sessions/SESSION/reconnect` and
//! `…/sessions/SESSION/test`. These and other actions of the API are events of the history.

use api::events::{Event, Level};
use api::messages::Taken;
use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use fleet::{Name, SessionId};
use modem::session::SessionPhase;
use serde_json::{Value, json};

use super::error::ApiError;
use super::gate::Gate;
use super::modems;
use super::query::Query;
use crate::chronicle::Chronicle;
use crate::messages::hand_in::{HandIn, Submission};
use crate::metrics::labels::WayIn;
use crate::now::{ModemView, SessionView, View};

/// Requests that are events of the history if they succeed: method, path and sentence. The new paths of this file
/// name the modem, and note themselves.
const NOTED: [(&str, &str, &str); 5] = [
    ("POST", "/api/v1/reload", "asked for a reload of the fleet file"),
    ("POST", "/api/v1/queue/requeue", "returned dead letters to the queue"),
    ("POST", "/api/v1/queue/purge", "deleted messages of the queue"),
    ("DELETE", "/api/v1/inbox", "confirmed or removed messages of the inbox"),
    ("PUT", "/api/v1/log", "changed what is logged"),
];

/// The topic of a test message, if the request names none.
const TEST_TOPIC: &str = "modemfleet/test";

/// The history of events, and the way by which callers of a router act.
#[derive(Clone)]
pub(super) struct Notes {
    gate: Gate,
    chronicle: Chronicle,
}

impl Notes {
    pub(super) fn new(gate: Gate, chronicle: Chronicle) -> Self {
        Self { gate, chronicle }
    }

    /// Adds an action to the history.
    pub(super) fn action(&self, modem: Option<&str>, session: Option<&str>, words: &str) {
        self.chronicle.push(Event {
            kind: "action".to_owned(),
            level: Level::Info,
            modem: modem.map(str::to_owned),
            session: session.map(str::to_owned),
            words: words.to_owned(),
            by: Some(self.gate.by().to_owned()),
            ..Event::default()
        });
    }

    /// Refuses what interrupts service to callers over TCP that no token protects.
    fn needs_token(&self) -> Result<(), ApiError> {
        if self.gate.is_unguarded() {
            let words = "actions on modems go by `http.socket`, or with an `http.token`: set one in the fleet file";
            return Err(ApiError::new(StatusCode::FORBIDDEN, "needs_token", words));
        }
        Ok(())
    }
}

fn named(view: &View, modem: &str, session: &str) -> Result<(ModemView, SessionView), ApiError> {
    let modem = modems::named(view, modem)?;
    let found = modem.sessions.iter().find(|view| view.id.session.as_str() == session).cloned();
    let found = found.ok_or_else(|| {
        let words = format!("the fleet has no session \"{}/{session}\"", modem.name);
        ApiError::new(StatusCode::NOT_FOUND, "unknown_session", words)
    })?;
    Ok((modem, found))
}

/// Adds a successful action to the history.
pub(super) async fn noted(State(notes): State<Notes>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().as_str(), request.uri().path());
    let words = NOTED.iter().find(|(of, at, _)| (*of, *at) == (method, path)).map(|noted| noted.2);
    let response = next.run(request).await;
    if let Some(words) = words.filter(|_| response.status().is_success()) {
        notes.action(None, None, words);
    }
    response
}

/// Resets a modem, once its sessions have signed out. Answers when that begins.
///
/// # Errors
/// [`ApiError`]: 403 over TCP without a token, 404 for an unknown modem, 409 if it may not be reset now.
pub(super) async fn reset(
    State(notes): State<Notes>,
    State(view): State<View>,
    Path(name): Path<String>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    notes.needs_token()?;
    let modem = modems::named(&view, &name)?;
    if modem.link.borrow().is_none() {
        return Err(refused(&modem::reset::ResetRefused::Absent));
    }
    modem.resets.ask().await.map_err(|why| refused(&why))?;
    notes.action(Some(&name), None, "reset the modem");
    Ok((StatusCode::ACCEPTED, Json(json!({ "resetting": name }))))
}

fn refused(why: &modem::reset::ResetRefused) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, "not_now", why.to_string())
}

/// Has a session sign out and in again, or try at once if it waits.
///
/// # Errors
/// [`ApiError`]: 403 over TCP without a token, 404 for an unknown session, 409 if its modem cannot carry it now.
pub(super) async fn reconnect(
    State(notes): State<Notes>,
    State(fleet): State<View>,
    Path((name, session)): Path<(String, String)>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    notes.needs_token()?;
    let (modem, view) = named(&fleet, &name, &session)?;
    let state = view.state();
    if state.phase == SessionPhase::Waiting || modem.link.borrow().is_none() {
        let reason = state.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let words = format!("the modem cannot carry this session now{reason}");
        return Err(ApiError::new(StatusCode::CONFLICT, "not_now", words));
    }
    view.uplink.reconnect();
    tracing::info!(modem = name, session, "a person asked for a new connection");
    notes.action(Some(&name), Some(&session), "reconnected the session");
    Ok((StatusCode::ACCEPTED, Json(json!({ "reconnecting": format!("{name}/{session}") }))))
}

/// Hands in a message for one session. Its topic is `topic` of the query.
///
/// # Errors
/// [`ApiError`]: as of a publish, and 403 over TCP without a token.
pub(super) async fn test(
    State(notes): State<Notes>,
    State(fleet): State<View>,
    State(hand_in): State<HandIn>,
    Path((name, session)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<(StatusCode, Json<Taken>), ApiError> {
    notes.needs_token()?;
    named(&fleet, &name, &session)?;
    let mut query = Query::once(query.as_deref(), &["topic"]).map_err(ApiError::parameter)?;
    let topic = query.take("topic").unwrap_or_else(|| TEST_TOPIC.to_owned());
    super::publish::check_topic(&topic)?;
    let id = Name::new(&name).zip(Name::new(&session));
    let id = id.map(|(modem, session)| SessionId { modem, session });
    let now = humantime::format_rfc3339_millis(std::time::SystemTime::now());
    let payload = json!({ "test": true, "gateway": fleet.now().fleet.gateway.to_string(), "at": now.to_string() });
    let submission =
        Submission { session: id, ..Submission::new(topic.clone(), payload.to_string()) };
    let taken = hand_in.take_copies(WayIn::Http, submission).await;
    let taken = taken.map_err(super::publish::refused)?;
    notes.action(Some(&name), Some(&session), &format!("sent a test message to {topic:?}"));
    Ok((StatusCode::ACCEPTED, Json(super::publish::answer(&taken))))
}
