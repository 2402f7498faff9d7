//! The eleven commands towards Alibaba Cloud, with the identity of a device as the broker sees it.

use modem::mqtt::{Connection, Qos, Scope, Triple};
use modem_conformance::bench::{Bench, FIRST};
use modem_conformance::broker::{Broker, Peer};
use modem_conformance::trace::Lines;
use modem_sim::Model;

use crate::subject;
use crate::unit::{Unit, acquisition, scripted};

of_the_dialect!(
    the_eleven_commands,
    one_wrong_letter_in_the_password,
    a_triple_that_is_refused_once_is_taken_later,
    no_password_is_in_any_trace_line,
);

const ID: &str = "7600|securemode=3,signmethod=hmacsha1|";
const USER: &str = "7600&a1mQpKOF9hp";
const PASSWORD: &str = "D48150E8D550607B15C667E100635EE96EA7D512";
const HOST: &str = "a1mQpKOF9hp.iot-as-mqtt.cn-shanghai.aliyuncs.com";
const TOPIC: &str = "/a1mQpKOF9hp/7600/user/7600";

fn device(password: &str) -> Connection {
    Connection {
        host: HOST.to_owned(),
        username: Some(USER.to_owned()),
        password: Some(password.into()),
        ..modem_conformance::bench::connection(ID)
    }
}

/// The smallest time-out that a SIM7600 takes, and a smaller value if the manual allows it.
pub(crate) fn publish_timeout(model: Model) -> u8 {
    if model == Model::A7670 { 30 } else { 60 }
}

async fn the_eleven_commands(model: Model) {
    let broker = Broker::with_login(USER, PASSWORD).await;
    let mut peer = Peer::login(&broker, "/a1mQpKOF9hp/#", Some((USER, PASSWORD))).await;
    let (mut bench, _handle) = Bench::simulated(subject(model), &broker).await;

    bench.mqtt.start(&bench.at).await.unwrap();
    bench.open(FIRST, &device(PASSWORD)).await.unwrap();
    bench.subscribe(FIRST, &[TOPIC]).await.unwrap();
    bench.publish(FIRST, TOPIC, "hello", Qos::AtLeastOnce).await.unwrap();
    assert_eq!(bench.received().await, (FIRST, TOPIC.to_owned(), b"hello".to_vec()));
    bench.mqtt.unsubscribe(&bench.at, FIRST, TOPIC).await.unwrap();
    bench.mqtt.close(&bench.at, FIRST).await;
    bench.mqtt.stop(&bench.at).await;

    assert_eq!(&peer.message().await.payload[..], b"hello");
    // The broker logs the client id and the user; the accepted login shows that the password is right.
    broker.logged(&format!("as {ID} (p2, c1, k60, u'{USER}').")).await;
    broker.logged(&format!("Received UNSUBSCRIBE from {ID}")).await;
    broker.logged(&format!("Client {ID} disconnected.")).await;
    let topic = TOPIC.as_bytes();
    // Besides the eleven commands there are settings: payloads are bytes.
    let acquired = acquisition(model, ID, 0).into_iter().map(|line| (line, Vec::new()));
    let expected: [(String, &[u8]); 9] = [
        (format!("AT+CMQTTCONNECT=0,\"tcp://{HOST}:1883\",60,1,\"{USER}\",\"{PASSWORD}\""), b""),
        ("AT+CMQTTSUB=0,27,1".to_owned(), topic),
        ("AT+CMQTTTOPIC=0,27".to_owned(), topic),
        ("AT+CMQTTPAYLOAD=0,5".to_owned(), b"hello"),
        (format!("AT+CMQTTPUB=0,1,{}", publish_timeout(model)), b""),
        ("AT+CMQTTUNSUB=0,27,0".to_owned(), topic),
        ("AT+CMQTTDISC=0,60".to_owned(), b""),
        ("AT+CMQTTREL=0".to_owned(), b""),
        ("AT+CMQTTSTOP".to_owned(), b""),
    ];
    let expected = expected.map(|(line, data)| (line, data.to_vec()));
    let start = ("AT+CMQTTSTART".to_owned(), Vec::new());
    let all: Vec<_> = std::iter::once(start).chain(acquired).chain(expected).collect();
    assert_eq!(bench.commands(), all);
}

async fn one_wrong_letter_in_the_password(model: Model) {
    let broker = Broker::with_login(USER, PASSWORD).await;
    let (bench, _handle) = Bench::simulated(subject(model), &broker).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    let wrong = PASSWORD.replacen('D', "E", 1);
    assert_eq!(modem_conformance::bench::code(bench.open(FIRST, &device(&wrong)).await), 31);
}

/// A busy modem prints `ERROR`, the same as a modem that cannot sign at all.
async fn a_triple_that_is_refused_once_is_taken_later(model: Model) {
    let script = [
        ("AT+CMQTTCFG=\"aliauth\"", "|ERROR|"),
        ("AT+CMQTTCFG=\"aliauth\"", "|+CME ERROR: 14|"),
        ("AT+CMQTTCONNECT", "|OK||+CMQTTCONNECT: 0,0|"),
    ];
    let bench = scripted(Unit::new(model, &script)).await;
    let triple = Triple {
        product_key: "a1mQpKOF9hp".to_owned(),
        device_name: "7600".to_owned(),
        device_secret: "0000000000000000000000000000000f".into(),
    };
    let device =
        Connection { triple: Some(triple), username: None, password: None, ..device(PASSWORD) };
    for _ in 0..2 {
        let refused = bench.open(FIRST, &device).await.unwrap_err();
        assert!(!refused.is_hopeless() && refused.scope() == Scope::Session, "{refused:?}");
        assert!(refused.to_string().contains("remove `aliauth`"), "{refused}");
    }
    bench.open(FIRST, &device).await.unwrap();
}

/// A CONNECT that succeeds, a refused one, and a CONNECT whose echo comes back.
async fn no_password_is_in_any_trace_line(model: Model) {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(lines.clone())
        .finish();
    let broker = Broker::with_login(USER, PASSWORD).await;
    let (bench, _handle) = Bench::simulated(subject(model), &broker).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    modem::profile::run(&bench.at, modem::port::Kind::Basic, "ATE1", at::Answer::None)
        .await
        .unwrap();
    // Holds for this thread, which runs all tasks of the test.
    let _all = tracing_subscriber::util::SubscriberInitExt::set_default(subscriber);
    bench.open(FIRST, &device("D481-wrong")).await.unwrap_err();
    bench.mqtt.close(&bench.at, FIRST).await;
    bench.open(FIRST, &device(PASSWORD)).await.unwrap();
    bench.mqtt.close(&bench.at, FIRST).await;
    let lines = lines.text();
    assert!(lines.contains("AT+CMQTTCONNECT") && lines.contains("***"), "{lines}");
    assert!(!lines.contains("D481"), "{lines}");
}
