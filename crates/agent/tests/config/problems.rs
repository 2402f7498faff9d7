//! How faults are told.

use super::*;

#[test]
fn what_is_taken_with_a_warning() {
    for (marked, phrase) in [
        (top("queue: { when_full: ¶drop_oldest }"), "deletes messages"),
        (top("queue: { fsync: ¶off }"), "a power loss takes acknowledged messages"),
        (
            aliyun("        host: ¶a1zjhbLfSbW.iot-as-mqtt.cn-shanghai.aliyuncs.com\n"),
            "belongs to the product `a1zjhbLfSbW`",
        ),
        (
            routes("  - { topic: \"#\", to: [bench/lab] }\n  - { topic: ¶a, to: [bench/lab] }\n"),
            "never taken",
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
1 | gatway: gw-01
  | ^^^^^^
  |
  = help: did you mean `gateway`?";
    assert_eq!(problems.to_string(), want);
}

#[test]
fn a_secret_in_the_wrong_place_is_not_shown() {
    for text in [
        broker("{ url: mqtt://b, username: u, password: hunter2 }"),
        broker("{ urk: mqtt://b, username: u, password: hunter2 }"),
        broker("{ url: mqtt://b, username: u, pasword: hunter2 }"),
        broker("{ url: mqtt://b, username: u, password: [hunter2] }"),
        broker("{ url: mqtt://u:hunter2@b, userame: x }"),
        broker("{ url: mqtt://b, password: \"hunter2 }"),
        broker("{ url: mqtt://b, password: hunter2, password: hunter2 }"),
        broker("{ url: mqtt://b, password:\n    hunter2: }}"),
        top("http: { token: |\n    hunter2\n  }"),
        aliyun("        device_scret: hunter2\n"),
        top("hand_in: { mqtt: { users: { a: hunter2 } } }"),
    ] {
        let rendered = parse(&text).unwrap_err().to_string();
        assert!(!rendered.contains("hunter2"), "{rendered}");
    }
}

#[test]
fn an_error_after_a_flood_of_warnings_still_refuses_the_file() {
    let warned = routes(&"  - { topic: a, to: [bench/lab] }\n".repeat(150));
    assert_eq!(parse(&warned).unwrap().warnings.len(), 149);
    assert!(parse(&format!("{warned}  - {{ topic: b, to: [bench/lb] }}\n")).is_err());
}

#[test]
fn a_flood_of_faults_stays_short() {
    let keys: String = (0..20_000).map(|n| format!("zzz{n}: 1\n")).collect();
    let problems = parse(&top(&keys)).unwrap_err();
    assert!(problems.len() >= 20_000);
    assert!(problems.to_string().lines().count() < 1000);
}
