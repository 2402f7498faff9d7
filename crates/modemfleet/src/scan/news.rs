//! Differences between two scans, as lines for people or for programs.

use std::io::{self, Write};
use std::time::SystemTime;

use serde_json::{Value, json};

use super::device::{claim, ports};
use agent::modems::devices::{Claim, DeviceReport};
use fleet::printable::printable;

/// The devices that were shown last.
pub(super) struct News {
    json: bool,
    shown: Vec<DeviceReport>,
}

/// A change of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Event {
    /// `added`, `removed` or `changed`.
    kind: &'static str,
    /// The fields that changed, each with its words.
    changes: Vec<(&'static str, String)>,
    device: DeviceReport,
}

impl News {
    /// Starts without devices.
    pub(super) fn new(json: bool) -> Self {
        Self { json, shown: Vec::new() }
    }

    /// Prints the differences from the last devices.
    pub(super) fn print(&mut self, devices: Vec<DeviceReport>) -> io::Result<()> {
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let mut out = io::stdout().lock();
        for event in events(&self.shown, &devices) {
            if self.json {
                writeln!(out, "{}", event.json(&now))?;
            } else {
                event.lines().iter().try_for_each(|line| writeln!(out, "{now} {line}"))?;
            }
        }
        self.shown = devices;
        out.flush()
    }
}

/// Returns the differences between two scans, by place.
fn events(before: &[DeviceReport], now: &[DeviceReport]) -> Vec<Event> {
    let gone = before.iter().filter(|old| !now.iter().any(|new| new.usb_path == old.usb_path));
    let gone = gone.map(|old| Event { kind: "removed", changes: Vec::new(), device: old.clone() });
    let there = now.iter().filter_map(|new| {
        let old = before.iter().find(|old| old.usb_path == new.usb_path);
        let changes = changes(old, new);
        let kind = if old.is_none() { "added" } else { "changed" };
        (old != Some(new)).then(|| Event { kind, changes, device: new.clone() })
    });
    gone.chain(there).collect()
}

fn changes(old: Option<&DeviceReport>, new: &DeviceReport) -> Vec<(&'static str, String)> {
    let mut changes = Vec::new();
    let list = |device: &DeviceReport| ports(device);
    if old.map(list) != Some(list(new)) {
        changes.push(("ports", format!("has {}", list(new))));
    }
    let identity =
        |device: &DeviceReport| (device.model.clone(), device.imei.clone(), device.iccid.clone());
    if let (Some(model), Some(imei)) = (&new.model, &new.imei)
        && old.map(identity) != Some(identity(new))
    {
        let sim = new.iccid.as_ref().map(|iccid| format!(", SIM {iccid}")).unwrap_or_default();
        changes.push(("identity", format!("is a {model}, IMEI {imei}{sim}")));
    }
    let whose = |device: &DeviceReport| (device.claim, device.modem.clone());
    // A new device is always undecided at first: that is not printed.
    let is_first = old.is_none() && new.claim == Claim::Undecided;
    if !is_first && old.map(whose) != Some(whose(new)) {
        let name = new.modem.as_deref().unwrap_or(claim(new.claim));
        changes.push(("claim", format!("is {name}")));
    }
    let busy = |device: &DeviceReport| device.busy().collect::<Vec<_>>();
    if old.map(busy).unwrap_or_default() != busy(new) {
        let words: Vec<String> = new.busy().map(|busy| busy.to_string()).collect();
        let words = if words.is_empty() {
            "is not in use by another program".to_owned()
        } else {
            words.join(", ")
        };
        changes.push(("busy", words));
    }
    if new.duplicate_imei && !old.is_some_and(|old| old.duplicate_imei) {
        changes.push(("duplicate_imei", "another modem here reports the same IMEI".to_owned()));
    }
    if let Some(reason) = &new.reason
        && old.is_none_or(|old| old.reason != new.reason)
    {
        changes.push(("reason", reason.clone()));
    }
    changes
}

impl Event {
    fn json(&self, time: &str) -> Value {
        let changed: Vec<&str> = self.changes.iter().map(|(what, _)| *what).collect();
        json!({ "time": time, "event": self.kind, "changed": changed, "device": self.device })
    }

    fn lines(&self) -> Vec<String> {
        let (place, id) = (&self.device.usb_path, &self.device.usb_id);
        let first = match self.kind {
            "added" => Some(format!("+ {place} {id}")),
            "removed" => Some(format!("- {place} {id}")),
            _ => None,
        };
        let changes =
            self.changes.iter().map(|(_, words)| format!("  {place} {}", printable(words)));
        first.into_iter().chain(changes).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::devices;
    use super::*;

    fn told(before: &[DeviceReport], now: &[DeviceReport]) -> Vec<String> {
        events(before, now).iter().flat_map(Event::lines).collect()
    }

    #[test]
    fn what_comes_goes_and_changes_is_told_and_what_stays_is_not() {
        let full = devices();
        let mut young = full[0].clone();
        (young.model, young.imei, young.iccid, young.modem) = (None, None, None, None);
        (young.claim, young.duplicate_imei) = (Claim::Undecided, false);
        let known = DeviceReport { duplicate_imei: false, ..full[0].clone() };
        let steps: [(&[DeviceReport], &[&str]); 5] = [
            (
                std::slice::from_ref(&young),
                &["+ 1-1 1e0e:9001", "  1-1 has ttyUSB2 at, ttyUSB3 secondary, ttyUSB1"],
            ),
            (
                std::slice::from_ref(&known),
                &[
                    "  1-1 is a SIMCOM_SIM7600G-H, IMEI 861234560000005, SIM 89860012345678900000",
                    "  1-1 is north",
                ],
            ),
            (std::slice::from_ref(&known), &[]),
            (
                &full,
                &[
                    "  1-1 another modem here reports the same IMEI",
                    "+ 1-2 1e0e:9001",
                    "  1-2 has ttyUSB6 at",
                    "  1-2 is a SIMCOM_SIM7600G-H, IMEI 861234560000005",
                    "  1-2 /dev/ttyUSB6 is in use by Modem\u{fffd}[2J (pid 812)",
                    "  1-2 another modem here reports the same IMEI",
                    "  1-2 /dev/ttyUSB6 does not answer AT commands",
                ],
            ),
            (&[], &["- 1-1 1e0e:9001", "- 1-2 1e0e:9001"]),
        ];
        let mut before: &[DeviceReport] = &[];
        for (number, (now, expected)) in steps.into_iter().enumerate() {
            assert_eq!(told(before, now), expected, "step {number}");
            before = now;
        }
    }

    #[test]
    fn programs_get_the_whole_device_and_what_changed_of_it() {
        let full = devices();
        let mut free = full.clone();
        free[1].ports[0].busy = false;
        let event = events(&full, &free).pop().unwrap().json("T");
        assert_eq!(event["event"], "changed");
        assert_eq!(event["changed"], json!(["busy"]));
        assert_eq!(event["device"]["usb_path"], "1-2");
    }
}
