//! The recovery ladder from outside: its API, its metrics, and root's part.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Agent, Lab, Mosquitto, Process, modemfleet, run, until};
use serde_json::Value;

/// Adds these keys to the first modem's `recovery`, and a socket to the agent; returns the socket.
fn with_recovery(lab: &mut Lab, keys: &str) -> PathBuf {
    let socket = lab.site.dir().join("recover.sock");
    let with = format!(" recovery: {{ {keys} }}, sessions:");
    lab.site.body = lab.site.body.replacen(" sessions:", &with, 1);
    lab.site.body += &format!("recovery: {{ socket: {} }}\n", socket.display());
    socket
}

fn modem(agent: &Agent) -> Value {
    let fleet: Value = serde_json::from_str(&agent.http.get("/api/v1/modems").text()).unwrap();
    fleet["modems"][0].clone()
}

/// Returns how often an action had an outcome.
fn count(agent: &Agent, action: &str, outcome: &str) -> f64 {
    let labels = [("action", action), ("outcome", outcome)];
    agent.sum("modemfleet_recovery_actions_total", &labels)
}

fn state(agent: &Agent, state: &str) -> bool {
    agent.sum("modemfleet_modem_state", &[("state", state)]) > 0.5
}

fn script(folder: &Path, name: &str, text: &str) {
    fs::create_dir_all(folder).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Listens as systemd does with modemfleet-recover.socket: a process for each connection.
fn listen(socket: &Path, scripts: &Path) -> Process {
    let mut command = Command::new("systemd-socket-activate");
    command.args(["--accept", "--inetd", "--listen"]).arg(socket);
    command.arg(modemfleet()).args(["recover", "--scripts"]).arg(scripts);
    let process = Process::start("socket", &mut command);
    until("the socket", || socket.exists().then_some(()));
    process
}

#[test]
fn a_modem_that_only_its_power_cures_is_cured_by_the_script_that_root_laid_out() {
    let mut lab = Lab::without_modems(1);
    let socket = with_recovery(&mut lab, "boot: 5s, power_script: north");
    let scripts = lab.site.dir().join("power.d");
    let asked = lab.site.dir().join("asked");
    script(&scripts, "north", &format!("echo yes > {}", asked.display()));
    let _root = listen(&socket, &scripts);
    let mut ill = lab.plug_in(0, &["--ill", "mute=power"]);
    let agent = lab.site.start();
    until("the modem being brought back", || state(&agent, "recovering").then_some(()));
    let mute = || agent.sum("modemfleet_modem_recovery_cause", &[("cause", "mute")]) > 0.5;
    until("its cause", || mute().then_some(()));
    let reason = modem(&agent)["reason"].as_str().unwrap_or_default().to_owned();
    until("the script to run", || asked.exists().then_some(()));
    // The effect of the script on a real modem.
    ill.unplug();
    lab.sims.push(lab.plug_in(0, &[]));
    agent.connected("m0", "s");
    agent.publish("topic=t", b"back");
    lab.subscriber.wait(1);
    for action in ["resync", "reopen"] {
        assert_eq!(count(&agent, action, "failed"), 1.0, "{action}");
    }
    // A pty is not a USB device.
    assert_eq!(count(&agent, "usb_reset", "skipped"), 1.0);
    assert_eq!(count(&agent, "power", "cured"), 1.0);
    assert!(state(&agent, "serving"), "{reason}");
    let log = agent.log();
    assert!(log.contains("recovery: 1 of 6 actions within an hour"), "{log}");
}

#[test]
fn a_modem_that_nothing_cures_is_failed_and_says_why() {
    let mut lab = Lab::without_modems(1);
    with_recovery(&mut lab, "boot: 2s, power_script: north");
    lab.sims.push(lab.plug_in(0, &["--ill", "mute=never"]));
    let agent = lab.site.start();
    until("the modem to fail", || state(&agent, "failed").then_some(()));
    let is = modem(&agent);
    assert_eq!(is["state"], "failed");
    let reason = is["reason"].as_str().unwrap();
    assert!(reason.contains("the next follow in 60 min"), "{reason}");
    // No process runs scripts here, and the skipped actions do not count against the budget.
    for (action, outcome) in
        [("resync", "failed"), ("reopen", "failed"), ("usb_reset", "skipped"), ("power", "skipped")]
    {
        assert_eq!(count(&agent, action, outcome), 1.0, "{action}");
    }
    assert!(agent.log().contains("enable modemfleet-recover.socket"), "{}", agent.log());
    assert_eq!(is["recoveries"], 2);
    let mut status = Command::new(modemfleet());
    let shown = run(status.args(["status", "--config"]).arg(lab.site.file()), b"");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("the next follow in 60 min"), "{shown}");
    // The modem is plugged in again.
    lab.sims[0].unplug();
    lab.sims[0] = lab.plug_in(0, &[]);
    agent.connected("m0", "s");
    assert_eq!(agent.sum("modemfleet_recovery_actions_total", &[]), 4.0);
}

#[test]
fn neither_a_broker_that_is_away_nor_a_wrong_password_climbs() {
    let mut lab = Lab::without_modems(2);
    let strict = Mosquitto::with_users(&[("gw", "right")]);
    let wrong = lab.site.secret("wrong", "wrong");
    let login = format!("username: gw, password: {{ file: {} }}", wrong.display());
    lab.site.body = lab.site.body.replacen("1883\"", &format!("1883\", {login}"), 1);
    let start = |modem: usize, broker: &str| {
        e2e::Sim::start(&lab.site.dir().join(format!("m{modem}")), 1, broker, &[])
    };
    let sims = [start(0, &strict.address()), start(1, "127.0.0.1:1")];
    let agent = lab.site.start();
    for modem in ["m0", "m1"] {
        until("two refusals", || {
            let labels = [("modem", modem), ("result", "error")];
            (agent.sum("modemfleet_mqtt_connects_total", &labels) > 1.5).then_some(())
        });
        let serving = [("modem", modem), ("state", "serving")];
        assert_eq!(agent.sum("modemfleet_modem_state", &serving), 1.0);
    }
    assert_eq!(agent.sum("modemfleet_recovery_actions_total", &[]), 0.0);
    drop(sims);
}

#[test]
fn root_does_what_a_line_asks_for_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let scripts = dir.path().join("power.d");
    let trace = dir.path().join("trace");
    script(&scripts, "north", &format!("echo $# >> {}; echo to the journal", trace.display()));
    let recover = |arguments: &[&str], line: &str| {
        let mut command = Command::new(modemfleet());
        command.arg("recover").args(arguments).arg("--scripts").arg(&scripts);
        let done = run(command.arg("--sysfs").arg(dir.path()), line.as_bytes());
        (String::from_utf8(done.stdout).unwrap(), done.status.code().unwrap())
    };
    assert_eq!(recover(&[], "power north\n"), ("done\n".to_owned(), 0));
    assert_eq!(recover(&["power", "north"], ""), ("done\n".to_owned(), 0));
    // Only the first line is read.
    assert_eq!(recover(&[], "power north\npower north\n"), ("done\n".to_owned(), 0));
    assert_eq!(fs::read_to_string(&trace).unwrap(), "0\n0\n0\n");
    let endless = "power north".to_owned() + &" ".repeat(100_000);
    let bad = ["", "\n", "power ../power.d/north\n", "power north x\n", "reboot\n", &endless];
    for line in bad {
        let (said, code) = recover(&[], line);
        assert!(said.starts_with("unavailable: not a request"), "{line:?}: {said}");
        assert_eq!(code, 1);
    }
    assert!(recover(&[], "usb-reset 1-1\n").0.starts_with("unavailable: there is no USB device"));
    assert_eq!(fs::read_to_string(&trace).unwrap(), "0\n0\n0\n");
}

#[test]
fn the_example_scripts_are_scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/recover/power.d");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let done = run(Command::new("sh").arg("-n").arg(&path), b"");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{}", path.display());
        count += 1;
    }
    assert_eq!(count, 2);
}
