//! fleet.yaml from outside: good files, bad files with the places of their faults, hostile files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends at the first surprise; clippy.toml frees only the test functions"
)]

mod ability;
mod budget;
mod commands;
mod hostile;
mod keys;
mod problems;
mod recorded;
mod routes;
mod sessions;
mod taken;
mod telemetry;
mod tls;
mod values;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use fleet::{
    self, Access, ApnProtocol, Context, Loaded, Name, Owner, Problems, Qos, Recovery, Secrets,
    Severity, WhenFull,
};
use modem::serial::{FlowControl, Line};
use modemfleet::{check, sign};
use secrecy::ExposeSecret;

/// The mark at a bad file's fault; it is removed before the file is parsed.
const MARK: char = '¶';

fn context() -> Context {
    Context {
        folder: PathBuf::from("/etc/modemfleet"),
        host_name: Some("gw-07.example.com".to_owned()),
        secrets: Secrets::Skip,
        ..Context::default()
    }
    .with_models(
        &modem::Catalog::new(&[&profile_simcom::PLUGIN, &profile_quectel::PLUGIN]).unwrap(),
    )
}

fn parse(text: &str) -> Result<Loaded, Problems> {
    fleet::parse("fleet.yaml", text.as_bytes().to_vec(), &context())
}

/// Returns a file with `modem` as the settings of the modem `north`.
fn north(modem: &str) -> String {
    format!(
        "gateway: gw\nbrokers: {{ lab: {{ url: mqtt://b }}, ali: {{ provider: aliyun, region: cn-shanghai }} }}\nmodems:\n  north:\n    match: {{ port: /dev/ttyUSB2 }}\n{modem}"
    )
}

/// Returns a file with `session` as the settings of the session `north/s`.
fn session(session: &str) -> String {
    north(&format!("    sessions:\n      s:\n{session}"))
}

/// Returns a file with a good modem and `top` above it.
fn top(top: &str) -> String {
    format!("{top}\nmodems: {{ m: {{ match: {{ port: /dev/ttyS0 }} }} }}\n")
}

/// Returns a file with the broker `lab` of these keys.
fn broker(keys: &str) -> String {
    top(&format!("brokers:\n  lab: {keys}"))
}

/// Returns a file with the sessions `north/cloud` and `bench/lab`, and `routes`.
fn routes(routes: &str) -> String {
    format!(
        "brokers: {{ b: {{ url: mqtt://h }} }}\nmodems:\n  north: {{ match: {{ port: /a }}, sessions: {{ cloud: {{ broker: b }} }} }}\n  bench: {{ match: {{ port: /b }}, sessions: {{ lab: {{ broker: b }} }} }}\nroutes:\n{routes}"
    )
}

/// Returns an Alibaba session with `more` keys.
fn aliyun(more: &str) -> String {
    session(&format!(
        "        broker: ali\n        product_key: a1mQpKOF9hp\n        device_name: \"7600\"\n        device_secret: {{ env: X }}\n{more}"
    ))
}

/// Parses `marked` without its mark and expects a problem at the mark whose message holds `phrase`.
fn expect(marked: &str, severity: Severity, phrase: &str) {
    let at = marked.find(MARK).expect("a mark");
    let line = marked[..at].matches('\n').count() + 1;
    let column = marked[..at].rsplit('\n').next().unwrap().chars().count() + 1;
    let problems = match parse(&marked.replace(MARK, "")) {
        Ok(loaded) => {
            assert_eq!(severity, Severity::Warning, "taken:\n{marked}");
            loaded.warnings
        }
        Err(problems) => problems,
    };
    let words = |p: &fleet::Problem| {
        format!(
            "{}:{} {} {} / {}",
            p.line,
            p.column,
            p.severity.word(),
            p.message,
            p.help.as_deref().unwrap_or_default()
        )
    };
    let found = problems.iter().any(|problem| {
        (problem.line, problem.column, problem.severity) == (line, column, severity)
            && words(problem).contains(phrase)
    });
    // `--nocapture` prints the messages as a table.
    let wrong = marked.lines().nth(line - 1).unwrap_or_default().replace(MARK, "");
    let seen = problems.iter().find(|p| (p.line, p.column) == (line, column)).map(words);
    println!("| `{}` | {} |", wrong.trim(), seen.unwrap_or_default());
    let all: Vec<String> = problems.iter().map(words).collect();
    assert!(found, "wanted {line}:{column} {phrase:?}, got {all:#?}\n{marked}");
}

fn refused(cases: &[(String, &str)]) {
    for (marked, phrase) in cases {
        expect(marked, Severity::Error, phrase);
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Returns a folder with the fixtures' secrets, readable only by their owner.
fn with_secrets() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let secrets = folder.path().join("secrets");
    fs::create_dir(&secrets).unwrap();
    for (name, content) in
        [("lab", "labpass\n"), ("pin", "1234\n"), ("north", "8f663b388dee796b931ebcb789b75a39\n")]
    {
        let path = secrets.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    folder
}
