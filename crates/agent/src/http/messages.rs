//! `GET /api/v1/messages`: messages that sessions receive, as server-sent events.

use api::messages::Received;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::response::sse::Event;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use tokio_util::sync::CancellationToken;

use super::error::ApiError;
use super::query::Query;
use super::stream::{Streams, gapped};
use crate::messages::downlink::{Message, Subscription};

/// Filters of one stream.
const FILTERS: usize = 32;

/// One reader.
struct Reader {
    subscription: Subscription,
    stop: CancellationToken,
}

impl Reader {
    /// The next event, and how many were missed before it; `None` when the agent ends.
    async fn next(&mut self) -> Option<(Event, u64)> {
        let stop = self.stop.clone();
        // Both arms are cancel safe, and none awaits in its body.
        let (message, _) = tokio::select! {
            delivery = self.subscription.next() => delivery,
            () = stop.cancelled() => return None,
        };
        let event = Event::default().event("message").json_data(received(&message)).ok()?;
        Some((event, self.subscription.take_missed()))
    }
}

fn received(message: &Message) -> Received {
    Received {
        modem: message.session.modem.to_string(),
        session: message.session.session.to_string(),
        topic: message.topic.clone(),
        qos: message.qos,
        payload_base64: STANDARD.encode(&message.payload),
    }
}

/// Streams messages from now on until the reader or the agent goes: those that a `filter` selects, which
/// may be given several times, or all.
///
/// # Errors
/// [`ApiError`]: 400 for a bad filter, 503 if too many consumers are there.
pub(super) async fn messages(
    State(streams): State<Streams>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let filters = filters(query.as_deref())?;
    let subscription = streams.reader()?;
    if filters.is_empty() {
        subscription.want_everything();
    }
    for filter in &filters {
        subscription.add(filter, 2, FILTERS);
    }
    let reader = Reader { subscription, stop: streams.stop().clone() };
    Ok(gapped(stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((event, reader))
    })))
}

fn filters(query: Option<&str>) -> Result<Vec<String>, ApiError> {
    let bad = |words: String| ApiError::new(StatusCode::BAD_REQUEST, "filter", words);
    let query = Query::repeated(query, &["filter"]).map_err(bad)?;
    let filters: Vec<String> = query.rest().map(|(_, filter)| filter).collect();
    for filter in &filters {
        fleet::check_filter(filter)
            .map_err(|reason| bad(format!("the filter {filter:?} {reason}")))?;
    }
    if filters.len() > FILTERS {
        return Err(bad(format!("at most {FILTERS} filters")));
    }
    Ok(filters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_or_refused_by_name() {
        assert_eq!(filters(Some("filter=a%2F%23&filter=b/%2B")).ok().unwrap(), ["a/#", "b/+"]);
        for bad in ["filter=a%2F%23%2Fb", "filter=", "filter=%ff", "colour=red", "filter"] {
            assert!(filters(Some(bad)).is_err(), "{bad}");
        }
        assert!(filters(Some(&"filter=a&".repeat(33))).is_err());
    }
}
