//! Calm retries: decorrelated jitter, reset only after a while of stability.

use std::time::Duration;

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// The longest time between two attempts at what has been failing for `age`. Trying harms nobody, and most of what
/// a network refuses it grants a minute later.
pub(crate) fn pace(age: Duration) -> Duration {
    if age < 2 * MINUTE {
        Duration::from_secs(20)
    } else if age < 60 * MINUTE {
        MINUTE
    } else {
        2 * MINUTE
    }
}

/// Waits between attempts. Each wait is drawn between `base` and three times the one before it, at
/// most `cap`, so that the sessions of a gateway drift apart instead of knocking together.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    last: Duration,
}

impl Backoff {
    /// A back-off whose first wait is `base` to three times `base`.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, last: base }
    }

    /// How long to wait before the next attempt.
    pub fn next_wait(&mut self) -> Duration {
        self.next_wait_within(self.cap)
    }

    /// The same, and no longer than this.
    pub fn next_wait_within(&mut self, most: Duration) -> Duration {
        let top = self.last.saturating_mul(3).min(self.cap.min(most)).max(self.base);
        let spread = top.saturating_sub(self.base);
        self.last = self.base + spread.mul_f64(fastrand::f64());
        self.last
    }

    /// Forgets earlier failures. Call it after a stable time, not after a mere success: a broker that
    /// kicks a client right after CONNECT would else be stormed.
    pub fn reset(&mut self) {
        self.last = self.base;
    }
}

/// Waits between attempts that never end, such as to start a service: ever longer, and never longer than
/// the age of the trouble allows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attempts {
    since: Option<Instant>,
    backoff: Option<Backoff>,
}

/// The first wait between attempts.
const FIRST: Duration = Duration::from_secs(1);

impl Attempts {
    /// How long to wait before the next attempt.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let since = *self.since.get_or_insert_with(Instant::now);
        let most = pace(since.elapsed());
        self.backoff
            .get_or_insert_with(|| Backoff::new(FIRST, Duration::MAX))
            .next_wait_within(most)
    }

    /// The trouble is over.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_between_base_and_cap_and_grow_from_base() {
        fastrand::seed(7);
        let (base, cap) = (Duration::from_secs(1), Duration::from_secs(60));
        let mut backoff = Backoff::new(base, cap);
        assert!(backoff.next_wait() <= base * 3);
        let waits: Vec<_> = (0..1_000).map(|_| backoff.next_wait()).collect();
        assert!(waits.iter().all(|wait| (base..=cap).contains(wait)));
        assert!(waits.iter().any(|wait| *wait > cap / 2), "it grows");
        backoff.reset();
        assert!(backoff.next_wait() <= base * 3);
    }

    #[test]
    fn what_was_tried_lately_is_tried_less_often() {
        for (age, most) in
            [(0, 20), (119, 20), (120, 60), (3_599, 60), (3_600, 120), (1_000_000, 120)]
        {
            assert_eq!(pace(Duration::from_secs(age)), Duration::from_secs(most), "{age}");
        }
    }
}
