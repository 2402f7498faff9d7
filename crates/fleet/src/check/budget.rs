//! `budget`: what a SIM may carry in a month, and what happens on the way there.

use bytesize::ByteSize;
use jiff::tz::TimeZone;
use queue::MAX_PRIORITY;

use super::build::{Build, Place};
use crate::fleet::{Budget, Shed};
use crate::words::{self, Fault};

/// Less would not pay for one connect.
const MIN_BYTES: ByteSize = ByteSize::kb(1);
const DEFAULT_WARN: u8 = 80;
const DEFAULT_STOP: u8 = 100;

impl Build<'_> {
    pub(super) fn budget(&mut self, place: &Place<'_>) -> Option<Budget> {
        let bytes = self.required(place, "bytes", |text| words::size(text, MIN_BYTES));
        let reset_day = self.optional(place, "reset_day", |text| {
            number(text, 1, 31).ok_or_else(|| Fault::new("must be a day of the month, 1 to 31"))
        });
        let time_zone = self.optional(place, "time_zone", time_zone);
        let warn = self.optional(place, "warn", percent).unwrap_or(DEFAULT_WARN);
        let shed = place.has("shed").then(|| self.shed(&place.at("shed")));
        let stop = self
            .optional(place, "stop", |text| match text {
                "never" => Ok(None),
                text => percent(text).map(Some),
            })
            .unwrap_or(Some(DEFAULT_STOP));
        let urgent = self.optional(place, "urgent", priority);
        let shed = shed.map_or(Some(None), |shed| shed.map(Some))?;
        self.in_order(place, warn, shed, stop);
        if stop.is_none() && urgent.is_some() {
            let message = "`urgent` means nothing where nothing is stopped".to_owned();
            self.error_at_name(&place.at("urgent"), message, None);
        }
        Some(Budget {
            bytes: bytes?,
            reset_day: reset_day.unwrap_or(1),
            time_zone: time_zone.unwrap_or(TimeZone::UTC),
            warn,
            shed,
            stop,
            urgent,
        })
    }

    fn shed(&mut self, place: &Place<'_>) -> Option<Shed> {
        let at = self.required(place, "at", percent);
        let key = "below_priority";
        let below = self.required(place, key, |text| {
            number(text, 1, MAX_PRIORITY)
                .ok_or_else(|| Fault::new("must be a priority, 1 to 9: those below it wait"))
        });
        Some(Shed { at: at?, below_priority: below? })
    }

    /// Each step comes after the one before, or it would never be seen.
    fn in_order(&mut self, place: &Place<'_>, warn: u8, shed: Option<Shed>, stop: Option<u8>) {
        let steps = [("warn", Some(warn)), ("shed", shed.map(|shed| shed.at)), ("stop", stop)];
        let steps = steps.into_iter().filter_map(|(key, at)| Some((key, at?)));
        let mut before: Option<(&str, u8)> = None;
        for (key, at) in steps {
            if let Some((earlier, percent)) = before.filter(|(_, percent)| *percent > at) {
                let message = format!("`{earlier}` at {percent}% comes after `{key}` at {at}%");
                let help = "the steps are `warn`, `shed`, `stop`, in this order".to_owned();
                // The one that stands in the file is to be corrected.
                let wrong = if key == "warn" || !place.has("warn") { key } else { earlier };
                self.error(&place.at(wrong), message, Some(help));
            }
            before = Some((key, at));
        }
    }
}

fn number(text: &str, min: u8, max: u8) -> Option<u8> {
    text.parse().ok().filter(|number| (min..=max).contains(number))
}

/// A share of the budget.
fn percent(text: &str) -> Result<u8, Fault> {
    let digits = text.strip_suffix('%').ok_or_else(|| {
        Fault::help(
            "must be a share of the budget",
            format!("write `{text}%` if percent are meant"),
        )
    })?;
    number(digits, 1, 100).ok_or_else(|| Fault::new("must be 1% to 100%"))
}

fn priority(text: &str) -> Result<u8, Fault> {
    number(text, 0, MAX_PRIORITY).ok_or_else(|| Fault::new("must be a priority, 0 to 9"))
}

/// A time zone by its name in the tz database.
fn time_zone(text: &str) -> Result<TimeZone, Fault> {
    // Names only: a POSIX rule or a path is none.
    let is_name = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_+-".contains(&b));
    let known = if is_name { TimeZone::get(text).ok() } else { None };
    known.ok_or_else(|| {
        Fault::help(
            "is no time zone",
            "write a name such as `Asia/Shanghai`, `Europe/Berlin` or `UTC`",
        )
    })
}
