//! Scenarios of the A76xx alone.

use std::time::Duration;

use at::Exchange;
use modem::Catalog;
use modem::mqtt::{MqttError, Qos};
use modem::port::Kind;
use modem::profile::Notice;
use modem::reply::{Rat, Signal};
use modem_conformance::bench::{Bench, FIRST, connection};
use modem_conformance::broker::{Broker, Peer};
use modem_sim::{Model, Options};
use profile_simcom::PLUGIN;

use crate::subject;
use crate::unit::{Unit, scripted};

/// In GSM its cell's line has an index of unknown unit, at each poll. The power is in `AT+CSQ`.
#[tokio::test]
async fn in_gsm_the_power_is_that_of_csq_and_nothing_is_implausible() {
    let script = [
        ("AT+CPSI?", "|+CPSI: GSM,Online,222-01,0x46C2,43674,1021 PGSM 900,25,0,15-15||OK|"),
        ("AT+CSQ", "|+CSQ: 27,99||OK|"),
    ];
    let bench = scripted(Unit::new(Model::A7670, &script)).await;
    let catalog = Catalog::new(&[&PLUGIN]).unwrap();
    let (_, profile) = catalog.identify("A7670E-FASE").unwrap();
    let status = profile.status(&bench.at).await.unwrap();
    let power = Signal { rssi_dbm: Some(-59.0), ..Signal::unknown(Rat::Gsm) };
    assert_eq!((status.signals, status.implausible), (vec![power], 0));
    // A level that neither of the two reports is left out.
    let script = [script[0], ("AT+CSQ", "|+CSQ: 99,99||OK|")];
    let bench = scripted(Unit::new(Model::A7670, &script)).await;
    assert_eq!(profile.status(&bench.at).await.unwrap().signals, []);
}

/// A CONNECT of an A7670E prints nothing until the network answers: that is not a mute port.
#[tokio::test(start_paused = true)]
async fn a_connect_may_say_nothing_for_as_long_as_the_network_does() {
    // Takes TCP connections into its backlog and sends nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let broker = Some(silent.local_addr().unwrap().to_string());
    let (bench, _handle) =
        Bench::with_options(&PLUGIN, Options { broker, ..Options::new(Model::A7670) }).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    let before = tokio::time::Instant::now();
    let opened = bench.open(FIRST, &connection("m")).await;
    let Err(MqttError::Refused { code, .. }) = opened else { panic!("{opened:?}") };
    // The code of the connection, or of CONNECT.
    assert!([3, 17].contains(&code.number), "{code}");
    assert!(before.elapsed() > Duration::from_secs(60), "the modem gave up, and not the host");
}

/// After a setting that the firmware refuses, MQTT 3.1 is left, which most brokers take. A client id that it
/// refuses is not tried in another form.
#[tokio::test]
async fn a_version_that_is_refused_leaves_the_old_one() {
    let script = [
        ("AT+CMQTTCFG=\"version\"", "|ERROR|"),
        ("AT+CMQTTCONNECT", "|OK||+CMQTTCONNECT: 0,0|"),
        ("AT+CMQTTACCQ", "|ERROR|"),
    ];
    let unit = Unit::new(Model::A7670, &script);
    let heard = unit.heard();
    let bench = scripted(unit).await;
    assert!(matches!(
        bench.open(FIRST, &connection("m")).await,
        Err(MqttError::NoCode { operation: "CMQTTACCQ", .. })
    ));
    bench.open(FIRST, &connection("m")).await.unwrap();
    let heard = heard.lock().unwrap().clone();
    let acquired: Vec<_> = heard.iter().filter(|line| line.starts_with("AT+CMQTTACCQ=0")).collect();
    assert_eq!(acquired, ["AT+CMQTTACCQ=0,\"m\",0", "AT+CMQTTACCQ=0,\"m\",0"]);
}

/// A client that an earlier program opened with "argtopic" prints its messages in a single line. That line is
/// cut by length too.
#[tokio::test]
async fn messages_in_one_line_are_cut_by_length() {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (mut bench, _handle) = Bench::simulated(subject(Model::A7670), &broker).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    let patience = Duration::from_secs(10);
    for line in ["AT+CMQTTACCQ=0,\"old\",0", "AT+CMQTTCFG=\"argtopic\",0,1,1"] {
        bench.at.run(Kind::Setup, Exchange::new(line, patience).unwrap()).await.unwrap();
    }
    let connect = Exchange::new("AT+CMQTTCONNECT=0,\"tcp://h:1\",60,1", patience).unwrap();
    bench.at.run(Kind::Setup, connect).await.unwrap();
    broker.logged("as old (p1, ").await;
    let subscribe = Exchange::new("AT+CMQTTSUB=0,\"down/#\",1", patience).unwrap();
    bench.at.run(Kind::Setup, subscribe).await.unwrap();
    broker.logged("down/# (QoS 1)").await;
    let tricky: &[u8] = b"\"\r\nOK\r\n+CMQTTRXEND: 0\r\n\",1,\"\xff";
    for payload in [tricky, b"", b"\""] {
        peer.publish("down/\"x\",2", payload).await;
        assert_eq!(bench.received().await, (FIRST, "down/\"x\",2".to_owned(), payload.to_vec()));
    }
    // The next session does not use "argtopic".
    bench.open(FIRST, &connection("ours")).await.unwrap();
    broker.logged("as ours (p2, ").await;
    bench.subscribe(FIRST, &["down/y"]).await.unwrap();
    peer.publish("down/y", "y").await;
    assert_eq!(bench.received().await.2, b"y");
    bench.publish(FIRST, "up/x", "x", Qos::AtLeastOnce).await.unwrap();
    assert_eq!(peer.message().await.payload, "x");
}

/// Without its length a message could be cut wrongly: it is lost, and no part of it is taken for another line.
#[tokio::test]
async fn a_message_in_one_line_without_its_length_is_lost() {
    let script = [(
        "AT+CMQTTSUB",
        ">~|OK||+CMQTTRECV: 0,\"t\",\"+CMQTTSUB: 0,1\"||+CMQTTSUB: 0,0||+CMQTTCONNLOST: 0,1|",
    )];
    let mut bench = scripted(Unit::new(Model::A7670, &script)).await;
    bench.subscribe(FIRST, &["t"]).await.unwrap();
    assert!(matches!(bench.notice().await, Notice::Damaged(_)));
    assert!(matches!(bench.notice().await, Notice::Lost { .. }));
}
