//! Recording a transcript of a modem: on its tty, through the agent, and of a modem that falls
//! silent.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use e2e::{Lab, Mosquitto, PATIENCE, Process, Signal, Sim, Subscriber, modemfleet, run};

/// The host that the recording is given; the simulated modems reach the test's broker by any name.
const HOST: &str = "secret.broker.example.org";

fn record(words: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(modemfleet());
    run(command.arg("record").args(words).current_dir(dir), b"")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A modem in a folder, with its broker.
struct Desk {
    sim: Sim,
    subscriber: Subscriber,
    dir: tempfile::TempDir,
    _broker: Mosquitto,
}

fn desk(model: &str, more: &[&str]) -> Desk {
    let broker = Mosquitto::open();
    let subscriber = Subscriber::new(broker.port());
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_model(model, &dir.path().join("ttys"), 1, &broker.address(), more);
    Desk { sim, subscriber, dir, _broker: broker }
}

impl Desk {
    fn tty(&self) -> String {
        self.sim.tty(0).display().to_string()
    }

    /// Returns the only transcript in the folder.
    fn transcript(&self) -> (PathBuf, String) {
        let files = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let files: Vec<_> = files.filter(|path| path.extension().is_some()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        (files[0].clone(), fs::read_to_string(&files[0]).unwrap())
    }
}

fn lint(file: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(modemfleet());
    let output = run(command.args(["profiles", "lint"]).arg(file), b"");
    (output.status.code(), err(&output))
}

/// Numbers of 14 digits and more name a unit, unless they end in six zeros.
fn names_nothing(text: &str) {
    let numbers = text.split(|c: char| !c.is_ascii_digit());
    for number in numbers.filter(|number| number.len() >= 14) {
        assert!(number.ends_with("000000"), "{number} in {text}");
    }
    for secret in [HOST, "cmnet", "10.0.", "***1234"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

/// The evidence of the session, the publish in the dialect of each model, and nothing that names.
fn records(model: &str, id: &str, publish: &str) {
    let desk = desk(model, &[]);
    let output = record(&[&desk.tty(), "--broker", HOST], desk.dir.path());
    assert_eq!(output.status.code(), Some(0), "{} {}", out(&output), err(&output));
    let (path, text) = desk.transcript();
    let told = out(&output);
    assert!(told.contains("publish: acknowledged by the broker"), "{told}");
    assert!(told.contains("mqtt: transcript"), "{told}");
    assert!(told.contains("status: transcript"), "{told}\n{text}");
    assert!(text.starts_with("# source: own recording, 20"), "{text}");
    assert!(text.contains(&format!("# models: {id}\n")), "{text}");
    assert!(text.contains("> AT+CGSN\n") && text.contains("> AT+CIMI\n"), "{text}");
    assert!(text.contains(publish), "{publish} in {text}");
    assert!(text.contains("broker.example.com"), "{text}");
    names_nothing(&text);
    assert_eq!(lint(&path), (Some(0), String::new()));
    let seen = desk.subscriber.wait(1);
    assert_eq!((seen[0].topic.as_str(), seen[0].text().as_str()), ("modemfleet/record", "hello"));
    // A file that is there is not replaced unless it is named.
    let again = record(&[&desk.tty()], desk.dir.path());
    assert_eq!(again.status.code(), Some(0), "{}", err(&again));
    assert!(out(&again).contains("-2.txt"), "{}", out(&again));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_sim7600_is_recorded_with_its_publish() {
    records("sim7600", "sim7600", "~ 5 hello\n");
}

#[test]
fn a_sim8200_is_recorded_with_its_publish() {
    records("sim8200", "sim8200", "> AT+CMQTTPUB=0,1,60\n");
}

#[test]
fn an_a7670_is_recorded_with_its_publish() {
    records("a7670", "a7670", "> AT+CMQTTPUB=0,1,30\n");
}

#[test]
fn an_ec25_is_recorded_with_its_publish() {
    records("ec25", "ec25", "> AT+QMTPUBEX=0,1,1,0,\"modemfleet/record\",5\n");
}

#[test]
fn a_sim7020_is_recorded_with_its_publish() {
    records("sim7020", "sim7020", "> AT+CMQPUB=0,\"modemfleet/record\",1,0,0,10,\"68656C6C6F\"\n");
}

#[test]
fn without_a_broker_only_commands_that_read_are_sent() {
    let desk = desk("sim7600", &[]);
    let output = record(&[&desk.tty(), "--output", "-"], desk.dir.path());
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let text = out(&output);
    assert!(text.starts_with("# source: "), "{text}");
    assert!(err(&output).contains("publish: none; `--broker HOST:PORT` records one"));
    let script = out(&record(&["--script"], desk.dir.path()));
    let sent: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("> ")).collect();
    assert!(sent.len() > 20, "{text}");
    for command in sent {
        assert!(script.contains(&format!("  {command} ")), "{command} is not in the script");
    }
    names_nothing(&text);
}

/// The broker never answers, since there is none. The failure is in the transcript.
#[test]
fn a_session_that_fails_is_recorded_as_it_failed() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::start(&dir.path().join("ttys"), 1, "127.0.0.1:1", &[]);
    let tty = sim.tty(0).display().to_string();
    let file = dir.path().join("failed.txt");
    let named = file.display().to_string();
    let output = record(&[&tty, "--broker", HOST, "--output", &named], dir.path());
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(out(&output).contains("publish: failed: CMQTTCONNECT"), "{}", out(&output));
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("> AT+CMQTTCONNECT=0,\"tcp://broker.example.com:1883\""), "{text}");
    assert!(text.contains("# the session failed: "), "{text}");
    assert_eq!(lint(&file), (Some(0), String::new()));
}

#[test]
fn a_modem_that_falls_silent_leaves_what_it_said_before() {
    let desk = desk("sim7600", &["--ill", "mute=never@2s", "--latency", "100"]);
    let output = record(&[&desk.tty()], desk.dir.path());
    assert_eq!(output.status.code(), Some(1), "{} {}", out(&output), err(&output));
    assert!(out(&output).contains("it ends early: "), "{}", out(&output));
    let (path, text) = desk.transcript();
    assert!(text.contains("< OK\n"), "{text}");
    assert!(text.contains("# the recording ends early: "), "{text}");
    let last = text.lines().rev().find(|line| line.starts_with("> ")).unwrap();
    let behind = text.split(&format!("{last}\n")).last().unwrap();
    assert!(!behind.contains("\n< OK") && behind.len() < 200, "{last} has no answer: {behind}");
    assert_eq!(lint(&path), (Some(0), String::new()));
}

/// Ctrl-C in the session signs out, and the file holds the lines until then.
#[test]
fn a_stop_in_the_session_signs_out() {
    let slow = ["--ill", "slow:+COPS:1500ms=never", "--ill", "slow:+CMQTTSTART:2s=never"];
    let desk = desk("sim7600", &slow);
    let mut command = Command::new(modemfleet());
    command.args(["record", &desk.tty(), "--broker", HOST]).current_dir(desk.dir.path());
    let mut recording = Process::start("record", &mut command);
    recording.line("the session", |line| line == "the MQTT service starts");
    recording.signal(Signal::INT);
    let ended = recording.end_within(PATIENCE).expect("it ends");
    assert_eq!(ended.code(), Some(1), "{:?}", recording.stderr());
    let (path, text) = desk.transcript();
    assert!(text.contains("# the recording ends early: it was stopped\n"), "{text}");
    assert!(text.contains("> AT+CMQTTREL=0\n"), "{text}");
    assert!(text.contains("~ 1.5s\n< +COPS: ") || text.contains("~ 1.6s\n< +COPS: "), "{text}");
    assert_eq!(lint(&path), (Some(0), String::new()));
}

#[test]
fn an_unknown_modem_is_recorded_and_with_a_model_its_publish_too() {
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models.d");
    fs::create_dir(&models).unwrap();
    let entry = "models:\n  - { like: sim7600, id: acme4g, cgmm: [ACME-4G] }\n";
    fs::write(models.join("acme.yaml"), entry).unwrap();
    let broker = Mosquitto::open();
    let with = ["--models", models.to_str().unwrap()];
    let ttys = dir.path().join("ttys");
    let sim = Sim::of_model("acme4g", &ttys, 1, &broker.address(), &with);
    let tty = sim.tty(0).display().to_string();
    let file = dir.path().join("acme.txt");
    let named = file.display().to_string();
    let output = record(&[&tty, "--broker", HOST, "--output", &named], dir.path());
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(out(&output).contains("the dialect of this modem is not known"), "{}", out(&output));
    assert!(out(&output).contains("id: acme4g, cgmm: [\"ACME-4G\"]"), "{}", out(&output));
    let like = ["--model", "sim7600", "--broker", HOST, "--output", &named];
    let output = record(&[&[tty.as_str()][..], &like].concat(), dir.path());
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("# models: acme4g\n") && text.contains("+CMQTTPUB: 0,0"), "{text}");
    let (code, words) = lint(&file);
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains(":2: no entry has the id \"acme4g\""), "{words}");
    let wrong = record(&[&tty, "--model", "sim9999"], dir.path());
    assert_eq!(wrong.status.code(), Some(2), "{}", err(&wrong));
}

#[test]
fn through_the_agent_only_the_reading_part_is_recorded() {
    let lab = Lab::new(1);
    let agent = lab.start();
    let dir = tempfile::tempdir().unwrap();
    let config = lab.site.file().display().to_string();
    let refused = record(&["m0", "--broker", HOST, "--config", &config], dir.path());
    assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
    assert!(err(&refused).contains("an agent serves m0"), "{}", err(&refused));
    let file = dir.path().join("m0.txt");
    let named = file.display().to_string();
    let output = record(&["m0", "--config", &config, "--output", &named], dir.path());
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("# models: sim7600\n") && text.contains("< +CPSI: "), "{text}");
    names_nothing(&text);
    assert_eq!(lint(&file), (Some(0), String::new()));
    assert!(agent.is_connected("m0", "s"));
    assert!(agent.sum("modemfleet_mqtt_disconnects_total", &[("modem", "m0")]) < 0.5);
}

/// The table of the page is the list that the program prints.
#[test]
fn the_page_has_the_commands_of_the_script() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/record.md");
    let page = fs::read_to_string(page).unwrap();
    let table = page.split("| command | reason |\n|---|---|\n").nth(1).unwrap();
    let rows: Vec<String> =
        table.lines().take_while(|line| line.starts_with('|')).map(str::to_owned).collect();
    let script = out(&record(&["--script"], Path::new("/")));
    let expected: Vec<String> = script
        .lines()
        .map(|line| match line.strip_prefix("  ") {
            None => format!("| {} | |", line.trim_end_matches(':')),
            Some(row) => {
                let (command, reason) = row.split_once("  ").unwrap();
                format!("| `{command}` | {} |", reason.trim())
            }
        })
        .collect();
    assert_eq!(rows, expected);
}
