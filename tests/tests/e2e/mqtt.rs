//! The MQTT listener from outside: unmodified clients publish and subscribe, without loss or harm.

use std::io::{BufRead, BufReader, Write};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use e2e::mqtt_peer::{MqttPeer, connect, packet, publish, text};
use e2e::{Lab, Port, Process, until};

/// Makes a lab whose agent listens for MQTT; its sessions subscribe to `down/#`.
fn lab(modems: usize, users: &str) -> (Lab, Port) {
    let port = Port::free();
    let mut lab = Lab::new(modems);
    listening(&mut lab, &port, users);
    (lab, port)
}

fn listening(lab: &mut Lab, port: &Port, users: &str) {
    let listen =
        format!("hand_in: {{ mqtt: {{ listen: \"127.0.0.1:{}\"{users} }} }}\n", port.number());
    let subscribe = "broker: lab, subscribe: [ { filter: \"down/#\", qos: 1 } ]";
    lab.site.body = listen + &lab.site.body.replace("broker: lab", subscribe);
}

fn pub_with(port: u16, more: &[&str]) -> bool {
    let mut command = Command::new("mosquitto_pub");
    command.args(["-p", &port.to_string()]).args(more);
    command.status().unwrap().success()
}

/// A client in JavaScript, with the library of Node-RED. It sends each message after the answer to
/// the one before.
const NODE: &str = "\
const mqtt = require('mqtt'), port = process.argv[2];
const run = (version) => new Promise((done, failed) => {
  const client = mqtt.connect({ host: '127.0.0.1', port, protocolVersion: version, clientId: 'node', reconnectPeriod: 0 });
  client.on('error', failed);
  const send = (n) => n === 50
    ? client.end(false, {}, done)
    : client.publish('node/' + version, String(n), { qos: n % 3 }, (error) => error ? failed(error) : send(n + 1));
  client.on('connect', () => send(0));
});
setTimeout(() => { console.error('no answer'); process.exit(1); }, 60000).unref();
run(4).then(() => run(5)).catch((error) => { console.error(error); process.exit(1); });
";

#[test]
fn unmodified_clients_of_every_version_publish() {
    let (lab, port) = lab(1, "");
    let agent = lab.start();
    let port = port.number();
    for (version, qos, retain) in [
        ("mqttv31", "1", false),
        ("311", "0", false),
        ("311", "2", true),
        ("5", "1", false),
        ("5", "2", false),
    ] {
        let topic = format!("{version}/{qos}");
        let mut more = vec!["-V", version, "-q", qos, "-t", &topic, "-m", "x", "-i", "client"];
        more.extend(retain.then_some("-r"));
        assert!(pub_with(port, &more), "{topic}");
    }
    // Debian's own interpreter: other interpreters do not have the package.
    let paho = "import sys, paho.mqtt.client as m\n\
                for version, name in ((m.MQTTv311, '311'), (m.MQTTv5, '5')):\n\
                \x20   c = m.Client('paho', protocol=version)\n\
                \x20   c.connect('127.0.0.1', int(sys.argv[1]))\n\
                \x20   c.loop_start()\n\
                \x20   for n in range(50):\n\
                \x20       sent = c.publish('paho/' + name, str(n), qos=n % 3)\n\
                \x20       sent.wait_for_publish(20)\n\
                \x20       assert sent.is_published()\n\
                \x20   c.disconnect()\n\
                \x20   c.loop_stop()\n";
    let mut python = Command::new("/usr/bin/python3");
    assert!(python.args(["-c", paho, &port.to_string()]).status().unwrap().success());

    let mut node = Command::new("/usr/bin/node");
    node.env("NODE_PATH", "/usr/share/nodejs").args(["-e", NODE, "mqtt", &port.to_string()]);
    assert!(node.status().unwrap().success());

    let messages = lab.subscriber.wait(205);
    for (topic, qos) in [("mqttv31/1", 1), ("311/0", 0), ("311/2", 2), ("5/1", 1), ("5/2", 2)] {
        let got: Vec<_> = messages.iter().filter(|message| message.topic == topic).collect();
        assert_eq!((got.len(), got[0].qos, got[0].text().as_str()), (1, qos, "x"), "{topic}");
    }
    for name in ["paho/311", "paho/5", "node/4", "node/5"] {
        let got: Vec<_> = messages.iter().filter(|m| m.topic == name).map(|m| m.text()).collect();
        let sent: Vec<_> = (0..50).map(|number: u32| number.to_string()).collect();
        assert_eq!(got, sent, "{name}: each once, in order");
    }
    let accepted = [("way", "mqtt"), ("result", "accepted")];
    assert!((agent.sum("modemfleet_hand_in_total", &accepted) - 205.0).abs() < 0.5);
}

#[test]
fn what_was_acknowledged_survives_a_kill_and_qos_2_is_taken_once() {
    let (lab, port) = lab(0, "");
    let mut site = lab.site;
    site.body = site.body.replace(
        "modems:\n",
        "modems:\n  m0: { match: { port: /nowhere }, sessions: { s: { broker: lab } } }\n",
    );
    let mut agent = site.start();
    let mut peer = MqttPeer::signed_in(port.number(), 4, "a");
    peer.send(&[publish(4, 1, 7, "t", b"one"), publish(4, 0, 0, "t", b"zero")].concat());
    assert_eq!(peer.read(), Some((0x40, vec![0, 7])));
    let two = publish(4, 2, 9, "t", b"two");
    for _ in 0..2 {
        // The second copy, as after a lost PUBREC.
        peer.send(&two);
        assert_eq!(peer.read(), Some((0x50, vec![0, 9])), "PUBREC");
    }
    peer.send(&packet(0x62, &[0, 9]));
    assert_eq!(peer.read(), Some((0x70, vec![0, 9])), "PUBCOMP");
    // Answers come in order: each message before the last answered one is on disk, also with QoS 0.
    agent.process.kill();
    let agent = site.start();
    assert_eq!(agent.queued(), 3);
    // After PUBREL the identifier is free for another message.
    let mut peer = MqttPeer::signed_in(port.number(), 5, "a");
    for _ in 0..2 {
        peer.send(&publish(5, 2, 9, "t", b"two"));
        assert_eq!(peer.read().unwrap().0, 0x50);
        peer.send(&packet(0x62, &[0, 9]));
        assert_eq!(peer.read().unwrap().0, 0x70);
    }
    assert_eq!(agent.queued(), 5);
}

#[test]
fn a_full_queue_holds_clients_back_and_loses_nothing() {
    let port = Port::free();
    let mut lab = Lab::without_modems(1);
    listening(&mut lab, &port, "");
    lab.site.queue = ", max_bytes: 1MiB".to_owned();
    let agent = lab.site.start();
    let count = 130_u16;
    let payload = |number: u16| format!("{number:010000}").into_bytes();
    let mut peer = MqttPeer::signed_in(port.number(), 4, "a");
    let mut writer = peer.another_end();
    let sender = thread::spawn(move || {
        for number in 1..=count {
            writer.write_all(&publish(4, 1, number, "t", &payload(number))).unwrap();
        }
    });
    let mut acknowledged = 0_u16;
    let mut next = |peer: &mut MqttPeer| {
        acknowledged += 1;
        let id = acknowledged.to_be_bytes().to_vec();
        assert_eq!(peer.read(), Some((0x40, id)), "PUBACKs come in order");
        acknowledged
    };
    while next(&mut peer) < 80 {}
    // An eighth is the share of messages for one session. A message takes less than the margin.
    // Silence alone may come from a busy machine.
    let is_full =
        || agent.sum("modemfleet_queue_bytes", &[]) + 11_000.0 > f64::from(1024 * 1024 / 8 * 7);
    until("the queue to be full", || {
        while !peer.is_silent(Duration::from_millis(500)) {
            next(&mut peer);
        }
        is_full().then_some(())
    });
    // HTTP rejects further messages, MQTT holds them back: none was rejected or dropped here.
    assert_eq!(agent.http.publish("topic=t", &payload(0)).status, 429);
    let _sim = lab.plug_in(0, &[]);
    while next(&mut peer) < count {}
    sender.join().unwrap();
    let got: Vec<u16> =
        lab.subscriber.wait(usize::from(count)).iter().map(|m| m.text().parse().unwrap()).collect();
    assert_eq!(got, (1..=count).collect::<Vec<_>>(), "all, once, in order");
}

#[test]
fn a_dropped_message_of_qos_2_frees_its_number() {
    let port = Port::free();
    let mut lab = Lab::without_modems(1);
    listening(&mut lab, &port, "");
    lab.site.queue = ", max_messages: 1, when_full: drop_newest".to_owned();
    let agent = lab.site.start();
    let mut peer = MqttPeer::signed_in(port.number(), 5, "a");
    peer.send(&publish(5, 2, 8, "t", b"fits"));
    assert_eq!(peer.read().unwrap().0, 0x50);
    for payload in [b"one", b"two"] {
        peer.send(&publish(5, 2, 9, "t", payload));
        let (first, body) = peer.read().unwrap();
        // No PUBREL follows an error, so the next message with this identifier is another message.
        assert_eq!((first, &body[..3]), (0x50, &[0, 9, 0x97][..]), "PUBREC: quota exceeded");
    }
    assert_eq!(agent.queued(), 1);
}

#[test]
fn what_cannot_be_carried_is_refused_by_its_reason() {
    let (mut lab, port) = lab(1, "");
    lab.site.body += "routes: [ { topic: \"a/#\", to: [ m0/s ] } ]\n";
    let _agent = lab.start();
    let port = port.number();
    let mut five = MqttPeer::signed_in(port, 5, "five");
    for (qos, answer, topic, reason) in [
        (1, 0x40, "b", 0x87),
        (2, 0x50, "b", 0x87),
        (1, 0x40, "$SYS/x", 0x90),
        (1, 0x40, "$other/x", 0x87),
        (1, 0x40, "a/\u{1}", 0x90),
    ] {
        five.send(&publish(5, qos, 3, topic, b"x"));
        let (first, body) = five.read().unwrap();
        assert_eq!((first, &body[..3]), (answer, &[0, 3, reason][..]), "{topic}");
    }
    let long = vec![b'x'; 10_241];
    for (bytes, reason) in [
        (publish(5, 1, 3, "a/+", b"x"), 0x90),
        (publish(5, 1, 3, "a/b", &long), 0x95),
        (publish(5, 1, 3, "a/b", &[0; 20_000]), 0x95),
        (publish(5, 0, 3, "b", b"x"), 0x87),
    ] {
        let mut five = MqttPeer::signed_in(port, 5, "five");
        five.send(&bytes);
        let (first, body) = five.read().unwrap();
        assert_eq!((first, body[0]), (0xe0, reason), "DISCONNECT");
        assert_eq!(five.read(), None);
    }
    for bytes in
        [publish(4, 1, 3, "b", b"x"), publish(4, 1, 3, "a/b", &long), publish(4, 1, 3, "a/#", b"")]
    {
        let mut three = MqttPeer::signed_in(port, 4, "three");
        three.send(&bytes);
        assert_eq!(three.read(), None);
    }
    // An acceptable message is still accepted.
    let mut three = MqttPeer::signed_in(port, 4, "three");
    three.send(&publish(4, 1, 3, "a/b", b"good"));
    assert_eq!(three.read(), Some((0x40, vec![0, 3])));
    assert_eq!(lab.subscriber.wait(1)[0].text(), "good");
}

#[test]
fn what_comes_down_reaches_local_subscribers_and_streams_and_nothing_is_echoed() {
    let (lab, port) = lab(1, "");
    let agent = lab.start();
    let port = port.number();
    let mut command = Command::new("mosquitto_sub");
    command.args([
        "-p",
        &port.to_string(),
        "-q",
        "1",
        "-t",
        "down/+/x",
        "-F",
        "%t %q %p",
        "-i",
        "s",
    ]);
    let sub = Process::start("mosquitto_sub", &mut command);
    let mut five = MqttPeer::signed_in(port, 5, "five");
    let filters =
        [text("down/#"), vec![0], text("$share/g/x"), vec![1], text("a#"), vec![1]].concat();
    five.send(&packet(0x82, &[vec![0, 1, 0], filters].concat()));
    assert_eq!(five.read(), Some((0x90, vec![0, 1, 0, 0, 0x9e, 0x8f])), "SUBACK");
    let events = stream(agent.http.port(), "/api/v1/messages?filter=down/%23");
    until("the stream, and both clients", || {
        (agent.sum("modemfleet_hand_in_connections", &[]) > 1.5).then_some(())
    });
    // A message published here goes up. It comes down again only if a session subscribed to its
    // topic.
    assert!(pub_with(port, &["-t", "up", "-m", "x", "-q", "1"]));
    let mut heard = Vec::new();
    until("a message on the stream", || {
        // The clients' subscriptions may come after the first messages.
        assert!(pub_with(lab.broker.port(), &["-t", "down/a/x", "-m", "hello", "-q", "1"]));
        heard.extend(sub.stdout().first().cloned());
        (!heard.is_empty()).then_some(())
    });
    assert_eq!(heard[0], "down/a/x 1 hello");
    let (first, body) = five.read().unwrap();
    assert_eq!((first, body), (0x30, [text("down/a/x"), vec![0], b"hello".to_vec()].concat()));
    let event = events.recv_timeout(e2e::PATIENCE).unwrap();
    let event: serde_json::Value = serde_json::from_str(&event).unwrap();
    assert_eq!(
        event,
        serde_json::json!({"modem": "m0", "session": "s", "topic": "down/a/x", "qos": 1, "payload_base64": "aGVsbG8="})
    );
    assert!(sub.stdout().iter().all(|line| line == "down/a/x 1 hello"), "no echo");
    assert_eq!(agent.http.get("/api/v1/messages?filter=a%23").status, 400);
}

/// Returns the `data:` lines of an event stream, as they come.
fn stream(port: u16, target: &str) -> mpsc::Receiver<String> {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines();
    assert!(lines.next().unwrap().unwrap().contains("200"));
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if let Some(data) = line.strip_prefix("data: ") {
                drop(sender.send(data.to_owned()));
            }
        }
    });
    receiver
}

#[test]
fn with_users_only_they_come_in() {
    let port = Port::free();
    let mut lab = Lab::new(1);
    let secret = lab.site.secret("password", "open sesame\n");
    let users = format!(", users: {{ node-red: {{ file: {} }} }}", secret.display());
    listening(&mut lab, &port, &users);
    let _agent = lab.start();
    let port = port.number();
    for version in ["311", "5"] {
        let login = |password| {
            let more = [
                "-V", version, "-u", "node-red", "-P", password, "-t", "t", "-m", version, "-q",
                "1",
            ];
            pub_with(port, &more)
        };
        assert!(login("open sesame") && !login("guess"), "{version}");
    }
    for (version, refused) in [(4, 4), (5, 0x86)] {
        let mut peer = MqttPeer::open(port);
        peer.send(&connect(version, "a"));
        assert_eq!(peer.read().unwrap().1[1], refused, "CONNACK");
        assert_eq!(peer.read(), None);
    }
    assert_eq!(lab.subscriber.wait(2).len(), 2);
}

#[test]
fn malformed_packets_of_every_type_harm_nobody() {
    let (lab, port) = lab(1, "");
    let mut agent = lab.start();
    let port = port.number();
    let mut bystander = MqttPeer::signed_in(port, 4, "bystander");
    let mut sent = 0_u16;
    for version in [4, 5] {
        for good in packets(version) {
            for bad in mutations(&good) {
                let mut peer = MqttPeer::open(port);
                if good[0] != 0x10 {
                    peer.send(&connect(version, "fuzz"));
                }
                peer.send(&bad);
            }
            // After a bad packet all other clients are served.
            sent += 1;
            bystander.send(&publish(4, 1, sent, "bystander", &sent.to_be_bytes()));
            assert_eq!(bystander.read(), Some((0x40, sent.to_be_bytes().to_vec())));
        }
    }
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x10\xff\xff\xff\xff\x7f", b"\x00\x00", b"\xf0\x00"]
    {
        let mut peer = MqttPeer::open(port);
        peer.send(garbage);
        assert_eq!(peer.read(), None, "{garbage:?}");
    }
    let mut other = MqttPeer::open(port);
    other.send(&packet(0x10, &[text("MQTT"), vec![6, 2, 0, 60], text("a")].concat()));
    assert_eq!(other.read(), Some((0x20, vec![0, 1])), "a version that is not spoken");
    assert!(agent.process.ended().is_none());
    assert_eq!(agent.http.get("/healthz").status, 200);
    assert!(!agent.log().contains("panicked"), "{}", agent.log());
}

/// Returns a good packet of each type, also of types that only a server sends.
fn packets(version: u8) -> Vec<Vec<u8>> {
    let properties: &[u8] = if version == 5 { &[0] } else { &[] };
    let id = [0, 1];
    let with = |tail: &[u8]| [&id[..], properties, tail].concat();
    let connack: &[u8] = if version == 5 { &[0, 0, 0] } else { &[0, 0] };
    vec![
        connect(version, "fuzz"),
        packet(0x20, connack),
        publish(version, 1, 1, "fuzz/t", b"payload"),
        packet(0x40, &id),
        packet(0x50, &id),
        packet(0x62, &id),
        packet(0x70, &id),
        packet(0x82, &with(&[text("a/b"), vec![1]].concat())),
        packet(0x90, &with(&[1])),
        packet(0xa2, &with(&text("a/b"))),
        packet(0xb0, &id),
        packet(0xc0, &[]),
        packet(0xd0, &[]),
        packet(0xe0, &[]),
        packet(0xf0, &[0x18, 0]),
    ]
}

/// Returns the packet with each byte changed in turn, cut at each place, and with extra bytes.
fn mutations(good: &[u8]) -> Vec<Vec<u8>> {
    let mut bad = Vec::new();
    for at in 0..good.len() {
        for value in [good[at] ^ 0x01, good[at] ^ 0x80, 0x00, 0xff] {
            let mut bytes = good.to_vec();
            bytes[at] = value;
            bad.push(bytes);
        }
        bad.push(good[..at].to_vec());
        // The cut packet, with a length that fits.
        bad.push(packet(good[0], good.get(2..at).unwrap_or_default()));
    }
    bad.push([good, &[0; 40][..]].concat());
    bad
}
