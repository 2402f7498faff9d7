//! `budget`: the bytes that a SIM may carry in a month, and the steps on the way there.

use jiff::tz::TimeZone;

use super::build::{Build, Place};
use crate::fleet::{Budget, Shed};
use crate::words::{self, Fault};

impl Build<'_> {
    pub(super) fn budget(&mut self, place: &Place<'_>) -> Option<Budget> {
        let bytes = self.needed(place, "bytes").size(place, "bytes");
        let reset_day = self.number(place, "reset_day");
        let time_zone = self.value(place, "time_zone", time_zone);
        let warn = self.value(place, "warn", percent);
        let shed = place.has("shed").then(|| self.shed(&place.at("shed")));
        let stop = self.value(place, "stop", |text| match text {
            "never" => Ok(None),
            text => percent(text).map(Some),
        });
        let urgent = self.number(place, "urgent");
        let shed = shed.map_or(Some(None), |shed| shed.map(Some))?;
        let (warn, stop) = (warn?, stop?);
        self.in_order(place, warn, shed, stop);
        if stop.is_none() && urgent.is_some() {
            let message = "`urgent` has no effect with `stop: never`".to_owned();
            self.error_at_name(&place.at("urgent"), message, None);
        }
        Some(Budget {
            bytes: bytes?,
            reset_day: reset_day?,
            time_zone: time_zone?,
            warn,
            shed,
            stop,
            urgent,
        })
    }

    fn shed(&mut self, place: &Place<'_>) -> Option<Shed> {
        let at = self.required(place, "at", percent);
        let below = self.needed(place, "below_priority").number(place, "below_priority");
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

/// A share of the budget.
fn percent(text: &str) -> Result<u8, Fault> {
    let digits = text.strip_suffix('%').ok_or_else(|| {
        Fault::help("must be a share of the budget", format!("write `{text}%` for percent"))
    })?;
    words::number(digits, 1, 100, "").map_err(|_fault| Fault::new("must be 1% to 100%"))
}

/// A time zone by its name in the tz database.
fn time_zone(text: &str) -> Result<TimeZone, Fault> {
    // Names only: a POSIX rule or a path is none.
    let is_name = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_+-".contains(&b));
    let known = if is_name { TimeZone::get(text).ok() } else { None };
    known.ok_or_else(|| {
        Fault::help(
            "is not a time zone",
            "write a name such as `Asia/Shanghai`, `Europe/Berlin` or `UTC`",
        )
    })
}
