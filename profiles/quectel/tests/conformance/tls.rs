//! TLS: the files put into the modem, the time of each upload, and the files left there.

use modem::mqtt::{Connection, MqttError, Qos};
use modem::port::Kind;
use modem::tls::{Identity, Tls};
use modem_conformance::bench::{Bench, FIRST, SECOND, connection};
use modem_conformance::broker::Broker;
use modem_conformance::pki::{Pki, over};
use modem_conformance::trace::Lines;
use modem_sim::{Clock, Fault, Faults, Model, Options};
use profile_quectel::PLUGIN;
use secrecy::ExposeSecret;
use tokio::time::Duration;

use crate::subject;
use crate::unit::{OPENED, unit};

scenarios!(the_dialogue_of_a_first_and_of_a_second_connect, the_failures_are_told);

async fn files(bench: &Bench) -> Vec<String> {
    let answer = at::Answer::Prefix("+QFLST:");
    let lines = modem::profile::run(&bench.at, Kind::Status, "AT+QFLST=\"*\"", answer).await;
    let name = |line: &String| line.split('"').nth(1).unwrap().replace("UFS:", "");
    lines.unwrap().iter().map(name).collect()
}

/// Puts a foreign file into the modem.
async fn put(bench: &Bench, name: &str, content: &str) {
    let line = format!("AT+QFUPL=\"{name}\",{}", content.len());
    let upload = at::Exchange::new(line, modem::profile::PATIENCE).unwrap();
    bench.at.run(Kind::Prompt, upload.prompt(content).after_connect()).await.unwrap();
}

async fn the_dialogue_of_a_first_and_of_a_second_connect(model: Model) {
    let pki = Pki::default();
    let broker = pki.broker("require_certificate true\n").await;
    let (bench, _handle) = Bench::simulated(subject(model), &broker).await;
    let tls = pki.mutual();
    bench.mqtt.start(&bench.at).await.unwrap();
    bench.forget();
    bench.open(FIRST, &over(&tls)).await.unwrap();
    bench.publish(FIRST, "t", "x", Qos::AtLeastOnce).await.unwrap();
    bench.mqtt.close(&bench.at, FIRST).await;
    let first = bench.commands();
    bench.forget();
    bench.open(FIRST, &over(&tls)).await.unwrap();
    let second = bench.commands();

    let mut names = files(&bench).await;
    names.sort();
    let [ca, cert, key] = names.try_into().unwrap();
    assert!(ca.starts_with("mf0-ca-") && cert.starts_with("mf0-cert-"), "{ca} {cert}");
    assert!(key.starts_with("mf0-key-") && key.len() == "mf0-key-0123456789abcdef.pem".len());
    let identity = tls.identity.unwrap();
    let line = |line: String| (line, Vec::new());
    let upload = |name: &str, data: &str| {
        (format!("AT+QFUPL=\"{name}\",{},10", data.len()), data.as_bytes().to_vec())
    };
    let uploads = [
        upload(&ca, &pki.ca),
        upload(&cert, &identity.cert),
        upload(&key, identity.key.expose_secret()),
    ];
    let before = ["AT+CCLK?", "AT+QFLST=\"*\""].map(|text| line(text.to_owned()));
    let after = [
        "AT+QSSLCFG=\"sslversion\",0,3".to_owned(),
        "AT+QSSLCFG=\"ciphersuite\",0,0XFFFF".to_owned(),
        "AT+QSSLCFG=\"seclevel\",0,2".to_owned(),
        "AT+QSSLCFG=\"ignoreinvalidcertsign\",0,0".to_owned(),
        "AT+QSSLCFG=\"ignoremulticertchainverify\",0,0".to_owned(),
        "AT+QSSLCFG=\"ignorecertitem\",0,0".to_owned(),
        "AT+QSSLCFG=\"ignorelocaltime\",0,0".to_owned(),
        format!("AT+QSSLCFG=\"cacert\",0,\"{ca}\""),
        format!("AT+QSSLCFG=\"clientcert\",0,\"{cert}\""),
        format!("AT+QSSLCFG=\"clientkey\",0,\"{key}\""),
        "AT+QSSLCFG=\"checkhost\",0,1".to_owned(),
        "AT+QSSLCFG=\"sni\",0,1".to_owned(),
        "AT+QMTCFG=\"ssl\",0,1,0".to_owned(),
        "AT+QMTOPEN=0,\"broker.example.com\",8883".to_owned(),
        "AT+QMTCONN=0,\"m\"".to_owned(),
    ];
    let after = after.map(line);
    // After the settings of MQTT.
    let settings = first.iter().position(|(line, _)| line == "AT+CCLK?").unwrap();
    let whole = [&before[..], &uploads[..], &after[..]].concat();
    assert_eq!(first[settings..settings + whole.len()], whole, "the first time");
    assert_eq!(second[settings..], [&before[..], &after[..]].concat(), "the files are there");
}

async fn the_failures_are_told(model: Model) {
    let (ours, other) = (Pki::default(), Pki::default());
    let broker = ours.broker("").await;
    let mutual = ours.broker("require_certificate true\n").await;
    let expired = ours.broker_until(2021, "").await;
    let plain = Broker::open().await;
    let anyone = Tls { ca: None, identity: None };
    for (what, broker, tls, works) in [
        ("the right CA", &broker, ours.trusting(), true),
        ("another CA", &broker, other.trusting(), false),
        ("a CA that is none", &broker, Tls { ca: Some("-".to_owned()), identity: None }, false),
        ("an expired certificate", &expired, ours.trusting(), false),
        ("an expired one, but nobody looks", &expired, anyone.clone(), true),
        ("a client certificate", &mutual, ours.mutual(), true),
        ("no client certificate", &mutual, ours.trusting(), false),
        ("another's", &mutual, Tls { ca: Some(ours.ca.clone()), ..other.mutual() }, false),
        ("nobody is checked", &broker, anyone.clone(), true),
        ("a port without TLS", &plain, anyone.clone(), false),
    ] {
        let (bench, _handle) = Bench::simulated(subject(model), broker).await;
        bench.mqtt.start(&bench.at).await.unwrap();
        match bench.open(FIRST, &over(&tls)).await {
            Ok(()) => assert!(works, "{what}"),
            Err(error) => assert!(!works && error.code() == Some(-1), "{what}: {error}"),
        }
    }
    let (bench, _handle) = Bench::simulated(subject(model), &broker).await;
    let long = Tls { ca: Some("c".repeat(10_241)), identity: None };
    let refused = bench.open(FIRST, &over(&long)).await.unwrap_err();
    assert!(matches!(refused, MqttError::FileTooLong { length: 10_241, .. }), "{refused}");
    assert!(refused.is_hopeless() && files(&bench).await.is_empty());
}

async fn set(bench: &Bench, setting: &str) {
    let line = format!("AT+QSSLCFG=\"{setting}");
    modem::profile::run(&bench.at, Kind::Setup, &line, at::Answer::None).await.unwrap();
}

/// Public code turns parts of the check off, and its settings stay until the modem boots.
#[tokio::test]
async fn what_an_earlier_program_left_unchecked_is_checked() {
    let (ours, other) = (Pki::default(), Pki::default());
    let broker = ours.broker("").await;
    let (bench, _handle) = Bench::simulated(subject(Model::Ec25), &broker).await;
    for left in
        ["ignoreinvalidcertsign\",0,1", "ignoremulticertchainverify\",0,1", "ignorecertitem\",0,8"]
    {
        set(&bench, left).await;
        let failed = bench.open(FIRST, &over(&other.trusting())).await.unwrap_err();
        assert_eq!(failed.code(), Some(-1), "{left}: {failed}");
        bench.mqtt.close(&bench.at, FIRST).await;
    }
}

/// The certificate is for `broker.example.com`, and its authority is trusted.
#[tokio::test]
async fn a_certificate_of_another_host_is_refused() {
    let pki = Pki::default();
    let broker = pki.broker("").await;
    let anyone = Tls { ca: None, identity: None };
    let (bench, _handle) = Bench::simulated(subject(Model::Ec25), &broker).await;
    for (host, tls, works) in [
        ("other.example.com", pki.trusting(), false),
        ("broker.example.com", pki.trusting(), true),
        // An address is not a name: nothing is compared, although the name was compared just before.
        ("127.0.0.1", pki.trusting(), true),
        ("broker.example.com", pki.trusting(), true),
        ("other.example.com", anyone, true),
    ] {
        let connection = Connection { host: host.to_owned(), ..over(&tls) };
        assert_eq!(bench.open(FIRST, &connection).await.is_ok(), works, "{host}");
        bench.mqtt.close(&bench.at, FIRST).await;
    }
}

/// Without `ca` the modem shows no certificate, so it does not need a key.
#[tokio::test]
async fn a_key_that_is_not_shown_is_not_in_the_modem() {
    let pki = Pki::default();
    let broker = pki.broker("").await;
    let (bench, _handle) = Bench::simulated(subject(Model::Ec25), &broker).await;
    let mutual = pki.mutual();
    bench.open(FIRST, &over(&mutual)).await.unwrap();
    assert_eq!(files(&bench).await.len(), 3);
    bench.mqtt.close(&bench.at, FIRST).await;
    bench.open(FIRST, &over(&Tls { ca: None, ..mutual })).await.unwrap();
    assert_eq!(files(&bench).await, [""; 0]);
}

/// A setting of an earlier run stays in the modem: each connection follows its own configuration.
#[tokio::test]
async fn a_client_is_over_tls_and_plain_by_turns() {
    let pki = Pki::default();
    let broker = pki.broker("").await;
    let (bench, _handle) = Bench::simulated(subject(Model::Ec25), &broker).await;
    for _ in 0..2 {
        bench.open(FIRST, &over(&pki.trusting())).await.unwrap();
        bench.mqtt.close(&bench.at, FIRST).await;
        let plain = bench.open(FIRST, &connection("m")).await;
        assert!(plain.is_err(), "plain TCP to a port of TLS: {plain:?}");
        bench.mqtt.close(&bench.at, FIRST).await;
    }
    let open = Broker::open().await;
    let (bench, _handle) = Bench::simulated(subject(Model::Ec25), &open).await;
    bench.open(FIRST, &over(&pki.trusting())).await.unwrap_err();
    bench.mqtt.close(&bench.at, FIRST).await;
    bench.open(FIRST, &connection("m")).await.unwrap();
}

/// Two clients with authorities of their own, at the same time.
#[tokio::test]
async fn what_is_not_used_any_more_is_removed_and_nothing_else() {
    let (ours, other) = (Pki::default(), Pki::default());
    let broker = ours.broker("").await;
    let (bench, _handle) = Bench::simulated(subject(Model::Eg25), &broker).await;
    put(&bench, "server.pem", "xx").await;
    bench.mqtt.start(&bench.at).await.unwrap();
    bench.open(FIRST, &over(&other.trusting())).await.unwrap_err();
    bench.mqtt.close(&bench.at, FIRST).await;
    let second = Connection { client_id: "n".to_owned(), ..over(&ours.mutual()) };
    bench.open(SECOND, &second).await.unwrap();
    assert_eq!(files(&bench).await.len(), 1 + 1 + 3);
    bench.open(FIRST, &over(&ours.trusting())).await.unwrap();
    bench.publish(SECOND, "t", "x", Qos::AtLeastOnce).await.unwrap();
    let there = files(&bench).await;
    assert_eq!(there.iter().filter(|name| name.starts_with("mf0-ca-")).count(), 1, "{there:?}");
    assert_eq!(there.len(), 1 + 1 + 3, "{there:?}");
    bench.mqtt.tidy(&bench.at, &[SECOND]).await;
    assert_eq!(files(&bench).await.len(), 1 + 3, "the first client needs none any more");
    bench.mqtt.tidy(&bench.at, &[]).await;
    assert_eq!(files(&bench).await, ["server.pem"]);
}

/// Power was lost during the upload.
#[tokio::test]
async fn a_torn_file_is_not_believed() {
    let pki = Pki::default();
    let broker = pki.broker("").await;
    let (bench, _handle) = Bench::simulated(subject(Model::Ec200), &broker).await;
    let connection = over(&pki.trusting());
    bench.open(FIRST, &connection).await.unwrap();
    let [ca] = files(&bench).await.try_into().unwrap();
    let delete = format!("AT+QFDEL=\"{ca}\"");
    modem::profile::run(&bench.at, Kind::Setup, &delete, at::Answer::None).await.unwrap();
    put(&bench, &ca, &pki.ca[..100]).await;
    bench.mqtt.close(&bench.at, FIRST).await;
    bench.open(FIRST, &connection).await.unwrap();
}

/// The agent died during the upload, and the first bytes of the next agent completed the file's length.
#[tokio::test]
async fn a_file_that_was_filled_up_is_uploaded_anew_once_tls_fails_and_only_once() {
    let (pki, other) = (Pki::default(), Pki::default());
    let broker = pki.broker("").await;
    let uploads = |bench: &Bench| {
        bench.commands().iter().filter(|(line, _)| line.starts_with("AT+QFUPL=")).count()
    };
    // The right file, and a file that fails in any case.
    for (ca, works) in [(&pki.ca, true), (&other.ca, false)] {
        let (bench, _handle) = Bench::simulated(subject(Model::Ec25), &broker).await;
        let tls = over(&Tls { ca: Some(ca.clone()), identity: None });
        let [file] = modem::tls::files(FIRST, tls.tls.as_ref().unwrap()).try_into().ok().unwrap();
        put(&bench, &file.name, &format!("{:\r<1$}", &ca[..100], ca.len())).await;
        bench.forget();
        bench.open(FIRST, &tls).await.unwrap_err();
        assert_eq!(uploads(&bench), 0, "a file of this name and length is there");
        for _ in 0..3 {
            bench.mqtt.close(&bench.at, FIRST).await;
            assert_eq!(bench.open(FIRST, &tls).await.is_ok(), works);
        }
        assert_eq!(uploads(&bench), 1);
    }
}

/// Bytes written while the modem is still busy would become the file.
#[tokio::test]
async fn a_connect_that_comes_late_is_given_the_file() {
    let pki = Pki::default();
    let broker = pki.broker("").await;
    let late = Duration::from_secs(16);
    let options = Options { broker: Some(broker.address()), late, ..Options::new(Model::Ec25) };
    let (bench, handle) = Bench::with_options(&PLUGIN, options).await;
    handle.set(Fault::LatePrompt, 1.0).await.unwrap();
    tokio::time::pause();
    let given_up = bench.open(FIRST, &over(&pki.trusting())).await.unwrap_err();
    tokio::time::resume();
    assert!(given_up.is_timeout(), "{given_up}");
    assert_eq!(files(&bench).await, [""; 0], "and it is not left there unseen");
    handle.set(Fault::LatePrompt, 0.0).await.unwrap();
    bench.open(FIRST, &over(&pki.trusting())).await.unwrap();
}

/// The broker's verdict proves that the files arrived whole.
#[tokio::test]
async fn files_go_through_noise_and_torn_reads() {
    let pki = Pki::default();
    let broker = pki.broker("require_certificate true\n").await;
    let noise = [Fault::Garbage, Fault::Urc, Fault::Late, Fault::LatePrompt];
    for seed in 0..4 {
        let faults = noise.iter().fold(Faults::none(), |faults, fault| faults.with(*fault, 0.4));
        let options = Options {
            broker: Some(broker.address()),
            late: Duration::from_millis(20),
            faults: faults.with(Fault::Split, 1.0),
            seed,
            ..Options::new(Model::Ec25)
        };
        let (bench, _handle) = Bench::with_options(&PLUGIN, options).await;
        bench.open(FIRST, &over(&pki.mutual())).await.unwrap();
        bench.publish(FIRST, "t", "x", Qos::AtLeastOnce).await.unwrap();
    }
}

#[tokio::test]
async fn a_clock_that_is_not_set_is_set_before_it_is_checked() {
    let pki = Pki::default();
    let broker = pki.broker("").await;
    let address = Some(broker.address());
    let options = Options { broker: address, clock: Clock::Unset, ..Options::new(Model::Ec25) };
    let (bench, _handle) = Bench::with_options(&PLUGIN, options).await;
    bench.open(FIRST, &over(&pki.trusting())).await.unwrap();
    bench.mqtt.close(&bench.at, FIRST).await;
    bench.open(FIRST, &over(&pki.trusting())).await.unwrap();
    let commands = bench.commands();
    let set = commands.iter().filter(|(line, _)| line.starts_with("AT+CCLK=\"")).count();
    assert_eq!(set, 1, "{commands:?}");
}

#[tokio::test]
async fn messages_go_both_ways_over_tls() {
    let pki = Pki::default();
    let broker = pki.broker("").await;
    let (mut bench, _handle) = Bench::simulated(subject(Model::Rm520n), &broker).await;
    bench.open(FIRST, &over(&pki.trusting())).await.unwrap();
    bench.subscribe(FIRST, &["loop"]).await.unwrap();
    for length in [1, 1_500] {
        let payload: Vec<u8> =
            (0..length).map(|at: usize| u8::try_from(at % 251).unwrap()).collect();
        bench.publish(FIRST, "loop", payload.clone(), Qos::AtLeastOnce).await.unwrap();
        assert_eq!(bench.received().await, (FIRST, "loop".to_owned(), payload));
    }
}

// --- units that differ from the simulator ------------------------------------------------------------

#[tokio::test]
async fn firmware_that_knows_less_is_used_without_but_never_without_tls() {
    let anyone = over(&Tls { ca: None, identity: None });
    let unknown = [
        ("AT+QSSLCFG=\"sni\"", "|ERROR|"),
        ("AT+QSSLCFG=\"checkhost\"", "|ERROR|"),
        ("AT+QSSLCFG=\"ignoreinvalidcertsign\"", "|ERROR|"),
        ("AT+QSSLCFG=\"ignoremulticertchainverify\"", "|ERROR|"),
        ("AT+QSSLCFG=\"ignorecertitem\"", "|+CME ERROR: 3|"),
        ("AT+QFUPL", "|CONNECT|~+QFUPL: 3,262||OK|"),
    ];
    let trusting = over(&Tls { ca: Some("abc".to_owned()), identity: None });
    for connection in [&trusting, &anyone] {
        let (bench, _) = unit(&[&unknown[..], &OPENED].concat()).await;
        bench.open(FIRST, connection).await.unwrap();
    }
    // A firmware without MQTT over TLS is plain already, and stays closed if TLS is required.
    let unknown = [("AT+QMTCFG=\"ssl\"", "|ERROR|")];
    let (bench, _) = unit(&[&unknown[..], &OPENED].concat()).await;
    bench.open(FIRST, &connection("m")).await.unwrap();
    let (bench, heard) = unit(&[&unknown[..], &OPENED].concat()).await;
    let refused = bench.open(FIRST, &anyone).await.unwrap_err();
    assert!(refused.to_string().starts_with("the modem refused QMTCFG \"ssl\" ("), "{refused}");
    assert!(!heard.lock().unwrap().iter().any(|line| line.starts_with("AT+QMTOPEN=")));
}

/// The failures of an EC25 and a BG95.
#[tokio::test]
async fn a_failure_without_a_reason_is_told_with_what_to_check() {
    let anyone = over(&Tls { ca: None, identity: None });
    for said in ["|OK||+QMTOPEN: 0,-1|", "|OK||+QMTOPEN: 0,-1||ERROR|"] {
        let (bench, _) = unit(&[("AT+QMTOPEN=", said)]).await;
        let failed = bench.open(FIRST, &anyone).await.unwrap_err();
        assert_eq!(failed.code(), Some(-1), "{failed}");
        assert!(failed.to_string().contains("check tls.ca"), "{failed}");
        assert!(!failed.is_hopeless());
    }
    let (bench, _) = unit(&[("AT+QMTOPEN=", "|OK||+QMTOPEN: 0,-1|")]).await;
    let failed = bench.open(FIRST, &connection("m")).await.unwrap_err();
    assert_eq!((failed.command(), failed.code()), (Some("QMTOPEN"), Some(-1)), "{failed}");
}

/// The file was there before. A possible failure of the handshake removes the file; any other failure leaves
/// it.
#[tokio::test]
async fn a_file_is_doubted_for_what_may_be_tls_only() {
    let tls = over(&Tls { ca: Some("abc".to_owned()), identity: None });
    let [file] = modem::tls::files(FIRST, tls.tls.as_ref().unwrap()).try_into().ok().unwrap();
    let there = format!("|+QFLST: \"UFS:{}\",3||OK|", file.name);
    for (said, is_blamed, is_doubted) in [
        ("|OK||+QMTOPEN: 0,-1|", true, true),
        ("|OK||+QMTOPEN: 0,5|", false, true),
        ("|OK|", false, true), // and its result is missing
        ("|ERROR|", false, false),
        ("|OK||+QMTOPEN: 0,|", false, false),
        ("|OK||+QMTOPEN: 0,3|", false, false),
        ("|OK||+QMTOPEN: 0,4|", false, false),
    ] {
        let (bench, heard) = unit(&[("AT+QFLST", &there), ("AT+QMTOPEN=", said)]).await;
        tokio::time::pause();
        let failed = bench.open(FIRST, &tls).await.unwrap_err();
        tokio::time::resume();
        assert_eq!(failed.to_string().contains("check tls.ca"), is_blamed, "{said}: {failed}");
        let heard = heard.lock().unwrap();
        let deletions = heard.iter().filter(|line| line.starts_with("AT+QFDEL=")).count();
        assert_eq!(deletions, usize::from(is_doubted), "{said}: {heard:?}");
    }
}

/// `abc` has the check sum 6162 ^ 6300 = 0262.
#[tokio::test]
async fn a_file_is_there_only_once_its_check_sum_says_so() {
    let tls = over(&Tls { ca: Some("abc".to_owned()), identity: None });
    let whole = ("AT+QFUPL", "|CONNECT|~+QFUPL: 3,262||OK|");
    for (first, tries) in [
        (whole, 1),
        (("AT+QFUPL", "|+CME ERROR: 407|"), 2),
        (("AT+QFUPL", "|CONNECT|~+QFUPL: 3,263||OK|"), 2),
        (("AT+QFUPL", "|CONNECT|~+QFUPL: 2,6162||OK|"), 2),
        (("AT+QFUPL", "|CONNECT|~OK|"), 2),
    ] {
        let (bench, heard) = unit(&[&[first, whole], &OPENED[..]].concat()).await;
        bench.open(FIRST, &tls).await.unwrap();
        let count = |start: &str| {
            heard.lock().unwrap().iter().filter(|line| line.starts_with(start)).count()
        };
        let deletions = count("AT+QFDEL=\"mf0-ca-");
        assert_eq!((count("AT+QFUPL="), deletions), (tries, tries - 1), "{first:?}");
    }
    let torn = ("AT+QFUPL", "|CONNECT|~+QFUPL: 3,263||OK|");
    let (bench, heard) = unit(&[&[torn, torn], &OPENED[..]].concat()).await;
    let failed = bench.open(FIRST, &tls).await.unwrap_err();
    assert!(matches!(failed, MqttError::FileTorn { option: "cacert" }), "{failed}");
    assert!(heard.lock().unwrap().last().unwrap().starts_with("AT+QFDEL="), "not left there");
    // For a full flash, the error has the modem's own words.
    let full = ("AT+QFUPL", "|+CME ERROR: 420|");
    let (bench, _) = unit(&[full, full]).await;
    let failed = bench.open(FIRST, &tls).await.unwrap_err();
    let told = modem::session::Chain(&failed).to_string();
    assert!(told.contains("QFUPL") && told.contains("420"), "{told}");
}

/// With an echo, and with an upload that fails and comes back late.
#[tokio::test]
async fn no_line_of_a_key_is_in_any_trace_line() {
    let pki = Pki::default();
    let broker = pki.broker("").await;
    let tls = pki.mutual();
    let secret = tls.identity.as_ref().unwrap().key.expose_secret().to_owned();
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(lines.clone())
        .finish();
    let (bench, _handle) = Bench::simulated(subject(Model::Ec25), &broker).await;
    modem::profile::run(&bench.at, Kind::Basic, "ATE1", at::Answer::None).await.unwrap();
    let late = format!("|CONNECT|~|ERROR||{}|", secret.replace('\n', "||"));
    let _all = tracing_subscriber::util::SubscriberInitExt::set_default(subscriber);
    bench.open(FIRST, &over(&tls)).await.unwrap();
    let ca = ("AT+QFUPL=\"mf0-ca-", "|CONNECT|~+QFUPL: 3,262||OK|");
    let cert = ("AT+QFUPL=\"mf0-cert-", ca.1);
    let key = ("AT+QFUPL=\"mf0-key-", late.as_str());
    let (unit, _) = unit(&[ca, cert, key, key]).await;
    let identity = Identity { cert: "abc".to_owned(), key: secret.clone().into() };
    let tls = Tls { ca: Some("abc".to_owned()), identity: Some(identity) };
    let refused = unit.open(FIRST, &over(&tls)).await;
    let told = modem::session::Chain(&refused.unwrap_err()).to_string();
    assert!(told.contains("ERROR"), "{told}");
    let told = lines.text();
    assert!(told.contains("AT+QFUPL=\"mf0-key-"), "{told}");
    for line in secret.lines().filter(|line| !line.starts_with("-----")) {
        assert!(!told.contains(line), "{line} in {told}");
    }
}
