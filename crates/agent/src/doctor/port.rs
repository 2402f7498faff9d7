//! The tty of a modem: it must exist, may be opened, and is not in use by another program.

use std::path::PathBuf;

use modem::holder::Busy;

use super::Finding;
use super::service::User;

/// Observed facts of a tty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The place of the modem, in words.
    pub place: String,
    /// The tty; absent if the modem is looked for on USB and is not there.
    pub tty: Option<PathBuf>,
    /// Its node, if there is one.
    pub node: Option<Node>,
    /// Another process that holds it.
    pub busy: Option<Busy>,
    /// True if a device is plugged in at its place.
    pub is_plugged: bool,
}

/// A node of the file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// True if it is a character device.
    pub is_device: bool,
    /// The last nine bits of its mode.
    pub mode: u32,
    /// The name or number of its owner.
    pub owner: String,
    /// The name or number of its group.
    pub group: String,
    /// True if this process may read and write it.
    pub may_open: bool,
}

impl Port {
    /// Returns the finding on the port.
    pub fn finding(&self, user: &User) -> Finding {
        let check = "port";
        let Some(tty) = self.tty.as_ref().map(|tty| tty.display()) else {
            if self.is_plugged {
                return Finding::fail(
                    check,
                    format!("the device at {} has no usable serial port", self.place),
                    "see the findings of `usb` and `driver`",
                );
            }
            return Finding::fail(
                check,
                format!("{} is not plugged in", self.place),
                "`modemfleet scan` lists the modems; check cable, power supply and `match`",
            );
        };
        let Some(node) = &self.node else {
            return Finding::fail(
                check,
                format!("{tty} is not there"),
                "check cable, power supply and `match.port`; `modemfleet scan` lists the ports of USB modems. Their numbers change: match USB modems by `imei` or `usb_path`",
            );
        };
        if !node.is_device {
            let advice = "name the tty of an AT port in `match.port`";
            return Finding::fail(check, format!("{tty} is not a device"), advice);
        }
        let Node { mode, owner, group, .. } = node;
        if !node.may_open {
            let message = format!(
                "{tty} belongs to {owner}:{group} with mode {mode:04o}, so {user} cannot open it"
            );
            return Finding::fail(check, message, rights(node, user));
        }
        if let Some(busy) = &self.busy {
            return held(check, busy);
        }
        Finding::ok(check, format!("{tty} is there, and {user} can open it"))
    }
}

/// Returns the finding on a port that another program holds.
pub fn held(check: &str, busy: &Busy) -> Finding {
    let holder = busy.holder.as_ref().map_or("", |holder| holder.name.as_str());
    let advice = if holder == "ModemManager" {
        "install the udev rules (deploy/udev), then `systemctl restart ModemManager`"
    } else {
        "stop that program, or give it the modem's other AT port"
    };
    Finding::fail(check, busy.to_string(), advice)
}

/// Advises how the user gets the right to open the tty.
fn rights(node: &Node, user: &User) -> String {
    let group = &node.group;
    if node.mode & 0o060 == 0o060 && group != "root" {
        let name = user.name.as_deref().unwrap_or("USER");
        return format!(
            "`usermod -aG {group} {name}` and restart the agent, or install the udev rules (deploy/udev), which give the AT ports to the group modemfleet-devices"
        );
    }
    "its mode gives no group access: install the udev rules (deploy/udev), or for another tty write a rule with `GROUP=\"dialout\", MODE=\"0660\"`".to_owned()
}

#[cfg(test)]
mod tests {
    use modem::holder::Holder;

    use super::*;
    use api::doctor::Level;

    #[test]
    fn what_keeps_a_port_from_being_opened_is_told_with_its_cure() {
        let user = User { uid: 1000, name: Some("gw".to_owned()), groups: vec!["gw".to_owned()] };
        let node = Node {
            is_device: true,
            mode: 0o660,
            owner: "root".to_owned(),
            group: "dialout".to_owned(),
            may_open: true,
        };
        let good = Port {
            place: "USB 1-1".to_owned(),
            tty: Some("/dev/ttyUSB2".into()),
            node: Some(node.clone()),
            busy: None,
            is_plugged: true,
        };
        assert_eq!(good.finding(&user).level, Level::Ok);
        let busy = |name: &str| {
            let holder = Some(Holder { name: name.to_owned(), pid: 812 });
            Some(Busy { tty: "/dev/ttyUSB2".into(), holder })
        };
        let with = |node| Port { node: Some(node), ..good.clone() };
        for (port, message, advice) in [
            (
                Port { tty: None, is_plugged: false, ..good.clone() },
                "USB 1-1 is not plugged in",
                "modemfleet scan",
            ),
            (
                Port { tty: None, ..good.clone() },
                "the device at USB 1-1 has no usable serial port",
                "`usb` and `driver`",
            ),
            (Port { node: None, ..good.clone() }, "/dev/ttyUSB2 is not there", "match.port"),
            (with(Node { is_device: false, ..node.clone() }), "is not a device", "AT port"),
            (
                with(Node { may_open: false, ..node.clone() }),
                "belongs to root:dialout with mode 0660, so the user gw (uid 1000) cannot",
                "usermod -aG dialout gw",
            ),
            (with(Node { may_open: false, mode: 0o600, ..node }), "mode 0600", "MODE=\"0660\""),
            (
                Port { busy: busy("ModemManager"), ..good.clone() },
                "in use by ModemManager (pid 812)",
                "restart ModemManager",
            ),
            (Port { busy: busy("minicom"), ..good }, "in use by minicom", "stop that program"),
        ] {
            let found = port.finding(&user);
            assert_eq!(found.level, Level::Fail, "{found:?}");
            assert!(found.message.contains(message), "{found:?}");
            assert!(found.advice.as_deref().unwrap().contains(advice), "{found:?}");
        }
    }
}
