//! The modem's own clock: `CCLK` shows and sets it, and certificates are checked against it.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::options::Clock;

/// The start of the clock if the modem has no time: 1980-01-06, the first day of GPS.
const UNSET: i64 = 315_964_800;

/// The zone of the network's time, in quarters of an hour.
const ZONE: i64 = 32;

/// A running clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnClock {
    /// Seconds since 1970 at `from`.
    base: i64,
    from: Instant,
    /// Offset of the shown time from UTC, in quarters of an hour.
    zone: i64,
}

impl OwnClock {
    /// Returns the clock of a modem that has just got power.
    pub(crate) fn new(clock: Clock, now: Instant) -> Self {
        match clock {
            Clock::Network => Self { base: system(), from: now, zone: ZONE },
            Clock::Unset => Self { base: UNSET, from: now, zone: 0 },
        }
    }

    /// Returns the seconds since 1970.
    pub(crate) fn unix(&self, now: Instant) -> i64 {
        let passed = now.saturating_duration_since(self.from).as_secs();
        self.base.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
    }

    /// Returns the time in the form of `CCLK?` (27.007 §8.15): `yy/MM/dd,hh:mm:ss±zz`.
    pub(crate) fn text(&self, now: Instant) -> String {
        let local = self.unix(now) + self.zone * 900;
        let (days, second) = (local.div_euclid(86_400), local.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        let (sign, zone) = if self.zone < 0 { ('-', -self.zone) } else { ('+', self.zone) };
        let year = year.rem_euclid(100);
        format!("{year:02}/{month:02}/{day:02},{hour:02}:{minute:02}:{second:02}{sign}{zone:02}")
    }

    /// Sets the clock to the value of `CCLK=`; `None` if the value is not a time.
    pub(crate) fn set(&mut self, text: &str, now: Instant) -> Option<()> {
        let (date, time) = text.split_once(',')?;
        let at = time.find(['+', '-']);
        let (time, zone) = at.map_or(Some((time, "+00")), |at| time.split_at_checked(at))?;
        let [year, month, day] = three(date, '/')?;
        let [hour, minute, second] = three(time, ':')?;
        let zone: i64 = zone.parse().ok().filter(|zone| (-96..=96).contains(zone))?;
        let good = (1..=12).contains(&month) && (1..=31).contains(&day);
        if !good || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let year = if year < 70 { year + 2_000 } else { year + 1_900 };
        let local = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
        *self = Self { base: local - zone * 900, from: now, zone };
        Some(())
    }
}

fn system() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn three(text: &str, separator: char) -> Option<[i64; 3]> {
    let mut parts = text.split(separator).map(|part| part.parse().ok().filter(|n| *n >= 0));
    let all = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(all)
}

/// Returns the days from 1970 to a day of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // The year begins in March, so that the leap day is its last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap + (month * 153 + 2) / 5 + day - 1 - 719_468
}

/// Returns the day of the Gregorian calendar: the last year and month that begin no later.
fn civil(day: i64) -> (i64, i64, i64) {
    let guess = 1970 + day.div_euclid(365);
    let year = (guess - 2..=guess).rev().find(|year| days(*year, 1, 1) <= day).unwrap_or(guess);
    let month = (1..=12).rev().find(|month| days(year, *month, 1) <= day).unwrap_or(1);
    (year, month, day - days(year, month, 1) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shows_what_it_was_set_to_and_goes_on() {
        let now = Instant::now();
        let mut clock = OwnClock::new(Clock::Unset, now);
        assert_eq!(clock.text(now), "80/01/06,00:00:00+00");
        for (set, unix) in [
            ("26/11/25,09:58:00+00", 1_795_600_680),
            ("26/11/25,17:58:00+32", 1_795_600_680),
            ("24/02/29,23:59:59-08", 1_709_258_399),
            ("70/01/01,00:00:00+00", 0),
        ] {
            clock.set(set, now).unwrap();
            assert_eq!((clock.unix(now), clock.text(now).as_str()), (unix, set));
        }
        let later = now + tokio::time::Duration::from_secs(61);
        assert_eq!((clock.unix(later), clock.text(later).as_str()), (61, "70/01/01,00:01:01+00"));
        for bad in ["", "26/11/25", "26/13/01,00:00:00+00", "26/01/01,24:00:00", "a/b/c,1:2:3"] {
            assert!(clock.set(bad, now).is_none(), "{bad}");
        }
    }

    #[test]
    fn every_day_is_found_again() {
        for day in (-10_000..60_000).step_by(17) {
            let (year, month, date) = civil(day);
            assert_eq!(days(year, month, date), day);
        }
        assert_eq!(civil(20_512), (2026, 2, 28));
        assert_eq!(civil(20_513), (2026, 3, 1));
    }
}
