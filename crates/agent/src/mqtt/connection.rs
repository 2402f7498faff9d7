//! One client: its packets in and out, its acknowledgements, its keep-alive, its end.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt;
use modem::mqtt::MAX_PAYLOAD;
use queue::Outcome;
use rmqtt_codec::v5::ToReasonCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

mod admission;
mod end;
mod leaving;
mod left;
mod session;

use end::{Admitted, End, fault, taken_over};

use super::entrance::AtEntrance;
use super::kept::{self, Kept};
use super::link::Link;
use super::published::{Held, InHand, Known, Settled};
use super::serving::{Serving, SignedIn, Unheard};
use super::wire::{AckReason, Grant, Id, Incoming, Malformed, Message, Outgoing, Reason, Wire};
use super::{DEAF, FILTERS, FOREVER, IN_FLIGHT, LAST_READ, LOOK, READ, UNHEARD, WRITE};
use crate::messages::downlink::{self, Subscription};
use crate::messages::hand_in::Refusal;
use crate::metrics::labels::ConsumerKind;

/// Why a client is given up that says nothing.
const SILENT: &str = "no packet arrived within 1.5 times the keep-alive";

/// What ends a wait.
enum Woken {
    Read(io::Result<usize>),
    /// `None` where the queue was full after all.
    Settled(Option<Box<Settled>>),
    Delivery(Arc<downlink::Message>, u8),
    Kept(kept::Event),
    Again,
    /// It is not read from; whether it is still there is to be looked at.
    Look,
    Silent,
    ThrownOut,
    Stop,
}

/// A client's connection.
pub(super) struct Connection<S> {
    stream: S,
    serving: Arc<Serving>,
    /// Who it is, for the log.
    peer: String,
    address: IpAddr,
    /// Its place among the clients that were let in.
    place: Option<OwnedSemaphorePermit>,
    wire: Wire,
    inbound: BytesMut,
    outbound: BytesMut,
    in_hand: InHand,
    will: Option<Message>,
    /// Whether CONNACK said yes.
    connected: bool,
    signed_in: Option<SignedIn>,
    heard: Instant,
    /// When it was looked at, or is to be, while it is not read from; and what it had sent by then.
    looked: Instant,
    unread: usize,
    unheard: Option<Unheard>,
    /// It has closed, or fell silent, while it was not read from: what it had sent is still read.
    has_gone: bool,
    /// How long the client may stay silent (MQTT 3.1.1 §3.1.2.10).
    silence: Duration,
    /// True if CONNECT asked for a session that ends with the connection.
    is_brief: bool,
    /// How many messages the client takes without acknowledging one.
    window: usize,
    in_flight: HashSet<Id>,
    last_id: u16,
    /// The session where it outlives the connection.
    kept: Option<Kept>,
}

impl<S: Link> Connection<S> {
    pub(super) fn new(stream: S, serving: Arc<Serving>, peer: SocketAddr) -> Self {
        Self {
            stream,
            in_hand: InHand::new(serving.hand_in.clone()),
            serving,
            peer: peer.to_string(),
            address: peer.ip(),
            place: None,
            wire: Wire::new(),
            inbound: BytesMut::new(),
            outbound: BytesMut::new(),
            will: None,
            connected: false,
            signed_in: None,
            heard: Instant::now(),
            looked: Instant::now(),
            unread: 0,
            unheard: None,
            has_gone: false,
            silence: FOREVER,
            is_brief: false,
            window: usize::from(IN_FLIGHT),
            in_flight: HashSet::new(),
            last_id: 0,
            kept: None,
        }
    }

    /// Serves the client until it leaves, breaks the protocol, falls silent, or the agent ends; then sees to
    /// what it left behind. Its place among the clients is free once the connection is closed.
    ///
    /// # Cancel safety
    /// Dropping it closes the connection; what is not acknowledged may or may not have been taken.
    pub(super) async fn serve(mut self, entrance: AtEntrance) {
        let end = match self.talk(entrance).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        self.leave_session();
        self.finish(&end).await;
        let Self { stream, place, serving, peer, in_hand, signed_in, .. } = self;
        drop((stream, place));
        left::Left { serving, peer, in_hand, signed_in }.store(matches!(end, End::Stopping)).await;
    }

    async fn talk(&mut self, entrance: AtEntrance) -> Result<std::convert::Infallible, End> {
        let Admitted { connect, assigned, name, user } = self.let_in(entrance).await?;
        let mut subscription = self.serving.downlink.client();
        let signed_in = self.sign_in(&name, user.as_deref())?;
        let stop = self.serving.stop.clone();
        let out = signed_in.out.clone();
        self.in_hand.hold_back(!signed_in.is_first());
        self.signed_in = Some(signed_in);
        // Who is thrown out, or is to end, waits for no disk.
        let found = tokio::select! {
            found = self.take_up(&connect, &name, user.as_deref(), &subscription) => found?,
            () = out.cancelled() => return Err(taken_over()),
            () = stop.cancelled() => return Err(End::Stopping),
        };
        self.peer = format!("{} ({:?})", self.peer, name.chars().take(64).collect::<String>());
        self.window = self.window.min(usize::from(connect.receive_max));
        if connect.keep_alive > 0 {
            self.silence = Duration::from_secs(u64::from(connect.keep_alive)) * 3 / 2;
        }
        self.is_brief = connect.expiry == Some(Duration::ZERO);
        self.will = connect.will;
        self.connected = true;
        let (present, expiry) = (found.present, found.expiry);
        self.send(Outgoing::Connected { assigned, present, expiry })?;
        tracing::debug!(peer = self.peer, "a local MQTT client connected");
        loop {
            self.read_packets(&subscription)?;
            left::start(&mut self.in_hand, self.signed_in.as_ref());
            self.deliver_kept();
            // Who is thrown out is not waited for: what it left behind goes before its follower's.
            tokio::select! {
                flushed = self.flush() => flushed?,
                () = out.cancelled() => return Err(taken_over()),
            }
            let woken = self.wait(&mut subscription, &out).await;
            self.woken(woken)?;
        }
    }

    /// Takes the packets that were read, as long as there is place for what they bring.
    fn read_packets(&mut self, subscription: &Subscription) -> Result<(), End> {
        while self.may_read() {
            match self.wire.decode(&mut self.inbound) {
                Ok(Some(packet)) => self.take(packet, subscription)?,
                Ok(None) => break,
                Err(Malformed { reason, .. }) => {
                    return Err(fault(reason, "a packet is malformed"));
                }
            }
        }
        Ok(())
    }

    /// Waits for the next thing to do.
    ///
    /// # Cancel safety
    /// A dropped call takes nothing.
    async fn wait(&mut self, downlink: &mut Subscription, out: &CancellationToken) -> Woken {
        let may_read = self.may_read();
        if may_read {
            self.inbound.reserve(READ);
        }
        let silent_at = match self.has_gone {
            true => Instant::now() + LAST_READ,
            false => self.heard + self.silence,
        };
        let room = self.in_flight.len() < self.window;
        let pause = self.in_hand.pause();
        // All arms are cancel safe: what is not taken now is there the next time.
        tokio::select! {
            read = self.stream.read_buf(&mut self.inbound), if may_read => Woken::Read(read),
            settled = self.in_hand.next() => Woken::Settled(settled.map(Box::new)),
            (message, qos) = downlink.next(), if room => Woken::Delivery(message, qos),
            event = kept::event(&mut self.kept) => Woken::Kept(event),
            () = sleep(pause.unwrap_or(FOREVER)), if pause.is_some() => Woken::Again,
            () = sleep_until(self.looked + LOOK), if !may_read => Woken::Look,
            () = sleep_until(silent_at), if may_read => Woken::Silent,
            () = out.cancelled() => Woken::ThrownOut,
            () = self.serving.stop.cancelled() => Woken::Stop,
        }
    }

    fn woken(&mut self, woken: Woken) -> Result<(), End> {
        match woken {
            Woken::Read(read) => self.read(read)?,
            Woken::Settled(settled) => {
                if let Some(settled) = settled {
                    self.settled(*settled)?;
                }
                // What one sync made durable is answered in one write.
                while let Some(Some(settled)) = self.in_hand.next().now_or_never() {
                    self.settled(settled)?;
                }
            }
            Woken::Delivery(message, qos) => self.deliver(&message, qos),
            Woken::Kept(event) => self.kept_happened(event)?,
            Woken::Again => {}
            Woken::Look => self.look(),
            Woken::Silent => {
                // After a pause of the agent itself the sign of life is there, and tokio does not know it yet.
                if self.stream.unread() == 0 {
                    return Err(fault(Reason::KeepAliveTimeout, SILENT));
                }
                if !self.has_gone {
                    self.heard = Instant::now();
                }
            }
            Woken::ThrownOut => return Err(taken_over()),
            Woken::Stop => return Err(End::Stopping),
        }
        Ok(())
    }

    fn read(&mut self, read: io::Result<usize>) -> Result<(), End> {
        if read? == 0 {
            return Err(End::Broken);
        }
        if !self.has_gone {
            (self.heard, self.unheard) = (Instant::now(), None);
        }
        Ok(())
    }

    /// Looks at a client that is not read from. What has come counts as a sign of life, as if it were read.
    fn look(&mut self) {
        let now = Instant::now();
        let unread = self.stream.unread();
        let paused = now - self.looked > 2 * LOOK;
        self.looked = now;
        if unread != self.unread || paused {
            (self.unread, self.heard, self.unheard) = (unread, now, None);
        }
        let quiet = now - self.heard;
        let is_lost = if unread < DEAF {
            quiet >= self.silence
        } else if quiet >= self.silence.min(UNHEARD) {
            // It may have no way to give a sign. The system asks whether it is there.
            self.unheard.get_or_insert_with(|| self.serving.unheard()).is_displaced()
        } else {
            false
        };
        if is_lost || self.stream.is_ended() {
            self.lose();
        }
    }

    /// The client has gone. It is read to the end all the same, for what nobody would send once more.
    fn lose(&mut self) {
        (self.has_gone, self.unheard) = (true, None);
        self.in_hand.leave(&self.serving.left);
    }

    fn take(&mut self, packet: Incoming, subscription: &Subscription) -> Result<(), End> {
        match packet {
            Incoming::Publish { id, alias, message } => self.published(id, alias, message),
            Incoming::Acknowledged(id) => {
                self.in_flight.remove(&id);
                self.acknowledged(id);
                Ok(())
            }
            Incoming::Release(id) => {
                let known = self.in_hand.release(id);
                self.send(Outgoing::Complete { id, known })
            }
            Incoming::Subscribe { id, filters, by_number } => {
                let grants = filters
                    .iter()
                    .map(|(filter, qos)| grant(subscription, filter, *qos, by_number))
                    .collect();
                self.subscribed(id, &filters, grants)
            }
            Incoming::Unsubscribe { id, filters } => {
                let found = filters.iter().map(|filter| subscription.remove(filter)).collect();
                self.unsubscribed(id, filters, found)
            }
            Incoming::Ping => self.send(Outgoing::Pong),
            Incoming::Disconnect { with_will, expiry } => {
                self.set_expiry(expiry)?;
                Err(if with_will { End::LeftWithWill } else { End::Left })
            }
            Incoming::Connect(_) => Err(fault(Reason::ProtocolError, "a second CONNECT")),
            Incoming::Unexpected => {
                Err(fault(Reason::ProtocolError, "a packet that only a server may send"))
            }
        }
    }

    fn published(&mut self, id: Option<Id>, alias: bool, message: Message) -> Result<(), End> {
        if alias {
            return Err(fault(Reason::TopicAliasInvalid, "a topic alias, but none is allowed"));
        }
        if message.topic.is_empty() || message.topic.contains(['+', '#']) {
            return Err(fault(Reason::TopicNameInvalid, "an empty topic, or one with wildcards"));
        }
        if message.payload.len() > MAX_PAYLOAD {
            let words = format!("a payload of more than {MAX_PAYLOAD} bytes");
            return Err(fault(Reason::PacketTooLarge, words));
        }
        if let (2, Some(id)) = (message.qos, id) {
            match self.in_hand.known(id) {
                Known::New => {}
                Known::Storing => return Ok(()),
                Known::Stored => {
                    let reason = AckReason::Success;
                    return self.send(Outgoing::Received { id, reason, words: None });
                }
            }
        }
        self.in_hand.push(Held::new(id, message));
        Ok(())
    }

    /// Answers a message whose fate is known.
    fn settled(&mut self, settled: Settled) -> Result<(), End> {
        let Settled { held, result } = settled;
        let refusal = match result {
            // A message whose time was over when it came was taken all the same, and is dropped by it.
            Ok(receipt) if receipt.outcome == Outcome::Dropped && !held.has_expired() => {
                if let Some(id) = held.id.filter(|_| self.wire.tells_reasons()) {
                    // A PUBREC with an error frees the number: no PUBREL comes (MQTT 5.0 §4.3.3).
                    self.in_hand.release(id);
                }
                let words = Some("dropped: the queue is full".to_owned());
                return self.acknowledge(&held, AckReason::QuotaExceeded, words);
            }
            Ok(_) => return self.acknowledge(&held, AckReason::Success, None),
            Err(refusal) => refusal,
        };
        let words = modem::session::Chain(&refusal).to_string();
        if held.is_will {
            tracing::warn!(peer = self.peer, "a local MQTT client's will is lost: {words}");
            return Ok(());
        }
        let reason = match refusal {
            Refusal::Ending => return Err(End::Stopping),
            Refusal::TooLarge { .. } | Refusal::TooLargeForPaths { .. } => {
                return Err(fault(Reason::PacketTooLarge, words));
            }
            // Not the client's fault: it keeps the message, and comes back.
            _ if refusal.is_disk() => {
                return Err(fault(Reason::ImplementationSpecificError, words));
            }
            Refusal::NoRoute { .. } | Refusal::UnknownSession { .. } => AckReason::NotAuthorized,
            Refusal::Topic { .. } => AckReason::TopicNameInvalid,
            Refusal::Unbatchable { .. } | Refusal::NoText => AckReason::PayloadFormatInvalid,
            Refusal::Property { .. } | Refusal::Queue(_) => AckReason::ImplementationSpecificError,
        };
        tracing::info!(peer = self.peer, "a message of a local MQTT client is refused: {words}");
        match held.id {
            Some(_) if self.wire.tells_reasons() => self.acknowledge(&held, reason, Some(words)),
            // Nothing else tells this client; silence would look like success.
            _ => Err(fault(reason.to_reason_code(), words)),
        }
    }

    fn acknowledge(
        &mut self,
        held: &Held,
        reason: AckReason,
        words: Option<String>,
    ) -> Result<(), End> {
        match (held.qos(), held.id) {
            (1, Some(id)) => self.send(Outgoing::Ack { id, reason, words }),
            (2, Some(id)) => self.send(Outgoing::Received { id, reason, words }),
            _ => Ok(()),
        }
    }

    /// Sends a received message to the client, who gets QoS 1 at most.
    fn deliver(&mut self, message: &downlink::Message, qos: u8) {
        let qos = qos.min(1);
        let id = if qos > 0 { self.next_id() } else { None };
        let out = Message {
            topic: message.topic.clone(),
            payload: message.payload.clone(),
            qos,
            retain: false,
            expiry: None,
            is_text: false,
            properties: Vec::new(),
        };
        self.publish(id, false, out);
    }

    /// `false` where it is larger than the client said it takes (MQTT 5.0 §3.1.2.11.4).
    fn publish(&mut self, id: Option<Id>, dup: bool, message: Message) -> bool {
        let is_sent = self.wire.encode(Outgoing::Publish { id, dup, message }, &mut self.outbound);
        if is_sent {
            self.in_flight.extend(id);
        } else {
            self.serving.metrics.applications.downlink_dropped(ConsumerKind::Mqtt, 1);
        }
        is_sent
    }

    /// A number that no message in flight has; there are far fewer than numbers.
    fn next_id(&mut self) -> Option<Id> {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            match Id::new(self.last_id) {
                Some(id) if !self.in_flight.contains(&id) => return Some(id),
                _ => {}
            }
        }
    }

    fn send(&mut self, packet: Outgoing) -> Result<(), End> {
        match self.wire.encode(packet, &mut self.outbound) {
            true => Ok(()),
            false => Err(fault(
                Reason::PacketTooLarge,
                "the answer is larger than the client's maximum packet size",
            )),
        }
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.has_gone {
            self.outbound.clear();
        }
        if self.outbound.is_empty() {
            return Ok(());
        }
        let written = timeout(WRITE, self.stream.write_all_buf(&mut self.outbound)).await;
        if written.map_err(|_| End::Broken)?.is_err() {
            self.lose();
        }
        Ok(())
    }
}

/// What a subscription is answered.
fn grant(subscription: &Subscription, filter: &str, qos: u8, by_number: bool) -> Grant {
    if by_number {
        return Grant::SubscriptionIdentifiersNotSupported;
    }
    if filter.starts_with("$share/") {
        return Grant::SharedSubscriptionNotSupported;
    }
    if fleet::check_filter(filter).is_err() {
        return Grant::TopicFilterInvalid;
    }
    let qos = qos.min(1);
    match subscription.add(filter, qos, FILTERS) {
        true if qos == 0 => Grant::GrantedQos0,
        true => Grant::GrantedQos1,
        false => Grant::QuotaExceeded,
    }
}
