//! An MQTT connection of the modem: a real TCP connection, with rumqttc's packets but not its client. That
//! client reconnects and sends again by itself, and a modem does neither. Here a lost connection is over, and
//! an operation in flight is reported as not done.

mod failure;
mod handshake;
mod order;

use std::{
    collections::{HashSet, VecDeque},
    io,
};

use bytes::BytesMut;
use rumqttc::mqttbytes::{
    self,
    v4::{
        ConnAck, Connect as ConnectPacket, ConnectReturnCode, Disconnect, LastWill, Login, Packet,
        PingReq, PubAck, PubComp, PubRec, PubRel, Publish, SubAck, Subscribe, SubscribeFilter,
        SubscribeReasonCode, Unsubscribe,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    net::{TcpStream, lookup_host},
    sync::mpsc,
    time::{Duration, Instant, sleep_until, timeout_at},
};

pub(crate) use failure::Failure;
pub(crate) use handshake::Terms;
pub(crate) use order::{Connect, Dial, Event, Events, Order, Will};

use crate::port::Wire;

/// The largest packet that is accepted: above it the connection is given up.
const MAX_PACKET: usize = 256 * 1024;

/// The number of events that may wait for the firmware before the socket is no longer read.
const MAX_EVENTS: usize = 64;

/// Runs a connection from the name look-up to its end. Dropping it closes the socket without a DISCONNECT.
pub(crate) async fn run(connect: Connect, mut orders: mpsc::Receiver<Order>, events: Events) {
    let (mut stream, mut session) = match open(&connect).await {
        Ok(opened) => opened,
        Err(failure) => return events.send(Event::Refused(failure)).await,
    };
    serve(&mut stream, &mut session, &mut orders, &events).await;
}

/// Runs a connection like [`run`], for modems that open TCP by a first command and sign in by the next.
pub(crate) async fn dial(dial: Dial, mut orders: mpsc::Receiver<Order>, events: Events) {
    let Dial { address, timeout, tls } = dial;
    let mut stream = match secured(&address, tls.as_ref(), Instant::now() + timeout).await {
        Ok(stream) => stream,
        Err(failure) => return events.send(Event::Refused(failure)).await,
    };
    events.send(Event::Dialled).await;
    let connect = loop {
        match orders.recv().await {
            Some(Order::SignIn(connect)) => break connect,
            Some(_) => {}
            None => return,
        }
    };
    let mut session = match sign_in(&mut stream, &connect, Instant::now() + connect.timeout).await {
        Ok(session) => session,
        Err(failure) => return events.send(Event::Refused(failure)).await,
    };
    serve(&mut stream, &mut session, &mut orders, &events).await;
}

async fn serve(
    stream: &mut impl Wire,
    session: &mut Session,
    orders: &mut mpsc::Receiver<Order>,
    events: &Events,
) {
    session.queue.push_front(Event::Connected);
    let end = session.serve(stream, orders, events).await;
    for event in session.queue.drain(..) {
        events.send(event).await;
    }
    events.send(end).await;
}

/// Connects and waits for CONNACK.
async fn open(connect: &Connect) -> Result<(Box<dyn Wire>, Session), Failure> {
    let deadline = Instant::now() + connect.timeout;
    let mut stream = secured(&connect.address, connect.tls.as_ref(), deadline).await?;
    let session = sign_in(&mut stream, connect, deadline).await?;
    Ok((stream, session))
}

/// Opens a connection, over TLS if there are terms for it.
async fn secured(
    address: &str,
    tls: Option<&Terms>,
    deadline: Instant,
) -> Result<Box<dyn Wire>, Failure> {
    let tcp = reach(address, deadline).await?;
    match tls {
        Some(terms) => timeout_at(deadline, handshake::handshake(tcp, terms))
            .await
            .unwrap_or(Err(Failure::Handshake)),
        None => Ok(Box::new(tcp)),
    }
}

/// Opens a TCP connection.
async fn reach(address: &str, deadline: Instant) -> Result<TcpStream, Failure> {
    let found = timeout_at(deadline, lookup_host(address)).await;
    let addresses: Vec<_> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(_)) | Err(_) => return Err(Failure::NameLookup),
    };
    let connected = timeout_at(deadline, TcpStream::connect(addresses.as_slice())).await;
    let Ok(Ok(stream)) = connected else { return Err(Failure::Unreachable) };
    // Best effort: it only makes small packets leave sooner.
    drop(stream.set_nodelay(true));
    Ok(stream)
}

/// Sends CONNECT and reads its CONNACK.
async fn sign_in(
    stream: &mut impl Wire,
    connect: &Connect,
    deadline: Instant,
) -> Result<Session, Failure> {
    let mut bytes = BytesMut::new();
    connect_packet(connect)?.write(&mut bytes).map_err(|_| Failure::Packet)?;
    if connect.is_3_1 {
        bytes = as_3_1(&bytes).ok_or(Failure::Packet)?;
    }
    let mut session = Session::new(Duration::from_secs(connect.keep_alive.into()));
    let shake = async {
        stream.write_all(&bytes).await.map_err(|_| Failure::Send)?;
        stream.flush().await.map_err(|_| Failure::Send)?;
        session.read_connack(stream).await
    };
    timeout_at(deadline, shake).await.unwrap_or(Err(Failure::Timeout))?;
    Ok(session)
}

fn connect_packet(connect: &Connect) -> Result<ConnectPacket, Failure> {
    let mut packet = ConnectPacket::new(connect.client_id.as_str());
    packet.keep_alive = connect.keep_alive;
    packet.clean_session = connect.clean;
    packet.login = connect
        .user
        .as_ref()
        .map(|user| Login::new(user.as_str(), connect.password.clone().unwrap_or_default()));
    if let Some(will) = &connect.will {
        let qos = mqttbytes::qos(will.qos).map_err(|_| Failure::Packet)?;
        packet.last_will =
            Some(LastWill::new(will.topic.as_str(), will.message.clone(), qos, will.retain));
    }
    Ok(packet)
}

/// Returns the same CONNECT in MQTT 3.1: the protocol's name differs, and all after it is the same.
fn as_3_1(packet: &[u8]) -> Option<BytesMut> {
    const NAMES: [&[u8]; 2] = [b"\x00\x04MQTT\x04", b"\x00\x06MQIsdp\x03"];
    let (first, rest) = packet.split_first()?;
    let length_bytes = rest.iter().take_while(|byte| **byte >= 0x80).count() + 1;
    let body = rest.get(length_bytes..)?.strip_prefix(NAMES[0])?;
    let mut left = NAMES[1].len() + body.len();
    let mut bytes = BytesMut::from(&[*first][..]);
    // Seven bits to a byte, the lowest first (MQTT 3.1.1 §2.2.3).
    while left >= 0x80 {
        bytes.extend_from_slice(&[u8::try_from(left % 0x80).ok()? | 0x80]);
        left /= 0x80;
    }
    bytes.extend_from_slice(&[u8::try_from(left).ok()?]);
    bytes.extend_from_slice(NAMES[1]);
    bytes.extend_from_slice(body);
    Some(bytes)
}

fn refusal(ack: &ConnAck) -> Result<(), Failure> {
    match ack.code {
        ConnectReturnCode::Success => Ok(()),
        ConnectReturnCode::RefusedProtocolVersion => Err(Failure::RefusedVersion),
        ConnectReturnCode::BadClientId => Err(Failure::RefusedId),
        ConnectReturnCode::ServiceUnavailable => Err(Failure::RefusedUnavailable),
        ConnectReturnCode::BadUserNamePassword => Err(Failure::RefusedLogin),
        ConnectReturnCode::NotAuthorized => Err(Failure::RefusedNotAuthorized),
    }
}

/// Writes some of `bytes`; if there are none, flushes earlier bytes, since TLS holds them back until then.
/// Cancel safe, since both operations are.
async fn write(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        return writer.flush().await.map(|()| 0);
    }
    writer.write(bytes).await
}

/// The event that a publish, subscribe or unsubscribe waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// QoS 0: the bytes are written.
    Written,
    PubAck,
    PubRec,
    PubComp,
    SubAck,
    UnsubAck,
}

#[derive(Debug)]
struct Pending {
    awaited: Awaited,
    id: u16,
    deadline: Instant,
}

/// The state of an open connection.
#[derive(Debug)]
struct Session {
    inbox: BytesMut,
    outbox: BytesMut,
    pending: Option<Pending>,
    /// Ids of QoS 2 messages that were delivered and not yet released.
    held: HashSet<u16>,
    queue: VecDeque<Event>,
    last_id: u16,
    keep_alive: Duration,
    last_sent: Instant,
    ping_sent: Option<Instant>,
    frozen: bool,
    closing: bool,
    /// True if written bytes may not have left yet.
    unflushed: bool,
}

impl Session {
    fn new(keep_alive: Duration) -> Self {
        Self {
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
            pending: None,
            held: HashSet::new(),
            queue: VecDeque::new(),
            last_id: 0,
            keep_alive,
            last_sent: Instant::now(),
            ping_sent: None,
            frozen: false,
            closing: false,
            unflushed: false,
        }
    }

    async fn read_connack(&mut self, stream: &mut impl Wire) -> Result<(), Failure> {
        loop {
            match Packet::read(&mut self.inbox, MAX_PACKET) {
                Ok(Packet::ConnAck(ack)) => return refusal(&ack),
                Ok(_) => return Err(Failure::Packet),
                Err(mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(_) => return Err(Failure::Packet),
            }
            match stream.read_buf(&mut self.inbox).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Err(Failure::Closed),
            }
        }
    }

    /// Serves until the end, and returns that end.
    async fn serve(
        &mut self,
        stream: &mut impl Wire,
        orders: &mut mpsc::Receiver<Order>,
        events: &Events,
    ) -> Event {
        let (mut reader, mut writer) = split(stream);
        // A retained message may have arrived together with CONNACK.
        if let Err(end) = self.read_packets() {
            return end;
        }
        loop {
            let deadline = self.deadline();
            let may_read = !self.frozen && self.queue.len() < MAX_EVENTS;
            let may_write = !self.frozen && (self.unflushed || !self.outbox.is_empty());
            // Every arm is cancel safe: bytes that were read are in the inbox, written bytes are removed from
            // the outbox below, and an unused permit is returned.
            let step = tokio::select! {
                permit = events.sender.reserve(), if !self.queue.is_empty() => {
                    self.hand_on(permit.ok(), events)
                }
                read = reader.read_buf(&mut self.inbox), if may_read => match read {
                    Ok(1..) => self.read_packets(),
                    Ok(0) | Err(_) => Err(Event::Lost),
                },
                wrote = write(&mut writer, &self.outbox), if may_write => match wrote {
                    Ok(count) => self.wrote(count),
                    Err(_) => Err(Event::Lost),
                },
                order = orders.recv() => match order {
                    Some(order) => self.take(order),
                    None => Err(Event::Lost),
                },
                () = sleep_until(deadline) => self.timeout(),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Delivers the oldest event to the firmware.
    fn hand_on(
        &mut self,
        permit: Option<mpsc::Permit<'_, (usize, u64, Event)>>,
        events: &Events,
    ) -> Result<(), Event> {
        let (Some(permit), Some(event)) = (permit, self.queue.pop_front()) else {
            return Err(Event::Lost);
        };
        permit.send((events.client, events.connection, event));
        Ok(())
    }

    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    /// Queues the bytes of a packet. A packet that cannot be written is an error of the caller, and ends the
    /// operation with "packet fail".
    fn put(
        &mut self,
        write: impl FnOnce(&mut BytesMut) -> Result<usize, mqttbytes::Error>,
    ) -> Result<(), Failure> {
        let mut bytes = BytesMut::new();
        write(&mut bytes).map_err(|_| Failure::Packet)?;
        self.outbox.extend_from_slice(&bytes);
        Ok(())
    }

    fn take(&mut self, order: Order) -> Result<(), Event> {
        let begun = match order {
            Order::Freeze(frozen) => {
                self.frozen = frozen;
                return Ok(());
            }
            // This connection has signed in already.
            Order::SignIn(_) => return Ok(()),
            Order::Disconnect if self.frozen => return Err(Event::Disconnected),
            Order::Disconnect => {
                self.closing = true;
                self.put(|bytes| Disconnect.write(bytes))
            }
            Order::Publish { topic, payload, qos, retain, dup, timeout } => {
                self.publish(topic, payload, (qos, retain, dup), timeout)
            }
            Order::Subscribe { filters, timeout } => self.subscribe(filters, timeout),
            Order::Unsubscribe { filters, timeout } => {
                let id = self.next_id();
                self.pending = Some(pending(Awaited::UnsubAck, id, timeout));
                self.put(|bytes| Unsubscribe { pkid: id, topics: filters }.write(bytes))
            }
        };
        if let Err(failure) = begun {
            self.finish(Err(failure));
        }
        Ok(())
    }

    fn publish(
        &mut self,
        topic: String,
        payload: Vec<u8>,
        (qos, retain, dup): (u8, bool, bool),
        timeout: Duration,
    ) -> Result<(), Failure> {
        let (id, awaited) = match qos {
            0 => (0, Awaited::Written),
            1 => (self.next_id(), Awaited::PubAck),
            _ => (self.next_id(), Awaited::PubRec),
        };
        self.pending = Some(pending(awaited, id, timeout));
        let qos = mqttbytes::qos(qos).map_err(|_| Failure::Packet)?;
        let packet = Publish { dup, qos, retain, topic, pkid: id, payload: payload.into() };
        self.put(|bytes| packet.write(bytes))
    }

    fn subscribe(&mut self, filters: Vec<(String, u8)>, timeout: Duration) -> Result<(), Failure> {
        let id = self.next_id();
        self.pending = Some(pending(Awaited::SubAck, id, timeout));
        let filters: Result<Vec<_>, _> = filters
            .into_iter()
            .map(|(path, qos)| mqttbytes::qos(qos).map(|qos| SubscribeFilter::new(path, qos)))
            .collect();
        let filters = filters.map_err(|_| Failure::Packet)?;
        self.put(|bytes| Subscribe { pkid: id, filters }.write(bytes))
    }

    fn finish(&mut self, end: Result<(), Failure>) {
        if self.pending.take().is_some() {
            self.queue.push_back(Event::Done(end));
        }
    }

    /// Reports whether this acknowledgement is expected. A late acknowledgement, after its operation timed out,
    /// is not.
    fn awaits(&self, awaited: Awaited, id: u16) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.awaited == awaited && pending.id == id)
    }

    fn acknowledged(&mut self, awaited: Awaited, id: u16, end: Result<(), Failure>) {
        if self.awaits(awaited, id) {
            self.finish(end);
        }
    }

    fn wrote(&mut self, count: usize) -> Result<(), Event> {
        match count {
            0 if self.outbox.is_empty() => return self.flushed(),
            0 => return Err(Event::Lost),
            _ => {}
        }
        drop(self.outbox.split_to(count.min(self.outbox.len())));
        self.last_sent = Instant::now();
        self.unflushed = true;
        Ok(())
    }

    fn flushed(&mut self) -> Result<(), Event> {
        self.unflushed = false;
        self.acknowledged(Awaited::Written, 0, Ok(()));
        if self.closing { Err(Event::Disconnected) } else { Ok(()) }
    }

    fn deadline(&self) -> Instant {
        // Without keep-alive no ping is due: the deadline is always a day away.
        let ping = match (self.keep_alive.is_zero(), self.ping_sent) {
            (true, _) => Instant::now() + Duration::from_secs(86_400),
            (false, None) => self.last_sent + self.keep_alive,
            (false, Some(sent)) => sent + self.keep_alive,
        };
        self.pending.as_ref().map_or(ping, |pending| pending.deadline.min(ping))
    }

    fn timeout(&mut self) -> Result<(), Event> {
        let now = Instant::now();
        if self.pending.as_ref().is_some_and(|pending| pending.deadline <= now) {
            self.finish(Err(Failure::Timeout));
        }
        match self.ping_sent {
            Some(sent) if sent + self.keep_alive <= now => return Err(Event::PingFailed),
            None if !self.keep_alive.is_zero() && self.last_sent + self.keep_alive <= now => {
                self.ping_sent = Some(now);
                self.put(|bytes| PingReq.write(bytes)).map_err(|_| Event::Lost)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn read_packets(&mut self) -> Result<(), Event> {
        loop {
            match Packet::read(&mut self.inbox, MAX_PACKET) {
                Ok(packet) => self.packet(packet).map_err(|_| Event::Lost)?,
                Err(mqttbytes::Error::InsufficientBytes(_)) => return Ok(()),
                Err(error) => {
                    tracing::warn!(%error, "the broker sent data that is not MQTT");
                    return Err(Event::Lost);
                }
            }
        }
    }

    fn packet(&mut self, packet: Packet) -> Result<(), Failure> {
        match packet {
            Packet::Publish(publish) => self.message(publish),
            Packet::PubAck(ack) => {
                self.acknowledged(Awaited::PubAck, ack.pkid, Ok(()));
                Ok(())
            }
            Packet::PubRec(ack) => {
                if let Some(pending) = self
                    .pending
                    .as_mut()
                    .filter(|p| p.awaited == Awaited::PubRec && p.id == ack.pkid)
                {
                    pending.awaited = Awaited::PubComp;
                }
                // Also sent for a message that was given up, so that the broker does not keep it for ever.
                self.put(|bytes| PubRel::new(ack.pkid).write(bytes))
            }
            Packet::PubComp(ack) => {
                self.acknowledged(Awaited::PubComp, ack.pkid, Ok(()));
                Ok(())
            }
            Packet::PubRel(release) => {
                self.held.remove(&release.pkid);
                self.put(|bytes| PubComp::new(release.pkid).write(bytes))
            }
            Packet::SubAck(ack) => {
                self.acknowledged(Awaited::SubAck, ack.pkid, granted(&ack));
                Ok(())
            }
            Packet::UnsubAck(ack) => {
                self.acknowledged(Awaited::UnsubAck, ack.pkid, Ok(()));
                Ok(())
            }
            Packet::PingResp => {
                self.ping_sent = None;
                Ok(())
            }
            // A broker does not send any of the others.
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq
            | Packet::Disconnect => Err(Failure::Packet),
        }
    }

    fn message(&mut self, publish: Publish) -> Result<(), Failure> {
        let Publish { qos, topic, payload, pkid, .. } = publish;
        let news = match qos {
            mqttbytes::QoS::AtMostOnce => true,
            mqttbytes::QoS::AtLeastOnce => {
                self.put(|bytes| PubAck::new(pkid).write(bytes))?;
                true
            }
            mqttbytes::QoS::ExactlyOnce => {
                self.put(|bytes| PubRec::new(pkid).write(bytes))?;
                self.held.insert(pkid)
            }
        };
        if news {
            self.queue.push_back(Event::Message { topic, payload });
        }
        Ok(())
    }
}

fn pending(awaited: Awaited, id: u16, timeout: Duration) -> Pending {
    Pending { awaited, id, deadline: Instant::now() + timeout }
}

fn granted(ack: &SubAck) -> Result<(), Failure> {
    let is_refused = ack.return_codes.contains(&SubscribeReasonCode::Failure);
    if is_refused { Err(Failure::NotGranted) } else { Ok(()) }
}
