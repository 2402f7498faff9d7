//! The JSON Schema of fleet.yaml against the check of the same files.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends at the first surprise; clippy.toml frees only the test functions"
)]

use std::path::PathBuf;

use fleet::{Context, Secrets, schema};
use serde_json::Value;

const CONTRACT: &str = include_str!("fixtures/contract.yaml");

/// As much of JSON Schema's rules as our schema uses, patterns left out. An unknown keyword is a
/// failure, so that no rule is skipped unseen.
fn fault(schema: &Value, root: &Value, value: &Value, path: &str) -> Option<String> {
    let rules = match schema {
        Value::Bool(true) => return None,
        Value::Bool(false) => return Some(format!("{path} may not stand here")),
        rules => rules.as_object().unwrap(),
    };
    rules.iter().find_map(|(rule, wanted)| keyword((rule, wanted), rules, root, value, path))
}

fn keyword(
    (rule, wanted): (&str, &Value),
    rules: &serde_json::Map<String, Value>,
    root: &Value,
    value: &Value,
    path: &str,
) -> Option<String> {
    let broken = |yes: bool| yes.then(|| format!("{path}: {rule} {wanted}"));
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let object = value.as_object();
    match rule {
        "$schema" | "$defs" | "title" | "description" | "examples" | "default" | "x-modemfleet"
        | "pattern" | "propertyNames" | "patternProperties" => None,
        "$ref" => {
            let target = root.pointer(wanted.as_str().unwrap().trim_start_matches('#')).unwrap();
            fault(target, root, value, path)
        }
        "type" => {
            let words = if wanted.is_array() { list(wanted) } else { vec![wanted.clone()] };
            broken(!words.iter().any(|word| is(value, word.as_str().unwrap())))
        }
        "enum" => broken(!list(wanted).contains(value)),
        "anyOf" => broken(list(wanted).iter().all(|one| fault(one, root, value, path).is_some())),
        "required" => broken(object.is_some_and(|object| {
            list(wanted).iter().any(|key| !object.contains_key(key.as_str().unwrap()))
        })),
        "minimum" => broken(value.as_u64().is_some_and(|number| Some(number) < wanted.as_u64())),
        "maximum" => broken(value.as_u64().is_some_and(|number| Some(number) > wanted.as_u64())),
        "minProperties" => broken(object.is_some_and(|all| count(all.len()) < wanted.as_u64())),
        "maxProperties" => broken(object.is_some_and(|all| count(all.len()) > wanted.as_u64())),
        "items" => value
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
            .find_map(|(at, item)| fault(wanted, root, item, &format!("{path}[{at}]"))),
        "properties" => object.into_iter().flatten().find_map(|(key, below)| {
            fault(wanted.get(key)?, root, below, &format!("{path}.{key}"))
        }),
        "additionalProperties" => object.into_iter().flatten().find_map(|(key, below)| {
            let known = rules.get("properties").is_some_and(|all| all.get(key).is_some());
            let free = rules.contains_key("patternProperties") && key.starts_with("x-");
            if known || free {
                return None;
            }
            fault(wanted, root, below, &format!("{path}.{key}"))
        }),
        other => panic!("the schema uses {other}, which this test does not know"),
    }
}

fn count(count: usize) -> Option<u64> {
    u64::try_from(count).ok()
}

fn is(value: &Value, word: &str) -> bool {
    match word {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        other => panic!("the schema asks for {other}"),
    }
}

fn schema_fault(text: &str) -> Option<String> {
    let schema = schema();
    fault(&schema, &schema, &serde_yaml::from_str(text).unwrap(), "")
}

fn is_taken(text: &str) -> bool {
    let context = Context {
        folder: PathBuf::from("/etc/modemfleet"),
        host_name: Some("gw".to_owned()),
        secrets: Secrets::Skip,
        ..Context::default()
    };
    fleet::parse("fleet.yaml", text.as_bytes().to_vec(), &context).is_ok()
}

/// A good file with `top` above it and `modem` and `session` in its midst.
fn file(top: &str, modem: &str, session: &str) -> String {
    format!(
        "{top}\nbrokers: {{ lab: {{ url: \"mqtt://b\" }} }}\nmodems:\n  north:\n    match: {{ port: /dev/ttyUSB2 }}\n{modem}\n    sessions:\n      s:\n        broker: lab\n{session}\n"
    )
}

#[test]
fn it_says_what_it_is_and_closes_every_mapping() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(schema["title"].as_str().unwrap().contains("fleet.yaml"));
    fn closed(value: &Value) {
        if let Some(object) = value.as_object() {
            if object.contains_key("properties")
                && object.get("type").is_some_and(|t| t == "object")
            {
                assert_eq!(object["additionalProperties"], false, "{value}");
            }
            object.values().for_each(closed);
        }
    }
    assert_eq!(schema["additionalProperties"], false);
    closed(&schema);
    assert_eq!(schema["properties"]["http"]["properties"]["token"]["$ref"], "#/$defs/secret");
}

#[test]
fn good_files_are_good_to_both() {
    let goods = [
        CONTRACT.to_owned(),
        file("", "", ""),
        file("", "", "").replace("port: /dev/ttyUSB2", "usb_path: 1-1.2"),
        file("", "", "").replace("port: /dev/ttyUSB2", "imei: \"861234567000000\""),
        file("gateway: 7600\nx-shared: { anything: [1] }", "    apn: 1234", ""),
        file(
            "shutdown_grace: 1m\nqueue: { max_bytes: 2097152 }",
            "    roaming: allow\n    poll: 5s",
            "",
        ),
        file("", "    apn: { name: a, user: u, type: ip }", "        clean_session: false"),
        file("", "    apn: { name: a, user: u, auth: chap, cid: 15 }", ""),
        file("", "    apn: { name: a, auth: none }", ""),
        file("", "    radio: leave", ""),
        file("", "", "        will: { topic: t, payload: 1, qos: 2, retain: true }"),
        file(
            "recovery: { socket: /run/x }",
            "    recovery: { budget: 3, registration_lost: 10m, boot: 90s, usb_reset: false, power_script: 1 }",
            "",
        ),
        file("routes: [ { topic: \"#\", to: [north/s] } ]", "    pin: { env: PIN }", ""),
        file("", "    budget: { bytes: 500MB, reset_day: 31, time_zone: Asia/Shanghai }", ""),
        file(
            "",
            "    budget: { bytes: 1000, warn: 5%, shed: { at: 6%, below_priority: 5 }, stop: never }",
            "",
        ),
        file("", "", "        tls: { ca: /etc/ca.pem, cert: { file: c }, key: { env: K } }")
            .replace("mqtt://b", "mqtts://b"),
        file(
            "routes: [ { name: a, topic: \"#\", to: [north/s], stall: 30s } ]",
            "    telemetry: {}",
            "",
        ),
        file(
            "",
            "    telemetry: { topic: \"t/${modem}\", every: 5m, qos: 0, retain: false, session: s, status: none }",
            "",
        ),
        file(
            "routes: [ { topic: a, to: [north/s], batch: { format: lines, max_messages: 5, max_bytes: 1kB, max_delay: 5s, ids: true } } ]",
            "",
            "",
        ),
        file("http: { socket: /run/x, token: { credential: t } }", "", "        keep_alive: 2m"),
        file(
            "http: { hosts: [gw.example.com, gw-01], token: { env: T }, publish_token: { env: P }, publish_socket: /run/p }",
            "",
            "",
        ),
    ];
    for text in &goods {
        assert!(is_taken(text), "the check refuses:\n{text}");
        assert_eq!(schema_fault(text), None, "{text}");
    }
}

/// Of a modem.
const BAD_MODEMS: &[&str] = &[
    "IMEI: 1",
    "telemetry: true",
    "telemetry: { every: 60 }",
    "telemetry: { qos: 3 }",
    "telemetry: { status: { topic: a } }",
    "budget: 500MB",
    "budget: { reset_day: 1 }",
    "budget: { bytes: 1MB, reset_day: 32 }",
    "budget: { bytes: 1MB, stop: 0.9 }",
    "budget: { bytes: 1MB, shed: 90% }",
    "budget: { bytes: 1MB, urgent: 10 }",
    "roaming: dney",
    "poll: 10",
    "sms: mine",
    "baud: 12345",
    "flow_control: rts",
    "recovery: 3",
    "recovery: { budget: [3] }",
    "recovery: { usb_reset: off }",
    "recovery: { boot: 60 }",
    "recovery: { socket: /run/x }",
    "pin: 1234",
    "apn: { user: u }",
    "apn: [ cmnet ]",
    "apn: { name: a, type: ipv4 }",
    "apn: { name: a, user: u, auth: md5 }",
    "apn: { name: a, cid: 16 }",
    "radio: mine",
];

#[test]
fn files_of_the_wrong_shape_are_bad_to_both() {
    let top = |text: &str| file(text, "", "");
    let session = |text: &str| file("", "", &format!("        {text}"));
    let others = [
        top("gatway: gw"),
        top("hand_in: { mqtt: {} }"),
        top("hand_in: { mqtt: { listen: \"127.0.0.1:1883\", users: { a: b } } }"),
        top("gateways: {}"),
        top("gateway: [a]"),
        top("gateway: { a: 1 }"),
        top("shutdown_grace: 10"),
        top("http: 9810"),
        top("http: [ a ]"),
        top("http: { listn: \"127.0.0.1:1\" }"),
        top("http: { token: hunter2 }"),
        top("http: { token: {} }"),
        top("http: { token: { file: a, env: B } }"),
        top("http: { token: { environment: B } }"),
        top("http: { publish_token: hunter2 }"),
        top("http: { hosts: gw }"),
        top("queue: { when_full: drop-oldest }"),
        top("queue: { max_bytes: [1] }"),
        top("routes: all"),
        top("routes: [ { topic: a } ]"),
        top("routes: [ { to: [north/s] } ]"),
        top("routes: [ { topic: a, to: north/s } ]"),
        top("routes: [ { topic: a, to: [north/s], policy: spred } ]"),
        "gateway: gw\n".to_owned(),
        "gateway: gw\nmodems: {}\n".to_owned(),
        "gateway: gw\nmodems: [ north ]\n".to_owned(),
        "gateway: gw\nmodems: { north: { roaming: deny } }\n".to_owned(),
        "gateway: gw\nmodems: { north: { match: {} } }\n".to_owned(),
        "gateway: gw\nmodems: { north: { match: { usb_path: [1-1] } } }\n".to_owned(),
        "gateway: gw\nmodems: { north: { match: { port: /a } } }\nbrokers: { b: { username: u } }\n".to_owned(),
        "gateway: gw\nmodems: { north: { match: { port: /a } } }\nbrokers: [ b ]\n".to_owned(),
        top("routes: [ { topic: a, to: [north/s], batch: lines } ]"),
        top("routes: [ { topic: a, to: [north/s], batch: { max_messages: 5 } } ]"),
        top("routes: [ { topic: a, to: [north/s], stall: 15 } ]"),
        top("recovery: { budget: 3 }"),
        session("keepalive: 60s"),
        session("keep_alive: 60"),
        session("clean_session: yes"),
        session("tls: { ca: [x] }"),
        session("tls: { ca: x, kye: y }"),
        session("tls: { insecure: yes }"),
        session("tls: { ca: { file: a, env: B } }"),
        session("tls: x"),
        session("will: { topic: t }"),
        session("will: { topic: t, payload: p, quos: 1 }"),
        session("subscribe: { filter: a }"),
        session("subscribe: [ { qos: 1 } ]"),
        session("subscribe: [ { filter: a, qos: 3 } ]"),
    ];
    let modems = BAD_MODEMS.iter().map(|text| file("", &format!("    {text}"), ""));
    for text in modems.chain(others) {
        assert!(!is_taken(&text), "the check takes:\n{text}");
        assert!(schema_fault(&text).is_some(), "the schema takes:\n{text}");
    }
}
