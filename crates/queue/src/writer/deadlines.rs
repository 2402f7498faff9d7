//! The times at which messages leave by themselves: by their own time to live, or by the queue's
//! maximum age.

use std::time::Duration;

use crate::clock::earlier;

/// The longest wait for the next deadline. The wall clock may be set meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The next deadlines, by the queue's clock in milliseconds.
///
/// No unleased message expires before `expiry`, and none is too old before `age`: a sweep before
/// that finds nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Deadlines {
    max_age: Option<i64>,
    expiry: Option<i64>,
    age: Option<i64>,
    /// True if the last sweep failed: the next sweep waits for a command or for [`LONGEST_WAIT`].
    has_failed: bool,
}

impl Deadlines {
    /// Begins with the earliest expiry of the file, whose ages are not known yet.
    pub(super) fn new(max_age: Option<Duration>, expiry: Option<i64>) -> Self {
        let max_age = max_age.map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let age = max_age.is_some().then_some(i64::MIN);
        Self { max_age, expiry, age, has_failed: false }
    }

    /// Reports whether a sweep may find something now.
    pub(super) fn is_due(&self, now: i64) -> bool {
        self.next().is_some_and(|next| next <= now)
    }

    fn next(&self) -> Option<i64> {
        earlier(self.expiry, self.age)
    }

    /// Returns the time to wait for the next sweep.
    pub(super) fn patience(&self, now: impl FnOnce() -> i64) -> Option<Duration> {
        let next = self.next()?;
        if self.has_failed {
            return Some(LONGEST_WAIT);
        }
        let wait = u64::try_from(next.saturating_sub(now())).unwrap_or(0);
        Some(Duration::from_millis(wait).min(LONGEST_WAIT))
    }

    /// Returns the time at which a message is too old; `None` if there is no maximum age.
    pub(super) fn too_old_at(&self, appended_at: i64) -> Option<i64> {
        self.max_age.map(|age| appended_at.saturating_add(age))
    }

    /// Notes a message that was stored now.
    pub(super) fn stored(&mut self, expires_at: Option<i64>, now: i64) {
        self.moved(expires_at);
        self.age = earlier(self.age, self.too_old_at(now));
    }

    /// Notes a message whose lease ended by a move.
    pub(super) fn moved(&mut self, expires_at: Option<i64>) {
        self.expiry = earlier(self.expiry, expires_at);
    }

    /// Notes a message whose lease ended: a sweep may have passed it by.
    pub(super) fn released(&mut self, expires_at: Option<i64>, now: i64) {
        self.moved(expires_at);
        if self.max_age.is_some() {
            // A search at each release would cost too much.
            let soon = i64::try_from(LONGEST_WAIT.as_millis()).unwrap_or(i64::MAX);
            self.age = earlier(self.age, Some(now.saturating_add(soon)));
        }
    }

    /// Notes that a sweep found nothing more that expires before `next`.
    pub(super) fn swept_expired(&mut self, next: Option<i64>) {
        self.expiry = next;
    }

    /// Notes that a sweep found nothing more that is too old before `next`.
    pub(super) fn swept_aged(&mut self, next: Option<i64>) {
        self.age = next;
    }

    /// Notes the earliest expiry of another file.
    pub(super) fn replaced(&mut self, expiry: Option<i64>) {
        self.expiry = expiry;
    }

    /// Notes whether the last transaction, and the sweep in it, failed.
    pub(super) fn tried(&mut self, has_failed: bool) {
        self.has_failed = has_failed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(n: u64) -> Option<Duration> {
        Some(Duration::from_secs(n))
    }

    #[test]
    fn a_sweep_is_due_at_the_earliest_of_all_and_again_after_a_failure() {
        let mut deadlines = Deadlines::new(None, None);
        assert_eq!((deadlines.is_due(i64::MAX), deadlines.patience(|| 0)), (false, None));
        deadlines.stored(Some(9_000), 0);
        deadlines.stored(Some(5_000), 0);
        deadlines.stored(None, 0);
        assert_eq!((deadlines.is_due(4_999), deadlines.is_due(5_000)), (false, true));
        assert_eq!(deadlines.patience(|| 2_000), seconds(3));
        assert_eq!(deadlines.patience(|| 7_000), seconds(0));
        deadlines.tried(true);
        assert_eq!((deadlines.is_due(7_000), deadlines.patience(|| 7_000)), (true, seconds(60)));
        deadlines.tried(false);
        deadlines.swept_expired(Some(9_000_000));
        assert_eq!(deadlines.patience(|| 7_000), seconds(60), "the wall clock may be set");
    }

    #[test]
    fn ages_count_from_the_append_and_what_is_released_is_looked_at_soon() {
        let mut deadlines = Deadlines::new(seconds(100), None);
        assert!(deadlines.is_due(0), "the ages in the file are not known");
        deadlines.swept_aged(None);
        assert_eq!(deadlines.too_old_at(7_000), Some(107_000));
        deadlines.stored(None, 7_000);
        assert_eq!((deadlines.is_due(106_999), deadlines.is_due(107_000)), (false, true));
        deadlines.released(None, 10_000);
        assert_eq!((deadlines.is_due(69_999), deadlines.is_due(70_000)), (false, true));
        let mut deadlines = Deadlines::new(None, None);
        deadlines.released(Some(3), 10_000);
        assert_eq!((deadlines.is_due(2), deadlines.is_due(3)), (false, true));
    }
}
