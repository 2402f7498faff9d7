//! The interfaces of a plugged-in USB device: numbers, drivers, and ttys.

use std::fs;
use std::path::Path;

/// An interface of a USB device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interface {
    /// Its number.
    pub number: u8,
    /// Its class, such as 0xff, if /sys has it.
    pub class: Option<u8>,
    /// The kernel's driver that is bound to it.
    pub driver: Option<String>,
    /// True if it has a tty.
    pub has_tty: bool,
}

/// Drivers of the network interface that a modem has on USB.
const NETWORKS: [&str; 7] =
    ["rndis_host", "cdc_ether", "cdc_mbim", "cdc_ncm", "qmi_wwan", "GobiNet", "huawei_cdc_ncm"];

impl Interface {
    /// Reports whether it belongs to a network interface. The data interface of RNDIS, ECM or MBIM
    /// has the same driver.
    pub fn is_network(&self) -> bool {
        self.driver.as_deref().is_some_and(|driver| NETWORKS.contains(&driver))
    }
}

/// Reads the interfaces of the device in this folder of /sys, by number.
pub fn of(device: &Path) -> Vec<Interface> {
    let mut found: Vec<Interface> = fs::read_dir(device)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.contains(':')))
        .filter_map(|entry| interface(&entry.path()))
        .collect();
    found.sort_by_key(|interface| interface.number);
    found
}

fn interface(folder: &Path) -> Option<Interface> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let hex = |name: &str| u8::from_str_radix(read(name)?.trim(), 16).ok();
    let number = hex("bInterfaceNumber")?;
    let event = read("uevent").unwrap_or_default();
    let driver = event.lines().find_map(|line| line.strip_prefix("DRIVER="));
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    // The entry is `ttyUSB2` with usb-serial, `tty/ttyACM0` with other drivers.
    let has_tty = entries
        .map(|entry| entry.file_name())
        .any(|name| name.to_str().is_some_and(|name| name.starts_with("tty")));
    let driver = driver.map(str::to_owned);
    Some(Interface { number, class: hex("bInterfaceClass"), driver, has_tty })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_composition_is_read_as_it_is_plugged_in() {
        let device = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = device.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("1-1:1.4/bInterfaceNumber", "04\n");
        write("1-1:1.4/uevent", "DEVTYPE=usb_interface\nDRIVER=option\n");
        write("1-1:1.4/ttyUSB2/uevent", "");
        write("1-1:1.0/bInterfaceNumber", "00\n");
        write("1-1:1.0/bInterfaceClass", "e0\n");
        write("1-1:1.0/uevent", "DRIVER=rndis_host\n");
        write("1-1:1.6/bInterfaceNumber", "06\n");
        write("power/control", "auto\n");
        let is = of(device.path());
        let numbers: Vec<u8> = is.iter().map(|interface| interface.number).collect();
        assert_eq!(numbers, [0, 4, 6]);
        assert!(is[0].is_network() && is[0].class == Some(0xe0) && !is[0].has_tty);
        assert!(is[1].has_tty && is[1].driver.as_deref() == Some("option"));
        assert_eq!((is[2].driver.as_deref(), is[2].has_tty), (None, false));
    }
}
