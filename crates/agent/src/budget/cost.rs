//! The cost of MQTT over TCP: estimates, since the modem's own stack does not report bytes.
//!
//! Exact are the parts that the agent hands over or receives: topics, payloads, client id, will,
//! filters. The rest follows the standards: headers of IPv4 and TCP without options on each
//! segment, an acknowledgement for each, and the answers of MQTT. TLS adds its handshake and its
//! records. Not counted: retransmissions of TCP, and the network's overhead below IP.

use modem::mqtt::{Message, Qos};

use fleet::{Access, Session};

/// Headers of IPv4 and TCP, in bytes.
const HEADERS: u64 = 40;

/// The payload of a segment over a cellular link.
const SEGMENT: u64 = 1_360;

/// An answer of MQTT: PUBACK, PUBREC, PUBREL, PUBCOMP, CONNACK, or (with a byte more) SUBACK.
const ANSWER: u64 = 4;

/// SYN, SYN+ACK, ACK; FIN, ACK, FIN, ACK.
const TCP_ENDS: u64 = 7 * HEADERS;

/// A DNS query for the broker's address and its answer, with headers of IP and UDP.
const DNS: u64 = 200;

/// The usual length of Alibaba Cloud's user name and password together.
const SIGNED: usize = 72;

/// A handshake of TLS 1.2 with a chain of two certificates, and its acknowledgements.
const HANDSHAKE: u64 = 6_000;

/// The overhead of TLS for a packet: header, nonce and tag of AES-GCM (RFC 5288).
const RECORD: u64 = 29;

/// Returns the overhead of TLS for a message with its answers.
pub(super) fn records(qos: Qos) -> u64 {
    let packets = match qos {
        Qos::AtMostOnce => 1,
        Qos::AtLeastOnce => 2,
        Qos::ExactlyOnce => 4,
    };
    packets * RECORD
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Adds headers and TCP's acknowledgements to a packet of MQTT.
fn sent(bytes: u64) -> u64 {
    let segments = bytes.div_ceil(SEGMENT).max(1);
    bytes.saturating_add(segments.saturating_mul(2 * HEADERS))
}

/// Returns the cost of a packet with its fixed header (3.1.1 §2.2.3).
fn packet(remaining: u64) -> u64 {
    let length = match remaining {
        0..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        _ => 4,
    };
    sent(remaining.saturating_add(1 + length))
}

/// Returns the cost of a message in either direction, with its answers.
pub(super) fn message(topic: usize, payload: usize, qos: Qos) -> u64 {
    let (id, answers) = match qos {
        Qos::AtMostOnce => (0, 0),
        Qos::AtLeastOnce => (2, 1),
        Qos::ExactlyOnce => (2, 3),
    };
    let publish = wide(topic).saturating_add(wide(payload)).saturating_add(2 + id);
    packet(publish).saturating_add(answers * sent(ANSWER))
}

/// Returns the cost of a publish.
pub(super) fn published(message: &Message) -> u64 {
    self::message(message.topic.len(), message.payload.len(), message.qos)
}

/// Returns the cost of PINGREQ and PINGRESP.
pub(super) fn ping(secured: bool) -> u64 {
    2 * sent(2) + if secured { 2 * RECORD } else { 0 }
}

/// Returns the cost of a connection, from the broker's address to the last subscription, and of its
/// end.
pub(super) fn connect(session: &Session) -> u64 {
    let login = match &session.access {
        Access::Plain { client_id, username, password, .. } => {
            let user = username.as_ref().map_or(0, |user| user.len() + 2);
            // The length of a secret is not looked at.
            let password = if password.is_some() { 16 } else { 0 };
            client_id.len() + user + password
        }
        Access::Aliyun { .. } => session.client_id().len() + SIGNED,
    };
    let will = session.will.as_ref().map_or(0, |will| will.topic.len() + will.payload.len() + 4);
    let hello = packet(wide(12 + login + will)) + sent(ANSWER);
    let filters = session.subscribe.iter().map(|s| wide(s.filter.len() + 3));
    let subscribed = match filters.sum::<u64>() {
        0 => 0,
        bytes => packet(bytes + 2) + sent(ANSWER + wide(session.subscribe.len())),
    };
    let tls = if session.tls.is_some() { HANDSHAKE } else { 0 };
    DNS + TCP_ENDS + tls + hello + subscribed + sent(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_costs_its_bytes_and_what_carries_them() {
        for (topic, payload, qos, cost) in [
            // PUBLISH: 2 + 2 + topic + payload, a segment and its acknowledgement.
            (5, 10, Qos::AtMostOnce, 2 + 2 + 15 + 80),
            // Two bytes for the id; PUBACK of 4 bytes, and its acknowledgement.
            (5, 10, Qos::AtLeastOnce, 2 + 2 + 15 + 2 + 80 + 84),
            (5, 10, Qos::ExactlyOnce, 2 + 2 + 15 + 2 + 80 + 3 * 84),
            // From 128 bytes on the length takes two.
            (5, 121, Qos::AtMostOnce, 3 + 2 + 126 + 80),
            // The largest message takes nine segments.
            (1_024, 10_240, Qos::AtMostOnce, 3 + 2 + 11_264 + 9 * 80),
        ] {
            assert_eq!(message(topic, payload, qos), cost, "{topic} {payload} {qos:?}");
        }
        assert_eq!((ping(false), ping(true)), (2 * 82, 2 * (82 + 29)));
        assert_eq!(
            [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce].map(records),
            [29, 58, 116]
        );
        assert!(message(usize::MAX, usize::MAX, Qos::ExactlyOnce) > 0, "it does not overflow");
    }
}
