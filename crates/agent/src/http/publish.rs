//! `POST /api/v1/publish`: a message is answered once it is on disk.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use queue::{AppendError, DEFAULT_PRIORITY, MAX_NAME, MAX_PRIORITY, Outcome};

use super::error::ApiError;
use super::query::Query;
use crate::messages::hand_in::{HandIn, MAX_TOPIC, Refusal, Submission, Taken};
use crate::metrics::labels::WayIn;
use fleet::{Name, SessionId};

/// A request's parameters, checked.
struct Params {
    topic: String,
    qos: u8,
    retain: bool,
    session: Option<SessionId>,
    ttl: Option<Duration>,
    priority: u8,
}

/// Takes a message.
///
/// # Errors
/// [`ApiError`] by the contract: 400, 404, 413, 422, 429, 507.
pub(super) async fn publish(
    State(hand_in): State<HandIn>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<api::messages::Taken>), ApiError> {
    let params = Params::parse(query.as_deref())?;
    let submission = Submission {
        qos: params.qos,
        retain: params.retain,
        session: params.session,
        ttl: params.ttl,
        priority: params.priority,
        key: idempotency_key(&headers)?,
        ..Submission::new(params.topic, body)
    };
    let taken = hand_in.take_copies(WayIn::Http, submission).await.map_err(refused)?;
    Ok((StatusCode::ACCEPTED, Json(answer(&taken))))
}

pub(super) fn answer(taken: &Taken) -> api::messages::Taken {
    api::messages::Taken {
        id: taken.first.id.to_string(),
        dropped: taken.first.outcome == Outcome::Dropped,
        copies: taken.copies.iter().map(ToString::to_string).collect(),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=MAX_NAME).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(ApiError::bad(
            "idempotency_key",
            format!("Idempotency-Key has 1 to {MAX_NAME} ASCII characters"),
        )),
    }
}

/// The answer of HTTP to a refusal.
pub(super) fn refused(refusal: Refusal) -> ApiError {
    let words = modem::session::Chain(&refusal).to_string();
    let (status, code) = match refusal {
        Refusal::Ending => (StatusCode::SERVICE_UNAVAILABLE, "ending"),
        Refusal::Topic { .. } => (StatusCode::BAD_REQUEST, "topic"),
        Refusal::UnknownSession { .. } => (StatusCode::NOT_FOUND, "unknown_session"),
        Refusal::NoRoute { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "no_route"),
        Refusal::Unbatchable { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "unbatchable"),
        Refusal::TooLarge { .. }
        | Refusal::TooLargeForPaths { .. }
        | Refusal::Queue(AppendError::TooLarge { .. }) => {
            (StatusCode::PAYLOAD_TOO_LARGE, "too_large")
        }
        Refusal::Queue(AppendError::OtherContent { .. }) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "key_reused")
        }
        Refusal::Queue(AppendError::Full { .. }) => (StatusCode::TOO_MANY_REQUESTS, "full"),
        Refusal::Property { .. } | Refusal::NoText | Refusal::Queue(AppendError::Invalid(_)) => {
            (StatusCode::BAD_REQUEST, "invalid")
        }
        Refusal::Queue(AppendError::Store(_)) => (StatusCode::INSUFFICIENT_STORAGE, "disk"),
    };
    ApiError::new(status, code, words)
}

impl Params {
    fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let known = ["topic", "qos", "retain", "session", "ttl", "priority"];
        let mut query =
            Query::once(query, &known).map_err(|words| ApiError::bad("parameter", words))?;
        let mut value = |key| query.take(key);
        let topic = value("topic")
            .ok_or_else(|| ApiError::bad("topic", "the parameter topic is missing"))?;
        check_topic(&topic)?;
        let number = |key, value: Option<String>, default, max| {
            value.map_or(Ok(default), |value| within(key, &value, max))
        };
        Ok(Self {
            topic,
            qos: number("qos", value("qos"), 1, 2)?,
            retain: value("retain").map_or(Ok(false), |value| boolean(&value))?,
            session: value("session").map(|value| session(&value)).transpose()?,
            ttl: value("ttl").map(|value| duration(&value)).transpose()?,
            priority: number("priority", value("priority"), DEFAULT_PRIORITY, MAX_PRIORITY)?,
        })
    }
}

pub(super) fn check_topic(topic: &str) -> Result<(), ApiError> {
    if topic.len() > MAX_TOPIC {
        return Err(ApiError::bad(
            "topic",
            format!("the topic has {} bytes, and at most {MAX_TOPIC} fit", topic.len()),
        ));
    }
    fleet::check_name(topic).map_err(|reason| {
        ApiError::bad("topic", format!("the topic {topic:?} is not valid: {reason}"))
    })
}

fn within(key: &'static str, value: &str, max: u8) -> Result<u8, ApiError> {
    let number = value.parse().ok().filter(|number| *number <= max);
    number.ok_or_else(|| {
        ApiError::bad(key, format!("{key} is a number from 0 to {max}, not {value:?}"))
    })
}

fn boolean(value: &str) -> Result<bool, ApiError> {
    value
        .parse()
        .map_err(|_| ApiError::bad("retain", format!("retain is true or false, not {value:?}")))
}

fn duration(value: &str) -> Result<Duration, ApiError> {
    let duration = humantime::parse_duration(value).ok().filter(|ttl| !ttl.is_zero());
    duration.ok_or_else(|| {
        ApiError::bad("ttl", format!("ttl is a time such as 90s or 2h, not {value:?}"))
    })
}

fn session(value: &str) -> Result<SessionId, ApiError> {
    let id = value.split_once('/').and_then(|(modem, session)| {
        Some(SessionId { modem: Name::new(modem)?, session: Name::new(session)? })
    });
    id.ok_or_else(|| ApiError::bad("session", format!("session is MODEM/SESSION, not {value:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(query: &str) -> String {
        match Params::parse(Some(query)) {
            Ok(_) => format!("{query} was taken"),
            Err(error) => format!("{} {} {}", error.status.as_u16(), error.code, error.message),
        }
    }

    #[test]
    fn parameters_are_taken_as_they_are_meant() {
        let params = Params::parse(Some(
            "topic=a%2Fb%20c/%C3%A9&qos=2&retain=true&session=north/cloud&ttl=2h&priority=9",
        ))
        .ok()
        .unwrap();
        assert_eq!(params.topic, "a/b c/é");
        assert_eq!((params.qos, params.retain, params.priority), (2, true, 9));
        assert_eq!(params.session.unwrap().to_string(), "north/cloud");
        assert_eq!(params.ttl, Some(Duration::from_secs(7_200)));
        let plain = Params::parse(Some("topic=t")).ok().unwrap();
        assert_eq!(
            (plain.qos, plain.retain, plain.priority, plain.ttl),
            (1, false, DEFAULT_PRIORITY, None)
        );
    }

    #[test]
    fn every_wrong_parameter_is_named() {
        for (query, expected) in [
            ("", "400 topic"),
            ("topic=", "400 topic"),
            ("topic=a/%23", "400 topic"),
            ("topic=a/%2B/b", "400 topic"),
            ("topic=%00", "400 topic"),
            ("topic=%ff", "400 parameter"),
            ("topic=%4", "400 parameter"),
            ("topic=a&topic=b", "400 parameter"),
            ("topic=a&qos=3", "400 qos"),
            ("topic=a&qos=-1", "400 qos"),
            ("topic=a&retain=1", "400 retain"),
            ("topic=a&priority=10", "400 priority"),
            ("topic=a&ttl=5", "400 ttl"),
            ("topic=a&ttl=0s", "400 ttl"),
            ("topic=a&session=north", "400 session"),
            ("topic=a&session=n%22/x", "400 session"),
            ("topic=a&colour=red", "400 parameter"),
        ] {
            let found = error(query);
            assert!(found.starts_with(expected), "{query}: {found}");
        }
        assert!(error(&format!("topic={}", "x".repeat(1_025))).starts_with("400 topic"));
    }
}
