//! fleet.yaml from outside: good files, bad files with the place of each fault, hostile files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends at the first surprise; clippy.toml frees only the test functions"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent::cli::{check, sign};
use agent::config::{
    self, Access, Context, Loaded, Name, Problems, Qos, Recovery, Secrets, Severity, WhenFull,
};
use clap::Parser;
use secrecy::ExposeSecret;

/// Where a bad file's text carries its fault: the mark is taken out before it is read.
const MARK: char = '¶';

fn context() -> Context {
    Context {
        folder: PathBuf::from("/etc/modemfleet"),
        host_name: Some("gw-07.example.com".to_owned()),
        gateway: None,
        secrets: Secrets::Skip,
    }
}

fn parse(text: &str) -> Result<Loaded, Problems> {
    config::parse("fleet.yaml", text.as_bytes().to_vec(), &context())
}

/// A file around `modem`, the settings of the modem `north`.
fn north(modem: &str) -> String {
    format!(
        "gateway: gw\nbrokers: {{ lab: {{ url: mqtt://b }}, ali: {{ provider: aliyun, region: cn-shanghai }} }}\nmodems:\n  north:\n    match: {{ port: /dev/ttyUSB2 }}\n{modem}"
    )
}

/// A file around `session`, the settings of the session `north/s`.
fn session(session: &str) -> String {
    north(&format!("    sessions:\n      s:\n{session}"))
}

/// A file with one good modem and `top` above it.
fn top(top: &str) -> String {
    format!("{top}\nmodems: {{ m: {{ match: {{ port: /dev/ttyS0 }} }} }}\n")
}

/// A file with `brokers` and a session at one of them.
fn broker(keys: &str) -> String {
    top(&format!("brokers:\n  lab: {keys}"))
}

/// A file with the sessions `north/cloud` and `bench/lab`, and `routes`.
fn routes(routes: &str) -> String {
    format!(
        "brokers: {{ b: {{ url: mqtt://h }} }}\nmodems:\n  north: {{ match: {{ port: /a }}, sessions: {{ cloud: {{ broker: b }} }} }}\n  bench: {{ match: {{ port: /b }}, sessions: {{ lab: {{ broker: b }} }} }}\nroutes:\n{routes}"
    )
}

/// An Alibaba session with `more` keys.
fn aliyun(more: &str) -> String {
    session(&format!(
        "        broker: ali\n        product_key: a1mQpKOF9hp\n        device_name: \"7600\"\n        device_secret: {{ env: X }}\n{more}"
    ))
}

/// Reads `marked` without its mark and wants a problem there whose words hold `phrase`.
fn expect(marked: &str, severity: Severity, phrase: &str) {
    let at = marked.find(MARK).expect("a mark");
    let line = marked[..at].matches('\n').count() + 1;
    let column = marked[..at].rsplit('\n').next().unwrap().chars().count() + 1;
    let problems = match parse(&marked.replace(MARK, "")) {
        Ok(loaded) => {
            assert_eq!(severity, Severity::Warning, "taken:\n{marked}");
            loaded.warnings
        }
        Err(problems) => problems,
    };
    let words = |p: &config::Problem| {
        format!(
            "{}:{} {} {} / {}",
            p.line,
            p.column,
            p.severity.word(),
            p.message,
            p.help.as_deref().unwrap_or_default()
        )
    };
    let found = problems.iter().any(|problem| {
        (problem.line, problem.column, problem.severity) == (line, column, severity)
            && words(problem).contains(phrase)
    });
    // `--nocapture` shows what a person would see, as a table.
    let wrong = marked.lines().nth(line - 1).unwrap_or_default().replace(MARK, "");
    let seen = problems.iter().find(|p| (p.line, p.column) == (line, column)).map(words);
    println!("| `{}` | {} |", wrong.trim(), seen.unwrap_or_default());
    let all: Vec<String> = problems.iter().map(words).collect();
    assert!(found, "wanted {line}:{column} {phrase:?}, got {all:#?}\n{marked}");
}

fn refused(cases: &[(String, &str)]) {
    for (marked, phrase) in cases {
        expect(marked, Severity::Error, phrase);
    }
}

#[test]
fn keys_that_are_unknown_misplaced_or_still_to_come() {
    refused(&[
        (top("¶gatway: gw"), "did you mean `gateway`"),
        (top("¶temperature: 3"), "the file may have `gateway`"),
        (top("http: { ¶listn: 127.0.0.1:1 }"), "did you mean `listen`"),
        (session("        broker: lab\n        ¶keepalive: 60s\n"), "did you mean `keep_alive`"),
        (
            session("        broker: lab\n        will: { topic: t, payload: p, ¶quos: 1 }\n"),
            "did you mean `qos`",
        ),
        (north("    ¶IMEI: 1\n"), "unknown key `IMEI` in a modem"),
        (top("hand_in: { ¶http: {} }"), "unknown key `http` in `hand_in`"),
        (top("hand_in: { ¶mqtt: {} }"), "`mqtt` needs `listen`"),
        (top("hand_in: { mqtt: { listen: ¶1883 } }"), "must be ADDRESS:PORT"),
        (top("hand_in: { mqtt: { listen: ¶0.0.0.0:1883 } }"), "needs `users`"),
        (
            top("hand_in: { mqtt: { listen: 127.0.0.1:1883, users: { ¶a b: { env: A } } } }"),
            "must be a name of 1 to 32",
        ),
        (
            top("hand_in: { mqtt: { listen: 127.0.0.1:1883, users: { a: ¶hunter2 } } }"),
            "must not stand in this file",
        ),
        (top("gateways: ¶{}"), "`gateways` must be a list"),
        (broker("{ provider: ¶alyun }"), "did you mean `aliyun`"),
        (top("¶<<: { a: 1 }"), "merge keys"),
        (session("        ¶<<: { broker: lab }\n"), "merge keys"),
        (top("http: ¶[1, 2]"), "`http` must be a mapping of keys to values, not a list"),
        (top("gateway: ¶{ a: 1 }"), "`gateway` must be a single value, not a mapping"),
        (top("routes: ¶all"), "must be a list"),
        (top("brokers: ¶[ lab ]"), "a mapping of names"),
        (top("¶gateway:"), "`gateway` has no value"),
        (top("gateway: a\n¶gateway: b"), "duplicate key `gateway`"),
        (
            "modems:\n  m: { match: { port: /a } }\n  ¶m: { match: { port: /b } }\n".to_owned(),
            "duplicate key `m`",
        ),
        (
            "modems:\n  7: { match: { port: /a } }\n  ¶\"7\": { match: { port: /b } }\n".to_owned(),
            "duplicate key `7`",
        ),
        ("¶- a\n- b\n".to_owned(), "the file must be a mapping"),
    ]);
}

#[test]
fn values_of_the_gateway() {
    let long = "x".repeat(33);
    refused(&[
        (top("gateway: ¶gw 1"), "1 to 32 letters"),
        (top(&format!("gateway: ¶{long}")), "1 to 32 letters"),
        (top("shutdown_grace: ¶10"), "write `10s`"),
        (top("shutdown_grace: ¶soon"), "is no duration"),
        (top("shutdown_grace: ¶1h"), "must be 1s to 10m"),
        (top("http: { listen: ¶0.0.0.0:9810 }"), "needs a `token`"),
        (top("http: { listen: ¶localhost:9810 }"), "must be ADDRESS:PORT"),
        (top("http: { token: ¶hunter2 }"), "must not stand in this file"),
        (top("http: { ¶token: {} }"), "exactly one of"),
        (top("http: { ¶token: { file: a, env: B } }"), "exactly one of"),
        (top("http: { token: { file: a, ¶environment: B } }"), "unknown key `environment`"),
        (top("http: { token: { ¶hunter2 } }"), "unknown key `…` in a secret's place"),
        (
            top("http: { ¶token:hunter2 }"),
            "unknown key `token:…` in `http` / after the `:` a blank",
        ),
        (top("http: { token: { env: ¶A-B } }"), "name of an environment variable"),
        (top("http: { token: { credential: ¶../shadow } }"), "without folders"),
        (top(&format!("http: {{ socket: ¶/{} }}", "x".repeat(107))), "107 bytes"),
        (top("queue: { max_bytes: ¶lots }"), "such as `64MiB`"),
        (top("queue: { max_bytes: ¶10 }"), "at least 1"),
        (top("queue: { when_full: ¶drop-oldest }"), "did you mean `drop_oldest`"),
        (top("queue: { max_messages: ¶0 }"), "at least 1"),
        (top("queue: { max_messages: ¶many }"), "must be a number of messages"),
        (top("queue: { max_age: ¶1s }"), "must be 1m to"),
        (top("queue: { fsync: ¶sometimes }"), "must be `always`, `interval` or `off`"),
        (top("queue: { fsync: interval, fsync_interval: ¶1h }"), "must be 10ms to 10m"),
        (top("queue: { ¶fsync_interval: 1s }"), "has no meaning without `fsync: interval`"),
        ("gateway: g\n¶modems: {}\n".to_owned(), "there are no modems"),
    ]);
}

#[test]
fn values_of_brokers_and_modems() {
    refused(&[
        (broker("{ url: ¶tcp://b }"), "write `mqtt://b`"),
        (
            broker("{ url: \"¶mqtt://u:secretword@b\" }".replace("\"¶", "¶\"").as_str()),
            "must not hold a user name",
        ),
        (broker("{ url: mqtt://b, username: ¶\"a\\\"b\" }"), "`username` holds a quote"),
        (
            broker("{ url: mqtt://b, username: ¶\"a\\rAT+CFUN=0\" }"),
            "`username` holds the control character U+000D",
        ),
        (broker("{ url: mqtt://b, username: ¶\"a\\0\" }"), "U+0000"),
        (
            broker(&format!("{{ url: mqtt://b, username: ¶{} }}", "u".repeat(257))),
            "the modem takes 256",
        ),
        (
            broker("{ url: mqtt://b, username: u, password: ¶hunter2 }"),
            "must not stand in this file",
        ),
        (broker("{ url: mqtt://b, ¶password: { env: X } }"), "`password` needs `username`"),
        (top("brokers:\n  ¶lab: { username: u }"), "`lab` needs `url`"),
        (broker("{ url: mqtt://b, ¶region: x }"), "needs `provider: aliyun`"),
        (broker("{ provider: aliyun, ¶url: mqtt://b }"), "beside `provider: aliyun`"),
        (broker("{ provider: aliyun, region: ¶cn/shanghai }"), "region id"),
        (top("brokers:\n  ¶\"la b\": { url: mqtt://b }"), "`la b` must be a name"),
        (north("    apn: ¶\"cm\\\"net\"\n"), "`apn` holds a quote"),
        (north("    apn: { name: ¶\"cm\\nnet\" }\n"), "`name` holds the control character U+000A"),
        (north("    apn: { name: a, user: ¶\"b\\\"\" }\n"), "`user` holds a quote"),
        (north("    apn: { name: a, user: u, type: ¶ipv4 }\n"), "did you mean `ip"),
        (north("    ¶apn: { user: u }\n"), "`apn` needs `name`"),
        (north("    pin: ¶1234\n"), "`pin` must not stand in this file"),
        (north("    roaming: ¶dney\n"), "did you mean `deny`"),
        (north("    poll: ¶10\n"), "write `10s`"),
        (north("    recovery: { budget: ¶0 }\n"), "must be a number of 1 to 60"),
        (north("    recovery: { budget: ¶many }\n"), "must be a number of 1 to 60"),
        (north("    recovery: { boot: ¶11m }\n"), "must be 1s to 10m"),
        (north("    recovery: { registration_lost: ¶10ms }\n"), "must be 1s to 1h"),
        (north("    recovery: { usb_reset: ¶no }\n"), "write `false`"),
        (north("    recovery: { power_script: ¶../north }\n"), "must be a name"),
        (north("    recovery: { power_script: ¶/bin/sh }\n"), "must be a name"),
        (north("    recovery: ¶3\n"), "must be a mapping"),
        (north("    recovery: { ¶power: north }\n"), "power_script"),
        ("modems:\n  m:\n    ¶match: {}\n".to_owned(), "needs a key in its `match`"),
        (
            "modems:\n  m:\n    match: { usb_path: ¶/dev/ttyUSB2 }\n".to_owned(),
            "must be a bus and its ports",
        ),
        ("modems:\n  m:\n    match: { port: /a, imei: ¶12345 }\n".to_owned(), "must be 15 digits"),
        ("modems:\n  m:\n    match: { port: ¶ttyUSB2 }\n".to_owned(), "absolute path"),
        (
            "modems:\n  m:\n    match: { port: /a, model: ¶SIMCOM_SIM7600 }\n".to_owned(),
            "without `SIMCOM_`",
        ),
        ("modems:\n  ¶\"a/b\": { match: { port: /a } }\n".to_owned(), "`a/b` must be a name"),
        (
            "modems:\n  a: { match: { port: /a } }\n  b: { ¶match: { port: /a } }\n".to_owned(),
            "same modem as `a`",
        ),
    ]);
}

#[test]
fn what_tls_needs_and_what_it_has_no_place_beside() {
    let at = |broker: &str, session: &str| {
        format!(
            "gateway: gw\nbrokers:\n  lab: {broker}\nmodems:\n  m: {{ match: {{ port: /a }}, sessions: {{ s: {session} }} }}\n"
        )
    };
    let aws = "mqtts://a1b2-ats.iot.eu-central-1.amazonaws.com";
    refused(&[
        (broker("{ url: ¶mqtts://b:8883 }"), "`tls: { insecure: true }` takes anyone"),
        (at("{ url: ¶mqtts://b }", "{ broker: lab }"), "TLS needs `tls: { ca: … }`"),
        (at("{ url: ¶mqtts://b, tls: { insecure: false } }", "{ broker: lab }"), "TLS needs"),
        (
            at("{ url: mqtts://b }", "{ broker: lab, tls: ¶{ cert: c, key: k } }"),
            "the certificate of the authority that signed the broker's",
        ),
        (
            at(
                "{ url: mqtts://b, tls: { insecure: true } }",
                "{ broker: lab, tls: ¶{ insecure: false } }",
            ),
            "TLS needs `tls: { ca: … }`",
        ),
        (broker("{ url: mqtt://b, ¶tls: { ca: x } }"), "write `url: mqtts://b:8883`"),
        (
            at("{ url: mqtt://b }", "{ broker: lab, ¶tls: { ca: x } }"),
            "needs a broker with `url: mqtts://…`",
        ),
        (broker("{ url: mqtts://b, tls: { ca: x, insecure: ¶true } }"), "contradicts `ca`"),
        (broker("{ url: mqtts://b, tls: { ca: x, insecure: ¶yes } }"), "write `true`"),
        (broker("{ url: mqtts://b, tls: { ca: x, ¶cert: c } }"), "`cert` needs `key`"),
        (broker("{ url: mqtts://b, tls: { ca: x, ¶key: c } }"), "`key` needs `cert`"),
        (broker("{ url: mqtts://b, tls: { ¶cacert: c } }"), "unknown key `cacert` in `tls`"),
        (broker("{ url: mqtts://b, tls: { ca: ¶[x] } }"), "must be the path of a file"),
        (broker("{ url: mqtts://b, tls: { ¶ca: {} } }"), "exactly one of"),
        (broker("{ url: mqtts://b, tls: ¶x }"), "must be a mapping"),
        (
            broker("{ url: mqtts://b, tls: { ca: ¶\"-----BEGIN CERTIFICATE-----\" } }"),
            "not what is in it",
        ),
        (broker("{ url: ¶ssl://b }"), "write `mqtts://b`"),
        (top("brokers:\n  ¶lab: { provider: aws }"), "`lab` needs `url`"),
        (broker("{ provider: aws, url: ¶mqtt://b }"), "write `mqtts://b:8883`"),
        (broker("{ provider: aws, url: ¶mqtts://b }"), "must be an ATS endpoint"),
        (
            broker("{ provider: aws, url: ¶mqtts://a1b2.iot.eu-central-1.amazonaws.com }"),
            "iot:Data-ATS",
        ),
        (
            broker(&format!("{{ provider: aws, url: {aws}, ¶username: u }}")),
            "beside `provider: aws`",
        ),
        (
            at(&format!("{{ provider: aws, url: {aws}, tls: {{ ca: x }} }}"), "¶{ broker: lab }")
                .replace("s: ¶{", "¶s: {"),
            "needs `tls: { cert: …, key: … }`",
        ),
    ]);
    for taken in [
        at("{ url: mqtts://b, tls: { ca: x } }", "{ broker: lab }"),
        at("{ url: mqtts://b }", "{ broker: lab, tls: { ca: { credential: ca } } }"),
        at(
            "{ url: mqtts://b, tls: { ca: x } }",
            "{ broker: lab, tls: { cert: c, key: { env: K } } }",
        ),
        at(
            &format!("{{ provider: aws, url: {aws}, tls: {{ ca: x }} }}"),
            "{ broker: lab, tls: { cert: c, key: k } }",
        ),
        at(
            "{ provider: aws, url: mqtts://a1.ats.iot.cn-north-1.amazonaws.com.cn, tls: { ca: x, cert: c, key: k } }",
            "{ broker: lab }",
        ),
        aliyun("        securemode: 2\n        tls: { ca: x }\n"),
    ] {
        assert!(parse(&taken).is_ok(), "{taken}\n{}", parse(&taken).unwrap_err());
    }
    let insecure = at("{ url: mqtts://b, tls: { insecure: ¶true } }", "{ broker: lab }");
    expect(&insecure, Severity::Warning, "whoever is on the way can read and change everything");
}

#[test]
fn a_private_key_in_the_file_is_shown_to_nobody() {
    let secret = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQ";
    let block = format!(
        "|\n        -----BEGIN PRIVATE KEY-----\n        {secret}\n        -----END PRIVATE KEY-----\n"
    );
    let inline = format!(
        "brokers:\n  b:\n    url: mqtts://b\n    tls:\n      ca: x\n      cert: c\n      key: {block}"
    );
    let broken = format!("{inline}  ]: [\n");
    for text in [top(&inline), broken, top(&inline.replace("key: |", "kye: |"))] {
        let told = parse(&text).unwrap_err().render(false);
        assert!(!told.contains(secret), "{told}");
    }
}

#[test]
fn a_session_completes_its_brokers_tls() {
    let text = "gateway: gw\nbrokers:\n  lab: { url: mqtts://b, tls: { ca: ca.pem, cert: c.pem, key: k.pem } }\nmodems:\n  m:\n    match: { port: /a }\n    sessions:\n      own: { broker: lab, tls: { cert: own.pem, key: { env: K } } }\n      any: { broker: lab, tls: { insecure: true }, client_id: x }\n      same: { broker: lab, client_id: y }\n";
    let fleet = parse(text).unwrap().fleet;
    let words = |session: &config::Session| {
        let tls = session.tls.clone().unwrap();
        let identity = tls.identity.unwrap();
        format!(
            "{:?} {} {}",
            tls.ca.map(|ca| ca.place()),
            identity.cert.place(),
            identity.key.place()
        )
    };
    let all: Vec<String> = fleet.sessions().map(words).collect();
    let ca = "Some(\"/etc/modemfleet/ca.pem\")";
    assert_eq!(
        all,
        [
            format!("{ca} /etc/modemfleet/own.pem the environment variable K"),
            "None /etc/modemfleet/c.pem /etc/modemfleet/k.pem".to_owned(),
            format!("{ca} /etc/modemfleet/c.pem /etc/modemfleet/k.pem"),
        ]
    );
    assert_eq!(fleet.sessions().next().unwrap().address(), ("b".to_owned(), 8883));
}

/// A certificate of these years, and its key.
fn made(years: (i32, i32)) -> (String, String) {
    let (key, mut params) =
        (rcgen::KeyPair::generate().unwrap(), rcgen::CertificateParams::default());
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn certificates_are_looked_into() {
    let ((good, key), (old, _), (young, _)) =
        (made((2020, 2060)), made((2020, 2021)), made((2059, 2060)));
    let other = made((2020, 2060)).1;
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
    };
    let context = Context { folder: folder.path().to_owned(), secrets: Secrets::Read, ..context() };
    let check = |ca: &str, cert: &str, key: &str| {
        put("ca", ca);
        put("cert", cert);
        put("key", key);
        let tls = "{ url: mqtts://b, tls: { ca: ca, cert: cert, key: key } }";
        let told = config::parse("f", broker(tls).into_bytes(), &context);
        told.map_or_else(|problems| problems.render(false), |loaded| loaded.warnings.render(false))
    };
    assert_eq!(check(&good, &good, &key), "");
    for (ca, cert, key, want) in [
        (&old, &good, &key, "warning: a certificate in"),
        (&old, &good, &key, "expired on 2021-01-01"),
        (&young, &good, &key, "is not valid before 2059-01-01"),
        (&good, &old, &other, "expired on 2021-01-01"),
        (&good, &good, &other, "is not that of"),
        (&format!("{good}{old}"), &good, &key, "holds 2 certificates"),
        (&key, &good, &key, "error: `ca`: "),
        (&key, &good, &key, "holds no certificate in PEM form"),
        (&good, &good, &good, "holds no private key in PEM form"),
        (&good, &good, &key.replace("PRIVATE", "ENCRYPTED PRIVATE"), "openssl pkey"),
    ] {
        let told = check(ca, cert, key);
        assert!(told.contains(want), "{want}: {told}");
        assert!(!told.contains(key.lines().nth(1).unwrap()), "{told}");
    }
    fs::remove_file(folder.path().join("ca")).unwrap();
    let told =
        config::parse("f", broker("{ url: mqtts://b, tls: { ca: ca } }").into_bytes(), &context);
    assert!(told.unwrap_err().render(false).contains("there is no such file"));
}

#[test]
fn values_of_sessions() {
    let long = "c".repeat(129);
    refused(&[
        (session("        broker: ¶lb\n"), "did you mean `lab`"),
        (north("    sessions:\n      ¶s: { keep_alive: 60s }\n"), "`s` needs `broker`"),
        (north("    sessions:\n      ¶\"s 1\": { broker: lab }\n"), "must be a name"),
        (
            session("        broker: lab\n        client_id: ¶\"a\\\"b\"\n"),
            "`client_id` holds a quote",
        ),
        (
            session(&format!("        broker: lab\n        client_id: ¶{long}\n")),
            "the modem takes 128",
        ),
        (session("        broker: lab\n        keep_alive: ¶60\n"), "write `60s`"),
        (session("        broker: lab\n        keep_alive: ¶0s\n"), "must be 1s to 18h"),
        (session("        broker: lab\n        keep_alive: ¶1500ms\n"), "whole seconds"),
        (session("        broker: lab\n        reconnect_max: ¶0s\n"), "must be 1s to 1h"),
        (session("        broker: lab\n        clean_session: ¶yes\n"), "write `true`"),
        (
            session("        broker: lab\n        will: { topic: ¶a/+, payload: p }\n"),
            "not a filter",
        ),
        (session("        broker: lab\n        will: { topic: t, payload: ¶\"\" }\n"), "1 to 1024"),
        (
            session(&format!(
                "        broker: lab\n        will: {{ topic: t, payload: ¶{} }}\n",
                "p".repeat(1025)
            )),
            "1 to 1024",
        ),
        (session("        broker: lab\n        ¶will: { topic: t }\n"), "`will` needs `payload`"),
        (
            session("        broker: lab\n        subscribe: [ { filter: ¶a#, qos: 1 } ]\n"),
            "may hold `#` only",
        ),
        (
            session("        broker: lab\n        subscribe: [ { filter: ¶a/b+ } ]\n"),
            "may hold `+` only",
        ),
        (session("        broker: lab\n        subscribe: [ { filter: ¶\"a\\0b\" } ]\n"), "NUL"),
        (
            session(&format!(
                "        broker: lab\n        subscribe: [ {{ filter: ¶{} }} ]\n",
                "f".repeat(1025)
            )),
            "1024 bytes",
        ),
        (
            session("        broker: lab\n        subscribe: [ { filter: a, qos: ¶3 } ]\n"),
            "must be `0`, `1` or `2`",
        ),
        (
            session("        broker: lab\n        subscribe: [ { filter: a }, { filter: ¶a } ]\n"),
            "twice",
        ),
    ]);
}

#[test]
fn values_of_sessions_at_alibaba() {
    refused(&[
        (
            session("        broker: lab\n        ¶product_key: k\n"),
            "needs a broker with `provider: aliyun`",
        ),
        (
            north("    sessions:\n      ¶s: { broker: ali, product_key: k, device_name: n }\n"),
            "`s` needs `device_secret`",
        ),
        (
            session(
                "        broker: ali\n        product_key: k\n        device_name: n\n        device_secret: ¶8f663b38\n",
            ),
            "must not stand in this file",
        ),
        (
            session(
                "        broker: ali\n        product_key: ¶k&\n        device_name: n\n        device_secret: { env: X }\n",
            ),
            "letters and digits",
        ),
        (aliyun("        keep_alive: ¶20s\n"), "must be 30s to 20m"),
        (aliyun("        securemode: ¶4\n"), "must be 2 (TLS) or 3 (TCP)"),
        (aliyun("        securemode: ¶2\n"), "TLS needs `tls: { ca: … }`"),
        (aliyun("        ¶tls: { ca: x }\n"), "`tls` needs `securemode: 2`"),
        (aliyun("        signmethod: ¶hmacsha\n"), "did you mean `hmacsha1`"),
        (aliyun("        timestamp: ¶now\n"), "milliseconds"),
        (aliyun("        aliauth: ¶perhaps\n"), "must be `true` or `false`"),
        (aliyun("        aliauth: true\n        ¶signmethod: hmacmd5\n"), "has no effect"),
        (aliyun("        aliauth: true\n        ¶timestamp: 9\n"), "the agent signs"),
        (aliyun("        client_id: ¶a|b\n"), "visible ASCII"),
        (aliyun("        host: ¶a_b/c\n"), "host name"),
    ]);
}

#[test]
fn two_sessions_with_one_identity_at_one_broker() {
    let two = |first: &str, second: &str| {
        format!(
            "gateway: gw\nbrokers: {{ a: {{ url: mqtt://H }}, b: {{ url: \"mqtt://h:1883\" }}, c: {{ url: mqtt://i }}, ali: {{ provider: aliyun, region: cn-shanghai }} }}\nmodems:\n  m:\n    match: {{ port: /a }}\n    sessions:\n      s: {first}\n      t: {second}\n"
        )
    };
    refused(&[
        // One broker under two names; one id by default and one by hand.
        (
            two("{ broker: a }", "{ broker: b, client_id: ¶gw-m-s }"),
            "m/s has the same client id `gw-m-s`",
        ),
        (
            two(
                "{ broker: ali, product_key: k, device_name: d, device_secret: { env: X } }",
                "{ broker: ali, product_key: k, device_name: ¶d, device_secret: { env: X }, client_id: other }",
            ),
            "m/s has the same device `d&k`",
        ),
    ]);
    assert!(parse(&two("{ broker: a }", "{ broker: c, client_id: gw-m-s }")).is_ok());
}

fn batched(key: &str) -> String {
    routes(&format!("  - {{ topic: a, to: [bench/lab], batch: {{ format: lines, {key} }} }}\n"))
}

#[test]
fn values_of_routes() {
    refused(&[
        (routes("  - { topic: a, to: [¶nort/cloud] }\n"), "did you mean `north/cloud`"),
        (routes("  - { topic: a, to: [¶north] }\n"), "name one of its sessions: `north/cloud`"),
        (routes("  - { topic: a, to: [bench/lab, ¶bench/lab] }\n"), "stands twice"),
        (routes("  - { topic: a, ¶to: [] }\n"), "at least one session"),
        (routes("  - { topic: a, to: ¶bench/lab }\n"), "must be a list"),
        (routes("  - { topic: ¶a/#/b, to: [bench/lab] }\n"), "may hold `#` only"),
        (routes("  - ¶{ to: [bench/lab] }\n"), "needs `topic`"),
        (
            routes("  - { topic: a, to: [bench/lab], publish_as: ¶\"x/${tpic}\" }\n"),
            "has ${tpic}, which bench/lab does not have",
        ),
        (
            routes("  - { topic: a, to: [bench/lab], publish_as: ¶\"x/${topic\" }\n"),
            "without its `}`",
        ),
        (routes("  - { topic: a, to: [bench/lab], publish_as: ¶\"x/#\" }\n"), "not a filter"),
        (
            routes("  - { topic: a, to: [bench/lab], policy: all, ¶hold_down: 1s }\n"),
            "means nothing",
        ),
        (routes("  - { topic: a, to: [bench/lab], hold_down: ¶5 }\n"), "hold_down"),
        (routes("  - { topic: a, to: [bench/lab], fail_back: ¶yes }\n"), "fail_back"),
        (routes("  - { topic: a, to: [bench/lab], stall: ¶15 }\n"), "needs a unit"),
        (routes("  - { topic: a, to: [bench/lab], ¶batch: {} }\n"), "needs `format`"),
        (
            routes("  - { topic: a, to: [bench/lab], batch: { format: ¶json } }\n"),
            "`json_array` or `lines`",
        ),
        (batched("max_messages: ¶1"), "2 to 256"),
        (batched("max_messages: ¶many"), "2 to 256"),
        (batched("max_bytes: ¶100"), "128 to 10240"),
        (batched("max_bytes: ¶11kB"), "128 to 10240"),
        (batched("max_delay: ¶5m"), "must be"),
        (batched("max_delay: ¶1"), "needs a unit"),
        (batched("ids: ¶yes"), "`true`"),
        (batched("¶delay: 1s"), "unknown key"),
        (
            routes(
                "  - { topic: a, to: [bench/lab], publish_as: ¶\"a/${id}\", batch: { format: lines } }\n",
            ),
            "as many ids as messages",
        ),
        (routes("  - { topic: a, to: [bench/lab], stall: ¶0s }\n"), "must be"),
        (routes("  - { topic: a, to: [bench/lab], name: ¶\"the way\" }\n"), "must be a name"),
        (
            routes(
                "  - { name: a, topic: a, to: [bench/lab] }\n  - { name: ¶a, topic: b, to: [bench/lab] }\n",
            ),
            "another route is called `a`",
        ),
        (
            routes("  - { topic: a, to: [bench/lab], policy: ¶failovr }\n"),
            "must be `failover`, `spread` or `all`",
        ),
    ]);
}

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
fn the_contracts_example_is_taken_in_whole() {
    let folder = with_secrets();
    let path = folder.path().join("fleet.yaml");
    fs::copy(fixture("contract.yaml"), &path).unwrap();
    let loaded = config::load(&path).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let fleet = loaded.fleet;
    assert_eq!(fleet.gateway.as_str(), "gw-01");
    assert_eq!(fleet.queue.max_bytes, 64 << 20);
    let [north, bench] = fleet.modems.as_slice() else { panic!("{fleet:?}") };
    assert_eq!((north.name.as_str(), bench.name.as_str()), ("north", "bench"));
    assert_eq!(north.pin.as_ref().unwrap().read().unwrap().expose_secret(), "1234");
    assert_eq!(bench.apn.as_ref().unwrap().kind.as_str(), "IPV4V6");
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
    assert_eq!(fleet.modems[0].recovery.budget, 6);
    assert_eq!(fleet.privileged, Path::new("/run/modemfleet-recover.sock"));
    let session = &fleet.modems[0].sessions[0];
    assert!(session.clean_session && session.keep_alive == Duration::from_secs(60));
    assert!(matches!(&session.access, Access::Plain { port: 1883, .. }));
    let all: Vec<String> = fleet.routes()[0].to.iter().map(ToString::to_string).collect();
    assert_eq!((fleet.routes().len(), all), (1, vec!["north/s".to_owned(), "north/t".to_owned()]));
}

#[test]
fn a_host_name_that_is_no_name_asks_for_gateway() {
    for host_name in [None, Some("büro.example".to_owned()), Some("x".repeat(33))] {
        let context = Context { host_name, ..context() };
        let problems = config::parse("f", top("").into_bytes(), &context).unwrap_err();
        assert!(problems.to_string().contains("add `gateway: NAME`"), "{problems}");
    }
}

#[test]
fn an_error_after_a_flood_of_warnings_still_refuses_the_file() {
    let warned = routes(&"  - { topic: a, to: [bench/lab] }\n".repeat(150));
    assert_eq!(parse(&warned).unwrap().warnings.len(), 149);
    assert!(parse(&format!("{warned}  - {{ topic: b, to: [bench/lb] }}\n")).is_err());
}

#[test]
fn a_large_hostile_file_is_answered_in_bounded_time() {
    let repeat = |count: usize, line: &str| -> String {
        (0..count).map(|n| line.replace('N', &n.to_string())).collect()
    };
    let text = [
        "brokers:\n  lab: { url: mqtt://b }\n".to_owned(),
        repeat(3000, "  bN: { url: mqtt://b, username: u, password: x }\n"),
        "modems:\n  m:\n    match: { port: /a }\n    sessions:\n".to_owned(),
        repeat(3000, "      sN: { broker: lob }\n"),
        format!("      z: {{ broker: lab, subscribe: [{}] }}\n", "{ filter: a },".repeat(5000)),
        repeat(3000, "  nN: { match: { port: /a } }\n"),
        "routes:\n".to_owned(),
        repeat(3000, "  - { topic: a, to: [m/tN] }\n"),
    ]
    .concat();
    assert!(text.len() < 1 << 20);
    assert!(parse(&text).unwrap_err().len() > 10_000);
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
    let problems = config::load(&path).unwrap_err();
    let problem = problems.iter().next().unwrap();
    assert_eq!((problem.line, problem.column), (2, 48), "{problems}");
    assert!(problem.message.contains("secrets/gone"), "{problems}");
    assert!(config::load_with(&path, Secrets::Skip).is_ok());

    fs::write(&path, north("    pin: { file: secrets/lab }\n")).unwrap();
    let problems = config::load(&path).unwrap_err().to_string();
    assert!(problems.contains("4 to 8 digits") && !problems.contains("labpass"), "{problems}");

    fs::write(&path, north("    pin: { file: secrets/pin }\n")).unwrap();
    fs::set_permissions(folder.path().join("secrets/pin"), fs::Permissions::from_mode(0o644))
        .unwrap();
    let warnings = config::load(&path).unwrap().warnings;
    assert!(warnings.to_string().contains("every user of this machine"), "{warnings}");
}

/// `depth` mappings, each in the one before it.
fn staircase(depth: usize) -> String {
    (0..depth).map(|n| format!("{}x-:\n", " ".repeat(n))).collect()
}

#[test]
fn hostile_files_are_refused_in_words() {
    let bomb: String =
        (1..40).map(|n| format!("x-{n}: &a{n} [*a{m}, *a{m}]\n", m = n - 1)).collect();
    let key_bomb: String =
        (1..40).map(|n| format!("x-{n}: &a{n} {{ ? [*a{m}, *a{m}] : 1 }}\n", m = n - 1)).collect();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "the file is empty"),
        (b"# only\n\n".to_vec(), "the file is empty"),
        (vec![b' '; 2 << 20], "larger than 1 MiB"),
        (b"gateway: a\0b\n".to_vec(), "U+0000"),
        (b"gateway: a\x1b[31m\n".to_vec(), "U+001B"),
        (b"gateway: \xff\n".to_vec(), "not UTF-8"),
        (b"a:\n\t- b\n".to_vec(), "fleet.yaml:2:"),
        (b"a: [b\n".to_vec(), "error: "),
        (b"a: 'b\n".to_vec(), "error: "),
        (b"a: *nobody\n".to_vec(), "error: "),
        (b"a: !evil 1\n".to_vec(), "tags"),
        (b"? [a]\n: 1\n".to_vec(), "a single value as a key"),
        (b"a: 1\n---\nb: 2\n".to_vec(), "more than one YAML document"),
        (b"{a: b}}\n".to_vec(), "error: "),
        ([b"x-a: ".to_vec(), vec![b'['; 100_000]].concat(), "recursion limit"),
        ([b"x-a: ".to_vec(), vec![b'['; 250], b"1,".repeat(200_000)].concat(), "error: "),
        ([b"x-a:\n  ".to_vec(), b"- ".repeat(100_000)].concat(), "nested too deeply"),
        ([b"x-a:\n  ".to_vec(), b"? ".repeat(100_000)].concat(), "nested too deeply"),
        ([b"x-a:\n  ".to_vec(), b"- &a ".repeat(100_000)].concat(), "nested too deeply"),
        (staircase(1400).into_bytes(), "nested too deeply"),
        // The deepest that reaches the parsers, on this thread's small stack.
        (staircase(200).into_bytes(), "nested too deeply"),
        (
            [staircase(99), " ".repeat(99), "- ".repeat(100), "[".repeat(250)]
                .concat()
                .into_bytes(),
            "error: ",
        ),
        (format!("x-0: &a0 x\n{bomb}").into_bytes(), "error: "),
        (format!("x-0: &a0 x\n{key_bomb}").into_bytes(), "error: "),
        ("k: 1\n".repeat(100_000).into_bytes(), "duplicate key `k`"),
    ];
    for (bytes, phrase) in cases {
        let start: String = String::from_utf8_lossy(&bytes).chars().take(40).collect();
        let problems = config::parse("fleet.yaml", bytes, &context()).unwrap_err();
        let rendered = problems.render(false);
        assert!(rendered.contains(phrase), "{start:?}: {rendered:.500}");
        assert!(rendered.contains("fleet.yaml:"), "{start:?}: {rendered:.500}");
    }
}

#[test]
fn a_flood_of_faults_stays_short() {
    let keys: String = (0..20_000).map(|n| format!("zzz{n}: 1\n")).collect();
    let problems = parse(&top(&keys)).unwrap_err();
    assert!(problems.len() >= 20_000);
    assert!(problems.to_string().lines().count() < 1000);
}

#[test]
fn any_cut_and_any_swapped_byte_is_answered_without_a_panic() {
    let good = fs::read(fixture("contract.yaml")).unwrap();
    for end in (0..good.len()).step_by(7) {
        let _ = config::parse("f", good[..end].to_vec(), &context());
    }
    // A fixed walk of a linear congruence: the same bytes in every run.
    let mut state: usize = 12345;
    for _ in 0..400 {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut bytes = good.clone();
        let at = (state >> 33) % bytes.len();
        bytes[at] = b"{}[]:,&*#?|->'\"%@`!\n\t 0\xc3\xa9"[(state >> 20) % 25];
        if let Err(problems) = config::parse("f", bytes, &context()) {
            assert!(!problems.render(false).is_empty());
        }
    }
}

#[derive(Parser)]
struct Check {
    #[command(flatten)]
    args: check::Args,
}

fn run_check(arguments: &[&str]) -> (check::Verdict, String, String) {
    let args = Check::try_parse_from([&["check"], arguments].concat()).unwrap().args;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let plugins = [&profile_simcom::PLUGIN];
    let verdict = check::run(&args, &plugins, false, &mut out, &mut err).unwrap();
    (verdict, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn check_refuses_a_wrong_file_of_models_too() {
    let folder = with_secrets();
    let path = folder.path().join("fleet.yaml");
    fs::copy(fixture("contract.yaml"), &path).unwrap();
    let models = folder.path().join("models.d");
    fs::create_dir(&models).unwrap();
    let words = ["--models", models.to_str().unwrap(), path.to_str().unwrap()];
    assert_eq!(run_check(&words).0, check::Verdict::Good, "{:?}", run_check(&words));
    fs::write(models.join("bad.yaml"), "models: [{ like: sim7600 }]").unwrap();
    let (verdict, out, err) = run_check(&words);
    assert_eq!((verdict, out.as_str()), (check::Verdict::Wrong, ""));
    assert!(err.contains("bad.yaml:1:10") && err.contains("has no `cgmm`"), "{err}");
    let (verdict, out, err) = run_check(&[&["--json"], &words[..]].concat());
    assert_eq!((verdict, err.as_str()), (check::Verdict::Wrong, ""));
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&told["ok"], told["problems"].as_array().map(Vec::len)), (&false.into(), Some(0)));
    let problem = &told["models"][0];
    assert!(problem["file"].as_str().unwrap().ends_with("bad.yaml"), "{out}");
    assert_eq!((&problem["line"], &problem["column"]), (&1.into(), &10.into()));
}

#[test]
fn check_says_ok_or_where() {
    let folder = with_secrets();
    let path = folder.path().join("fleet.yaml");
    let name = path.to_str().unwrap();
    fs::copy(fixture("contract.yaml"), &path).unwrap();
    let want = format!("{name}: ok (2 modems, 2 sessions, 2 routes)\n");
    assert_eq!(run_check(&[name]), (check::Verdict::Good, want, String::new()));

    fs::write(&path, top("gatway: x")).unwrap();
    let (verdict, out, err) = run_check(&[name]);
    assert_eq!((verdict, out.as_str()), (check::Verdict::Wrong, ""));
    assert!(err.contains(&format!("{name}:1:1")), "{err}");

    let (verdict, out, _) = run_check(&[name, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((verdict, &json["ok"]), (check::Verdict::Wrong, &false.into()));
    assert_eq!(
        (&json["problems"][0]["line"], &json["problems"][0]["path"]),
        (&1.into(), &"gatway".into())
    );

    let (verdict, _, err) = run_check(&["/nowhere/fleet.yaml"]);
    assert_eq!(verdict, check::Verdict::Wrong);
    assert!(err.contains("cannot read the configuration"), "{err}");
}

#[derive(Debug, Parser)]
struct Sign {
    #[command(flatten)]
    args: sign::Args,
}

const DEVICE: [&str; 6] =
    ["sign", "aliyun", "--product-key", "a1mQpKOF9hp", "--device-name", "7600"];

fn run_sign(more: &[&str], stdin: &str) -> Result<String, String> {
    let parsed = Sign::try_parse_from([&DEVICE, more].concat()).map_err(|e| e.to_string())?;
    let mut out = Vec::new();
    sign::run(&parsed.args, &mut stdin.as_bytes(), &mut out).map_err(|e| e.to_string())?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn sign_prints_what_a_device_signs_in_with() {
    let secret = "8f663b388dee796b931ebcb789b75a39\n";
    let want = "\
host:      a1mQpKOF9hp.iot-as-mqtt.cn-shanghai.aliyuncs.com:1883
client id: 7600|securemode=3,signmethod=hmacsha1|
user name: 7600&a1mQpKOF9hp
password:  D48150E8D550607B15C667E100635EE96EA7D512
";
    assert_eq!(run_sign(&["--device-secret-file", "-"], secret).as_deref(), Ok(want));
    let folder = with_secrets();
    let file = folder.path().join("secrets/north");
    let file = ["--device-secret-file", file.to_str().unwrap()];
    assert_eq!(run_sign(&file, "").as_deref(), Ok(want));
    let json = run_sign(
        &[
            &file[..],
            &[
                "--json",
                "--method",
                "hmacmd5",
                "--securemode",
                "2",
                "--timestamp",
                "9",
                "--instance",
                "iot-1",
            ],
        ]
        .concat(),
        "",
    )
    .unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["client_id"], "7600|securemode=2,signmethod=hmacmd5,timestamp=9|");
    assert_eq!(json["host"], "iot-1.mqtt.iothub.aliyuncs.com");
}

#[test]
fn sign_refuses_what_it_cannot_sign() {
    for (more, stdin, want) in [
        (&[][..], "", "--device-secret"),
        (&["--device-secret-file", "-"], "", "is empty"),
        (&["--device-secret-file", "/nowhere"], "", "no such file"),
        (&["--device-secret-env", "MODEMFLEET_TEST_UNSET"], "", "MODEMFLEET_TEST_UNSET"),
        (&["--device-secret-file", "-", "--client-id", "a|b"], "s", "client_id must be"),
        (&["--device-secret-file", "-", "--method", "sha1"], "s", "must be hmacsha1"),
        (&["--device-secret-file", "-", "--securemode", "1"], "s", "2 (TLS) or 3 (TCP)"),
        (&["--device-secret", "s"], "", "unexpected argument"),
    ] {
        let error = run_sign(more, stdin).unwrap_err();
        assert!(error.contains(want), "{more:?}: {error}");
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A folder with the secrets that the fixtures refer to, readable to their owner only.
fn with_secrets() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let secrets = folder.path().join("secrets");
    fs::create_dir(&secrets).unwrap();
    for (name, content) in
        [("lab", "labpass\n"), ("pin", "1234\n"), ("north", "8f663b388dee796b931ebcb789b75a39\n")]
    {
        let path = secrets.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    folder
}

#[test]
fn a_budget_says_how_much_until_when_and_what_then() {
    let of = |budget: &str| {
        let loaded = parse(&north(&format!("    budget: {budget}\n"))).unwrap();
        loaded.fleet.modems[0].budget.clone().unwrap()
    };
    let least = of("{ bytes: 500MB }");
    assert_eq!((least.bytes, least.reset_day, least.warn), (500_000_000, 1, 80));
    assert_eq!((least.shed, least.stop, least.urgent), (None, Some(100), None));
    assert_eq!(least.time_zone.iana_name(), Some("UTC"));
    let most = of("{ bytes: 1GiB, reset_day: 31, time_zone: Asia/Shanghai, warn: 50%, \
         shed: { at: 50%, below_priority: 5 }, stop: 95%, urgent: 9 }");
    assert_eq!((most.bytes, most.reset_day, most.warn), (1 << 30, 31, 50));
    let shed = most.shed.unwrap();
    assert_eq!((shed.at, shed.below_priority, most.stop, most.urgent), (50, 5, Some(95), Some(9)));
    assert_eq!(most.time_zone.iana_name(), Some("Asia/Shanghai"));
    assert_eq!(of("{ bytes: 1MB, stop: never }").stop, None);
}

#[test]
fn a_budget_that_cannot_be_held_is_refused() {
    let budget = |text: &str| north(&format!("    budget: {text}\n"));
    refused(&[
        (north("    ¶budget: {}\n"), "needs `bytes`"),
        (budget("{ bytes: ¶500 }"), "at least"),
        (budget("{ bytes: ¶lots }"), "no size"),
        (budget("{ bytes: 1MB, reset_day: ¶0 }"), "1 to 31"),
        (budget("{ bytes: 1MB, reset_day: ¶32 }"), "1 to 31"),
        (budget("{ bytes: 1MB, time_zone: ¶Asia/Shanghia }"), "no time zone"),
        (budget("{ bytes: 1MB, time_zone: ¶../../etc/passwd }"), "no time zone"),
        (budget("{ bytes: 1MB, time_zone: ¶CST-8 }"), "no time zone"),
        (budget("{ bytes: 1MB, warn: ¶80 }"), "a share of the budget"),
        (budget("{ bytes: 1MB, warn: ¶0% }"), "1% to 100%"),
        (budget("{ bytes: 1MB, stop: ¶101% }"), "1% to 100%"),
        (budget("{ bytes: 1MB, stop: ¶70% }"), "comes after"),
        (budget("{ bytes: 1MB, warn: ¶95%, shed: { at: 90%, below_priority: 5 } }"), "comes after"),
        (budget("{ bytes: 1MB, ¶shed: { at: 90% } }"), "needs `below_priority`"),
        (budget("{ bytes: 1MB, shed: { at: 90%, below_priority: ¶0 } }"), "a priority"),
        (budget("{ bytes: 1MB, urgent: ¶10 }"), "a priority"),
        (budget("{ bytes: 1MB, stop: never, ¶urgent: 9 }"), "means nothing"),
        (budget("{ bytes: 1MB, ¶limit: 2 }"), "unknown key"),
    ]);
}

#[test]
fn telemetry_has_its_topics_its_session_and_its_will() {
    let of = |telemetry: &str| {
        let sessions =
            "sessions: { one: { broker: lab }, two: { broker: lab, vars: { site: roof } } }";
        let loaded =
            parse(&north(&format!("    telemetry: {telemetry}\n    {sessions}\n"))).unwrap();
        loaded.fleet.modems[0].clone()
    };
    let modem = of("{}");
    let least = modem.telemetry.unwrap();
    assert_eq!(
        (least.session.as_str(), least.topic.as_str()),
        ("one", "modemfleet/gw/north/state")
    );
    assert_eq!(
        (least.every, least.qos, least.retain),
        (Duration::from_secs(60), Qos::AtLeastOnce, true)
    );
    let will = modem.sessions[0].will.clone().unwrap();
    assert_eq!(least.status.as_deref(), Some("modemfleet/gw/north/status"));
    assert_eq!(
        (will.topic.as_str(), will.payload.as_str()),
        ("modemfleet/gw/north/status", "offline")
    );
    assert!(will.retain && modem.sessions[1].will.is_none());
    let modem = of(
        "{ session: two, topic: \"${site}/${session}\", status: none, every: 5m, qos: 0, retain: false }",
    );
    let most = modem.telemetry.unwrap();
    assert_eq!((most.topic.as_str(), most.status, most.retain), ("roof/two", None, false));
    assert!(modem.sessions.iter().all(|session| session.will.is_none()));
}

#[test]
fn telemetry_that_cannot_be_told_is_refused() {
    let own_will = "        broker: lab\n        will: { topic: t, payload: p }\n";
    let with = |telemetry: &str, session: &str| {
        north(&format!("    telemetry: {telemetry}\n    sessions:\n      s:\n{session}"))
    };
    let plain = |telemetry: &str| with(telemetry, "        broker: lab\n");
    assert!(parse(&with("{ status: none }", own_will)).is_ok());
    refused(&[
        (with("{}", &own_will.replace("will:", "¶will:")), "no place beside `telemetry`"),
        (north("    ¶telemetry: {}\n"), "needs a session"),
        (plain("{ session: ¶t }"), "no session of this modem"),
        (plain("{ every: ¶10 }"), "needs a unit"),
        (plain("{ every: ¶2d }"), "must be"),
        (plain("{ topic: ¶\"a/#\" }"), "not a filter"),
        (plain("{ topic: ¶\"${site}/x\" }"), "unknown variable ${site}"),
        (plain("{ topic: ¶\"${id}/x\" }"), "unknown variable ${id}"),
        (plain("{ topic: ¶a/status }"), "the topic of the state"),
        (plain("{ topic: a/b, status: ¶a/b }"), "the topic of the state"),
        (plain("{ status: ¶\"a/+\" }"), "not a filter"),
        (plain("{ ¶interval: 1m }"), "unknown key"),
    ]);
}
