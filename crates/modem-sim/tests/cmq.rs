//! The SIM7020's own commands, from a host's view.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Broker, Host, in_memory};
use modem_sim::{Coverage, Model, Options};
use tokio::time::Duration;

const NEW: &str = "AT+CMQNEW=\"broker.example.com\",\"1883\",12000,1024";
const CONNECT: &str = "AT+CMQCON=0,4,\"c\",600,1,0";

fn options(broker: &Broker) -> Options {
    Options { broker: broker.options().broker, ..Options::new(Model::Sim7020) }
}

async fn connected(host: &mut Host) {
    host.ask("ATE0", "OK\r\n").await;
    assert_eq!(host.ask(NEW, "OK\r\n").await, "\r\n+CMQNEW: 0\r\n\r\nOK\r\n");
    host.ok(CONNECT).await;
    // Unless it was set to wait, it may not be connected yet.
    while !host.ask("AT+CMQCON?", "OK\r\n").await.contains("+CMQCON: 0,1,") {}
}

async fn refused(host: &mut Host, command: &str) {
    assert_eq!(host.ask(command, "ERROR\r\n").await, "\r\nERROR\r\n", "{command}");
}

#[tokio::test]
async fn a_payload_goes_and_comes_as_digits_or_as_it_is() {
    let broker = Broker::open().await;
    let (_bench, mut host) = in_memory(options(&broker));
    connected(&mut host).await;
    host.ok("AT+CMQTSYNC=1").await;
    host.ok("AT+CMQSUB=0,\"t\",1").await;
    // The broker may send the message back before it acknowledges.
    host.write("AT+CMQPUB=0,\"t\",1,0,0,4,\"4F4e\"\r").await;
    host.both("+CMQPUB: 0,\"t\",0,0,0,4,\"4F4E\"\r\n", "OK\r\n").await;
    host.ok("AT+CREVHEX=0").await;
    host.write("AT+CMQPUB=0,\"t\",1,0,0,2,\"hi\"\r").await;
    host.both("+CMQPUB: 0,\"t\",0,0,0,2,\"hi\"\r\n", "OK\r\n").await;
    host.ok("AT+CREVHEX=1").await;
    for wrong in [
        "AT+CMQPUB=0,\"t\",1,0,0,0,\"\"",
        "AT+CMQPUB=0,\"t\",1,0,0,3,\"4F4\"",
        "AT+CMQPUB=0,\"t\",1,0,0,4,\"4F\"",
        "AT+CMQPUB=0,\"t\",1,0,0,4,\"hiho\"",
        "AT+CMQPUB=0,\"t\",3,0,0,2,\"4F\"",
        "AT+CMQPUB=1,\"t\",1,0,0,2,\"4F\"",
        "AT+CMQTTSTART",
        "AT+CPSI?",
        NEW,
    ] {
        refused(&mut host, wrong).await;
    }
    host.ok("AT+CMQUNSUB=0,\"t\"").await;
    host.ok("AT+CMQDISCON=0").await;
    refused(&mut host, "AT+CMQDISCON=0").await;
    assert!(host.ask("AT+CMQNEW?", "OK\r\n").await.contains("+CMQNEW: 0,0,null"));
}

/// As delivered, `OK` means that the modem has the packet; once set to wait, that the broker has.
#[tokio::test]
async fn what_ok_means_is_a_setting_that_outlives_a_reset() {
    let broker = Broker::open().await;
    let (bench, mut host) = in_memory(options(&broker));
    connected(&mut host).await;
    assert!(host.ask("AT+CMQTSYNC?", "OK\r\n").await.contains("+CMQTSYNC: 0"));
    bench.handle.network(Coverage::Silent).await.unwrap();
    host.ok("AT+CMQPUB=0,\"t\",1,0,0,2,\"4F\"").await;
    assert_eq!(bench.handle.publish_count(), 0);
    bench.handle.network(Coverage::Full).await.unwrap();
    host.ok("AT+CMQTSYNC=1").await;
    host.write("AT+CFUN=1,1\r").await;
    host.until("SMS Ready\r\n").await;
    connected(&mut host).await;
    assert!(host.ask("AT+CMQTSYNC?", "OK\r\n").await.contains("+CMQTSYNC: 1"));
    bench.handle.network(Coverage::Silent).await.unwrap();
    let before = bench.handle.publish_count();
    host.write("AT+CMQPUB=0,\"t\",1,0,0,2,\"4F\"\r").await;
    host.silent(Duration::from_millis(100)).await;
    bench.handle.network(Coverage::Full).await.unwrap();
    assert_eq!(host.until("OK\r\n").await, b"\r\nOK\r\n");
    assert_eq!(bench.handle.publish_count(), before + 1);
}

#[tokio::test]
async fn a_client_stays_used_until_it_is_disconnected() {
    let broker = Broker::open().await;
    let (bench, mut host) = in_memory(options(&broker));
    connected(&mut host).await;
    bench.handle.lose_connections().await.unwrap();
    host.until("\r\n+CMQDISCON: 0\r\n").await;
    refused(&mut host, "AT+CMQPUB=0,\"t\",1,0,0,2,\"4F\"").await;
    let shown = host.ask("AT+CMQNEW?", "OK\r\n").await;
    assert!(shown.contains("+CMQNEW: 0,1,\"broker.example.com\""), "{shown}");
    host.ok("AT+CMQDISCON=0").await;
    connected(&mut host).await;
}

#[tokio::test]
async fn who_it_is_and_what_it_receives() {
    let broker = Broker::open().await;
    let (_bench, mut host) = in_memory(options(&broker));
    host.ask("ATE0", "OK\r\n").await;
    assert_eq!(host.ask("AT+CGMM", "OK\r\n").await, "\r\nSIM7020E\r\n\r\nOK\r\n");
    let card = host.ask("AT+CCID", "OK\r\n").await;
    assert!(card.trim().starts_with("89"), "{card}");
    assert!(host.ask("AT+COPS?", "OK\r\n").await.contains(",9\r\n"));
    host.ok("AT+CGAUTH=1,1,\"user\",\"password\"").await;
    refused(&mut host, "AT+CGAUTH=1,2,\"user\",\"password\"").await;
    let cells = host.ask("AT+CENG?", "OK\r\n").await;
    assert_eq!(cells.matches("+CENG: ").count(), 2, "{cells}");
}
