//! Tests on a real kernel with real udev. Each test leaves nothing plugged in and nothing running.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::{Agent, Mosquitto, Process, Signal, Site, Stopwatch, Subscriber, modemfleet, pause, run};
use serde_json::Value;

use crate::gadget::{
    at_port, hold_udevd, imei, only_in_a_guest, plug, plug_swapped, property, simulate,
    simulate_with, tty, unplug, usb_path, wait,
};
use crate::stranger::Stranger;

#[test]
#[ignore = "runs in a guest"]
fn a_stranger_takes_the_simulator_for_a_sim7600() {
    only_in_a_guest();
    plug(0);
    let port = tty(0);
    let _sim = simulate(1, "127.0.0.1:1");
    let _manager = Stranger::start();
    let modem = Stranger::modem();
    let generic = &modem["generic"];
    assert_eq!(generic["plugin"], "simtech", "{modem}");
    assert_eq!(generic["primary-port"], port.file_name().unwrap().to_str().unwrap(), "{modem}");
    assert_eq!(generic["equipment-identifier"], "861234560000005", "{modem}");
    assert_eq!(generic["manufacturer"], "SIMCOM INCORPORATED", "{modem}");
    assert_eq!(generic["model"], "SIMCOM_SIM7600G-H", "{modem}");
    assert_eq!(modem["3gpp"]["imei"], "861234560000005", "{modem}");
    unplug(0);
    wait("the port to go", || (!port.exists()).then_some(()));
}

/// Installs our rules as an administrator would.
fn install_rules() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/udev/78-modemfleet.rules");
    for group in ["modemfleet", "modemfleet-devices"] {
        let made = Command::new("groupadd").args(["--system", group]).status();
        assert!(made.unwrap().success(), "no group");
    }
    fs::create_dir_all("/run/udev/rules.d").unwrap();
    fs::copy(rules, "/run/udev/rules.d/78-modemfleet.rules").unwrap();
    assert!(Command::new("udevadm").args(["control", "--reload"]).status().unwrap().success());
}

/// Reports whether a user that has only this group can open a file.
fn opens_for(group: &str, path: &Path) -> bool {
    let mut open = Command::new("setpriv");
    open.args(["--reuid=65534", "--regid", group, "--clear-groups", "test", "-r"]).arg(path);
    run(&mut open, b"").status.success()
}

#[test]
#[ignore = "runs in a guest"]
fn the_udev_rules_keep_a_stranger_off_the_at_ports_and_not_off_the_device() {
    only_in_a_guest();
    install_rules();
    plug(0);
    let port = tty(0);
    let first: u32 = port.display().to_string().trim_start_matches("/dev/ttyUSB").parse().unwrap();
    let port = |interface: u32| format!("/dev/ttyUSB{}", first - 2 + interface);
    for interface in 0..4 {
        let (path, ours) = (port(interface), interface >= 2);
        let ignored = property(&path, "ID_MM_PORT_IGNORE").as_deref() == Some("1");
        assert_eq!(ignored, ours, "ID_MM_PORT_IGNORE of interface {interface}");
        assert_eq!(property(&path, "ID_MM_DEVICE_IGNORE"), None, "interface {interface}");
        assert_eq!(opens_for("modemfleet-devices", path.as_ref()), ours, "interface {interface}");
        assert!(!opens_for("modemfleet", path.as_ref()), "the API's group, interface {interface}");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o007, 0, "others, interface {interface}");
    }
    let manager = Stranger::start();
    // It takes the device, probes the ports that are not ours, and finds no port for commands.
    manager.logged("creating modem with plugin 'simtech'");
    manager.logged("Failed to find primary AT port");
    let log = manager.log();
    for interface in 2..4 {
        let name = port(interface).replace("/dev/", "");
        let skipped =
            format!("[{name}/probe] port probing finished: skipping for blacklisted port");
        assert!(log.contains(&skipped), "{log}");
        assert!(!log.contains(&format!("[{name}/at]")), "{log}");
    }
    assert!(log.contains("launching port probing: 'qcdm'"), "the device is not left alone\n{log}");
    unplug(0);
    wait("the port to go", || (!at_port(0).exists()).then_some(()));
    fs::remove_file("/run/udev/rules.d/78-modemfleet.rules").unwrap();
    assert!(Command::new("udevadm").args(["control", "--reload"]).status().unwrap().success());
}

/// Makes a site with the modems `m0` and `m1`, found by these keys.
fn site(matches: [String; 2]) -> Site {
    let mut site = Site::new();
    "info".clone_into(&mut site.log);
    site.body = "brokers: { lab: { url: \"mqtt://broker.example.com:1883\" } }\nmodems:\n".into();
    for (modem, keys) in matches.iter().enumerate() {
        let _ = writeln!(
            site.body,
            "  m{modem}: {{ match: {{ {keys} }}, sessions: {{ s: {{ broker: lab }} }} }}"
        );
    }
    // The routes give both modems messages to carry.
    site.body.push_str(
        "routes:\n  - { topic: t/1, to: [m1/s, m0/s], policy: failover }\n  \
         - { topic: \"#\", to: [m0/s, m1/s], policy: failover }\n",
    );
    site
}

fn by_imei(number: usize) -> String {
    format!("imei: \"{}\"", imei(number))
}

fn both_connected(agent: &Agent) {
    for modem in ["m0", "m1"] {
        wait(&format!("{modem} to connect"), || agent.is_connected(modem, "s").then_some(()));
    }
}

fn unplug_both() {
    unplug(0);
    unplug(1);
    for modem in 0..2 {
        wait("the port to go", || (!at_port(modem).exists()).then_some(()));
    }
}

/// Returns the IMEI of a modem at each arrival, as the log has it.
fn imeis(agent: &Agent, modem: &str) -> Vec<String> {
    let log = agent.log();
    let of_modem = |line: &&str| line.contains(&format!("modem{{name=\"{modem}\"}}: identified"));
    let imei = |line: &str| line.split("imei=\"").nth(1)?.split('"').next().map(str::to_owned);
    log.lines().filter(of_modem).filter_map(imei).collect()
}

/// Returns the targets of the agent's descriptors, and the number of its threads.
fn holdings(agent: &Agent) -> (Vec<PathBuf>, usize) {
    let all = |what: &str| fs::read_dir(format!("/proc/{}/{what}", agent.process.pid())).unwrap();
    let mut targets: Vec<_> =
        all("fd").filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect();
    targets.sort();
    (targets, all("task").count())
}

/// Pseudo-random waits with a fixed seed (a multiplicative congruential generator, Lehmer 1951).
struct Moments(u64);

impl Moments {
    fn next(&mut self, below: Duration) -> Duration {
        self.0 = self.0 * 48_271 % 2_147_483_647;
        below.mul_f64(f64::from(u32::try_from(self.0).unwrap()) / 2_147_483_647.0)
    }
}

/// Plugs and unplugs both modems at random moments while messages are handed in; returns the number
/// of messages.
fn cycle(agent: &Agent, cycles: usize) -> usize {
    let (mut moments, mut sent) = (Moments(20_260), 0);
    let mut hand_in = |count: usize| {
        for _ in 0..count {
            agent.publish(&format!("topic=t/{}&qos=1", sent % 2), format!("n{sent}").as_bytes());
            sent += 1;
        }
    };
    for number in 0..cycles {
        let modem = number % 2;
        hand_in(3);
        pause(moments.next(Duration::from_millis(2_500)));
        unplug(modem);
        hand_in(2);
        pause(moments.next(Duration::from_millis(800)));
        plug(modem);
        hand_in(1);
    }
    sent
}

#[test]
#[ignore = "runs in a guest"]
fn two_modems_are_pulled_out_and_put_back_and_nothing_is_lost() {
    only_in_a_guest();
    let broker = Mosquitto::open();
    let subscriber = Subscriber::new(broker.port());
    plug(0);
    plug(1);
    let before = [tty(0), tty(1)];
    let _sim: Process = simulate(2, &broker.address());
    let site = site([by_imei(0), format!("usb_path: {}", usb_path(1))]);
    let agent = site.start();
    both_connected(&agent);
    let held = holdings(&agent);

    let sent = cycle(&agent, 10);
    both_connected(&agent);
    wait("all messages", || (subscriber.distinct().len() >= sent).then_some(()));
    wait("an empty queue", || (agent.queued() == 0).then_some(()));

    // After a plug in the other order the ttys have each other's numbers; the modems keep their
    // names.
    unplug_both();
    plug(1);
    assert_eq!(tty(1), before[0], "the kernel gives the lowest free number");
    plug(0);
    assert_eq!(tty(0), before[1]);
    both_connected(&agent);
    // Each was plugged in several times, alone and together with the other.
    for number in 0..2 {
        let seen = imeis(&agent, &format!("m{number}"));
        let is_own = seen.iter().all(|seen| seen == imei(number));
        assert!(seen.len() >= 2 && is_own, "m{number}: {seen:?}");
    }
    agent.publish("topic=t/last&qos=1&session=m0/s", b"last");
    wait("the last message", || subscriber.distinct().contains("last").then_some(()));

    // Only their number is compared: a tty may have another number now.
    let is_as_before = || {
        let (files, threads) = holdings(&agent);
        (files.len() <= held.0.len() && threads <= held.1).then_some(())
    };
    let same = e2e::within(Duration::from_secs(20), is_as_before);
    assert!(same.is_some(), "a leak\nbefore: {held:#?}\nnow: {:#?}", holdings(&agent));
    drop(agent);
    unplug_both();
}

/// Returns some counters of a modem.
fn counted(agent: &Agent, modem: &str) -> Vec<(&'static str, f64)> {
    let names = ["mqtt_connects_total", "mqtt_publishes_total", "at_commands_total"];
    let sum = |name| agent.sum(&format!("modemfleet_{name}"), &[("modem", modem)]);
    names.map(|name| (name, sum(name))).to_vec()
}

/// Checks that each entry is served by the modem of its IMEI, at this place, under its client id.
fn each_is_itself(agent: &Agent, broker: &Mosquitto, round: usize, place: impl Fn(usize) -> usize) {
    let fleet: Value = serde_json::from_str(&agent.http.get("/api/v1/modems").text()).unwrap();
    for number in 0..2 {
        let modem = &fleet["modems"][number];
        assert_eq!(modem["identified"]["imei"], imei(number), "{modem}");
        assert_eq!(modem["tty"], tty(place(number)).to_str().unwrap(), "{modem}");
        let topic = format!("who/m{number}/{round}");
        agent.publish(&format!("topic={topic}&qos=1&session=m{number}/s"), b"I");
        let sender = format!("Received PUBLISH from gw-m{number}-s ");
        let is_sent = |line: &String| line.contains(&sender) && line.contains(&topic);
        wait(&format!("{sender}{topic}"), || broker.log().iter().any(is_sent).then_some(()));
    }
}

#[test]
#[ignore = "runs in a guest"]
fn modems_that_change_places_keep_their_names_counters_and_sessions() {
    only_in_a_guest();
    let broker = Mosquitto::open();
    plug(0);
    plug(1);
    let _sim: Process = simulate(2, &broker.address());
    let site = site([by_imei(0), by_imei(1)]);
    let agent = site.start();
    both_connected(&agent);
    each_is_itself(&agent, &broker, 0, |number| number);
    let mut before = [counted(&agent, "m0"), counted(&agent, "m1")];
    for round in 1..=2 {
        unplug_both();
        wait("both to go", || (agent.sum("modemfleet_modem_present", &[]) < 0.5).then_some(()));
        let is_swapped = round == 1;
        for number in [1, 0] {
            if is_swapped { plug_swapped(number) } else { plug(number) }
        }
        both_connected(&agent);
        each_is_itself(&agent, &broker, round, |number| number.abs_diff(usize::from(is_swapped)));
        let now = [counted(&agent, "m0"), counted(&agent, "m1")];
        for (before, now) in before.iter().flatten().zip(now.iter().flatten()) {
            assert!(now.1 > before.1, "round {round}: {before:?} became {now:?}");
        }
        before = now;
    }
    drop(agent);
    unplug_both();
}

#[test]
#[ignore = "runs in a guest"]
fn who_may_open_a_port_as_the_kernel_makes_it_does_not_wait_for_udevd() {
    only_in_a_guest();
    let broker = Mosquitto::open();
    plug(0);
    tty(0);
    let _sim: Process = simulate(1, &broker.address());
    let site = site([by_imei(0), by_imei(1)]);
    let agent = site.start();
    let connected = || wait("m0 to connect", || agent.is_connected("m0", "s").then_some(()));
    connected();
    unplug(0);
    wait("m0 to go", || (agent.sum("modemfleet_modem_present", &[]) < 0.5).then_some(()));
    let count = |name: &str| agent.sum(&format!("modemfleet_{name}_duration_seconds_count"), &[]);
    let sum = |name: &str| agent.sum(&format!("modemfleet_{name}_duration_seconds_sum"), &[]);
    let before = ["detection", "ready"].map(|name| (count(name), sum(name)));
    hold_udevd(true);
    let plugged = Stopwatch::start();
    plug(0);
    connected();
    let whole = plugged.elapsed().as_secs_f64();
    hold_udevd(false);
    for (name, before) in ["detection", "ready"].into_iter().zip(before) {
        assert!((count(name) - before.0 - 1.0).abs() < 0.1, "{name} is counted once for a plug");
        let took = sum(name) - before.1;
        assert!(took > 0.0 && took < whole, "{name} took {took} of {whole} s");
        let last = agent.sum(&format!("modemfleet_modem_last_{name}_seconds"), &[("modem", "m0")]);
        assert!((last - took).abs() < 0.01, "{name}: {last} is not {took}");
    }
    drop(agent);
    unplug(0);
    wait("the port to go", || (!at_port(0).exists()).then_some(()));
}

/// Writes a program that runs the agent as on a system without udevd: the folder of udevd is hidden.
fn without_udevd(site: &Site) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = site.dir().join("without-udevd");
    let script = format!(
        "#!/bin/sh\nexec unshare --mount --propagation private sh -euc \
         'mount -t tmpfs none /run/udev; exec \"$@\"' sh {} \"$@\"\n",
        modemfleet().display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
#[ignore = "runs in a guest"]
fn without_udevd_the_kernels_own_events_report_each_plug() {
    only_in_a_guest();
    let broker = Mosquitto::open();
    plug(0);
    tty(0);
    let _sim: Process = simulate(1, &broker.address());
    let mut site = site([by_imei(0), by_imei(1)]);
    site.program = Some(without_udevd(&site));
    site.log = "info,discovery=debug".to_owned();
    let agent = site.start();
    let connected = || wait("m0 to connect", || agent.is_connected("m0", "s").then_some(()));
    connected();
    for _ in 0..2 {
        unplug(0);
        wait("m0 to go", || (agent.sum("modemfleet_modem_present", &[]) < 0.5).then_some(()));
        plug(0);
        connected();
    }
    let log = agent.process.stderr().join("\n");
    assert!(log.contains("events of USB devices come from the kernel itself"), "{log}");
    assert!(!log.contains("a scan found"), "each plug was an event: {log}");
    for event in ["DeviceCame(", "Came(Tty", "Went(\"/dev", "DeviceWent("] {
        let told = log.matches(&format!("udev change={event}")).count();
        assert!(told >= 2, "{event} was reported {told} times\n{log}");
    }
    drop(agent);
    unplug(0);
    wait("the port to go", || (!at_port(0).exists()).then_some(()));
}

/// Returns the output of `scan --json` with the agent's fleet file.
fn scan(site: &Site) -> Value {
    let mut scan = Command::new(modemfleet());
    let done = run(scan.args(["scan", "--json", "--config"]).arg(site.file()), b"");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

/// Starts a program that has these ttys open, and does not lock them.
fn occupy(ttys: &[&str]) -> Process {
    let script = "import os, sys, time\n\
                  held = [os.open(t, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY) for t in sys.argv[1:]]\n\
                  print('held', flush=True)\ntime.sleep(1000)";
    let process =
        Process::start("occupant", Command::new("python3").args(["-c", script]).args(ttys));
    wait("the ttys to be held", || (!process.stdout().is_empty()).then_some(()));
    process
}

#[test]
#[ignore = "runs in a guest"]
fn scan_tells_every_modem_and_who_has_a_port() {
    only_in_a_guest();
    let broker = Mosquitto::open();
    plug(0);
    plug(1);
    let first = [tty(0), tty(1)].map(|tty| {
        tty.to_str().unwrap().trim_start_matches("/dev/ttyUSB").parse::<u32>().unwrap() - 2
    });
    let _sim: Process = simulate(2, &broker.address());
    // Modem 1 belongs to no entry.
    let mut site = site([format!("usb_path: {}", usb_path(0)), "imei: \"1\"".to_owned()]);
    site.body = site.body.replace("imei: \"1\"", "imei: \"861234560999999\"");

    let check = |seen: &Value, source: &str| {
        assert_eq!(seen["source"], source);
        for number in 0..2 {
            let device = &seen["devices"][number];
            assert_eq!(device["usb_path"], usb_path(number), "{seen}");
            assert_eq!(device["imei"], imei(number), "{seen}");
            assert_eq!(device["model"], "SIMCOM_SIM7600G-H", "{seen}");
            assert!(device["iccid"].as_str().is_some_and(|iccid| iccid.len() >= 19), "{seen}");
            let roles = ["other", "other", "at", "secondary"];
            for (interface, role) in (0..).zip(roles) {
                let port = &device["ports"][usize::try_from(interface).unwrap()];
                let tty = format!("/dev/ttyUSB{}", first[number] + interface);
                assert_eq!((&port["tty"], &port["role"]), (&tty.into(), &role.into()), "{seen}");
                assert_eq!(port["busy"], false, "{seen}");
            }
        }
        assert_eq!(seen["devices"][0]["modem"], "m0", "{seen}");
        assert_eq!(seen["devices"][1]["claim"], "unclaimed", "{seen}");
    };
    check(&scan(&site), "this process");

    let agent = site.start();
    wait("m0 to connect", || agent.is_connected("m0", "s").then_some(()));
    let knows = |seen: &Value| (0..2).all(|number| seen["devices"][number]["iccid"].is_string());
    let seen = wait("both to be known", || Some(scan(&site)).filter(|seen| knows(seen)));
    check(&seen, "agent");
    assert!((agent.sum("modemfleet_unclaimed_modems", &[]) - 1.0).abs() < 0.1);
    drop(agent);

    // Another program has both AT ports of modem 0 open.
    let ports = [2, 3].map(|interface| format!("/dev/ttyUSB{}", first[0] + interface));
    let mut occupant = occupy(&[&ports[0], &ports[1]]);
    let who = format!("python3 (pid {})", occupant.pid());
    let agent = site.start();
    let busy = || agent.sum("modemfleet_ports_busy", &[("modem", "m0")]);
    wait("the port to be found busy", || (busy() > 0.5).then_some(()));
    let holder = &scan(&site)["devices"][0]["ports"][2]["holder"];
    assert_eq!(holder["pid"], occupant.pid(), "{holder}");
    let status = run(Command::new(modemfleet()).args(["status", "--config"]).arg(site.file()), b"");
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    let line = format!("USB {}: {} is in use by {who}", usb_path(0), ports[0]);
    assert!(status.contains(&line), "{status}");
    assert!(status.contains(&format!("USB {}: no entry claims it", usb_path(1))), "{status}");
    assert!(agent.log().contains(&format!("in use by {who}")), "{}", agent.log());
    occupant.kill();
    wait("m0 to connect", || agent.is_connected("m0", "s").then_some(()));
    assert!(busy() < 0.5);
    drop(agent);
    unplug_both();
}

#[test]
#[ignore = "runs in a guest"]
fn scan_shows_what_comes_and_goes_as_it_happens() {
    only_in_a_guest();
    plug(0);
    tty(0);
    let _sim: Process = simulate(1, "127.0.0.1:1");
    unplug(0);
    wait("the port to go", || (!at_port(0).exists()).then_some(()));
    let site = site([by_imei(0), by_imei(1)]);
    let watch = |agent: Option<&Agent>| {
        let mut scan = Command::new(modemfleet());
        let mut scan =
            Process::start("scan", scan.args(["scan", "--watch", "--config"]).arg(site.file()));
        if agent.is_some() {
            // It has asked once, and waits for events.
            pause(Duration::from_millis(500));
        }
        let place = usb_path(0);
        let has = |scan: &Process, text: String| {
            wait(&text, || scan.stdout().iter().any(|line| line.ends_with(&text)).then_some(()));
        };
        // Without an agent `scan` looks itself, and also prints devices that are there at its
        // start.
        plug(0);
        has(&scan, format!("+ {place} 1e0e:9001"));
        has(&scan, format!("  {place} is m0"));
        wait("its IMEI", || {
            scan.stdout()
                .iter()
                .any(|line| line.contains(&format!("IMEI {}", imei(0))))
                .then_some(())
        });
        unplug(0);
        has(&scan, format!("- {place} 1e0e:9001"));
        scan.signal(Signal::INT);
        let end = scan.end_within(Duration::from_secs(20)).expect("it ends");
        assert!(end.success(), "{end}");
        wait("the port to go", || (!at_port(0).exists()).then_some(()));
    };
    watch(None);
    let agent = site.start();
    watch(Some(&agent));
}

/// Listens as systemd does with modemfleet-recover.socket.
fn listen_as_root(site: &mut Site) -> Process {
    let socket = site.dir().join("recover.sock");
    let line = format!("recovery: {{ socket: {} }}\n", socket.display());
    site.body.push_str(&line);
    let mut command = Command::new("systemd-socket-activate");
    command.args(["--accept", "--inetd", "--listen"]).arg(&socket);
    let process = Process::start("socket", command.arg(modemfleet()).arg("recover"));
    wait("the socket", || socket.exists().then_some(()));
    process
}

/// A deaf modem on a real kernel: reopening its tty does not help, but a reset of its device does.
#[test]
#[ignore = "runs in a guest"]
fn the_usb_device_of_a_modem_that_answers_nothing_is_reset() {
    only_in_a_guest();
    let broker = Mosquitto::open();
    plug(0);
    tty(0);
    let _sim = simulate_with(1, &broker.address(), &["--ill", "mute=usb-reset"]);
    let mut site = site([format!("usb_path: {}", usb_path(0)), by_imei(1)]);
    // A port that never answered gets the time of a boot.
    site.body = site.body.replace("m0: { match", "m0: { recovery: { boot: 20s }, match");
    let _root = listen_as_root(&mut site);
    let agent = site.start();
    wait("m0 to connect", || agent.is_connected("m0", "s").then_some(()));
    let count = |action: &str, outcome: &str| {
        let labels = [("action", action), ("outcome", outcome)];
        agent.sum("modemfleet_recovery_actions_total", &labels)
    };
    for (action, outcome) in [("resync", "failed"), ("reopen", "failed"), ("usb_reset", "cured")] {
        assert!((count(action, outcome) - 1.0).abs() < 0.1, "{action}: {}", agent.log());
    }
    drop(agent);
    unplug(0);
    wait("the port to go", || (!at_port(0).exists()).then_some(()));
}
