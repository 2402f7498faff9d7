//! The MQTT listener and clients that leave, or seem to have left: at a full queue, with a will,
//! after a pause.

use std::time::Duration;

use e2e::mqtt_peer::{MqttPeer, packet, publish, text};
use e2e::{Agent, Lab, Port, Signal, pause, until};

/// Makes a lab without modems, whose queue takes this many messages, and the listener's port.
fn lab(most: u32) -> (Lab, Port) {
    let port = Port::free();
    let mut lab = Lab::without_modems(1);
    let listen = format!("hand_in: {{ mqtt: {{ listen: \"127.0.0.1:{}\" }} }}\n", port.number());
    lab.site.body = listen + &lab.site.body;
    lab.site.queue = format!(", max_messages: {most}");
    (lab, port)
}

/// Makes a CONNECT with a keep-alive in seconds, and with a will of QoS 1 on `will` if a payload is
/// given.
fn connect(version: u8, client: &str, keep_alive: u8, will: Option<&str>) -> Vec<u8> {
    let flags = if will.is_some() { 0b1110 } else { 0b10 };
    let none: &[u8] = if version == 5 { &[0] } else { &[] };
    let mut body = [text("MQTT"), vec![version, flags, 0, keep_alive], none.to_vec()].concat();
    body.extend(text(client));
    if let Some(payload) = will {
        body.extend([none, &text("will"), &text(payload)].concat());
    }
    packet(0x10, &body)
}

fn signed_in(port: &Port, connect: &[u8]) -> MqttPeer {
    let mut peer = MqttPeer::open(port.number());
    peer.send(connect);
    let (first, body) = peer.read().unwrap();
    assert_eq!((first, &body[..2]), (0x20, &[0, 0][..]), "CONNACK");
    peer
}

/// Waits until this many clients are connected.
fn clients(agent: &Agent, count: f64) {
    until("the clients to be so many", || {
        (agent.sum("modemfleet_hand_in_connections", &[]) == count).then_some(())
    });
}

fn texts(lab: &Lab, count: usize) -> Vec<String> {
    lab.subscriber.wait(count).iter().map(|message| message.text()).collect()
}

#[test]
fn a_will_waits_for_room_and_goes_before_its_client_comes_back() {
    let (lab, port) = lab(1);
    let agent = lab.site.start();
    agent.publish("topic=t", b"first");
    for (version, name) in [(4, "four"), (5, "five")] {
        drop(signed_in(&port, &connect(version, name, 60, Some(&format!("{name} gone")))));
        clients(&agent, 0.0);
    }
    let back: Vec<MqttPeer> = [(4, "four"), (5, "five")]
        .into_iter()
        .map(|(version, name)| {
            let mut peer = signed_in(&port, &connect(version, name, 60, None));
            peer.send(&publish(version, 1, 1, "will", format!("{name} back").as_bytes()));
            peer
        })
        .collect();
    let _sim = lab.plug_in(0, &[]);
    let got = texts(&lab, 5);
    for name in ["four", "five"] {
        let of = |what: &str| got.iter().position(|text| *text == format!("{name} {what}"));
        assert!(of("gone").unwrap() < of("back").unwrap(), "{got:?}");
    }
    for mut peer in back {
        assert_eq!(peer.read().unwrap().0, 0x40, "PUBACK");
    }
}

#[test]
fn at_a_full_queue_clients_that_are_gone_are_noticed() {
    let (lab, port) = lab(1);
    let agent = lab.site.start();
    agent.publish("topic=t", b"first");
    // More than the agent holds for a client, so it is not read to its end.
    let flood: Vec<u8> =
        (1..=45_u16).flat_map(|id| publish(4, 1, id, "flood", &[b'x'; 500])).collect();
    let mut closed = signed_in(&port, &connect(4, "closed", 60, Some("closed is gone")));
    closed.send(&flood);
    closed.send(&publish(4, 0, 0, "last", b"of QoS 0"));
    let mut left = signed_in(&port, &connect(4, "left", 60, Some("never said")));
    left.send(&flood);
    left.send(&packet(0xe0, &[]));
    let mut silent = signed_in(&port, &connect(4, "silent", 1, Some("silent is gone")));
    silent.send(&flood);
    let mut pinging = signed_in(&port, &connect(4, "pinging", 1, Some("never said either")));
    pinging.send(&flood);
    clients(&agent, 4.0);
    drop((closed, left));
    // The silent client is noticed. Another client has the same keep-alive and as many messages,
    // but sends pings.
    until("only the one that pings to be connected", || {
        pinging.send(&packet(0xc0, &[]));
        (agent.sum("modemfleet_hand_in_connections", &[]) == 1.0).then_some(())
    });
    let _sim = lab.plug_in(0, &[]);
    for id in 1..=45_u16 {
        pinging.send(&packet(0xc0, &[]));
        let (first, body) = loop {
            match pinging.read().unwrap() {
                (0xd0, _) => {}
                packet => break packet,
            }
        };
        assert_eq!((first, body), (0x40, id.to_be_bytes().to_vec()), "PUBACK");
    }
    let mut got = texts(&lab, 49);
    got.retain(|text| !text.starts_with('x') && text != "first");
    got.sort();
    assert_eq!(got, ["closed is gone", "of QoS 0", "silent is gone"]);
    drop(silent);
}

#[test]
fn clients_that_hang_give_way_to_others_though_they_cannot_be_heard() {
    let (lab, port) = lab(1);
    let agent = lab.site.start();
    agent.publish("topic=t", b"first");
    // Far more than the agent holds for a client: it could not see a ping behind this.
    let flood: Vec<u8> =
        (1..=100_u16).flat_map(|id| publish(4, 1, id, "flood", &[b'x'; 800])).collect();
    let hanging: Vec<MqttPeer> = (0..256)
        .map(|at| {
            let mut peer = signed_in(&port, &connect(4, &format!("c{at}"), 1, None));
            peer.send(&flood);
            peer
        })
        .collect();
    clients(&agent, 256.0);
    until("a good client to get a place", || {
        let mut good = MqttPeer::open(port.number());
        good.send(&connect(4, "good", 60, None));
        good.read().filter(|(first, _)| *first == 0x20)
    });
    // A hanging client is closed only for a new one, and one at a time.
    assert!(agent.sum("modemfleet_hand_in_connections", &[]) >= 200.0);
    drop(hanging);
}

#[test]
fn a_pause_of_the_agent_throws_out_nobody_who_pinged() {
    let (lab, port) = lab(1_000);
    let agent = lab.site.start();
    let mut peers: Vec<MqttPeer> =
        (0..8).map(|at| signed_in(&port, &connect(4, &format!("c{at}"), 1, None))).collect();
    agent.process.signal(Signal::STOP);
    for round in 0..6 {
        for peer in &mut peers {
            peer.send(&packet(0xc0, &[]));
            peer.send(&publish(4, 0, 0, "t", format!("{round}").as_bytes()));
        }
        // Twice the time after which the agent would close a silent client.
        pause(Duration::from_millis(500));
    }
    agent.process.signal(Signal::CONT);
    for peer in &mut peers {
        for _ in 0..6 {
            assert_eq!(peer.read(), Some((0xd0, Vec::new())), "PINGRESP");
        }
        peer.send(&packet(0xc0, &[]));
        assert_eq!(peer.read(), Some((0xd0, Vec::new())), "PINGRESP");
    }
    until("what came meanwhile to be stored", || (agent.queued() == 48).then_some(()));
}

#[test]
fn a_message_whose_time_is_over_when_it_comes_is_taken_and_dropped() {
    let (lab, port) = lab(10);
    let agent = lab.site.start();
    let mut peer = signed_in(&port, &connect(5, "five", 60, None));
    // A Message Expiry Interval: 0 expires at once, and is not an error.
    for (id, seconds, queued) in [(1_u8, 0, 0), (2, 60, 1)] {
        let body = [text("t"), vec![0, id, 5, 2, 0, 0, 0, seconds], b"x".to_vec()].concat();
        peer.send(&packet(0x32, &body));
        let (first, body) = peer.read().unwrap();
        assert_eq!((first, &body[..2]), (0x40, &[0, id][..]), "PUBACK");
        assert!(body.get(2).is_none_or(|reason| *reason == 0), "{body:?}");
        until("what is over to be dropped", || (agent.queued() == queued).then_some(()));
    }
    let dropped = || agent.sum("modemfleet_queue_dropped_total", &[("reason", "expired")]);
    until("the one drop to be counted", || (dropped() == 1.0).then_some(()));
}
