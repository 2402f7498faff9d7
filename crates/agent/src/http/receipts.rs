//! `GET /api/v1/messages/ID`: the receipt of a message; `GET /api/v1/outcomes`: of each that ends, at once.

use api::messages::Receipt;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::response::sse::Event;
use futures_util::stream;
use modem::session::Chain;
use queue::{MessageId, Queue, StoreError, Trace};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use super::error::ApiError;
use super::query::Query;
use super::stream::{Streams, gapped};
use crate::messages::downlink::Subscription;
use crate::messages::forward::Given;
use crate::messages::receipt;

/// Characters of an id as it is written: a UUID with its hyphens (RFC 9562 §4).
const ID: usize = 36;

/// The place of each message.
#[derive(Clone)]
pub struct Receipts {
    queue: Queue,
    given: Given,
}

impl Receipts {
    /// The messages of a queue, of which sessions have some.
    pub fn new(queue: Queue, given: Given) -> Self {
        Self { queue, given }
    }

    /// The receipt of a message, if it is known.
    async fn of(&self, id: MessageId) -> Result<Option<Receipt>, StoreError> {
        // Asked before the queue: one that is given out only afterwards was waiting.
        let given = self.given.at(id);
        let trace = self.queue.trace(id).await?;
        Ok(trace.map(|trace| receipt::of(&trace, given.as_deref())))
    }
}

/// Answers the receipt of the message of this id.
///
/// # Errors
/// [`ApiError`]: 400 for a text that is not an id or any parameter, 404 if it is not known or no longer, 500.
pub(super) async fn receipt(
    State(receipts): State<Receipts>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Json<Receipt>, ApiError> {
    takes_none(query.as_deref())?;
    let id = id.ok().and_then(|Path(text)| read(&text)).ok_or_else(|| {
        let words = "the id of a message is a UUID, as in the answer to its publish";
        ApiError::new(StatusCode::BAD_REQUEST, "id", words)
    })?;
    let receipt = receipts.of(id).await.map_err(failed)?.ok_or_else(|| {
        let words = "no such message is known, or it is known no longer";
        ApiError::new(StatusCode::NOT_FOUND, "unknown_message", words)
    })?;
    Ok(Json(receipt))
}

fn takes_none(query: Option<&str>) -> Result<(), ApiError> {
    let refused = |words| ApiError::new(StatusCode::BAD_REQUEST, "parameter", words);
    Query::once(query, &[]).map(drop).map_err(refused)
}

fn read(text: &str) -> Option<MessageId> {
    (text.len() == ID).then(|| text.parse().ok()).flatten()
}

fn failed(error: StoreError) -> ApiError {
    let words = Chain(&error).to_string();
    match error {
        StoreError::Closed => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "ending", words),
        _ => {
            tracing::error!("the queue could not be read for a receipt: {words}");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "queue", words)
        }
    }
}

/// One reader.
struct Reader {
    outcomes: broadcast::Receiver<Trace>,
    /// Its place among the local consumers.
    _place: Subscription,
    stop: CancellationToken,
}

impl Reader {
    /// The next event, and how many were missed before it; `None` when the agent ends.
    async fn next(&mut self) -> Option<(Event, u64)> {
        let mut missed = 0_u64;
        loop {
            // Both arms are cancel safe, and none awaits in its body.
            let outcome = tokio::select! {
                outcome = self.outcomes.recv() => outcome,
                () = self.stop.cancelled() => return None,
            };
            match outcome {
                Ok(trace) => return Some((event(&trace)?, missed)),
                // At least one is still there, and comes next.
                Err(RecvError::Lagged(some)) => missed = missed.saturating_add(some),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// An outcome as an event. Every receipt can be written as JSON.
fn event(trace: &Trace) -> Option<Event> {
    Event::default().event("outcome").json_data(receipt::of(trace, None)).ok()
}

/// Streams the receipt of each message that is acknowledged, set aside or dropped from now on, until the
/// reader or the agent goes.
///
/// # Errors
/// [`ApiError`]: 400 for any parameter, 503 if too many consumers are there.
pub(super) async fn outcomes(
    State(receipts): State<Receipts>,
    State(streams): State<Streams>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    takes_none(query.as_deref())?;
    // Without a filter nothing comes down to it: it is a place and nothing else.
    let place = streams.reader()?;
    let (outcomes, stop) = (receipts.queue.outcomes(), streams.stop().clone());
    let reader = Reader { outcomes, _place: place, stop };
    Ok(gapped(stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((event, reader))
    })))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use futures_util::StreamExt;
    use queue::State;

    use super::*;
    use crate::messages::downlink::Downlink;
    use crate::metrics::Metrics;

    #[test]
    fn only_a_uuid_as_it_is_written_is_an_id() {
        let id = "01a203c3-b7b7-7337-b698-ea9e58c7533e";
        assert_eq!(read(id).unwrap().to_string(), id);
        assert_eq!(read(&id.to_uppercase()), read(id));
        for wrong in [
            "",
            "1",
            "01a203c3b7b77337b698ea9e58c7533e",
            "{01a203c3-b7b7-7337-b698-ea9e58c7533e}",
            "urn:uuid:01a203c3-b7b7-7337-b698-ea9e58c7533e",
            "01a203c3-b7b7-7337-b698-ea9e58c7533g",
            "01a203c3-b7b7-7337-b698-ea9e58c7533\0",
            "éééééééééééééééééé",
        ] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
        assert_eq!(read(&"0".repeat(100_000)), None);
    }

    #[tokio::test]
    async fn a_slow_reader_hears_how_many_it_missed() {
        let (sender, outcomes) = broadcast::channel(2);
        let downlink = Downlink::new(Metrics::new().unwrap(), None);
        let place = downlink.reader().unwrap();
        let stop = CancellationToken::new();
        let reader = Reader { outcomes, _place: place, stop: stop.clone() };
        let trace = |path: &str| Trace {
            id: MessageId::nil(),
            qos: 1,
            state: State::Acknowledged { path: path.into() },
            at: SystemTime::UNIX_EPOCH,
        };
        for path in ["1", "2", "3", "4", "5"] {
            sender.send(trace(path)).unwrap();
        }
        let events = stream::unfold(reader, |mut reader| async move {
            let (_, missed) = reader.next().await?;
            Some((missed, reader))
        });
        let mut events = Box::pin(events);
        assert_eq!(events.next().await, Some(3));
        assert_eq!(events.next().await, Some(0));
        sender.send(trace("6")).unwrap();
        assert_eq!(events.next().await, Some(0));
        stop.cancel();
        assert_eq!(events.next().await, None);
    }
}
