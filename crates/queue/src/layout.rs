//! The place of a message's row: in this program's format, or in the released format that it takes
//! over.
//!
//! The released format (version 3) keeps rows in the order of their append and finds the next of a
//! lane by an index. The current format keeps each bucket's rows together, so that neither that
//! index nor an index of ids has to be written. The row's key is the bucket and the place in the
//! order, and an id holds its place too ([`MessageId::seq`](crate::MessageId)).

use crate::order::{BucketId, SEQ_BITS, SEQ_MASK, Seq};

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Version 3, as commit 5568f2d and others wrote it.
    Released,
    /// Version 4.
    Current,
}

impl Layout {
    /// Returns the column that is the key of a message's row.
    pub(crate) fn key_column(self) -> &'static str {
        match self {
            Self::Released => "seq",
            Self::Current => "place",
        }
    }

    /// Returns the key of a message's row.
    pub(crate) fn key(self, bucket: BucketId, seq: Seq) -> i64 {
        match self {
            Self::Released => seq,
            Self::Current => (bucket.0 << SEQ_BITS) | (seq & SEQ_MASK),
        }
    }

    /// Returns the condition and order for a bucket's messages after a place; [`Self::after`] gives
    /// its two values.
    pub(crate) fn in_order(self) -> &'static str {
        match self {
            Self::Released => "bucket = ?1 and seq > ?2 order by seq",
            Self::Current => "place <= ?1 and place > ?2 order by place",
        }
    }

    /// Returns the values for [`Self::in_order`].
    pub(crate) fn after(self, bucket: BucketId, seq: Seq) -> (i64, i64) {
        match self {
            Self::Released => (bucket.0, seq),
            Self::Current => (self.key(bucket, SEQ_MASK), self.key(bucket, seq)),
        }
    }

    /// Returns the size of a page of the file, in bytes.
    pub(crate) fn page(self) -> usize {
        match self {
            Self::Released => 2048,
            Self::Current => 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::MAX_BUCKET;

    #[test]
    fn keys_of_a_bucket_lie_together_in_order() {
        let key = |bucket, seq| Layout::Current.key(BucketId(bucket), seq);
        assert!(key(1, SEQ_MASK) < key(2, 0) && key(7, 1) < key(7, 2));
        assert!(key(MAX_BUCKET, SEQ_MASK) > 0);
        let (end, start) = Layout::Current.after(BucketId(3), 5);
        assert!(start < key(3, 6) && key(3, 6) <= end && end < key(4, 0) && start == key(3, 5));
    }
}
