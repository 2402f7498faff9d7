//! TLS: the files put into the modem, the time of each download, and the files left there.

use modem::mqtt::{Client, Connection, MqttError, Qos};
use modem::port::Kind;
use modem::tls::Tls;
use modem_conformance::bench::{Bench, FIRST, SECOND, code};
use modem_conformance::broker::Broker;
use modem_conformance::pki::{Pki, over};
use modem_conformance::trace::Lines;
use modem_sim::{Clock, Model, Options};
use profile_simcom::PLUGIN;

use crate::subject;
use crate::unit::{Unit, acquisition, scripted};

scenarios!(
    the_dialogue_of_a_first_and_of_a_second_connect,
    the_failures_have_their_codes,
    what_is_not_used_any_more_is_removed_and_nothing_else,
    a_clock_that_is_not_set_is_set_before_it_is_checked,
    no_line_of_a_key_is_in_any_trace_line,
    firmware_without_sni_is_used_without,
    a_file_whose_prompt_stayed_out_is_not_believed_the_next_time,
    a_file_that_was_filled_up_is_downloaded_anew_once_tls_fails_and_only_once,
);

async fn files(bench: &Bench) -> Vec<String> {
    let answer = at::Answer::Prefix("+CCERTLIST:");
    let lines = modem::profile::run(&bench.at, Kind::Status, "AT+CCERTLIST", answer).await.unwrap();
    lines.iter().map(|line| line.replace("+CCERTLIST: ", "").replace('"', "")).collect()
}

async fn the_dialogue_of_a_first_and_of_a_second_connect(model: Model) {
    let pki = Pki::default();
    let broker = pki.broker("require_certificate true\n").await;
    let (bench, _handle) = Bench::simulated(subject(model), &broker).await;
    let tls = pki.mutual();
    bench.mqtt.start(&bench.at).await.unwrap();
    bench.open(FIRST, &over(&tls)).await.unwrap();
    bench.publish(FIRST, "t", "x", Qos::AtLeastOnce).await.unwrap();
    bench.mqtt.close(&bench.at, FIRST).await;
    let first = bench.commands();
    bench.open(FIRST, &over(&tls)).await.unwrap();
    let second: Vec<_> = bench.commands().drain(first.len()..).collect();

    let mut names = files(&bench).await;
    names.sort();
    let [ca, cert, key] = names.try_into().unwrap();
    assert!(ca.starts_with("mf0-ca-") && cert.starts_with("mf0-cert-"), "{ca} {cert}");
    assert!(key.starts_with("mf0-key-") && key.len() == "mf0-key-0123456789abcdef.pem".len());
    let identity = tls.identity.unwrap();
    let pem = |line: String| (line, Vec::new());
    let download = |name: &str, data: &str| {
        (format!("AT+CCERTDOWN=\"{name}\",{}", data.len()), data.as_bytes().to_vec())
    };
    let downloads = [
        download(&ca, &pki.ca),
        download(&cert, &identity.cert),
        download(&key, secrecy::ExposeSecret::expose_secret(&identity.key)),
    ];
    let before = ["AT+CCLK?", "AT+CCERTLIST"].map(|line| pem(line.to_owned()));
    let after = [
        "AT+CSSLCFG=\"sslversion\",0,3".to_owned(),
        "AT+CSSLCFG=\"authmode\",0,2".to_owned(),
        "AT+CSSLCFG=\"ignorelocaltime\",0,0".to_owned(),
        format!("AT+CSSLCFG=\"cacert\",0,\"{ca}\""),
        format!("AT+CSSLCFG=\"clientcert\",0,\"{cert}\""),
        format!("AT+CSSLCFG=\"clientkey\",0,\"{key}\""),
        "AT+CSSLCFG=\"enableSNI\",0,1".to_owned(),
    ];
    let connect =
        ["AT+CMQTTSSLCFG=0,0", "AT+CMQTTCONNECT=0,\"tcp://broker.example.com:8883\",60,1"];
    let connect = connect.map(str::to_owned);
    let after = [&after[..], &acquisition(model, "m", 1), &connect].concat();
    let after: Vec<_> = after.into_iter().map(pem).collect();
    let whole = [&before[..], &downloads[..], &after[..]].concat();
    assert_eq!(first[1..=whole.len()], whole, "the first time, after START");
    assert_eq!(second, [&before[..], &after[..]].concat(), "the files are there already");
}

async fn the_failures_have_their_codes(model: Model) {
    let (ours, other) = (Pki::default(), Pki::default());
    let broker = ours.broker("").await;
    let mutual = ours.broker("require_certificate true\n").await;
    let anyone = Tls { ca: None, identity: None };
    for (what, broker, tls, want) in [
        ("another CA", &broker, other.trusting(), 32),
        ("a CA that is none", &broker, Tls { ca: Some("-".to_owned()), identity: None }, 34),
        ("no client certificate", &mutual, ours.trusting(), 32),
        (
            "another's client certificate",
            &mutual,
            { Tls { ca: Some(ours.ca.clone()), ..other.mutual() } },
            32,
        ),
        ("nobody is checked", &broker, anyone.clone(), 0),
        ("nobody is checked, but we are", &mutual, Tls { ca: None, ..ours.mutual() }, 0),
    ] {
        let (bench, _handle) = Bench::simulated(subject(model), broker).await;
        bench.mqtt.start(&bench.at).await.unwrap();
        let opened = bench.open(FIRST, &over(&tls)).await;
        match want {
            0 => opened.unwrap_or_else(|error| panic!("{what}: {error}")),
            _ => assert_eq!(code(opened), want, "{what}"),
        }
    }
    let plain = Broker::open().await;
    let (bench, _handle) = Bench::simulated(subject(model), &plain).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    assert_eq!(code(bench.open(FIRST, &over(&anyone)).await), 32, "a port without TLS");
    bench.mqtt.close(&bench.at, FIRST).await;
    let long = Tls { ca: Some("c".repeat(10_241)), identity: None };
    let refused = bench.open(FIRST, &over(&long)).await.unwrap_err();
    assert!(matches!(refused, MqttError::FileTooLong { length: 10_241, .. }), "{refused}");
}

async fn what_is_not_used_any_more_is_removed_and_nothing_else(model: Model) {
    let (ours, other) = (Pki::default(), Pki::default());
    let broker = ours.broker("").await;
    let (bench, _handle) = Bench::simulated(subject(model), &broker).await;
    let foreign = at::Exchange::new("AT+CCERTDOWN=\"server.pem\",2", modem::profile::PATIENCE)
        .unwrap()
        .prompt("xx");
    bench.at.run(Kind::Prompt, foreign).await.unwrap();
    bench.mqtt.start(&bench.at).await.unwrap();
    assert_eq!(code(bench.open(FIRST, &over(&other.trusting())).await), 32);
    bench.mqtt.close(&bench.at, FIRST).await;
    bench
        .open(SECOND, &Connection { client_id: "n".to_owned(), ..over(&ours.mutual()) })
        .await
        .unwrap();
    assert_eq!(files(&bench).await.len(), 1 + 1 + 3);
    bench.open(FIRST, &over(&ours.trusting())).await.unwrap();
    let there = files(&bench).await;
    assert_eq!(there.iter().filter(|name| name.starts_with("mf0-ca-")).count(), 1, "{there:?}");
    assert_eq!(there.len(), 1 + 1 + 3, "{there:?}");
    only_the_second_is_secured(&bench).await;
}

async fn only_the_second_is_secured(bench: &Bench) {
    bench.mqtt.tidy(&bench.at, &[SECOND]).await;
    assert_eq!(files(bench).await.len(), 1 + 3, "the first client needs none any more");
    bench.mqtt.tidy(&bench.at, &[]).await;
    assert_eq!(files(bench).await, ["server.pem"]);
}

async fn a_clock_that_is_not_set_is_set_before_it_is_checked(model: Model) {
    let pki = Pki::default();
    let broker = pki.broker("").await;
    let address = Some(broker.address());
    let options = Options { broker: address, clock: Clock::Unset, ..Options::new(model) };
    let (bench, _handle) = Bench::with_options(&PLUGIN, options).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    bench.open(FIRST, &over(&pki.trusting())).await.unwrap();
    bench.mqtt.close(&bench.at, FIRST).await;
    bench.open(FIRST, &over(&pki.trusting())).await.unwrap();
    let commands = bench.commands();
    let set = commands.iter().filter(|(line, _)| line.starts_with("AT+CCLK=\"")).count();
    assert_eq!(set, 1, "{commands:?}");
}

/// With an echo, and with a file whose first download fails.
async fn no_line_of_a_key_is_in_any_trace_line(model: Model) {
    let pki = Pki::default();
    let broker = pki.broker("").await;
    let tls = pki.mutual();
    let secret =
        secrecy::ExposeSecret::expose_secret(&tls.identity.as_ref().unwrap().key).to_owned();
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(lines.clone())
        .finish();
    let (bench, _handle) = Bench::simulated(subject(model), &broker).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    modem::profile::run(&bench.at, Kind::Basic, "ATE1", at::Answer::None).await.unwrap();
    let late: &str = format!(">~|ERROR||{}|", secret.replace('\n', "||")).leak();
    let script = [("AT+CCERTDOWN", ">~|OK|"), ("AT+CCERTDOWN", late)];
    let _all = tracing_subscriber::util::SubscriberInitExt::set_default(subscriber);
    bench.open(FIRST, &over(&tls)).await.unwrap();
    let unit = scripted(Unit::new(model, &script)).await;
    let bare = Tls { ca: None, ..tls };
    let refused = unit.open(Client(0), &over(&bare)).await;
    assert!(
        matches!(refused, Err(MqttError::NoCode { operation: "CCERTDOWN", .. })),
        "{refused:?}"
    );
    let told = lines.text();
    assert!(told.contains("AT+CCERTDOWN=\"mf0-key-"), "{told}");
    for line in secret.lines().filter(|line| !line.starts_with("-----")) {
        assert!(!told.contains(line), "{line} in {told}");
    }
}

async fn firmware_without_sni_is_used_without(model: Model) {
    let script =
        [("AT+CSSLCFG=\"enableSNI\"", "|ERROR|"), ("AT+CMQTTCONNECT", "|OK||+CMQTTCONNECT: 0,0|")];
    let bench = scripted(Unit::new(model, &script)).await;
    bench.open(FIRST, &over(&Tls { ca: None, identity: None })).await.unwrap();
}

#[tokio::test]
async fn messages_go_both_ways_over_tls() {
    let pki = Pki::default();
    let broker = pki.broker("").await;
    let (mut bench, _handle) = Bench::simulated(subject(Model::Sim7600), &broker).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    bench.open(FIRST, &over(&pki.trusting())).await.unwrap();
    bench.subscribe(FIRST, &["loop"]).await.unwrap();
    for length in [1, 1_500, 10_240] {
        let payload: Vec<u8> =
            (0..length).map(|at: usize| u8::try_from(at % 251).unwrap()).collect();
        bench.publish(FIRST, "loop", payload.clone(), Qos::AtLeastOnce).await.unwrap();
        assert_eq!(bench.received().await, (FIRST, "loop".to_owned(), payload));
    }
}

/// If the modem waited for the file after all, the stored file is padding.
async fn a_file_whose_prompt_stayed_out_is_not_believed_the_next_time(model: Model) {
    tokio::time::pause();
    let (silence, refusal) = (("AT+CCERTDOWN", ""), ("AT+CCERTDOWN", "|ERROR|"));
    // The deletion of an existing file may be refused.
    for (script, is_timeout) in [([silence; 3], true), ([silence, refusal, silence], false)] {
        let unit = Unit::new(model, &script);
        let heard = unit.heard();
        let bench = scripted(unit).await;
        let failed = bench.open(FIRST, &over(&Pki::default().trusting())).await.unwrap_err();
        assert_eq!(failed.is_timeout(), is_timeout, "{failed}");
        let heard = heard.lock().unwrap();
        let name = |line: &str| line.split('"').nth(1).unwrap().to_owned();
        let down = heard.iter().find(|line| line.starts_with("AT+CCERTDOWN")).unwrap();
        let gone = heard.iter().find(|line| line.starts_with("AT+CCERTDELE")).unwrap();
        assert_eq!(name(down), name(gone));
    }
}

/// The agent died during the download, and the first bytes of the next agent completed the file's length.
async fn a_file_that_was_filled_up_is_downloaded_anew_once_tls_fails_and_only_once(model: Model) {
    let (pki, other) = (Pki::default(), Pki::default());
    let broker = pki.broker("").await;
    let downloads = |bench: &Bench| {
        bench.commands().iter().filter(|(line, _)| line.starts_with("AT+CCERTDOWN=")).count()
    };
    // The right file, and a file that fails in any case.
    for (ca, works) in [(&pki.ca, true), (&other.ca, false)] {
        let (bench, _handle) = Bench::simulated(subject(model), &broker).await;
        let tls = over(&Tls { ca: Some(ca.clone()), identity: None });
        let [file] = modem::tls::files(FIRST, tls.tls.as_ref().unwrap()).try_into().ok().unwrap();
        let line = format!("AT+CCERTDOWN=\"{}\",{}", file.name, ca.len());
        let filled = format!("{:\r<1$}", &ca[..100], ca.len());
        let filled = at::Exchange::new(line, modem::profile::PATIENCE).unwrap().prompt(filled);
        bench.at.run(Kind::Prompt, filled).await.unwrap();
        bench.forget();
        bench.mqtt.start(&bench.at).await.unwrap();
        bench.open(FIRST, &tls).await.unwrap_err();
        assert_eq!(downloads(&bench), 0, "a file of this name is there");
        for _ in 0..3 {
            bench.mqtt.close(&bench.at, FIRST).await;
            assert_eq!(bench.open(FIRST, &tls).await.is_ok(), works);
        }
        assert_eq!(downloads(&bench), 1);
    }
}
