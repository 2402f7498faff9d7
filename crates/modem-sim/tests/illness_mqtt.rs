//! Illnesses of the MQTT stacks, from a host's view.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends at the first surprise; clippy.toml frees only the test functions"
)]

mod common;

use common::{Bench, Broker, CONNECT, Host, Peer, in_memory, sim7600};
use modem_sim::{Fault, Model, Onset, Options};
use tokio::time::{Duration, Instant};

/// Returns a modem with these illnesses and no echo.
async fn ill(options: Options, illnesses: &[&str]) -> (Bench, Host) {
    let onsets = illnesses.iter().map(|text| text.parse::<Onset>().unwrap()).collect();
    let (bench, mut host) = in_memory(Options { onsets, ..options });
    host.ask("ATE0", "OK\r\n").await;
    (bench, host)
}

/// Returns the answer, up to and with its last line.
async fn said(host: &mut Host, command: &str, end: &str) -> String {
    let answer = host.ask(command, &format!("{end}\r\n")).await;
    answer.split("\r\n").filter(|line| !line.is_empty()).collect::<Vec<_>>().join("|")
}

async fn acquired(host: &mut Host) {
    host.ask("AT+CMQTTSTART", "+CMQTTSTART: 0\r\n\r\nOK\r\n").await;
    host.ok("AT+CMQTTACCQ=0,\"c\"").await;
}

#[tokio::test(start_paused = true)]
async fn a_wedged_stack_accepts_connect_and_wants_the_service_restarted() {
    let (_bench, mut host) = ill(sim7600(), &["wedged=service-restart"]).await;
    acquired(&mut host).await;
    host.ok(CONNECT).await;
    host.silent(Duration::from_secs(600)).await;
    assert_eq!(said(&mut host, "AT+CMQTTREL=0", "ERROR").await, "+CMQTTREL: 0,14|ERROR");
    assert_eq!(said(&mut host, "AT+CSQ", "OK").await, "+CSQ: 22,99|OK");
    assert_eq!(said(&mut host, "AT+CMQTTSTOP", "OK").await, "+CMQTTSTOP: 0|OK");
    acquired(&mut host).await;
    tokio::time::resume();
    let broker = "127.0.0.1:1";
    let connect = CONNECT.replace("broker.example.com:1883", broker);
    assert_eq!(said(&mut host, &connect, "0,3").await, "OK|+CMQTTCONNECT: 0,3", "it is tried now");
}

#[tokio::test]
async fn a_stuck_client_wants_the_service_restarted() {
    let broker = Broker::open().await;
    let (_bench, mut host) = ill(broker.options(), &["stuck-client=service-restart"]).await;
    acquired(&mut host).await;
    assert_eq!(said(&mut host, CONNECT, "0,3").await, "OK|+CMQTTCONNECT: 0,3");
    for (command, refusal) in [
        ("AT+CMQTTREL=0", "+CMQTTREL: 0,14|ERROR"),
        ("AT+CMQTTACCQ=0,\"c\"", "+CMQTTACCQ: 0,19|ERROR"),
        ("AT+CMQTTDISC=0,60", "+CMQTTDISC: 0,14|ERROR"),
        (CONNECT, "+CMQTTCONNECT: 0,14|ERROR"),
    ] {
        assert_eq!(said(&mut host, command, "ERROR").await, refusal);
    }
    assert_eq!(said(&mut host, "AT+CMQTTSTOP", "OK").await, "+CMQTTSTOP: 0|OK");
    acquired(&mut host).await;
    host.ask(CONNECT, "+CMQTTCONNECT: 0,0\r\n").await;
}

#[tokio::test]
async fn clients_may_outlive_a_boot_and_start_says_nothing_of_them() {
    let broker = Broker::open().await;
    let (bench, mut host) = ill(broker.options(), &["left-clients=never"]).await;
    for boots in [false, true] {
        if boots {
            bench.handle.reset().await.unwrap();
            host.until("PB DONE\r\n").await;
            host.ask("ATE0", "OK\r\n").await;
        }
        assert_eq!(said(&mut host, "AT+CMQTTSTART", "OK").await, "+CMQTTSTART: 0|OK");
        let used = said(&mut host, "AT+CMQTTACCQ=0,\"c\"", "ERROR").await;
        assert_eq!(used, "+CMQTTACCQ: 0,19|ERROR");
        host.ok("AT+CMQTTREL=0").await;
        host.ok("AT+CMQTTREL=1").await;
        host.ok("AT+CMQTTACCQ=0,\"c\"").await;
        host.ask(CONNECT, "+CMQTTCONNECT: 0,0\r\n").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_black_hole_takes_as_long_as_optimeout_or_its_own_time() {
    for (illness, wanted) in [("black-hole:1=never", 20), ("black-hole:1:120s=never", 120)] {
        let (_bench, mut host) = ill(sim7600(), &[illness]).await;
        acquired(&mut host).await;
        host.ok("AT+CMQTTACCQ=1,\"other\"").await;
        host.ok("AT+CMQTTCFG=\"optimeout\",1,20").await;
        let start = Instant::now();
        host.ok(&CONNECT.replace("=0", "=1")).await;
        // The modem does not hold up the other client.
        assert_eq!(said(&mut host, "AT+CMQTTDISC=0,60", "ERROR").await, "+CMQTTDISC: 0,11|ERROR");
        host.until_timed_out("\r\n+CMQTTCONNECT: 1,3\r\n").await;
        assert_eq!(start.elapsed().as_secs(), wanted);
        host.ok("AT+CMQTTREL=1").await;
    }
}

/// The line that looks like a result arrives before the real result, which differs.
#[tokio::test]
async fn a_publish_without_acknowledgement_fails_at_its_time_and_forgeries_come_before() {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let illnesses = ["no-acknowledgement:0=never", "forged:text=modem-reset"];
    let (bench, mut host) = ill(broker.options(), &illnesses).await;
    acquired(&mut host).await;
    // No ping is in the time that is skipped.
    host.ask(&CONNECT.replace(",60,1", ",600,1"), "+CMQTTCONNECT: 0,0\r\n").await;
    host.publish("t", b"lost").await;
    host.until("\r\nOK\r\n").await;
    tokio::time::pause();
    let (start, head) =
        (Instant::now(), "\r\n+CMT: \"+8613800100500\",,\"26/11/29,09:00:00+32\"\r\n");
    let text = host.until("+CMQTTPUB: 0,0\r\n").await;
    assert_eq!(String::from_utf8(text).unwrap(), format!("{head}+CMQTTPUB: 0,0\r\n"));
    assert_eq!(host.until("RDY\r\n").await, format!("{head}RDY\r\n").into_bytes());
    host.until_timed_out("\r\n+CMQTTPUB: 0,17\r\n").await;
    // The clock stood still only once OK had come.
    assert!((55..=60).contains(&start.elapsed().as_secs()));
    tokio::time::resume();
    assert_eq!(bench.handle.publish_count(), 0);
    // A host that wants no messages on its port gets none.
    host.ok("AT+CNMI=2,0").await;
    host.publish("t", b"lost").await;
    host.until("\r\nOK\r\n").await;
    tokio::time::pause();
    assert_eq!(host.until_timed_out("0,17\r\n").await, b"\r\n+CMQTTPUB: 0,17\r\n");
    tokio::time::resume();
    // The other client's broker answers, and is the only broker that has seen anything.
    host.ok("AT+CMQTTACCQ=1,\"other\"").await;
    host.ask(&CONNECT.replace("=0", "=1"), "+CMQTTCONNECT: 1,0\r\n").await;
    host.fill("AT+CMQTTTOPIC=1,5", "other").await;
    host.ask("AT+CMQTTPUB=1,1,60", "+CMQTTPUB: 1,0\r\n").await;
    assert_eq!(peer.message().await.0, "other");
}

#[tokio::test]
async fn a_download_of_any_length_is_announced_in_one_piece() {
    let broker = Broker::open().await;
    let illnesses = ["no-acknowledgement:0=never", "forged:download=never"];
    for model in [Model::Sim7600, Model::A7670] {
        let (_bench, mut host) = ill(Options { model, ..broker.options() }, &illnesses).await;
        host.ask("AT+CMQTTSTART", "+CMQTTSTART: 0\r\n").await;
        host.ask("AT", "OK\r\n").await;
        host.ok("AT+CMQTTACCQ=0,\"c\"").await;
        host.ask(CONNECT, "+CMQTTCONNECT: 0,0\r\n").await;
        host.publish("t", b"x").await;
        let head = "\r\n+CMQTTRXSTART: 0,4,12000\r\n\r\n+CMQTTRXTOPIC: 0,4\r\ndown\r\n\
                    \r\n+CMQTTRXPAYLOAD: 0,12000\r\n";
        host.until(head).await;
        let payload = host.until("B\r\n\r\n+CMQTTRXEND: 0\r\n").await;
        assert!(payload.starts_with(b"AAAA"));
        assert_eq!(payload.len(), 12_000 + "\r\n\r\n+CMQTTRXEND: 0\r\n".len());
        let holds = payload.windows(18).any(|window| window == b"\r\n+CMQTTPUB: 0,0\r\n");
        assert!(holds);
    }
}

#[tokio::test]
async fn a_serial_line_loses_one_byte_or_three_of_what_comes_down() {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (bench, mut host) = in_memory(broker.options());
    host.connect("c").await;
    host.fill("AT+CMQTTSUB=0,4,1", "down").await;
    host.until("+CMQTTSUB: 0,0\r\n").await;
    bench.handle.set(Fault::LostBytes, 1.0).await.unwrap();
    let mut lost = [0, 0];
    for _ in 0..40 {
        peer.publish("down", b"0123456789").await;
        host.until("+CMQTTRXPAYLOAD: 0,10\r\n").await;
        let rest = host.until("\r\n\r\n+CMQTTRXEND: 0\r\n").await;
        match rest.len() - "\r\n\r\n+CMQTTRXEND: 0\r\n".len() {
            9 => lost[0] += 1,
            7 => lost[1] += 1,
            other => panic!("{other} bytes are left"),
        }
    }
    assert!(lost[0] > 5 && lost[1] > 5, "{lost:?}");
}

#[tokio::test]
async fn a_weak_supply_fails_half_a_second_after_connect() {
    let broker = Broker::open().await;
    let (_bench, mut host) = ill(broker.options(), &["brown-out:connect=never"]).await;
    acquired(&mut host).await;
    host.ask(CONNECT, "+CMQTTCONNECT: 0,0\r\n").await;
    assert_eq!(host.until("\r\nRDY\r\n").await, b"\r\nRDY\r\n");
    host.until("PB DONE\r\n").await;
    assert_eq!(
        host.ask("AT+CMQTTREL=0", "ERROR\r\n").await,
        "AT+CMQTTREL=0\r\r\nERROR\r\n",
        "no code without the service, and echo again"
    );
}

fn ec25(broker: &Broker) -> Options {
    Options { broker: broker.options().broker, ..Options::new(Model::Ec25) }
}

async fn quectel_connected(host: &mut Host) {
    host.ask("AT+QMTOPEN=0,\"broker.example.com\",1883", "+QMTOPEN: 0,0\r\n").await;
    host.ask("AT+QMTCONN=0,\"c\"", "+QMTCONN: 0,0,0\r\n").await;
    host.ask("AT+QMTSUB=0,1,\"down\",1", "+QMTSUB: 0,1,0").await;
    host.until("\r\n").await;
}

#[tokio::test]
async fn an_old_quectel_lacks_a_setting_and_a_command() {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (_bench, mut host) = ill(ec25(&broker), &["old-firmware=never"]).await;
    assert_eq!(said(&mut host, "AT+QMTCFG=\"recv/mode\",0,0,1", "ERROR").await, "ERROR");
    host.ok("AT+QMTCFG=\"keepalive\",0,60").await;
    quectel_connected(&mut host).await;
    assert_eq!(said(&mut host, "AT+QMTPUBEX=0,1,1,0,\"up\",1", "ERROR").await, "ERROR");
    assert_eq!(host.ask("AT+QMTPUB=0,1,1,0,\"up\"", ">").await, "\r\n>");
    host.write("x\x1a").await;
    host.until("+QMTPUB: 0,1,0\r\n").await;
    assert_eq!(peer.message().await.1, b"x");
}

#[tokio::test]
async fn a_buffered_message_is_announced_read_and_gone() {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (_bench, mut host) = ill(ec25(&broker), &["buffered=modem-reset"]).await;
    quectel_connected(&mut host).await;
    for payload in ["one", "\r\nOK\r\n"] {
        peer.publish("down", payload.as_bytes()).await;
    }
    host.until("\r\n+QMTRECV: 0,0\r\n").await;
    host.until("\r\n+QMTRECV: 0,1\r\n").await;
    assert_eq!(said(&mut host, "AT+QMTRECV?", "OK").await, "+QMTRECV: 0,1,1,0,0,0|OK");
    let second = host.ask("AT+QMTRECV=0,1", "\"\r\n\r\nOK\r\n").await;
    assert_eq!(second, "\r\n+QMTRECV: 0,0,\"down\",\"\r\nOK\r\n\"\r\n\r\nOK\r\n");
    assert_eq!(said(&mut host, "AT+QMTRECV=0,1", "ERROR").await, "ERROR");
    assert_eq!(said(&mut host, "AT+QMTRECV=0,9", "ERROR").await, "ERROR");
    // Five messages have room; the sixth is lost silently.
    for payload in 1..=6 {
        peer.publish("down", &[payload]).await;
    }
    for number in [1, 2, 3, 4] {
        host.until(format!("\r\n+QMTRECV: 0,{number}\r\n")).await;
    }
    host.silent(Duration::from_millis(20)).await;
    // A host that wants its messages at once gets them at once.
    host.ok("AT+QMTCFG=\"recv/mode\",0,0,1").await;
    peer.publish("down", b"now").await;
    host.until("\r\n+QMTRECV: 0,0,\"down\",3,\"now\"\r\n").await;
}

#[tokio::test]
async fn a_length_may_be_missing_whatever_was_set() {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (_bench, mut host) = ill(ec25(&broker), &["no-length=never"]).await;
    host.ok("AT+QMTCFG=\"recv/mode\",0,0,1").await;
    quectel_connected(&mut host).await;
    peer.publish("down", b"x").await;
    host.until("\r\n+QMTRECV: 0,0,\"down\",\"x\"\r\n").await;
}

#[tokio::test]
async fn payloads_are_digits_until_somebody_sets_the_format() {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (_bench, mut host) = ill(ec25(&broker), &["hex-data=modem-reset"]).await;
    quectel_connected(&mut host).await;
    peer.publish("down", b"\x00\xff").await;
    host.until("\r\n+QMTRECV: 0,0,\"down\",\"00FF\"\r\n").await;
    let publish = async |host: &mut Host, payload: &str| {
        let length = payload.len();
        host.ask(&format!("AT+QMTPUBEX=0,7,1,0,\"up\",{length}"), ">").await;
        host.write(payload).await;
        String::from_utf8(host.until("+QMTPUBEX: 0,7,").await).unwrap();
        String::from_utf8(host.until("\r\n").await).unwrap().trim().to_owned()
    };
    assert_eq!(publish(&mut host, "4f4B").await, "0");
    let mut payload = peer.message().await.1;
    if payload == b"\x00\xff" {
        payload = peer.message().await.1;
    }
    assert_eq!(payload, b"OK", "the broker gets other bytes than were written");
    assert_eq!(publish(&mut host, "text").await, "2");
    host.ok("AT+QMTCFG=\"dataformat\",0,0,0").await;
    assert_eq!(publish(&mut host, "text").await, "0");
    assert_eq!(peer.message().await.1, b"text");
}

#[tokio::test]
async fn a_quectel_waits_for_acknowledgements_and_signs_in_as_long_as_it_is_told() {
    let broker = Broker::open().await;
    let illnesses = ["no-acknowledgement:0=never", "forged:download=never", "wedged=60s@30s"];
    let (_bench, mut host) = ill(ec25(&broker), &illnesses).await;
    host.ok("AT+QMTCFG=\"recv/mode\",0,0,1").await;
    host.ok("AT+QMTCFG=\"timeout\",0,5,1,1").await;
    quectel_connected(&mut host).await;
    host.ask("AT+QMTPUBEX=0,7,1,0,\"up\",1", ">").await;
    host.write("x").await;
    host.until("\r\nOK\r\n").await;
    tokio::time::pause();
    let start = Instant::now();
    let down = host.until("B\"\r\n").await;
    assert!(down.starts_with(b"\r\n+QMTRECV: 0,0,\"down\",12000,\"AAA"));
    assert!(down.windows(20).any(|window| window == b"\r\n+QMTPUBEX: 0,7,0\r\n"));
    host.until_timed_out("\r\n+QMTPUBEX: 0,7,2\r\n").await;
    assert!((5..=10).contains(&start.elapsed().as_secs()));
    host.silent(Duration::from_secs(25)).await;
    tokio::time::resume();
    host.ask("AT+QMTDISC=0", "+QMTDISC: 0,0\r\n").await;
    host.ask("AT+QMTOPEN=0,\"broker.example.com\",1883", "+QMTOPEN: 0,0\r\n").await;
    host.ok("AT+QMTCONN=0,\"c\"").await;
    host.silent(Duration::from_millis(100)).await;
    host.ask("AT+QMTCLOSE=0", "+QMTCLOSE: 0,0\r\n").await;
}
