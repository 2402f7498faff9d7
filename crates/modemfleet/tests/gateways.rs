//! One fleet file for many gateways: the part of each gateway, and the refusals.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what serves the tests ends at the first surprise, as they do"
)]

use clap::Parser;
use fleet::{Context, Fleet, Problems, Secrets};
use modemfleet::check::{self, Verdict};

const FLEET: &str = r##"
gateways: [gw-01, gw-02, "depot-*"]
brokers:
  lab: { url: "mqtt://broker.example.com:1883" }
  depot: { url: "mqtt://depot.example.com:1883", username: d, password: { file: /nowhere/depot } }
modems:
  north:
    gateways: ["gw-*"]
    match: { usb_path: 1-1.1 }
    sessions:
      lab: { broker: lab }
      second: { broker: lab, client_id: s, gateways: [gw-02] }
  yard:
    gateways: ["depot-*"]
    match: { usb_path: 1-1.1 }
    pin: { file: /nowhere/pin }
    sessions:
      depot: { broker: depot, client_id: s }
routes:
  - { topic: "yard/#", to: [yard/depot] }
  - { topic: "night/#", to: [north/second, north/lab], gateways: [gw-02] }
  - { topic: "#", to: [north/second, north/lab] }
"##;

fn context(gateway: &str) -> Context {
    let host_name = Some(format!("{gateway}.example.com"));
    Context {
        folder: "/etc/modemfleet".into(),
        host_name,
        secrets: Secrets::Read,
        ..Context::default()
    }
}

fn parse(text: &str, context: &Context) -> Result<Fleet, Problems> {
    fleet::parse("fleet.yaml", text.as_bytes().to_vec(), context).map(|loaded| loaded.fleet)
}

/// Returns this gateway's sessions and routes.
fn has(fleet: &Fleet) -> (Vec<String>, Vec<String>) {
    let sessions = fleet.sessions().map(|session| session.id.to_string()).collect();
    let routes = fleet.routes().iter().map(|route| {
        let to: Vec<String> = route.to.iter().map(ToString::to_string).collect();
        format!("{} {}", route.topic, to.join(" "))
    });
    (sessions, routes.collect())
}

#[test]
fn each_gateway_has_its_part_of_the_file_and_reads_no_secret_of_the_others() {
    let of = |gateway: &str| has(&parse(FLEET, &context(gateway)).unwrap());
    // Two modems at the same place, and two sessions with one client id, but on different gateways.
    assert_eq!(of("gw-01"), (vec!["north/lab".into()], vec!["# north/lab".into()]));
    let second = vec!["north/lab".into(), "north/second".into()];
    let routes = ["night/# north/second north/lab", "# north/second north/lab"];
    assert_eq!(of("GW-02"), (second, routes.map(str::to_owned).to_vec()));
    // The yard's secrets exist only on the yard's gateways.
    let refused = parse(FLEET, &context("depot-7")).unwrap_err().render(false);
    assert!(refused.contains("/nowhere/pin") && refused.contains("/nowhere/depot"), "{refused}");
    let skip = Context { secrets: Secrets::Skip, ..context("depot-7") };
    let (sessions, routes) = has(&parse(FLEET, &skip).unwrap());
    assert_eq!(sessions, ["yard/depot"]);
    assert_eq!(routes, ["yard/# yard/depot"]);
}

#[test]
fn the_gateway_that_is_told_counts_before_the_host_name() {
    let told = Context { gateway: Some("gw-02".to_owned()), ..context("laptop") };
    let fleet = parse(FLEET, &told).unwrap();
    assert_eq!(fleet.gateway.as_str(), "gw-02");
    assert!(has(&fleet).0.contains(&"north/second".to_owned()));
    let refused = parse(FLEET, &context("laptop")).unwrap_err().render(false);
    assert!(refused.contains("fleet.yaml:2:11"), "{refused}");
    assert!(
        refused.contains("not for the gateway `laptop`") && refused.contains("--gateway"),
        "{refused}"
    );
    let wrong = Context { gateway: Some("gw 2".to_owned()), ..context("gw-01") };
    let refused = parse(FLEET, &wrong).unwrap_err().render(false);
    assert!(refused.contains("`gw 2`") && refused.contains("--gateway"), "{refused}");
}

#[test]
fn a_selector_that_no_gateway_fits_is_refused_on_each_of_them_at_its_place() {
    for (from, marked, message) in [
        ("gateways: [gw-01, gw-02, \"depot-*\"]", "¶gateways: []", "is empty"),
        ("[\"depot-*\"]", "[¶dep-*]", "no gateway of the list above fits `dep-*`"),
        ("s, gateways: [gw-02]", "s, gateways: [¶gw-20]", "did you mean `gw-02`?"),
        ("s, gateways: [gw-02]", "s, gateways: [¶depot-1]", "the list above has `gw-*`"),
        ("[yard/depot]", "[yard/depot], gateways: [¶gw-03]", "did you mean `gw-0"),
        ("{ broker: lab }", "{ broker: lab, gateways: [¶gw-01.a.com] }", "up to the first dot"),
        ("gateways: [gw-01,", "¶gateway: gw-01\ngateways: [gw-01,", "leave `gateway` out"),
        (
            "to: [yard/depot]",
            "¶to: [yard/depot], gateways: [gw-01]",
            "no session of this route is on a gateway of the route",
        ),
    ] {
        assert!(FLEET.contains(from), "{from}");
        refused_at(&FLEET.replacen(from, marked, 1), message);
    }
    let (_, rest) = FLEET.split_once("brokers:").unwrap();
    let marked = format!("brokers:{}", rest.replacen("gateways:", "¶gateways:", 1));
    refused_at(&marked, "has no list of its gateways");
}

/// Expects a file to be refused at the mark.
#[track_caller]
fn refused_at(marked: &str, message: &str) {
    let before = marked.split('¶').next().unwrap();
    let line = before.lines().count().max(1);
    let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
    let line = if column == 1 { before.matches('\n').count() + 1 } else { line };
    let refused = parse(&marked.replace('¶', ""), &context("gw-01"));
    let refused = refused.expect_err(message).render(false);
    assert!(refused.contains(message), "{message}: {refused}");
    assert!(
        refused.contains(&format!("fleet.yaml:{line}:{column}\n")),
        "{line}:{column} {refused}"
    );
}

#[test]
fn a_gateway_without_a_modem_or_without_a_route_is_told_so() {
    let text = FLEET.replacen("[\"gw-*\"]", "[gw-02]", 1);
    let refused = parse(&text, &context("gw-01")).unwrap_err().render(false);
    assert!(refused.contains("no modem of this file is for the gateway `gw-01`"), "{refused}");
    let only = FLEET.lines().filter(|line| !line.contains("topic: \"#\"")).collect::<Vec<_>>();
    let refused = parse(&only.join("\n"), &context("gw-01")).unwrap_err().render(false);
    assert!(refused.contains("no route of this file is for this gateway"), "{refused}");
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    check: check::Args,
}

/// Returns the verdict and the output of `modemfleet check`.
fn check(text: &str, words: &[&str]) -> (Verdict, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fleet.yaml");
    std::fs::write(&file, text).unwrap();
    let words = ["check"].into_iter().chain(words.iter().copied());
    let words = words.map(str::to_owned).chain([file.display().to_string()]);
    let args = Cli::parse_from(words).check;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let verdict = check::run(&args, &[], false, &mut out, &mut err).unwrap();
    let shown = |bytes: Vec<u8>| {
        String::from_utf8(bytes).unwrap().replace(&file.display().to_string(), "fleet.yaml")
    };
    (verdict, shown(out), shown(err))
}

#[test]
fn check_goes_through_all_gateways_and_tells_each_problem_once() {
    let (verdict, out, err) = check(FLEET, &["--all-gateways"]);
    assert_eq!((verdict, err.as_str()), (Verdict::Good, ""), "{out}");
    assert_eq!(
        out,
        "gw-01: fleet.yaml: ok (1 modem, 1 session, 1 route)\n\
         gw-02: fleet.yaml: ok (1 modem, 2 sessions, 2 routes)\n\
         depot-0: fleet.yaml: ok (1 modem, 1 session, 1 route)\n"
    );
    // A wrong value of a modem that two of three gateways have, and a wrong value for all.
    let text = FLEET.replacen("pin:", "poll: 1\n    pin:", 1).replacen("[gw-02]", "[gw-20]", 1);
    let (verdict, out, err) = check(&text, &["--all-gateways"]);
    assert_eq!(verdict, Verdict::Wrong, "{out}");
    assert_eq!(err.matches("needs a unit").count(), 1, "{err}");
    assert_eq!(err.matches("did you mean `gw-02`?").count(), 1, "{err}");
    assert!(out.contains("depot-0: fleet.yaml: refused"), "{out}");
    let (_, out, _) = check(FLEET, &["--gateway", "gw-02"]);
    assert_eq!(out, "fleet.yaml: ok (1 modem, 2 sessions, 2 routes)\n");
    let (verdict, out, _) = check(FLEET, &["--all-gateways", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(verdict, Verdict::Good);
    assert_eq!(report["gateways"][1]["gateway"], "gw-02");
    assert_eq!(report["gateways"][1]["sessions"], 2);
}

#[test]
fn a_hostile_file_with_many_gateways_is_not_judged_for_all_of_them() {
    let names: String = (0..1_000).map(|n| format!("gw-{n}, ")).collect();
    let entries: String =
        (0..5_000).map(|n| format!("  m{n}: {{ match: {{ port: /a{n} }} }}\n")).collect();
    let text = format!("gateways: [{names}]\nmodems:\n{entries}shutdown_grace: 1\n");
    let (verdict, out, err) = check(&text, &["--all-gateways"]);
    assert_eq!(verdict, Verdict::Wrong);
    assert!(err.contains(" of 1000 gateways are checked"), "{err}");
    let judged = out.lines().count();
    assert!((1..1_000).contains(&judged) && err.contains(&format!(": {judged} of")), "{judged}");
    let (_, out, _) = check(&text, &["--all-gateways", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let judged = report["gateways"].as_array().unwrap().len();
    assert_eq!((&report["ok"], &report["not_judged"]), (&false.into(), &(1_000 - judged).into()));
}

#[test]
fn a_star_without_quotes_is_told_to_need_them() {
    let text = FLEET.replacen("\"depot-*\"", "*-depot", 1);
    let refused = parse(&text, &context("gw-01")).unwrap_err().render(false);
    assert!(refused.contains("quotes"), "{refused}");
}

#[test]
fn the_page_about_it_says_what_the_check_says() {
    let page = include_str!("../../../docs/fleet-of-gateways.md");
    let file = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let (verdict, out, err) = check(file, &["--all-gateways"]);
    assert_eq!((verdict, err.as_str()), (Verdict::Good, ""), "{out}");
    assert!(page.contains(&out), "{out}");
}
