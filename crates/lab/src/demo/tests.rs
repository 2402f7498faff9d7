//! The demo's broker over TCP, packet by packet.

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{
    Connect, Packet, PubAck, PubRel, Publish, Subscribe, SubscribeReasonCode, Unsubscribe,
};
use rumqttc::mqttbytes::{Error, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::broker::Broker;

/// A client that sends exactly the given packets.
struct Peer {
    stream: TcpStream,
    bytes: BytesMut,
}

impl Peer {
    async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, usize::MAX).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// Returns the next packet; `None` if the broker closed the connection.
    async fn next(&mut self) -> Option<Packet> {
        loop {
            match Packet::read(&mut self.bytes, usize::MAX) {
                Ok(packet) => return Some(packet),
                Err(Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("{error}"),
            }
            match self.stream.read_buf(&mut self.bytes).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    async fn message(&mut self) -> Publish {
        match self.next().await {
            Some(Packet::Publish(message)) => message,
            other => panic!("no message: {other:?}"),
        }
    }

    async fn subscribe(&mut self, filter: &str, qos: QoS) -> SubscribeReasonCode {
        let mut subscribe = Subscribe::new(filter, qos);
        subscribe.pkid = 1;
        self.send(Packet::Subscribe(subscribe)).await;
        match self.next().await {
            Some(Packet::SubAck(ack)) => ack.return_codes[0],
            other => panic!("no SUBACK: {other:?}"),
        }
    }
}

/// A broker that ends with the test.
struct Served {
    address: std::net::SocketAddr,
    _tasks: JoinSet<()>,
}

impl Served {
    async fn new() -> Self {
        let broker = Broker::bind().await.unwrap();
        let (address, mut tasks) = (broker.address(), JoinSet::new());
        tasks.spawn(broker.run());
        Self { address, _tasks: tasks }
    }

    async fn raw(&self) -> Peer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        Peer { stream, bytes: BytesMut::new() }
    }

    async fn peer(&self, id: &str) -> Peer {
        let mut peer = self.raw().await;
        peer.send(Packet::Connect(Connect::new(id))).await;
        assert!(matches!(peer.next().await, Some(Packet::ConnAck(_))));
        peer
    }
}

fn message(qos: QoS, pkid: u16, payload: &str) -> Packet {
    let mut message = Publish::new("a/b", qos, payload);
    message.pkid = pkid;
    Packet::Publish(message)
}

#[tokio::test]
async fn each_quality_is_acknowledged_in_its_way_and_arrives_once() {
    let served = Served::new().await;
    let (mut from, mut to) = (served.peer("from").await, served.peer("to").await);
    let granted = to.subscribe("a/#", QoS::ExactlyOnce).await;
    assert_eq!(granted, SubscribeReasonCode::Success(QoS::AtLeastOnce));

    from.send(message(QoS::AtMostOnce, 0, "zero")).await;
    from.send(message(QoS::AtLeastOnce, 7, "one")).await;
    assert!(matches!(from.next().await, Some(Packet::PubAck(PubAck { pkid: 7 }))));
    // A second copy before the release is the same message; after it, a new one.
    for _ in 0..2 {
        from.send(message(QoS::ExactlyOnce, 8, "two")).await;
        assert!(matches!(from.next().await, Some(Packet::PubRec(_))));
    }
    from.send(Packet::PubRel(PubRel::new(8))).await;
    assert!(matches!(from.next().await, Some(Packet::PubComp(_))));
    from.send(message(QoS::AtLeastOnce, 9, "last")).await;

    let mut ids = Vec::new();
    for (payload, qos) in [
        ("zero", QoS::AtMostOnce),
        ("one", QoS::AtLeastOnce),
        ("two", QoS::AtLeastOnce),
        ("last", QoS::AtLeastOnce),
    ] {
        let got = to.message().await;
        assert_eq!((&got.payload[..], got.qos), (payload.as_bytes(), qos));
        ids.push(got.pkid);
    }
    assert_eq!(ids, [0, 1, 2, 3]);
}

#[tokio::test]
async fn who_does_not_acknowledge_gets_no_more_until_he_does() {
    let served = Served::new().await;
    let (mut from, mut to) = (served.peer("from").await, served.peer("to").await);
    to.subscribe("#", QoS::AtLeastOnce).await;
    for number in 1..=65 {
        from.send(message(QoS::AtLeastOnce, number, "x")).await;
        from.next().await;
    }
    for _ in 0..64 {
        to.message().await;
    }
    // The answer to a later request overtakes the message that is held back.
    to.send(Packet::PingReq).await;
    assert_eq!(to.next().await, Some(Packet::PingResp));
    to.send(Packet::PubAck(PubAck::new(1))).await;
    assert_eq!(to.message().await.pkid, 65);
}

#[tokio::test]
async fn subscriptions_end_and_pings_are_answered() {
    let served = Served::new().await;
    let mut peer = served.peer("one").await;
    assert_eq!(peer.subscribe("a/#/b", QoS::AtMostOnce).await, SubscribeReasonCode::Failure);
    peer.subscribe("a/b", QoS::AtMostOnce).await;
    peer.send(Packet::Unsubscribe(Unsubscribe { pkid: 5, topics: vec!["a/b".to_owned()] })).await;
    assert!(matches!(peer.next().await, Some(Packet::UnsubAck(ack)) if ack.pkid == 5));
    peer.send(message(QoS::AtLeastOnce, 1, "nobody")).await;
    assert!(matches!(peer.next().await, Some(Packet::PubAck(_))));
    peer.send(Packet::PingReq).await;
    assert_eq!(peer.next().await, Some(Packet::PingResp));
}

#[tokio::test]
async fn who_breaks_the_protocol_is_cut_off_and_nobody_else() {
    let served = Served::new().await;
    let mut good = served.peer("good").await;
    for packet in [
        Packet::Connect(Connect::new("again")),
        Packet::PingResp,
        Packet::Publish(Publish::new("a/+", QoS::AtMostOnce, "wildcard")),
        Packet::Disconnect,
    ] {
        let mut bad = served.peer("bad").await;
        bad.send(packet.clone()).await;
        assert_eq!(bad.next().await, None, "{packet:?}");
    }
    // The last input reads as an acknowledgement of 69 bytes, so that many must follow.
    let http = format!("GET / HTTP/1.1\r\n{}", "x".repeat(69));
    for bytes in [&b"\x10\xff\xff\xff\xff\xff"[..], b"\xc0\x00", b"\x00\x00", http.as_bytes()] {
        let mut bad = served.raw().await;
        bad.stream.write_all(bytes).await.unwrap();
        assert_eq!(bad.next().await, None, "{bytes:?}");
    }
    let mut namesake = served.peer("good").await;
    assert_eq!(good.next().await, None);
    namesake.send(Packet::PingReq).await;
    assert_eq!(namesake.next().await, Some(Packet::PingResp));
}
