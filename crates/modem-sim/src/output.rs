//! Pending output of a port, in order, each piece with its earliest time.

use std::collections::VecDeque;

use tokio::time::{Duration, Instant};

/// Above this size a port takes no more commands and drops URCs: its reader has stopped.
const HIGH_WATER: usize = 256 * 1024;

/// Gap between the pieces of a split answer: long enough for a reader to see two reads.
const SPLIT_GAP: Duration = Duration::from_millis(1);

#[derive(Debug)]
struct Piece {
    due: Instant,
    bytes: Vec<u8>,
}

/// A queue of bytes with times, strictly in order: a late piece delays the pieces after it.
#[derive(Debug, Default)]
pub(crate) struct Output {
    waiting: VecDeque<Piece>,
    ready: Vec<u8>,
    written: usize,
    length: usize,
}

impl Output {
    /// Appends bytes that leave at the earliest `delay` after the bytes before them.
    pub(crate) fn push(&mut self, now: Instant, delay: Duration, bytes: &[u8]) {
        self.length += bytes.len();
        let start = self.waiting.back().map_or(now, |last| last.due.max(now));
        if self.waiting.is_empty() && delay.is_zero() {
            self.ready.extend_from_slice(bytes);
        } else {
            self.waiting.push_back(Piece { due: start + delay, bytes: bytes.to_vec() });
        }
    }

    /// Appends bytes in pieces of `sizes`, repeated as needed, with gaps between them.
    pub(crate) fn push_split(
        &mut self,
        now: Instant,
        delay: Duration,
        bytes: &[u8],
        mut size: impl FnMut() -> usize,
    ) {
        let mut rest = bytes;
        let mut delay = delay;
        while !rest.is_empty() {
            let at = size().clamp(1, rest.len());
            let (piece, tail) = rest.split_at_checked(at).unwrap_or((rest, &[]));
            self.push(now, delay, piece);
            rest = tail;
            delay = SPLIT_GAP;
        }
    }

    /// Returns the bytes that may leave now. Pieces with different times are not joined before their time.
    pub(crate) fn ready(&mut self, now: Instant) -> &[u8] {
        while let Some(piece) = self.waiting.pop_front_if(|piece| piece.due <= now) {
            self.ready.extend_from_slice(&piece.bytes);
        }
        self.ready.get(self.written..).unwrap_or(&[])
    }

    /// Removes `count` written bytes.
    pub(crate) fn wrote(&mut self, count: usize) {
        self.written += count;
        self.length = self.length.saturating_sub(count);
        if self.written >= self.ready.len() {
            self.ready.clear();
            self.written = 0;
        }
    }

    /// Returns the time of the next piece, if nothing is ready before.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.waiting.front().map(|piece| piece.due)
    }

    /// Reports whether the port is so far behind that its reader seems to have stopped.
    pub(crate) fn is_full(&self) -> bool {
        self.length > HIGH_WATER
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_late_piece_delays_those_behind_it() {
        let mut out = Output::default();
        let now = Instant::now();
        out.push(now, Duration::ZERO, b"a");
        out.push(now, Duration::from_secs(5), b"b");
        out.push(now, Duration::ZERO, b"c");
        assert_eq!(out.ready(now), b"a");
        out.wrote(1);
        assert_eq!(out.ready(now + Duration::from_secs(4)), b"");
        assert_eq!(out.next_due(), Some(now + Duration::from_secs(5)));
        assert_eq!(out.ready(now + Duration::from_secs(5)), b"bc");
        out.wrote(2);
        assert_eq!((out.length, out.next_due()), (0, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_split_answer_leaves_in_pieces_and_whole() {
        let mut out = Output::default();
        let now = Instant::now();
        out.push_split(now, Duration::ZERO, b"abcdef", || 4);
        assert_eq!(out.ready(now), b"abcd");
        out.wrote(4);
        assert_eq!(out.ready(now), b"");
        assert_eq!(out.ready(now + SPLIT_GAP), b"ef");
    }
}
