//! Refusals of the MQTT listener: packets that the standard forbids, and more than a client's
//! share.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, prlimit};

use e2e::mqtt_peer::{MqttPeer, connect, packet, publish, text};
use e2e::{Agent, Lab, Port, Sim, Stopwatch, until};

/// Makes a lab whose agent listens for MQTT.
fn lab(modems: usize, users: &str) -> (Lab, Port) {
    let port = Port::free();
    let mut lab = if modems == 0 { Lab::without_modems(1) } else { Lab::new(modems) };
    let listen =
        format!("hand_in: {{ mqtt: {{ listen: \"127.0.0.1:{}\"{users} }} }}\n", port.number());
    lab.site.body = listen + &lab.site.body;
    (lab, port)
}

/// Returns a string of any bytes with its length in front.
fn raw(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// Makes a CONNECT with these flags, and these parts behind the keep-alive.
fn connect_with(version: u8, flags: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let name = if version == 3 { "MQIsdp" } else { "MQTT" };
    packet(0x10, &[text(name), vec![version, flags, 0, 60], parts.concat()].concat())
}

/// Invalid strings, with the statement of MQTT 3.1.1 and of MQTT 5.
const NO_TEXT: [(&str, &[u8]); 6] = [
    ("MQTT-1.5.3-1, 5: MQTT-1.5.4-1: an overlong form", b"a\xc0\x80"),
    ("MQTT-1.5.3-1, 5: MQTT-1.5.4-1: no UTF-8", b"a\xff"),
    ("MQTT-1.5.3-1, 5: MQTT-1.5.4-1: a cut character", b"a\xe2\x82"),
    ("MQTT-1.5.3-1, 5: MQTT-1.5.4-1: a surrogate", b"a\xed\xa0\x80"),
    ("MQTT-1.5.3-1, 5: MQTT-1.5.4-1: a pair of surrogates", b"\xed\xa0\xbd\xed\xb8\x80"),
    ("MQTT-1.5.3-2, 5: MQTT-1.5.4-2: NUL", b"a\0b"),
];

/// Returns CONNECTs that must be refused: the statement, the version, the bytes, and the reason
/// code of MQTT 5.
fn bad_connects() -> Vec<(String, u8, Vec<u8>, u8)> {
    let (id, none) = (text("id"), vec![0]);
    let mut all = Vec::new();
    let mut add = |words: &str, version: u8, flags: u8, parts: &[Vec<u8>], reason: u8| {
        all.push((words.to_owned(), version, connect_with(version, flags, parts), reason));
    };
    for (words, bytes) in NO_TEXT {
        let bad = raw(bytes);
        for version in [3, 4] {
            add(&format!("client id, {words}"), version, 2, std::slice::from_ref(&bad), 0);
            let parts = [id.clone(), bad.clone(), text("p")];
            add(&format!("will topic, {words}"), version, 0b110, &parts, 0);
            add(&format!("user, {words}"), version, 0x82, &[id.clone(), bad.clone()], 0);
        }
        add(&format!("client id, {words}"), 5, 2, &[none.clone(), bad.clone()], 0x81);
        add(&format!("user, {words}"), 5, 0x82, &[none.clone(), id.clone(), bad.clone()], 0x81);
        let parts = [none.clone(), id.clone(), none.clone(), bad.clone(), text("p")];
        add(&format!("will topic, {words}"), 5, 0b110, &parts, 0x81);
        let method = [vec![u8::try_from(bad.len() + 1).unwrap(), 0x15], bad.clone()].concat();
        add(&format!("authentication method, {words}"), 5, 2, &[method, id.clone()], 0x81);
        let pair = [text("k"), bad].concat();
        let pair = [vec![u8::try_from(pair.len() + 1).unwrap(), 0x26], pair].concat();
        add(&format!("user property, {words}"), 5, 2, &[pair, id.clone()], 0x81);
    }
    for version in [4, 5] {
        let props = if version == 5 { none.clone() } else { Vec::new() };
        let parts = [props.clone(), id.clone()];
        let will = [props.clone(), id.clone(), props.clone(), text("w"), text("p")];
        add("MQTT-3.1.2-3: the reserved flag", version, 3, &parts, 0x81);
        add("MQTT-3.1.2-13: a QoS of no will", version, 0b1010, &parts, 0x81);
        add("MQTT-3.1.2-15: a retained will that is none", version, 0b10_0010, &parts, 0x81);
        add("MQTT-3.1.2-14: a will of QoS 3", version, 0b1_1110, &will, 0x81);
        let more = [props.clone(), id.clone(), vec![7]];
        add("§3.1.3: a byte behind the payload", version, 2, &more, 0x81);
        let cut = [props, id.clone(), vec![0, 9, b'u']];
        add("§3.1.3: a user that is cut", version, 0x82, &cut, 0x81);
    }
    let parts = [id.clone(), text("secret")];
    add("MQTT-3.1.2-22: a password without a user", 4, 0x42, &parts, 0);
    let data = vec![4, 0x16, 0, 1, b'x'];
    add("5: §3.1.2.11.10: data without a method", 5, 2, &[data, id.clone()], 0x82);
    let twice = vec![10, 0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1];
    add("5: §3.1.2.11.2: a property twice", 5, 2, &[twice, id.clone()], 0x82);
    add("5: §2.2.2.2: a property of another packet", 5, 2, &[vec![2, 1, 0], id.clone()], 0x81);
    add("5: §3.1.2.11.3: Receive Maximum 0", 5, 2, &[vec![3, 0x21, 0, 0], id.clone()], 0x82);
    let zero = vec![5, 0x27, 0, 0, 0, 0];
    add("5: §3.1.2.11.4: Maximum Packet Size 0", 5, 2, &[zero, id.clone()], 0x82);
    add("5: §3.1.2.11.7: 2 for yes or no", 5, 2, &[vec![2, 0x17, 2], id.clone()], 0x82);
    let topic = |properties: &[u8], payload: &[u8]| {
        let length = [u8::try_from(properties.len()).unwrap()];
        let will = [&length[..], properties, &text("w"), &raw(payload)].concat();
        [none.clone(), id.clone(), will]
    };
    let response = [&[8][..], &text("r/#")].concat();
    add("5: MQTT-3.3.2-14 of a will", 5, 0b110, &topic(&response, b"p"), 0x82);
    add("5: §3.1.3.2.3: a will that is no text", 5, 0b110, &topic(&[1, 1], b"\xff"), 0x99);
    all
}

#[test]
fn a_connect_that_the_standard_forbids_is_refused() {
    let (lab, port) = lab(0, "");
    let _agent = lab.site.start();
    let mut wrong = Vec::new();
    for (words, version, bytes, reason) in bad_connects() {
        let mut peer = MqttPeer::open(port.number());
        // The packet behind it must not be served either.
        peer.send(&[bytes, packet(0xc0, &[])].concat());
        // A first packet other than CONNECT gets no answer in MQTT 3.1.1 (MQTT-3.1.4-1), and may
        // get one in MQTT 5.
        let want = (version == 5).then(|| (0x20, vec![0, reason, 0]));
        let got = peer.read();
        if got != want || got.is_some() && peer.read().is_some() {
            wrong.push(format!("{version}: {words}: {got:x?}"));
        }
    }
    assert!(wrong.is_empty(), "{} were not refused:\n{}", wrong.len(), wrong.join("\n"));
    // Valid CONNECTs are not refused.
    for version in [3, 4] {
        let mut peer = MqttPeer::open(port.number());
        let parts = [text("id"), text("w"), text("p"), text("user"), raw(b"\0\xff")];
        peer.send(&connect_with(version, 0b1110_1110, &parts));
        assert_eq!(peer.read(), Some((0x20, vec![0, 0])), "{version}");
    }
    let mut peer = MqttPeer::open(port.number());
    let will = vec![9, 1, 1, 2, 0, 0, 0, 0, 0x0b];
    let will = [&will[..8], &[0x03], &text("")].concat();
    let will = [vec![u8::try_from(will.len() - 1).unwrap()], will[1..].to_vec()].concat();
    // A password without a user, which MQTT 5 allows, and a will without a message expiry.
    peer.send(&connect_with(
        5,
        0b0100_0110,
        &[vec![0], text("id"), will, text("w"), text("p"), text("s")],
    ));
    assert_eq!(peer.read().unwrap().1[..2], [0, 0]);
}

/// Returns packets behind a CONNECT that must be refused: the statement, the version, the bytes,
/// and MQTT 5's reason.
fn bad_packets() -> Vec<(String, u8, Vec<u8>, u8)> {
    let mut all = Vec::new();
    let mut add = |words: &str, version: u8, first: u8, parts: &[&[u8]], reason: u8| {
        all.push((words.to_owned(), version, packet(first, &parts.concat()), reason));
    };
    for (words, bytes) in NO_TEXT {
        let bad = raw(bytes);
        for version in [4, 5] {
            let none: &[u8] = if version == 5 { &[0] } else { &[] };
            add(&format!("topic, {words}"), version, 0x32, &[&bad, &[0, 1], none, b"x"], 0x81);
            add(&format!("filter, {words}"), version, 0x82, &[&[0, 1], none, &bad, &[1]], 0x81);
            add(&format!("filter, {words}"), version, 0xa2, &[&[0, 1], none, &bad], 0x81);
        }
        for id in [0x03, 0x08] {
            let property = [&[u8::try_from(bad.len() + 1).unwrap(), id][..], &bad].concat();
            add(&format!("{id}, {words}"), 5, 0x30, &[&text("t"), &property, b"x"], 0x81);
        }
        let reason = [&[4, u8::try_from(bad.len() + 1).unwrap(), 0x1f][..], &bad].concat();
        add(&format!("reason string, {words}"), 5, 0xe0, &[&reason], 0x81);
    }
    for version in [4, 5] {
        let none: &[u8] = if version == 5 { &[0] } else { &[] };
        let (t, id) = (text("t"), [0, 1]);
        for first in [0x41, 0x60, 0x66, 0x80, 0x83, 0xa0, 0xa3, 0xc1, 0xe1, 0x00] {
            let words = format!("MQTT-2.2.2-2, 5: MQTT-2.1.3-1: reserved flags, {first:x}");
            add(&words, version, first, &[&id], 0x81);
        }
        add("MQTT-3.3.1-4: QoS 3", version, 0x36, &[&t, &id, none, b"x"], 0x81);
        add("MQTT-3.3.1-2: DUP and QoS 0", version, 0x38, &[&t, none, b"x"], 0x82);
        add("MQTT-2.3.1-1: PUBLISH 0", version, 0x32, &[&t, &[0, 0], none, b"x"], 0x82);
        add("MQTT-2.3.1-1: SUBSCRIBE 0", version, 0x82, &[&[0, 0], none, &t, &[1]], 0x82);
        add("MQTT-2.3.1-1: UNSUBSCRIBE 0", version, 0xa2, &[&[0, 0], none, &t], 0x82);
        add("MQTT-2.3.1-1: PUBACK 0", version, 0x40, &[&[0, 0]], 0x82);
        add("MQTT-3.8.3-3: no filter", version, 0x82, &[&id, none], 0x82);
        add("MQTT-3.10.3-2: no filter", version, 0xa2, &[&id, none], 0x82);
        add("MQTT-3.8.3-4: QoS 3", version, 0x82, &[&id, none, &t, &[3]], 0x82);
        add("MQTT-3.8.3-4: reserved options", version, 0x82, &[&id, none, &t, &[0x41]], 0x81);
        add("§3.8.3: options that are missing", version, 0x82, &[&id, none, &t], 0x81);
        add("§3.12: PINGREQ with a body", version, 0xc0, &[&[0]], 0x81);
        add("§3.8: a byte behind a SUBSCRIBE", version, 0x82, &[&id, none, &t, &[1], &[0]], 0x81);
        add("§3.4: bytes behind a PUBACK", version, 0x40, &[&id, &[0], &[0], &[7]], 0x81);
        add("§3.6: bytes behind a PUBREL", version, 0x62, &[&id, &[0], &[0], &[7]], 0x81);
        add("§3.14: bytes behind a DISCONNECT", version, 0xe0, &[&[0], &[0], &[7]], 0x81);
        add("§3.1: a second CONNECT", version, 0x10, &[&connect(version, "id")[2..]], 0x82);
        add("§3.2: what a server sends", version, 0xd0, &[], 0x82);
    }
    add("§3.14: DISCONNECT with a body", 4, 0xe0, &[&[0]], 0);
    add("MQTT-3.8.3-4: MQTT 5's options", 4, 0x82, &[&[0, 1], &text("t"), &[0x29]], 0);
    bad_properties(&mut add);
    all
}

/// Adds those of MQTT 5 alone.
fn bad_properties(add: &mut impl FnMut(&str, u8, u8, &[&[u8]], u8)) {
    let (t, id): (Vec<u8>, &[u8]) = (text("t"), &[0, 1]);
    add("MQTT-3.3.4-6", 5, 0x30, &[&t, &[2, 0x0b, 1]], 0x82);
    for topic in ["r/#", "+", ""] {
        let property = [&[u8::try_from(topic.len() + 3).unwrap(), 8][..], &text(topic)].concat();
        add("MQTT-3.3.2-14, MQTT-4.7.3-1", 5, 0x30, &[&t, &property], 0x82);
    }
    add("MQTT-3.3.2-8: alias 0", 5, 0x30, &[&t, &[3, 0x23, 0, 0]], 0x94);
    for property in [&[1, 0][..], &[2, 0, 0, 0, 9], &[3, 0, 1, b'c'], &[8, 0, 1, b'r'], &[9, 0, 0]]
    {
        let length = [u8::try_from(2 * property.len()).unwrap()];
        let words = format!("§3.3.2.3: property {} twice", property[0]);
        add(&words, 5, 0x30, &[&t, &length, property, property], 0x82);
    }
    add("§3.3.2.3.2: neither 0 nor 1", 5, 0x30, &[&t, &[2, 1, 2]], 0x82);
    add("§2.2.2.2: of another packet", 5, 0x30, &[&t, &[3, 0x21, 0, 1]], 0x81);
    add("§2.2.2.2: of no packet", 5, 0x30, &[&t, &[2, 0x77, 0]], 0x81);
    add("§2.2.2.1: longer than the packet", 5, 0x30, &[&t, &[9, 1, 1]], 0x81);
    add("MQTT-1.5.5-1: a length of more bytes than it takes", 5, 0x30, &[&t, &[0x80, 0]], 0x81);
    add("MQTT-3.8.3-5", 5, 0x82, &[id, &[0], &t, &[0x81]], 0x81);
    add("§3.8.3.1: Retain Handling 3", 5, 0x82, &[id, &[0], &t, &[0x31]], 0x82);
    add("MQTT-3.8.3-4", 5, 0x82, &[id, &[0], &text("$share/g/t"), &[5]], 0x82);
    add("§3.8.2.1.2: identifier 0", 5, 0x82, &[id, &[2, 0x0b, 0], &t, &[1]], 0x82);
    add("§3.8.2.1.2: two identifiers", 5, 0x82, &[id, &[4, 0x0b, 1, 0x0b, 2], &t, &[1]], 0x82);
    add("§3.14.2.2.2: a session again", 5, 0xe0, &[&[0, 5, 0x11, 0, 0, 0, 9]], 0x82);
    add("MQTT-4.12.0-1: AUTH", 5, 0xf0, &[&[0x18, 0]], 0x82);
}

#[test]
fn a_packet_that_the_standard_forbids_ends_the_connection_with_its_reason() {
    let (lab, port) = lab(0, "");
    let agent = lab.site.start();
    let mut wrong = Vec::new();
    for (words, version, bytes, reason) in bad_packets() {
        let mut peer = MqttPeer::signed_in(port.number(), version, "id");
        peer.send(&[bytes, packet(0xc0, &[])].concat());
        let got = peer.read();
        let want = (version == 5).then(|| (0xe0, vec![reason]));
        let got = got.map(|(first, body)| (first, body.into_iter().take(1).collect::<Vec<_>>()));
        if got != want || got.is_some() && peer.read().is_some() {
            wrong.push(format!("{version}: {words}: {got:x?} for {want:x?}"));
        }
    }
    assert!(wrong.is_empty(), "{} were not refused:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(agent.queued(), 0);
    // A refusal that can be answered is answered, and the connection goes on. The answer fits the
    // packet's QoS.
    let mut peer = MqttPeer::signed_in(port.number(), 5, "id");
    for (qos, answer) in [(1, 0x40), (2, 0x50)] {
        for (properties, reason) in [
            (vec![2, 1, 1], 0x99),
            ([&[15, 0x26][..], &text("priority"), &text("x!")].concat(), 0x83),
        ] {
            let body = [&text("t")[..], &[0, 7], &properties, b"\xff"].concat();
            peer.send(&packet(0x30 | qos << 1, &body));
            let (first, body) = peer.read().unwrap();
            assert_eq!((first, &body[..3]), (answer, &[0, 7, reason][..]));
        }
        peer.send(&packet(
            0x30 | qos << 1,
            &[&text("t")[..], &[0, 7, 2, 1, 1], "é".as_bytes()].concat(),
        ));
        let (first, body) = peer.read().unwrap();
        assert_eq!((first, &body[..3]), (answer, &[0, 7, 0][..]));
        if qos == 2 {
            peer.send(&packet(0x62, &[0, 7]));
            assert_eq!(peer.read().unwrap().0, 0x70, "PUBCOMP");
        }
    }
    // QoS 0 has no answer, so the connection ends.
    peer.send(&packet(0x30, &[&text("t")[..], &[2, 1, 1], b"\xff"].concat()));
    let (first, body) = peer.read().unwrap();
    assert_eq!((first, body[0]), (0xe0, 0x99));
    assert_eq!(agent.queued(), 2);
}

#[test]
fn topics_are_judged_alike_on_every_way_in() {
    let (lab, port) = lab(0, "");
    let mut agent = lab.site.start();
    for topic in
        ["a\u{1}", "a\u{9f}", "\u{fffe}", "x/\u{ffff}", "\u{fdd0}", "\u{1ffff}", "$SYS", "$SYS/x"]
    {
        let mut five = MqttPeer::signed_in(port.number(), 5, "five");
        five.send(&publish(5, 1, 3, topic, b"x"));
        let (first, body) = five.read().unwrap();
        assert_eq!((first, &body[..3]), (0x40, &[0, 3, 0x90][..]), "PUBLISH {topic:?}");
        let mut four = MqttPeer::signed_in(port.number(), 4, "four");
        four.send(&publish(4, 1, 3, topic, b"x"));
        assert_eq!(four.read(), None, "PUBLISH {topic:?}");
        let will = [vec![0], text("id"), vec![0], text(topic), text("p")];
        for (version, will, reason) in
            [(5, will.to_vec(), 0x90), (4, vec![text("id"), text(topic), text("p")], 5)]
        {
            let mut peer = MqttPeer::open(port.number());
            peer.send(&connect_with(version, 0b110, &will));
            assert_eq!(peer.read().unwrap().1[..2], [0, reason], "will {topic:?}");
        }
        let encoded: String = topic.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = agent.http.publish(&format!("topic={encoded}"), b"x");
        assert_eq!(
            (answer.status, String::from_utf8_lossy(&answer.body).contains("\"topic\"")),
            (400, true),
            "{topic:?}"
        );
        let mut five = MqttPeer::signed_in(port.number(), 5, "five");
        five.send(&packet(0x82, &[&[0, 1, 0][..], &text(topic), &[1]].concat()));
        // A broker's own topics may be subscribed to; none of the others is a valid filter.
        let grant = if topic.starts_with("$SYS") { 1 } else { 0x8f };
        assert_eq!(five.read(), Some((0x90, vec![0, 1, 0, grant])), "SUBSCRIBE {topic:?}");
    }
    for topic in ["$aws/things/x", "$SYSTEM/x", "\u{fffd}", "a b/\u{e9}"] {
        let mut five = MqttPeer::signed_in(port.number(), 5, "five");
        five.send(&publish(5, 1, 3, topic, b"x"));
        let (_, body) = five.read().unwrap();
        // Routes with `#` do not match a leading `$`.
        let want = if topic.starts_with('$') { &[0, 3, 0x87][..] } else { &[0, 3][..] };
        assert_eq!(&body[..want.len()], want, "{topic:?}");
    }
    assert!(agent.process.ended().is_none());
}

/// Makes a lab as above, whose listener has the users `a` and `b`.
fn lab_with_users(modems: usize) -> (Lab, Port) {
    let (mut lab, port) = lab(modems, ", users: {}");
    let secret = |name: &str| lab.site.secret(name, "open sesame").display().to_string();
    let (a, b) = (secret("a"), secret("b"));
    let users = format!(", users: {{ a: {{ file: {a} }}, b: {{ file: {b} }} }}");
    lab.site.body = lab.site.body.replace(", users: {}", &users);
    (lab, port)
}

fn refused(agent: &Agent, reason: &str) -> f64 {
    agent.sum("modemfleet_hand_in_connections_refused_total", &[("reason", reason)])
}

/// Ends a flood, also if a test fails meanwhile.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Keeps up half-open connections, each opened again once it is cut, until `while_it_lasts`
/// returns.
fn flood(port: u16, count: usize, while_it_lasts: impl FnOnce()) {
    let most = Some(4_096);
    prlimit(None, Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
    let done = &AtomicBool::new(false);
    thread::scope(|scope| {
        let _ends = Ends(done);
        for _ in 0..count {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    half_open(port, done);
                }
            });
        }
        while_it_lasts();
    });
}

/// Opens a connection that sends two bytes and stays until it is cut.
fn half_open(port: u16, done: &AtomicBool) {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return };
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    drop(stream.write_all(b"\x10\x20"));
    while !done.load(Ordering::Relaxed) {
        match stream.read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}

/// Publishes as the user `a`, and reports whether that was acknowledged within 3 s.
fn publishes(port: u16, words: &[&str]) -> bool {
    let mut command = Command::new("timeout");
    command.args(["3", "mosquitto_pub", "-p", &port.to_string(), "-u", "a", "-P", "open sesame"]);
    command.args(["-t", "t", "-m", "x", "-q", "1"]).args(words).status().unwrap().success()
}

#[test]
fn half_open_connections_keep_no_good_client_out() {
    let (lab, port) = lab_with_users(0);
    let agent = lab.site.start();
    let port = port.number();
    flood(port, 300, || {
        let descriptors = || agent.sum("process_open_fds", &[]);
        until("the flood to be there", || (descriptors() > 64.0).then_some(()));
        let version = |turn| if turn % 2 == 0 { "311" } else { "5" };
        let published: Vec<bool> =
            (0..20).map(|turn| publishes(port, &["-V", version(turn)])).collect();
        assert_eq!(published, [true; 20], "20 of 20");
        assert!(refused(&agent, "displaced") > 100.0);
        assert!(agent.sum("process_open_fds", &[]) < 200.0);
    });
    assert_eq!(agent.queued(), 20);
}

#[test]
fn a_crowd_of_one_address_keeps_no_other_address_out() {
    let (lab, port) = lab_with_users(0);
    let agent = lab.site.start();
    let port = port.number();
    flood(port, 2_500, || {
        until("the crowd to be there", || (refused(&agent, "displaced") > 500.0).then_some(()));
        let published = || publishes(port, &["-A", "127.0.0.2"]);
        let all: Vec<bool> = thread::scope(|scope| {
            let all: Vec<_> = (0..12).map(|_| scope.spawn(published)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(all, [true; 12], "12 of 12");
    });
    assert_eq!(agent.queued(), 12);
}

#[test]
fn wrong_passwords_are_counted_slowed_and_logged_now_and_then() {
    let (lab, port) = lab_with_users(0);
    let agent = lab.site.start();
    let began = Stopwatch::start();
    let wrong = connect_with(4, 0xc2, &[text("id"), text("a"), text("open")]);
    let guesses: Vec<MqttPeer> = (0..40)
        .map(|_| {
            let mut peer = MqttPeer::open(port.number());
            peer.send(&wrong);
            peer
        })
        .collect();
    for mut peer in guesses {
        assert_eq!(peer.read(), Some((0x20, vec![0, 4])));
    }
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    assert_eq!(refused(&agent, "password"), 40.0);
    let lines = agent.log().matches("gave a wrong user name or password").count();
    assert!((1..=12).contains(&lines), "{lines} lines");
}

#[test]
fn a_client_id_is_its_users_while_its_client_is_connected() {
    let (lab, port) = lab_with_users(0);
    let agent = lab.site.start();
    let connect = |version: u8, user: &str| {
        let none = if version == 5 { vec![0] } else { Vec::new() };
        let parts = [none, text("plc"), text(user), text("open sesame")];
        let mut peer = MqttPeer::open(port.number());
        peer.send(&connect_with(version, 0xc2, &parts));
        let answer = peer.read().unwrap().1[1];
        (peer, answer)
    };
    let (mut first, answer) = connect(5, "a");
    assert_eq!(answer, 0);
    for (version, refused) in [(5, 0x87), (4, 5)] {
        let (mut other, answer) = connect(version, "b");
        assert_eq!((answer, other.read()), (refused, None), "another user's client id");
    }
    first.send(&packet(0xc0, &[]));
    assert_eq!(first.read(), Some((0xd0, vec![])), "it is connected still");
    assert_eq!(refused(&agent, "client_id"), 2.0);
    // A client of the same user takes it over, as the standard says.
    let (second, answer) = connect(4, "a");
    assert_eq!((answer, first.read()), (0, Some((0xe0, vec![0x8e, 0]))));
    drop((first, second));
    until("the other user to get the client id that is free", || {
        (connect(4, "b").1 == 0).then_some(())
    });
}

#[test]
fn the_client_after_the_last_place_is_told_so() {
    let (lab, port) = lab(0, "");
    let agent = lab.site.start();
    let port = port.number();
    let all: Vec<MqttPeer> =
        (0..256).map(|n| MqttPeer::signed_in(port, 4, &format!("client-{n}"))).collect();
    for (version, answer) in [(4, 3), (5, 0x89)] {
        let mut peer = MqttPeer::open(port);
        peer.send(&connect(version, "one more"));
        assert_eq!(peer.read().unwrap().1[1], answer);
        assert_eq!(peer.read(), None);
    }
    assert_eq!(refused(&agent, "full"), 2.0);
    drop(all);
    until("a place", || {
        let mut peer = MqttPeer::open(port);
        peer.send(&connect(5, "one more"));
        (peer.read().unwrap().1[1] == 0).then_some(())
    });
}

/// Starts a broker that breaks the protocol. It passes on each connection after the first
/// SUBSCRIBE.
fn bad_broker() -> (String, mpsc::Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut peer = MqttPeer::over(stream.unwrap());
            while let Some((first, body)) = peer.read() {
                match first >> 4 {
                    1 => peer.send(&packet(0x20, &[0, 0])),
                    8 => {
                        peer.send(&packet(0x90, &[body[0], body[1], 1]));
                        drop(sender.send(peer.another_end()));
                    }
                    12 => peer.send(&packet(0xd0, &[])),
                    _ => {}
                }
            }
        }
    });
    (address, receiver)
}

#[test]
fn a_topic_from_above_that_is_none_reaches_nobody() {
    let (mut lab, port) = lab(0, "");
    let subscribe = "broker: lab, subscribe: [ { filter: \"#\", qos: 1 } ]";
    let inbox = format!("inbox: {{ path: {} }}\n", lab.site.dir().join("inbox").display());
    lab.site.body = inbox + &lab.site.body.replace("broker: lab", subscribe);
    let (address, connections) = bad_broker();
    let _sim = Sim::start(&lab.site.dir().join("m0"), 1, &address, &[]);
    let agent = lab.site.start();
    let mut above = connections.recv_timeout(e2e::PATIENCE).unwrap();
    agent.connected("m0", "s");
    let mut subscribers = [4, 5].map(|version| {
        let mut peer = MqttPeer::signed_in(port.number(), version, &version.to_string());
        let none: &[u8] = if version == 5 { &[0] } else { &[] };
        peer.send(&packet(0x82, &[&[0, 1], none, &text("#"), &[0]].concat()));
        assert_eq!(peer.read().unwrap().0, 0x90, "SUBACK");
        (peer, none)
    });
    let bad = ["a\0b", "inj/#", "inj/+/x", "a\u{1}", "a\u{fffe}", "\u{fdd0}"];
    for topic in bad {
        above.write_all(&packet(0x30, &[text(topic), b"bad".to_vec()].concat())).unwrap();
    }
    above.write_all(&packet(0x30, &[text("good"), b"x".to_vec()].concat())).unwrap();
    for (peer, none) in &mut subscribers {
        let want = [&text("good")[..], none, b"x"].concat();
        assert_eq!(peer.read(), Some((0x30, want)), "nothing before it");
    }
    let page = agent.http.get("/api/v1/inbox?reader=r");
    let page: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
    let topics: Vec<_> = page["messages"].as_array().unwrap().iter().map(|m| &m["topic"]).collect();
    assert_eq!(topics, ["good"]);
    let refused =
        agent.sum("modemfleet_downlink_refused_total", &[("modem", "m0"), ("session", "s")]);
    assert_eq!(refused, 6.0);
}
