//! The parts of inputs: marks between parts, texts that grow, and bytes one after the other.

/// The mark on both sides of a part that is repeated.
const REPEAT: u8 = 0x01;

/// The placeholder for the number of earlier repetitions, so that keys may differ.
const NUMBER: u8 = 0x02;

/// A text whose middle part may be repeated any number of times. The inputs that libFuzzer tries
/// are too small to show a cost that grows with the square.
pub(crate) struct Growing<'a> {
    before: &'a [u8],
    unit: &'a [u8],
    after: &'a [u8],
}

impl<'a> Growing<'a> {
    /// Splits an input at its marks; `None` if it has no marked part.
    pub(crate) fn of(input: &'a [u8]) -> Option<Self> {
        let mut parts = input.splitn(3, |byte| *byte == REPEAT);
        let (before, unit, after) = (parts.next()?, parts.next()?, parts.next()?);
        (!unit.is_empty()).then_some(Self { before, unit, after })
    }

    /// Returns the text with so many repetitions that it has about `size` bytes.
    pub(crate) fn to(&self, size: usize) -> Vec<u8> {
        let mut text = self.before.to_vec();
        let mut number = 0_u32;
        while text.len() + self.after.len() < size {
            for byte in self.unit {
                match *byte {
                    NUMBER => text.extend(number.to_string().bytes()),
                    byte => text.push(byte),
                }
            }
            number += 1;
        }
        text.extend(self.after);
        text
    }
}

/// Bytes one after the other; zeros once they are used up.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    /// Reports whether no byte is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the next byte.
    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    /// Returns the next three bytes as a number.
    pub(crate) fn number(&mut self) -> usize {
        self.take(3).iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
    }

    /// Returns the next `count` bytes, or fewer at the end.
    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marked_part_grows() {
        let text = Growing::of(b"a: [\x01k\x02,\x01]").unwrap().to(16);
        assert_eq!(text, b"a: [k0,k1,k2,k3,]");
        assert!(Growing::of(b"a: \x01b").is_none() && Growing::of(b"a\x01\x01b").is_none());
    }

    #[test]
    fn bytes_end_with_zeros() {
        let mut bytes = Bytes(&[1, 0, 2, 3]);
        assert_eq!((bytes.byte(), bytes.number(), bytes.byte()), (1, 515, 0));
        assert!(bytes.is_empty());
    }
}
