//! Calm retries: decorrelated jitter that is reset only after a stable time.

use std::time::Duration;

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// Returns the longest time between two attempts at an operation that has been failing for `age`.
/// An attempt does no harm, and a network often grants a minute later what it refuses now.
pub(crate) fn pace(age: Duration) -> Duration {
    if age < 2 * MINUTE {
        Duration::from_secs(20)
    } else if age < 60 * MINUTE {
        MINUTE
    } else {
        2 * MINUTE
    }
}

/// Waits between attempts. Each wait is drawn between `base` and three times the wait before it, at
/// most `cap`. So the sessions of a gateway drift apart instead of connecting at the same time.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    last: Duration,
}

impl Backoff {
    /// Creates a back-off whose first wait is `base` to three times `base`.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, last: base }
    }

    /// Returns the wait before the next attempt.
    pub fn next_wait(&mut self) -> Duration {
        self.next_wait_within(self.cap)
    }

    /// Returns the wait before the next attempt, which is at most `most`.
    pub fn next_wait_within(&mut self, most: Duration) -> Duration {
        let top = self.last.saturating_mul(3).min(self.cap.min(most)).max(self.base);
        let spread = top.saturating_sub(self.base);
        self.last = self.base + spread.mul_f64(fastrand::f64());
        self.last
    }

    /// Forgets earlier failures. Call it after a stable time, not after one success: otherwise a
    /// broker that disconnects a client right after CONNECT would be stormed.
    pub fn reset(&mut self) {
        self.last = self.base;
    }
}

/// Waits between attempts that never end, such as to start a service. They grow up to the bound
/// that the age of the trouble sets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attempts {
    since: Option<Instant>,
    backoff: Option<Backoff>,
}

/// The first wait between attempts.
const FIRST: Duration = Duration::from_secs(1);

impl Attempts {
    /// Returns the wait before the next attempt.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let since = *self.since.get_or_insert_with(Instant::now);
        let most = pace(since.elapsed());
        self.backoff
            .get_or_insert_with(|| Backoff::new(FIRST, Duration::MAX))
            .next_wait_within(most)
    }

    /// Notes that the trouble is over.
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
