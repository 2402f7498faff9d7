//! Changes of the file, and the plan for each.

use super::*;
use fleet::{Context, Secrets};

const FILE: &str = r#"
gateway: gw
http: { listen: "127.0.0.1:9810", token: { file: token } }
hand_in: { mqtt: { listen: "127.0.0.1:1883", users: { app: { file: app } } } }
brokers:
  lab: { url: "mqtt://lab.example.com", username: gw, password: { file: lab } }
  spare: { url: "mqtt://spare.example.com" }
modems:
  north:
    match: { port: /dev/ttyUSB2 }
    apn: cmnet
    pin: { file: pin }
    sessions:
      one: { broker: lab, keep_alive: 60s, vars: { site: a } }
      two: { broker: spare }
  south:
    match: { port: /dev/ttyUSB7 }
    sessions: { one: { broker: lab } }
routes:
  - { topic: "a/#", to: [north/one, south/one] }
  - { topic: "b/#", to: [south/one] }
"#;

fn fleet(text: &str) -> Fleet {
    let context =
        Context { folder: "/etc/modemfleet".into(), secrets: Secrets::Skip, ..Context::default() };
    match fleet::parse("fleet.yaml", text.as_bytes().to_vec(), &context) {
        Ok(loaded) => loaded.fleet,
        Err(problems) => panic!("{}", problems.render(false)),
    }
}

/// The plan's lines but for those with `=`.
fn changes(plan: &Plan) -> Vec<String> {
    plan.lines().iter().filter(|l| l.sign != '=').map(ToString::to_string).collect()
}

/// The plan for the file with these words replaced, where the secret in `rotated` holds something else.
fn planned(edits: &[(&str, &str)], rotated: &str) -> Plan {
    let mut text = FILE.to_owned();
    for (old, new) in edits {
        assert!(text.contains(old), "{old:?} is not in the file");
        text = text.replacen(old, new, 1);
    }
    let is_rotated = |secret: &Ref| !rotated.is_empty() && secret.place().ends_with(rotated);
    Plan::new(&fleet(FILE), &fleet(&text), is_rotated)
}

/// A change: its name, the words and their replacements, the secret whose content changes, and
/// the lines of the plan. `{reopened}` and its like stand for the ends of sentences.
type Row =
    (&'static str, &'static [(&'static str, &'static str)], &'static str, &'static [&'static str]);

const ENDS: [(&str, &str); 5] = [
    ("{reopened}", "closed in order and opened again"),
    ("{restarts}", "its sessions are closed in order, and the modem restarts"),
    ("{its modem}", "its modem restarts; closed in order and opened again"),
    ("{stays}", "nothing is closed"),
    ("{later}", "applies when the agent restarts"),
];

const TABLE: &[Row] = &[
    ("nothing", &[], "", &[]),
    ("a comment", &[("gateway: gw", "gateway: gw # here")], "", &[]),
    (
        "a session's keep-alive",
        &[("60s", "90s")],
        "",
        &["~ session north/one: keep_alive; {reopened}"],
    ),
    (
        "a broker's address",
        &[("mqtt://lab.example.com", "mqtt://lab.example.org")],
        "",
        &[
            "~ session north/one: the broker's address; {reopened}",
            "~ session south/one: the broker's address; {reopened}",
        ],
    ),
    (
        "a broker's password in its file",
        &[],
        "/lab",
        &[
            "~ session north/one: the content of a secret; {reopened}",
            "~ session south/one: the content of a secret; {reopened}",
        ],
    ),
    (
        "a session more",
        &[("two: { broker: spare }", "two: { broker: spare }\n      three: { broker: lab }")],
        "",
        &["+ session north/three"],
    ),
    (
        "a session less",
        &[("      two: { broker: spare }\n", "")],
        "",
        &["- session north/two: closed in order"],
    ),
    (
        "a session's variables",
        &[("site: a", "site: b")],
        "",
        &["~ session north/one: vars; {stays}"],
    ),
    (
        "a broker's name",
        &[("  spare:", "  other:"), ("two: { broker: spare }", "two: { broker: other }")],
        "",
        &["~ session north/two: broker; {stays}"],
    ),
    (
        "a modem's access point",
        &[("cmnet", "internet")],
        "",
        &[
            "~ modem north: apn; {restarts}",
            "~ session north/one: {its modem}",
            "~ session north/two: {its modem}",
        ],
    ),
    (
        "a PIN in its file",
        &[],
        "/pin",
        &[
            "~ modem north: the content of a secret; {restarts}",
            "~ session north/one: {its modem}",
            "~ session north/two: {its modem}",
        ],
    ),
    (
        "the first budget",
        &[("    apn: cmnet", "    apn: cmnet\n    budget: { bytes: 1MB, reset_day: 1 }")],
        "",
        &[
            "~ modem north: the first `budget` of the fleet; {restarts}",
            "~ modem south: the first `budget` of the fleet; {restarts}",
            "~ session north/one: {its modem}",
            "~ session north/two: {its modem}",
            "~ session south/one: {its modem}",
        ],
    ),
    (
        "telemetry",
        &[("    apn: cmnet", "    apn: cmnet\n    telemetry: { every: 60s, session: two }")],
        "",
        &["~ modem north: telemetry; {stays}", "~ session north/two: telemetry; {reopened}"],
    ),
    (
        "a modem less",
        &[
            (
                "  south:\n    match: { port: /dev/ttyUSB7 }\n    sessions: { one: { broker: lab } }\n",
                "",
            ),
            ("[north/one, south/one]", "[north/one]"),
            ("[south/one]", "[north/one]"),
        ],
        "",
        &[
            "- modem south: its sessions are closed in order",
            "- session south/one: closed in order",
            "~ route a/#: to; {stays}",
            "~ route b/#: to; {stays}",
        ],
    ),
    (
        "a modem more",
        &[("routes:", "  west: { match: { imei: \"861234567000000\" } }\nroutes:")],
        "",
        &["+ modem west"],
    ),
    (
        "a route's paths and policy, and another route",
        &[
            ("to: [north/one, south/one] }", "to: [south/one, north/one], policy: spread }"),
            ("topic: \"b/#\"", "topic: \"c/#\""),
        ],
        "",
        &[
            "~ route a/#: to, policy; {stays}",
            "+ route c/#",
            "- route b/#: its waiting messages take the routes that match now",
        ],
    ),
    (
        "the order of the routes",
        &[
            ("  - { topic: \"b/#\", to: [south/one] }\n", ""),
            ("routes:\n", "routes:\n  - { topic: \"b/#\", to: [south/one] }\n"),
        ],
        "",
        &["~ setting routes"],
    ),
    (
        "where it listens, and with it the token",
        &[("9810", "9811"), ("token: { file: token }", "token: { file: other }")],
        "",
        &[
            "~ setting http.listen: {later}",
            "~ setting http.token: {later}, together with the listener",
        ],
    ),
    ("the token in its file", &[], "/token", &["~ setting http.token"]),
    (
        "a token for publishing, and names",
        &[(
            "token: { file: token }",
            "token: { file: token }, publish_token: { file: p }, hosts: [gw]",
        )],
        "",
        &["~ setting http.hosts", "~ setting http.publish_token"],
    ),
    (
        "a socket for publishing, and with it the names",
        &[(
            "token: { file: token }",
            "token: { file: token }, publish_socket: /run/p, hosts: [gw]",
        )],
        "",
        &[
            "~ setting http.publish_socket: {later}",
            "~ setting http.hosts: {later}, together with the listener",
        ],
    ),
    ("a local user's password", &[], "/app", &["~ setting hand_in.mqtt.users"]),
    ("the MQTT listener's place", &[("1883", "1884")], "", &["~ setting hand_in.mqtt: {later}"]),
    (
        "the inbox",
        &[("brokers:", "inbox: { path: /tmp/inbox }\nbrokers:")],
        "",
        &["~ setting inbox: {later}"],
    ),
    (
        "the queue",
        &[("brokers:", "queue: { path: /tmp/other }\nbrokers:")],
        "",
        &["~ setting queue: {later}"],
    ),
    (
        "the socket of the service that resets devices",
        &[("brokers:", "recovery: { socket: /run/other.sock }\nbrokers:")],
        "",
        &["~ setting recovery.socket: {later}"],
    ),
    (
        "the time to end",
        &[("gateway: gw", "gateway: gw\nshutdown_grace: 5s")],
        "",
        &["~ setting shutdown_grace"],
    ),
];

#[test]
fn each_change_of_the_file_is_planned_as_the_table_says() {
    for (what, edits, rotated, expected) in TABLE {
        let plan = planned(edits, rotated);
        let whole = |line: &&str| {
            ENDS.iter().fold((*line).to_owned(), |line, (short, long)| line.replace(short, long))
        };
        let expected: Vec<String> = expected.iter().map(whole).collect();
        println!("{what}");
        changes(&plan).iter().for_each(|line| println!("    {line}"));
        assert_eq!(changes(&plan), expected, "{what}");
        assert_eq!(plan.is_empty(), expected.is_empty(), "{what}");
    }
}

#[test]
fn another_gateway_is_another_client_id_for_sessions_that_give_none() {
    let plan = planned(&[("gateway: gw", "gateway: new")], "");
    let lines = changes(&plan);
    assert_eq!(lines[0], "~ setting gateway");
    let session = "~ session north/two: client_id; closed in order and opened again";
    assert!(lines.iter().any(|line| line == session), "{lines:?}");
}

#[test]
fn what_changes_at_the_next_start_only_keeps_its_value_and_is_told_again() {
    let edits =
        [("9810", "9811"), ("60s", "90s"), ("gateway: gw", "gateway: gw\nshutdown_grace: 5s")];
    let text = edits.iter().fold(FILE.to_owned(), |text, (old, new)| text.replacen(old, new, 1));
    let (old, new) = (fleet(FILE), fleet(&text));
    let plan = Plan::new(&old, &new, |_| false);
    let runs = plan.applicable(&old, new.clone());
    assert_eq!((&runs.http, runs.shutdown_grace), (&old.http, new.shutdown_grace));
    assert_eq!(runs.modems, new.modems);
    let again = Plan::new(&runs, &new, |_| false);
    assert_eq!(changes(&again).len(), 1, "{again:?}");
    assert_eq!(
        api::reload::summary(&again.lines()),
        "0 added, 0 changed, 0 removed, 7 kept, 1 at the next start of the agent"
    );
}

#[test]
fn what_opens_a_listener_to_others_is_never_taken_away_from_it() {
    let edits =
        [("127.0.0.1:9810", "0.0.0.0:9810"), ("token: { file: token }", "token: { file: t2 }")];
    let open = edits.iter().fold(FILE.to_owned(), |text, (old, new)| text.replacen(old, new, 1));
    // Back to the loopback, where no token is needed: until then it listens everywhere.
    let closed = FILE.replacen(", token: { file: token }", "", 1);
    let (open, closed) = (fleet(&open), fleet(&closed));
    let runs = Plan::new(&open, &closed, |_| false).applicable(&open, closed);
    assert_eq!(runs.http, open.http);
}
