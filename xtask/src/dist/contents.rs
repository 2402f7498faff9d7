//! The files of the archive for any Linux.

use std::path::Path;

use super::archive::Tree;

/// Files of the repository, and their places in the archive.
const FILES: [(&str, &str); 14] = [
    ("deploy/fleet.yaml", "fleet.yaml"),
    ("docs/install.md", "INSTALL.md"),
    ("CHANGELOG.md", "CHANGELOG.md"),
    ("LICENSE-MIT", "LICENSE-MIT"),
    ("LICENSE-APACHE", "LICENSE-APACHE"),
    ("deploy/udev/78-modemfleet.rules", "udev/78-modemfleet.rules"),
    ("deploy/systemd/modemfleet.service", "systemd/modemfleet.service"),
    ("deploy/systemd/modemfleet.socket", "systemd/modemfleet.socket"),
    ("deploy/systemd/modemfleet-http.socket", "systemd/modemfleet-http.socket"),
    ("deploy/systemd/modemfleet-mqtt.socket", "systemd/modemfleet-mqtt.socket"),
    ("deploy/systemd/modemfleet-recover.socket", "systemd/modemfleet-recover.socket"),
    ("deploy/systemd/modemfleet-recover@.service", "systemd/modemfleet-recover@.service"),
    ("deploy/systemd/modemfleet.sysusers", "systemd/modemfleet.sysusers"),
    ("deploy/prometheus/modemfleet.rules.yml", "prometheus/modemfleet.rules.yml"),
];

/// Files that the program wrote, and their places.
const STAGED: [(&str, &str); 5] = [
    ("fleet.schema.json", "fleet.schema.json"),
    ("third-party-notices.gz", "third-party-notices.gz"),
    ("modemfleet.bash", "completions/modemfleet.bash"),
    ("modemfleet.zsh", "completions/_modemfleet"),
    ("modemfleet.fish", "completions/modemfleet.fish"),
];

/// The content for a program; `stage` has what a program of this version wrote.
///
/// # Errors
/// If a file cannot be read.
pub(super) fn of_any_linux(root: &Path, stage: &Path, program: &Path) -> anyhow::Result<Tree> {
    let mut tree = Tree::default();
    tree.copy("modemfleet", 0o755, program)?;
    for (from, to) in FILES {
        tree.copy(to, 0o644, &root.join(from))?;
    }
    for (from, to) in STAGED {
        tree.copy(to, 0o644, &stage.join(from))?;
    }
    tree.copy_all("man/man1", 0o644, &stage.join("man"))?;
    Ok(tree)
}
