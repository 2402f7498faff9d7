//! The MQTT service against a real broker.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Broker, CONNECT, Host, Peer, in_memory, sim7600};
use modem_sim::{Coverage, Model, Options, Order, Registration};
use tokio::{io::duplex, net::TcpListener};

#[tokio::test]
async fn the_vendors_dialogue() {
    let broker = Broker::open().await;
    let (bench, mut host) = in_memory(broker.options());
    host.ask("ATE0", "OK\r\n").await;
    assert_eq!(host.ask("at+cmqttstart", "OK\r\n").await, "\r\n+CMQTTSTART: 0\r\n\r\nOK\r\n");
    host.ok("AT+CMQTTACCQ=0, \"client test0\"").await;
    host.fill("AT+CMQTTWILLTOPIC=0,10", "0123456789").await;
    host.fill("AT+CMQTTWILLMSG=0,6,1", "qwerty").await;
    let connected = host.ask(CONNECT, "+CMQTTCONNECT: 0,0\r\n").await;
    assert_eq!(connected, "\r\nOK\r\n\r\n+CMQTTCONNECT: 0,0\r\n");
    host.fill("AT+CMQTTSUB=0,10,1", "simcomtest").await;
    assert_eq!(host.until("0,0\r\n").await, b"\r\n+CMQTTSUB: 0,0\r\n");
    host.publish("simcomtest", b"mqtt_test").await;
    host.until("\r\nOK\r\n").await;
    let both = host.both("+CMQTTPUB: 0,0\r\n", "+CMQTTRXEND: 0\r\n").await;
    let message = "\r\n+CMQTTRXSTART: 0,10,9\r\n\r\n+CMQTTRXTOPIC: 0,10\r\nsimcomtest\r\n\
                   \r\n+CMQTTRXPAYLOAD: 0,9\r\nmqtt_test\r\n\r\n+CMQTTRXEND: 0\r\n";
    assert!(both.contains(message), "{both}");
    assert_eq!((bench.handle.publish_count(), bench.handle.received_count()), (1, 1));
    host.fill("AT+CMQTTSUBTOPIC=0,9,1", "123456789").await;
    host.ask("AT+CMQTTSUB=0", "+CMQTTSUB: 0,0\r\n").await;
    host.fill("AT+CMQTTUNSUB=0,9,0", "simcommsg").await;
    host.until("+CMQTTUNSUB: 0,0\r\n").await;
    let left = host.ask("AT+CMQTTDISC=0,120", "+CMQTTDISC: 0,0\r\n").await;
    assert_eq!(left, "\r\nOK\r\n\r\n+CMQTTDISC: 0,0\r\n");
    host.ok("AT+CMQTTREL=0").await;
    assert_eq!(host.ask("AT+CMQTTSTOP", "OK\r\n").await, "\r\n+CMQTTSTOP: 0\r\n\r\nOK\r\n");
}

#[tokio::test]
async fn long_empty_and_binary_messages_arrive_whole() {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (_bench, mut host) = in_memory(broker.options());
    host.connect("m").await;
    host.fill("AT+CMQTTSUB=0,4,2", "down").await;
    host.until("+CMQTTSUB: 0,0\r\n").await;

    let long: Vec<u8> = b"\r\nOK\r\n>".iter().copied().cycle().take(1_520).collect();
    peer.publish("down", &long).await;
    let head = "\r\n+CMQTTRXSTART: 0,4,1520\r\n\r\n+CMQTTRXTOPIC: 0,4\r\ndown\r\n";
    let first = [b"\r\n+CMQTTRXPAYLOAD: 0,1500\r\n", &long[..1_500], b"\r\n"].concat();
    let second = [b"\r\n+CMQTTRXPAYLOAD: 0,20\r\n", &long[1_500..], b"\r\n"].concat();
    let end = b"\r\n+CMQTTRXEND: 0\r\n";
    let whole = [head.as_bytes(), &first, &second, end].concat();
    assert_eq!(host.until(end).await, whole);

    peer.publish("down", b"").await;
    let empty = host.until(end).await;
    assert_eq!(
        empty,
        b"\r\n+CMQTTRXSTART: 0,4,0\r\n\r\n+CMQTTRXTOPIC: 0,4\r\ndown\r\n\r\n+CMQTTRXEND: 0\r\n"
    );

    // Up: no PAYLOAD is an empty message; topic and payload are gone after each PUB.
    host.publish("up", b"").await;
    host.until("+CMQTTPUB: 0,0\r\n").await;
    while peer.message().await != ("up".into(), vec![], false) {}
    assert_eq!(refused(&mut host, "AT+CMQTTPUB=0,1,60").await, "+CMQTTPUB: 0,18");

    // Bytes that are not UTF-8 need the check off, which is set before CONNECT only.
    host.fill("AT+CMQTTTOPIC=0,2", "up").await;
    host.ask("AT+CMQTTPAYLOAD=0,2", ">").await;
    host.write(b"\xff\x00").await;
    host.until("\r\n+CMQTTPAYLOAD: 0,2\r\n\r\nERROR\r\n").await;
    assert_eq!(host.ask("AT+CMQTTCFG=\"checkUTF8\",0,0", "ERROR\r\n").await, "\r\nERROR\r\n");
    host.ask("AT+CMQTTDISC=0,60", "+CMQTTDISC: 0,0\r\n").await;
    host.ok("AT+CMQTTCFG=\"checkUTF8\",0,0").await;
    host.ask(CONNECT, "+CMQTTCONNECT: 0,0\r\n").await;
    for qos in ["0", "1", "2"] {
        host.fill("AT+CMQTTTOPIC=0,2", "up").await;
        host.fill("AT+CMQTTPAYLOAD=0,4", b"\xff\r\n>").await;
        host.ask(&format!("AT+CMQTTPUB=0,{qos},60"), "+CMQTTPUB: 0,0\r\n").await;
        assert_eq!(peer.message().await, ("up".into(), b"\xff\r\n>".to_vec(), false));
    }
}

#[tokio::test]
async fn both_clients_at_once() {
    let broker = Broker::open().await;
    let (_bench, mut host) = in_memory(broker.options());
    host.connect("one").await;
    host.ok("AT+CMQTTACCQ=1,\"two\"").await;
    host.ask(&CONNECT.replace("=0", "=1"), "+CMQTTCONNECT: 1,0\r\n").await;
    host.fill("AT+CMQTTSUB=1,1,1", "t").await;
    host.until("+CMQTTSUB: 1,0\r\n").await;
    host.publish("t", b"x").await;
    host.both("+CMQTTPUB: 0,0\r\n", "+CMQTTRXEND: 1\r\n").await;
    let shown = host.ask("AT+CMQTTDISC?", "OK\r\n").await;
    assert!(shown.contains("\r\n+CMQTTDISC: 0,0\r\n+CMQTTDISC: 1,0\r\n"), "{shown}");
    assert_eq!(refused(&mut host, "AT+CMQTTREL=1").await, "+CMQTTREL: 1,14");
    assert_eq!(refused(&mut host, "AT+CMQTTSTOP").await, "+CMQTTSTOP: 21");
}

#[tokio::test]
async fn state_outlives_the_program_that_left_it() {
    let broker = Broker::open().await;
    let (bench, mut host) = in_memory(broker.options());
    host.connect("left").await;
    host.fill("AT+CMQTTTOPIC=0,4", "left").await;
    host.ask("AT+CMQTTPAYLOAD=0,40", ">").await;
    host.write("half").await;
    drop(host);

    let (ours, theirs) = duplex(4_096);
    bench.handle.attach(theirs).await.unwrap();
    let mut host = Host::new(ours);
    // Still in data mode: padding ends it.
    host.write("AT\r").await;
    host.write(vec![b'\r'; 40]).await;
    host.until("\r\nOK\r\n").await;
    assert_eq!(refused(&mut host, "AT+CMQTTSTART").await, "+CMQTTSTART: 23");
    assert_eq!(refused(&mut host, "AT+CMQTTACCQ=0,\"new\"").await, "+CMQTTACCQ: 0,19");
    assert_eq!(refused(&mut host, CONNECT).await, "+CMQTTCONNECT: 0,13");
    host.ask("AT+CMQTTPUB=0,1,60", "+CMQTTPUB: 0,0\r\n").await;
    host.ask("AT+CMQTTDISC=0,0", "+CMQTTDISC: 0,0\r\n").await;
    host.ok("AT+CMQTTREL=0").await;
    host.ok("AT+CMQTTREL=1").await;
    host.ask("AT+CMQTTSTOP", "+CMQTTSTOP: 0\r\n\r\nOK\r\n").await;
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_the_right_one_shown() {
    let broker = Broker::with_password("gw", "secret").await;
    let (_bench, mut host) = in_memory(broker.options());
    host.ask("ATE0", "OK\r\n").await;
    host.ask("AT+CMQTTSTART", "OK\r\n").await;
    host.ok("AT+CMQTTACCQ=0,\"c\"").await;
    // mosquitto reports "not authorized" for a wrong password.
    host.ask(&format!("{CONNECT},\"gw\",\"wrong\""), "+CMQTTCONNECT: 0,31\r\n").await;
    host.ask(&format!("{CONNECT},\"gw\",\"secret\""), "+CMQTTCONNECT: 0,0\r\n").await;
    let shown = host.ask("AT+CMQTTCONNECT?", "OK\r\n").await;
    let line = "+CMQTTCONNECT: 0,\"tcp://broker.example.com:1883\",60,1,\"gw\",\"secret\"\r\n\
                +CMQTTCONNECT: 1\r\n";
    assert!(shown.contains(line), "{shown}");
}

#[tokio::test]
async fn a_will_is_published_when_power_goes_and_not_at_disc() {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (bench, mut host) = in_memory(broker.options());
    host.ask("ATE0", "OK\r\n").await;
    host.ask("AT+CMQTTSTART", "OK\r\n").await;
    host.ok("AT+CMQTTACCQ=0,\"c\"").await;
    host.fill("AT+CMQTTWILLTOPIC=0,4", "gone").await;
    host.fill("AT+CMQTTWILLMSG=0,3,0", "bye").await;
    host.ask(CONNECT, "+CMQTTCONNECT: 0,0\r\n").await;
    host.ask("AT+CMQTTDISC=0,60", "+CMQTTDISC: 0,0\r\n").await;
    host.ask(CONNECT, "+CMQTTCONNECT: 0,0\r\n").await;
    host.publish("first", b"1").await;
    host.until("+CMQTTPUB: 0,0\r\n").await;
    assert_eq!(peer.message().await.0, "first");
    bench.handle.unplug().await.unwrap();
    assert_eq!(peer.message().await, ("gone".into(), b"bye".to_vec(), false));
    assert_eq!(bench.handle.publish_count(), 1);
}

#[tokio::test]
async fn a_reset_on_demand_tells_the_end_of_the_network_first() {
    let broker = Broker::open().await;
    let (_bench, mut host) = in_memory(broker.options());
    host.connect("c").await;
    let reset = host.ask("AT+CRESET", "PB DONE\r\n").await;
    assert_eq!(
        reset,
        "\r\nOK\r\n\r\n+CIPEVENT: NETWORK CLOSED UNEXPECTEDLY\r\n\r\n+CMQTTCONNLOST: 0,3\r\n\
         \r\n+CMQTTNONET\r\n\r\nRDY\r\n\r\n+CPIN: READY\r\n\r\nSMS DONE\r\n\r\nPB DONE\r\n"
    );
    host.ask("ATE0", "OK\r\n").await;
    assert_eq!(host.ask("AT+CMQTTACCQ=0,\"c\"", "ERROR\r\n").await, "\r\nERROR\r\n");
}

#[tokio::test]
async fn without_network_the_service_ends_and_does_not_start() {
    let broker = Broker::open().await;
    let (bench, mut host) = in_memory(broker.options());
    host.connect("c").await;
    bench.handle.network(Coverage::None).await.unwrap();
    let lost = host.until("NONET\r\n").await;
    assert_eq!(lost, b"\r\n+CMQTTCONNLOST: 0,3\r\n\r\n+CMQTTNONET\r\n");
    assert_eq!(refused(&mut host, "AT+CMQTTSTART").await, "+CMQTTSTART: 7");
    bench.handle.network(Coverage::Full).await.unwrap();
    host.ask("AT+CMQTTSTART", "+CMQTTSTART: 0\r\n\r\nOK\r\n").await;
    bench.handle.register(Registration::Denied).await.unwrap();
    host.ok("AT+CMQTTACCQ=0,\"c\"").await;
    assert_eq!(host.ask(CONNECT, "0,3\r\n").await, "\r\nOK\r\n\r\n+CMQTTCONNECT: 0,3\r\n");
}

#[tokio::test]
async fn a_silent_network_times_a_publish_out_and_then_fails_the_ping() {
    let broker = Broker::open().await;
    let (bench, mut host) = in_memory(broker.options());
    host.connect("c").await;
    bench.handle.network(Coverage::Silent).await.unwrap();
    host.publish("t", b"x").await;
    host.until("\r\nOK\r\n").await;
    tokio::time::pause();
    host.until_timed_out("\r\n+CMQTTPUB: 0,17\r\n").await;
    host.until_timed_out("\r\n+CMQTTPING: 0,17\r\n").await;
    tokio::time::resume();
    assert_eq!(bench.handle.publish_count(), 0);
    host.ask("AT+CMQTTDISC=0,60", "+CMQTTDISC: 0,0\r\n").await;
    host.ok("AT+CMQTTREL=0").await;
}

#[tokio::test]
async fn a_broker_that_closes_fails_the_publish_and_then_the_session() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (_bench, mut host) = in_memory(Options { broker: Some(address), ..sim7600() });
    // Takes the connection, and closes it at the publish.
    let broker = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 1_024];
        tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"\x20\x02\x00\x00").await.unwrap();
        tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.unwrap();
    };
    let modem = async {
        host.connect("c").await;
        host.publish("t", b"x").await;
        let end = host.until("CONNLOST: 0,1\r\n").await;
        assert_eq!(end, b"\r\nOK\r\n\r\n+CMQTTPUB: 0,6\r\n\r\n+CMQTTCONNLOST: 0,1\r\n");
        assert_eq!(refused(&mut host, "AT+CMQTTTOPIC=0,1").await, "+CMQTTTOPIC: 0,11");
    };
    tokio::join!(broker, modem);
}

#[tokio::test]
async fn a_message_of_quality_2_that_is_sent_twice_comes_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (bench, mut host) = in_memory(Options { broker: Some(address), ..sim7600() });
    let broker = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 1_024];
        tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.unwrap();
        let message = *b"\x34\x06\x00\x01t\x00\x07x";
        let release = *b"\x62\x02\x00\x07";
        // Together with CONNACK: message, the same again, release, and a new message.
        let bytes = [&b"\x20\x02\x00\x00"[..], &message, &message, &release, &message].concat();
        tokio::io::AsyncWriteExt::write_all(&mut stream, &bytes).await.unwrap();
        stream
    };
    let (_stream, ()) = tokio::join!(broker, host.connect("c"));
    host.until("+CMQTTRXEND: 0\r\n").await;
    host.until("+CMQTTRXEND: 0\r\n").await;
    host.silent(std::time::Duration::from_millis(10)).await;
    assert_eq!(bench.handle.received_count(), 2);
}

#[tokio::test]
async fn failures_to_connect_have_their_codes_in_both_forms() {
    // A port without a listener.
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    for (early, expected) in [
        (false, "\r\nOK\r\n\r\n+CMQTTCONNECT: 0,3\r\n"),
        (true, "\r\n+CMQTTCONNECT: 0,3\r\n\r\nERROR\r\n"),
    ] {
        let broker = Some(dead.clone());
        let (_bench, mut host) = in_memory(Options { broker, early_failures: early, ..sim7600() });
        host.ask("ATE0", "OK\r\n").await;
        host.ask("AT+CMQTTSTART", "OK\r\n").await;
        host.ok("AT+CMQTTACCQ=0,\"c\"").await;
        let end = if early { "ERROR\r\n" } else { "0,3\r\n" };
        assert_eq!(host.ask(CONNECT, end).await, expected);
        host.ok("AT+CMQTTREL=0").await;
        host.ok("AT+CMQTTACCQ=0,\"c\",1").await;
        assert_eq!(host.ask(CONNECT, end).await, expected, "TLS begins with TCP");
    }
}

#[tokio::test]
async fn refusals_by_order_and_range() {
    let broker = Broker::open().await;
    let (_bench, mut host) = in_memory(broker.options());
    host.ask("ATE0", "OK\r\n").await;
    let mut expect = async |command: &str, line: &str| {
        assert_eq!(refused(&mut host, command).await, line, "{command}");
    };
    expect("AT+CMQTTSTOP", "+CMQTTSTOP: 9").await;
    host.ask("AT+CMQTTSTART", "OK\r\n").await;
    // Released though never acquired: real units do so.
    host.ok("AT+CMQTTREL=0").await;
    let mut expect = async |command: &str, line: &str| {
        assert_eq!(refused(&mut host, command).await, line, "{command}");
    };
    expect("AT+CMQTTTOPIC=0,5", "+CMQTTTOPIC: 0,20").await;
    expect("AT+CMQTTTOPIC=2,5", "+CMQTTTOPIC: 2,10").await;
    expect(CONNECT, "+CMQTTCONNECT: 0,20").await;
    expect(&format!("AT+CMQTTACCQ=0,\"{}\"", "x".repeat(129)), "+CMQTTACCQ: 0,22").await;
    expect("AT+CMQTTACCQ=0,\"c\",2", "+CMQTTACCQ: 0,12").await;
    host.ok("AT+CMQTTACCQ=0,\"c\"").await;
    let mut expect = async |command: &str, line: &str| {
        assert_eq!(refused(&mut host, command).await, line, "{command}");
    };
    expect("AT+CMQTTCONNECT=0,\"mqtt://h:1883\",60,1", "+CMQTTCONNECT: 0,12").await;
    expect("AT+CMQTTCONNECT=0,\"tcp://host\",0,1", "+CMQTTCONNECT: 0,12").await;
    expect("AT+CMQTTTOPIC=0,5", "+CMQTTTOPIC: 0,11").await;
    expect("AT+CMQTTDISC=0,60", "+CMQTTDISC: 0,11").await;
    expect("AT+CMQTTWILLTOPIC=0,1025", "+CMQTTWILLTOPIC: 0,22").await;
    host.ask(CONNECT, "+CMQTTCONNECT: 0,0\r\n").await;
    host.fill("AT+CMQTTTOPIC=0,1", "t").await;
    let mut expect = async |command: &str, line: &str| {
        assert_eq!(refused(&mut host, command).await, line, "{command}");
    };
    expect("AT+CMQTTPAYLOAD=0,10241", "+CMQTTPAYLOAD: 0,22").await;
    expect("AT+CMQTTPUB=0,1,30", "+CMQTTPUB: 0,12").await;
    expect("AT+CMQTTSUBTOPIC=0,1,3", "+CMQTTSUBTOPIC: 0,12").await;
    expect("AT+CMQTTSUB=0", "+CMQTTSUB: 0,18").await;
    let test = host.ask("AT+CMQTTPUB=?", "OK\r\n").await;
    assert!(test.contains("+CMQTTPUB: (0-1),(0-2),(60-180),(0-1),(0-1)"), "{test}");
}

/// Without the service there are no codes, whatever the arguments.
#[tokio::test]
async fn without_the_service_all_commands_are_a_bare_error() {
    for model in [Model::Sim7600, Model::Sim8200, Model::A7670] {
        let (_bench, mut host) = in_memory(Options::new(model));
        host.ask("ATE0", "OK\r\n").await;
        for command in [
            "AT+CMQTTACCQ=0,\"c\"",
            "AT+CMQTTACCQ=7,\"c\"",
            "AT+CMQTTREL=0",
            "AT+CMQTTSSLCFG=0,0",
            "AT+CMQTTCFG=\"optimeout\",0,20",
            "AT+CMQTTWILLTOPIC=0,5",
            "AT+CMQTTTOPIC=0,5",
            CONNECT,
            "AT+CMQTTDISC=0,60",
            "AT+CMQTTPUB=0,1,60",
            "AT+CMQTTSUB=0,5,1",
            "AT+CMQTTREL?",
            "AT+CMQTTACCQ?",
            "AT+CMQTTNOSUCH=1",
        ] {
            assert_eq!(host.ask(command, "ERROR\r\n").await, "\r\nERROR\r\n", "{command}");
        }
        let test = host.ask("AT+CMQTTREL=?", "OK\r\n").await;
        assert!(test.contains("+CMQTTREL: (0-1)"), "{test}");
        host.ask("AT+CMQTTSTART", "+CMQTTSTART: 0\r\n").await;
        host.ask("AT", "OK\r\n").await;
        host.ok("AT+CMQTTREL=0").await;
    }
}

#[tokio::test]
async fn a_client_is_busy_until_its_operation_ends() {
    // Takes the TCP connection and sends nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let options = Options { broker: Some(address), ..Options::new(Model::Sim8200) };
    let (_bench, mut host) = in_memory(Options { order: Some(Order::ResultFirst), ..options });
    host.ask("ATE0", "OK\r\n").await;
    host.ask("AT+CMQTTSTART", "+CMQTTSTART: 0\r\n\r\nOK\r\n").await;
    host.ok("AT+CMQTTACCQ=0,\"c\"").await;
    host.ok("AT+CMQTTCFG=\"optimeout\",0,20").await;
    host.ok(CONNECT).await;
    let _stream = listener.accept().await.unwrap();
    assert_eq!(refused(&mut host, "AT+CMQTTTOPIC=0,1").await, "+CMQTTTOPIC: 0,14");
    assert_eq!(refused(&mut host, "AT+CMQTTREL=0").await, "+CMQTTREL: 0,14");
    assert!(host.ask("AT+CSQ", "OK\r\n").await.contains("+CSQ: 22,99"));
    tokio::time::pause();
    assert_eq!(host.until_timed_out("\r\n+CMQTTCONNECT: 0,17\r\n").await.len(), 23);
}

/// The differences of an A76xx: no version in ACCQ, 3.1 until it is set, short times, a second START without a
/// code, no `OK` before a CONNECT that fails, messages in a single line.
#[tokio::test]
async fn an_a7670_has_ways_of_its_own() {
    let broker = Broker::open().await;
    let (_bench, mut host) = in_memory(Options { model: Model::A7670, ..broker.options() });
    host.ask("ATE0", "OK\r\n").await;
    assert_eq!(
        host.ask("AT+CMQTTREL?", "\r\n").await + &host.ask("AT", "OK\r\n").await,
        "\r\nERROR\r\n\r\nOK\r\n"
    );
    let started = host.ask("AT+CMQTTSTART", "+CMQTTSTART: 0\r\n").await;
    assert_eq!(started, "\r\nOK\r\n\r\n+CMQTTSTART: 0\r\n");
    assert_eq!(host.ask("AT+CMQTTSTART", "ERROR\r\n").await, "\r\nERROR\r\n");
    let with_version = host.ask("AT+CMQTTACCQ=0,\"c\",0,4", "ERROR\r\n").await;
    assert_eq!(with_version, "\r\nERROR\r\n");
    host.ok("AT+CMQTTACCQ=0,\"old\",0").await;
    host.ask(CONNECT, "\r\nOK\r\n\r\n+CMQTTCONNECT: 0,0\r\n").await;
    host.ask("AT+CMQTTDISC=0,1", "+CMQTTDISC: 0,0\r\n").await;
    host.ok("AT+CMQTTREL=0").await;
    host.ok("AT+CMQTTACCQ=0,\"c\",0").await;
    host.ok("AT+CMQTTCFG=\"version\",0,4").await;
    host.ok("AT+CMQTTCFG=\"argtopic\",0,1,1").await;
    assert_eq!(
        host.ask("AT+CMQTTCFG=\"aliauth\",0,\"a\",\"b\",\"c\"", "ERROR\r\n").await,
        "\r\nERROR\r\n"
    );
    host.ask(CONNECT, "+CMQTTCONNECT: 0,0\r\n").await;
    host.ask("AT+CMQTTSUB=0,\"t\",1", "\r\nOK\r\n\r\n+CMQTTSUB: 0,0\r\n").await;
    Peer::new(&broker).await.publish("t", b"\"\"").await;
    host.until("\r\n+CMQTTRECV: 0,\"t\",2,\"\"\"\"\r\n").await;
    drop(broker);
    host.until("+CMQTTCONNLOST: 0,1\r\n").await;
    assert_eq!(refused(&mut host, CONNECT).await, "+CMQTTCONNECT: 0,3");
}

/// Returns the line before `ERROR`.
async fn refused(host: &mut Host, command: &str) -> String {
    let answer = host.ask(command, "\r\n\r\nERROR\r\n").await;
    answer.trim_start().trim_end_matches("\r\n\r\nERROR\r\n").to_owned()
}
