//! `recovery` of a modem: what may be done to bring it back.

use std::time::Duration;

use super::build::{Build, Place};
use crate::fleet::{Name, Recovery};
use crate::raw::RawRecovery;
use crate::words::{self, Fault};

const SECOND: Duration = Duration::from_secs(1);
const MAX_LOST: Duration = Duration::from_secs(3_600);
const MAX_BOOT: Duration = Duration::from_secs(600);

/// Where systemd listens for it.
pub(super) const SOCKET: &str = "/run/modemfleet-recover.sock";

impl Build<'_> {
    pub(super) fn recovery(&mut self, raw: Option<&RawRecovery>, place: &Place<'_>) -> Recovery {
        let usual = Recovery::default();
        let Some(raw) = raw else { return usual };
        let budget = |text: &str| match text.parse() {
            Ok(budget @ 1..=60) => Ok(budget),
            _ => Err(Fault::new("must be a number of 1 to 60")),
        };
        let script = |text: &str| words::name(text).map(|name: Name| name.to_string());
        let power_script = self.optional(place, "power_script", raw.power_script.as_ref(), script);
        let mut time = |key: &str, raw: Option<&String>, max: Duration, usual: Duration| {
            let read = |text: &str| words::duration(text, SECOND, max);
            self.optional(place, key, raw, read).unwrap_or(usual)
        };
        let lost = raw.registration_lost.as_ref();
        let registration_lost = time("registration_lost", lost, MAX_LOST, usual.registration_lost);
        let lost = raw.service_lost.as_ref();
        let service_lost = time("service_lost", lost, MAX_LOST, usual.service_lost);
        let boot = time("boot", raw.boot.as_ref(), MAX_BOOT, usual.boot);
        Recovery {
            budget: self
                .optional(place, "budget", raw.budget.as_ref(), budget)
                .unwrap_or(usual.budget),
            registration_lost,
            service_lost,
            boot,
            usb_reset: self
                .optional(place, "usb_reset", raw.usb_reset.as_ref(), words::boolean)
                .unwrap_or(usual.usb_reset),
            power_script,
        }
    }
}
