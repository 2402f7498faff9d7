//! The machine: its clock, udev, ModemManager, and the driver that gives USB modems their ports.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Finding;

/// 2026-01-01: a clock that shows an earlier time was never set.
pub const PLAUSIBLE: Duration = Duration::from_secs(1_767_225_600);

/// The advice to install the rules, with the commands that apply them at once.
const INSTALL_RULES: &str = "copy deploy/udev/78-modemfleet.rules to /etc/udev/rules.d, then run `udevadm control --reload && udevadm trigger --subsystem-match=tty`";

/// Observed facts of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// The time that its clock shows.
    pub time: SystemTime,
    /// True if modems are looked for on USB, or are there.
    pub uses_usb: bool,
    /// The process of ModemManager.
    pub modem_manager: Option<u32>,
    /// True if udevd runs.
    pub has_udevd: bool,
    /// The installed rules that keep other programs off the AT ports.
    pub rules: Option<PathBuf>,
    /// True if the kernel's driver `option` is loaded.
    pub has_driver: bool,
    /// Known modems without a serial port: the USB path of each, and its `vendor:product`.
    pub portless: Vec<(String, String)>,
}

impl Gateway {
    /// Returns the findings on the machine.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = vec![self.clock()];
        if self.uses_usb {
            findings.extend([self.modem_manager(), self.udev()]);
            findings.extend(self.driver());
        }
        findings
    }

    fn clock(&self) -> Finding {
        let shown = humantime::format_rfc3339_seconds(self.time);
        if self.time.duration_since(UNIX_EPOCH).unwrap_or_default() >= PLAUSIBLE {
            return Finding::ok("clock", format!("this machine's clock shows {shown}"));
        }
        Finding::fail(
            "clock",
            format!("this machine's clock shows {shown} and was never set"),
            "set it, for example with `timedatectl set-ntp true`: modems get their time from it, and certificates are checked against it",
        )
    }

    fn modem_manager(&self) -> Finding {
        let check = "modemmanager";
        match (self.modem_manager, &self.rules) {
            (None, _) => Finding::ok(check, "ModemManager is not running"),
            (Some(pid), Some(rules)) => Finding::ok(
                check,
                format!(
                    "ModemManager runs (pid {pid}), and {} keeps it away from the AT ports",
                    rules.display()
                ),
            ),
            (Some(pid), None) => Finding::warn(
                check,
                format!(
                    "ModemManager runs (pid {pid}), and no rule keeps it away from the AT ports"
                ),
                format!("{INSTALL_RULES}, then `systemctl restart ModemManager`"),
            ),
        }
    }

    fn udev(&self) -> Finding {
        let check = "udev";
        match (self.has_udevd, &self.rules) {
            (false, _) => Finding::warn(
                check,
                "udevd is not running: the kernel itself reports modems, and udev's rules have no effect",
                "start systemd-udevd if this system has it; in a container mount the host's /run/udev",
            ),
            (true, None) => Finding::warn(
                check,
                "the udev rules of modemfleet are not installed",
                INSTALL_RULES,
            ),
            (true, Some(rules)) => {
                Finding::ok(check, format!("the rules are in {}", rules.display()))
            }
        }
    }

    fn driver(&self) -> Vec<Finding> {
        let check = "driver";
        if self.portless.is_empty() {
            return vec![Finding::ok(check, "every known USB modem has serial ports")];
        }
        let each = self.portless.iter().map(|(place, id)| {
            let message = format!("the modem {id} at USB {place} has no serial port");
            let (vendor, product) = id.split_once(':').unwrap_or((id, ""));
            let advice = if self.has_driver {
                format!(
                    "the driver does not know this modem: `echo {vendor} {product} > /sys/bus/usb-serial/drivers/option1/new_id`, or switch the modem to another USB mode"
                )
            } else {
                "the driver is not loaded: `modprobe option`, and add it to /etc/modules-load.d for the next boot".to_owned()
            };
            Finding::fail(check, message, advice)
        });
        each.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::doctor::Level;

    fn good() -> Gateway {
        Gateway {
            time: UNIX_EPOCH + PLAUSIBLE,
            uses_usb: true,
            modem_manager: Some(812),
            has_udevd: true,
            rules: Some("/etc/udev/rules.d/78-modemfleet.rules".into()),
            has_driver: true,
            portless: Vec::new(),
        }
    }

    #[test]
    fn each_fault_of_the_machine_is_found_with_its_cure() {
        assert!(good().findings().iter().all(|finding| finding.level == Level::Ok));
        let portless = vec![("1-2".to_owned(), "1e0e:9001".to_owned())];
        for (gateway, check, level, advice) in [
            (Gateway { time: UNIX_EPOCH, ..good() }, "clock", Level::Fail, "timedatectl"),
            (
                Gateway { rules: None, ..good() },
                "modemmanager",
                Level::Warn,
                "restart ModemManager",
            ),
            (Gateway { rules: None, ..good() }, "udev", Level::Warn, "78-modemfleet.rules"),
            (Gateway { has_udevd: false, ..good() }, "udev", Level::Warn, "start systemd-udevd"),
            (Gateway { portless: portless.clone(), ..good() }, "driver", Level::Fail, "1e0e 9001"),
            (
                Gateway { portless, has_driver: false, ..good() },
                "driver",
                Level::Fail,
                "modprobe option",
            ),
        ] {
            let findings = gateway.findings();
            let found = findings.iter().find(|finding| finding.check == check).unwrap();
            assert_eq!(found.level, level, "{found:?}");
            assert!(found.advice.as_deref().unwrap().contains(advice), "{found:?}");
        }
        let without = Gateway { uses_usb: false, rules: None, has_udevd: false, ..good() };
        assert_eq!(without.findings().len(), 1, "what is not used is not judged");
    }
}
