//! A device in words: its entry, its ports, and remarks.

use agent::modems::devices::{Claim, DeviceReport};
use discovery::Role;
use fleet::printable::printable;

pub(super) fn claim(claim: Claim) -> &'static str {
    match claim {
        Claim::Claimed => "claimed",
        Claim::Unclaimed => "unclaimed",
        Claim::Undecided => "not decided",
        Claim::Unsupported => "no profile",
    }
}

/// Returns ports such as `ttyUSB2 at, ttyUSB3 secondary, ttyUSB0`.
pub(super) fn ports(device: &DeviceReport) -> String {
    let mut ports: Vec<_> = device.ports.iter().collect();
    ports.sort_by_key(|port| (port.role, port.interface));
    let words = ports.iter().map(|port| {
        let tty = port.tty.strip_prefix("/dev").unwrap_or(&port.tty).display();
        match port.role {
            Role::At => format!("{tty} at"),
            Role::Secondary => format!("{tty} secondary"),
            Role::Other => tty.to_string(),
        }
    });
    words.collect::<Vec<_>>().join(", ")
}

pub(super) fn notes(device: &DeviceReport) -> Vec<String> {
    let mut notes: Vec<String> = device.busy().map(|busy| busy.to_string()).collect();
    if device.duplicate_imei {
        notes.push("another modem here reports the same IMEI".to_owned());
    }
    if device.flapping {
        let returns = device.returns;
        notes.push(format!(
            "was unplugged and plugged in again {returns} times within ten minutes: check power supply and cable"
        ));
    }
    // A busy port is the reason too, and is printed only once.
    let reason = device.reason.clone().filter(|reason| !notes.contains(reason));
    notes.extend(reason);
    notes.iter().map(|note| format!("{}: {}\n", device.usb_path, printable(note))).collect()
}
