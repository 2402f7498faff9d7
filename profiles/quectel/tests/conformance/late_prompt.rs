//! A prompt that comes after its publish was given up: it still gets the message, and nothing else.

use modem::mqtt::Qos;
use modem_conformance::bench::{Bench, FIRST, connection};
use modem_conformance::broker::{Broker, Peer};
use modem_sim::{Fault, Model, Options};
use profile_quectel::PLUGIN;
use tokio::time::Duration;

/// The modem counts the bytes after the prompt, and publishes at the last byte. Padding would be a message of
/// its own, with the right topic and a payload that no session sent.
#[tokio::test]
async fn no_padding_is_published() {
    for payload in ["the message", ""] {
        let broker = Broker::open().await;
        let mut peer = Peer::new(&broker).await;
        let late = Duration::from_secs(11);
        let options = Options { broker: Some(broker.address()), late, ..Options::new(Model::Ec25) };
        let (bench, handle) = Bench::with_options(&PLUGIN, options).await;
        bench.mqtt.start(&bench.at).await.unwrap();
        bench.open(FIRST, &connection("m")).await.unwrap();
        handle.set(Fault::LatePrompt, 1.0).await.unwrap();
        // Nothing is expected at the broker meanwhile; the last second passes for real.
        tokio::time::pause();
        let given_up = bench.publish(FIRST, "up/x", payload, Qos::AtLeastOnce).await.unwrap_err();
        tokio::time::resume();
        assert!(given_up.is_timeout(), "{given_up}");
        assert_eq!(peer.message().await.payload, payload);
        handle.set(Fault::LatePrompt, 0.0).await.unwrap();
        bench.publish(FIRST, "up/x", "next", Qos::AtLeastOnce).await.unwrap();
        assert_eq!(peer.message().await.payload, "next");
    }
}
