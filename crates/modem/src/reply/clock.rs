//! `+CCLK?`, the modem's clock: 27.007 §8.15.

use std::fmt::Write as _;

use serde::Serialize;

use super::args::after_prefix;
use super::{Excerpt, ReplyError, parse_uint};

const COMMAND: &str = "AT+CCLK?";

/// The first year in which a clock here can have been set: the oldest module of the catalog is of
/// 2015. Clocks that were never set begin in 1970, 1980, 2000, 2002, 2004, 2008 and 2014, in public
/// logs.
const FIRST_YEAR: u16 = 2015;

/// The first year of two digits that belongs to the century before: a clock that counts from the
/// start of GPS shows 2080.
const LAST_CENTURY: u16 = 70;

/// The year of this program. A clock that stands at the first of January of an earlier year counts
/// from a default. Callers compare other times with this machine's clock.
const BUILT_IN: u16 = 2026;

/// The time that the clock shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Clock {
    /// Local time with its offset, if that was sent: `2015-02-28T20:30:40-08`. It has minutes only
    /// if the offset is not a whole hour. Absent while the clock is not set.
    pub iso8601: Option<String>,
    /// Minutes by which local time is ahead of UTC.
    pub utc_offset_minutes: Option<i32>,
    /// False if neither the network nor a command has set it.
    pub clock_set: bool,
    /// The same in seconds since 1970; a clock without a zone counts as UTC.
    #[serde(skip)]
    pub unix_seconds: Option<i64>,
}

/// Reads `+CCLK: "yy/MM/dd,hh:mm:ss±zz"`, with or without quotes and zone, and with a year of two
/// or four digits. An impossible zone is left out.
///
/// # Errors
/// [`ReplyError`] if there is no such line or its time is impossible.
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

/// A clock that was never set.
const UNSET: Clock =
    Clock { iso8601: None, utc_offset_minutes: None, clock_set: false, unix_seconds: None };

fn parse(text: &str) -> Option<Clock> {
    let (date, time) = text.split_once(',')?;
    let (year, month, day) = date_of(date)?;
    let time = time.trim();
    let (time, zone) = match time.find(['+', '-']).and_then(|at| time.split_at_checked(at)) {
        Some((time, zone)) => (time, Some(zone)),
        None => (time, None),
    };
    let (hour, minute, second) = three(time, ':')?;
    let (hour, minute, second) = (small(hour)?, small(minute)?, small(second)?);
    if !(FIRST_YEAR..2000 + LAST_CENTURY).contains(&year) {
        return Some(UNSET);
    }
    let possible = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !possible {
        return None;
    }
    if year < BUILT_IN && (month, day) == (1, 1) {
        return Some(UNSET);
    }
    let utc_offset_minutes = zone.and_then(offset_minutes);
    let mut iso = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if let Some(offset) = utc_offset_minutes {
        push_offset(&mut iso, offset);
    }
    let days = days_since_1970(i64::from(year), i64::from(month), i64::from(day));
    let seconds = i64::from(hour) * 3_600 + i64::from(minute) * 60 + i64::from(second);
    let ahead = i64::from(utc_offset_minutes.unwrap_or(0)) * 60;
    let unix_seconds = Some(days * 86_400 + seconds - ahead);
    Some(Clock { iso8601: Some(iso), utc_offset_minutes, clock_set: true, unix_seconds })
}

/// Parses the year with its century, the month and the day of `yy/MM/dd` or `yyyy/MM/dd`.
fn date_of(text: &str) -> Option<(u16, u8, u8)> {
    let (year, month, day) = three(text, '/')?;
    let number = u16::try_from(parse_uint(year)?).ok()?;
    let year = match year.len() {
        1 | 2 if number >= LAST_CENTURY => 1900 + number,
        1 | 2 => 2000 + number,
        4 => number,
        _ => return None,
    };
    Some((year, small(month)?, small(day)?))
}

/// Returns the argument of `AT+CCLK=` for a time in seconds since 1970, in UTC, without its quotes.
pub fn clock_setting(unix_seconds: i64) -> String {
    let (day, second) = (unix_seconds.div_euclid(86_400), unix_seconds.rem_euclid(86_400));
    let (year, month, day) = date(day);
    let year = year.rem_euclid(100);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:02}/{month:02}/{day:02},{hour:02}:{minute:02}:{second:02}+00")
}

/// Returns the days between 1970-01-01 and a day of the Gregorian calendar. Years are counted from
/// March, so that a leap day is a year's last; 719,468 days lie between the year 0's March and
/// 1970.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

/// Returns the year, month and day of a day counted from 1970: the last of each that begins no
/// later.
fn date(days: i64) -> (i64, i64, i64) {
    // A guess by years of 365 days is at most one too late in any century to come.
    let late = 1_970 + days.div_euclid(365);
    let begins = |year: &i64| days_since_1970(*year, 1, 1) <= days;
    let year = (late - 2..=late).rev().find(begins).unwrap_or(late);
    let begins = |month: &i64| days_since_1970(year, *month, 1) <= days;
    let month = (1..=12).rev().find(begins).unwrap_or(1);
    (year, month, days - days_since_1970(year, month, 1) + 1)
}

/// Returns the zone in minutes. It is sent in quarters of an hour, summer time included. Zones on
/// Earth are at most 14 hours from UTC, but modems send up to a day.
fn offset_minutes(zone: &str) -> Option<i32> {
    let (sign, digits) =
        if let Some(digits) = zone.strip_prefix('-') { (-1, digits) } else { (1, zone.get(1..)?) };
    // Some add a mark for summer time: `+08,1`.
    let digits = digits.split(',').next().unwrap_or_default().trim();
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

fn three(text: &str, separator: char) -> Option<(&str, &str, &str)> {
    let (first, rest) = text.split_once(separator)?;
    let (second, third) = rest.split_once(separator)?;
    Some((first.trim(), second.trim(), third.trim()))
}

/// Parses a number of one or two digits.
fn small(text: &str) -> Option<u8> {
    parse_uint(text).filter(|_| text.len() <= 2).and_then(|number| u8::try_from(number).ok())
}

fn days_in(year: u16, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        // Of the years that count here, which end before 2070, every fourth is a leap year.
        2 if year.is_multiple_of(4) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Defaults of many firmwares, and nearby times that were set.
    #[test]
    fn a_clock_that_counts_from_a_default_was_never_set() {
        for text in [
            "70/01/01,00:14:01+00",
            "80/01/06,00:03:12",
            "99/12/31,23:59:59+00",
            "1970/01/01,00:00:09+00",
            "1980/01/06,00:00:09+00",
            "2080/01/06,00:00:09+00",
            "00/01/01,00:00:21+00",
            "02/01/07,01:02:07",
            "03/01/01,00:01:58+28",
            "04/01/01,00:00:40+12",
            "4/1/1,0:0:40+12",
            "04/03/31,05:22:09",
            "08/01/04,00:19:43+00",
            "14/01/01,02:14:39+08",
            "2014/12/31,23:59:59",
            "15/01/01,00:00:10",
            "19/01/01,07:00:10+00",
            "2021/01/01,00:00:10+32",
            // Not even a day.
            "00/00/00,00:00:00+00",
        ] {
            assert_eq!(parse(text), Some(UNSET), "{text}");
        }
        for text in [
            "2015/7/14,14:25:54+32",
            "17/10/26,23:20:23-16",
            "21/01/02,00:00:00+00",
            "26/01/01,00:00:00+00",
            "2026/10/09,18:41:39+12",
            "69/12/31,23:59:59",
        ] {
            assert!(parse(text).is_some_and(|clock| clock.clock_set), "{text}");
        }
        for text in ["126/01/01,00:00:00", "20260/01/01,00:00:00", "26/001/01,00:00:00"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_zone_that_cannot_be_costs_only_itself() {
        for text in ["26/10/05,06:10:22+99", "26/10/05,06:10:22+", "26/10/05,06:10:22-x"] {
            let clock = parse(text).unwrap();
            assert_eq!(clock.utc_offset_minutes, None, "{text}");
            assert_eq!(clock.iso8601.as_deref(), Some("2026-10-05T06:10:22"), "{text}");
        }
        let with_summer_time = parse("26/10/05,06:10:22+08,1").unwrap();
        assert_eq!(with_summer_time.utc_offset_minutes, Some(120));
    }

    #[test]
    fn a_time_is_set_as_it_is_read() {
        let unix = |text: &str| parse(text).unwrap().unix_seconds;
        assert_eq!(unix("26/11/25,09:58:00+00"), Some(1_795_600_680));
        assert_eq!(unix("26/11/25,17:58:00+32"), Some(1_795_600_680));
        assert_eq!(unix("24/02/29,23:59:59-08"), Some(1_709_258_399));
        assert_eq!(unix("80/01/06,00:00:08+00"), None, "counted from a default");
        for seconds in (1_767_225_600..3_000_000_000).step_by(7_654_321) {
            assert_eq!(unix(&clock_setting(seconds)), Some(seconds));
        }
    }
}
