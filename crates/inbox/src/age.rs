//! A clock for ages that no setting of the wall clock moves.
//!
//! A gateway without a clock of its own starts in the past and jumps forward at the first time
//! sync. By the wall clock all waiting messages would be too old at that moment. This clock
//! continues from the end of the last run: within a run by the monotonic clock, between two runs by
//! the wall clock, as far as that can be believed.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds of this clock. Its zero means nothing.
pub(crate) type Age = i64;

/// A moment by both clocks of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Milliseconds of the Unix epoch.
    pub(crate) wall: i64,
    /// Time since some point in this run.
    pub(crate) running: Duration,
}

/// The clock's last state, read when it is resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Saved {
    pub(crate) age: Age,
    /// The wall clock at the same moment.
    pub(crate) wall: i64,
}

/// The first plausible time: no gateway of ours ran before 2025, so an earlier wall clock is not
/// set.
const SET: i64 = 1_735_689_600_000;

/// The clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AgeClock {
    began: Age,
    began_at: Duration,
}

impl AgeClock {
    /// Continues from the saved state.
    pub(crate) fn resume(saved: Option<Saved>, now: Moment) -> Self {
        let age = saved.map_or(0, |saved| {
            let off = now.wall.saturating_sub(saved.wall).max(0);
            let off = if saved.wall < SET { 0 } else { off };
            saved.age.saturating_add(off)
        });
        Self { began: age, began_at: now.running }
    }

    /// Returns its time at this moment.
    pub(crate) fn at(&self, now: Moment) -> Age {
        self.began.saturating_add(millis(now.running.saturating_sub(self.began_at)))
    }
}

pub(crate) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Reads both clocks; replaceable in tests.
pub(crate) type Clock = Box<dyn Fn() -> Moment + Send>;

/// The system's clocks.
#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own waits for real time, and the wall clock may be set"
)]
pub(crate) fn system() -> Clock {
    let began = Instant::now();
    Box::new(move || Moment {
        wall: millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
        running: began.elapsed(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_that_passed_counts() {
        let hour = 3_600_000;
        let moment = |wall, hours: u64| Moment { wall, running: Duration::from_secs(hours * 3600) };
        for (what, saved, opened, later, expected) in [
            ("the first run", None, moment(SET, 5), moment(SET, 6), hour),
            ("the clock is set during the run", None, moment(0, 5), moment(SET, 6), hour),
            (
                "off for two hours",
                Some(Saved { age: 10, wall: SET }),
                moment(SET + 2 * hour, 0),
                moment(SET + 3 * hour, 1),
                10 + 3 * hour,
            ),
            (
                "the clock is unset at the start",
                Some(Saved { age: 10, wall: SET + hour }),
                moment(0, 0),
                moment(SET + 9 * hour, 1),
                10 + hour,
            ),
            (
                "the clock was unset at the end of the run before",
                Some(Saved { age: 10, wall: hour }),
                moment(SET, 0),
                moment(SET + hour, 1),
                10 + hour,
            ),
        ] {
            assert_eq!(AgeClock::resume(saved, opened).at(later), expected, "{what}");
        }
    }
}
