//! The judge of packets: refuses those that MQTT requires to be refused, over a packet's bytes and before the codec reads them.
//!
//! Codecs take everything that they can make sense of: NUL in a client id, bytes behind the end of a packet, a password without
//! its user. A statement's number such as \[MQTT-3.1.2-22\] is that of MQTT 3.1.1 or, with a 5 in front, of MQTT 5.0.
//! MQTT 3.1 is judged as 3.1.1.

use std::ops::Range;

use super::{MAX_PACKET, Reason};

/// Returns the place of the body of the first packet of `inbound`; `None` while it is not whole.
///
/// # Errors
/// [`Reason`] if its length is none, or too large.
pub(super) fn frame(inbound: &[u8], five: bool) -> Result<Option<Range<usize>>, Reason> {
    let mut fixed = Reader { bytes: inbound, at: 1, end: inbound.len(), five };
    // Of a length that is not whole more is to come; a fifth byte is none of it.
    let is_whole = inbound.iter().skip(1).take(4).any(|digit| digit & 0x80 == 0);
    if !is_whole && inbound.len() < 5 {
        return Ok(None);
    }
    let length = fixed.number()?;
    if length > usize::try_from(MAX_PACKET).unwrap_or(usize::MAX) {
        return Err(Reason::PacketTooLarge);
    }
    let body = fixed.at..fixed.at + length;
    Ok((body.end <= inbound.len()).then_some(body))
}

/// Judges a packet of a client, whose body is given. Returns the place of a Message Expiry Interval of 0, which MQTT 5
/// allows (§3.3.2.3.3) and the codec takes for a fault.
///
/// # Errors
/// [`Reason`] with which the connection is to be closed.
pub(super) fn judge(
    packet: &[u8],
    body: &Range<usize>,
    five: bool,
) -> Result<Option<usize>, Reason> {
    let mut body = Reader { bytes: packet, at: body.start, end: body.end, five };
    let mut zero_expiry = None;
    let first = packet.first().copied().unwrap_or_default();
    match first {
        0x10 => zero_expiry = body.connect()?,
        0x30..=0x3f => return body.publish(first),
        // PUBACK, PUBREC, PUBREL, PUBCOMP
        0x40 | 0x50 | 0x62 | 0x70 => body.acknowledgement()?,
        0x82 => body.filters(true)?,
        0xa2 => body.filters(false)?,
        // PINGREQ
        0xc0 => {}
        0xe0 => body.disconnect()?,
        // AUTH, which nothing here asked for, and packets that only a server sends.
        0xf0 if five => return Err(Reason::ProtocolError),
        0x20 | 0x90 | 0xb0 | 0xd0 => return Err(Reason::ProtocolError),
        // No packet, or reserved flags: [MQTT-2.2.2-2], 5: [MQTT-2.1.3-1].
        _ => return Err(Reason::MalformedPacket),
    }
    // Bytes behind the last field are of no field.
    if body.is_over() { Ok(zero_expiry) } else { Err(Reason::MalformedPacket) }
}

/// A place in a packet.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
    five: bool,
}

impl<'a> Reader<'a> {
    fn is_over(&self) -> bool {
        self.at >= self.end
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Reason> {
        let end = self.at.saturating_add(length);
        let taken = if end <= self.end { self.bytes.get(self.at..end) } else { None };
        self.at = end;
        taken.ok_or(Reason::MalformedPacket)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        self.take(N)?.try_into().map_err(|_| Reason::MalformedPacket)
    }

    fn byte(&mut self) -> Result<u8, Reason> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    fn two(&mut self) -> Result<u16, Reason> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn four(&mut self) -> Result<u32, Reason> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// A number of 1 to 4 bytes; in MQTT 5 with as few as it takes (5: [MQTT-1.5.5-1]).
    fn number(&mut self) -> Result<usize, Reason> {
        let mut number = 0;
        for shift in [0, 7, 14, 21] {
            let digit = self.byte()?;
            number |= usize::from(digit & 0x7f) << shift;
            if digit & 0x80 == 0 {
                let is_longer_than_needed = self.five && digit == 0 && shift > 0;
                return if is_longer_than_needed { break } else { Ok(number) };
            }
        }
        Err(Reason::MalformedPacket)
    }

    fn data(&mut self) -> Result<&'a [u8], Reason> {
        let length = self.two()?;
        self.take(usize::from(length))
    }

    /// A string: UTF-8 without surrogates [MQTT-1.5.3-1] and without NUL [MQTT-1.5.3-2].
    fn text(&mut self) -> Result<&'a str, Reason> {
        let text = str::from_utf8(self.data()?).map_err(|_| Reason::MalformedPacket)?;
        if text.contains('\0') { Err(Reason::MalformedPacket) } else { Ok(text) }
    }

    /// A packet's number, which is never 0 ([MQTT-2.3.1-1], 5: [MQTT-2.2.1-3]).
    fn id(&mut self) -> Result<(), Reason> {
        if self.two()? == 0 { Err(Reason::ProtocolError) } else { Ok(()) }
    }

    fn connect(&mut self) -> Result<Option<usize>, Reason> {
        // The name of the protocol and its version, which the codec knows.
        self.data()?;
        self.byte()?;
        let flags = ConnectFlags(self.byte()?);
        if !flags.are_good(self.five) {
            return Err(Reason::MalformedPacket);
        }
        // Keep-alive.
        self.two()?;
        if self.five {
            let properties = self.properties(CONNECT)?;
            // 5: §3.1.2.11.10
            if properties.has(AUTHENTICATION_DATA) && !properties.has(AUTHENTICATION_METHOD) {
                return Err(Reason::ProtocolError);
            }
        }
        self.text()?;
        let mut zero_expiry = None;
        if flags.has(ConnectFlags::WILL) {
            if self.five {
                zero_expiry = self.properties(WILL)?.zero_expiry;
            }
            self.text()?;
            self.data()?;
        }
        if flags.has(ConnectFlags::USER) {
            self.text()?;
        }
        if flags.has(ConnectFlags::PASSWORD) {
            self.data()?;
        }
        Ok(zero_expiry)
    }

    fn publish(&mut self, first: u8) -> Result<Option<usize>, Reason> {
        let (qos, dup) = (first >> 1 & 3, first & 8 != 0);
        match (qos, dup) {
            // [MQTT-3.3.1-4]
            (3, _) => return Err(Reason::MalformedPacket),
            // [MQTT-3.3.1-2]
            (0, true) => return Err(Reason::ProtocolError),
            _ => {}
        }
        self.text()?;
        if qos > 0 {
            self.id()?;
        }
        if !self.five {
            return Ok(None);
        }
        let properties = self.properties(PUBLISH)?;
        // 5: [MQTT-3.3.4-6]
        if properties.has(SUBSCRIPTION_IDENTIFIER) {
            return Err(Reason::ProtocolError);
        }
        Ok(properties.zero_expiry)
    }

    fn acknowledgement(&mut self) -> Result<(), Reason> {
        self.id()?;
        self.reason(ACKNOWLEDGEMENT)
    }

    fn disconnect(&mut self) -> Result<(), Reason> {
        self.reason(DISCONNECT)
    }

    /// A reason and properties, both of which MQTT 5 leaves out if they are empty.
    fn reason(&mut self, place: u8) -> Result<(), Reason> {
        if !self.five || self.is_over() {
            return Ok(());
        }
        self.byte()?;
        if !self.is_over() {
            self.properties(place)?;
        }
        Ok(())
    }

    /// SUBSCRIBE, and UNSUBSCRIBE, which is it without options.
    fn filters(&mut self, have_options: bool) -> Result<(), Reason> {
        self.id()?;
        if self.five {
            self.properties(if have_options { SUBSCRIBE } else { UNSUBSCRIBE })?;
        }
        // [MQTT-3.8.3-3], [MQTT-3.10.3-2], 5: [MQTT-3.8.3-2], [MQTT-3.10.3-2]
        if self.is_over() {
            return Err(Reason::ProtocolError);
        }
        while !self.is_over() {
            let filter = self.text()?;
            if have_options {
                let options = self.byte()?;
                self.options(filter, options)?;
            }
        }
        Ok(())
    }

    fn options(&self, filter: &str, options: u8) -> Result<(), Reason> {
        // [MQTT-3.8.3-4], 5: [MQTT-3.8.3-5]
        let reserved = if self.five { 0b1100_0000 } else { 0b1111_1100 };
        if options & reserved != 0 {
            return Err(Reason::MalformedPacket);
        }
        let (qos, no_local, retain_handling) =
            (options & 3, options & 0b100 != 0, options >> 4 & 3);
        // [MQTT-3.8.3-4], 5: §3.8.3.1
        if qos == 3 || retain_handling == 3 {
            return Err(Reason::ProtocolError);
        }
        // 5: [MQTT-3.8.3-4]
        if no_local && filter.starts_with("$share/") {
            return Err(Reason::ProtocolError);
        }
        Ok(())
    }

    /// The properties of a packet of MQTT 5, or of its will (§2.2.2).
    fn properties(&mut self, place: u8) -> Result<Properties, Reason> {
        let length = self.number()?;
        let begins = self.at;
        self.take(length)?;
        let mut inner = Reader { bytes: self.bytes, at: begins, end: self.at, five: true };
        let mut properties = Properties::default();
        while !inner.is_over() {
            let id = inner.byte()?;
            let found =
                PROPERTIES.iter().find(|(known, _, places)| *known == id && places & place != 0);
            let Some((_, value, _)) = found else { return Err(Reason::MalformedPacket) };
            let at = inner.at;
            inner.value(*value)?;
            if *value == Value::Expiry && inner.bytes.get(at..inner.at) == Some(&[0; 4]) {
                properties.zero_expiry = Some(at);
            }
            if !properties.note(id) {
                return Err(Reason::ProtocolError);
            }
        }
        Ok(properties)
    }

    fn value(&mut self, value: Value) -> Result<(), Reason> {
        let fault = |is_good: bool| if is_good { Ok(()) } else { Err(Reason::ProtocolError) };
        match value {
            Value::YesOrNo => fault(self.byte()? < 2),
            Value::Two => self.two().map(drop),
            Value::TwoNotZero => fault(self.two()? != 0),
            Value::Four | Value::Expiry => self.four().map(drop),
            Value::FourNotZero => fault(self.four()? != 0),
            Value::NumberNotZero => fault(self.number()? != 0),
            Value::Text => self.text().map(drop),
            Value::Pair => {
                self.text()?;
                self.text().map(drop)
            }
            Value::Data => self.data().map(drop),
            // 5: [MQTT-3.3.2-8]
            Value::Alias => match self.two()? {
                0 => Err(Reason::TopicAliasInvalid),
                _ => Ok(()),
            },
            // 5: [MQTT-3.3.2-14], [MQTT-4.7.3-1]
            Value::Topic => {
                let topic = self.text()?;
                fault(!topic.is_empty() && !topic.contains(['+', '#']))
            }
        }
    }
}

/// The flags of a CONNECT.
#[derive(Clone, Copy)]
struct ConnectFlags(u8);

impl ConnectFlags {
    const RESERVED: u8 = 1;
    const WILL: u8 = 1 << 2;
    const WILL_QOS: u8 = 3 << 3;
    const WILL_RETAIN: u8 = 1 << 5;
    const PASSWORD: u8 = 1 << 6;
    const USER: u8 = 1 << 7;

    fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    /// [MQTT-3.1.2-3]; [MQTT-3.1.2-11], [MQTT-3.1.2-13], [MQTT-3.1.2-15] for a will that is none; [MQTT-3.1.2-14] for
    /// QoS 3. MQTT 5 dropped [MQTT-3.1.2-22].
    fn are_good(self, five: bool) -> bool {
        let will_qos = self.0 & Self::WILL_QOS;
        let will_is_good = if self.has(Self::WILL) {
            will_qos != Self::WILL_QOS
        } else {
            !self.has(Self::WILL_QOS | Self::WILL_RETAIN)
        };
        let password_is_good = five || self.has(Self::USER) || !self.has(Self::PASSWORD);
        !self.has(Self::RESERVED) && will_is_good && password_is_good
    }
}

/// Properties of a packet, as far as they matter.
#[derive(Default)]
struct Properties {
    /// A bit for each id; the largest is 42.
    seen: u64,
    zero_expiry: Option<usize>,
}

impl Properties {
    fn has(&self, id: u8) -> bool {
        self.seen & 1 << id != 0
    }

    /// Notes a property; `false` if it was there before and may not be there twice.
    fn note(&mut self, id: u8) -> bool {
        let is_good = id == USER_PROPERTY || !self.has(id);
        self.seen |= 1 << id;
        is_good
    }
}

/// Forms of a property's value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    YesOrNo,
    Two,
    TwoNotZero,
    Four,
    FourNotZero,
    Expiry,
    NumberNotZero,
    Alias,
    Text,
    Topic,
    Pair,
    Data,
}

/// Places at which a client may put properties.
const CONNECT: u8 = 1;
const WILL: u8 = 1 << 1;
const PUBLISH: u8 = 1 << 2;
const ACKNOWLEDGEMENT: u8 = 1 << 3;
const SUBSCRIBE: u8 = 1 << 4;
const UNSUBSCRIBE: u8 = 1 << 5;
const DISCONNECT: u8 = 1 << 6;

const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;
const AUTHENTICATION_METHOD: u8 = 0x15;
const AUTHENTICATION_DATA: u8 = 0x16;
const USER_PROPERTY: u8 = 0x26;

/// Table 2-4 of MQTT 5.0, as far as clients send it. One at another place, or of another id, is malformed (§2.2.2.2).
const PROPERTIES: [(u8, Value, u8); 19] = [
    // Payload Format Indicator, Message Expiry Interval, Content Type, Response Topic, Correlation Data
    (0x01, Value::YesOrNo, PUBLISH | WILL),
    (0x02, Value::Expiry, PUBLISH | WILL),
    (0x03, Value::Text, PUBLISH | WILL),
    (0x08, Value::Topic, PUBLISH | WILL),
    (0x09, Value::Data, PUBLISH | WILL),
    // In a PUBLISH it is a server's, which is another fault.
    (SUBSCRIPTION_IDENTIFIER, Value::NumberNotZero, SUBSCRIBE | PUBLISH),
    // Session Expiry Interval
    (0x11, Value::Four, CONNECT | DISCONNECT),
    (AUTHENTICATION_METHOD, Value::Text, CONNECT),
    (AUTHENTICATION_DATA, Value::Data, CONNECT),
    // Request Problem Information, Will Delay Interval, Request Response Information
    (0x17, Value::YesOrNo, CONNECT),
    (0x18, Value::Four, WILL),
    (0x19, Value::YesOrNo, CONNECT),
    // Server Reference, Reason String
    (0x1c, Value::Text, DISCONNECT),
    (0x1f, Value::Text, ACKNOWLEDGEMENT | DISCONNECT),
    // Receive Maximum, Topic Alias Maximum, Topic Alias
    (0x21, Value::TwoNotZero, CONNECT),
    (0x22, Value::Two, CONNECT),
    (0x23, Value::Alias, PUBLISH),
    (
        USER_PROPERTY,
        Value::Pair,
        CONNECT | WILL | PUBLISH | ACKNOWLEDGEMENT | SUBSCRIBE | UNSUBSCRIBE | DISCONNECT,
    ),
    // Maximum Packet Size
    (0x27, Value::FourNotZero, CONNECT),
];

#[cfg(test)]
mod tests;
