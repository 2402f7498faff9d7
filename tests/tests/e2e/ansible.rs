//! The role of Ansible, run on a folder in the place of a gateway.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{modemfleet, run};

use crate::venv;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// A play that installs a tarball and the example's fleet file, with `broker` as the broker of
/// `north`.
fn play(dir: &Path, broker: &str) -> String {
    let (dir, program) = (dir.display(), modemfleet().display());
    let example = deploy().join("ansible/gateways.yml");
    let example = example.display();
    format!(
        "
- hosts: localhost
  connection: local
  gather_facts: false
  vars:
    example: \"{{{{ (lookup('file', '{example}') | from_yaml)[0].roles[0].vars.modemfleet_fleet }}}}\"
    changed: {{ modems: {{ north: {{ sessions: {{ lab: {{ broker: {broker} }} }} }} }} }}
  roles:
    - role: modemfleet
      vars:
        modemfleet_root: {dir}/root
        modemfleet_program: {program}
        modemfleet_owner: \"{{{{ omit }}}}\"
        modemfleet_group: \"{{{{ omit }}}}\"
        modemfleet_tarball: {dir}/modemfleet.tar.gz
        modemfleet_credentials: {{ broker: tr0ub4dor }}
        modemfleet_files: {{ ca.pem: a certificate }}
        modemfleet_fleet: \"{{{{ example | combine(changed, recursive=true) }}}}\"
"
    )
}

/// Runs a playbook, and returns its output and whether it succeeded.
fn ansible(dir: &Path, arguments: &[&str]) -> (String, bool) {
    let python = venv::with("ansible", "ansible-core", "ansible");
    let mut command = Command::new(python.with_file_name("ansible-playbook"));
    command
        .args(["--inventory", "localhost,"])
        .args(arguments)
        .current_dir(dir)
        // Without UTF-8 it does not start.
        .env("LC_ALL", "C.UTF-8")
        .env("ANSIBLE_HOME", dir.join("ansible"))
        .env("ANSIBLE_LOCAL_TEMP", dir.join("ansible/tmp"))
        .env("ANSIBLE_REMOTE_TEMP", dir.join("ansible/tmp"))
        .env("ANSIBLE_PYTHON_INTERPRETER", &python)
        .env("ANSIBLE_ROLES_PATH", deploy().join("ansible/roles"));
    let output = run(&mut command, b"");
    let words = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&words).into_owned(), output.status.success())
}

/// Makes a tarball with a program that does nothing, and the files of the service.
fn pack(dir: &Path) {
    let content = dir.join("content/modemfleet-0.0.0");
    fs::create_dir_all(&content).unwrap();
    fs::write(content.join("modemfleet"), "#!/bin/sh\n").unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-czf").arg(dir.join("modemfleet.tar.gz")).arg("-C").arg(dir.join("content"));
    tar.arg("modemfleet-0.0.0").arg("-C").arg(deploy()).args(["systemd", "udev"]);
    assert!(run(&mut tar, b"").status.success());
}

#[test]
fn the_role_installs_a_gateway_and_a_refused_fleet_file_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    pack(dir.path());
    fs::create_dir_all(dir.path().join("root")).unwrap();
    let example = deploy().join("ansible/gateways.yml");
    let (words, good) = ansible(dir.path(), &["--syntax-check", example.to_str().unwrap()]);
    assert!(good, "{words}");

    fs::write(dir.path().join("good.yml"), play(dir.path(), "lab")).unwrap();
    let (words, good) = ansible(dir.path(), &["good.yml"]);
    assert!(good && !words.contains("tr0ub4dor"), "{words}");
    let root = dir.path().join("root");
    for (path, mode) in [
        ("etc/modemfleet/fleet.yaml", 0o640),
        ("etc/modemfleet/credentials", 0o700),
        ("etc/modemfleet/credentials/broker", 0o600),
        ("etc/modemfleet/ca.pem", 0o644),
        ("usr/bin/modemfleet", 0o755),
        ("usr/lib/sysusers.d/modemfleet.conf", 0o644),
        ("etc/udev/rules.d/78-modemfleet.rules", 0o644),
        ("etc/systemd/system/modemfleet-recover@.service", 0o644),
    ] {
        let found = fs::metadata(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(found.permissions().mode() & 0o7777, mode, "{path}");
    }
    let file = root.join("etc/modemfleet/fleet.yaml");
    let before = fs::read_to_string(&file).unwrap();
    assert!(before.contains("credential: broker") && !before.contains("tr0ub4dor"), "{before}");

    fs::write(dir.path().join("bad.yml"), play(dir.path(), "lap")).unwrap();
    let (words, good) = ansible(dir.path(), &["bad.yml"]);
    assert!(!good && words.contains("lap") && words.contains("Write the fleet file"), "{words}");
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    // All before that file is as it was.
    assert!(words.contains("changed=0"), "{words}");
}
