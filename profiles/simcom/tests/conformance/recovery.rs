//! State left by an earlier program, and connections that end by themselves.

use modem::mqtt::{Connection, Qos};
use modem::port::Kind;
use modem::profile::Notice;
use modem_conformance::bench::{Bench, FIRST, SECOND, code, connection, message};
use modem_conformance::broker::{Broker, Peer};
use modem_sim::{Handle, Model};
use profile_simcom::PLUGIN;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::subject;

of_the_dialect!(
    leftovers_are_torn_down_and_never_reused,
    a_half_filled_data_mode_is_left,
    a_used_index_is_torn_down_alone,
    a_used_index_of_an_only_session_means_that_both_are_left_over,
    a_lost_connection_is_told_and_opened_again,
    a_boot_ends_what_is_in_flight,
);

fn with_will(id: &str) -> Connection {
    Connection {
        will: Some(message("up/will", "gone", Qos::AtLeastOnce)),
        clean_session: false,
        ..connection(id)
    }
}

/// An earlier agent: service up, a client signed in with a will, the other client acquired, and a topic that
/// was set and never published.
async fn earlier_agent(model: Model, broker: &Broker) -> (Bench, Handle) {
    let (earlier, handle) = Bench::simulated(subject(model), broker).await;
    earlier.mqtt.start(&earlier.at).await.unwrap();
    earlier.open(FIRST, &with_will("earlier")).await.unwrap();
    earlier.subscribe(FIRST, &["down/earlier"]).await.unwrap();
    let run = async |line: &str, data: Option<&str>| {
        let mut exchange = at::Exchange::new(line, modem::profile::PATIENCE).unwrap();
        if let Some(data) = data {
            exchange = exchange.prompt(data);
        }
        earlier.at.run(Kind::Setup, exchange).await.unwrap();
    };
    run("AT+CMQTTACCQ=1,\"other\",0", None).await;
    run("AT+CMQTTTOPIC=0,9", Some("up/stolen")).await;
    (earlier, handle)
}

/// Starts the next agent on the same modem, in its current state.
async fn next_agent(earlier: Bench, handle: &Handle) -> Bench {
    let (ours, theirs) = duplex(64 * 1024);
    handle.attach(theirs).await.unwrap();
    Bench::on(&PLUGIN, ours, earlier.tasks()).await
}

async fn leftovers_are_torn_down_and_never_reused(model: Model) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (earlier, handle) = earlier_agent(model, &broker).await;
    let mut bench = next_agent(earlier, &handle).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    let commands: Vec<_> = bench.commands().into_iter().map(|(line, _)| line).collect();
    assert_eq!(
        commands,
        [
            "AT+CMQTTSTART",
            "AT+CMQTTDISC=0,60",
            "AT+CMQTTREL=0",
            "AT+CMQTTDISC=1,60",
            "AT+CMQTTREL=1",
            "AT+CMQTTSTOP",
            "AT+CMQTTSTART"
        ]
    );
    broker.logged("Client earlier disconnected.").await;
    for client in [FIRST, SECOND] {
        bench.open(client, &connection(["ours-0", "ours-1"][usize::from(client.0)])).await.unwrap();
    }
    bench.subscribe(FIRST, &["down/ours"]).await.unwrap();
    peer.publish("down/earlier", "not for us").await;
    peer.publish("down/ours", "for us").await;
    assert_eq!(bench.received().await.2, b"for us");
    bench.publish(FIRST, "up/ours", "", Qos::AtLeastOnce).await.unwrap();
    // Neither the will, since the earlier client signed out, nor the topic that was left set.
    assert_eq!(peer.message().await.topic, "up/ours");
}

async fn a_half_filled_data_mode_is_left(model: Model) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (earlier, handle) = earlier_agent(model, &broker).await;
    let (mut torn, theirs) = duplex(1024);
    handle.attach(theirs).await.unwrap();
    torn.write_all(b"AT+CMQTTPAYLOAD=0,9000\rhalf").await.unwrap();
    let mut said = Vec::new();
    while !said.contains(&b'>') {
        torn.read_buf(&mut said).await.unwrap();
    }
    let bench = next_agent(earlier, &handle).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    bench.open(FIRST, &connection("ours")).await.unwrap();
    bench.publish(FIRST, "up/ours", "whole", Qos::AtLeastOnce).await.unwrap();
    let publish = peer.message().await;
    assert_eq!((publish.topic.as_str(), &publish.payload[..]), ("up/ours", &b"whole"[..]));
}

/// A session that opens again affects its own index only.
async fn a_used_index_is_torn_down_alone(model: Model) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (bench, _handle) = Bench::opened(subject(model), &broker).await;
    bench.open(SECOND, &with_will("second")).await.unwrap();
    bench.forget();
    let shared = Connection { is_shared: true, ..connection("again") };
    bench.open(FIRST, &shared).await.unwrap();
    let commands: Vec<_> = bench.commands().into_iter().map(|(line, _)| line).collect();
    assert_eq!(commands[1..3], ["AT+CMQTTDISC=0,60", "AT+CMQTTREL=0"]);
    assert!(commands.iter().all(|line| !line.contains("=1")), "{commands:?}");
    bench.publish(SECOND, "up/second", "stands", Qos::AtLeastOnce).await.unwrap();
    assert_eq!(peer.message().await.topic, "up/second", "no will: the client was left alone");
}

/// START returned 0, and there are clients.
async fn a_used_index_of_an_only_session_means_that_both_are_left_over(model: Model) {
    let broker = Broker::open().await;
    let (bench, _handle) = Bench::opened(subject(model), &broker).await;
    bench.open(SECOND, &with_will("second")).await.unwrap();
    bench.forget();
    bench.open(FIRST, &connection("again")).await.unwrap();
    let commands: Vec<_> = bench.commands().into_iter().map(|(line, _)| line).collect();
    assert_eq!(
        commands[1..5],
        ["AT+CMQTTDISC=0,60", "AT+CMQTTREL=0", "AT+CMQTTDISC=1,60", "AT+CMQTTREL=1"]
    );
    broker.logged("Client second disconnected.").await;
}

async fn a_lost_connection_is_told_and_opened_again(model: Model) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (mut bench, handle) = Bench::simulated(subject(model), &broker).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    bench.open(FIRST, &with_will("lost")).await.unwrap();
    handle.lose_connections().await.unwrap();
    let Notice::Lost { client, by_broker, .. } = bench.notice().await else { panic!("no loss") };
    assert_eq!((client, by_broker), (FIRST, true));
    // The broker publishes the will of a connection that ends without DISCONNECT (MQTT 3.1.1 §3.1.2.5).
    assert_eq!(peer.message().await.topic, "up/will");
    assert_eq!(code(bench.publish(FIRST, "up/x", "x", Qos::AtLeastOnce).await), 11);
    bench.mqtt.close(&bench.at, FIRST).await;
    bench.open(FIRST, &connection("lost")).await.unwrap();
    bench.publish(FIRST, "up/x", "back", Qos::AtLeastOnce).await.unwrap();
    assert_eq!(peer.message().await.payload, "back");
}

async fn a_boot_ends_what_is_in_flight(model: Model) {
    let broker = Broker::open().await;
    let (mut bench, handle) = Bench::opened(subject(model), &broker).await;
    handle.network(modem_sim::Coverage::Silent).await.unwrap();
    let (at, mqtt) = (bench.at.clone(), bench.mqtt);
    let message = message("up/x", "x", Qos::AtLeastOnce);
    let (published, ()) = tokio::join!(mqtt.publish(&at, FIRST, &message), async {
        while handle.command_count() < 10 {
            tokio::task::yield_now().await;
        }
        handle.reset().await.unwrap();
    });
    assert!(published.is_err());
    assert_eq!(bench.notice().await, Notice::Booted);
    // Echo is on again after a boot; the dialect does not mind.
    handle.network(modem_sim::Coverage::Full).await.unwrap();
    bench.mqtt.start(&bench.at).await.unwrap();
    bench.open(FIRST, &connection("again")).await.unwrap();
}
