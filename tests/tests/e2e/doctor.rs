//! `modemfleet doctor` on broken set-ups: its findings and its advice, with and without an agent.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use e2e::{Agent, Authority, Mosquitto, Pair, Port, Sim, Site, modemfleet, until};
use rustix::process::geteuid;
use serde_json::Value;

/// The runs of the doctor that find a fault: with an agent, without, or both.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// The agent cures it, or has not tried it yet.
    WithoutAgent,
    WithAgent,
}

/// A modem with a fault.
struct Case {
    name: &'static str,
    /// Options of its simulator; `None` if no modem is plugged in.
    sim: Option<Vec<&'static str>>,
    /// Keys of the modem and of its session in the fleet file.
    modem: &'static str,
    session: String,
    when: When,
    check: &'static str,
    level: &'static str,
    /// Expected parts of the message and of the advice.
    message: &'static str,
    advice: &'static str,
}

impl Case {
    fn new(
        name: &'static str,
        sim: &[&'static str],
        (check, level): (&'static str, &'static str),
        message: &'static str,
        advice: &'static str,
    ) -> Self {
        let (sim, session) = (Some(sim.to_vec()), "broker: lab".to_owned());
        let (modem, when) = ("", When::Always);
        Self { name, sim, modem, session, when, check, level, message, advice }
    }

    fn with(self, modem: &'static str) -> Self {
        Self { modem, ..self }
    }

    fn session(self, keys: String) -> Self {
        Self { session: keys, ..self }
    }

    fn only(self, when: When) -> Self {
        Self { when, ..self }
    }
}

/// Returns the cases with faults of modems and their network.
fn modems() -> Vec<Case> {
    const FAIL: &str = "fail";
    let locked = ["--pin", "1234", "--pin-tries"];
    let pin = |tries: &'static str| [&locked[..], &[tries]].concat();
    vec![
        Case {
            sim: None,
            ..Case::new("gone", &[], ("port", FAIL), "is not there", "cable, power supply")
        },
        Case::new(
            "no-sim",
            &["--without", "sim"],
            ("sim", FAIL),
            "no SIM is inserted",
            "insert one",
        ),
        Case::new(
            "pin",
            &pin("2"),
            ("sim", FAIL),
            "needs its PIN, with 2 tries left; the fleet file has none",
            "`pin: { file: … }`",
        ),
        Case::new("puk", &pin("0"), ("sim", FAIL), "needs its PUK, with 10 tries left", "operator"),
        Case::new(
            "denied",
            &["--registration", "denied"],
            ("network", FAIL),
            "the network denies data to this SIM or this modem",
            "ask the operator",
        ),
        Case::new(
            "searching",
            &["--registration", "searching"],
            ("network", FAIL),
            "searching for a network",
            "antenna",
        ),
        Case::new(
            "roaming",
            &["--registration", "roaming"],
            ("network", FAIL),
            "the fleet file has `roaming: deny`",
            "`roaming: allow`",
        ),
        Case::new("weak", &["--rsrp", "-118"], ("signal", "warn"), "RSRP -118 dBm", "antenna"),
        Case::new(
            "no-address",
            &["--without", "address"],
            ("address", FAIL),
            "the network gave no address",
            "compare `apn`",
        ),
        Case::new("other-model", &[], ("modem", FAIL), "names model sim8200", "correct `match`")
            .with("model: sim8200")
            .only(When::WithoutAgent),
        // An agent that finds another modem closes its port.
        Case::new("other-imei", &[], ("modem", FAIL), "names imei 861", "")
            .with("imei: \"861234567000000\""),
        Case::new("closed", &[], ("session", FAIL), "code 3", "the APN and DNS")
            .session("broker: closed".to_owned())
            .only(When::WithAgent),
    ]
}

/// Returns the cases with faults of the secrets with which sessions sign in.
fn sessions(site: &Site) -> Vec<Case> {
    let (ours, other) = (Authority::new(), Authority::new());
    let secret = |name: &str, text: &str| site.secret(name, text).display().to_string();
    let ca = secret("ca.pem", &ours.pem);
    let Pair { cert, .. } = ours.sign_until("old", 2021);
    let expired = secret("expired.pem", &cert);
    let (one, two) = (ours.sign("one"), other.sign("two"));
    let (cert, key) = (secret("one.pem", &one.cert), secret("two.key", &two.key));
    let garbage = secret("garbage.pem", "no certificate");
    let open = secret("open.secret", "hunter2");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let tls = |keys: String| format!("broker: tls, tls: {{ {keys} }}");
    let triple = |name: &str, key: &str, secret: String| {
        format!(
            "broker: ali, product_key: {key}, device_name: {name}, device_secret: {{ file: {secret} }}"
        )
    };
    let case = |name, check, message, advice| Case::new(name, &[], check, message, advice);
    vec![
        case("expired", ("tls", "fail"), "expired on 2021-01-01", "renew it")
            .session(tls(format!("ca: {expired}"))),
        case("no-pair", ("tls", "fail"), "is not the private key", "must be a pair")
            .session(tls(format!("ca: {ca}, cert: {cert}, key: {{ file: {key} }}"))),
        case("insecure", ("tls", "warn"), "certificate is not checked", "ca: FILE")
            .session(tls("insecure: true".to_owned())),
        case(
            "no-cert",
            ("credentials", "fail"),
            "holds no certificate in PEM",
            "garbage.pem; it is read again",
        )
        .session(tls(format!("ca: {garbage}"))),
        case("no-secret", ("credentials", "fail"), "there is no such file", "at each connect")
            .session(triple("d1", "a1mQpKOF9hp", site.dir().join("none").display().to_string())),
        case("open-to-all", ("credentials", "warn"), "every user of this machine", "chmod 600")
            .session(triple("d2", "a1mQpKOF9hp", open)),
        case("no-triple", ("credentials", "warn"), "\"Thermostat\" does not look", "console")
            .session(triple(
                "d3",
                "Thermostat",
                secret("triple", "8f663b388dee796b931ebcb789b75a39"),
            )),
        // The doctor never tries a PIN; the agent does, once.
        Case::new(
            "wrong-pin",
            &["--pin", "1234"],
            ("sim", "fail"),
            "refused the PIN of the fleet file, with 2 tries left",
            "correct the PIN's file",
        )
        .only(When::WithAgent),
        Case::new(
            "no-clock",
            &["--without", "clock"],
            ("clock", "warn"),
            "is not set",
            "the agent",
        )
        .session(tls(format!("ca: {ca}")))
        // The agent sets the clock.
        .only(When::WithoutAgent),
    ]
}

/// Writes the fleet file of all cases and of a healthy modem, and starts their modems.
fn fleet(site: &mut Site, cases: &[Case], broker: &Mosquitto) -> Vec<Sim> {
    let closed = Port::free();
    let pin = site.secret("wrong.pin", "0000");
    site.body = "brokers:
  lab: { url: \"mqtt://broker.example.com\" }
  closed: { url: \"mqtt://closed.example.com\" }
  tls: { url: \"mqtts://tls.example.com\" }
  ali: { provider: aliyun, region: cn-shanghai }
modems:
  good: { match: { port: DIR/good/modem0 }, sessions: { s: { broker: lab } } }
"
    .replace("DIR", &site.dir().display().to_string());
    let mut sims = vec![Sim::start(&site.dir().join("good"), 1, &broker.address(), &[])];
    for Case { name, sim, modem, session, .. } in cases {
        let dir = site.dir().join(name);
        let port = dir.join("modem0");
        let matching = format!("port: {}, {modem}", port.display());
        let pin = pin.display();
        let pin =
            if *name == "wrong-pin" { format!("pin: {{ file: {pin} }},") } else { String::new() };
        let _ = writeln!(
            site.body,
            "  {name}: {{ match: {{ {matching} }}, {pin} sessions: {{ s: {{ {session} }} }} }}"
        );
        let address = if *name == "closed" {
            format!("127.0.0.1:{}", closed.number())
        } else {
            broker.address()
        };
        sims.extend(sim.as_ref().map(|more| Sim::start(&dir, 1, &address, more)));
    }
    sims
}

fn doctor(site: &Site, more: &[&str]) -> Output {
    let mut command = Command::new(modemfleet());
    command.arg("doctor").arg("--config").arg(site.file()).args(more).output().unwrap()
}

fn findings(output: &Output) -> Vec<Value> {
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let findings = report["findings"].as_array().unwrap().clone();
    let failed = findings.iter().any(|finding| finding["level"] == "fail");
    assert_eq!(report["ok"], !failed);
    assert_eq!(output.status.code(), Some(i32::from(failed)), "{output:?}");
    for finding in &findings {
        let is_ok = finding["level"] == "ok";
        assert_eq!(
            finding.get("advice").is_none(),
            is_ok,
            "a fault comes with its cure: {finding}"
        );
    }
    findings
}

/// Returns the only finding of this check about a modem or its session.
#[track_caller]
fn find<'a>(findings: &'a [Value], name: &str, check: &str) -> &'a Value {
    let subjects = [name.to_owned(), format!("{name}/s")];
    let is_meant = |finding: &&Value| {
        let subject = finding["subject"].as_str().unwrap_or("gateway");
        finding["check"] == check && subjects.iter().any(|known| known == subject)
    };
    let mut meant: Vec<&Value> = findings.iter().filter(is_meant).collect();
    meant.sort_by_key(|finding| finding["level"] == "ok");
    let told: Vec<&Value> = findings.iter().filter(|f| f["level"] != "ok").collect();
    meant.first().copied().unwrap_or_else(|| panic!("no {check} of {name}: {told:#?}"))
}

#[track_caller]
fn is_found(findings: &[Value], name: &str, case: &Case) {
    let found = find(findings, name, case.check);
    let text = |key: &str| found[key].as_str().unwrap_or_default();
    assert_eq!(text("level"), case.level, "{name}: {found}");
    assert!(text("message").contains(case.message), "{name}: {found}");
    assert!(text("advice").contains(case.advice), "{name}: {found}");
    println!(
        "| {name} | {} | {} | {} | {} |",
        case.check,
        case.level,
        text("message"),
        text("advice")
    );
}

/// Checks that a healthy modem has no failed finding.
#[track_caller]
fn is_well(site: &Site, with_agent: bool) {
    let output = doctor(site, &["good", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let findings = findings(&output);
    let of_good = |check| find(&findings, "good", check)["level"] == "ok";
    let mut checks = vec!["port", "modem", "sim", "network", "signal", "apn", "address", "clock"];
    checks.extend(with_agent.then_some("session"));
    assert!(checks.into_iter().all(of_good), "{findings:#?}");
    assert!(findings.iter().all(|finding| finding["subject"] != "gone"), "only the one asked for");
}

fn all_are_found(site: &Site, cases: &[Case], not: When) {
    let output = doctor(site, &["--json"]);
    let findings = findings(&output);
    for case in cases.iter().filter(|case| case.when != not) {
        is_found(&findings, case.name, case);
    }
}

fn settled(agent: &Agent, cases: &[Case]) {
    agent.connected("good", "s");
    until("all modems to be known", || {
        let fleet: Value = serde_json::from_str(&agent.http.get("/api/v1/modems").text()).unwrap();
        let modems = fleet["modems"].as_array().unwrap();
        let is_settled = |modem: &Value| {
            let case = cases.iter().find(|case| modem["name"] == case.name);
            let reason = modem["reason"].as_str().unwrap_or_default();
            let phase = modem["sessions"][0]["phase"].as_str().unwrap_or_default();
            match case {
                Some(Case { check: "session", .. }) => phase == "backing_off",
                Some(Case { sim: None, .. }) => true,
                Some(Case { name: "wrong-pin", .. }) => reason.contains("refused the PIN"),
                _ => !modem["identified"].is_null() || modem["state"] == "failed",
            }
        };
        modems.iter().all(is_settled).then_some(())
    });
}

#[test]
fn each_fault_is_found_with_its_cure_by_the_agent_and_without_one() {
    let broker = Mosquitto::open();
    let mut site = Site::new();
    let mut cases = modems();
    cases.extend(sessions(&site));
    let _sims = fleet(&mut site, &cases, &broker);
    println!("| modem | check | level | found | advice |\n|---|---|---|---|---|");
    all_are_found(&site, &cases, When::WithAgent);
    is_well(&site, false);
    let untried = findings(&doctor(&site, &["wrong-pin", "--json"]));
    let untried = find(&untried, "wrong-pin", "sim")["message"].as_str().unwrap().to_owned();
    assert_eq!(untried, "needs its PIN, with 3 tries left; the fleet file has it");

    // The agent rejects a file with unreadable secrets at the start. These two files change later.
    let good = [("garbage.pem", Authority::new().pem), ("none", "0".repeat(32))];
    let _ = good.map(|(name, text)| site.secret(name, &text));
    let agent = site.start();
    settled(&agent, &cases);
    let _ = site.secret("garbage.pem", "no certificate");
    fs::remove_file(site.dir().join("none")).unwrap();
    println!();
    all_are_found(&site, &cases, When::WithoutAgent);
    is_well(&site, true);
    // The modem goes on with its work during the examination.
    agent.publish("topic=t&session=good/s", b"x");
    agent.drained();
    let labels = [("modem", "good")];
    assert_eq!(agent.sum("modemfleet_mqtt_disconnects_total", &labels), 0.0);
    assert_eq!(agent.sum("modemfleet_at_desyncs_total", &labels), 0.0);
    let answer = agent.http.get("/api/v1/doctor?modem=nobody");
    assert_eq!((answer.status, answer.text().contains("unknown_modem")), (404, true));
}

/// Makes a fleet of one modem that is not plugged in, with these keys of the file and of the modem.
fn alone(head: &str, modem: &str) -> Site {
    let mut site = Site::new();
    site.body = format!(
        "{head}\nbrokers: {{ lab: {{ url: \"mqtt://127.0.0.1:1\" }} }}\nmodems: {{ north: {{ match: {{ port: {}/tty }}, {modem} sessions: {{ s: {{ broker: lab }} }} }} }}\n",
        site.dir().display()
    );
    site
}

fn is_at_gateway(
    findings: &[Value],
    check: &'static str,
    level: &'static str,
    message: &'static str,
    advice: &'static str,
) {
    let case = Case { level, message, advice, check, ..Case::new("", &[], ("", ""), "", "") };
    is_found(findings, "gateway", &case);
}

#[test]
fn faults_of_the_file_the_disk_and_the_service_are_found() {
    let site = alone("", "apm: cmnet,");
    let of = |site: &Site| findings(&doctor(site, &["--json"]));
    is_at_gateway(&of(&site), "config", "fail", "fleet.yaml:6:", "`apn`");

    let site = alone("recovery: { socket: /nowhere.sock }", "recovery: { power_script: relay },");
    let found = of(&site);
    is_at_gateway(&found, "recovery", "fail", "`power_script` of north", "systemctl enable");
    is_at_gateway(&found, "agent", "warn", "no agent runs", "modemfleet run --config");
    is_at_gateway(&found, "reach", "warn", "127.0.0.1:1: Connection refused", "firewall");
    is_found(&found, "north", &modems()[0]);
    let text = String::from_utf8(doctor(&site, &[]).stdout).unwrap();
    assert!(text.contains("\n      try: check cable, power supply"), "{text}");
    assert!(text.trim_end().ends_with(" failed"), "{text}");

    // A file in the place of the queue's folder.
    let site = alone("", "");
    fs::write(site.dir().join("queue"), "").unwrap();
    is_at_gateway(&of(&site), "disk", "fail", "cannot be written", "another folder");

    let refused = doctor(&site, &["nroth"]);
    assert_eq!(refused.status.code(), Some(2));
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(words.contains("no modem \"nroth\"") && words.contains("north"), "{words}");
    let nobody = Port::free();
    let url = format!("http://127.0.0.1:{}", nobody.number());
    let output = Command::new(modemfleet()).args(["doctor", "--url", &url]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
}

/// Part of [`faults_of_the_file_the_disk_and_the_service_are_found`]: only a running agent can
/// report this.
#[test]
fn a_queue_folder_that_was_taken_from_under_the_agent_is_found() {
    let is_told = |take: &dyn Fn(&Path)| {
        let site = alone("", "");
        let agent = site.start();
        let found = findings(&doctor(&site, &["--json"]));
        assert_ne!(find(&found, "gateway", "disk")["level"], "fail", "{found:?}");
        take(&site.dir().join("queue"));
        let found = findings(&doctor(&site, &["--json"]));
        is_at_gateway(&found, "disk", "fail", "was removed or replaced", "restart it");
        drop(agent);
    };
    is_told(&|folder| fs::remove_dir_all(folder).unwrap());
    is_told(&|folder| {
        fs::rename(folder, folder.with_extension("away")).unwrap();
        fs::create_dir(folder).unwrap();
    });
}

/// Runs the doctor as a user without rights, since root may open everything.
fn as_nobody(binary: &Path, site: &Site) -> Output {
    let mut command = Command::new(binary);
    command.arg("doctor").arg("--config").arg(site.dir().join("fleet.yaml")).arg("--json");
    if geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    command.output().unwrap()
}

#[test]
fn a_port_that_may_not_be_opened_and_one_that_is_another_programs() {
    let broker = Mosquitto::open();
    let mut site = alone("", "");
    let sim = Sim::start(site.dir(), 1, &broker.address(), &[]);
    site.body = site.body.replace("/tty", "/modem0");
    let file = site.file();
    let binary = site.dir().join("modemfleet");
    fs::copy(modemfleet(), &binary).unwrap();
    for (path, mode) in [(site.dir(), 0o755), (&file, 0o644), (&sim.tty(0), 0o000)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let denied = Case::new("", &[], ("port", "fail"), "with mode 0000, so the user", "udev rules");
    is_found(&findings(&as_nobody(&binary, &site)), "north", &denied);
    fs::set_permissions(sim.tty(0), fs::Permissions::from_mode(0o600)).unwrap();

    // The agent of another fleet file has the port.
    let mut other = Site::new();
    other.body = site.body.clone();
    let agent = other.start();
    agent.connected("north", "s");
    let busy = Case::new("", &[], ("port", "fail"), "is in use by", "stop that program");
    is_found(&findings(&doctor(&site, &["--json"])), "north", &busy);
    assert!(agent.is_connected("north", "s"), "whose port it is does not notice");
}
