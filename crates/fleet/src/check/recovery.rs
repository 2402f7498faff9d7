//! `recovery` of a modem: what may be done to bring it back.

use std::time::Duration;

use super::build::{Build, Place};
use crate::fleet::{Name, Recovery};
use crate::words::{self, Fault};

const SECOND: Duration = Duration::from_secs(1);
const MAX_LOST: Duration = Duration::from_secs(3_600);
const MAX_BOOT: Duration = Duration::from_secs(600);

/// Where systemd listens for it.
pub(super) const SOCKET: &str = "/run/modemfleet-recover.sock";

impl Build<'_> {
    pub(super) fn recovery(&mut self, place: &Place<'_>) -> Recovery {
        let usual = Recovery::default();
        let budget = |text: &str| match text.parse() {
            Ok(budget @ 1..=60) => Ok(budget),
            _ => Err(Fault::new("must be a number of 1 to 60")),
        };
        let script = |text: &str| words::name(text).map(|name: Name| name.to_string());
        let power_script = self.optional(place, "power_script", script);
        let mut time = |key: &str, max: Duration, usual: Duration| {
            let read = |text: &str| words::duration(text, SECOND, max);
            self.optional(place, key, read).unwrap_or(usual)
        };
        let registration_lost = time("registration_lost", MAX_LOST, usual.registration_lost);
        let service_lost = time("service_lost", MAX_LOST, usual.service_lost);
        let boot = time("boot", MAX_BOOT, usual.boot);
        Recovery {
            budget: self.optional(place, "budget", budget).unwrap_or(usual.budget),
            registration_lost,
            service_lost,
            boot,
            usb_reset: self.optional(place, "usb_reset", words::boolean).unwrap_or(usual.usb_reset),
            power_script,
        }
    }
}
