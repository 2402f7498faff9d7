//! Sessions with one fault, and the finding on it.

use std::time::UNIX_EPOCH;

use super::*;
use api::doctor::Level;
use fleet::{Context, Secrets};

const DAY: Duration = Duration::from_secs(86_400);

/// Returns the session of a fleet file with this broker and these keys of its own.
fn configured(broker: &str, keys: &str) -> Session {
    let text = format!(
        "gateway: gw\nbrokers: {{ b: {{ {broker} }} }}\nmodems: {{ m: {{ match: {{ model: sim7600 }}, sessions: {{ s: {{ broker: b{keys} }} }} }} }}"
    );
    let context = Context { secrets: Secrets::Skip, ..Context::default() };
    let loaded = fleet::parse("fleet.yaml", text.into_bytes(), &context);
    let mut fleet = loaded.unwrap_or_else(|problems| panic!("{problems}")).fleet;
    fleet.modems.remove(0).sessions.remove(0)
}

fn secured() -> Session {
    configured("url: \"mqtts://broker.example.com\", tls: { ca: /ca.pem }", "")
}

fn good() -> Seen {
    Seen {
        secrets: Vec::new(),
        certificates: Vec::new(),
        speaks_tls: Some(true),
        signs_aliyun: Some(true),
        has_odd_secret: false,
        state: None,
        now: UNIX_EPOCH + DAY * 1_000,
    }
}

fn certificates(from: u32, until: u32) -> Certificates {
    let valid = vec![Validity { from: UNIX_EPOCH + DAY * from, until: UNIX_EPOCH + DAY * until }];
    Certificates { key: "ca", place: "/ca.pem".to_owned(), valid, fits_key: None }
}

fn with(certificates: Certificates) -> Seen {
    Seen { certificates: vec![certificates], ..good() }
}

#[track_caller]
fn check(findings: &[Finding], check: &str, level: Level, message: &str) {
    let of_check: Vec<&Finding> = findings.iter().filter(|found| found.check == check).collect();
    let [found] = of_check.as_slice() else { panic!("{of_check:?}") };
    assert_eq!(found.level, level, "{found:?}");
    assert!(found.message.contains(message), "{found:?}");
    assert_eq!(found.advice.is_none(), level == Level::Ok, "{found:?}");
}

#[test]
fn a_broker_is_judged_by_how_it_is_written() {
    for (url, level, message) in [
        ("mqtt://broker.example.com", Level::Ok, "mqtt://broker.example.com:1883"),
        ("mqtt://127.0.0.1:1883", Level::Warn, "that address is the modem itself"),
        ("mqtt://localhost", Level::Warn, "that address is the modem itself"),
        ("mqtt://192.168.1.4", Level::Warn, "a private address"),
        ("mqtt://broker.example.com:8883", Level::Warn, "usually for mqtts"),
    ] {
        let session = configured(&format!("url: \"{url}\""), "");
        check(&good().findings(&session), "broker", level, message);
    }
    let tls = "url: \"mqtts://broker.example.com:1883\", tls: { insecure: true }";
    check(&good().findings(&configured(tls, "")), "broker", Level::Warn, "usually for mqtt");
}

#[test]
fn certificates_are_judged_by_their_days_and_their_key() {
    let tls = |seen: Seen| seen.findings(&secured());
    check(&tls(with(certificates(900, 2_000))), "tls", Level::Ok, "valid until 1975-06-24");
    check(&tls(with(certificates(900, 999))), "tls", Level::Fail, "expired on 1972-09-26");
    check(&tls(with(certificates(1_001, 2_000))), "tls", Level::Fail, "not valid before");
    check(&tls(with(certificates(900, 1_010))), "tls", Level::Warn, "expires on 1972-10-07");
    let other = Certificates { key: "cert", fits_key: Some(false), ..certificates(900, 2_000) };
    check(&tls(with(other)), "tls", Level::Fail, "is not the private key");
    let mut two = certificates(900, 2_000);
    two.valid.extend_from_within(..);
    check(&tls(with(two)), "tls", Level::Warn, "2 certificates");
    check(&tls(Seen { speaks_tls: Some(false), ..good() }), "tls", Level::Fail, "does not speak");
    let insecure = configured("url: \"mqtts://b.example\", tls: { insecure: true }", "");
    check(&good().findings(&insecure), "tls", Level::Warn, "is not checked");
}

#[test]
fn secrets_are_judged_by_whether_they_can_be_read_and_by_whom() {
    let secret = Secret { key: "password", place: "/p".to_owned(), fault: None, open_to_all: None };
    let of = |secret| {
        let plain = configured("url: \"mqtt://b.example\"", "");
        Seen { secrets: vec![secret], ..good() }.findings(&plain)
    };
    check(&of(secret.clone()), "credentials", Level::Ok, "password can be read");
    let missing = Some("`password`: cannot read /p".to_owned());
    check(&of(Secret { fault: missing, ..secret.clone() }), "credentials", Level::Fail, "cannot");
    let open_to_all = Some(PathBuf::from("/p"));
    check(&of(Secret { open_to_all, ..secret }), "credentials", Level::Warn, "every user");
}

#[test]
fn a_triple_is_judged_by_its_shape_and_its_host() {
    let of = |key: &str, more: &str, has_odd_secret| {
        let keys =
            format!(", product_key: {key}, device_name: d, device_secret: {{ file: /s }}{more}");
        let session = configured("provider: aliyun, region: cn-shanghai", &keys);
        Seen { has_odd_secret, ..good() }.findings(&session)
    };
    let fine = of("a1mQpKOF9hp", "", false);
    assert!(fine.iter().all(|finding| finding.level == Level::Ok), "{fine:?}");
    check(&of("Thermostat", "", false), "credentials", Level::Warn, "\"Thermostat\" does not look");
    check(&of("a1mQpKOF9hp", "", true), "credentials", Level::Warn, "32 letters");
    let host = ", host: a1zjhbLfSbW.iot-as-mqtt.cn-shanghai.aliyuncs.com";
    check(&of("a1mQpKOF9hp", host, false), "credentials", Level::Fail, "product a1zjhbLfSbW");
    assert!(!is_odd_secret("fUJxnoPDFJazr0eME5wKzCvKyNJwLqq7"), "of the platform's first years");
    assert!(!is_odd_secret("8f663b388dee796b931ebcb789b75a39"));
    assert!(is_odd_secret("D48150E8D550607B15C667E100635EE96EA7D512"), "that is a password");
}

#[test]
fn a_modem_that_is_to_sign_must_know_how() {
    let keys =
        ", product_key: a1mQpKOF9hp, device_name: d, device_secret: { file: /s }, aliauth: true";
    let session = configured("provider: aliyun, region: cn-shanghai", keys);
    let fine = good().findings(&session);
    assert!(fine.iter().all(|finding| finding.level == Level::Ok), "{fine:?}");
    let seen = Seen { signs_aliyun: Some(false), ..good() };
    check(&seen.findings(&session), "credentials", Level::Fail, "cannot sign in by itself");
}

#[test]
fn where_a_session_stands_is_told_with_what_to_try() {
    let plain = configured("url: \"mqtt://b.example\"", "");
    let of = |phase, reason: Option<&str>| {
        let state = SessionState { phase, reason: reason.map(str::to_owned) };
        Seen { state: Some(state), ..good() }.findings(&plain).pop().unwrap()
    };
    assert_eq!(of(SessionPhase::Connected, None), Finding::ok("session", "connected"));
    let code = "CMQTTCONNECT failed with code 3 (socket connect failed): check APN and DNS";
    let found = of(SessionPhase::BackingOff, Some(code));
    assert_eq!(
        found,
        Finding::fail(
            "session",
            "not connected: CMQTTCONNECT failed with code 3 (socket connect failed)",
            "check APN and DNS"
        )
    );
    // A refusal without a code, and a loss during a publish, are split in the same way.
    for (reason, what, advice) in [
        (
            "the modem refused CMQTTCONNECT (it gave no code): an A76xx wants a password",
            "not connected: the modem refused CMQTTCONNECT (it gave no code)",
            "an A76xx wants a password",
        ),
        (
            "kicked (cause 1); CMQTTPUB failed with code 6 (receive failed): look at the broker",
            "not connected: kicked (cause 1); CMQTTPUB failed with code 6 (receive failed)",
            "look at the broker",
        ),
    ] {
        let found = of(SessionPhase::BackingOff, Some(reason));
        assert_eq!(found, Finding::fail("session", what, advice));
    }
    assert_eq!(of(SessionPhase::Waiting, None).message, "waits for its modem");
    assert_eq!(of(SessionPhase::Failed, Some("no free client")).level, Level::Fail);
}

#[test]
fn what_this_machine_reaches_is_a_hint_and_no_more() {
    let why = || "refused".to_owned();
    for (reach, level) in [
        (Reach::Open, Level::Ok),
        (Reach::NoName(why()), Level::Warn),
        (Reach::Closed(why()), Level::Warn),
    ] {
        let found = reach.finding("b.example", 1_883);
        assert_eq!(found.level, level);
        assert!(found.message.contains("network of its own"), "{found:?}");
    }
}
