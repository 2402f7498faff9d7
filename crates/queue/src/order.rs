//! The order of messages: a place in it, the buckets, and the largest number of both.

/// A message's place in the order: the row's key.
pub(crate) type Seq = i64;

/// A bucket's row id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BucketId(pub(crate) i64);

/// Bits of a place in the order: 17 million million messages.
pub(crate) const SEQ_BITS: u32 = 44;

/// The bits of a key that are the place in the order.
pub(crate) const SEQ_MASK: i64 = (1 << SEQ_BITS) - 1;

/// The most buckets that keys have room for.
pub(crate) const MAX_BUCKET: i64 = (1 << (62 - SEQ_BITS)) - 1;

/// The numbering of new messages.
///
/// No place in the order is given twice, not even in another file after a salvage. A failed
/// transaction leaves a gap, which is harmless.
#[derive(Debug)]
pub(crate) struct Numbering {
    next: Seq,
}

impl Numbering {
    /// Continues after the last place that was ever taken.
    pub(crate) fn after(last: Seq) -> Self {
        Self { next: last.saturating_add(1).max(1) }
    }

    /// Returns the next place.
    pub(crate) fn take(&mut self) -> Seq {
        let seq = self.next;
        self.next = seq.saturating_add(1);
        seq
    }

    /// Goes on after this place as well, which another file holds.
    pub(crate) fn pass(&mut self, last: Seq) {
        self.next = self.next.max(last.saturating_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_place_is_given_twice() {
        let mut numbering = Numbering::after(-4_000_000_000);
        assert_eq!((numbering.take(), numbering.take()), (1, 2), "places are positive");
        numbering.pass(1);
        assert_eq!(numbering.take(), 3, "another file holds less");
        numbering.pass(7);
        assert_eq!(numbering.take(), 8, "or more");
    }
}
