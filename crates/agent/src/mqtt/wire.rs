//! Packets to and from bytes: the only file that knows the codec. Each packet that comes in is judged first ([`strict`]).
//!
//! MQTT 3.1, 3.1.1 and 5 come on one port; CONNECT has the version. The rest of the listener sees one
//! kind of packet, in the words of MQTT 5; parts that a version lacks are left out.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rmqtt_codec::error::DecodeError;
use rmqtt_codec::types::{MQTT_LEVEL_31, Publish, QoS};
use rmqtt_codec::v5::ToReasonCode;
use rmqtt_codec::version::{ProtocolVersion, VersionCodec};
use rmqtt_codec::{MqttCodec, MqttPacket, v3, v5};
use tokio_util::codec::{Decoder, Encoder};

mod strict;

use super::{IN_HAND, MAX_PACKET};

pub(super) use rmqtt_codec::v5::{
    ConnectAckReason as ConnectReason, DisconnectReasonCode as Reason,
    PublishAckReason as AckReason, SubscribeAckReason as Grant,
};

/// CONNACK 1 of MQTT 3.1.1 §3.2.2.3: the version is none that is spoken here.
const NO_SUCH_VERSION: [u8; 4] = [0x20, 2, 0, 1];

/// The first byte of a CONNECT.
const CONNECT: u8 = 0x10;

/// A packet's number, 1 to 65535.
pub(super) type Id = NonZeroU16;

/// A message, in either direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) qos: u8,
    pub(super) retain: bool,
    /// Seconds that it is worth sending (MQTT 5).
    pub(super) expiry: Option<Duration>,
    /// True if the client says that the payload is UTF-8 (MQTT 5).
    pub(super) is_text: bool,
    /// User properties (MQTT 5).
    pub(super) properties: Vec<(String, String)>,
}

/// CONNECT, a client's first packet.
#[derive(Debug)]
pub(super) struct Connect {
    pub(super) client_id: String,
    pub(super) username: Option<String>,
    pub(super) password: Option<Bytes>,
    /// True if the rest of an earlier session is to go.
    pub(super) clean: bool,
    /// Time that the session is to outlive the connection; `None` is for ever.
    pub(super) expiry: Option<Duration>,
    /// Seconds; 0 is none.
    pub(super) keep_alive: u16,
    pub(super) will: Option<Message>,
    /// The most messages without acknowledgement that the client takes.
    pub(super) receive_max: u16,
    /// True if it lacks the client id that its version (3.1) asks for.
    pub(super) nameless: bool,
    /// True if it asks for MQTT 5's own authentication exchange, which is not spoken here.
    pub(super) wants_authentication: bool,
}

/// A packet of a client.
#[derive(Debug)]
pub(super) enum Incoming {
    Connect(Box<Connect>),
    /// `id` if the QoS is not 0. `alias` if MQTT 5's topic alias is used.
    Publish {
        id: Option<Id>,
        alias: bool,
        message: Message,
    },
    /// PUBACK.
    Acknowledged(Id),
    /// PUBREL.
    Release(Id),
    /// `by_number` if MQTT 5's subscription identifier is used.
    Subscribe {
        id: Id,
        filters: Vec<(String, u8)>,
        by_number: bool,
    },
    Unsubscribe {
        id: Id,
        filters: Vec<String>,
    },
    Ping,
    /// `with_will` asks for the will all the same; `expiry` is a new one for the session (MQTT 5).
    Disconnect {
        with_will: bool,
        expiry: Option<Duration>,
    },
    /// A packet that only a server sends, or that nothing here asked for.
    Unexpected,
}

/// A packet to a client.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// CONNACK; with the client id if it was given by this side. `present` if there is a session of before,
    /// `expiry` is the time that it outlives the connection.
    Connected {
        assigned: Option<String>,
        present: bool,
        expiry: Duration,
    },
    /// CONNACK with an error.
    Refused(ConnectReason),
    /// `dup` if it may have been sent before.
    Publish {
        id: Option<Id>,
        dup: bool,
        message: Message,
    },
    /// PUBACK with the words for a reason that is an error.
    Ack {
        id: Id,
        reason: AckReason,
        words: Option<String>,
    },
    /// PUBREC likewise.
    Received {
        id: Id,
        reason: AckReason,
        words: Option<String>,
    },
    /// PUBCOMP; whether the id was known.
    Complete {
        id: Id,
        known: bool,
    },
    Subscribed {
        id: Id,
        grants: Vec<Grant>,
    },
    Unsubscribed {
        id: Id,
        found: Vec<bool>,
    },
    Pong,
    /// The end and its reason. Nothing before MQTT 5.
    Disconnect(Reason),
}

/// Bytes that are no MQTT, or not for here.
#[derive(Debug)]
pub(super) struct Malformed {
    /// The reason, for the client.
    pub(super) reason: Reason,
    /// The answer to a CONNECT that is at fault, if there is one.
    pub(super) refusal: Option<ConnectReason>,
}

impl From<DecodeError> for Malformed {
    fn from(error: DecodeError) -> Self {
        let refusal = match error {
            DecodeError::InvalidClientId => Some(ConnectReason::ClientIdentifierNotValid),
            DecodeError::InvalidProtocol | DecodeError::UnsupportedProtocolLevel => {
                Some(ConnectReason::UnsupportedProtocolVersion)
            }
            _ => None,
        };
        Self { reason: error.to_reason_code(), refusal }
    }
}

impl From<Reason> for Malformed {
    fn from(reason: Reason) -> Self {
        Self { reason, refusal: None }
    }
}

impl Malformed {
    /// Adds what a CONNECT of MQTT 5 is answered. One of an earlier version is closed without an answer
    /// (MQTT 3.1.1 [MQTT-3.1.4-1]).
    fn answered(mut self) -> Self {
        let refusal = match self.reason {
            Reason::PacketTooLarge => ConnectReason::PacketTooLarge,
            Reason::ProtocolError => ConnectReason::ProtocolError,
            _ => ConnectReason::MalformedPacket,
        };
        self.refusal.get_or_insert(refusal);
        self
    }
}

/// One connection's codec.
pub(super) struct Wire(MqttCodec);

impl Wire {
    /// No version known yet.
    pub(super) fn new() -> Self {
        Self(MqttCodec::Version(VersionCodec))
    }

    /// Reports whether acknowledgements can carry errors.
    pub(super) fn tells_reasons(&self) -> bool {
        matches!(self.0, MqttCodec::V5(_))
    }

    /// The next whole packet of `inbound`.
    ///
    /// # Errors
    /// [`Malformed`]; the connection cannot go on.
    pub(super) fn decode(&mut self, inbound: &mut BytesMut) -> Result<Option<Incoming>, Malformed> {
        self.learn_version(inbound)?;
        let is_first = inbound.first() == Some(&CONNECT);
        let packet = self.next_packet(inbound);
        match self.0 {
            MqttCodec::V5(_) if is_first => packet.map_err(Malformed::answered),
            _ => packet,
        }
    }

    /// Learns the version from the CONNECT that must come first.
    fn learn_version(&mut self, inbound: &mut BytesMut) -> Result<(), Malformed> {
        let MqttCodec::Version(codec) = &mut self.0 else { return Ok(()) };
        match codec.decode(inbound)? {
            Some(ProtocolVersion::MQTT3) => self.0 = MqttCodec::V3(v3::Codec::new(MAX_PACKET)),
            Some(ProtocolVersion::MQTT5) => self.0 = MqttCodec::V5(v5::Codec::new(MAX_PACKET, 0)),
            None if strict::frame(inbound, false)?.is_some() => {
                return Err(Reason::MalformedPacket.into());
            }
            None => {}
        }
        Ok(())
    }

    fn next_packet(&mut self, inbound: &mut BytesMut) -> Result<Option<Incoming>, Malformed> {
        let five = self.tells_reasons();
        // The codec takes a header before its body has come, so it is called for whole packets only.
        let Some(body) = strict::frame(inbound, five)? else { return Ok(None) };
        let zero_expiry = strict::judge(inbound, &body, five)?;
        if let Some(last) = zero_expiry.and_then(|at| inbound.get_mut(at + 3)) {
            // The codec takes no 0.
            *last = 1;
        }
        let packet = match self.0.decode(inbound)? {
            Some((MqttPacket::V3(packet), _)) => of_v3(packet),
            Some((MqttPacket::V5(packet), _)) => {
                self.bound(&packet);
                of_v5(packet)
            }
            Some((MqttPacket::Version(_), _)) | None => return Ok(None),
        };
        Ok(Some(if zero_expiry.is_some() { expired(packet) } else { packet }))
    }

    /// Sends no larger packets than the client says that it takes.
    fn bound(&mut self, packet: &v5::Packet) {
        if let (v5::Packet::Connect(connect), MqttCodec::V5(codec)) = (packet, &mut self.0)
            && let Some(most) = connect.max_packet_size
        {
            codec.set_max_outbound_size(most.get().max(64));
        }
    }

    /// Appends a packet; `false` if it is larger than the client takes, or the version lacks it.
    pub(super) fn encode(&mut self, packet: Outgoing, outbound: &mut BytesMut) -> bool {
        let before = outbound.len();
        let packet = match &self.0 {
            MqttCodec::Version(_) => None,
            MqttCodec::V3(_) => to_v3(packet).map(MqttPacket::V3),
            MqttCodec::V5(_) => Some(MqttPacket::V5(to_v5(packet))),
        };
        match (&self.0, packet) {
            // Without a version there is one thing to say: that none was understood.
            (MqttCodec::Version(_), _) => outbound.extend_from_slice(&NO_SUCH_VERSION),
            (_, None) => {}
            (_, Some(packet)) => {
                if self.0.encode(packet, outbound).is_err() {
                    outbound.truncate(before);
                    return false;
                }
            }
        }
        true
    }
}

/// A message, or a will, whose time is over when it comes.
fn expired(mut packet: Incoming) -> Incoming {
    match &mut packet {
        Incoming::Publish { message, .. } => message.expiry = Some(Duration::ZERO),
        Incoming::Connect(connect) => {
            connect.will.iter_mut().for_each(|will| will.expiry = Some(Duration::ZERO));
        }
        _ => {}
    }
    packet
}

fn qos_of(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

fn of_v3(packet: v3::Packet) -> Incoming {
    match packet {
        v3::Packet::Connect(connect) => {
            // MQTT 3.1 §3.1: a client id has 1 to 23 characters; longer ones do no harm.
            let nameless =
                connect.client_id.is_empty() && connect.protocol.level() == MQTT_LEVEL_31;
            let will = connect.last_will.map(|will| Message {
                topic: will.topic.to_string(),
                payload: will.message,
                qos: will.qos.value(),
                retain: will.retain,
                expiry: None,
                is_text: false,
                properties: Vec::new(),
            });
            Incoming::Connect(Box::new(Connect {
                client_id: connect.client_id.to_string(),
                username: connect.username.map(|name| name.to_string()),
                password: connect.password,
                clean: connect.clean_session,
                expiry: connect.clean_session.then_some(Duration::ZERO),
                keep_alive: connect.keep_alive,
                will,
                receive_max: u16::MAX,
                nameless,
                wants_authentication: false,
            }))
        }
        v3::Packet::Publish(publish) => of_publish(*publish),
        v3::Packet::PublishAck { packet_id } => Incoming::Acknowledged(packet_id),
        v3::Packet::PublishRelease { packet_id } => Incoming::Release(packet_id),
        v3::Packet::Subscribe { packet_id, topic_filters } => Incoming::Subscribe {
            id: packet_id,
            filters: topic_filters
                .into_iter()
                .map(|(f, qos)| (f.to_string(), qos.value()))
                .collect(),
            by_number: false,
        },
        v3::Packet::Unsubscribe { packet_id, topic_filters } => Incoming::Unsubscribe {
            id: packet_id,
            filters: topic_filters.iter().map(ToString::to_string).collect(),
        },
        v3::Packet::PingRequest => Incoming::Ping,
        v3::Packet::Disconnect => Incoming::Disconnect { with_will: false, expiry: None },
        v3::Packet::ConnectAck(_)
        | v3::Packet::PublishReceived { .. }
        | v3::Packet::PublishComplete { .. }
        | v3::Packet::SubscribeAck { .. }
        | v3::Packet::UnsubscribeAck { .. }
        | v3::Packet::PingResponse => Incoming::Unexpected,
    }
}

fn of_v5(packet: v5::Packet) -> Incoming {
    match packet {
        v5::Packet::Connect(connect) => of_v5_connect(*connect),
        v5::Packet::Publish(publish) => of_publish(*publish),
        v5::Packet::PublishAck(ack) => Incoming::Acknowledged(ack.packet_id),
        v5::Packet::PublishRelease(release) => Incoming::Release(release.packet_id),
        v5::Packet::Subscribe(subscribe) => Incoming::Subscribe {
            id: subscribe.packet_id,
            by_number: subscribe.id.is_some(),
            filters: subscribe
                .topic_filters
                .into_iter()
                .map(|(filter, options)| (filter.to_string(), options.qos.value()))
                .collect(),
        },
        v5::Packet::Unsubscribe(unsubscribe) => Incoming::Unsubscribe {
            id: unsubscribe.packet_id,
            filters: unsubscribe.topic_filters.iter().map(ToString::to_string).collect(),
        },
        v5::Packet::PingRequest => Incoming::Ping,
        v5::Packet::Disconnect(disconnect) => Incoming::Disconnect {
            with_will: disconnect.reason_code != Reason::NormalDisconnection,
            expiry: disconnect.session_expiry_interval_secs.map(session_expiry),
        },
        v5::Packet::ConnectAck(_)
        | v5::Packet::PublishReceived(_)
        | v5::Packet::PublishComplete(_)
        | v5::Packet::SubscribeAck(_)
        | v5::Packet::UnsubscribeAck(_)
        | v5::Packet::PingResponse
        | v5::Packet::Auth(_) => Incoming::Unexpected,
    }
}

fn of_v5_connect(connect: v5::Connect) -> Incoming {
    let seconds = |seconds: NonZeroU32| Duration::from_secs(u64::from(seconds.get()));
    let will = connect.last_will.map(|will| Message {
        topic: will.topic.to_string(),
        payload: will.message,
        qos: will.qos.value(),
        retain: will.retain,
        expiry: will.message_expiry_interval.map(seconds),
        is_text: will.is_utf8_payload == Some(true),
        properties: texts(&will.user_properties),
    });
    Incoming::Connect(Box::new(Connect {
        client_id: connect.client_id.to_string(),
        username: connect.username.map(|name| name.to_string()),
        password: connect.password,
        clean: connect.clean_start,
        expiry: Some(session_expiry(connect.session_expiry_interval_secs)),
        keep_alive: connect.keep_alive,
        will,
        receive_max: connect.receive_max.map_or(u16::MAX, NonZeroU16::get),
        nameless: false,
        wants_authentication: connect.auth_method.is_some(),
    }))
}

/// A session expiry interval (MQTT 5.0 §3.1.2.11.2); the largest means for ever, and is longer than any bound.
fn session_expiry(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds))
}

fn texts(properties: &v5::UserProperties) -> Vec<(String, String)> {
    properties.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn of_publish(publish: Publish) -> Incoming {
    let properties = publish.properties.unwrap_or_default();
    let seconds = |seconds: NonZeroU32| Duration::from_secs(u64::from(seconds.get()));
    Incoming::Publish {
        id: publish.packet_id,
        alias: properties.topic_alias.is_some(),
        message: Message {
            topic: publish.topic.to_string(),
            payload: publish.payload,
            qos: publish.qos.value(),
            retain: publish.retain,
            expiry: properties.message_expiry_interval.map(seconds),
            is_text: properties.is_utf8_payload,
            properties: texts(&properties.user_properties),
        },
    }
}

fn to_publish(id: Option<Id>, dup: bool, message: Message, properties: bool) -> Box<Publish> {
    Box::new(Publish {
        dup,
        retain: message.retain,
        qos: qos_of(message.qos),
        topic: message.topic.into(),
        packet_id: id,
        payload: message.payload,
        properties: properties.then(v5::PublishProperties::default),
    })
}

/// `None` if MQTT 3.1.1 has no such packet.
fn to_v3(packet: Outgoing) -> Option<v3::Packet> {
    Some(match packet {
        Outgoing::Connected { present, .. } => v3::Packet::ConnectAck(v3::ConnectAck {
            return_code: v3::ConnectAckReason::ConnectionAccepted,
            session_present: present,
        }),
        Outgoing::Refused(reason) => {
            let return_code = match reason {
                ConnectReason::BadUserNameOrPassword => v3::ConnectAckReason::BadUserNameOrPassword,
                ConnectReason::ClientIdentifierNotValid => v3::ConnectAckReason::IdentifierRejected,
                ConnectReason::ServerUnavailable
                | ConnectReason::ServerBusy
                | ConnectReason::QuotaExceeded => v3::ConnectAckReason::ServiceUnavailable,
                _ => v3::ConnectAckReason::NotAuthorized,
            };
            v3::Packet::ConnectAck(v3::ConnectAck { return_code, session_present: false })
        }
        Outgoing::Publish { id, dup, message } => {
            v3::Packet::Publish(to_publish(id, dup, message, false))
        }
        Outgoing::Ack { id, .. } => v3::Packet::PublishAck { packet_id: id },
        Outgoing::Received { id, .. } => v3::Packet::PublishReceived { packet_id: id },
        Outgoing::Complete { id, .. } => v3::Packet::PublishComplete { packet_id: id },
        Outgoing::Subscribed { id, grants } => {
            let status = grants.into_iter().map(|grant| match grant {
                Grant::GrantedQos0 => v3::SubscribeReturnCode::Success(QoS::AtMostOnce),
                Grant::GrantedQos1 => v3::SubscribeReturnCode::Success(QoS::AtLeastOnce),
                _ => v3::SubscribeReturnCode::Failure,
            });
            v3::Packet::SubscribeAck { packet_id: id, status: status.collect() }
        }
        Outgoing::Unsubscribed { id, .. } => v3::Packet::UnsubscribeAck { packet_id: id },
        Outgoing::Pong => v3::Packet::PingResponse,
        Outgoing::Disconnect(_) => return None,
    })
}

fn to_v5(packet: Outgoing) -> v5::Packet {
    match packet {
        Outgoing::Connected { assigned, present, expiry } => {
            v5::Packet::ConnectAck(Box::new(v5::ConnectAck {
                session_present: present,
                // What holds, whatever was asked for.
                session_expiry_interval_secs: Some(
                    u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX),
                ),
                receive_max: NonZeroU16::new(IN_HAND).unwrap_or(NonZeroU16::MIN),
                max_packet_size: Some(MAX_PACKET),
                assigned_client_id: assigned.map(Into::into),
                subscription_identifiers_available: false,
                shared_subscription_available: false,
                ..v5::ConnectAck::default()
            }))
        }
        Outgoing::Refused(reason_code) => v5::Packet::ConnectAck(Box::new(v5::ConnectAck {
            reason_code,
            ..v5::ConnectAck::default()
        })),
        Outgoing::Publish { id, dup, message } => {
            v5::Packet::Publish(to_publish(id, dup, message, true))
        }
        Outgoing::Ack { id, reason, words } => v5::Packet::PublishAck(ack(id, reason, words)),
        Outgoing::Received { id, reason, words } => {
            v5::Packet::PublishReceived(ack(id, reason, words))
        }
        Outgoing::Complete { id, known } => v5::Packet::PublishComplete(v5::PublishAck2 {
            packet_id: id,
            reason_code: match known {
                true => v5::PublishAck2Reason::Success,
                false => v5::PublishAck2Reason::PacketIdNotFound,
            },
            ..v5::PublishAck2::default()
        }),
        Outgoing::Subscribed { id, grants } => v5::Packet::SubscribeAck(v5::SubscribeAck {
            packet_id: id,
            properties: Vec::new(),
            reason_string: None,
            status: grants,
        }),
        Outgoing::Unsubscribed { id, found } => v5::Packet::UnsubscribeAck(v5::UnsubscribeAck {
            packet_id: id,
            properties: Vec::new(),
            reason_string: None,
            status: found
                .into_iter()
                .map(|found| match found {
                    true => v5::UnsubscribeAckReason::Success,
                    false => v5::UnsubscribeAckReason::NoSubscriptionExisted,
                })
                .collect(),
        }),
        Outgoing::Pong => v5::Packet::PingResponse,
        Outgoing::Disconnect(reason) => v5::Packet::Disconnect(v5::Disconnect::new(reason)),
    }
}

fn ack(id: Id, reason: AckReason, words: Option<String>) -> v5::PublishAck {
    v5::PublishAck {
        packet_id: id,
        reason_code: reason,
        reason_string: words.map(Into::into),
        ..v5::PublishAck::default()
    }
}
