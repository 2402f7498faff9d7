//! A broker that closes the session at each message of a topic that it forbids.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use e2e::{Lab, Sim, within};

/// A proxy between modems and a broker, which closes the connection at each PUBLISH of `forbid/#`.
struct Censor {
    address: String,
}

impl Censor {
    fn before(broker: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&broker) else { continue };
                let (mut back, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || {
                    let _ = std::io::copy(&mut back, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
                thread::spawn(move || read(client, server));
            }
        });
        Self { address }
    }
}

/// Forwards packets until one is forbidden.
fn read(mut client: TcpStream, mut server: TcpStream) {
    while let Some(packet) = packet(&mut client) {
        if packet.first().is_some_and(|first| first >> 4 == 3)
            && packet.windows(7).any(|bytes| bytes == b"forbid/")
        {
            break;
        }
        if server.write_all(&packet).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

/// Returns the next MQTT packet unchanged.
fn packet(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut packet = vec![0];
    client.read_exact(&mut packet).ok()?;
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        packet.push(byte[0]);
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut rest = vec![0; length];
    client.read_exact(&mut rest).ok()?;
    packet.append(&mut rest);
    Some(packet)
}

#[test]
fn forbidden_messages_at_the_head_hold_up_the_others_for_seconds() {
    let mut lab = Lab::without_modems(1);
    let censor = Censor::before(lab.broker.address());
    let dir = lab.site.dir().join("m0");
    let agent = lab.site.start();
    for number in 0..30 {
        agent.publish("topic=forbid/a", format!("bad {number}").as_bytes());
    }
    for number in 0..50 {
        agent.publish(&format!("topic=good/{}", number % 3), number.to_string().as_bytes());
    }
    lab.sims = vec![Sim::start(&dir, 1, &censor.address, &[])];
    let all =
        within(Duration::from_secs(30), || (lab.subscriber.distinct().len() == 50).then_some(()));
    assert!(all.is_some(), "{} of 50 arrived", lab.subscriber.count());
    let messages = lab.subscriber.messages();
    for topic in ["good/0", "good/1", "good/2"] {
        let of_topic = messages.iter().filter(|message| message.topic == topic);
        let numbers: Vec<u32> = of_topic.map(|message| message.text().parse().unwrap()).collect();
        assert!(numbers.is_sorted(), "{topic}: {numbers:?}");
    }
    agent.connected("m0", "s");
    assert_eq!(agent.queued(), 30, "the others wait or are set aside; none is lost");
    let kicks = agent.sum("modemfleet_mqtt_disconnects_total", &[("reason", "broker")]);
    assert!((1.0..4.0).contains(&kicks), "{kicks} sessions were lost");
}
