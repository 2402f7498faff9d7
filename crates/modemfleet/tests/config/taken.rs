//! Good files, their defaults, and their secrets.

use super::*;

#[test]
fn the_contracts_example_is_taken_in_whole() {
    let folder = with_secrets();
    let path = folder.path().join("fleet.yaml");
    fs::copy(fixture("contract.yaml"), &path).unwrap();
    let loaded = fleet::load(&path).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let fleet = loaded.fleet;
    assert_eq!(fleet.gateway.as_str(), "gw-01");
    assert_eq!(fleet.queue.max_bytes, 64 << 20);
    let [north, bench] = fleet.modems.as_slice() else { panic!("{fleet:?}") };
    assert_eq!((north.name.as_str(), bench.name.as_str()), ("north", "bench"));
    assert_eq!(north.pin.as_ref().unwrap().read().unwrap().expose_secret(), "1234");
    assert_eq!(bench.apn.as_ref().unwrap().kind.unwrap().as_str(), "IPV4V6");
    assert_eq!(north.apn.as_ref().unwrap().kind, None, "the modem's own is kept");
    let cloud = &north.sessions[0];
    assert_eq!(cloud.keep_alive, Duration::from_secs(60));
    assert_eq!(cloud.subscribe[0].qos, Qos::AtLeastOnce);
    let login = cloud.login().unwrap();
    assert_eq!(login.host, "a1mQpKOF9hp.iot-as-mqtt.cn-shanghai.aliyuncs.com");
    assert_eq!(login.client_id, "7600|securemode=3,signmethod=hmacsha1|");
    let password = login.password.unwrap();
    assert_eq!(password.expose_secret(), "D48150E8D550607B15C667E100635EE96EA7D512");
    let lab = bench.sessions[0].login().unwrap();
    assert_eq!((lab.client_id.as_str(), lab.port), ("gw-01-bench-lab", 1883));
    assert!(!format!("{lab:?}").contains("labpass"), "Debug shows the password");
    let first = |topic: &str| fleet.route(topic).unwrap().to[0].to_string();
    assert_eq!(first("sensors/1"), "north/cloud");
    assert_eq!(first("other"), "bench/lab");
    assert!(fleet.route("$SYS/x").is_none());
}

#[test]
fn a_small_file_gets_the_defaults() {
    let fleet = parse(&north("    sessions: { s: { broker: lab }, t: { broker: ali, product_key: k, device_name: n, device_secret: { env: X } } }\n")
        .replace("gateway: gw\n", ""))
    .unwrap()
    .fleet;
    assert_eq!(fleet.gateway.as_str(), "gw-07", "the host name's first label");
    assert_eq!(fleet.http.listen.to_string(), "127.0.0.1:9810");
    assert_eq!(fleet.queue.path, Path::new("/var/lib/modemfleet/queue"));
    assert_eq!((fleet.queue.max_bytes, fleet.queue.when_full), (64 << 20, WhenFull::Reject));
    assert_eq!(fleet.shutdown_grace, Duration::from_secs(10));
    assert_eq!(fleet.modems[0].poll, Duration::from_secs(10));
    assert_eq!(fleet.modems[0].recovery, Recovery::default());
    assert_eq!((fleet.modems[0].sms, fleet.modems[0].line), (Owner::Ours, Line::DEFAULT));
    assert_eq!(fleet.modems[0].recovery.budget, 6);
    assert_eq!(fleet.privileged, Path::new("/run/modemfleet-recover.sock"));
    let session = &fleet.modems[0].sessions[0];
    assert!(session.clean_session && session.keep_alive == Duration::from_secs(60));
    assert!(matches!(&session.access, Access::Plain { port: 1883, .. }));
    let all: Vec<String> = fleet.routes()[0].to.iter().map(ToString::to_string).collect();
    assert_eq!((fleet.routes().len(), all), (1, vec!["north/s".to_owned(), "north/t".to_owned()]));
}

#[test]
fn an_inbox_is_there_where_its_key_is() {
    let top = |key: &str| format!("{key}{}", north("    sessions: { s: { broker: lab } }\n"));
    let inbox = |key: &str| parse(&top(key)).unwrap().fleet.inbox;
    assert_eq!(inbox(""), None);
    let day = Duration::from_secs(86_400);
    let plain = inbox("inbox: {}\n").unwrap();
    assert_eq!(plain.path, Path::new("/var/lib/modemfleet/inbox"));
    assert_eq!((plain.max_bytes, plain.max_age), (64 << 20, day * 7));
    assert_eq!(plain.session_expiry, day);
    let text = "inbox: { path: in, max_bytes: 2MiB, max_age: 2d, session_expiry: 3d }\n";
    let other = inbox(text).unwrap();
    assert!(other.path.ends_with("in"));
    assert_eq!((other.max_bytes, other.max_age), (2 << 20, day * 2));
    assert_eq!(other.session_expiry, day * 3);
    // If it is named but left empty, it must not be silently off.
    assert!(parse(&top("inbox:\n")).map_or(true, |loaded| loaded.fleet.inbox.is_some()));
}

#[test]
fn a_uart_has_a_speed_and_text_messages_an_owner() {
    let text = north("    sms: leave\n    baud: 921600\n    flow_control: hardware\n");
    let fleet = parse(&text).unwrap().fleet;
    let line = Line { baud: 921_600, flow_control: FlowControl::Hardware };
    assert_eq!((fleet.modems[0].sms, fleet.modems[0].line), (Owner::Leave, line));
    assert_eq!(fleet.modems[0].sessions.len(), 0);
}

#[test]
fn an_access_point_has_its_number_and_its_protocol_and_may_be_anothers() {
    let keys =
        "    radio: ours\n    apn: { name: a, user: u, password: { env: P }, auth: pap, cid: 3 }\n";
    let modem = parse(&north(keys)).unwrap().fleet.modems.remove(0);
    let apn = modem.apn.unwrap();
    assert_eq!((apn.auth, apn.cid), (Some(ApnProtocol::Pap), 3));
    let short = parse(&north("    apn: a\n")).unwrap().fleet.modems.remove(0).apn.unwrap();
    assert_eq!((short.auth, short.cid), (None, 1));
    let left = parse(&north("    radio: leave\n")).unwrap();
    assert!(left.warnings.is_empty(), "{}", left.warnings);
    assert_eq!((modem.radio, left.fleet.modems[0].radio), (Owner::Ours, Owner::Leave));
}

#[test]
fn a_host_name_that_is_no_name_asks_for_gateway() {
    for host_name in [None, Some("büro.example".to_owned()), Some("x".repeat(33))] {
        let context = Context { host_name, ..context() };
        let problems = fleet::parse("f", top("").into_bytes(), &context).unwrap_err();
        assert!(problems.to_string().contains("add `gateway: NAME`"), "{problems}");
    }
}

#[test]
fn anchors_numbers_as_names_and_quirks_of_yaml_are_taken() {
    let text = "x-will: &will { topic: t, payload: p }\nx-note:\ngateway: 0123\nbrokers: { 1: { url: mqtt://b } }\nmodems:\n  7600:\n    match: { port: /a, iccid: 89860012345678901234 }\n    apn: 3\n    sessions: { a: { broker: 1, will: *will }, b: { broker: 1, will: *will } }\nroutes: [ { topic: a, to: [ 7600/a ] } ]\n";
    for text in [text.to_owned(), format!("\u{feff}{text}"), text.replace('\n', "\r\n")] {
        let fleet = parse(&text).unwrap_or_else(|problems| panic!("{problems}")).fleet;
        assert_eq!(fleet.gateway, Name::new("0123").unwrap());
        assert_eq!(fleet.modems[0].name.as_str(), "7600");
        assert_eq!(fleet.modems[0].apn.as_ref().unwrap().name, "3");
        assert_eq!(fleet.modems[0].sessions[1].will.as_ref().unwrap().payload, "p");
    }
}

#[test]
fn secrets_are_read_and_a_missing_one_has_a_place() {
    let folder = with_secrets();
    let path = folder.path().join("fleet.yaml");
    fs::write(&path, broker("{ url: mqtt://b, username: u, password: { file: secrets/gone } }"))
        .unwrap();
    let problems = fleet::load(&path).unwrap_err();
    let problem = problems.iter().next().unwrap();
    assert_eq!((problem.line, problem.column), (2, 48), "{problems}");
    assert!(problem.message.contains("secrets/gone"), "{problems}");
    assert!(fleet::load_with(&path, Secrets::Skip).is_ok());

    fs::write(&path, north("    pin: { file: secrets/lab }\n")).unwrap();
    let problems = fleet::load(&path).unwrap_err().to_string();
    assert!(problems.contains("4 to 8 digits") && !problems.contains("labpass"), "{problems}");

    fs::write(&path, north("    pin: { file: secrets/pin }\n")).unwrap();
    fs::set_permissions(folder.path().join("secrets/pin"), fs::Permissions::from_mode(0o644))
        .unwrap();
    let warnings = fleet::load(&path).unwrap().warnings;
    assert!(warnings.to_string().contains("every user of this machine"), "{warnings}");
}
