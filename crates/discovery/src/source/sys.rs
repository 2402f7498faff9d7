//! The ttys of USB devices, read from /sys without libudev, and whether their nodes may be opened.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::interfaces;
use crate::table::Tty;

/// The file system of the kernel's devices.
#[derive(Debug, Clone)]
pub(super) struct Sys {
    root: PathBuf,
}

impl Default for Sys {
    fn default() -> Self {
        Self { root: "/sys".into() }
    }
}

impl Sys {
    /// Returns the ttys of USB devices that are there, by node.
    ///
    /// # Errors
    /// If the folder of all ttys cannot be read. A kernel without any tty of its own has none.
    pub(super) fn scan(&self) -> io::Result<Vec<Tty>> {
        let all = fs::read_dir(self.root.join("class/tty"))?;
        let folders = all.flatten().filter_map(|link| link.path().canonicalize().ok());
        let mut found: Vec<Tty> = folders.filter_map(|folder| tty(&folder)).collect();
        found.sort_by(|a, b| a.node.cmp(&b.node));
        Ok(found)
    }

    /// Returns the tty at this path of an event, if it is one of a USB device and still there.
    pub(super) fn tty(&self, devpath: &str) -> Option<Tty> {
        tty(&self.root.join(devpath.trim_start_matches('/')))
    }
}

/// Reports whether this process may open a node as it is.
pub(super) fn may_open(node: &Path) -> bool {
    access(node, Access::READ_OK | Access::WRITE_OK).is_ok()
}

/// Reads the tty whose folder this is. Consoles and UARTs have no USB interface above them.
fn tty(folder: &Path) -> Option<Tty> {
    let interface = above(folder, "usb_interface")?;
    let usb = above(interface, "usb_device")?;
    let name =
        property(folder, "DEVNAME").or_else(|| Some(folder.file_name()?.to_str()?.into()))?;
    let number = attribute(interface, "bInterfaceNumber")?;
    let with_tty = interfaces::of(usb).into_iter().filter(|interface| interface.has_tty);
    Some(Tty {
        node: Path::new("/dev").join(name),
        usb_path: usb.file_name()?.to_str()?.to_owned(),
        id: format!("{}:{}", attribute(usb, "idVendor")?, attribute(usb, "idProduct")?),
        interface: u8::from_str_radix(&number, 16).ok()?,
        with_tty: with_tty.map(|interface| interface.number).collect(),
    })
}

/// Returns the nearest folder above this one that is of a kind.
fn above<'a>(folder: &'a Path, devtype: &str) -> Option<&'a Path> {
    let mut above = folder.ancestors().skip(1);
    above.find(|folder| property(folder, "DEVTYPE").is_some_and(|is| is == devtype))
}

/// Returns a line `KEY=VALUE` of the device's file `uevent`.
fn property(folder: &Path, key: &str) -> Option<String> {
    let all = fs::read_to_string(folder.join("uevent")).ok()?;
    let value = all.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value.map(str::to_owned)
}

fn attribute(folder: &Path, name: &str) -> Option<String> {
    fs::read_to_string(folder.join(name)).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    /// A folder as the kernel shows it, with a console and no USB device.
    pub(in crate::source) struct Fake {
        folder: TempDir,
    }

    impl Fake {
        pub(in crate::source) fn new() -> Self {
            let fake = Self { folder: tempfile::tempdir().unwrap() };
            fake.write("devices/virtual/tty/tty0/uevent", "MAJOR=4\nMINOR=0\nDEVNAME=tty0\n");
            fake.link("devices/virtual/tty/tty0");
            fake
        }

        pub(in crate::source) fn sys(&self) -> Sys {
            Sys { root: self.folder.path().to_owned() }
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn link(&self, tty: &str) {
            let all = self.folder.path().join("class/tty");
            fs::create_dir_all(&all).unwrap();
            let tty = self.folder.path().join(tty);
            symlink(&tty, all.join(tty.file_name().unwrap())).unwrap();
        }

        /// Plugs in a device with ttys at these interfaces, numbered as these; returns their paths.
        pub(in crate::source) fn plug(
            &self,
            usb_path: &str,
            id: (&str, &str),
            ttys: &[(u8, &str)],
        ) -> Vec<String> {
            let device = format!("devices/pci0000:00/0000:00:14.0/usb1/{usb_path}");
            self.write(&format!("{device}/uevent"), "MAJOR=189\nDEVTYPE=usb_device\n");
            self.write(&format!("{device}/idVendor"), &format!("{}\n", id.0));
            self.write(&format!("{device}/idProduct"), &format!("{}\n", id.1));
            let plug = |(number, name): &(u8, &str)| {
                let interface = format!("{device}/{usb_path}:1.{number}");
                self.write(&format!("{interface}/uevent"), "DEVTYPE=usb_interface\nDRIVER=x\n");
                self.write(&format!("{interface}/bInterfaceNumber"), &format!("{number:02x}\n"));
                // usb-serial has a device of its own between the interface and its tty; cdc-acm has none.
                let between =
                    if name.starts_with("ttyUSB") { format!("/{name}") } else { String::new() };
                let tty = format!("{interface}{between}/tty/{name}");
                self.write(&format!("{tty}/uevent"), &format!("MAJOR=188\nDEVNAME={name}\n"));
                self.link(&tty);
                format!("/{tty}")
            };
            ttys.iter().map(plug).collect()
        }
    }

    #[test]
    fn a_root_without_sys_is_told_from_one_that_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let error = Sys { root: folder.path().to_owned() }.scan().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        fs::create_dir(folder.path().join("class")).unwrap();
        fs::write(folder.path().join("class/tty"), "a file").unwrap();
        let error = Sys { root: folder.path().to_owned() }.scan().unwrap_err();
        assert_ne!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn ttys_of_usb_are_found_with_their_device_and_interface() {
        let fake = Fake::new();
        assert_eq!(fake.sys().scan().unwrap(), []);
        fake.plug("1-1.2", ("1e0e", "9001"), &[(2, "ttyUSB2"), (10, "ttyUSB3")]);
        let paths = fake.plug("1-3", ("2c7c", "0125"), &[(0, "ttyACM0")]);
        let tty = |node: &str, usb_path: &str, id: &str, interface, with_tty: &[u8]| Tty {
            node: node.into(),
            usb_path: usb_path.into(),
            id: id.into(),
            interface,
            with_tty: with_tty.to_vec(),
        };
        let acm = tty("/dev/ttyACM0", "1-3", "2c7c:0125", 0, &[0]);
        let expected = [
            acm.clone(),
            tty("/dev/ttyUSB2", "1-1.2", "1e0e:9001", 2, &[2, 10]),
            tty("/dev/ttyUSB3", "1-1.2", "1e0e:9001", 10, &[2, 10]),
        ];
        assert_eq!(fake.sys().scan().unwrap(), expected);
        assert_eq!(fake.sys().tty(&paths[0]), Some(acm));
        assert_eq!(fake.sys().tty("/devices/virtual/tty/tty0"), None);
        assert_eq!(fake.sys().tty("/devices/gone"), None);
    }

    #[test]
    fn a_sys_that_is_not_there_is_an_error() {
        assert!(Sys { root: "/nonexistent".into() }.scan().is_err());
    }
}
