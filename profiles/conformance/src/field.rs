//! Troubles of modems in the field, on the simulated modem of each model with a stack of several
//! clients.

use modem::mqtt::{Connection, MqttError, Qos};
use modem::port::Kind;
use modem::profile;
use modem_sim::{Cure, Fault, Forgery, Handle, Illness, Symptom};

use crate::Subject;
use crate::bench::{Bench, FIRST, SECOND, connection};
use crate::broker::{Broker, Peer};

/// Works as [`shared_scenarios!`](crate::shared_scenarios), for these scenarios. Their models have
/// a stack of several clients.
#[macro_export]
macro_rules! field_scenarios {
    ($subject:path, $tests:ident) => {
        $crate::bound! { field, $subject, $tests;
            a_broker_that_is_not_there_is_given_up_and_the_other_one_is_reached,
            a_publish_without_acknowledgement_fails_and_the_next_one_goes_through,
            a_slow_answer_is_waited_for,
            nothing_that_holds_a_result_acknowledges_a_publish,
            a_message_that_lost_bytes_is_not_delivered,
        }
    };
}

const FIRST_HOLE: Symptom = Symptom::BlackHole { client: FIRST.0, is_heeded: false };
const FIRST_SILENT: Symptom = Symptom::NoAcknowledgement { client: FIRST.0 };

async fn fall_ill(handle: &Handle, symptom: Symptom) {
    handle.fall_ill(Illness { symptom, cure: Cure::Never }).await.unwrap();
}

/// Creates a connection whose pings do not fall into the time that a paused clock skips.
fn patient(client_id: &str) -> Connection {
    Connection { keep_alive_s: 1_200, ..connection(client_id) }
}

/// Starts the service, and signs the first client in.
async fn signed_in(subject: Subject, broker: &Broker) -> (Bench, Handle) {
    let (bench, handle) = Bench::simulated(subject, broker).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    bench.open(FIRST, &patient("first")).await.unwrap();
    (bench, handle)
}

/// The modem gives the code in its own time, up to two minutes.
pub async fn a_broker_that_is_not_there_is_given_up_and_the_other_one_is_reached(subject: Subject) {
    let broker = Broker::open().await;
    let (bench, handle) = Bench::simulated(subject, &broker).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    fall_ill(&handle, FIRST_HOLE).await;
    tokio::time::pause();
    let given_up = bench.open(FIRST, &connection("first")).await;
    assert!(matches!(given_up, Err(MqttError::Refused { .. })), "{given_up:?}");
    bench.mqtt.close(&bench.at, FIRST).await;
    tokio::time::resume();
    bench.open(SECOND, &connection("second")).await.unwrap();
    bench.publish(SECOND, "up/x", "x", Qos::AtLeastOnce).await.unwrap();
}

pub async fn a_publish_without_acknowledgement_fails_and_the_next_one_goes_through(
    subject: Subject,
) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (bench, handle) = signed_in(subject, &broker).await;
    fall_ill(&handle, FIRST_SILENT).await;
    tokio::time::pause();
    let lost = bench.publish(FIRST, "up/x", "lost", Qos::AtLeastOnce).await;
    assert!(matches!(lost, Err(MqttError::Refused { .. })), "{lost:?}");
    tokio::time::resume();
    handle.heal(FIRST_SILENT).await.unwrap();
    bench.publish(FIRST, "up/x", "next", Qos::AtLeastOnce).await.unwrap();
    assert_eq!(peer.message().await.payload, "next");
    assert_eq!(handle.publish_count(), 1);
}

/// A status command and a command of the stack overlap, and do not disturb each other.
pub async fn a_slow_answer_is_waited_for(subject: Subject) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (bench, handle) = signed_in(subject, &broker).await;
    let slow = Symptom::Slow { command: "+CSQ", time: std::time::Duration::from_millis(1_500) };
    fall_ill(&handle, slow).await;
    let (strength, published) = tokio::join!(
        profile::run(&bench.at, Kind::Status, "AT+CSQ", at::Answer::Prefix("+CSQ:")),
        bench.publish(FIRST, "up/x", "x", Qos::AtLeastOnce),
    );
    assert_eq!(strength.unwrap(), ["+CSQ: 22,99"]);
    published.unwrap();
    assert_eq!(peer.message().await.payload, "x");
}

/// Text messages and downloads contain the line of a good result, while the broker acknowledges
/// nothing.
pub async fn nothing_that_holds_a_result_acknowledges_a_publish(subject: Subject) {
    for forgery in [Forgery::Text, Forgery::Pdu, Forgery::Download] {
        let broker = Broker::open().await;
        let mut peer = Peer::new(&broker).await;
        let (bench, handle) = signed_in(subject, &broker).await;
        fall_ill(&handle, FIRST_SILENT).await;
        fall_ill(&handle, Symptom::Forged(forgery)).await;
        tokio::time::pause();
        let lost = bench.publish(FIRST, "up/x", "lost", Qos::AtLeastOnce).await;
        assert!(lost.is_err(), "{forgery:?}");
        tokio::time::resume();
        handle.heal(FIRST_SILENT).await.unwrap();
        handle.heal(Symptom::Forged(forgery)).await.unwrap();
        bench.publish(FIRST, "up/x", "next", Qos::AtLeastOnce).await.unwrap();
        assert_eq!(peer.message().await.payload, "next");
    }
}

pub async fn a_message_that_lost_bytes_is_not_delivered(subject: Subject) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (mut bench, handle) = signed_in(subject, &broker).await;
    bench.subscribe(FIRST, &["down/#"]).await.unwrap();
    for round in 0..2 {
        handle.set(Fault::LostBytes, 1.0).await.unwrap();
        peer.publish("down/x", "0123456789").await;
        while handle.received_count() == 2 * round {
            tokio::task::yield_now().await;
        }
        handle.set(Fault::LostBytes, 0.0).await.unwrap();
        // The end of a torn message may only show by the silence after it.
        tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
        peer.publish("down/x", "whole").await;
        assert_eq!(bench.received().await.2, b"whole");
    }
}
