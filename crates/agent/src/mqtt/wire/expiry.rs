//! A Message Expiry Interval of 0, which MQTT 5.0 (§3.3.2.3.3) allows and the codec takes for a fault.

/// PUBLISH in the upper half of the first byte (§2.1.2).
const PUBLISH: u8 = 3;

/// The identifier of the property (§2.2.2.2).
const MESSAGE_EXPIRY_INTERVAL: u8 = 2;

/// Writes 1 for an interval of 0 if the first packet is a whole PUBLISH with one, and reports that.
/// Anything else, and what is malformed, stays as it is.
pub(super) fn lift_zero(inbound: &mut [u8]) -> bool {
    let Some(seconds) = interval(inbound).filter(|seconds| **seconds == [0; 4]) else {
        return false;
    };
    *seconds = [0, 0, 0, 1];
    true
}

/// The interval of the first packet.
fn interval(inbound: &mut [u8]) -> Option<&mut [u8; 4]> {
    let (first, rest) = inbound.split_first_mut()?;
    if *first >> 4 != PUBLISH {
        return None;
    }
    let has_id = *first & 0b110 != 0;
    let (length, rest) = number(rest)?;
    let packet = rest.get_mut(..length)?;
    let rest = after_text(packet)?;
    let rest = rest.get_mut(if has_id { 2 } else { 0 }..)?;
    let (length, rest) = number(rest)?;
    let mut properties = rest.get_mut(..length)?;
    loop {
        let (property, rest) = properties.split_first_mut()?;
        properties = match *property {
            MESSAGE_EXPIRY_INTERVAL => return rest.first_chunk_mut(),
            // Payload Format Indicator, Topic Alias.
            0x01 => rest.get_mut(1..)?,
            0x23 => rest.get_mut(2..)?,
            // Content Type, Response Topic, Correlation Data.
            0x03 | 0x08 | 0x09 => after_text(rest)?,
            // User Property, Subscription Identifier.
            0x26 => after_text(after_text(rest)?)?,
            0x0b => number(rest)?.1,
            _ => return None,
        };
    }
}

/// A Variable Byte Integer (§1.5.5), and what follows it.
fn number(mut bytes: &mut [u8]) -> Option<(usize, &mut [u8])> {
    let mut value = 0;
    for shift in [0, 7, 14, 21] {
        let (digit, rest) = bytes.split_first_mut()?;
        value |= usize::from(*digit & 0x7f) << shift;
        bytes = rest;
        if *digit & 0x80 == 0 {
            return Some((value, bytes));
        }
    }
    None
}

/// Returns what follows a string, or binary data (§1.5.4, §1.5.6).
fn after_text(bytes: &mut [u8]) -> Option<&mut [u8]> {
    let (length, rest) = bytes.split_first_chunk_mut()?;
    rest.get_mut(usize::from(u16::from_be_bytes(*length))..)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PUBLISH to `t` with these properties and the payload `p`.
    fn publish(first: u8, properties: &[u8]) -> Vec<u8> {
        let mut body = vec![0, 1, b't'];
        if first & 0b110 != 0 {
            body.extend([0, 9]);
        }
        body.push(u8::try_from(properties.len()).unwrap());
        body.extend_from_slice(properties);
        body.push(b'p');
        [vec![first, u8::try_from(body.len()).unwrap()], body].concat()
    }

    #[test]
    fn only_an_interval_of_0_is_lifted() {
        let before = [
            &[][..],
            &[0x01, 1],
            &[0x23, 0, 7],
            &[0x26, 0, 1, 2, 0, 1, 2],
            &[0x09, 0, 5, 2, 0, 0, 0, 0],
            &[0x0b, 0x80, 1],
        ];
        for first in [0x30, 0x32, 0x3d] {
            for before in before {
                let with = |seconds: u8| publish(first, &[before, &[2, 0, 0, 0, seconds]].concat());
                let mut packet = with(0);
                assert!(lift_zero(&mut packet), "{packet:?}");
                assert_eq!(packet, with(1));
                assert!(!lift_zero(&mut packet), "it is 1 now");
                let mut other = publish(first, before);
                assert!(!lift_zero(&mut other) && other == publish(first, before));
            }
        }
    }

    #[test]
    fn what_is_cut_or_malformed_stays_as_it_is() {
        let whole = publish(0x32, &[0x26, 0, 1, 2, 0, 1, 2, 2, 0, 0, 0, 0]);
        let mut bad: Vec<Vec<u8>> = (0..whole.len()).map(|end| whole[..end].to_vec()).collect();
        bad.push(publish(0x32, &[0x7f, 2, 0, 0, 0, 0]));
        bad.push(publish(0x32, &[2, 0, 0]));
        bad.push([vec![0x10], whole[1..].to_vec()].concat());
        bad.push(vec![0x30, 0xff, 0xff, 0xff, 0xff, 1]);
        for bytes in bad {
            let mut same = bytes.clone();
            assert!(!lift_zero(&mut same), "{bytes:?}");
            assert_eq!(same, bytes);
        }
    }
}
