//! Plugged-in modems as /sys shows them, including those without a tty: the mode of each, and
//! advice. Reading the facts is separate from judging them.

use std::fs;
use std::path::Path;

use modem::Catalog;
use modem::catalog::UsbLayout;
use serde::Serialize;

use crate::interfaces::{self, Interface};
use fleet::printable::printable;

const USB: &str = "/sys/bus/usb/devices";
/// Folders with the devices of modems on PCIe: their channels and ports.
const PCIE: [&str; 2] = ["/sys/bus/mhi/devices", "/sys/class/wwan"];

/// The vendor ids of SIMCom and Quectel.
const MAKERS: [&str; 2] = ["1e0e:", "2c7c:"];

/// Qualcomm's own vendor id, which boot loaders use.
const QUALCOMM: &str = "05c6:";

/// Qualcomm's emergency download mode, and its memory dump after a crash.
const DOWNLOAD: [&str; 2] = ["05c6:9008", "05c6:900e"];

/// A USB device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Device {
    /// The place on USB, such as `1-1.2`.
    pub usb_path: String,
    /// `vendor:product`.
    pub usb_id: String,
    /// The product name that it reports.
    pub product: String,
    /// True if the kernel may suspend it.
    pub may_sleep: bool,
    /// Its interfaces, by number.
    pub interfaces: Vec<Interface>,
}

/// All plugged-in devices that may be modems.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plugged {
    /// Devices with a modem maker's vendor id, with an id of a profile, and at places in the fleet
    /// file.
    pub usb: Vec<Device>,
    /// Names of PCIe devices that belong to modems.
    pub pcie: Vec<String>,
}

/// A remark for the operator about one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// The place on USB; absent on PCIe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usb_path: Option<String>,
    /// The observation.
    pub message: String,
    /// The advice.
    pub advice: String,
    /// True if it says that no interface has a tty; doctor has a check of its own for that.
    #[serde(skip)]
    pub is_portless: bool,
}

impl Plugged {
    /// Reads the devices from /sys. This blocks, so it must not run on the runtime's thread.
    /// `places` are those of the fleet file.
    pub fn look(catalog: &Catalog, places: &[String]) -> Self {
        let folders = fs::read_dir(USB).into_iter().flatten().flatten();
        let devices = folders.filter_map(|entry| device(&entry.path()));
        let may_be_one = |device: &Device| {
            let mut vendors = MAKERS.iter().chain([&QUALCOMM]);
            vendors.any(|vendor| device.usb_id.starts_with(vendor))
                || catalog.layouts().flatten().any(|layout| layout.is_of(&device.usb_id))
                || places.contains(&device.usb_path)
        };
        let mut usb: Vec<Device> = devices.filter(may_be_one).collect();
        usb.sort_by(|a, b| a.usb_path.cmp(&b.usb_path));
        let names =
            PCIE.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
        // The kernel also lists control ports of USB modems there.
        let is_usb = |path: &Path| {
            path.canonicalize().is_ok_and(|path| path.to_string_lossy().contains("/usb"))
        };
        let names = names.filter(|entry| !is_usb(&entry.path()));
        let mut pcie: Vec<String> =
            names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        pcie.sort();
        Self { usb, pcie }
    }

    /// Returns the remarks about all devices.
    pub fn remarks(&self, catalog: &Catalog) -> Vec<Remark> {
        let pcie = (!self.pcie.is_empty()).then(|| Remark {
            usb_path: None,
            is_portless: false,
            message: format!("a modem on PCIe is here ({})", self.pcie.join(", ")),
            advice:
                "modems on PCIe are not supported: use a USB carrier, or set the modem to USB mode"
                    .to_owned(),
        });
        self.usb.iter().flat_map(|device| device.remarks(catalog)).chain(pcie).collect()
    }
}

/// Reads the device in this folder of /sys; `None` for an interface and for a root hub.
fn device(folder: &Path) -> Option<Device> {
    let usb_path = folder.file_name()?.to_str()?.to_owned();
    if usb_path.contains(':') || usb_path.starts_with("usb") {
        return None;
    }
    // The strings of a device may hold any bytes.
    let clean = |text: &str| printable(text.trim());
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok().map(|text| clean(&text));
    Some(Device {
        usb_path,
        usb_id: format!("{}:{}", read("idVendor")?, read("idProduct")?).to_ascii_lowercase(),
        product: read("product").unwrap_or_default(),
        may_sleep: read("power/control").is_some_and(|control| control == "auto"),
        interfaces: interfaces::of(folder),
    })
}

impl Device {
    /// Returns the remarks about it.
    pub fn remarks(&self, catalog: &Catalog) -> Vec<Remark> {
        let layouts: Vec<&UsbLayout> =
            catalog.layouts().flatten().filter(|layout| layout.is_of(&self.usb_id)).collect();
        let mode = if self.is_boot_loader(&layouts) {
            Some(self.remark(
                "is a boot loader: the module did not start its firmware",
                "cut its power for some seconds, as `recovery.power_script` does; if the boot loader stays, \
                 the firmware must be written again",
            ))
        } else if let Some(words) = catalog.unsupported_id(&self.usb_id) {
            self.without_profile(&words)
        } else if layouts.is_empty() {
            self.unknown()
        } else {
            self.composition(catalog)
        };
        let sleep = self.may_sleep.then(|| {
            self.remark(
                "can be put to sleep by the kernel (power/control is auto), from which some modems do not wake up",
                &format!("`echo on > {USB}/{}/power/control`, or a udev rule that does so", self.usb_path),
            )
        });
        mode.into_iter().chain(sleep).collect()
    }

    /// Returns the remark about a device without a profile. If it has a tty, discovery reports it.
    fn without_profile(&self, words: &str) -> Option<Remark> {
        let is_seen = self.interfaces.iter().any(|interface| interface.has_tty);
        let advice = "docs/models.md describes what a file of models can try";
        (!is_seen).then(|| self.remark(&format!("has no serial port: {words}"), advice))
    }

    fn has_tty(&self, number: u8) -> bool {
        self.interfaces.iter().any(|interface| interface.number == number && interface.has_tty)
    }

    /// Reports whether it is a boot loader: by its product name, by its id, or by a single
    /// interface in place of the modem's many.
    fn is_boot_loader(&self, layouts: &[&UsbLayout]) -> bool {
        let is_makers = MAKERS.iter().any(|vendor| self.usb_id.starts_with(vendor));
        let is_stump = (is_makers || !layouts.is_empty())
            && self.interfaces.len() == 1
            && layouts.iter().all(|layout| !self.has(layout.at));
        self.product.starts_with("QHSUSB") || DOWNLOAD.contains(&&*self.usb_id) || is_stump
    }

    fn has(&self, number: u8) -> bool {
        self.interfaces.iter().any(|interface| interface.number == number)
    }

    /// Returns the remark about an unknown id. A device other than a modem may be at a modem's
    /// place.
    fn unknown(&self) -> Option<Remark> {
        if self.usb_id.starts_with(QUALCOMM)
            && self.interfaces.iter().all(|interface| !interface.has_tty)
        {
            return None;
        }
        Some(self.remark(
            "is not a known model",
            "another USB mode of the modem may be known; else `modemfleet profiles explain --usb ID` shows how to add it",
        ))
    }

    /// Returns the remark about a known id whose AT port is missing.
    fn composition(&self, catalog: &Catalog) -> Option<Remark> {
        let holding: Vec<&UsbLayout> = catalog
            .layouts()
            .flat_map(|usb| UsbLayout::holding(usb, &self.usb_id, |number| self.has_tty(number)))
            .collect();
        let (vendor, product) = self.usb_id.split_once(':').unwrap_or_default();
        let new_id =
            format!("`echo {vendor} {product} > /sys/bus/usb-serial/drivers/option1/new_id`");
        if !self.interfaces.iter().any(|interface| interface.has_tty) {
            let advice = format!(
                "`modprobe option`; if the driver is loaded but does not know this modem, {new_id}"
            );
            let remark =
                self.remark("has no serial port: no driver claims any of its interfaces", &advice);
            return Some(Remark { is_portless: true, ..remark });
        }
        if holding.iter().any(|layout| self.has_tty(layout.at)) {
            return None;
        }
        let at = holding.iter().map(|layout| layout.at).find(|at| self.has(*at));
        let networks: Vec<String> = self
            .interfaces
            .iter()
            .filter(|interface| interface.is_network())
            .map(|interface| interface.number.to_string())
            .collect();
        let mode = if networks.is_empty() {
            String::new()
        } else {
            format!(" (interfaces {} are its network)", networks.join(", "))
        };
        Some(match at {
            Some(at) => self.remark(
                &format!("has its AT port at interface {at}{mode}, for which no driver makes a tty"),
                &format!("{new_id}; kernels before 5.10 know only one composition"),
            ),
            None => self.remark(
                &format!("is in a USB mode without a known layout{mode}: each of its ports is tried"),
                "`modemfleet scan` shows which of its ports answers; docs/models.md says how to add a layout",
            ),
        })
    }

    fn remark(&self, what: &str, advice: &str) -> Remark {
        let name =
            if self.product.is_empty() { String::new() } else { format!(" {}", self.product) };
        Remark {
            usb_path: Some(self.usb_path.clone()),
            message: format!("USB {}: {}{name} {what}", self.usb_path, self.usb_id),
            advice: advice.to_owned(),
            is_portless: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(usb_id: &str, interfaces: &str) -> Device {
        // `0n` is a network's interface, `1t` has a tty, `2` is neither.
        let interface = |text: &str| {
            let (number, kind) = text.split_at(1);
            let driver = (kind == "n").then(|| "rndis_host".to_owned());
            Interface { number: number.parse().unwrap(), class: None, driver, has_tty: kind == "t" }
        };
        Device {
            usb_path: "1-1.3".to_owned(),
            usb_id: usb_id.to_owned(),
            interfaces: interfaces.split(' ').map(interface).collect(),
            ..Device::default()
        }
    }

    #[test]
    fn what_is_plugged_in_is_named_with_what_to_do() {
        let catalog = Catalog::new(&[&profile_simcom::PLUGIN, &profile_quectel::PLUGIN]).unwrap();
        let says = |device: &Device| -> Vec<String> {
            device.remarks(&catalog).into_iter().map(|remark| remark.message).collect()
        };
        for (usb_id, interfaces, words) in [
            ("2c7c:0125", "0t 1t 2t 3t 4", ""),
            ("2c7c:0125", "0n 1n 2t 3t 4t 5t", ""),
            ("1e0e:9001", "0t 1t 2t 3t 4t 5", ""),
            (
                "2c7c:0125",
                "0n 1n 2t 3t 4 5",
                "AT port at interface 4 (interfaces 0, 1 are its network)",
            ),
            ("2c7c:0125", "0t", "is a boot loader"),
            ("2c7c:0125", "0", "is a boot loader"),
            ("05c6:9008", "0", "is a boot loader"),
            ("1e0e:9000", "0", "is a boot loader"),
            ("2c7c:0128", "0n 1n 2 3 4 5", "an EM060K is known, but no profile speaks its dialect"),
            ("1e0e:9205", "0 1 2", "a SIM7070 or SIM7080 or SIM7090 is known"),
            ("1e0e:9205", "0t 1t 2t", ""),
            ("2c7c:0125", "0t 1t", "a USB mode without a known layout"),
            ("2c7c:f00d", "0t 1t", "is not a known model"),
            ("0424:2514", "0", "is not a known model"),
            ("2c7c:0125", "0 1 2 3 4", "has no serial port"),
        ] {
            let said = says(&device(usb_id, interfaces));
            assert_eq!(said.is_empty(), words.is_empty(), "{usb_id} {interfaces}: {said:?}");
            assert!(said.concat().contains(words), "{usb_id} {interfaces}: {said:?}");
        }
        let loader = Device { product: "QHSUSB__BULK".to_owned(), ..device("2c7c:0125", "0t") };
        assert!(
            says(&loader)
                .concat()
                .starts_with("USB 1-1.3: 2c7c:0125 QHSUSB__BULK is a boot loader")
        );
        let sleepy = Device { may_sleep: true, ..device("2c7c:0125", "0t 1t 2t 3t") };
        assert!(says(&sleepy).concat().contains("power/control is auto"));
        let pcie = Plugged { usb: Vec::new(), pcie: vec!["wwan0".to_owned()] };
        assert!(pcie.remarks(&catalog)[0].advice.contains("PCIe are not supported"));
    }

    #[test]
    fn a_device_is_read_from_sys() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("1-1.3");
        fs::create_dir_all(at.join("power")).unwrap();
        for (name, text) in [
            ("idVendor", "2C7C\n"),
            ("idProduct", "0125\n"),
            ("product", "QHSUSB__BULK\n"),
            ("power/control", "auto\n"),
        ] {
            fs::write(at.join(name), text).unwrap();
        }
        let found = super::device(&at).unwrap();
        assert_eq!((&*found.usb_id, found.may_sleep), ("2c7c:0125", true));
        assert_eq!(super::device(&folder.path().join("1-1.3:1.0")), None);
    }
}
