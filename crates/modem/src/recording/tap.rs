//! The bytes of a port in both directions, as they pass, with the engine's verdict on them.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use at::{Framing, Urc};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::bytes;
use super::piece::Piece;
use super::session::Published;
use crate::observe::Observer;
use crate::port::PortEvent;
use crate::transcript::{SESSION, Transcript};

/// The most bytes of a recording, far more than a script and a session have. A modem that prints
/// without end is cut here.
const MOST: usize = 4 * 1024 * 1024;

/// Facts about a recording beside its lines.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) firmware: Option<String>,
    pub(super) published: Option<Published>,
    pub(super) cut: Option<String>,
}

#[derive(Debug, Default)]
struct Content {
    pieces: Vec<(Instant, Piece)>,
    bytes: usize,
    /// The URCs in the order of their marks.
    urcs: Vec<Urc>,
    done: Done,
}

/// The log of a recording.
#[derive(Debug, Default)]
pub(super) struct Log(Mutex<Content>);

impl Log {
    fn content(&self) -> MutexGuard<'_, Content> {
        // No code that holds the lock leaves it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, piece: Piece) {
        let mut content = self.content();
        if let Piece::Sent(bytes) | Piece::Received(bytes) = &piece {
            content.bytes = content.bytes.saturating_add(bytes.len());
        }
        if content.bytes <= MOST {
            content.pieces.push((Instant::now(), piece));
        }
    }

    /// Returns the place at which the recording begins.
    pub(super) fn begin(&self) -> usize {
        self.content().pieces.len()
    }

    pub(super) fn note(&self, note: String) {
        self.push(Piece::Note(note));
    }

    /// Reports whether the session began and has not ended.
    pub(super) fn is_in_session(&self) -> bool {
        let content = self.content();
        let begun = |(_, piece): &(Instant, Piece)| *piece == Piece::Note(SESSION.to_owned());
        content.done.published.is_none() && content.pieces.iter().any(begun)
    }

    /// Keeps a URC: its mark is in the log already.
    pub(super) fn event(&self, event: PortEvent) {
        if let PortEvent::Urc(urc) = event {
            self.content().urcs.push(urc);
        }
    }

    pub(super) fn firmware(&self, firmware: Option<String>) {
        self.content().done.firmware = firmware;
    }

    pub(super) fn published(&self, published: Published) {
        self.content().done.published = Some(published);
    }

    /// Notes the end of the recording before its time. The first reason counts.
    pub(super) fn cut(&self, reason: String) {
        self.content().done.cut.get_or_insert(reason);
    }

    /// Returns the lines from a place on, and the other facts.
    pub(super) fn transcript(&self, start: usize, framing: &Framing) -> (Transcript, Done) {
        let Content { pieces, urcs, done, .. } = std::mem::take(&mut *self.content());
        let marks = |pieces: &[(Instant, Piece)]| {
            pieces.iter().filter(|(_, piece)| *piece == Piece::Urc).count()
        };
        let (before, pieces) = pieces.split_at_checked(start).unwrap_or((&[], &[]));
        let urcs = urcs.get(marks(before)..).unwrap_or_default();
        let transcript = bytes::transcript(pieces, urcs, framing, done.cut.is_some());
        (transcript, done)
    }
}

/// Marks the place of each URC in the log, in the port's own task.
pub(super) struct Marker(pub(super) Arc<Log>);

impl Observer for Marker {
    fn urc(&self) {
        self.0.push(Piece::Urc);
    }
}

/// A stream whose bytes are logged as they pass.
pub(super) struct Tap<S> {
    inner: S,
    log: Arc<Log>,
}

impl<S> Tap<S> {
    pub(super) fn new(inner: S, log: Arc<Log>) -> Self {
        Self { inner, log }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        let read = buf.filled().get(before..).unwrap_or_default();
        if !read.is_empty() {
            self.log.push(Piece::Received(read.to_vec()));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = &polled {
            self.log.push(Piece::Sent(bytes.get(..*count).unwrap_or_default().to_vec()));
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
