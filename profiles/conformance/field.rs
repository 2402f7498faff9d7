//! What modems do in the field, on the simulated modem of each model with a stack of several clients.
//!
//! The profile's tests take this in by path after a macro `scenarios!` that names those models.

use modem::mqtt::{Connection, MqttError, Qos};
use modem::port::Kind;
use modem::profile;
use modem_sim::{Cure, Handle, Illness, Model, Symptom};

use crate::bench::{Bench, FIRST, SECOND, connection};
use crate::broker::{Broker, Peer};

scenarios!(
    a_broker_that_is_not_there_is_given_up_and_the_other_one_is_reached,
    a_publish_without_acknowledgement_fails_and_the_next_one_goes_through,
    a_slow_answer_is_waited_for,
);

const FIRST_HOLE: Symptom = Symptom::BlackHole { client: FIRST.0, is_heeded: false };
const FIRST_SILENT: Symptom = Symptom::NoAcknowledgement { client: FIRST.0 };

async fn fall_ill(handle: &Handle, symptom: Symptom) {
    handle.fall_ill(Illness { symptom, cure: Cure::Never }).await.unwrap();
}

/// No ping of the modem falls into the time that a paused clock skips.
fn patient(client_id: &str) -> Connection {
    Connection { keep_alive_s: 1_200, ..connection(client_id) }
}

/// The service, and the first client signed in.
async fn signed_in(model: Model, broker: &Broker) -> (Bench, Handle) {
    let (bench, handle) = Bench::simulated(model, broker).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    bench.open(FIRST, &patient("first")).await.unwrap();
    (bench, handle)
}

/// The modem gives the code in its own time, up to two minutes.
async fn a_broker_that_is_not_there_is_given_up_and_the_other_one_is_reached(model: Model) {
    let broker = Broker::open().await;
    let (bench, handle) = Bench::simulated(model, &broker).await;
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

async fn a_publish_without_acknowledgement_fails_and_the_next_one_goes_through(model: Model) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (bench, handle) = signed_in(model, &broker).await;
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

/// Status is asked for while a command of the stack is on its way: the two do not disturb each other.
async fn a_slow_answer_is_waited_for(model: Model) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (bench, handle) = signed_in(model, &broker).await;
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
