//! The SIM7020's dialect beyond the scenarios of every profile: its refusals, and the worth of its `OK`.

use std::time::Duration;

use modem::mqtt::{MqttError, Qos, Scope};
use modem::profile::Notice;
use modem_conformance::bench::{Bench, FIRST, connection};
use modem_conformance::broker::{Broker, Peer};
use modem_sim::{Coverage, Fault, Model, Options};
use profile_simcom::PLUGIN;

use crate::subject;
use crate::unit::{Unit, scripted};

/// As delivered, the modem prints `OK` before the broker has a message. The dialect sets it to wait, a single
/// time, and a publish ends with the broker's acknowledgement.
#[tokio::test]
async fn ok_is_the_brokers() {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (bench, handle) = Bench::opened(subject(Model::Sim7020), &broker).await;
    let settings = || {
        let commands = bench.commands();
        let count = |wanted: &str| commands.iter().filter(|(line, _)| line == wanted).count();
        (count("AT+CMQTSYNC=1"), count("AT+CREVHEX=1"))
    };
    // The simulated unit prints digits from the start.
    assert_eq!(settings(), (1, 0));
    handle.network(Coverage::Silent).await.unwrap();
    let published = bench.publish(FIRST, "up/x", "x", Qos::AtLeastOnce);
    let mut published = std::pin::pin!(published);
    let early = tokio::time::timeout(Duration::from_millis(200), &mut published).await;
    assert!(early.is_err(), "the broker has nothing yet: {early:?}");
    handle.network(Coverage::Full).await.unwrap();
    published.await.unwrap();
    assert_eq!(peer.message().await.payload, "x");
    // A setting that is in force is not written again: that would wear the modem's memory.
    bench.mqtt.close(&bench.at, FIRST).await;
    bench.open(FIRST, &connection("again")).await.unwrap();
    assert_eq!(settings(), (1, 0));
}

/// A message that the modem cannot express is refused, and the session stays.
#[tokio::test]
async fn what_it_cannot_say_it_refuses_with_the_numbers() {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (bench, _handle) = Bench::opened(subject(Model::Sim7020), &broker).await;
    let long = "t".repeat(129);
    for (topic, payload, words) in [
        ("up/x", &b""[..], "the payload has 0 bytes, but this modem takes 1 to 500"),
        ("up/x", &[0; 501], "the payload has 501 bytes, but this modem takes 1 to 500"),
        (&long, b"x", "the topic has 129 bytes, but this modem takes 1 to 128"),
        ("up/\\", b"x", "the topic cannot be sent to this modem: a backslash"),
        ("up/\"", b"x", "the topic cannot be sent to the modem"),
    ] {
        let refused = bench.publish(FIRST, topic, payload, Qos::AtLeastOnce).await.unwrap_err();
        assert!(refused.to_string().starts_with(words), "{refused}");
        assert_eq!(refused.scope(), Scope::Message);
    }
    let refused = bench.subscribe(FIRST, &["down/\\"]).await.unwrap_err();
    assert!(refused.to_string().starts_with("the filter cannot"), "{refused}");
    bench.publish(FIRST, "up/x", "next", Qos::AtLeastOnce).await.unwrap();
    assert_eq!(peer.message().await.payload, "next");
}

/// The modem gives no code, so its words are all that is known, and another try may succeed.
#[tokio::test]
async fn a_refused_login_has_no_code() {
    let broker = Broker::with_login("gw", "right").await;
    let (bench, _handle) = Bench::simulated(subject(Model::Sim7020), &broker).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    let refused = bench.open(FIRST, &connection("m")).await.unwrap_err();
    assert!(matches!(refused, MqttError::Uncoded { operation: "CMQCON", .. }), "{refused}");
    assert_eq!(refused.scope(), Scope::Session);
    assert!(refused.to_string().contains("check user name, password"), "{refused}");
}

/// A broker closes the connection during a message that it does not accept. There is no code, and no cause. The
/// loss during the message is the evidence against the message.
#[tokio::test]
async fn a_broker_that_closes_under_a_message_accuses_it() {
    let lines = "allow_anonymous true\nmax_packet_size 100\n";
    let broker = Broker::start(tempfile::tempdir().unwrap(), lines).await;
    let (mut bench, _handle) = Bench::opened(subject(Model::Sim7020), &broker).await;
    bench.publish(FIRST, "up/x", [b'x'; 20], Qos::AtLeastOnce).await.unwrap();
    let refused = bench.publish(FIRST, "up/x", [b'x'; 200], Qos::AtLeastOnce).await.unwrap_err();
    assert!(matches!(refused, MqttError::Uncoded { operation: "CMQPUB", .. }), "{refused}");
    assert!(refused.may_accuse_message() && refused.scope() == Scope::Session);
    let lost = bench.notice().await;
    assert!(matches!(lost, Notice::Lost { client: FIRST, by_broker: true, .. }), "{lost:?}");
}

/// The modem gives up, and then loses its connection: bad radio looks like that, and no message is to blame.
#[tokio::test]
async fn a_broker_that_says_nothing_accuses_no_message() {
    let broker = Broker::open().await;
    let (bench, handle) = Bench::opened(subject(Model::Sim7020), &broker).await;
    handle.network(Coverage::Silent).await.unwrap();
    tokio::time::pause();
    let given_up = bench.publish(FIRST, "up/x", "x", Qos::AtLeastOnce).await.unwrap_err();
    tokio::time::resume();
    assert!(matches!(given_up, MqttError::Unanswered { operation: "CMQPUB" }), "{given_up}");
    assert!(!given_up.may_accuse_message() && given_up.scope() == Scope::Session);
}

/// The modem's timer may start when the packet is sent, which takes as long as the radio does.
#[tokio::test]
async fn a_modem_that_waits_for_its_radio_is_waited_for() {
    let broker = Broker::open().await;
    let late = Duration::from_secs(50);
    let address = Some(broker.address());
    let options = Options { broker: address, late, ..Options::new(Model::Sim7020) };
    let (bench, handle) = Bench::with_options(&PLUGIN, options).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    bench.open(FIRST, &connection("first")).await.unwrap();
    handle.set(Fault::Late, 1.0).await.unwrap();
    tokio::time::pause();
    bench.publish(FIRST, "up/x", "x", Qos::AtMostOnce).await.unwrap();
}

/// Firmware that cannot be set to wait would lose messages silently, so it gets no message.
#[tokio::test]
async fn firmware_that_tells_of_no_acknowledgement_carries_nothing() {
    let unit =
        Unit::new(Model::Sim7020, &[("AT+CMQTSYNC?", "|ERROR|"), ("AT+CMQTSYNC=1", "|ERROR|")]);
    let heard = unit.heard();
    let bench = scripted(unit).await;
    let refused = bench.open(FIRST, &connection("m")).await.unwrap_err();
    assert!(matches!(refused, MqttError::NoReceipts { .. }), "{refused}");
    let commands = heard.lock().unwrap();
    assert!(!commands.iter().any(|line| line.starts_with("AT+CMQNEW")), "{commands:?}");
}

/// A unit in raw mode would publish the digits themselves, so the mode is set, or nothing is sent. A unit that
/// does not know the setting has digits only.
#[tokio::test]
async fn payloads_are_never_digits_by_mistake() {
    let free = ("AT+CMQNEW?", "|+CMQNEW: 0,0,null||OK|");
    let waits = ("AT+CMQTSYNC?", "|+CMQTSYNC: 1||OK|");
    let created = ("AT+CMQNEW=", "|+CMQNEW: 0||OK|");
    let open = async |script: &[(&'static str, &'static str)]| {
        let script = [&[free, waits, created], script].concat();
        let unit = Unit::new(Model::Sim7020, &script);
        let heard = unit.heard();
        let opened = scripted(unit).await.open(FIRST, &connection("m")).await;
        (opened, heard.lock().unwrap().clone())
    };
    let (opened, heard) = open(&[("AT+CREVHEX?", "|+CREVHEX: 0||OK|")]).await;
    opened.unwrap();
    assert!(heard.iter().any(|line| line == "AT+CREVHEX=1"), "{heard:?}");
    let raw = [("AT+CREVHEX?", "|+CREVHEX: 0||OK|"), ("AT+CREVHEX=1", "|ERROR|")];
    let (refused, heard) = open(&raw).await;
    assert!(matches!(refused, Err(MqttError::Uncoded { operation: "CREVHEX", .. })), "{refused:?}");
    assert!(!heard.iter().any(|line| line.starts_with("AT+CMQNEW=")), "{heard:?}");
    let old = [("AT+CREVHEX?", "|ERROR|"), ("AT+CREVHEX=1", "|ERROR|")];
    open(&old).await.0.unwrap();
}

/// A client with another number than requested is signed out.
#[tokio::test]
async fn a_client_of_another_number_is_let_go() {
    let unit = Unit::new(
        Model::Sim7020,
        &[
            ("AT+CMQTSYNC?", "|+CMQTSYNC: 1||OK|"),
            ("AT+CREVHEX?", "|+CREVHEX: 1||OK|"),
            ("AT+CMQNEW?", "|+CMQNEW: 0,0,null||OK|"),
            ("AT+CMQNEW=", "|+CMQNEW: 1||OK|"),
        ],
    );
    let heard = unit.heard();
    let bench = scripted(unit).await;
    let refused = bench.open(FIRST, &connection("m")).await.unwrap_err();
    assert!(matches!(refused, MqttError::Uncoded { operation: "CMQNEW", .. }), "{refused}");
    let commands = heard.lock().unwrap();
    assert_eq!(commands.last().map(String::as_str), Some("AT+CMQDISCON=1"), "{commands:?}");
}
