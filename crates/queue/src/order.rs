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
