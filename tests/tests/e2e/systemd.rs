//! systemd's own tools on the units, and the agent's notifications to its service manager.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use e2e::{Lab, Process, Signal, modemfleet, run, until};

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd")
}

/// Makes a copy of the units with the binary under test in place of the installed one.
fn tried_units() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(units()).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let text = text.replace("/usr/bin/modemfleet", &modemfleet().display().to_string());
        fs::write(dir.path().join(path.file_name().unwrap()), text).unwrap();
    }
    dir
}

/// Returns the files with these extensions.
fn of_kind(dir: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let all = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let fits = |path: &PathBuf| {
        path.extension().is_some_and(|kind| endings.iter().any(|ending| kind == *ending))
    };
    all.filter(fits).collect()
}

#[test]
fn systemd_has_nothing_to_say_about_the_units() {
    let dir = tried_units();
    let units = of_kind(dir.path(), &["service", "socket", "path"]);
    assert!(units.len() >= 2, "{units:?}");
    // The man page exists only once the package is installed.
    let mut verify = Command::new("systemd-analyze");
    let said = run(verify.args(["verify", "--man=no"]).args(&units), b"");
    let words = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    // Messages on other units of the machine are ignored.
    let ours: Vec<&str> = words.lines().filter(|line| line.contains("modemfleet")).collect();
    assert_eq!(ours, Vec::<&str>::new());
}

#[test]
fn the_services_are_exposed_at_most_one_and_a_half() {
    for unit in ["modemfleet.service", "modemfleet-recover@.service"] {
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(["security", "--offline=true", "--threshold=15"]);
        let said = run(analyze.arg(units().join(unit)), b"");
        let words = String::from_utf8_lossy(&said.stdout).into_owned();
        let overall = words.lines().find(|line| line.contains("Overall exposure"));
        let overall = overall.unwrap_or_default();
        let exposure = overall.split_whitespace().find_map(|word| word.parse::<f64>().ok());
        assert!(exposure.is_some_and(|is| is > 0.0 && is <= 1.5), "{overall}\n{words}");
        assert!(said.status.success(), "{overall}");
    }
}

/// Checks limits that a unit would otherwise inherit from the machine.
#[test]
fn the_services_leave_no_core_and_have_descriptors_for_all_that_they_serve() {
    let of = |unit: &str, key: &str| -> Option<String> {
        let text = fs::read_to_string(units().join(unit)).unwrap();
        text.lines().find_map(|line| line.strip_prefix(key).map(str::to_owned))
    };
    for unit in ["modemfleet.service", "modemfleet-recover@.service"] {
        assert_eq!(of(unit, "LimitCORE=").as_deref(), Some("0"), "{unit}");
    }
    let descriptors = of("modemfleet.service", "LimitNOFILE=").and_then(|is| is.parse().ok());
    assert!(descriptors.is_some_and(|is: u32| is >= 256 + 256 + 256 * 3));
}

/// With a rejected fleet file, each connection starts the service again. systemd must not give up
/// the port for that, and waiting connections must not start the service over and over.
#[test]
fn ports_that_systemd_holds_are_never_given_away() {
    for unit in ["modemfleet-http.socket", "modemfleet-mqtt.socket"] {
        let text = fs::read_to_string(units().join(unit)).unwrap();
        for line in ["TriggerLimitIntervalSec=0", "FlushPending=yes"] {
            assert!(text.lines().any(|is| is == line), "{unit}: {line}");
        }
    }
}

/// A service manager's end of the notification socket.
struct Notified {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Notified {
    fn new(dir: &Path) -> Self {
        let path = dir.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, path }
    }

    /// Returns all notifications since the last call.
    fn told(&self) -> Vec<String> {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            all.push(String::from_utf8_lossy(&buffer[..length]).trim().to_owned());
        }
        all
    }

    #[track_caller]
    fn wait(&self, what: &str) {
        until(what, || self.told().iter().any(|told| told == what).then_some(()));
    }
}

/// Stops one thread of a process, as a stuck disk would; it goes on when the stopper ends. This
/// needs the right to trace, as root has it.
fn stop_thread(pid: u32, name: &str) -> Process {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|task| task.unwrap().path());
    let named =
        |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|is| is.trim() == name);
    let task = tasks.into_iter().find(named).unwrap();
    let tid = task.file_name().unwrap().to_str().unwrap().to_owned();
    // PTRACE_SEIZE and PTRACE_INTERRUPT (ptrace(2)) stop this thread alone.
    let stop = "import ctypes,os,sys,time\nc=ctypes.CDLL(None,use_errno=True);t=int(sys.argv[1])\n\
                for r in 0x4206,0x4207:\n if c.ptrace(r,t,None,None): sys.exit(os.strerror(ctypes.get_errno()))\n\
                print('stopped',flush=True);time.sleep(600)";
    let stopper = Process::start("stopper", Command::new("python3").arg("-c").arg(stop).arg(tid));
    stopper.line("the thread to be stopped", |line| line == "stopped");
    stopper
}

#[test]
fn the_watchdog_is_fed_while_the_loops_move_and_no_longer() {
    let lab = Lab::without_modems(1);
    let manager = Notified::new(lab.site.dir());
    let mut command = Command::new(modemfleet());
    command.arg("run").arg("--config").arg(lab.site.file());
    command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "2000000");
    let mut agent = Process::start("agent", &mut command);
    manager.wait("READY=1");
    manager.wait("WATCHDOG=1");
    manager.wait("WATCHDOG=1");
    let mut stopper = stop_thread(agent.pid(), "queue-writer");
    let http = e2e::Http::new(lab.site.port());
    until("the stuck queue to show", || {
        http.try_ask("GET", "/healthz", &[], b"").filter(|answer| answer.status == 503)
    });
    drop(manager.told());
    e2e::pause(Duration::from_millis(1_500));
    assert_eq!(manager.told(), Vec::<String>::new(), "a stuck agent feeds nobody");
    stopper.kill();
    manager.wait("WATCHDOG=1");
    assert_eq!(http.get("/healthz").status, 200);
    agent.signal(Signal::TERM);
    manager.wait("STOPPING=1");
    assert!(agent.end_within(e2e::PATIENCE).is_some_and(|status| status.success()));
}

/// Makes every write of a file beyond its first byte fail, or none.
fn refuse_writes(process: &Process, yes: bool) {
    let pid = Pid::from_raw(i32::try_from(process.pid()).unwrap());
    let limit = Rlimit { current: yes.then_some(1), maximum: None };
    prlimit(pid, Resource::Fsize, limit).unwrap();
}

#[test]
fn a_disk_that_refuses_commits_shows_and_a_restart_is_not_asked_for() {
    let lab = Lab::without_modems(1);
    let manager = Notified::new(lab.site.dir());
    // A write beyond the limit would end the process if the signal were not ignored.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(modemfleet());
    command.arg("run").arg("--config").arg(lab.site.file());
    command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "2000000");
    let agent = Process::start("agent", &mut command);
    manager.wait("READY=1");
    let http = e2e::Http::new(lab.site.port());
    assert_eq!(http.publish("topic=t", b"x").status, 202);
    assert_eq!(http.get("/healthz").status, 200);
    refuse_writes(&agent, true);
    assert_eq!(http.publish("topic=t", b"x").status, 507);
    let answer = http.get("/healthz");
    let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.status, &json["error"]), (503, &"io".into()), "{json}");
    assert_eq!(http.get("/livez").status, 200, "no restart cures it");
    let scrape = http.get("/metrics").text();
    let counted = |line: &str| {
        let value = line.strip_prefix("modemfleet_queue_commit_errors_total ");
        value.is_some_and(|value| value.parse::<f64>().unwrap() >= 1.0)
    };
    assert!(scrape.lines().any(counted), "{scrape}");
    drop(manager.told());
    manager.wait("WATCHDOG=1");
    refuse_writes(&agent, false);
    assert_eq!(http.publish("topic=t", b"x").status, 202);
    assert_eq!(http.get("/healthz").status, 200);
}

/// Checks the notifications that a unit of `Type=notify-reload` waits for.
#[test]
fn a_reload_is_told_from_its_begin_to_its_end() {
    let mut lab = Lab::without_modems(1);
    let manager = Notified::new(lab.site.dir());
    let mut command = Command::new(modemfleet());
    command.arg("run").arg("--config").arg(lab.site.file());
    command.env("NOTIFY_SOCKET", &manager.path);
    let agent = Process::start("agent", &mut command);
    manager.wait("READY=1");
    let reload = || {
        agent.signal(Signal::HUP);
        let mut told = Vec::new();
        until("the end of the reload", || {
            told.extend(manager.told());
            told.iter().any(|words: &String| words.starts_with("READY=1")).then_some(())
        });
        told
    };
    let told = reload();
    assert_eq!(told.len(), 2, "{told:?}");
    let since = told[0].strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&told[0]);
    assert!(since.parse::<u64>().is_ok_and(|since| since > 0), "{told:?}");
    assert!(told[1].starts_with("READY=1\nSTATUS=reload applied: 0 added"), "{told:?}");
    lab.site.body = "nonsense".to_owned();
    let _ = lab.site.file();
    let told = reload();
    assert!(told[1].starts_with("READY=1\nSTATUS=reload refused"), "{told:?}");
}

#[test]
fn a_socket_that_systemd_opened_serves_the_api() {
    let mut lab = Lab::without_modems(1);
    let socket = lab.site.dir().join("api.sock");
    // The socket exists, so the agent must not open it itself.
    lab.site.http = format!(", socket: {}", socket.display());
    let mut command = Command::new("systemd-socket-activate");
    command.arg("--listen").arg(&socket).arg(modemfleet());
    command.arg("run").arg("--config").arg(lab.site.file());
    let _agent = Process::start("agent", &mut command);
    until("the socket", || socket.exists().then_some(()));
    // The first connection starts the agent, and is served by it.
    let mut status = Command::new(modemfleet());
    let shown = run(status.args(["status", "--json", "--config"]).arg(lab.site.file()), b"");
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    assert!(String::from_utf8_lossy(&shown.stdout).contains("\"m0\""));
}

/// Starts an agent as a service with sockets that are already open, at these addresses and under
/// these names.
fn activated(lab: &Lab, sockets: &[(&str, String)]) -> Process {
    let mut command = Command::new("systemd-socket-activate");
    for (_, address) in sockets {
        command.arg("--listen").arg(address);
    }
    let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
    command.arg(format!("--fdname={}", names.join(":")));
    command.arg(modemfleet()).arg("run").arg("--config").arg(lab.site.file());
    Process::start("agent", &mut command)
}

#[test]
fn ports_that_systemd_opened_serve_http_and_mqtt() {
    let mut lab = Lab::without_modems(1);
    let (mqtt, socket) = (e2e::Port::free(), lab.site.dir().join("api.sock"));
    lab.site.http = format!(", socket: {}", socket.display());
    let hand_in = format!("hand_in: {{ mqtt: {{ listen: \"127.0.0.1:{}\" }} }}\n", mqtt.number());
    lab.site.body.insert_str(0, &hand_in);
    // The order differs from the fleet file, and the names are arbitrary.
    let sockets = [
        ("b", format!("127.0.0.1:{}", mqtt.number())),
        ("api", socket.display().to_string()),
        ("http", format!("127.0.0.1:{}", lab.site.port())),
    ];
    let agent = activated(&lab, &sockets);
    let http = e2e::Http::new(lab.site.port());
    until("the agent", || {
        http.try_ask("GET", "/healthz", &[], b"").filter(|answer| answer.status == 200)
    });
    let mut publish = Command::new("mosquitto_pub");
    publish.args([
        "-h",
        "127.0.0.1",
        "-p",
        &mqtt.number().to_string(),
        "-q",
        "1",
        "-t",
        "t",
        "-m",
        "x",
    ]);
    let said = run(&mut publish, b"");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let mut status = Command::new(modemfleet());
    let shown = run(status.args(["status", "--json", "--config"]).arg(lab.site.file()), b"");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("\"messages\": 1"), "{shown:?}");
    assert!(
        !agent.stderr().iter().any(|line| line.contains("systemd holds")),
        "{:?}",
        agent.stderr()
    );
}

#[test]
fn a_socket_of_systemd_that_is_in_the_way_is_named() {
    let lab = Lab::without_modems(1);
    let (port, other) = (lab.site.port(), e2e::Port::free());
    // All addresses of both IP versions, with the port of the fleet file's `127.0.0.1`.
    let sockets = [
        ("modemfleet-http.socket", format!("[::]:{port}")),
        ("other.socket", format!("127.0.0.1:{}", other.number())),
    ];
    let mut agent = activated(&lab, &sockets);
    until("the socket", || std::net::TcpStream::connect(("127.0.0.1", other.number())).ok());
    assert!(!agent.end_within(e2e::PATIENCE).expect("it cannot listen").success());
    let told = agent.line("the reason", |line| line.contains("Address already in use"));
    let held = format!("systemd holds [::]:{port} (socket \"modemfleet-http.socket\")");
    assert!(told.contains(&held) && told.contains("make `listen` and ListenStream="), "{told}");
    assert!(!told.contains("other.socket"), "{told}");
}

#[test]
fn a_port_of_systemd_that_the_fleet_file_does_not_name_is_told_and_not_served() {
    let mut lab = Lab::without_modems(1);
    let (other, socket) = (e2e::Port::free(), lab.site.dir().join("other.sock"));
    let publish = lab.site.dir().join("publish.sock");
    lab.site.http = format!(", socket: {}", lab.site.dir().join("api.sock").display());
    let sockets = [
        ("modemfleet-http.socket", format!("127.0.0.1:{}", other.number())),
        ("modemfleet.socket", socket.display().to_string()),
        ("modemfleet-publish.socket", publish.display().to_string()),
    ];
    let agent = activated(&lab, &sockets);
    let (http, stray) = (e2e::Http::new(lab.site.port()), e2e::Http::new(other.number()));
    until("the other port", || std::net::TcpStream::connect(("127.0.0.1", other.number())).ok());
    until("the agent", || {
        http.try_ask("GET", "/healthz", &[], b"").filter(|answer| answer.status == 200)
    });
    let told = agent.line("the mismatch", |line| line.contains("systemd holds 127.0.0.1:"));
    assert!(told.contains("modemfleet-http.socket") && told.contains("ListenStream="), "{told}");
    agent.line("the other socket", |line| line.contains("other.sock"));
    assert_eq!(stray.try_ask("GET", "/healthz", &[], b""), None);
    // The package's socket unit is enabled with the service; another unit may be for fewer rights.
    let by_socket = |socket: &Path| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "5", "--unix-socket"]).arg(socket);
        run(curl.arg("http://localhost/livez"), b"").stdout
    };
    assert_eq!(by_socket(&socket), b"ok\n");
    assert_eq!(by_socket(&publish), b"");
}
