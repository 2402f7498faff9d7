//! Messages about faults.

use serde_json::json;

use super::*;

#[test]
fn what_is_taken_with_a_warning() {
    for (marked, phrase) in [
        (top("queue: { when_full: ¶drop_oldest }"), "deletes messages"),
        (top("queue: { fsync: ¶off }"), "a power loss takes accepted messages"),
        (
            aliyun("        host: ¶a1zjhbLfSbW.iot-as-mqtt.cn-shanghai.aliyuncs.com\n"),
            "belongs to the product `a1zjhbLfSbW`",
        ),
        (
            routes("  - { topic: \"#\", to: [bench/lab] }\n  - { topic: ¶a, to: [bench/lab] }\n"),
            "takes all its topics",
        ),
        (north("    radio: leave\n    apn: ¶a\n"), "has no effect beside `radio: leave`"),
    ] {
        assert!(parse(&marked.replace(MARK, "")).is_ok(), "{marked}");
        expect(&marked, Severity::Warning, phrase);
    }
    let dollar =
        routes("  - { topic: \"#\", to: [bench/lab] }\n  - { topic: $SYS/a, to: [bench/lab] }\n");
    assert!(parse(&dollar).unwrap().warnings.is_empty());
}

#[test]
fn several_faults_are_told_at_once_and_in_order() {
    let text = "gatway: gw\nhttp: { listen: 0.0.0.0:1 }\nbrokers: { lab: { url: mqtts://b } }\nmodems:\n  m:\n    match: { port: /a, imei: 1 }\n    poll: 3\n    sessions: { s: { broker: lap, keep_alive: 0s } }\nroutes: [ { topic: a, to: [m/t] } ]\n";
    let problems = parse(text).unwrap_err();
    let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [1, 2, 3, 6, 7, 8, 8, 9], "{problems}");
    let rendered = problems.to_string();
    for place in ["fleet.yaml:1:1", "fleet.yaml:2:17", "fleet.yaml:7:11", "fleet.yaml:9:28"] {
        assert!(rendered.contains(place), "{place} in\n{rendered}");
    }
}

#[test]
fn a_problem_is_shown_as_a_compiler_shows_it() {
    let problems = parse(&top("gatway: gw-01")).unwrap_err();
    let want = "\
error: unknown key `gatway` in the file
 --> fleet.yaml:1:1
  |
1 | gatway: *****
  | ^^^^^^
  |
  = help: did you mean `gateway`?";
    assert_eq!(problems.to_string(), want);
}

/// Files with a password in a wrong place: under wrong keys, or in place of another value.
#[allow(clippy::too_many_lines, reason = "it is a table")]
fn misplaced() -> Vec<String> {
    let fleet = |text: &str| top(text);
    let mqtt =
        |users: &str| top(&format!("hand_in: {{ mqtt: {{ listen: 127.0.0.1:1, {users} }} }}"));
    let plain = |keys: &str| broker(&format!("{{ url: mqtt://b, username: u, {keys} }}"));
    let route = |keys: &str| routes(&format!("  - {{ topic: a, to: [bench/lab], {keys} }}\n"));
    vec![
        plain("password: hunter2"),
        plain("pasword: hunter2"),
        plain("passwrd: hunter2"),
        plain("Password: hunter2"),
        plain("pw: hunter2"),
        plain("secret: hunter2"),
        plain("api_key: hunter2"),
        plain("auth: { basic: hunter2 }"),
        plain("password: [hunter2]"),
        plain("password: { hunter2 }"),
        plain("password: { value: hunter2 }"),
        plain("password: { flie: { hunter2: x } }"),
        plain("password: { file: [hunter2] }"),
        plain("password: {file: a, hunter2}"),
        plain("password: \"hunter2"),
        plain("password: 'hunter2"),
        plain("pasword: \"hunter2"),
        plain("password: hunter2, password: hunter2"),
        plain("hunter2"),
        plain("password:hunter2"),
        plain("tls: hunter2"),
        plain("tls: { key: { pem: hunter2 } }"),
        broker("{ url: mqtt://b, password:\n    hunter2: }}"),
        broker("{ url: mqtt://u:hunter2@b, userame: x }"),
        broker("{ url: \"mqtt://u:p@hunter2@b\", x: y }"),
        broker("{ uri: mqtt://u:hunter2@b }"),
        broker("{ url: { mqtt: hunter2 } }"),
        broker("[mqtt://b, u, hunter2]"),
        broker("mqtt://u:hunter2@b"),
        broker("\n    url: mqtt://b\n    pasword: |\n      hunter2\n      hunter2"),
        broker("\n    url: mqtt://b\n    pasword: hunter2\n      hunter2"),
        broker("\n    url: mqtt://b\n    username: \"hunter2\n      hunter2"),
        broker("\n    url: mqtt://b # old: hunter2\n    nmae: x # hunter2"),
        broker("\n    url: nothing # hunter2"),
        fleet("http: { token: |\n    hunter2\n  }"),
        fleet("http: { token: hunter2 }"),
        fleet("http: { tokn: hunter2 }"),
        fleet("http: { bearer: [hunter2, { a: hunter2 }] }"),
        fleet("http: hunter2"),
        fleet("token: hunter2"),
        fleet("users: { plc: hunter2 }"),
        fleet("hand_in: { mqtt: hunter2 }"),
        fleet("hand_in: { users: { plc: hunter2 } }"),
        mqtt("users: { a: hunter2 }"),
        mqtt("users: { hunter2 }"),
        mqtt("users: { a: { hunter2 } }"),
        mqtt("users: [hunter2]"),
        mqtt("users: [{ plc: hunter2 }]"),
        mqtt("users: hunter2"),
        mqtt("user: { a: hunter2 }"),
        mqtt("user: a, pass: hunter2"),
        mqtt("users: { \"hunter2 with blanks\": { file: /a } }"),
        mqtt("users:\n    a: hunter2\n  }}"),
        north("    pin: hunter2\n"),
        north("    pin: { hunter2 }\n"),
        north("    pins: [hunter2]\n"),
        north("    apn: { name: a, user: u, passwd: hunter2 }\n"),
        north("    apn: [a, u, hunter2]\n"),
        aliyun("        device_scret: hunter2\n"),
        aliyun("        vars: { token: hunter2, Bad: hunter2 }\n"),
        session("        broker: mqtt://u:hunter2@b\n"),
        session("        broker: lab\n        will: hunter2\n"),
        session("        broker: lab\n        credentials: { user: a, password: hunter2 }\n"),
        route("token: hunter2"),
        routes("  - { topic: a, to: [\"mqtt://u:hunter2@b\"] }\n"),
        "x-pw: &p hunter2\nbrokers: { b: { url: mqtt://h } }\nmodems: { m: { match: { port: /a }, sessions: { s: { broker: *p } } } }\n".to_owned(),
        "brokers: { b: { url: mqtt://h, username: u, password: &p hunter2 } }\nmodems: { m: { match: { port: /a }, sessions: { s: { broker: *p } } } }\n".to_owned(),
        fleet("gateway: !!str &hunter2 \"a b\""),
        fleet("gateway: &hunter2 # hunter2\n  a b"),
        "hunter2".to_owned(),
        "- hunter2\n".to_owned(),
        "password: hunter2: x\n".to_owned(),
        "http: { token: hunter2\n".to_owned(),
        "&hunter2 a: [\n".to_owned(),
        "a: *hunter2\n".to_owned(),
        "a: !hunter2 b\n".to_owned(),
        "a: 1\n---\npassword: hunter2\n".to_owned(),
        "# hunter2\0\n".to_owned(),
    ]
}

#[test]
fn a_secret_in_the_wrong_place_is_not_shown() {
    let mut told = 0;
    for text in misplaced() {
        // A few files are accepted and have no message.
        let problems = parse(&text).map_or_else(|problems| problems, |loaded| loaded.warnings);
        told += usize::from(!problems.is_empty());
        let json: Vec<_> = problems.iter().map(fleet::Problem::to_json).collect();
        for shown in [problems.render(true), problems.places(), format!("{json:?}")] {
            assert!(!shown.contains("hunter2"), "{text}\n{shown}");
        }
    }
    assert!(told >= 70, "{told} of the files are wrong");
}

#[test]
fn what_an_alias_repeats_is_not_shown_as_a_part_either() {
    let text = north("    pin: &p 7654321\n    poll: *p\n    sms: *p\n");
    let problems = parse(&text).unwrap_err();
    let json: Vec<_> = problems.iter().map(fleet::Problem::to_json).collect();
    for shown in [problems.render(false), problems.places(), json!(json).to_string()] {
        assert!(shown.contains("poll") && !shown.contains("7654321"), "{shown}");
    }
}

#[test]
fn errors_without_suggestions_leave_them_to_others() {
    let wrong = "  - { topic: a, to: [bench/lab], hold_down: soon }\n".repeat(20);
    let problems = parse(&routes(&format!("{wrong}  - {{ topic: b, to: [bench/lb] }}\n")));
    let rendered = problems.unwrap_err().to_string();
    assert!(rendered.contains("did you mean `bench/lab`"), "{rendered}");
}

#[test]
fn what_is_no_secret_is_shown() {
    for (text, shown) in [
        (broker("{ url: nothing, username: u }"), "lab: { url: nothing, username: u }"),
        (broker("{ url: mqtt://b, pasword: x }"), "lab: { url: mqtt://b, pasword: * }"),
        (broker("{ url: nothing, password: { file: /run/b } }"), "password: { file: /run/b }"),
        (
            routes("  - { topic: \"a/#\", to: [bench/lb] }\n"),
            "- { topic: \"a/#\", to: [bench/lb] }",
        ),
        (top("gateway: \"a b\" # why"), "gateway: \"a b\" # ***"),
        ("http: { listen: [}\n".to_owned(), "http: *"),
        (top("http:\n  lisen:"), "  lisen:"),
        (top("brokers:\n  north:"), "  north:"),
        (broker("{ url: b, password: { file: x, evn: T } }"), "password: { file: x, evn: * }"),
        (
            "x-b: &b lobby\nbrokers: { b: { url: mqtt://h } }\nmodems: { m: { match: { port: /a }, sessions: { s: { broker: *b } } } }\n".to_owned(),
            "names `lobby`",
        ),
    ] {
        let rendered = parse(&text).unwrap_err().to_string();
        assert!(rendered.contains(shown), "{shown}\n{rendered}");
    }
}

#[test]
fn of_a_long_line_the_part_around_the_problem_is_shown_with_its_column() {
    let text = top(&format!("x-a: {{ {} }}", "a: 1, ".repeat(3)));
    assert!(parse(&text).unwrap_err().to_string().contains("duplicate key `a`"));
    let wide =
        format!("{}routes: [{} {{ topic: a, to: [m/t] }}]\n", top("x-b: 1"), " ".repeat(5000));
    let rendered = parse(&wide).unwrap_err().to_string();
    let place = "fleet.yaml:3:5028";
    assert!(rendered.contains(place) && rendered.contains("to: [m/t]"), "{rendered}");
    assert!(rendered.lines().all(|line| line.chars().count() < 200), "{rendered}");
}

#[test]
fn problems_command_no_terminal() {
    let turned = top("gateway: \"a\u{202e}b\"");
    let escaped = top("\"a\\e[2J\\u202e\": 1\ngateway: \"\\e]0;x\\a\"");
    for text in [turned, escaped] {
        let problems = parse(&text).unwrap_err();
        let json: Vec<_> = problems.iter().map(fleet::Problem::to_json).collect();
        for shown in [problems.render(false), problems.places(), json!(json).to_string()] {
            let is_odd = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
            assert!(!shown.contains(is_odd), "{shown:?}");
        }
    }
}

#[test]
fn an_error_after_a_flood_of_warnings_still_refuses_the_file() {
    let warned = routes(&"  - { topic: a, to: [bench/lab] }\n".repeat(150));
    let warnings = parse(&warned).unwrap().warnings;
    assert_eq!((warnings.len(), warnings.iter().count()), (149, fleet::MAX_PROBLEMS));
    assert!(warnings.to_string().ends_with("and 49 more warnings"), "{warnings}");
    assert!(parse(&format!("{warned}  - {{ topic: b, to: [bench/lb] }}\n")).is_err());
}

#[test]
fn a_flood_of_faults_stays_short() {
    let keys: String = (0..10_000).map(|n| format!("zzz{n}: 1\n")).collect();
    let problems = parse(&top(&keys)).unwrap_err();
    assert_eq!(problems.len(), fleet::MAX_PROBLEMS);
    let rendered = problems.to_string();
    assert!(rendered.lines().count() < 1000);
    assert!(
        rendered.ends_with("after 100 errors the rest of the file is not checked"),
        "{rendered}"
    );
    assert!(problems.places().ends_with("is not checked"));
}
