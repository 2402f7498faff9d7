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

/// The interval at which the clock is saved: a kill makes everything younger by that at most.
const SAVE: Age = 60 * 60 * 1000;

/// The difference from this clock by which the wall clock counts as set.
const WAS_SET: u64 = 60 * 1000;

/// The clock, and its state in the file.
///
/// The file never lags by more than [`SAVE`], nor by a setting of the wall clock, once
/// [due](Self::due) states are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeptClock {
    clock: AgeClock,
    in_file: Option<Saved>,
}

impl KeptClock {
    /// Begins without a file.
    pub(crate) fn begin(now: Moment) -> Self {
        Self { clock: AgeClock::resume(None, now), in_file: None }
    }

    /// Continues from the state in a file, if it has one.
    pub(crate) fn resume(&mut self, saved: Option<Saved>, now: Moment) {
        self.clock = AgeClock::resume(saved, now);
    }

    /// Returns the clock's time at this moment.
    pub(crate) fn at(&self, now: Moment) -> Age {
        self.clock.at(now)
    }

    /// Returns the state at this moment.
    pub(crate) fn state(&self, now: Moment) -> Saved {
        Saved { age: self.at(now), wall: now.wall }
    }

    /// Returns the state, if it has to be written now.
    pub(crate) fn due(&self, now: Moment) -> Option<Saved> {
        let state = self.state(now);
        let due = self.in_file.is_none_or(|saved| {
            let age = state.age.saturating_sub(saved.age);
            let wall = state.wall.saturating_sub(saved.wall);
            age >= SAVE || age.abs_diff(wall) >= WAS_SET
        });
        due.then_some(state)
    }

    /// Returns the state in the file, if known.
    pub(crate) fn in_file(&self) -> Option<Saved> {
        self.in_file
    }

    /// Notes the state that was written.
    pub(crate) fn written(&mut self, saved: Option<Saved>) {
        self.in_file = saved.or(self.in_file);
    }

    /// Has the state written with the next commit: the file is another one, or the last commit is
    /// near.
    pub(crate) fn write_soon(&mut self) {
        self.in_file = None;
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

    #[test]
    fn the_state_is_written_each_hour_and_when_the_wall_clock_is_set() {
        let moment = |seconds: u64, set: i64| Moment {
            wall: SET + millis(Duration::from_secs(seconds)) + set,
            running: Duration::from_secs(seconds),
        };
        let mut clock = KeptClock::begin(moment(0, 0));
        let first = clock.due(moment(0, 0));
        assert!(first.is_some(), "the file has none");
        clock.written(first);
        assert_eq!(clock.due(moment(3599, 0)), None);
        assert!(clock.due(moment(3600, 0)).is_some());
        assert!(clock.due(moment(5, 60_000)).is_some() && clock.due(moment(5, -60_000)).is_some());
        assert_eq!(clock.due(moment(5, 59_999)), None);
        clock.written(None);
        assert_eq!(clock.in_file(), first, "nothing was written");
        clock.write_soon();
        assert!(clock.due(moment(5, 0)).is_some());
    }
}
