//! The modem's MQTT service in states that the manual does not describe: wedged, or with clients that were not
//! released.

use modem::mqtt::{MqttError, Qos};
use modem_conformance::bench::{Bench, FIRST, SECOND, code, connection};
use modem_conformance::broker::{Broker, Peer};
use modem_sim::{Cure, Illness, Model, Symptom};

use crate::subject;

of_the_dialect!(
    a_wedged_connect_is_given_up_and_a_restart_cures_it,
    a_stuck_client_is_told_and_a_restart_cures_it,
    clients_that_are_left_over_are_torn_down,
    without_the_service_nothing_is_a_code,
    a_start_may_take_a_minute,
);

async fn restart(bench: &Bench) {
    bench.mqtt.stop(&bench.at).await;
    bench.mqtt.start(&bench.at).await.unwrap();
}

async fn a_wedged_connect_is_given_up_and_a_restart_cures_it(model: Model) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (bench, handle) = Bench::simulated(subject(model), &broker).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    let wedged = Illness { symptom: Symptom::Wedged, cure: Cure::ServiceRestart };
    handle.fall_ill(wedged).await.unwrap();
    tokio::time::pause();
    let given_up = bench.open(FIRST, &connection("first")).await;
    assert!(!matches!(given_up, Ok(()) | Err(MqttError::Refused { .. })), "{given_up:?}");
    restart(&bench).await;
    tokio::time::resume();
    bench.open(FIRST, &connection("first")).await.unwrap();
    bench.publish(FIRST, "up/x", "x", Qos::AtLeastOnce).await.unwrap();
    assert_eq!(peer.message().await.payload, "x");
}

async fn a_stuck_client_is_told_and_a_restart_cures_it(model: Model) {
    let broker = Broker::open().await;
    let (bench, handle) = Bench::simulated(subject(model), &broker).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    let stuck = Illness { symptom: Symptom::StuckClient, cure: Cure::ServiceRestart };
    handle.fall_ill(stuck).await.unwrap();
    assert_eq!(code(bench.open(FIRST, &connection("first")).await), 3);
    bench.mqtt.close(&bench.at, FIRST).await;
    assert_eq!(code(bench.open(FIRST, &connection("first")).await), 19);
    restart(&bench).await;
    bench.open(FIRST, &connection("first")).await.unwrap();
}

/// START succeeds, although the clients of an earlier program are still there.
async fn clients_that_are_left_over_are_torn_down(model: Model) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (bench, handle) = Bench::simulated(subject(model), &broker).await;
    let left = Illness { symptom: Symptom::LeftClients, cure: Cure::Never };
    handle.fall_ill(left).await.unwrap();
    bench.mqtt.start(&bench.at).await.unwrap();
    for (client, id) in [(FIRST, "first"), (SECOND, "second")] {
        bench.open(client, &connection(id)).await.unwrap();
        bench.publish(client, "up/x", id, Qos::AtLeastOnce).await.unwrap();
        assert_eq!(peer.message().await.payload, id);
    }
}

/// An unnoticed boot has ended the service: the only answer is `ERROR`.
async fn without_the_service_nothing_is_a_code(model: Model) {
    let broker = Broker::open().await;
    let (bench, _handle) = Bench::simulated(subject(model), &broker).await;
    let opened = bench.open(FIRST, &connection("first")).await;
    assert!(matches!(opened, Err(MqttError::NoCode { .. })), "{opened:?}");
    let published = bench.publish(FIRST, "up/x", "x", Qos::AtLeastOnce).await;
    assert!(matches!(published, Err(MqttError::NoCode { .. })), "{published:?}");
    bench.mqtt.close(&bench.at, FIRST).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    bench.open(FIRST, &connection("first")).await.unwrap();
}

/// Its maximum is 120 s (SIM7600 manual V3.00 p. 346); commands wait meanwhile.
async fn a_start_may_take_a_minute(model: Model) {
    let broker = Broker::open().await;
    let (bench, handle) = Bench::simulated(subject(model), &broker).await;
    let slow = Symptom::Slow { command: "+CMQTTSTART", time: std::time::Duration::from_secs(60) };
    handle.fall_ill(Illness { symptom: slow, cure: Cure::Never }).await.unwrap();
    tokio::time::pause();
    bench.mqtt.start(&bench.at).await.unwrap();
    let starts = bench.commands().into_iter().filter(|(line, _)| line == "AT+CMQTTSTART").count();
    assert_eq!(starts, 1);
    tokio::time::resume();
    bench.open(FIRST, &connection("first")).await.unwrap();
}
