//! A client of the demo's broker: packets, acknowledgements and keep-alive.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, Packet, PubAck, PubComp, PubRec, PubRel, Publish, SubAck,
    Subscribe, SubscribeReasonCode, UnsubAck, Unsubscribe,
};
use rumqttc::mqttbytes::{self, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::broker::Note;
use fleet::{check_filter, check_name};

/// The most messages that wait for a client. A client that falls further behind is disconnected: it
/// must not block the others, and dropped messages would look like loss.
const OUTBOX: usize = 1_024;

/// The most messages to a client without its acknowledgement.
const IN_FLIGHT: usize = 64;

/// The largest packet in bytes: a payload, a topic, and room to spare.
const MAX_PACKET: usize = 64 * 1024;

/// The most subscriptions of a client.
const MAX_FILTERS: usize = 32;

/// The time limit from the connection to its CONNECT.
const CONNECT: Duration = Duration::from_secs(5);

/// The time limit for which a client may leave data unread.
const WRITE: Duration = Duration::from_secs(10);

/// The time in place of a keep-alive of 0, which means none.
const FOREVER: Duration = Duration::from_secs(24 * 60 * 60);

/// The connection has ended, for any reason: the socket is closed in every case.
struct Over;

impl From<io::Error> for Over {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl From<mqttbytes::Error> for Over {
    fn from(_: mqttbytes::Error) -> Self {
        Self
    }
}

impl From<tokio::time::error::Elapsed> for Over {
    fn from(_: tokio::time::error::Elapsed) -> Self {
        Self
    }
}

/// Serves a client until it leaves, breaks the protocol, falls silent, or is disconnected.
///
/// # Cancel safety
/// Dropping it closes the connection.
pub(super) async fn serve(stream: TcpStream, number: u64, notes: &mpsc::Sender<Note>) {
    // Best effort: it only makes small packets leave sooner.
    let _ = stream.set_nodelay(true);
    let connection = Connection {
        stream,
        number,
        notes,
        inbound: BytesMut::new(),
        outbound: BytesMut::new(),
        filters: 0,
        unreleased: HashSet::new(),
        in_flight: HashSet::new(),
        last_id: 0,
    };
    let Err(Over) = connection.run().await;
}

struct Connection<'a> {
    stream: TcpStream,
    number: u64,
    notes: &'a mpsc::Sender<Note>,
    inbound: BytesMut,
    outbound: BytesMut,
    /// The number of granted subscriptions.
    filters: usize,
    /// QoS 2 messages that were received and not yet released: another copy is not a new message
    /// (§4.3.3).
    unreleased: HashSet<u16>,
    /// Messages to the client without its acknowledgement.
    in_flight: HashSet<u16>,
    last_id: u16,
}

impl Connection<'_> {
    async fn run(mut self) -> Result<std::convert::Infallible, Over> {
        let connect = timeout(CONNECT, self.connect()).await??;
        // §3.1.2.10: one and a half times the keep-alive.
        let silence = match connect.keep_alive {
            0 => FOREVER,
            seconds => Duration::from_secs(u64::from(seconds)) * 3 / 2,
        };
        let (outbox, mut waiting) = mpsc::channel(OUTBOX);
        let id = match connect.client_id.is_empty() {
            true => format!("connection-{}", self.number),
            false => connect.client_id,
        };
        self.tell(Note::Opened { connection: self.number, id, outbox }).await?;
        self.reply(&Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false)))?;
        let mut heard = Instant::now();
        loop {
            while let Some(packet) = self.packet()? {
                self.take(packet).await?;
            }
            self.flush().await?;
            let room = self.in_flight.len() < IN_FLIGHT;
            // Both arms are cancel safe: data that is not taken now stays for the next turn.
            let message = tokio::select! {
                read = timeout_at(heard + silence, self.stream.read_buf(&mut self.inbound)) => {
                    if read?? == 0 {
                        return Err(Over);
                    }
                    None
                }
                message = waiting.recv(), if room => Some(message.ok_or(Over)?),
            };
            match message {
                Some(message) => self.send(message)?,
                None => heard = Instant::now(),
            }
        }
    }

    /// Waits for CONNECT, which must be the first packet (§3.1).
    async fn connect(&mut self) -> Result<Connect, Over> {
        loop {
            match self.packet()? {
                Some(Packet::Connect(connect)) => return Ok(connect),
                Some(_) => return Err(Over),
                None => {}
            }
            if self.stream.read_buf(&mut self.inbound).await? == 0 {
                return Err(Over);
            }
        }
    }

    /// Returns the next whole packet from the bytes read.
    fn packet(&mut self) -> Result<Option<Packet>, Over> {
        match Packet::read(&mut self.inbound, MAX_PACKET) {
            Ok(packet) => Ok(Some(packet)),
            Err(mqttbytes::Error::InsufficientBytes(_)) => Ok(None),
            Err(_) => Err(Over),
        }
    }

    async fn take(&mut self, packet: Packet) -> Result<(), Over> {
        match packet {
            Packet::Publish(message) => self.published(message).await,
            Packet::PubRel(PubRel { pkid }) => {
                self.unreleased.remove(&pkid);
                self.reply(&Packet::PubComp(PubComp::new(pkid)))
            }
            Packet::PubAck(PubAck { pkid }) => {
                self.in_flight.remove(&pkid);
                Ok(())
            }
            Packet::Subscribe(subscribe) => self.subscribed(subscribe).await,
            Packet::Unsubscribe(Unsubscribe { pkid, topics }) => {
                self.filters = self.filters.saturating_sub(topics.len());
                self.tell(Note::Unsubscribed { connection: self.number, filters: topics }).await?;
                self.reply(&Packet::UnsubAck(UnsubAck::new(pkid)))
            }
            Packet::PingReq => self.reply(&Packet::PingResp),
            _ => Err(Over),
        }
    }

    /// The acknowledgement follows once the broker has the message. While the broker is busy,
    /// nothing is read.
    async fn published(&mut self, message: Publish) -> Result<(), Over> {
        if check_name(&message.topic).is_err() {
            return Err(Over);
        }
        let (qos, pkid) = (message.qos, message.pkid);
        match qos {
            QoS::AtMostOnce => self.tell(Note::Published(message)).await,
            QoS::AtLeastOnce => {
                self.tell(Note::Published(message)).await?;
                self.reply(&Packet::PubAck(PubAck::new(pkid)))
            }
            QoS::ExactlyOnce => {
                if self.unreleased.insert(pkid) {
                    self.tell(Note::Published(message)).await?;
                }
                self.reply(&Packet::PubRec(PubRec::new(pkid)))
            }
        }
    }

    async fn subscribed(&mut self, subscribe: Subscribe) -> Result<(), Over> {
        let (mut granted, mut codes) = (Vec::new(), Vec::new());
        for filter in subscribe.filters {
            if check_filter(&filter.path).is_err() || self.filters >= MAX_FILTERS {
                codes.push(SubscribeReasonCode::Failure);
                continue;
            }
            let qos = match filter.qos {
                QoS::AtMostOnce => QoS::AtMostOnce,
                QoS::AtLeastOnce | QoS::ExactlyOnce => QoS::AtLeastOnce,
            };
            self.filters += 1;
            codes.push(SubscribeReasonCode::Success(qos));
            granted.push((filter.path, qos));
        }
        self.reply(&Packet::SubAck(SubAck::new(subscribe.pkid, codes)))?;
        self.tell(Note::Subscribed { connection: self.number, filters: granted }).await
    }

    /// Appends a message to the bytes to write.
    fn send(&mut self, mut message: Publish) -> Result<(), Over> {
        message.dup = false;
        message.pkid = 0;
        if message.qos != QoS::AtMostOnce {
            // Zero is not an id, and far fewer messages are in flight than there are ids: the
            // search ends.
            loop {
                self.last_id = self.last_id.checked_add(1).unwrap_or(1);
                if self.in_flight.insert(self.last_id) {
                    break;
                }
            }
            message.pkid = self.last_id;
        }
        self.reply(&Packet::Publish(message))
    }

    fn reply(&mut self, packet: &Packet) -> Result<(), Over> {
        packet.write(&mut self.outbound, usize::MAX)?;
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Over> {
        if !self.outbound.is_empty() {
            timeout(WRITE, self.stream.write_all(&self.outbound)).await??;
            self.outbound.clear();
        }
        Ok(())
    }

    async fn tell(&self, note: Note) -> Result<(), Over> {
        self.notes.send(note).await.map_err(|_| Over)
    }
}
