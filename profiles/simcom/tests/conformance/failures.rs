//! Refusals in every form that was seen on a unit.

use modem::mqtt::{MqttError, Qos};
use modem_conformance::bench::{Bench, FIRST, code, connection};
use modem_conformance::broker::{Broker, Peer};
use modem_sim::{Coverage, Fault, Model, Options};
use profile_simcom::PLUGIN;

use crate::subject;
use crate::unit::{Unit, scripted};

of_the_dialect!(
    a_login_is_refused,
    nobody_listens_at_the_brokers_port,
    a_connect_fails_early_or_late,
    a_publish_fails_early_or_late,
    a_stray_ok_after_a_failed_publish_is_credited_to_nothing,
    a_forbidden_message_leaves_the_next_one_whole,
    a_lost_prompt_is_recovered,
    the_service_needs_a_network,
    no_value_can_end_a_command,
);

async fn a_login_is_refused(model: Model) {
    let broker = Broker::with_login("gw", "right").await;
    let (bench, _handle) = Bench::simulated(subject(model), &broker).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    let login = |password: &str| modem::mqtt::Connection {
        username: Some("gw".to_owned()),
        password: Some(password.into()),
        ..connection("m")
    };
    // mosquitto reports "not authorised"; others report "bad user name or password".
    assert_eq!(code(bench.open(FIRST, &login("wrong")).await), 31);
    bench.mqtt.close(&bench.at, FIRST).await;
    assert_eq!(code(bench.open(FIRST, &connection("m")).await), 31);
    bench.mqtt.close(&bench.at, FIRST).await;
    bench.open(FIRST, &login("right")).await.unwrap();
}

async fn nobody_listens_at_the_brokers_port(model: Model) {
    let options = Options { broker: Some("127.0.0.1:1".to_owned()), ..Options::new(model) };
    let (bench, _handle) = Bench::with_options(&PLUGIN, options).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    let error = bench.open(FIRST, &connection("m")).await.unwrap_err();
    assert!(error.to_string().contains("address and port"), "{error}");
    assert_eq!(code(Err(error)), 3);
}

/// `OK` and the code, the code and `ERROR`, `ERROR` alone, `ERROR` and then the code.
async fn a_connect_fails_early_or_late(model: Model) {
    let script = [
        ("AT+CMQTTCONNECT", "|OK||+CMQTTCONNECT: 0,26|"),
        ("AT+CMQTTCONNECT", "|+CMQTTCONNECT: 0,3||ERROR|"),
        ("AT+CMQTTCONNECT", "|ERROR|"),
        ("AT+CMQTTCONNECT", "|ERROR||+CMQTTCONNECT: 0,3|"),
        ("AT+CMQTTCONNECT", "|+CMQTTCONNECT: 0,0||OK|"),
    ];
    let bench = scripted(Unit::new(model, &script)).await;
    let open = async || bench.open(FIRST, &connection("m")).await;
    assert_eq!(code(open().await), 26);
    assert_eq!(code(open().await), 3);
    assert!(matches!(open().await, Err(MqttError::NoCode { operation: "CMQTTCONNECT", .. })));
    assert_eq!(code(open().await), 3);
    open().await.unwrap();
}

async fn a_publish_fails_early_or_late(model: Model) {
    for early_failures in [false, true] {
        let broker = Broker::open().await;
        let mut peer = Peer::new(&broker).await;
        let address = Some(broker.address());
        let options = Options { broker: address, early_failures, ..Options::new(model) };
        let (bench, handle) = Bench::with_options(&PLUGIN, options).await;
        bench.mqtt.start(&bench.at).await.unwrap();
        bench.open(FIRST, &connection("m")).await.unwrap();
        handle.set(Fault::PubError, 1.0).await.unwrap();
        let refused = code(bench.publish(FIRST, "up/x", "lost", Qos::AtLeastOnce).await);
        assert!([1, 16].contains(&refused), "{refused}");
        handle.set(Fault::PubError, 0.0).await.unwrap();
        bench.publish(FIRST, "up/x", "next", Qos::AtLeastOnce).await.unwrap();
        assert_eq!(peer.message().await.payload, "next");
    }
}

/// Seen on a unit: the failed result, the loss of the connection, and an additional `OK` without a cause.
async fn a_stray_ok_after_a_failed_publish_is_credited_to_nothing(model: Model) {
    let script = [
        ("AT+CMQTTTOPIC", ">~|OK|"),
        ("AT+CMQTTPAYLOAD", ">~|OK|"),
        ("AT+CMQTTPUB", "|OK||+CMQTTPUB: 0,6||+CMQTTCONNLOST: 0,1|^|OK|"),
        ("AT+CMQTTDISC", "|+CMQTTDISC: 0,11||ERROR|"),
    ];
    let unit = Unit::new(model, &script);
    let heard = unit.heard();
    let bench = scripted(unit).await;
    assert_eq!(code(bench.publish(FIRST, "t", "x", Qos::AtLeastOnce).await), 6);
    bench.at.doubt().await;
    bench.mqtt.close(&bench.at, FIRST).await;
    let heard = heard.lock().unwrap().clone();
    let after = heard.iter().skip_while(|line| !line.starts_with("AT+CMQTTPUB"));
    let after: Vec<_> = after.map(String::as_str).filter(|line| *line != "AT+CGSN").collect();
    let publish = format!("AT+CMQTTPUB=0,1,{}", crate::aliyun::publish_timeout(model));
    assert_eq!(after, [publish.as_str(), "AT+CMQTTDISC=0,60", "AT+CMQTTREL=0"]);
}

/// A topic that was set for a message with a refused payload is not used for the next message.
async fn a_forbidden_message_leaves_the_next_one_whole(model: Model) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (bench, _handle) = Bench::opened(subject(model), &broker).await;
    let long_topic = format!("up/{}", "t".repeat(1_022));
    assert_eq!(code(bench.publish(FIRST, &long_topic, "x", Qos::AtLeastOnce).await), 22);
    assert_eq!(code(bench.publish(FIRST, "up/a", [0; 20_000], Qos::AtLeastOnce).await), 22);
    bench.publish(FIRST, "up/b", "", Qos::AtLeastOnce).await.unwrap();
    let publish = peer.message().await;
    assert_eq!((publish.topic.as_str(), &publish.payload[..]), ("up/b", &b""[..]));
}

/// A missing prompt is requested again; the data is sent a single time, and whole.
async fn a_lost_prompt_is_recovered(model: Model) {
    let script = [
        ("AT+CMQTTTOPIC", "|OK|"),
        ("AT+CMQTTTOPIC", ">~|OK|"),
        ("AT+CMQTTPAYLOAD", ">~|OK|"),
        ("AT+CMQTTPUB", "|OK||+CMQTTPUB: 0,0|"),
    ];
    let bench = scripted(Unit::new(model, &script)).await;
    bench.publish(FIRST, "topic", "payload", Qos::AtLeastOnce).await.unwrap();
    let topics = bench.commands().into_iter().filter(|(line, _)| line == "AT+CMQTTTOPIC=0,5");
    assert_eq!(topics.count(), 2);
}

async fn the_service_needs_a_network(model: Model) {
    let (bench, handle) = Bench::with_options(&PLUGIN, Options::new(model)).await;
    handle.network(Coverage::None).await.unwrap();
    assert!(bench.mqtt.start(&bench.at).await.is_err());
    handle.network(Coverage::Full).await.unwrap();
    bench.mqtt.start(&bench.at).await.unwrap();
}

async fn no_value_can_end_a_command(model: Model) {
    let (bench, _handle) = Bench::with_options(&PLUGIN, Options::new(model)).await;
    for id in ["a\"b", "a\rAT+CFUN=0", "a\n", "a\0"] {
        let refused = bench.open(FIRST, &connection(id)).await;
        assert!(matches!(refused, Err(MqttError::Unsendable { .. })), "{refused:?}");
    }
    assert_eq!(bench.commands(), []);
}
