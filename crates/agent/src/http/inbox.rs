//! `/api/v1/inbox`: messages that came down, for readers that have a name and confirm what they have.

use api::inbox::{Confirmation, Message, Page, Readers, Waiting};
use api::messages::Received;
use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use inbox::{Cursor, Inbox, ReadError, StoreError};

use super::error::ApiError;
use super::query::Query;
use super::stream::Streams;
use fleet::Name;

/// Messages of one answer, if the request does not say.
const PAGE: usize = 100;

/// The most messages of one answer.
const MOST: usize = 1000;

/// The parameters of a request.
#[derive(Debug)]
struct Params {
    reader: Name,
    /// The message after which to read, or up to which to confirm.
    cursor: Option<String>,
    limit: usize,
    forget: bool,
}

/// Reads the next messages. Nothing is confirmed by it.
///
/// # Errors
/// [`ApiError`]: 400 for a parameter, 404 without an inbox, 410 for an unknown cursor, 503 if there are too many
/// readers, 507 if the disk refuses.
pub(super) async fn read(
    State(streams): State<Streams>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page>, ApiError> {
    let inbox = inbox_of(&streams)?;
    let known = ["reader", "after", "limit"];
    let params = Params::parse(query.as_deref(), &known)?;
    let page = inbox.read(params.reader.as_str(), params.cursor.as_deref(), params.limit).await;
    let page = page.map_err(refused)?;
    let messages = page.messages.iter().map(message).collect();
    Ok(Json(Page { messages, missed: page.missed, more: page.more }))
}

/// Confirms all messages up to and with one, or forgets the reader.
///
/// # Errors
/// [`ApiError`]: 400 for a parameter, 404 without an inbox or without such a reader, 410 for an unknown
/// cursor, 507 if the disk refuses.
pub(super) async fn confirm(
    State(streams): State<Streams>,
    RawQuery(query): RawQuery,
) -> Result<Json<Confirmation>, ApiError> {
    let inbox = inbox_of(&streams)?;
    let known = ["reader", "through", "forget"];
    let params = Params::parse(query.as_deref(), &known)?;
    let name = params.reader.as_str();
    match (params.cursor, params.forget) {
        (Some(through), false) => {
            let confirmed = inbox.confirm(name, &through).await.map_err(refused)?;
            Ok(Json(Confirmation::Confirmed(confirmed)))
        }
        (None, true) => match inbox.forget(name).await {
            Ok(true) => Ok(Json(Confirmation::Forgotten(name.to_owned()))),
            Ok(false) => Err(refused(ReadError::UnknownReader)),
            Err(error) => Err(refused(error.into())),
        },
        _ => Err(ApiError::bad("parameter", "give through=CURSOR or forget=true")),
    }
}

/// Lists readers and sessions, with the number of messages that each is behind.
///
/// # Errors
/// [`ApiError`]: 404 without an inbox.
pub(super) async fn readers(State(streams): State<Streams>) -> Result<Json<Readers>, ApiError> {
    let stat = inbox_of(&streams)?.stat();
    let one = |one: &inbox::Waiting| Waiting {
        name: one.name.clone(),
        behind: one.behind,
        away_seconds: one.away.map(|away| away.as_secs()),
    };
    Ok(Json(Readers {
        messages: stat.messages,
        bytes: stat.bytes,
        readers: stat.readers.iter().map(one).collect(),
        sessions: stat.sessions.iter().map(one).collect(),
    }))
}

fn inbox_of(streams: &Streams) -> Result<&Inbox, ApiError> {
    streams.downlink().inbox().ok_or_else(|| {
        let words = "the fleet file has no `inbox`: received messages are not kept";
        ApiError::new(StatusCode::NOT_FOUND, "no_inbox", words)
    })
}

fn message((cursor, message): &(Cursor, inbox::Message)) -> Message {
    let (modem, session) = message.source.split_once('/').unwrap_or((&message.source, ""));
    Message {
        cursor: cursor.to_string(),
        at: humantime::format_rfc3339_millis(message.at).to_string(),
        message: Received {
            modem: modem.to_owned(),
            session: session.to_owned(),
            topic: message.topic.clone(),
            qos: message.qos,
            payload_base64: STANDARD.encode(&message.payload),
        },
    }
}

fn refused(error: ReadError) -> ApiError {
    let words = modem::session::Chain(&error).to_string();
    let (status, code) = match error {
        ReadError::UnknownCursor => (StatusCode::GONE, "unknown_cursor"),
        ReadError::UnknownReader => (StatusCode::NOT_FOUND, "unknown_reader"),
        ReadError::TooMany => (StatusCode::SERVICE_UNAVAILABLE, "too_many"),
        ReadError::Store(StoreError::Closed) => (StatusCode::SERVICE_UNAVAILABLE, "ending"),
        ReadError::Store(_) => (StatusCode::INSUFFICIENT_STORAGE, "disk"),
    };
    ApiError::new(status, code, words)
}

impl Params {
    fn parse(query: Option<&str>, known: &[&str]) -> Result<Self, ApiError> {
        let mut query =
            Query::once(query, known).map_err(|words| ApiError::bad("parameter", words))?;
        let reader = query
            .take("reader")
            .ok_or_else(|| ApiError::bad("reader", "the parameter reader is missing"))?;
        // A program that has no cursor yet may leave it empty.
        let cursor = query.take("after").or(query.take("through"));
        let forget = query.take("forget").map_or(Ok(false), |value| {
            let words = || format!("forget is true or false, not {value:?}");
            value.parse().map_err(|_| ApiError::bad("parameter", words()))
        });
        Ok(Self {
            reader: name(&reader)?,
            cursor: cursor.filter(|value| !value.is_empty()),
            limit: query.take("limit").map_or(Ok(PAGE), |value| within(&value))?,
            forget: forget?,
        })
    }
}

fn name(value: &str) -> Result<Name, ApiError> {
    Name::new(value).ok_or_else(|| {
        let words =
            format!("reader is a name of 1 to 32 letters, digits, `_` or `-`, not {value:?}");
        ApiError::bad("reader", words)
    })
}

fn within(value: &str) -> Result<usize, ApiError> {
    let number = value.parse().ok().filter(|number| (1..=MOST).contains(number));
    number.ok_or_else(|| {
        ApiError::bad("limit", format!("limit is a number from 1 to {MOST}, not {value:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_parameter_is_named() {
        let reading = ["reader", "after", "limit"];
        for (query, expected) in [
            ("", "reader the parameter reader is missing"),
            ("reader=", "reader reader is a name"),
            ("reader=a/b", "reader reader is a name"),
            ("reader=%ff", "parameter reader is not URL-encoded"),
            ("reader=a&reader=b", "parameter the parameter \"reader\" is given twice"),
            ("reader=a&limit=0", "limit limit is a number"),
            ("reader=a&limit=1001", "limit limit is a number"),
            ("reader=a&limit=x", "limit limit is a number"),
            ("reader=a&through=x", "parameter unknown parameter"),
        ] {
            let error = Params::parse(Some(query), &reading).err();
            let error = error.map(|error| format!("{} {}", error.code, error.message));
            assert!(
                error.as_deref().is_some_and(|e| e.starts_with(expected)),
                "{query}: {error:?}"
            );
        }
        let params = Params::parse(Some("reader=a_1-B&after=&limit=7"), &reading).ok().unwrap();
        assert_eq!((params.reader.as_str(), params.cursor, params.limit), ("a_1-B", None, 7));
        assert!(Params::parse(Some("reader=a&forget=yes"), &["reader", "forget"]).is_err());
    }
}
