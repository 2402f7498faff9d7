//! Answers that go on: server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use api::messages::Missed;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use tokio_util::sync::CancellationToken;

use super::error::ApiError;
use crate::messages::downlink::{Downlink, Subscription};

/// Keeps proxies from closing a quiet stream.
const STILL_HERE: Duration = Duration::from_secs(15);

/// Event streams, until the agent ends.
#[derive(Clone)]
pub struct Streams {
    downlink: Downlink,
    stop: CancellationToken,
}

impl Streams {
    /// Streams of messages that sessions receive, until `stop`.
    pub fn new(downlink: Downlink, stop: CancellationToken) -> Self {
        Self { downlink, stop }
    }

    /// The messages that sessions receive.
    pub(super) fn downlink(&self) -> &Downlink {
        &self.downlink
    }

    /// Cancelled when the agent ends: then a stream ends, and a caller that is kept waiting is answered.
    pub(super) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// A place among the readers of event streams, with no filter yet.
    ///
    /// # Errors
    /// [`ApiError`]: 503 if all places are taken.
    pub(super) fn reader(&self) -> Result<Subscription, ApiError> {
        self.downlink.reader().ok_or_else(|| {
            let words = "too many local consumers; close one";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_many", words)
        })
    }
}

/// Streams these events.
pub(super) fn events(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    Sse::new(events.map(Ok::<_, Infallible>))
        .keep_alive(KeepAlive::new().interval(STILL_HERE))
        .into_response()
}

/// Streams these events, each with the number that was missed since the one before. That number is sent first.
pub(super) fn gapped(told: impl Stream<Item = (Event, u64)> + Send + 'static) -> Response {
    events(told.flat_map(|(event, missed)| {
        // A number can be written as JSON.
        let told = || Event::default().event("dropped").json_data(Missed { missed }).ok();
        let dropped = (missed > 0).then(told).flatten();
        stream::iter(dropped.into_iter().chain([event]))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_missed_is_told_before_what_follows() {
        let event = |data: &str| Event::default().event("e").data(data);
        let told = stream::iter([(event("1"), 0), (event("5"), 3), (event("6"), 0)]);
        let body = axum::body::to_bytes(gapped(told).into_body(), 1_000).await.unwrap();
        let expected = "event: e\ndata: 1\n\nevent: dropped\ndata: {\"missed\":3}\n\n\
                        event: e\ndata: 5\n\nevent: e\ndata: 6\n\n";
        assert_eq!(body, expected);
    }
}
