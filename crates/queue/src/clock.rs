//! The queue's time: it advances evenly while the machine runs, whatever happens to the wall clock.
//!
//! Ages and times to live are counted by the time since boot (`CLOCK_BOOTTIME`, which counts
//! suspension too). So nothing expires when the wall clock is set, as on a machine without a
//! battery at its first time sync. Across a boot only the wall clock shows how long the machine was
//! off: the queue's time follows it, but never backwards.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::time::{ClockId, clock_gettime};

/// Returns the present time for the writer's waits. Its thread waits for real time.
#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own waits for real time, and the wall clock may be set"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The sources of the times; replaceable in tests.
#[derive(Clone)]
pub(crate) struct Sources {
    /// The wall clock.
    pub(crate) wall: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    /// The time since boot.
    pub(crate) uptime: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// A name of this boot; empty if it is not known.
    pub(crate) boot: String,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("boot", &self.boot).finish_non_exhaustive()
    }
}

impl Sources {
    /// Returns the machine's sources.
    pub(crate) fn real() -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self {
            wall: Arc::new(SystemTime::now),
            uptime: Arc::new(uptime),
            boot: boot.trim().to_owned(),
        }
    }
}

fn uptime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// The record of the time in the file, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The boot in which it was written.
    pub(crate) boot: String,
    /// The time since that boot.
    pub(crate) uptime: i64,
    /// The queue's time at that moment.
    pub(crate) time: i64,
}

/// The queue's time, in milliseconds, counted from the Unix epoch if no clock was ever wrong.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    sources: Sources,
    /// The queue's time at boot.
    offset: i64,
}

impl Clock {
    /// Continues from the kept mark; `newest` is the latest known time in the file.
    pub(crate) fn new(sources: Sources, kept: Option<&Mark>, newest: Option<i64>) -> Self {
        let (wall, uptime) = (millis((sources.wall)()), span((sources.uptime)()));
        let same_boot = |mark: &&Mark| !mark.boot.is_empty() && mark.boot == sources.boot;
        let time = match kept.filter(same_boot) {
            Some(mark) => mark.time.saturating_add(uptime.saturating_sub(mark.uptime)),
            None => wall.max(kept.map_or(wall, |mark| mark.time)),
        };
        let time = time.max(newest.unwrap_or(time));
        Self { offset: time.saturating_sub(uptime), sources }
    }

    /// Returns the queue's time now.
    pub(crate) fn now(&self) -> i64 {
        self.offset.saturating_add(span((self.sources.uptime)()))
    }

    /// Returns the mark to keep.
    pub(crate) fn mark(&self) -> Mark {
        let uptime = span((self.sources.uptime)());
        let time = self.offset.saturating_add(uptime);
        Mark { boot: self.sources.boot.clone(), uptime, time }
    }

    /// Converts a moment of the wall clock into the queue's time.
    pub(crate) fn of_wall(&self, time: SystemTime) -> i64 {
        millis(time).saturating_sub(self.ahead())
    }

    /// Converts a moment of the queue's time into that of the present wall clock.
    pub(crate) fn to_wall(&self, time_then: i64) -> SystemTime {
        time(time_then.saturating_add(self.ahead()))
    }

    /// Returns the lead of the wall clock. Less than a second counts as none: the two clocks are
    /// not read at the same moment.
    fn ahead(&self) -> i64 {
        let ahead = millis((self.sources.wall)()).saturating_sub(self.now());
        if ahead.abs() < 1_000 { 0 } else { ahead }
    }
}

/// Returns the earlier of two optional times.
pub(crate) fn earlier<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn span(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Returns a moment in milliseconds of the Unix epoch, clamped to the range.
pub(crate) fn millis(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

/// Returns the moment of this many milliseconds of the Unix epoch.
pub(crate) fn time(millis: i64) -> SystemTime {
    let distance = Duration::from_millis(millis.unsigned_abs());
    let moment = if millis < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    moment.unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(boot: &str, wall: u64, uptime: u64) -> Sources {
        Sources {
            wall: Arc::new(move || UNIX_EPOCH + Duration::from_millis(wall)),
            uptime: Arc::new(move || Duration::from_millis(uptime)),
            boot: boot.to_owned(),
        }
    }

    #[test]
    fn the_time_goes_on_evenly_within_a_boot_and_never_back() {
        let mark = |boot: &str, uptime, time| Mark { boot: boot.to_owned(), uptime, time };
        for (kept, newest, boot, wall, uptime, want, why) in [
            (None, None, "a", 500_000, 1_000, 500_000, "the first start"),
            (Some(mark("a", 1_000, 500_000)), None, "a", 9_000_000, 3_000, 502_000, "set forward"),
            (Some(mark("a", 1_000, 500_000)), None, "a", 7, 3_000, 502_000, "set back"),
            (Some(mark("a", 1_000, 500_000)), None, "b", 900_000, 10, 900_000, "off in between"),
            (Some(mark("a", 1_000, 500_000)), None, "b", 7, 10, 500_000, "an unset clock"),
            (Some(mark("a", 1_000, 500_000)), Some(600_000), "b", 7, 10, 600_000, "and it ran on"),
            (Some(mark("", 1_000, 500_000)), None, "", 700_000, 10, 700_000, "no name of the boot"),
        ] {
            let clock = Clock::new(sources(boot, wall, uptime), kept.as_ref(), newest);
            assert_eq!(clock.now(), want, "{why}");
            let back = clock.to_wall(clock.now() - 300);
            assert_eq!(millis(back), i64::try_from(wall).unwrap() - 300, "{why}");
            assert_eq!(clock.of_wall(back), clock.now() - 300, "{why}");
        }
    }
}
