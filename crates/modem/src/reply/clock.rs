//! `+CCLK?`, the modem's clock: 27.007 §8.15.

use std::fmt::Write as _;

use serde::Serialize;

use super::args::after_prefix;
use super::{Excerpt, ReplyError, parse_uint};

const COMMAND: &str = "AT+CCLK?";

/// What the clock shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Clock {
    /// Local time with its offset, if that was sent: `2015-02-28T20:30:40-08`, minutes only where
    /// the offset is no whole hour. Absent while the clock is not set.
    pub iso8601: Option<String>,
    /// Minutes that local time is ahead of UTC.
    pub utc_offset_minutes: Option<i32>,
    /// False while the network has not yet given the time.
    pub clock_set: bool,
    /// The same in seconds since 1970; a clock without a zone is taken to show UTC.
    #[serde(skip)]
    pub unix_seconds: Option<i64>,
}

/// Reads `+CCLK: "yy/MM/dd,hh:mm:ss±zz"`, with or without quotes and zone.
///
/// # Errors
/// [`ReplyError`] where there is no such line or it is no possible time.
pub fn clock<L: AsRef<str>>(lines: &[L]) -> Result<Clock, ReplyError> {
    let text = lines
        .iter()
        .rev()
        .find_map(|line| after_prefix("+CCLK", line.as_ref()))
        .ok_or(ReplyError::Missing { command: COMMAND, wanted: "+CCLK: line" })?;
    let text = text.trim_matches('"').trim();
    parse(text).ok_or_else(|| ReplyError::Argument {
        command: COMMAND,
        argument: "time",
        expected: "yy/MM/dd,hh:mm:ss±zz",
        got: Excerpt::new(text),
    })
}

fn parse(text: &str) -> Option<Clock> {
    let (date, time) = text.split_once(',')?;
    let [year, month, day] = three_numbers(date, '/')?;
    let time = time.trim();
    let (time, zone) = match time.find(['+', '-']).and_then(|at| time.split_at_checked(at)) {
        Some((time, zone)) => (time, Some(zone)),
        None => (time, None),
    };
    let [hour, minute, second] = three_numbers(time, ':')?;
    let possible = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !possible {
        return None;
    }
    let utc_offset_minutes = match zone {
        Some(zone) => Some(offset_minutes(zone)?),
        None => None,
    };
    // Modems that have no time yet count from 1970 or 1980 (GPS); two digits would make that 2080.
    if year >= 70 {
        return Some(Clock {
            iso8601: None,
            utc_offset_minutes: None,
            clock_set: false,
            unix_seconds: None,
        });
    }
    let mut iso = format!("20{year:02}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if let Some(offset) = utc_offset_minutes {
        push_offset(&mut iso, offset);
    }
    let days = days_since_1970(2_000 + i64::from(year), i64::from(month), i64::from(day));
    let seconds = i64::from(hour) * 3_600 + i64::from(minute) * 60 + i64::from(second);
    let ahead = i64::from(utc_offset_minutes.unwrap_or(0)) * 60;
    let unix_seconds = Some(days * 86_400 + seconds - ahead);
    Some(Clock { iso8601: Some(iso), utc_offset_minutes, clock_set: true, unix_seconds })
}

/// The argument of `AT+CCLK=` for a time in seconds since 1970, in UTC, without its quotes.
pub fn clock_setting(unix_seconds: i64) -> String {
    let (day, second) = (unix_seconds.div_euclid(86_400), unix_seconds.rem_euclid(86_400));
    let (year, month, day) = date(day);
    let year = year.rem_euclid(100);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:02}/{month:02}/{day:02},{hour:02}:{minute:02}:{second:02}+00")
}

/// Days between 1970-01-01 and a day of the Gregorian calendar. Years are counted from March, so that a
/// leap day is a year's last; 719,468 days lie between the year 0's March and 1970.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

/// The year, month and day of a day counted from 1970: the last of each that begins no later.
fn date(days: i64) -> (i64, i64, i64) {
    // A guess by years of 365 days is at most one too late in any century to come.
    let late = 1_970 + days.div_euclid(365);
    let begins = |year: &i64| days_since_1970(*year, 1, 1) <= days;
    let year = (late - 2..=late).rev().find(begins).unwrap_or(late);
    let begins = |month: &i64| days_since_1970(year, *month, 1) <= days;
    let month = (1..=12).rev().find(begins).unwrap_or(1);
    (year, month, days - days_since_1970(year, month, 1) + 1)
}

/// The zone in minutes. It is sent in quarters of an hour, summer time included; no zone on Earth is
/// more than 14 hours from UTC, but modems send up to a day.
fn offset_minutes(zone: &str) -> Option<i32> {
    let (sign, digits) =
        if let Some(digits) = zone.strip_prefix('-') { (-1, digits) } else { (1, zone.get(1..)?) };
    let quarters = i32::try_from(parse_uint(digits)?).ok().filter(|quarters| *quarters <= 96)?;
    Some(sign * quarters * 15)
}

fn push_offset(iso: &mut String, offset: i32) {
    let sign = if offset < 0 { '-' } else { '+' };
    let (hours, minutes) = (offset.abs() / 60, offset.abs() % 60);
    // Writing to a string cannot fail.
    let _ = write!(iso, "{sign}{hours:02}");
    if minutes != 0 {
        let _ = write!(iso, ":{minutes:02}");
    }
}

fn three_numbers(text: &str, separator: char) -> Option<[u8; 3]> {
    let mut parts = text.split(separator).map(|part| {
        let part = part.trim();
        let number = parse_uint(part).filter(|_| part.len() <= 2)?;
        u8::try_from(number).ok()
    });
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

fn days_in(year: u8, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        // 2000 was a leap year, so within 2000…2099 every fourth is.
        2 if year.is_multiple_of(4) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_set_as_it_is_read() {
        let unix = |text: &str| parse(text).unwrap().unix_seconds;
        assert_eq!(unix("26/11/25,09:58:00+00"), Some(1_795_600_680));
        assert_eq!(unix("26/11/25,17:58:00+32"), Some(1_795_600_680));
        assert_eq!(unix("24/02/29,23:59:59-08"), Some(1_709_258_399));
        assert_eq!(unix("80/01/06,00:00:08+00"), None, "counted from a default");
        for seconds in (946_684_800..3_000_000_000).step_by(7_654_321) {
            assert_eq!(unix(&clock_setting(seconds)), Some(seconds));
        }
    }
}
