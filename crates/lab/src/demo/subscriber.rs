//! The receiver of the demo's messages: a subscriber at the broker, with a third-party client.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::load;
use super::news::News;
use super::tally::Print;

/// The most requests to the client: it needs only one, the SUBSCRIBE. More would wait.
const REQUESTS: usize = 4;

/// The largest packet it takes, in bytes: a payload, a topic, and room to spare.
const MAX_PACKET: usize = 64 * 1024;

/// Reports every message that arrives, until it is dropped.
///
/// # Errors
/// An error if the connection breaks. The broker is in this process, so that is a fault of the
/// demo.
pub(super) async fn watch(broker: SocketAddr, news: mpsc::Sender<News>) -> anyhow::Result<()> {
    let mut options = MqttOptions::new("demo-subscriber", broker.ip().to_string(), broker.port());
    options.set_keep_alive(Duration::from_secs(30)).set_max_packet_size(MAX_PACKET, MAX_PACKET);
    let (client, mut events) = AsyncClient::new(options, REQUESTS);
    client.subscribe("demo/#", QoS::AtLeastOnce).await.context("could not subscribe")?;
    loop {
        let event = events.poll().await.context("the subscriber lost its broker")?;
        let item = match event {
            Event::Incoming(Packet::SubAck(_)) => News::Subscribed,
            Event::Incoming(Packet::Publish(message)) => {
                // A message without a number is not the demo's.
                let Some(number) = load::number(&message.payload) else { continue };
                let print = Print::of(&message.topic, &message.payload);
                News::Arrived { number, print, at: Instant::now() }
            }
            _ => continue,
        };
        // It fails only if the receiver is gone, when the demo ends.
        drop(news.send(item).await);
    }
}
