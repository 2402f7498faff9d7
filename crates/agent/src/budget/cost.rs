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

    /// The seconds of the longest month.
    const MONTH: u64 = 31 * 86_400;

    /// A reading of the recipe's meter, and its topic.
    const READING: usize = r#"{"id":4711,"t":1796072344,"wh":12345678,"w":834}"#.len();
    const TOPIC: usize = "meters".len();

    /// A state of telemetry with all its values, and its topic.
    const STATE: usize = 320;
    const STATE_TOPIC: usize = "modemfleet/gw-01/north/state".len();

    /// Returns the bytes of a publish over TLS with so many readings as a JSON array, or with one
    /// reading alone.
    fn readings(count: usize, qos: Qos) -> u64 {
        let array = if count > 1 { count + 1 } else { 0 };
        message(TOPIC, count * READING + array, qos) + records(qos)
    }

    /// Returns bytes as megabytes with one digit.
    fn megabytes(bytes: u64) -> String {
        let tenths = (bytes + 50_000) / 100_000;
        format!("{}.{}", tenths / 10, tenths % 10)
    }

    #[test]
    fn the_recipe_of_a_meter_has_the_figures_of_this_model() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/recipes/meter.md");
        let page = std::fs::read_to_string(page).unwrap();
        let yaml = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
        let here = std::path::Path::new("fleet.yaml");
        let context = fleet::Context::named(here, fleet::Secrets::Skip, None);
        let fleet = fleet::parse("fleet.yaml", yaml.into(), &context).unwrap().fleet;
        let session = fleet.sessions().next().unwrap();
        let connects = 10 * 31 * connect(session);
        let state = message(STATE_TOPIC, STATE, Qos::AtLeastOnce) + records(Qos::AtLeastOnce);
        let (qos1, qos2) = (Qos::AtLeastOnce, Qos::ExactlyOnce);
        let mut wanted = vec![format!(
            "A CONNECT costs {} bytes; ten a day are {} MB a month.",
            connect(session),
            megabytes(connects)
        )];
        for (setting, count, qos, every, keep_alive, telemetry) in [
            ("QoS 2, `keep_alive: 60s`, telemetry each minute", 1, qos2, 60, 60, 60),
            ("QoS 1", 1, qos1, 60, 60, 60),
            ("telemetry each 15 minutes", 1, qos1, 60, 60, 900),
            ("`keep_alive: 10m`", 1, qos1, 60, 600, 900),
            ("batches of 4 readings", 4, qos1, 240, 600, 900),
            ("8 meters, batches of 32 readings", 32, qos1, 240, 600, 900),
        ] {
            let (publish, ping) = (readings(count, qos), ping(true));
            let parts =
                [MONTH / every * publish, MONTH / keep_alive * ping, MONTH / telemetry * state];
            let total = parts.iter().sum::<u64>() + connects;
            let parts = parts.map(megabytes).join(" | ");
            wanted.push(format!("| {setting} | {publish} | {parts} | {} |", megabytes(total)));
        }
        for line in wanted {
            assert!(page.contains(&line), "docs/recipes/meter.md lacks: {line}");
        }
        let telemetry = fleet.modems[0].telemetry.as_ref().unwrap();
        let batch = fleet.routes[0].batch.as_ref().unwrap();
        assert_eq!(
            [session.keep_alive, telemetry.every, batch.max_delay].map(|time| time.as_secs()),
            [600, 900, 240],
            "the fleet file of the page is the last row's"
        );
    }
}
