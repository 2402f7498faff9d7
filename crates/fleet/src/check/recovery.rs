//! `recovery` of a modem: the steps against a modem that stops answering.

use super::build::{Build, Place};
use crate::fleet::{Name, Recovery};
use crate::words;

impl Build<'_> {
    pub(super) fn recovery(&mut self, place: &Place<'_>) -> Option<Recovery> {
        let script = |text: &str| words::name(text).map(|name: Name| name.to_string());
        let power_script = self.optional(place, "power_script", script);
        let budget = self.number(place, "budget");
        let registration_lost = self.time(place, "registration_lost");
        let service_lost = self.time(place, "service_lost");
        let boot = self.time(place, "boot");
        let usb_reset = self.boolean(place, "usb_reset");
        Some(Recovery {
            budget: budget?,
            registration_lost: registration_lost?,
            service_lost: service_lost?,
            boot: boot?,
            usb_reset: usb_reset?,
            power_script,
        })
    }
}
