//! `/api/v1/queue`: figures, listing, requeue, purge.
//!
//! A request does one page of bounded work; `next` is the place at which the following one goes on.

use std::sync::Arc;
use std::time::Duration;

use api::queue::{Changed, Done, Figures};
use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use queue::Page;
use tokio::sync::Semaphore;

use super::error::ApiError;
use super::query::Query;
use crate::messages::backlog::{self, BacklogError, PAGE, Selection, Step};
use crate::now::View;

/// Payload of one answer, in bytes, beyond which it ends with `next`: an answer that is not read yet is held in memory.
const MOST: usize = 1024 * 1024;

/// Pages of the queue that are read at the same time; a further request waits.
const LISTINGS: usize = 4;

/// Places for requests that read a page of the queue.
#[derive(Clone)]
pub struct Listings(Arc<Semaphore>);

impl Default for Listings {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LISTINGS)))
    }
}

/// The parameters of all paths of the queue.
const KNOWN: [&str; 10] =
    ["id", "lane", "topic", "state", "reason", "older_than", "after", "limit", "payload", "all"];

/// The parameters of a request.
#[derive(Debug, Default)]
struct Params {
    selection: Selection,
    after: i64,
    limit: Option<u32>,
    payload: bool,
    all: bool,
}

/// `GET /api/v1/queue`.
pub(super) async fn stat(State(view): State<View>) -> Json<Figures> {
    let now = view.now();
    let bounds = &now.fleet.queue;
    Json(Figures {
        max_bytes: Some(bounds.max_bytes),
        max_messages: bounds.max_messages,
        ..backlog::figures(&view.queue.stat(), true)
    })
}

/// `GET /api/v1/queue/messages`.
///
/// # Errors
/// [`ApiError`]: 400 for a parameter, 500 if the file cannot be read.
pub(super) async fn messages(
    State(view): State<View>,
    State(listings): State<Listings>,
    RawQuery(query): RawQuery,
) -> Result<Json<api::queue::Page>, ApiError> {
    let params = Params::parse(query.as_deref())?;
    let limit = params.limit.unwrap_or(PAGE);
    let now = view.now();
    // It is never closed. The place goes with the reading, which goes on if the caller leaves. A page is an answer, which is
    // bounded elsewhere.
    let place = Arc::clone(&listings.0).acquire_owned().await;
    let mut page =
        backlog::page(&now.fleet.queue.path, &params.selection, params.after, limit, place)
            .await
            .map_err(failed)?;
    if params.payload {
        cut(&mut page);
    }
    let message = |record| backlog::message(record, params.payload);
    Ok(Json(api::queue::Page {
        messages: page.records.iter().map(message).collect(),
        next: page.next,
    }))
}

/// Leaves messages beyond [`MOST`] to the next page; one always stays.
fn cut(page: &mut Page) {
    let mut bytes = 0_usize;
    let fits = page.records.iter().take_while(|record| {
        bytes = bytes.saturating_add(record.payload.len());
        bytes <= MOST
    });
    let fits = fits.count().max(1);
    if fits < page.records.len() {
        page.records.truncate(fits);
        page.next = page.records.last().map(|record| record.seq);
    }
}

/// `POST /api/v1/queue/requeue`.
///
/// # Errors
/// [`ApiError`]: 400 for a parameter, 404 if the one message is not aside, 500.
pub(super) async fn requeue(
    State(view): State<View>,
    State(listings): State<Listings>,
    RawQuery(query): RawQuery,
) -> Result<Json<Changed>, ApiError> {
    let params = Params::parse(query.as_deref())?.meant()?;
    let now = view.now();
    let (queue, dir) = (&view.queue, &now.fleet.queue.path);
    let _place = listings.0.acquire().await;
    let step =
        backlog::requeue(queue, dir, &params.selection, params.after).await.map_err(failed)?;
    if step.done > 0 {
        tracing::info!(messages = step.done, "dead letters were put back into the queue");
        // Their lanes may be gone from the fleet file since.
        view.strays.notify_one();
    }
    answer(&params, Done::Requeued, step, "there is no such dead letter")
}

/// `POST /api/v1/queue/purge`.
///
/// # Errors
/// [`ApiError`]: 400 for a parameter, 404 if the one message is not there or on its way, 500.
pub(super) async fn purge(
    State(view): State<View>,
    State(listings): State<Listings>,
    RawQuery(query): RawQuery,
) -> Result<Json<Changed>, ApiError> {
    let params = Params::parse(query.as_deref())?.meant()?;
    let now = view.now();
    let (queue, dir) = (&view.queue, &now.fleet.queue.path);
    let _place = listings.0.acquire().await;
    let step = backlog::purge(queue, dir, &params.selection, params.after).await.map_err(failed)?;
    if step.done > 0 {
        tracing::warn!(messages = step.done, "messages were purged by an operator");
    }
    answer(&params, Done::Purged, step, "no such message is in the queue, or it is being delivered")
}

fn answer(
    params: &Params,
    what: fn(u64) -> Done,
    step: Step,
    nothing: &str,
) -> Result<Json<Changed>, ApiError> {
    if params.selection.id.is_some() && step.done == 0 {
        return Err(ApiError::new(StatusCode::NOT_FOUND, "unknown_message", nothing));
    }
    Ok(Json(Changed { done: what(step.done), left: step.left, next: step.next }))
}

fn failed(error: BacklogError) -> ApiError {
    let words = modem::session::Chain(&error).to_string();
    tracing::error!("the queue could not be read or changed for the API: {words}");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "queue", words)
}

fn bad(message: impl Into<String>) -> ApiError {
    ApiError::bad("parameter", message)
}

impl Params {
    fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let mut params = Self::default();
        for (key, value) in Query::repeated(query, &KNOWN).map_err(bad)?.rest() {
            params.set(key, &value)?;
        }
        Ok(params)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), ApiError> {
        let wrong = |what: &str| bad(format!("{key} is {what}, not {value:?}"));
        let boolean = || value.parse().map_err(|_| wrong("true or false"));
        let number = || value.parse::<u32>().map_err(|_| wrong("a number"));
        let selection = &mut self.selection;
        match key {
            "id" => selection.id = Some(value.parse().map_err(|_| wrong("a message's id"))?),
            "lane" => selection.lane = Some(value.to_owned()),
            "topic" => {
                fleet::check_filter(value).map_err(|reason| bad(format!("topic {reason}")))?;
                selection.topic = Some(value.to_owned());
            }
            "state" => {
                selection.aside = Some(match value {
                    "waiting" => false,
                    "set_aside" => true,
                    _ => return Err(wrong("waiting or set_aside")),
                });
            }
            "reason" => selection.reason = Some(value.to_owned()),
            "older_than" => {
                let age: Option<Duration> = humantime::parse_duration(value).ok();
                selection.older_than = Some(age.ok_or_else(|| wrong("a time such as 90s or 2h"))?);
            }
            "after" => self.after = value.parse().map_err(|_| wrong("a place from `next`"))?,
            "limit" => self.limit = Some(number()?),
            "payload" => self.payload = boolean()?,
            _ => self.all = boolean()?,
        }
        Ok(())
    }

    /// Refuses to change everything unless the request says so.
    fn meant(self) -> Result<Self, ApiError> {
        if self.selection.is_everything() && !self.all {
            return Err(bad("select messages, or give all=true"));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use queue::{MessageId, Record};

    use super::*;

    fn record(seq: i64, bytes: usize) -> Record {
        Record {
            seq,
            id: MessageId::nil(),
            lane: String::new(),
            priority: 0,
            topic: String::new(),
            payload: vec![0; bytes],
            qos: 1,
            retain: false,
            appended_at: std::time::SystemTime::UNIX_EPOCH,
            expires_at: None,
            aside: None,
            intact: true,
        }
    }

    #[test]
    fn a_page_of_payloads_ends_at_a_megabyte_and_goes_on_behind_it() {
        for (sizes, next, expected) in [
            (vec![MOST / 2, MOST / 2, 1], None, (2, Some(2))),
            (vec![MOST / 2, MOST / 2], None, (2, None)),
            (vec![MOST, 1], Some(9), (1, Some(1))),
            (vec![MOST + 1, 1, 1], None, (1, Some(1))),
            (vec![MOST + 1], Some(7), (1, Some(7))),
            (vec![], Some(7), (0, Some(7))),
        ] {
            let records = (1..).zip(&sizes).map(|(seq, bytes)| record(seq, *bytes)).collect();
            let mut page = Page { records, next };
            cut(&mut page);
            assert_eq!((page.records.len(), page.next), expected, "{sizes:?}");
        }
    }

    #[test]
    fn every_wrong_parameter_is_named_and_nothing_is_meant_by_default() {
        for (query, expected) in [
            ("id=7", "id is a message's id"),
            ("topic=a/%23/b", "topic may hold `#` only"),
            ("state=lost", "state is waiting or set_aside"),
            ("older_than=5", "older_than is a time"),
            ("after=x", "after is a place"),
            ("limit=-1", "limit is a number"),
            ("payload=1", "payload is true or false"),
            ("lane=%ff", "not URL-encoded"),
            ("colour=red", "unknown parameter"),
        ] {
            let error =
                Params::parse(Some(query)).err().map(|error| error.message).unwrap_or_default();
            assert!(error.starts_with(expected) || error.contains(expected), "{query}: {error}");
        }
        let meant =
            |query: &str| Params::parse(Some(query)).ok().and_then(|params| params.meant().ok());
        assert!(meant("").is_none() && meant("after=3").is_none());
        assert!(meant("all=true").is_some() && meant("lane=route%20%23").is_some());
    }
}
