//! What Prometheus' own tools say of our metrics, rules and configurations.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what serves the tests ends at the first surprise, as they do"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Lab, run, until};
use serde_yaml::Value;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus")
}

/// Runs promtool in the folder of the rules and returns what it printed; it must have no complaint.
fn promtool(args: &[&str], input: &[u8]) -> String {
    let output = run(Command::new("promtool").current_dir(deploy()).args(args), input);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "promtool {args:?}:\n{text}");
    text
}

#[test]
fn promtool_has_no_word_to_say_about_the_metrics() {
    let lab = Lab::new(2);
    let agent = lab.start();
    agent.publish("topic=t", b"x");
    lab.subscriber.wait(1);
    until("a signal", || agent.scrape().find("modemfleet_signal_rsrp_dbm", &[]).next().map(drop));
    let page = agent.http.get("/metrics");
    let words = promtool(&["check", "metrics"], &page.body);
    assert_eq!(words, "", "promtool check metrics");
}

#[test]
fn the_rules_are_right_and_each_alert_fires_and_stays_silent() {
    promtool(&["check", "rules", "modemfleet.rules.yml"], b"");
    promtool(&["check", "config", "prometheus.yml"], b"");
    promtool(&["check", "config", "--syntax-only", "agent/prometheus.yml"], b"");
    promtool(&["test", "rules", "modemfleet.rules.test.yml"], b"");
}

/// All maps of a YAML file that have this key, wherever they stand.
fn with_key<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Mapping(map) => {
            if map.contains_key(key) {
                found.push(value);
            }
            map.values().for_each(|inner| with_key(inner, key, found));
        }
        Value::Sequence(list) => list.iter().for_each(|inner| with_key(inner, key, found)),
        _ => {}
    }
}

#[test]
fn each_alert_has_a_test_and_a_runbook() {
    let read = |name: &str| std::fs::read_to_string(deploy().join(name)).unwrap();
    let rules: Value = serde_yaml::from_str(&read("modemfleet.rules.yml")).unwrap();
    let tests: Value = serde_yaml::from_str(&read("modemfleet.rules.test.yml")).unwrap();
    let runbooks = read("../../docs/runbooks.md");
    let (mut alerts, mut cases) = (Vec::new(), Vec::new());
    with_key(&rules, "alert", &mut alerts);
    with_key(&tests, "alertname", &mut cases);
    assert!(alerts.len() >= 14, "{} alerts", alerts.len());
    for alert in alerts {
        let name = alert["alert"].as_str().unwrap();
        let link = format!("docs/runbooks.md#{}", name.to_lowercase());
        assert_eq!(alert["annotations"]["runbook_url"].as_str(), Some(link.as_str()));
        assert!(runbooks.lines().any(|line| line == format!("## {name}")), "{name}: no runbook");
        // The list of expected alerts is whole: those on like series that are not in it are silent.
        let fires = |case: &&Value| {
            case["alertname"] == name
                && case["exp_alerts"].as_sequence().is_some_and(|s| !s.is_empty())
        };
        assert!(cases.iter().any(fires), "no test in which {name} fires");
    }
}
