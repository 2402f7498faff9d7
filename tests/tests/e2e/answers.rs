//! Each key of each answer of the API, with the type of its value: clients depend on them.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::Command;

use e2e::{Agent, Lab, PATIENCE, modemfleet, run, until, within};
use serde_json::Value;

/// Makes two modems, of which the first is plugged in, with all settings that add keys to an
/// answer.
fn lab() -> Lab {
    let mut lab = Lab::without_modems(2);
    let inbox = lab.site.dir().join("inbox");
    let subscribe = "broker: lab, subscribe: [ { filter: \"down/#\", qos: 1 } ]";
    let body = lab.site.body.replace("broker: lab", subscribe);
    let body = body.replacen("match:", "budget: { bytes: 25kB, warn: 1% }, poll: 1s, match:", 1);
    lab.site.queue = ", max_messages: 1000".to_owned();
    lab.site.body = format!("inbox: {{ path: {} }}\n{body}", inbox.display());
    lab.site.body += "routes: [ { topic: \"up/#\", to: [m0/s] }, { topic: \"never/#\", to: [m1/s] },\n  \
                      { topic: \"both/#\", to: [m0/s, m1/s], policy: all } ]\n";
    lab.sims = vec![lab.plug_in(0, &[])];
    lab
}

/// Collects the keys of a value, each with its path and the type of its value.
fn keys(value: &Value, place: &str, found: &mut BTreeSet<String>) {
    let kind = match value {
        Value::Object(object) => {
            for (key, value) in object {
                let dot = if place.is_empty() { "" } else { "." };
                keys(value, &format!("{place}{dot}{key}"), found);
            }
            return;
        }
        Value::Array(values) if !values.is_empty() => {
            values.iter().for_each(|value| keys(value, &format!("{place}[]"), found));
            return;
        }
        Value::Array(_) => "none",
        // A value for each minute, which may be missing.
        Value::Null | Value::Number(_) if place.ends_with("history_dbm[]") => "level",
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "text",
    };
    found.insert(format!("{place} {kind}"));
}

/// Waits until an answer has these keys, and returns it: some keys come only with the first poll.
#[track_caller]
fn has(what: &str, ask: impl Fn() -> Value, expected: &str) -> Value {
    let expected: BTreeSet<String> = expected
        .split(',')
        .map(|key| key.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let mut last = BTreeSet::new();
    let found = within(PATIENCE, || {
        let value = ask();
        last.clear();
        keys(&value, "", &mut last);
        (last == expected).then_some(value)
    });
    let missing: Vec<_> = expected.difference(&last).collect();
    let more: Vec<_> = last.difference(&expected).collect();
    found.unwrap_or_else(|| panic!("{what}: missing {missing:?}, more {more:?}"))
}

fn ask(agent: &Agent, method: &str, path: &str, body: &str) -> Value {
    let headers = [("Content-Type", "application/json")];
    let answer = agent.http.ask(method, path, &headers, body.as_bytes());
    serde_json::from_slice(&answer.body)
        .unwrap_or_else(|error| panic!("{path}: {error}: {}", answer.text()))
}

/// Returns the first event of this name in a stream that is open when `then` is called.
fn event(agent: &Agent, path: &str, name: &str, then: impl FnOnce()) -> Value {
    let mut stream = agent.http.connect().unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().contains("200"), "{path}");
    then();
    let wanted = format!("event: {name}");
    lines.find(|line| *line == wanted).unwrap();
    serde_json::from_str(lines.next().unwrap().strip_prefix("data: ").unwrap()).unwrap()
}

#[test]
fn every_answer_has_its_keys() {
    let lab = lab();
    let agent = lab.start();
    let down = || {
        let port = lab.broker.port().to_string();
        let words = ["-p", &port, "-q", "1", "-t", "down/a", "-m", "x"];
        assert!(run(Command::new("mosquitto_pub").args(words), b"").status.success());
    };
    for (path, name, cause, expected) in STREAMS {
        let cause = || match *cause {
            "down" => down(),
            query => agent.publish(query, b"x"),
        };
        let told = event(&agent, path, name, cause);
        has(path, || told.clone(), expected);
    }
    until("it to be acknowledged", || (agent.queued() == 0).then_some(()));
    let waits = ask(&agent, "POST", "/api/v1/publish?topic=never/a&ttl=1h", "x");
    has("publish", || waits.clone(), "id text");
    let both = ask(&agent, "POST", "/api/v1/publish?topic=both/a", "x");
    has("publish", || both.clone(), "id text, copies[] text");
    let receipt = format!("/api/v1/messages/{}", waits["id"].as_str().unwrap());
    has(
        "receipt",
        || ask(&agent, "GET", &receipt, ""),
        "id text, qos number, state text, appended text",
    );
    for (path, expected) in GETS {
        has(path, || ask(&agent, "GET", path, ""), expected);
    }
    for (method, path, body, expected) in CALLS {
        let answer = ask(&agent, method, path, body);
        has(path, || answer.clone(), expected);
    }
    let status = || {
        let mut command = Command::new(modemfleet());
        let output = run(command.args(["status", "--json", "--config"]).arg(lab.site.file()), b"");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    has("status --json", status, MODEMS);
}

const MODEMS: &str = "asks_for_token bool, commit text, gateway text, version text,
    modems[].budget.bytes number, modems[].budget.left_bytes number, modems[].budget.reason text,
    modems[].budget.resets_at text, modems[].budget.stage text, modems[].budget.used_bytes number,
    modems[].busy bool, modems[].detection_seconds number, modems[].identified.firmware text,
    modems[].identified.iccid text, modems[].identified.imei text, modems[].identified.manufacturer text,
    modems[].identified.max_payload number, modems[].identified.max_topic number, modems[].identified.model text,
    modems[].identified.model_id text, modems[].identified.profile text, modems[].name text, modems[].operator text,
    modems[].port text, modems[].present bool, modems[].ready_seconds number, modems[].reason text,
    modems[].recoveries number, modems[].registration.domain text, modems[].registration.stat number,
    modems[].registration.state text, modems[].returns number, modems[].sessions[].broker text,
    modems[].sessions[].connected bool, modems[].sessions[].last_ack_timestamp_seconds number,
    modems[].sessions[].name text, modems[].sessions[].phase text, modems[].signal.dbm number,
    modems[].signal.measure text, modems[].signal_history_dbm[] level, modems[].signals none,
    modems[].signals[].rat text, modems[].signals[].rsrp_dbm number, modems[].signals[].rsrq_db number,
    modems[].signals[].rssi_dbm number, modems[].state text, modems[].temperature_celsius number, modems[].tty text,
    queue.bytes number, queue.dropped.age number, queue.dropped.damaged number, queue.dropped.expired number,
    queue.dropped.full number, queue.dropped.purged number, queue.limit_bytes number, queue.messages number,
    queue.oldest_age_seconds number, queue.set_aside number";

/// Streams: the path, the name of an event, a topic that causes it, and its keys.
const STREAMS: &[(&str, &str, &str, &str)] = &[
    (
        "/api/v1/messages",
        "message",
        "down",
        "modem text, payload_base64 text, qos number, session text, topic text",
    ),
    (
        "/api/v1/outcomes",
        "outcome",
        "topic=up/a",
        "at text, by text, id text, path text, qos number, state text",
    ),
];

const GETS: &[(&str, &str)] = &[
    ("/api/v1/modems", MODEMS),
    ("/api/v1/devices", "devices none, version text"),
    (
        "/api/v1/doctor",
        "findings[].advice text, findings[].check text, findings[].level text, findings[].message text,
         findings[].subject text",
    ),
    (
        "/api/v1/inbox?reader=a",
        "messages[].at text, messages[].cursor text, messages[].modem text, messages[].payload_base64 text,
         messages[].qos number, messages[].session text, messages[].topic text, missed number, more bool",
    ),
    (
        "/api/v1/inbox/readers",
        "bytes number, messages number, readers[].away_seconds number, readers[].behind number,
         readers[].name text, sessions none",
    ),
    ("/api/v1/log", "filter text, traced none"),
    ("/api/v1/log/recent", "at.m0[] text, log[] text"),
    (
        "/api/v1/queue",
        "bytes number, commit_errors number, corruptions number, dropped.age number, dropped.damaged number,
         dropped.expired number, dropped.full number, dropped.purged number, lanes[].bytes number,
         lanes[].lane text, lanes[].messages number, leased number, max_bytes number, max_messages number,
         messages number, oldest_age_seconds number, running bool, set_aside.bytes number,
         set_aside.messages number",
    ),
    (
        "/api/v1/queue/messages",
        "messages[].appended text, messages[].bytes number, messages[].expires text, messages[].id text,
         messages[].lane text, messages[].priority number, messages[].qos number, messages[].retain bool,
         messages[].state text, messages[].topic text",
    ),
    (
        "/api/v1/queue/messages?payload=true&limit=1",
        "messages[].appended text, messages[].bytes number, messages[].expires text, messages[].id text,
         messages[].lane text, messages[].payload_base64 text, messages[].priority number,
         messages[].qos number, messages[].retain bool, messages[].state text, messages[].topic text,
         next number",
    ),
    ("/nowhere", "error text, message text"),
];

const CALLS: &[(&str, &str, &str, &str)] = &[
    (
        "POST",
        "/api/v1/at",
        "{\"modem\":\"m0\",\"line\":\"AT+CSQ\"}",
        "code text, lines[] text, ok bool",
    ),
    (
        "PUT",
        "/api/v1/log",
        "{\"trace\":\"m0\",\"for_seconds\":60}",
        "filter text, traced[] text",
    ),
    ("POST", "/api/v1/queue/requeue?all=true", "", "left number, requeued number"),
    ("POST", "/api/v1/queue/purge?topic=both/%23", "", "left number, purged number"),
    ("DELETE", "/api/v1/inbox?reader=a&forget=true", "", "forgotten text"),
    (
        "POST",
        "/api/v1/reload",
        "",
        "plan[].at_restart bool, plan[].kind text, plan[].name text, plan[].note text, plan[].sign text,
         summary text",
    ),
];
