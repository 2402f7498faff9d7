//! Every expression of every panel and rule against a real Prometheus that scrapes a running agent.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::{Lab, Prometheus, Sim, run, until, within};
use serde_json::Value;

use crate::venv;

/// Metrics without series in a healthy fleet, with the reasons.
const EMPTY: &[(&str, &str)] = &[
    ("modemfleet_recovery_actions_total", "a series appears with the first recovery"),
    ("gateway_modem:modemfleet_recovery_actions:increase1h", "as above"),
];

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// Returns title and expressions of each panel.
fn panels() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(deploy().join("grafana/dashboards")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            let title = format!("{}: {}", dashboard["title"], panel["title"]);
            for target in panel["targets"].as_array().unwrap() {
                let expr = target["expr"].as_str().unwrap();
                // Grafana's own variables.
                let expr = expr.replace("$__rate_interval", "10s");
                let expr = ["gateway", "modem", "session"]
                    .iter()
                    .fold(expr, |expr, name| expr.replace(&format!("\"${name}\""), "\".*\""));
                assert!(!expr.contains('$'), "{title}: an unknown variable: {expr}");
                all.push((title.replace('"', ""), expr));
            }
        }
    }
    all
}

/// Returns the names of our metrics and recorded series in an expression.
fn names(expr: &str) -> BTreeSet<&str> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':');
    expr.split(word).filter(|name| name.contains("modemfleet_") || *name == "up").collect()
}

/// Returns the reason for which an expression may be empty.
fn excuse(expr: &str) -> Option<&'static str> {
    names(expr)
        .into_iter()
        .find_map(|name| EMPTY.iter().find(|(empty, _)| *empty == name).map(|(_, reason)| *reason))
}

/// Prints a row of the table, and returns whether it is as expected.
fn judged(what: &str, expr: &str, prometheus: &Prometheus) -> bool {
    let result = prometheus.query(expr);
    let (shown, good) = match (&result, excuse(expr)) {
        (Ok(series), _) if !series.is_empty() => (series.len().to_string(), true),
        (Ok(_), Some(reason)) => (format!("0: {reason}"), true),
        (Ok(_), None) => ("0".to_owned(), false),
        (Err(error), _) => (error.clone(), false),
    };
    println!("| {what} | `{}` | {shown} |", expr.split_whitespace().collect::<Vec<_>>().join(" "));
    good
}

/// Starts the modem `m1`, of another family, so that all kinds of signal exist.
fn fifth_generation(lab: &Lab) -> Sim {
    Sim::of_model("sim8200", &lab.site.dir().join("m1"), 1, &lab.broker.address(), &[])
}

/// Makes a fleet in which each kind of event happened.
fn busy() -> (Lab, e2e::Agent) {
    let mut lab = Lab::without_modems(3);
    lab.site.body = lab.site.body.replace("m0: {", "m0: { budget: { bytes: 1GB },");
    let inbox = lab.site.dir().join("inbox");
    lab.site.body += &format!("inbox: {{ path: {} }}\n", inbox.display());
    lab.sims = vec![lab.plug_in(0, &[]), fifth_generation(&lab)];
    let agent = lab.start();
    // This message waits, since its modem is not plugged in.
    agent.publish("topic=t&session=m2/s", b"x");
    (lab, agent)
}

#[test]
fn every_panel_and_rule_has_data() {
    let (mut lab, agent) = busy();
    let rules = deploy().join("prometheus/modemfleet.rules.yml");
    let prometheus = Prometheus::start(lab.site.port(), &rules);
    until("the first scrape", || {
        prometheus.query("modemfleet_build_info").is_ok_and(|found| !found.is_empty()).then_some(())
    });
    lab.sims[1].unplug();
    lab.sims[1] = fifth_generation(&lab);
    agent.connected("m1", "s");
    // Rates need two scrapes, with publishes before and between them.
    let (panels, rules) = (panels(), prometheus.rules());
    let looked_at = |rule: &Value| {
        names(rule["query"].as_str().unwrap()).into_iter().map(str::to_owned).collect()
    };
    let parts: Vec<Vec<String>> = rules.iter().map(looked_at).collect();
    let all = || panels.iter().map(|(_, expr)| expr).chain(parts.iter().flatten());
    let ready = within(Duration::from_secs(60), || {
        agent.publish("topic=t", b"x");
        let missing = |expr: &&String| {
            excuse(expr).is_none() && prometheus.query(expr).is_ok_and(|found| found.is_empty())
        };
        all().find(missing).is_none().then_some(())
    });
    println!("| panel or rule | expression | series |\n|---|---|---|");
    let mut bad: Vec<&str> = panels
        .iter()
        .filter(|(title, expr)| !judged(title, expr, &prometheus))
        .map(|(title, _)| title.as_str())
        .collect();
    assert!(rules.len() >= 19, "{} rules", rules.len());
    // By now each rule has been evaluated.
    let rules = prometheus.rules();
    for rule in &rules {
        let name = rule["name"].as_str().unwrap();
        assert_eq!(rule["health"], "ok", "{name}: {}", rule["lastError"]);
        // A silent alert has no series, but each series in its expression must have data.
        for part in names(rule["query"].as_str().unwrap()) {
            if !judged(name, part, &prometheus) {
                bad.push(name);
            }
        }
    }
    assert_eq!(bad, Vec::<&str>::new(), "without data (ready: {})", ready.is_some());
}

#[test]
fn the_dashboards_fit_grafanas_own_types() {
    let python = venv::with("grafana-types", "grafana-foundation-sdk", "grafana_foundation_sdk");
    let checked = run(
        Command::new(&python)
            .arg(deploy().join("grafana/check.py"))
            .arg(deploy().join("grafana/dashboards")),
        b"",
    );
    let words = [checked.stdout, checked.stderr].concat();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&words));
}
