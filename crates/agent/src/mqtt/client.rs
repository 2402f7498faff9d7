//! The protocol state of one client: packets in, packets out, and the messages that are on their way in both directions.
//!
//! It has no stream. The connection reads bytes into it, has it take the packets, and writes its output.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use modem::mqtt::MAX_PAYLOAD;
use queue::Outcome;
use rmqtt_codec::v5::ToReasonCode;

use super::end::{End, fault};
use super::kept::{self, KeptSession};
use super::published::{InHand, Known, Settled, Unanswered};
use super::send_quota::SendQuota;
use super::wire::{
    AckReason, Connect, Grant, Id, Incoming, Malformed, Message, Outgoing, Reason, Wire,
};
use super::{FILTERS, READ};
use crate::messages::downlink::{self, Subscription};
use crate::messages::hand_in::{HandIn, Refusal};
use crate::metrics::Metrics;
use crate::metrics::labels::ConsumerKind;

/// The protocol state of one client.
pub(super) struct Client {
    /// The client, for the log.
    peer: String,
    wire: Wire,
    inbound: BytesMut,
    outbound: BytesMut,
    /// The messages from it that are not answered yet, and the numbers of QoS 2 that it has not released.
    in_hand: InHand,
    /// The messages to it that it has not acknowledged.
    quota: SendQuota,
    /// The session, if it outlives the connection.
    kept: Option<KeptSession>,
    /// `None` until CONNACK said yes.
    agreed: Option<Agreed>,
    metrics: Arc<Metrics>,
}

/// The parts of CONNECT that hold until the end.
struct Agreed {
    will: Option<Message>,
    /// True if the session ends with the connection.
    is_brief: bool,
}

impl Client {
    /// A client that has said nothing yet.
    pub(super) fn new(peer: String, hand_in: HandIn, metrics: Arc<Metrics>) -> Self {
        Self {
            peer,
            wire: Wire::new(),
            inbound: BytesMut::new(),
            outbound: BytesMut::new(),
            in_hand: InHand::new(hand_in),
            quota: SendQuota::new(),
            kept: None,
            agreed: None,
            metrics,
        }
    }

    /// The client, for the log.
    pub(super) fn peer(&self) -> &str {
        &self.peer
    }

    /// Room for the bytes of a read.
    pub(super) fn input(&mut self) -> &mut BytesMut {
        self.inbound.reserve(READ);
        &mut self.inbound
    }

    /// Bytes that are to be written.
    pub(super) fn output(&mut self) -> &mut BytesMut {
        &mut self.outbound
    }

    /// Forgets the output: nothing reads it any more.
    pub(super) fn forget_output(&mut self) {
        self.outbound.clear();
    }

    /// The messages from the client that are not answered yet.
    pub(super) fn in_hand(&mut self) -> &mut InHand {
        &mut self.in_hand
    }

    /// The next packet of the input, if a whole one is there.
    ///
    /// # Errors
    /// [`Malformed`].
    pub(super) fn decode(&mut self) -> Result<Option<Incoming>, Malformed> {
        self.wire.decode(&mut self.inbound)
    }

    /// Takes up the session that is kept for it.
    pub(super) fn take_up(&mut self, kept: Option<KeptSession>) {
        self.kept = kept;
    }

    /// Accepts its CONNECT. `name`: its client id.
    ///
    /// # Errors
    /// [`End`] if it takes no answer as large as CONNACK.
    pub(super) fn accept(
        &mut self,
        connect: Connect,
        name: &str,
        answer: Outgoing,
    ) -> Result<(), End> {
        self.peer = format!("{} ({:?})", self.peer, name.chars().take(64).collect::<String>());
        self.quota.limit(connect.receive_max);
        let is_brief = connect.expiry == Some(Duration::ZERO);
        self.agreed = Some(Agreed { will: connect.will, is_brief });
        self.send(answer)
    }

    /// Reports whether its CONNECT was accepted.
    pub(super) fn is_accepted(&self) -> bool {
        self.agreed.is_some()
    }

    /// Reports whether there is place for one more packet.
    pub(super) fn may_read(&self) -> bool {
        self.in_hand.has_place() && self.kept.as_ref().is_none_or(KeptSession::has_place)
    }

    /// Reports whether it takes one more message now.
    pub(super) fn has_room(&self) -> bool {
        self.quota.has_room()
    }

    /// Room for the bytes of a read, if `may_read`, and the events that come meanwhile.
    pub(super) fn split(&mut self, may_read: bool) -> (&mut BytesMut, Events<'_>) {
        if may_read {
            self.inbound.reserve(READ);
        }
        (&mut self.inbound, Events { in_hand: &mut self.in_hand, kept: &mut self.kept })
    }

    /// The connection ends: the client's acknowledgements are confirmed, and it is away from here on.
    pub(super) fn leave_session(&mut self) {
        if let Some(mut kept) = self.kept.take() {
            kept.leave();
        }
    }

    /// The client's will, which is published if it left without a word, or asks for it.
    pub(super) fn take_will(&mut self) -> Option<Message> {
        self.agreed.as_mut()?.will.take()
    }

    /// The messages that it left behind.
    pub(super) fn into_left(self) -> (String, InHand) {
        (self.peer, self.in_hand)
    }

    /// Encodes the last packet.
    pub(super) fn say_last(&mut self, last: Outgoing) {
        self.wire.encode(last, &mut self.outbound);
    }
}

/// Events of a client's messages.
pub(super) struct Events<'a> {
    in_hand: &'a mut InHand,
    kept: &'a mut Option<KeptSession>,
}

impl Events<'_> {
    /// Waits until a message of the client is answered, or its kept session has news.
    ///
    /// # Cancel safety
    /// A dropped call takes nothing.
    pub(super) async fn next(self) -> ClientEvent {
        // Both arms are cancel safe, and none awaits in its body.
        tokio::select! {
            settled = self.in_hand.next() => ClientEvent::Settled(settled.map(Box::new)),
            event = kept::event(self.kept) => ClientEvent::Kept(event),
        }
    }
}

/// An event of a client's messages.
pub(super) enum ClientEvent {
    /// `None` if the queue was full after all.
    Settled(Option<Box<Settled>>),
    Kept(kept::Event),
}

/// Packets of the client.
impl Client {
    /// Takes the packets of the input, as long as there is place for their messages.
    pub(super) fn take_packets(&mut self, subscription: &Subscription) -> Result<(), End> {
        while self.may_read() {
            match self.decode() {
                Ok(Some(packet)) => self.take(packet, subscription)?,
                Ok(None) => break,
                Err(Malformed { reason, .. }) => {
                    return Err(fault(reason, "a packet is malformed"));
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, packet: Incoming, subscription: &Subscription) -> Result<(), End> {
        match packet {
            Incoming::Publish { id, alias, message } => self.published(id, alias, message),
            Incoming::Acknowledged(id) => {
                self.quota.acknowledged(id);
                self.confirmed(id);
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
        self.in_hand.push(Unanswered::new(id, message));
        Ok(())
    }

    /// Answers a message whose result is known.
    pub(super) fn settled(&mut self, settled: Settled) -> Result<(), End> {
        let Settled { message, result } = settled;
        let refusal = match result {
            // A message whose time was over when it came was taken all the same, and is dropped by it.
            Ok(receipt) if receipt.outcome == Outcome::Dropped && !message.has_expired() => {
                if let Some(id) = message.id.filter(|_| self.wire.tells_reasons()) {
                    // A PUBREC with an error frees the number: no PUBREL comes (MQTT 5.0 §4.3.3).
                    self.in_hand.release(id);
                }
                let words = Some("dropped: the queue is full".to_owned());
                return self.acknowledge(&message, AckReason::QuotaExceeded, words);
            }
            Ok(_) => return self.acknowledge(&message, AckReason::Success, None),
            Err(refusal) => refusal,
        };
        let words = modem::session::Chain(&refusal).to_string();
        if message.is_will {
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
        match message.id {
            Some(_) if self.wire.tells_reasons() => self.acknowledge(&message, reason, Some(words)),
            // This client has no other answer; silence would look like success.
            _ => Err(fault(reason.to_reason_code(), words)),
        }
    }

    fn acknowledge(
        &mut self,
        message: &Unanswered,
        reason: AckReason,
        words: Option<String>,
    ) -> Result<(), End> {
        match (message.qos(), message.id) {
            (1, Some(id)) => self.send(Outgoing::Ack { id, reason, words }),
            (2, Some(id)) => self.send(Outgoing::Received { id, reason, words }),
            _ => Ok(()),
        }
    }

    /// Sends a received message to the client, with QoS 1 at most.
    pub(super) fn deliver(&mut self, message: &downlink::Message, qos: u8) {
        let qos = qos.min(1);
        let id = if qos > 0 { self.quota.next_id() } else { None };
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

    /// Returns `false` if the message is larger than the client said it takes (MQTT 5.0 §3.1.2.11.4).
    fn publish(&mut self, id: Option<Id>, dup: bool, message: Message) -> bool {
        let is_sent = self.wire.encode(Outgoing::Publish { id, dup, message }, &mut self.outbound);
        if is_sent {
            self.quota.sent(id);
        } else {
            self.metrics.applications.downlink_dropped(ConsumerKind::Mqtt, 1);
        }
        is_sent
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
}

/// The session, which the inbox keeps if there is one.
impl Client {
    fn subscribed(
        &mut self,
        id: Id,
        filters: &[(String, u8)],
        grants: Vec<Grant>,
    ) -> Result<(), End> {
        let Some(kept) = &mut self.kept else {
            return self.send(Outgoing::Subscribed { id, grants });
        };
        kept.subscribe(id, filters, grants);
        Ok(())
    }

    fn unsubscribed(&mut self, id: Id, filters: Vec<String>, found: Vec<bool>) -> Result<(), End> {
        let Some(kept) = &mut self.kept else {
            return self.send(Outgoing::Unsubscribed { id, found });
        };
        kept.unsubscribe(id, filters, found);
        Ok(())
    }

    fn confirmed(&mut self, id: Id) {
        if let Some(kept) = &mut self.kept {
            kept.acknowledged(id);
        }
    }

    /// Takes the time that the session is to last from DISCONNECT. It cannot bring one back that CONNECT did not want
    /// (MQTT 5.0 §3.14.2.2.2).
    fn set_expiry(&mut self, expiry: Option<Duration>) -> Result<(), End> {
        let Some(expiry) = expiry else { return Ok(()) };
        if self.agreed.as_ref().is_some_and(|agreed| agreed.is_brief) && !expiry.is_zero() {
            return Err(fault(
                Reason::ProtocolError,
                "a session was made persistent that would have ended",
            ));
        }
        if let Some(kept) = &mut self.kept {
            kept.set_expiry(expiry);
        }
        Ok(())
    }

    /// Sends messages of the kept session, as far as the send quota goes.
    pub(super) fn deliver_kept(&mut self) {
        while self.quota.has_room() {
            let next = self.kept.as_mut().and_then(|kept| kept.next(self.quota.in_flight()));
            let Some(kept::Unsent { id, dup, message }) = next else { break };
            let is_sent = self.publish(id, dup, message);
            if let (false, Some(id), Some(kept)) = (is_sent, id, &mut self.kept) {
                // It never will be.
                kept.acknowledged(id);
            }
        }
        if let Some(kept) = &mut self.kept {
            kept.start();
        }
    }

    pub(super) fn kept_happened(&mut self, event: kept::Event) -> Result<(), End> {
        match self.kept.as_mut().and_then(|kept| kept.happened(event)) {
            Some(kept::Answer::Subscribed { id, grants }) => {
                self.send(Outgoing::Subscribed { id, grants })
            }
            Some(kept::Answer::Unsubscribed { id, found }) => {
                self.send(Outgoing::Unsubscribed { id, found })
            }
            _ => Ok(()),
        }
    }
}

/// The answer to a subscription.
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
