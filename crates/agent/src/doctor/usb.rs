//! USB modems without an entry in the fleet file, duplicate IMEIs, and ports that other programs
//! hold.

use super::{Finding, port};
use crate::modems::devices::{Claim, DeviceReport};
use discovery::is_identity;

/// Returns the findings on all that is plugged in; one line if there is no fault.
pub fn findings(devices: &[DeviceReport]) -> Vec<Finding> {
    let check = "usb";
    let mut findings: Vec<Finding> = devices.iter().flat_map(of_device).collect();
    if findings.is_empty() && !devices.is_empty() {
        findings.push(Finding::ok(check, "every known USB modem has an entry"));
    }
    findings
}

fn of_device(device: &DeviceReport) -> Vec<Finding> {
    let (check, place) = ("usb", &device.usb_path);
    let mut findings = Vec::new();
    // The port of a modem of the fleet is judged with the modem.
    if device.modem.is_none() {
        findings.extend(device.busy().map(|busy| port::held(check, &busy)));
    }
    if device.duplicate_imei {
        findings.push(Finding::warn(
            check,
            format!("USB {place}: another modem here reports the same IMEI"),
            "match both by `usb_path`, since a duplicate IMEI identifies neither",
        ));
    }
    if device.imei.as_deref().is_some_and(|imei| !is_identity(imei)) {
        findings.push(Finding::warn(
            check,
            format!("USB {place}: its IMEI is all zeros"),
            LOST_IMEI,
        ));
    }
    // The flapping of a modem of the fleet is reported with the modem.
    if device.flapping && device.modem.is_none() {
        findings.push(flapping(check, &format!("USB {place}"), device.returns));
    }
    let model = device.model.as_deref().unwrap_or("a modem without a known identity");
    match device.claim {
        Claim::Unclaimed => {
            let imei = device.imei.as_ref().map(|imei| format!(", IMEI {imei}"));
            findings.push(Finding::warn(
                check,
                format!("USB {place}: {model}{} has no entry", imei.unwrap_or_default()),
                "add it under `modems`, or correct the `match` of its entry",
            ));
        }
        Claim::Undecided if findings.is_empty() => {
            let why = device.reason.as_deref().unwrap_or("it has not been asked yet");
            findings.push(Finding::warn(
                check,
                format!("USB {place}: its entry is not known: {why}"),
                "unplug it and plug it in again; `modemfleet scan` shows details",
            ));
        }
        Claim::Claimed | Claim::Undecided | Claim::Unsupported => {}
    }
    findings
}

/// The advice for a module without an IMEI of its own.
pub(super) const LOST_IMEI: &str = "the module has lost its IMEI, as after a failed firmware update; no reset brings it \
     back: have its seller restore or replace it, and match it by `usb_path` or `port` meanwhile";

/// Reports modems that have the same IMEI, by name. Modems at fixed ports are not among the USB
/// devices.
pub(super) fn twins(told: &[(&str, &str)]) -> Vec<Finding> {
    let same = |imei: &str| -> Vec<&str> {
        told.iter().filter(|(_, other)| *other == imei).map(|(name, _)| *name).collect()
    };
    let first = |at: &usize| {
        let imei = told.get(*at).map_or("", |(_, imei)| imei);
        is_identity(imei) && !told.iter().take(*at).any(|(_, before)| *before == imei)
    };
    let groups = (0..told.len()).filter(first).filter_map(|at| Some(same(told.get(at)?.1)));
    groups.filter(|names| names.len() > 1).map(|names| {
        Finding::warn(
            "modem",
            format!("{} report the same IMEI", names.join(" and ")),
            "a network may refuse one of them; a duplicate IMEI identifies neither: match them by `usb_path` or `port`",
        )
    }).collect()
}

/// Reports a modem that comes and goes.
pub(super) fn flapping(check: &str, what: &str, returns: usize) -> Finding {
    Finding::warn(
        check,
        format!("{what} was unplugged and plugged in again {returns} times within ten minutes"),
        "check power supply and cable: a modem draws up to 2 A for moments when it sends, more than most USB ports give",
    )
}

#[cfg(test)]
mod tests {
    use modem::holder::Holder;

    use super::*;
    use crate::modems::devices::PortReport;
    use api::doctor::Level;
    use discovery::Role;

    #[test]
    fn what_is_plugged_in_and_nobodys_is_told() {
        let port = PortReport {
            tty: "/dev/ttyUSB2".into(),
            interface: 2,
            role: Role::At,
            busy: false,
            holder: None,
        };
        let good = DeviceReport {
            usb_path: "1-1".to_owned(),
            usb_id: "1e0e:9001".to_owned(),
            claim: Claim::Claimed,
            modem: Some("north".to_owned()),
            model: Some("SIM7600".to_owned()),
            imei: Some("861234560000005".to_owned()),
            iccid: None,
            duplicate_imei: false,
            flapping: false,
            returns: 0,
            reason: None,
            ports: vec![port.clone()],
        };
        assert_eq!(findings(&[]), []);
        assert_eq!(findings(std::slice::from_ref(&good))[0].level, Level::Ok);
        let holder = Some(Holder { name: "ModemManager".to_owned(), pid: 812 });
        let taken = vec![PortReport { busy: true, holder, ..port }];
        let nobodys = DeviceReport { claim: Claim::Unclaimed, modem: None, ..good.clone() };
        let undecided = DeviceReport { claim: Claim::Undecided, ..nobodys.clone() };
        for (device, level, words) in [
            (nobodys.clone(), Level::Warn, "USB 1-1: SIM7600, IMEI 861234560000005 has no entry"),
            (
                DeviceReport {
                    flapping: true,
                    returns: 7,
                    claim: Claim::Unsupported,
                    ..nobodys.clone()
                },
                Level::Warn,
                "USB 1-1 was unplugged and plugged in again 7 times within ten minutes",
            ),
            (
                DeviceReport { imei: Some("000000000000000".to_owned()), ..good.clone() },
                Level::Warn,
                "its IMEI is all zeros",
            ),
            (DeviceReport { duplicate_imei: true, ..good }, Level::Warn, "the same IMEI"),
            (undecided.clone(), Level::Warn, "its entry is not known"),
            (
                DeviceReport { ports: taken, ..undecided },
                Level::Fail,
                "/dev/ttyUSB2 is in use by ModemManager (pid 812)",
            ),
        ] {
            let found = findings(&[device]);
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].level, level);
            assert!(found[0].message.contains(words) && found[0].advice.is_some(), "{found:?}");
        }
    }

    #[test]
    fn twins_are_told_once_and_zeros_are_no_identity() {
        let found = twins(&[("a", "8"), ("b", "9"), ("c", "8"), ("d", "000"), ("e", "000")]);
        let words: Vec<&str> = found.iter().map(|finding| finding.message.as_str()).collect();
        assert_eq!(words, ["a and c report the same IMEI"]);
    }
}
