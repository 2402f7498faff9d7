//! Bodies of requests and answers, on their way: a place knows if one is waited for, and until when one is sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use super::places::Place;

/// An answer is given to the connection in pieces of so many bytes: one that is not read waits here, where it is counted.
const PIECE: usize = 16 * 1024;

/// A request's body.
pub(super) struct Upload {
    body: Incoming,
    place: Arc<Place>,
}

impl Upload {
    pub(super) fn new(body: Incoming, place: Arc<Place>) -> Self {
        Self { body, place }
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.place.waits_for_body(frame.is_pending());
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.place.waits_for_body(false);
    }
}

/// An answer's body, which ends the request when it is dropped.
pub(super) struct Answer {
    body: Body,
    /// Rest of the frame that is sent in pieces.
    rest: Bytes,
    place: Arc<Place>,
}

impl Answer {
    pub(super) fn new(body: Body, place: Arc<Place>) -> Self {
        Self { body, rest: Bytes::new(), place }
    }

    /// Returns the next piece as a copy, so that the last one does not keep the whole.
    fn piece(&mut self) -> Frame<Bytes> {
        let piece = self.rest.split_to(PIECE.min(self.rest.len()));
        Frame::data(Bytes::copy_from_slice(&piece))
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.piece())));
        }
        Pin::new(&mut self.body).poll_frame(cx).map_ok(|frame| match frame.into_data() {
            Ok(data) if data.len() > PIECE => {
                self.rest = data;
                self.piece()
            }
            Ok(data) => Frame::data(data),
            Err(trailers) => trailers,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.body.size_hint(), u64::try_from(self.rest.len()).unwrap_or(0));
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.place.end();
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::http::accept::places::{Origin, Places};
    use crate::metrics::Metrics;

    #[tokio::test]
    async fn a_large_answer_comes_in_pieces_and_says_how_much_is_left() {
        let places = Places::new(Metrics::new().unwrap());
        let place = Arc::new(places.take(Origin::Socket).unwrap());
        let whole: Vec<u8> = (0..=255).cycle().take(2 * PIECE + 1).collect();
        let mut answer = Answer::new(Body::from(whole.clone()), place);
        let mut came = Vec::new();
        for (piece, is_end) in [(PIECE, false), (PIECE, false), (1, true)] {
            let left = u64::try_from(whole.len() - came.len()).unwrap();
            assert_eq!(answer.size_hint().exact(), Some(left));
            assert!(!answer.is_end_stream());
            let frame = answer.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(frame.len(), piece);
            came.extend_from_slice(&frame);
            assert_eq!(answer.is_end_stream(), is_end);
        }
        assert!(answer.frame().await.is_none());
        assert_eq!(came, whole);
    }
}
