//! The duties of every profile, on the simulated modem of each of its models with a real broker.
//!
//! A scenario beyond a model's abilities must not pass: the macro of its tests marks it `#[ignore =
//! "reason"]`, which `cargo xtask conformance` shows. A test of its own checks that the model's
//! profile then refuses.

use at::Answer;
use modem::catalog::Catalog;
use modem::mqtt::{Connection, MqttError, Qos};
use modem::port::Kind;
use modem::profile::{self, Notice};
use modem::recording::{self, Plan, Published};
use modem_sim::{Fault, Modem, Options};
use rumqttc::QoS;
use tokio::io::duplex;
use tokio::task::JoinSet;

use crate::bench::{Bench, FIRST, SECOND, connection, message};
use crate::broker::{Broker, Peer};
use crate::{Subject, replay, transcript};

/// Makes a function of a simulated model from each scenario that every profile passes. The
/// functions' names go to `$tests`, a macro that makes tests of them. `$subject` gives the
/// [`Subject`] of a simulated model.
#[macro_export]
macro_rules! shared_scenarios {
    ($subject:path, $tests:ident) => {
        $crate::bound! { scenarios, $subject, $tests;
            opens_and_signs_out,
            publishes_qos_0_1_2,
            publishes_binary,
            publishes_empty,
            publishes_one_byte,
            publishes_the_maximum,
            publishes_again_after_a_lost_prompt,
            refuses_what_is_too_long,
            subscribes_and_receives,
            receives_in_split_pieces,
            serves_two_clients,
            tells_a_loss_and_opens_again,
            tears_down_left_over_state,
            tears_down_an_open_index,
            fails_on_a_refused_login,
            tells_why_a_login_is_refused,
            refuses_a_wrong_topic,
            ends_with_the_port,
            records_what_drives_it_again,
        }
    };
}

pub async fn opens_and_signs_out(subject: Subject) {
    let broker = Broker::open().await;
    let (bench, _handle) = Bench::opened(subject, &broker).await;
    broker.logged("as first (p2, c1, k60)").await;
    bench.mqtt.close(&bench.at, FIRST).await;
    broker.logged("Client first disconnected.").await;
    bench.mqtt.stop(&bench.at).await;
}

pub async fn publishes_qos_0_1_2(subject: Subject) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (bench, handle) = Bench::opened(subject, &broker).await;
    for (qos, seen) in [
        (Qos::AtMostOnce, QoS::AtMostOnce),
        (Qos::AtLeastOnce, QoS::AtLeastOnce),
        (Qos::ExactlyOnce, QoS::ExactlyOnce),
    ] {
        bench.publish(FIRST, "up/qos", [qos.number()], qos).await.unwrap();
        let publish = peer.message().await;
        assert_eq!((publish.qos, &publish.payload[..]), (seen, &[qos.number()][..]));
        assert!(!publish.retain && !publish.dup);
    }
    assert_eq!(handle.publish_count(), 3);
}

async fn goes_up(subject: Subject, payloads: &[&[u8]]) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (bench, _handle) = Bench::opened(subject, &broker).await;
    for payload in payloads {
        bench.publish(FIRST, "up/bytes", *payload, Qos::AtLeastOnce).await.unwrap();
        assert_eq!(peer.message().await.payload, *payload);
    }
}

pub async fn publishes_binary(subject: Subject) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let finals = b"\r\nOK\r\n>\r\n+CMQTTPUB: 0,0\r\n+QMTPUBEX: 0,2,0\r\nERROR\r\n";
    goes_up(subject, &[&every_byte, finals, b"\x1a\x1b", b"after"]).await;
}

pub async fn publishes_empty(subject: Subject) {
    goes_up(subject, &[b"", b"after"]).await;
}

pub async fn publishes_one_byte(subject: Subject) {
    goes_up(subject, &[b"x", b">", b"\r", b"\x1a", b"\x00"]).await;
}

pub async fn publishes_the_maximum(subject: Subject) {
    let max = Bench::with_options(subject.plugin, subject.options()).await.0.max_payload;
    goes_up(subject, &[&vec![b'\n'; max], b"after"]).await;
}

/// The data of a prompt that never came is dropped, and the next message is whole.
pub async fn publishes_again_after_a_lost_prompt(subject: Subject) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (bench, handle) = Bench::opened(subject, &broker).await;
    handle.set(Fault::NoPrompt, 1.0).await.unwrap();
    // The clock is paused while the modem gets in step: no task waits for the broker meanwhile.
    tokio::time::pause();
    assert!(bench.publish(FIRST, "up/x", "lost", Qos::AtLeastOnce).await.is_err());
    profile::run(&bench.at, Kind::Basic, "AT", Answer::None).await.unwrap();
    tokio::time::resume();
    handle.set(Fault::NoPrompt, 0.0).await.unwrap();
    bench.publish(FIRST, "up/x", "next", Qos::AtLeastOnce).await.unwrap();
    assert_eq!(peer.message().await.payload, "next");
}

pub async fn refuses_what_is_too_long(subject: Subject) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (bench, _handle) = Bench::opened(subject, &broker).await;
    let long = vec![b'x'; bench.max_payload + 1];
    assert!(bench.publish(FIRST, "up/x", long, Qos::AtLeastOnce).await.is_err());
    bench.publish(FIRST, "up/x", "still here", Qos::AtLeastOnce).await.unwrap();
    assert_eq!(peer.message().await.payload, "still here");
}

pub async fn subscribes_and_receives(subject: Subject) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (mut bench, _handle) = Bench::opened(subject, &broker).await;
    bench.subscribe(FIRST, &["down/one", "down/+/two", "down/gone"]).await.unwrap();
    bench.mqtt.unsubscribe(&bench.at, FIRST, "down/gone").await.unwrap();
    peer.publish("down/gone", "x").await;
    for topic in ["down/one", "down/x/two"] {
        peer.publish(topic, topic).await;
        assert_eq!(bench.received().await, (FIRST, topic.to_owned(), topic.as_bytes().to_vec()));
    }
}

/// The end of a read changes nothing, and data that is cut by length may hold anything.
pub async fn receives_in_split_pieces(subject: Subject) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (mut bench, handle) = Bench::opened(subject, &broker).await;
    bench.subscribe(FIRST, &["down/#"]).await.unwrap();
    handle.set(Fault::Split, 1.0).await.unwrap();
    let hostile =
        b"\r\nOK\r\n>\"\r\n+CMQTTRXEND: 0\r\n+QMTSTAT: 0,1\r\n+CMQDISCON: 0\r\n\x00\xff\",1,\"";
    let long = hostile.repeat((bench.max_payload / hostile.len()).min(30));
    let payloads: [&[u8]; 4] = [&long, b"", b"\"", b"\r\n"];
    for payload in payloads {
        peer.publish("down/x", payload).await;
        assert_eq!(bench.received().await, (FIRST, "down/x".to_owned(), payload.to_vec()));
    }
}

pub async fn serves_two_clients(subject: Subject) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (mut bench, _handle) = Bench::opened(subject, &broker).await;
    bench.open(SECOND, &connection("second")).await.unwrap();
    bench.subscribe(SECOND, &["down/2"]).await.unwrap();
    let (one, two) = tokio::join!(
        bench.publish(FIRST, "up/1", "1", Qos::AtLeastOnce),
        bench.publish(SECOND, "up/2", "2", Qos::ExactlyOnce),
    );
    one.and(two).unwrap();
    let mut got =
        [peer.message().await, peer.message().await].map(|p| (p.topic, p.payload.to_vec()));
    got.sort();
    assert_eq!(got, [("up/1".to_owned(), b"1".to_vec()), ("up/2".to_owned(), b"2".to_vec())]);
    peer.publish("down/2", "two").await;
    assert_eq!(bench.received().await.0, SECOND);
}

fn with_will(id: &str) -> Connection {
    Connection { will: Some(message("up/will", "gone", Qos::AtLeastOnce)), ..connection(id) }
}

pub async fn tells_a_loss_and_opens_again(subject: Subject) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (mut bench, handle) = Bench::simulated(subject, &broker).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    bench.open(FIRST, &with_will("lost")).await.unwrap();
    handle.lose_connections().await.unwrap();
    let Notice::Lost { client, by_broker, .. } = bench.notice().await else { panic!("no loss") };
    assert_eq!((client, by_broker), (FIRST, true));
    // The broker publishes the will of a connection that ends without DISCONNECT (MQTT 3.1.1
    // §3.1.2.5).
    assert_eq!(peer.message().await.topic, "up/will");
    assert!(bench.publish(FIRST, "up/x", "x", Qos::AtLeastOnce).await.is_err());
    bench.mqtt.close(&bench.at, FIRST).await;
    bench.open(FIRST, &connection("lost")).await.unwrap();
    bench.publish(FIRST, "up/x", "back", Qos::AtLeastOnce).await.unwrap();
    assert_eq!(peer.message().await.payload, "back");
}

/// Signs in two clients, or as many as there are, and returns their ids.
async fn sign_in_all(bench: &Bench) -> Vec<&'static str> {
    let mut signed_in = Vec::new();
    for (client, id) in [(FIRST, "earlier"), (SECOND, "other")] {
        if client.0 < bench.clients {
            bench.open(client, &with_will(id)).await.unwrap();
            signed_in.push(id);
        }
    }
    signed_in
}

async fn signed_out(broker: &Broker, ids: Vec<&str>) {
    for id in ids {
        broker.logged(&format!("Client {id} disconnected.")).await;
    }
}

/// The will and the subscription of an earlier agent do not apply to the next agent.
pub async fn tears_down_left_over_state(subject: Subject) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (earlier, handle) = Bench::simulated(subject, &broker).await;
    earlier.mqtt.start(&earlier.at).await.unwrap();
    let signed_in = sign_in_all(&earlier).await;
    earlier.subscribe(FIRST, &["down/earlier"]).await.unwrap();
    let (ours, theirs) = duplex(64 * 1024);
    handle.attach(theirs).await.unwrap();
    let mut bench = Bench::on(subject.plugin, ours, earlier.tasks()).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    signed_out(&broker, signed_in).await;
    bench.open(FIRST, &connection("ours")).await.unwrap();
    bench.subscribe(FIRST, &["down/ours"]).await.unwrap();
    peer.publish("down/earlier", "not for us").await;
    peer.publish("down/ours", "for us").await;
    assert_eq!(bench.received().await.2, b"for us");
}

/// An index that is open already is torn down with its whole state.
pub async fn tears_down_an_open_index(subject: Subject) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (bench, _handle) = Bench::simulated(subject, &broker).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    bench.open(FIRST, &with_will("earlier")).await.unwrap();
    bench.open(FIRST, &connection("again")).await.unwrap();
    broker.logged("Client earlier disconnected.").await;
    bench.publish(FIRST, "up/ours", "x", Qos::AtLeastOnce).await.unwrap();
    assert_eq!(peer.message().await.topic, "up/ours", "no will of an earlier run");
}

fn login(password: &str) -> Connection {
    Connection {
        username: Some("gw".to_owned()),
        password: Some(password.into()),
        ..connection("m")
    }
}

pub async fn fails_on_a_refused_login(subject: Subject) {
    let broker = Broker::with_login("gw", "right").await;
    let (bench, _handle) = Bench::simulated(subject, &broker).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    let refused = bench.open(FIRST, &login("wrong")).await.unwrap_err();
    assert!(!refused.is_hopeless(), "the broker may learn of it later: {refused}");
    bench.mqtt.close(&bench.at, FIRST).await;
    bench.open(FIRST, &login("right")).await.unwrap();
}

pub async fn tells_why_a_login_is_refused(subject: Subject) {
    let broker = Broker::with_login("gw", "right").await;
    let (bench, _handle) = Bench::simulated(subject, &broker).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    let refused = bench.open(FIRST, &login("wrong")).await.unwrap_err().to_string();
    // mosquitto answers "not authorised"; others answer "bad user name or password".
    assert!(refused.contains("not authorized"), "{refused}");
}

/// No topic ends a command early, and a topic that a modem cannot take leaves the session as it is.
pub async fn refuses_a_wrong_topic(subject: Subject) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (bench, _handle) = Bench::opened(subject, &broker).await;
    let long = format!("up/{}", "t".repeat(1_100));
    assert!(bench.publish(FIRST, &long, "x", Qos::AtLeastOnce).await.is_err());
    for id in ["a\"b", "a\rAT+CFUN=0", "a\n", "a\0"] {
        let refused = bench.open(SECOND, &connection(id)).await;
        assert!(matches!(refused, Err(MqttError::Unsendable { .. })), "{refused:?}");
    }
    bench.publish(FIRST, "up/метео/a b>", "next", Qos::AtLeastOnce).await.unwrap();
    assert_eq!(peer.message().await.topic, "up/метео/a b>");
}

/// Unplugging a modem ends the operations in flight at once.
pub async fn ends_with_the_port(subject: Subject) {
    let broker = Broker::open().await;
    let (bench, handle) = Bench::opened(subject, &broker).await;
    handle.network(modem_sim::Coverage::Silent).await.unwrap();
    let before = handle.command_count();
    let (published, ()) =
        tokio::join!(bench.publish(FIRST, "up/x", "x", Qos::AtLeastOnce), async {
            while handle.command_count() == before {
                tokio::task::yield_now().await;
            }
            handle.unplug().await.unwrap();
        });
    assert!(published.unwrap_err().to_string().contains("end"));
    let again = bench.publish(FIRST, "up/x", "x", Qos::AtLeastOnce).await;
    assert!(matches!(again, Err(MqttError::Exchange { .. })), "{again:?}");
}

/// A recording holds the publish and no name of the session, and drives the dialect again.
pub async fn records_what_drives_it_again(subject: Subject) {
    const BROKER: &str = "secret-broker.example.org";
    let broker = Broker::open().await;
    let catalog = Catalog::new(&[subject.plugin]).unwrap();
    let (ours, theirs) = duplex(64 * 1024);
    let options = Options { broker: Some(broker.address()), ..subject.options() };
    let modem = Modem::new(options).on_stream(theirs);
    let mut tasks = JoinSet::new();
    tasks.spawn(modem.run());
    let broker_of_it = Some((BROKER.to_owned(), 1883));
    let plan = Plan { catalog: &catalog, like: None, broker: broker_of_it, progress: &|_| () };
    let recorded = recording::record(ours, &plan, std::future::pending()).await.unwrap();
    // The clock of the replay is paused, so this modem must not run beside it.
    tasks.shutdown().await;
    let mut transcript = recorded.transcript;
    transcript.source = "a simulated modem".to_owned();
    let text = transcript.to_string();
    assert_eq!((recorded.published, recorded.cut), (Published::Acknowledged, None), "{text}");
    broker.logged(&format!("'{}'", recording::TOPIC)).await;
    assert!(text.contains(recording::HOST) && !text.contains(BROKER), "{text}");
    assert!(text.contains("+CSQ") && text.contains("> AT+CGMR"), "{text}");
    println!("{text}");
    tokio::time::pause();
    let transcript = transcript::parse("recorded.txt".to_owned(), &text);
    replay::replay_recorded(&transcript, subject.plugin).await;
}
