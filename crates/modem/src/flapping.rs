//! A device that comes and goes: the number of its returns within the last minutes.
//!
//! A value without a clock. It never delays the service: a device that came back is served at once.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The time during which returns count.
pub const WINDOW: Duration = Duration::from_secs(600);

/// The number of returns within the window from which a bad supply or cable is suspected.
pub const MANY: usize = 3;

/// The most returns remembered: one a second during the whole window.
const MOST: usize = 600;

/// The returns of a device.
#[derive(Debug, Clone, Default)]
pub struct Flapping {
    returns: VecDeque<Instant>,
}

impl Flapping {
    /// Notes that the device was gone and is back.
    pub fn returned(&mut self, now: Instant) {
        self.forget(now);
        if self.returns.len() >= MOST {
            self.returns.pop_front();
        }
        self.returns.push_back(now);
    }

    /// Returns the number of returns within the window.
    pub fn count(&self, now: Instant) -> usize {
        self.returns.iter().filter(|at| now.saturating_duration_since(**at) < WINDOW).count()
    }

    /// Reports whether that is often enough to check the supply.
    pub fn is_flapping(&self, now: Instant) -> bool {
        self.count(now) >= MANY
    }

    /// Drops returns from before the window, and reports whether none is left.
    pub fn forget(&mut self, now: Instant) -> bool {
        self.returns.retain(|at| now.saturating_duration_since(*at) < WINDOW);
        self.returns.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_returns_within_ten_minutes_are_flapping_until_one_is_older() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for (returns, asked, count, is_flapping) in [
            (&[][..], 0, 0, false),
            (&[0, 5], 6, 2, false),
            (&[0, 5, 10], 10, 3, true),
            (&[0, 5, 10], 599, 3, true),
            (&[0, 5, 10], 600, 2, false),
            (&[0, 300, 601], 601, 2, false),
            (&[0, 300, 599, 700], 700, 3, true),
            (&[0, 1, 2, 3, 4], 2_000, 0, false),
        ] {
            let mut flapping = Flapping::default();
            returns.iter().for_each(|second| flapping.returned(at(*second)));
            let told = (flapping.count(at(asked)), flapping.is_flapping(at(asked)));
            assert_eq!(told, (count, is_flapping), "{returns:?} at {asked}");
        }
    }

    #[test]
    fn what_comes_back_for_ever_takes_no_more_memory_for_ever() {
        let start = Instant::now();
        let mut flapping = Flapping::default();
        for ms in 0..100_000 {
            flapping.returned(start + Duration::from_millis(ms));
        }
        assert_eq!(flapping.returns.len(), MOST);
        assert!(flapping.forget(start + Duration::from_secs(2_000)));
    }
}
