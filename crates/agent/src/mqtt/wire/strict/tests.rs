//! Packets whose fault is known: each property at each place, lengths, and any bytes.

use proptest::prelude::*;

use super::*;

/// A packet of these bytes, with its length.
fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    assert!(body.len() < 128);
    [vec![first, u8::try_from(body.len()).unwrap()], body].concat()
}

fn text(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// Properties with their length.
fn properties(parts: &[&[u8]]) -> Vec<u8> {
    let all = parts.concat();
    [vec![u8::try_from(all.len()).unwrap()], all].concat()
}

fn judged(bytes: &[u8], five: bool) -> Result<Option<usize>, Reason> {
    let body = frame(bytes, five)?.expect("a whole packet");
    judge(bytes, &body, five)
}

/// Judges every property that a client may send, at every place where it may stand, and at every other one.
#[test]
fn each_property_is_taken_where_the_standard_has_it_once_and_with_a_good_value() {
    let value = |value: Value, good: bool| match value {
        Value::YesOrNo => vec![if good { 1 } else { 2 }],
        Value::Two | Value::TwoNotZero | Value::Alias => vec![0, u8::from(good)],
        Value::Four | Value::Expiry | Value::FourNotZero => vec![0, 0, 0, u8::from(good)],
        Value::NumberNotZero => vec![u8::from(good)],
        Value::Text => text(if good { b"t" } else { b"\0" }),
        Value::Topic => text(if good { b"t" } else { b"t/#" }),
        Value::Pair => [text(b"k"), text(if good { b"v" } else { b"\xff" })].concat(),
        Value::Data => text(b"\0\xff"),
    };
    let places = [CONNECT, WILL, PUBLISH, ACKNOWLEDGEMENT, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT];
    let with = |place: u8, properties: &[u8]| match place {
        CONNECT => packet(0x10, &[&text(b"MQTT"), &[5, 2, 0, 9], properties, &text(b"c")]),
        WILL => {
            let head = [&text(b"MQTT")[..], &[5, 6, 0, 9, 0], &text(b"c")].concat();
            packet(0x10, &[&head, properties, &text(b"w"), &text(b"p")])
        }
        PUBLISH => packet(0x32, &[&text(b"t"), &[0, 9], properties, b"payload"]),
        ACKNOWLEDGEMENT => packet(0x40, &[&[0, 9, 0], properties]),
        SUBSCRIBE => packet(0x82, &[&[0, 9], properties, &text(b"t"), &[1]]),
        UNSUBSCRIBE => packet(0xa2, &[&[0, 9], properties, &text(b"t")]),
        _ => packet(0xe0, &[&[0], properties]),
    };
    for place in places {
        assert_eq!(judged(&with(place, &[0]), true), Ok(None), "{place}");
        for id in 0..=u8::MAX {
            let known = PROPERTIES.iter().find(|(known, ..)| *known == id);
            let Some((_, kind, allowed)) = known else {
                let properties = properties(&[&[id], &[0; 8]]);
                let judged = judged(&with(place, &properties), true);
                assert_eq!(judged, Err(Reason::MalformedPacket), "{id:#x}");
                continue;
            };
            let of = |good: bool| [vec![id], value(*kind, good)].concat();
            let once = judged(&with(place, &properties(&[&of(true)])), true);
            let twice = judged(&with(place, &properties(&[&of(true), &of(true)])), true);
            let case = format!("{id:#x} at {place:#b}");
            if allowed & place == 0 {
                assert_eq!(once, Err(Reason::MalformedPacket), "{case}");
                continue;
            }
            let is_alone =
                id == AUTHENTICATION_DATA || (place, id) == (PUBLISH, SUBSCRIPTION_IDENTIFIER);
            let good = if is_alone { Err(Reason::ProtocolError) } else { Ok(None) };
            assert_eq!(once, good, "{case}");
            let good = if id == USER_PROPERTY { Ok(None) } else { Err(Reason::ProtocolError) };
            assert_eq!(twice, good, "{case} twice");
            let has_bad = !matches!(kind, Value::Two | Value::Four | Value::Expiry | Value::Data);
            let bad = judged(&with(place, &properties(&[&of(false)])), true);
            assert_eq!(bad.is_err(), has_bad || is_alone, "{case} with a bad value");
            let cut = properties(&[&of(true)[..of(true).len() - 1]]);
            assert_eq!(
                judged(&with(place, &cut), true),
                Err(Reason::MalformedPacket),
                "{case}, cut"
            );
        }
    }
}

#[test]
fn an_expiry_of_0_is_found_behind_whatever_stands_before_it() {
    for first in [0x30, 0x32, 0x3d] {
        let id: &[u8] = if first & 6 == 0 { &[] } else { &[0, 9] };
        for before in [&[][..], &[0x01, 1], &[0x23, 0, 7], &[0x26, 0, 1, 2, 0, 1, 2]] {
            let with = |seconds: u8| {
                let properties = properties(&[before, &[2, 0, 0, 0, seconds], &[0x26, 0, 0, 0, 0]]);
                packet(first, &[&text(b"t"), id, &properties, &[2, 0, 0, 0, 0]])
            };
            let at = judged(&with(0), true).unwrap().unwrap();
            let mut lifted = with(0);
            lifted[at + 3] = 1;
            assert_eq!(lifted, with(1));
            assert_eq!(judged(&lifted, true), Ok(None));
        }
    }
}

#[test]
fn a_length_is_read_as_far_as_it_has_come() {
    for (bytes, five, found) in [
        (&[][..], true, Ok(None)),
        (&[0x30], true, Ok(None)),
        (&[0x30, 0x80], true, Ok(None)),
        (&[0x30, 0xff, 0xff, 0xff], true, Ok(None)),
        (&[0x30, 0xff, 0xff, 0xff, 0xff], true, Err(Reason::MalformedPacket)),
        (&[0x30, 0xff, 0xff, 0xff, 0x7f], true, Err(Reason::PacketTooLarge)),
        (&[0x30, 0x81, 0x80, 0x01], true, Err(Reason::PacketTooLarge)),
        (&[0x30, 2, 7], true, Ok(None)),
        (&[0x30, 2, 7, 7, 7], true, Ok(Some(2..4))),
        // Longer than it need be: MQTT 5 alone forbids it.
        (&[0x30, 0x82, 0, 7, 7], true, Err(Reason::MalformedPacket)),
        (&[0x30, 0x82, 0, 7, 7], false, Ok(Some(3..5))),
    ] {
        assert_eq!(frame(bytes, five), found, "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_are_too_odd_to_be_judged(
        bytes in proptest::collection::vec(any::<u8>(), 0..64), five: bool,
    ) {
        if let Ok(Some(body)) = frame(&bytes, five) {
            prop_assert!(body.end <= bytes.len());
            if let Ok(Some(at)) = judge(&bytes, &body, five) {
                prop_assert_eq!(bytes.get(at..at + 4), Some(&[0; 4][..]));
            }
        }
    }
}
