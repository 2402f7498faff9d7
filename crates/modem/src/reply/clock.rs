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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iso8601: Option<String>,
    /// Minutes that local time is ahead of UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utc_offset_minutes: Option<i32>,
    /// False while the network has not yet given the time.
    pub clock_set: bool,
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
        return Some(Clock { iso8601: None, utc_offset_minutes: None, clock_set: false });
    }
    let mut iso = format!("20{year:02}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if let Some(offset) = utc_offset_minutes {
        push_offset(&mut iso, offset);
    }
    Some(Clock { iso8601: Some(iso), utc_offset_minutes, clock_set: true })
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
