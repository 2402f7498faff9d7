//! Modems that an earlier program has used, and modems with old firmware.

use modem::mqtt::Qos;
use modem_conformance::bench::{Bench, FIRST, connection};
use modem_conformance::broker::{Broker, Peer};
use modem_sim::{Cure, Illness, Model, Symptom};

use crate::subject;

/// Signs in on a modem with this symptom, and sends a message up and, if `comes_down`, a message down.
async fn serves(symptom: Symptom, comes_down: bool) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (mut bench, handle) = Bench::simulated(subject(Model::Ec25), &broker).await;
    handle.fall_ill(Illness { symptom, cure: Cure::Never }).await.unwrap();
    bench.mqtt.start(&bench.at).await.unwrap();
    bench.open(FIRST, &connection("first")).await.unwrap();
    for payload in [&b"0a"[..], b"text", b"\x00\xff"] {
        bench.publish(FIRST, "up/x", payload, Qos::AtLeastOnce).await.unwrap();
        assert_eq!(peer.message().await.payload, payload, "{symptom:?}");
    }
    if comes_down {
        bench.subscribe(FIRST, &["down/#"]).await.unwrap();
        for payload in ["0a", "text", "a,b"] {
            peer.publish("down/x", payload).await;
            assert_eq!(bench.received().await.2, payload.as_bytes(), "{symptom:?}");
        }
    }
}

#[tokio::test]
async fn messages_that_were_to_be_read_come_at_once() {
    serves(Symptom::Buffered, true).await;
}

#[tokio::test]
async fn payloads_that_were_digits_are_bytes() {
    serves(Symptom::HexData, true).await;
}

#[tokio::test]
async fn a_message_without_its_length_is_delivered() {
    serves(Symptom::NoLength, true).await;
}

/// Such firmware publishes by `AT+QMTPUB`, and has no setting for the form of received messages.
#[tokio::test]
async fn old_firmware_serves_a_session_without_subscriptions() {
    serves(Symptom::OldFirmware, false).await;
}
