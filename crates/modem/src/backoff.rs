//! Calm retries: decorrelated jitter, reset only after a while of stability.

use std::time::Duration;

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
        let top = self.last.saturating_mul(3).min(self.cap).max(self.base);
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
}
