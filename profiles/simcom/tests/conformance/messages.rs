//! Messages up and down: each quality of service, any payload, any topic, both clients.

use modem::mqtt::Qos;
use modem_conformance::bench::{Bench, FIRST, SECOND, connection};
use modem_conformance::broker::{Broker, Peer};
use modem_sim::{Model, Options, Order};
use profile_simcom::PLUGIN;
use rumqttc::QoS;

use crate::subject;
use crate::unit::{Unit, acquisition, scripted};

of_the_dialect!(
    opens_and_signs_out,
    publishes_with_each_quality_of_service,
    publishes_any_payload,
    publishes_to_long_and_foreign_topics,
    subscribes_to_one_and_to_several,
    receives_in_two_pieces_and_without_payload,
    hears_a_message_before_the_result_of_sub,
    hears_a_message_before_the_result_of_pub,
    serves_both_clients_at_once,
    unsubscribes,
    starts_in_either_order,
    keeps_a_retained_message,
);

async fn opens_and_signs_out(model: Model) {
    let broker = Broker::open().await;
    let (bench, _handle) = Bench::opened(subject(model), &broker).await;
    broker.logged("as first (p2, c1, k60)").await;
    bench.mqtt.close(&bench.at, FIRST).await;
    broker.logged("Client first disconnected.").await;
    bench.mqtt.stop(&bench.at).await;
    let commands: Vec<_> = bench.commands().into_iter().map(|(line, _)| line).collect();
    let before = ["AT+CMQTTSTART".to_owned()];
    let after = [
        "AT+CMQTTCONNECT=0,\"tcp://broker.example.com:1883\",60,1",
        "AT+CMQTTDISC=0,60",
        "AT+CMQTTREL=0",
        "AT+CMQTTSTOP",
    ]
    .map(str::to_owned);
    assert_eq!(commands, [&before[..], &acquisition(model, "first", 0), &after].concat());
}

async fn publishes_with_each_quality_of_service(model: Model) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (bench, handle) = Bench::opened(subject(model), &broker).await;
    for (qos, seen) in [
        (Qos::AtMostOnce, QoS::AtMostOnce),
        (Qos::AtLeastOnce, QoS::AtLeastOnce),
        (Qos::ExactlyOnce, QoS::ExactlyOnce),
    ] {
        bench.publish(FIRST, "up/qos", [qos.number()], qos).await.unwrap();
        let publish = peer.message().await;
        assert_eq!(publish.qos, seen);
        assert_eq!((publish.topic.as_str(), &publish.payload[..]), ("up/qos", &[qos.number()][..]));
        assert!(!publish.retain && !publish.dup);
    }
    assert_eq!(handle.publish_count(), 3);
}

async fn publishes_any_payload(model: Model) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (bench, _handle) = Bench::opened(subject(model), &broker).await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let payloads: [&[u8]; 8] = [
        &every_byte,
        b"\r\nOK\r\n>\r\n+CMQTTPUB: 0,0\r\nERROR\r\n",
        b">",
        b"",
        b"\r",
        b"\x1a\x1b",
        &[b'x'; 10_240],
        b"after",
    ];
    for payload in payloads {
        bench.publish(FIRST, "up/bytes", payload, Qos::AtLeastOnce).await.unwrap();
        assert_eq!(peer.message().await.payload, payload);
    }
    let too_long = bench.publish(FIRST, "up/bytes", [b'x'; 10_241], Qos::AtLeastOnce).await;
    assert_eq!(modem_conformance::bench::code(too_long), 22);
    bench.publish(FIRST, "up/bytes", "still here", Qos::AtLeastOnce).await.unwrap();
    assert_eq!(peer.message().await.payload, "still here");
}

async fn publishes_to_long_and_foreign_topics(model: Model) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (bench, _handle) = Bench::opened(subject(model), &broker).await;
    let long = format!("up/{}", "t".repeat(1_021));
    assert_eq!(long.len(), 1_024);
    for topic in [long.as_str(), "up/метео/温度/🌡", "up/a b\"c>", "up/OK"] {
        bench.publish(FIRST, topic, "x", Qos::AtLeastOnce).await.unwrap();
        assert_eq!(peer.message().await.topic, topic);
    }
}

async fn subscribes_to_one_and_to_several(model: Model) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (mut bench, _handle) = Bench::opened(subject(model), &broker).await;
    bench.forget();
    bench.subscribe(FIRST, &["down/one"]).await.unwrap();
    assert_eq!(
        bench.commands(),
        [("AT+CMQTTSUB=0,8,1".to_owned(), b"down/one".to_vec())],
        "a single filter goes with its command"
    );
    bench.forget();
    bench.subscribe(FIRST, &["down/two", "down/+/three", "down/ж/#"]).await.unwrap();
    let commands: Vec<_> = bench.commands().into_iter().map(|(line, _)| line).collect();
    assert_eq!(
        commands,
        [
            "AT+CMQTTSUBTOPIC=0,8,1",
            "AT+CMQTTSUBTOPIC=0,12,1",
            "AT+CMQTTSUBTOPIC=0,9,1",
            "AT+CMQTTSUB=0"
        ]
    );
    for topic in ["down/one", "down/two", "down/x/three", "down/ж/4"] {
        peer.publish(topic, topic).await;
        assert_eq!(bench.received().await, (FIRST, topic.to_owned(), topic.as_bytes().to_vec()));
    }
}

async fn receives_in_two_pieces_and_without_payload(model: Model) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (mut bench, _handle) = Bench::opened(subject(model), &broker).await;
    bench.subscribe(FIRST, &["down/#"]).await.unwrap();
    let mut long = b"\r\nOK\r\n>\r\n+CMQTTRXEND: 0\r\n\x00\xff".repeat(50);
    long.resize(1_520, b'.');
    let payloads: [&[u8]; 4] = [&long, b"", &[0; 10_240], b"\r\n"];
    for payload in payloads {
        peer.publish("down/x", payload).await;
        assert_eq!(bench.received().await, (FIRST, "down/x".to_owned(), payload.to_vec()));
    }
}

/// A retained message overtakes the result of the subscription, as seen on a real unit.
async fn hears_a_message_before_the_result_of_sub(model: Model) {
    let script = [(
        "AT+CMQTTSUB",
        ">~|OK||+CMQTTRXSTART: 0,6,2||+CMQTTRXTOPIC: 0,6|test1z||+CMQTTRXPAYLOAD: 0,2|hi||+CMQTTRXEND: 0||+CMQTTSUB: 0,0|",
    )];
    let mut bench = scripted(Unit::new(model, &script)).await;
    bench.subscribe(FIRST, &["test1z"]).await.unwrap();
    assert_eq!(bench.received().await, (FIRST, "test1z".to_owned(), b"hi".to_vec()));
}

/// The modem's own message comes back before the result of its publish.
async fn hears_a_message_before_the_result_of_pub(model: Model) {
    let script = [
        ("AT+CMQTTTOPIC", ">~|OK|"),
        ("AT+CMQTTPAYLOAD", ">~|OK|"),
        (
            "AT+CMQTTPUB",
            "|OK||+CMQTTRXSTART: 0,1,15||+CMQTTRXTOPIC: 0,1|t||+CMQTTRXPAYLOAD: 0,15|+CMQTTPUB: 0,11||+CMQTTRXEND: 0||+CMQTTPUB: 0,0|",
        ),
    ];
    let mut bench = scripted(Unit::new(model, &script)).await;
    bench.publish(FIRST, "t", "+CMQTTPUB: 0,11", Qos::AtLeastOnce).await.unwrap();
    assert_eq!(bench.received().await, (FIRST, "t".to_owned(), b"+CMQTTPUB: 0,11".to_vec()));
}

async fn serves_both_clients_at_once(model: Model) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (mut bench, _handle) = Bench::opened(subject(model), &broker).await;
    bench.open(SECOND, &connection("second")).await.unwrap();
    bench.subscribe(SECOND, &["down/2"]).await.unwrap();
    bench.subscribe(FIRST, &["down/1"]).await.unwrap();
    for round in 0..5u8 {
        let (one, two) = tokio::join!(
            bench.publish(FIRST, "up/1", [1, round], Qos::AtLeastOnce),
            bench.publish(SECOND, "up/2", [2, round], Qos::ExactlyOnce),
        );
        one.and(two).unwrap();
        let mut got = [peer.message().await, peer.message().await]
            .map(|publish| (publish.topic, publish.payload.to_vec()));
        got.sort();
        assert_eq!(
            got,
            [("up/1".to_owned(), vec![1, round]), ("up/2".to_owned(), vec![2, round])],
            "topic and payload of two clients must not mix"
        );
    }
    peer.publish("down/2", "two").await;
    assert_eq!(bench.received().await.0, SECOND);
    peer.publish("down/1", "one").await;
    assert_eq!(bench.received().await.0, FIRST);
}

async fn unsubscribes(model: Model) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (mut bench, _handle) = Bench::opened(subject(model), &broker).await;
    bench.subscribe(FIRST, &["down/gone", "down/kept"]).await.unwrap();
    bench.mqtt.unsubscribe(&bench.at, FIRST, "down/gone").await.unwrap();
    peer.publish("down/gone", "x").await;
    peer.publish("down/kept", "y").await;
    assert_eq!(bench.received().await.1, "down/kept");
}

async fn starts_in_either_order(model: Model) {
    for order in [Order::OkFirst, Order::ResultFirst] {
        let options = Options { order: Some(order), ..Options::new(model) };
        let (bench, _handle) = Bench::with_options(&PLUGIN, options).await;
        for _ in 0..2 {
            bench.mqtt.start(&bench.at).await.unwrap();
            bench.mqtt.stop(&bench.at).await;
        }
        assert_eq!(bench.commands().len(), 4, "no step was needed twice");
    }
}

async fn keeps_a_retained_message(model: Model) {
    let broker = Broker::open().await;
    let (bench, _handle) = Bench::opened(subject(model), &broker).await;
    let message = modem::mqtt::Message {
        retain: true,
        ..modem_conformance::bench::message("up/kept", "kept", Qos::AtLeastOnce)
    };
    bench.mqtt.publish(&bench.at, FIRST, &message).await.unwrap();
    let publish = Peer::new(&broker).await.message().await;
    assert_eq!((publish.retain, &publish.payload[..]), (true, &b"kept"[..]));
}
