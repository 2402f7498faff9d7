//! The days on which a budget is reset.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use fleet::Budget;

/// A day of each month, at midnight in a time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    day: u8,
    zone: TimeZone,
}

impl Calendar {
    /// Returns the calendar of a budget.
    pub fn of(budget: &Budget) -> Self {
        Self { day: budget.reset_day, zone: budget.time_zone.clone() }
    }

    /// Returns the last reset up to `now`. At the ends of time, without a reset, it is `now`.
    pub fn start(&self, now: Timestamp) -> Timestamp {
        let this = self.reset(now, 0);
        let start = this.filter(|reset| *reset <= now).or_else(|| self.reset(now, -1));
        start.unwrap_or(now)
    }

    /// Returns the first reset after `now`; `None` at the end of time.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.reset(now, 0).filter(|reset| *reset > now).or_else(|| self.reset(now, 1))
    }

    /// Returns the reset of the month that is `months` after the month of `now`.
    fn reset(&self, now: Timestamp, months: i64) -> Option<Timestamp> {
        let today = now.to_zoned_datetime(self.zone.clone()).date();
        let month = today.first_of_month().checked_add(Span::new().months(months)).ok()?;
        let day = i8::try_from(self.day).unwrap_or(i8::MAX).min(month.days_in_month());
        let date = Date::new(month.year(), month.month(), day).ok()?;
        // If the clocks skip midnight, the day begins with its first moment after it.
        Some(date.to_zoned_datetime(self.zone.clone()).ok()?.timestamp())
    }
}

impl Default for Calendar {
    fn default() -> Self {
        Self { day: 1, zone: TimeZone::UTC }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar(day: u8, zone: &str) -> Calendar {
        Calendar { day, zone: TimeZone::get(zone).unwrap() }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_month_begins_at_midnight_of_its_day_and_place() {
        for (day, zone, now, start, next) in [
            (1, "UTC", "2026-11-25T10:00Z", "2026-11-01T00:00Z", "2026-12-01T00:00Z"),
            // The moment itself belongs to the new month, the second before it to the old.
            (1, "UTC", "2026-12-01T00:00Z", "2026-12-01T00:00Z", "2027-01-01T00:00Z"),
            (1, "UTC", "2026-11-30T23:59:59Z", "2026-11-01T00:00Z", "2026-12-01T00:00Z"),
            // Midnight in Shanghai is 16:00 UTC of the day before.
            (1, "Asia/Shanghai", "2026-11-30T16:00Z", "2026-11-30T16:00Z", "2026-12-31T16:00Z"),
            (1, "Asia/Shanghai", "2026-11-30T15:59Z", "2026-10-31T16:00Z", "2026-11-30T16:00Z"),
            // The turn of the year.
            (15, "UTC", "2027-01-03T00:00Z", "2026-12-15T00:00Z", "2027-01-15T00:00Z"),
            // The 31st of shorter months: their last day, leap years included.
            (31, "UTC", "2026-11-30T00:00Z", "2026-11-30T00:00Z", "2026-12-31T00:00Z"),
            (31, "UTC", "2026-11-29T23:59Z", "2026-10-31T00:00Z", "2026-11-30T00:00Z"),
            (31, "UTC", "2028-02-29T12:00Z", "2028-02-29T00:00Z", "2028-03-31T00:00Z"),
            (30, "UTC", "2027-02-28T00:00Z", "2027-02-28T00:00Z", "2027-03-30T00:00Z"),
            (29, "UTC", "2027-03-01T00:00Z", "2027-02-28T00:00Z", "2027-03-29T00:00Z"),
            // Summer time begins and ends within the month: an hour less, an hour more.
            (15, "Europe/Berlin", "2026-03-20T00:00Z", "2026-03-14T23:00Z", "2026-04-14T22:00Z"),
            (15, "Europe/Berlin", "2026-10-20T00:00Z", "2026-10-14T22:00Z", "2026-11-14T23:00Z"),
            // A midnight that does not exist (Beirut, 29 March 2026): its day begins at 01:00.
            (29, "Asia/Beirut", "2026-03-29T12:00Z", "2026-03-28T22:00Z", "2026-04-28T21:00Z"),
            // A midnight that occurs twice (Havana, 1 November 2026): the first.
            (1, "America/Havana", "2026-11-01T05:30Z", "2026-11-01T04:00Z", "2026-12-01T05:00Z"),
        ] {
            let calendar = calendar(day, zone);
            let found = (calendar.start(at(now)), calendar.next(at(now)));
            assert_eq!(found, (at(start), Some(at(next))), "day {day} in {zone} at {now}");
        }
    }

    #[test]
    fn at_the_ends_of_time_nothing_breaks() {
        for now in [Timestamp::MIN, Timestamp::MAX] {
            let calendar = calendar(31, "Pacific/Kiritimati");
            assert!(calendar.start(now) <= now);
            assert!(calendar.next(now).is_none_or(|next| next > now));
        }
    }

    #[test]
    fn every_moment_lies_in_its_month() {
        let mut random = fastrand::Rng::with_seed(7);
        for zone in ["UTC", "Europe/Berlin", "Asia/Beirut", "America/Havana", "Pacific/Apia"] {
            for _ in 0..500 {
                let now = Timestamp::from_second(random.i64(0..4_000_000_000)).unwrap();
                let calendar = calendar(random.u8(1..=31), zone);
                let (start, next) = (calendar.start(now), calendar.next(now).unwrap());
                assert!(start <= now && now < next, "{zone} {now}: {start} to {next}");
                // The next reset is the start of the following month.
                assert_eq!(calendar.start(next), next, "{zone} {now}");
                assert_eq!(calendar.next(start), Some(next), "{zone} {now}");
            }
        }
    }
}
