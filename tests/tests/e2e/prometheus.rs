//! Prometheus' own tools on our metrics, rules and configurations.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Lab, run, until};
use serde_yaml::Value;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus")
}

/// Runs promtool in the folder of the rules, and returns its output; it must succeed.
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

/// Collects all maps of a YAML value that have this key, at any depth.
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
        // The list of expected alerts is complete: alerts on similar series that are not in it stay
        // silent.
        let fires = |case: &&Value| {
            case["alertname"] == name
                && case["exp_alerts"].as_sequence().is_some_and(|s| !s.is_empty())
        };
        assert!(cases.iter().any(fires), "no test in which {name} fires");
    }
}

/// Returns the families that an expression names; the name of a recorded series has a colon.
fn families(expr: &str) -> impl Iterator<Item = &str> {
    expr.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .filter(|word| word.starts_with("modemfleet_") || word.starts_with("process_"))
}

/// Returns the names that the Prometheus on a gateway keeps of a scrape; some end with `.*`.
fn kept() -> Vec<String> {
    let text = std::fs::read_to_string(deploy().join("agent/prometheus.yml")).unwrap();
    let config: Value = serde_yaml::from_str(&text).unwrap();
    let mut rules = Vec::new();
    with_key(&config, "action", &mut rules);
    let keep = rules.iter().find(|rule| rule["action"] == "keep").unwrap();
    let (alone, ours) = keep["regex"].as_str().unwrap().split_once("|modemfleet_(").unwrap();
    let ours = ours.strip_suffix(')').unwrap().split('|').map(|name| format!("modemfleet_{name}"));
    let kept: Vec<String> = alone.split('|').map(str::to_owned).chain(ours).collect();
    let is_plain = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    for name in &kept {
        assert!(is_plain(name.strip_suffix(".*").unwrap_or(name)), "{name}: this test reads names");
    }
    kept
}

fn is_kept(kept: &[String], family: &str) -> bool {
    kept.iter().any(|name| match name.strip_suffix(".*") {
        Some(begin) => family.starts_with(begin),
        None => family == name,
    })
}

#[test]
fn a_gateway_that_pushes_keeps_what_the_rules_need() {
    let kept = kept();
    let text = std::fs::read_to_string(deploy().join("modemfleet.rules.yml")).unwrap();
    let rules: Value = serde_yaml::from_str(&text).unwrap();
    let mut all = Vec::new();
    with_key(&rules, "expr", &mut all);
    let needed: Vec<&str> =
        all.iter().flat_map(|rule| families(rule["expr"].as_str().unwrap())).collect();
    let lost: Vec<&&str> = needed.iter().filter(|family| !is_kept(&kept, family)).collect();
    assert!(lost.is_empty(), "dropped on the gateway: {lost:?}");
    assert!(needed.len() >= 25, "{needed:?}");
}

#[test]
fn panels_that_stay_empty_behind_a_gateway_that_pushes_are_told() {
    let kept = kept();
    let readme = std::fs::read_to_string(deploy().join("README.md")).unwrap();
    let (_, told) = readme.split_once("that stay empty there").unwrap();
    let told: BTreeSet<&str> =
        told.split('“').skip(1).map(|rest| rest.split('”').next().unwrap()).collect();
    let mut empty = BTreeSet::new();
    let dashboards = ["modemfleet-fleet.json", "modemfleet-modem.json"]
        .map(|name| deploy().join("../grafana/dashboards").join(name))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .map(|text| serde_yaml::from_str::<Value>(&text).unwrap());
    for dashboard in &dashboards {
        let mut panels = Vec::new();
        with_key(dashboard, "targets", &mut panels);
        for panel in panels {
            let targets = panel["targets"].as_sequence().unwrap();
            let exprs = targets.iter().map(|target| target["expr"].as_str().unwrap());
            if exprs.flat_map(families).any(|family| !is_kept(&kept, family)) {
                empty.insert(panel["title"].as_str().unwrap());
            }
        }
    }
    assert_eq!(told, empty);
}
