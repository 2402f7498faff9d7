//! The package for OpenWrt: gzipped tars in a gzipped tar, as opkg reads them.

use std::path::Path;

use super::archive::Tree;
use super::machine::Machine;

/// The files of the package.
///
/// # Errors
/// If one cannot be read.
pub(super) fn files(root: &Path, program: &Path) -> anyhow::Result<Tree> {
    let from = root.join("deploy/openwrt");
    let mut tree = Tree::default();
    tree.copy("usr/bin/modemfleet", 0o755, program)?;
    tree.copy("etc/init.d/modemfleet", 0o755, &from.join("modemfleet.init"))?;
    tree.copy("etc/hotplug.d/usb/20-modemfleet", 0o755, &from.join("modemfleet.hotplug"))?;
    // It names brokers and users: root reads it.
    tree.copy("etc/modemfleet/fleet.yaml", 0o600, &from.join("fleet.yaml"))?;
    Ok(tree)
}

/// Packs these files.
///
/// # Errors
/// If a path is too long for tar.
pub(super) fn pack(
    files: &Tree,
    machine: Machine,
    version: &str,
    seconds: u64,
) -> anyhow::Result<Vec<u8>> {
    let mut control = Tree::default();
    control.file("control", 0o644, about(machine, version, files.bytes()).into_bytes());
    // opkg keeps these over upgrades.
    control.file("conffiles", 0o644, b"/etc/modemfleet/fleet.yaml\n".to_vec());
    let mut package = Tree::default();
    package.file("debian-binary", 0o644, b"2.0\n".to_vec());
    package.file("control.tar.gz", 0o644, control.tar_gz("./", seconds)?);
    package.file("data.tar.gz", 0o644, files.tar_gz("./", seconds)?);
    package.tar_gz("./", seconds)
}

/// The package's description. The driver of most modems' serial ports is a package of its own there.
fn about(machine: Machine, version: &str, bytes: usize) -> String {
    format!(
        "Package: modemfleet\n\
         Version: {version}-1\n\
         Depends: kmod-usb-serial-option\n\
         Section: net\n\
         Architecture: {}\n\
         Installed-Size: {bytes}\n\
         License: MIT OR Apache-2.0\n\
         Maintainer: modemfleet contributors <contributors@modemfleet.invalid>\n\
         Description: Fleet agent for gateways with several cellular modems\n",
        machine.openwrt()
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::*;
    use crate::step;

    fn unpack(packed: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
        let mut found = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mode = entry.header().mode().unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            found.insert(path.trim_start_matches("./").to_owned(), (mode, content));
        }
        found
    }

    #[test]
    fn an_ipk_is_three_members_with_a_control_file_and_the_files_of_openwrt() {
        let program = step::root().join("deploy/openwrt/modemfleet.hotplug");
        let files = files(step::root(), &program).unwrap();
        let package = unpack(&pack(&files, Machine::X86_64, "0.1.0", 5).unwrap());
        let names: Vec<&str> = package.keys().map(String::as_str).collect();
        assert_eq!(names, ["control.tar.gz", "data.tar.gz", "debian-binary"]);
        assert_eq!(package["debian-binary"].1, b"2.0\n");
        let control = unpack(&package["control.tar.gz"].1);
        let about = String::from_utf8(control["control"].1.clone()).unwrap();
        for line in ["Package: modemfleet\n", "Version: 0.1.0-1\n", "Architecture: x86_64\n"] {
            assert!(about.contains(line), "{line} in {about}");
        }
        let data = unpack(&package["data.tar.gz"].1);
        for (path, mode) in [
            ("usr/bin/modemfleet", 0o755),
            ("etc/init.d/modemfleet", 0o755),
            ("etc/hotplug.d/usb/20-modemfleet", 0o755),
            ("etc/modemfleet/fleet.yaml", 0o600),
        ] {
            assert_eq!(data.get(path).map(|entry| entry.0), Some(mode), "{path}");
        }
        assert!(!data.keys().any(|path| path.contains("systemd") || path.contains("udev")));
    }
}
