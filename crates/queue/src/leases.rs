//! The leases in memory: leased messages, and the place at which each bucket continues.
//!
//! A bucket's *cursor* divides its order. Every message up to it is leased, *returned* (released, or
//! expired when its turn came) or *passed over*; none after it is returned or passed over. So the
//! next message is the first returned one, or otherwise the first unleased row after the cursor. A
//! message that was passed over is found again once the cursor is set back. Only then, or in another
//! file, leased messages may follow the cursor; otherwise they are never walked over.

use std::collections::{BTreeMap, HashMap};

use crate::{
    message::MessageId,
    order::{BucketId, Seq},
    row::Located,
    tally::Amount,
};

/// A leased message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leased {
    pub(crate) at: Located,
    pub(crate) attempts: u32,
}

/// An unleased message up to the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Returned {
    pub(crate) attempts: u32,
    pub(crate) expires_at: Option<i64>,
}

/// One bucket's leases.
#[derive(Debug, Default)]
struct BucketLeases {
    cursor: Seq,
    returned: BTreeMap<Seq, Returned>,
    leased: Amount,
    /// True if some messages up to the cursor are neither leased nor returned: the consumer could
    /// not use them.
    passed_over: bool,
}

/// The reverse of a change of [`Leases`], for a failed transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Undo {
    /// Lease it again.
    Lease(Leased),
    /// Return it again.
    Return(BucketId, Seq, Returned),
}

/// All leases.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    leased: HashMap<MessageId, Leased>,
    buckets: HashMap<BucketId, BucketLeases>,
}

impl Leases {
    /// Returns the number of leased messages.
    pub(crate) fn leased(&self) -> u64 {
        u64::try_from(self.leased.len()).unwrap_or(u64::MAX)
    }

    /// Returns the leased amount of a bucket.
    pub(crate) fn leased_of(&self, bucket: BucketId) -> Amount {
        self.buckets.get(&bucket).map_or_else(Amount::default, |it| it.leased)
    }

    /// Returns the place of a leased message.
    pub(crate) fn located(&self, id: MessageId) -> Option<Located> {
        self.leased.get(&id).map(|leased| leased.at)
    }

    /// Reports whether a message is leased.
    pub(crate) fn is_leased(&self, id: MessageId) -> bool {
        self.leased.contains_key(&id)
    }

    /// Returns the place after which rows were never handed out.
    pub(crate) fn cursor(&self, bucket: BucketId) -> Seq {
        self.buckets.get(&bucket).map_or(0, |it| it.cursor)
    }

    /// Returns the first returned message of a bucket.
    pub(crate) fn first_returned(&self, bucket: BucketId) -> Option<Seq> {
        self.buckets.get(&bucket)?.returned.first_key_value().map(|(seq, _)| *seq)
    }

    /// Returns the returned messages of a bucket in order, at most `most`.
    pub(crate) fn returned(&self, bucket: BucketId, most: usize) -> Vec<(Seq, Returned)> {
        let Some(bucket) = self.buckets.get(&bucket) else { return Vec::new() };
        bucket.returned.iter().take(most).map(|(seq, returned)| (*seq, *returned)).collect()
    }

    /// Leases this message: the first returned one, or the first row after the cursor. Returns the
    /// number of its leases, this lease included.
    pub(crate) fn lease(&mut self, at: Located) -> u32 {
        let bucket = self.buckets.entry(at.bucket).or_default();
        let earlier = bucket.returned.remove(&at.seq).map_or(0, |returned| returned.attempts);
        let attempts = earlier.saturating_add(1);
        bucket.cursor = bucket.cursor.max(at.seq);
        bucket.leased.add(at.size);
        self.leased.insert(at.id, Leased { at, attempts });
        attempts
    }

    /// Returns the first row after the cursor without a lease, since it has expired or is torn: it
    /// waits among the returned.
    pub(crate) fn return_unleased(&mut self, at: Located) {
        let bucket = self.buckets.entry(at.bucket).or_default();
        bucket.cursor = bucket.cursor.max(at.seq);
        bucket.returned.insert(at.seq, Returned { attempts: 0, expires_at: at.expires_at });
    }

    /// Ends a lease; the message is in its old place again. `None` if it was not leased.
    pub(crate) fn release(&mut self, id: MessageId) -> Option<Leased> {
        let leased = self.end_lease(id)?;
        let returned = Returned { attempts: leased.attempts, expires_at: leased.at.expires_at };
        self.buckets.entry(leased.at.bucket).or_default().returned.insert(leased.at.seq, returned);
        Some(leased)
    }

    /// Ends a lease; the message is not found before [`Self::look_again`]. Returns false if it was
    /// not leased.
    pub(crate) fn pass_over(&mut self, id: MessageId) -> bool {
        let Some(leased) = self.end_lease(id) else { return false };
        self.buckets.entry(leased.at.bucket).or_default().passed_over = true;
        true
    }

    /// Sets a bucket's cursor back, if a message was passed over there.
    pub(crate) fn look_again(&mut self, bucket: BucketId) -> bool {
        let Some(bucket) = self.buckets.get_mut(&bucket).filter(|it| it.passed_over) else {
            return false;
        };
        bucket.cursor = 0;
        bucket.returned.clear();
        bucket.passed_over = false;
        true
    }

    /// Reports whether a message was passed over in a bucket.
    pub(crate) fn has_passed_over(&self, bucket: BucketId) -> bool {
        self.buckets.get(&bucket).is_some_and(|it| it.passed_over)
    }

    /// Forgets a message that leaves its bucket, leased or not; returns the reverse of that.
    pub(crate) fn forget(&mut self, at: Located) -> Option<Undo> {
        if let Some(leased) = self.end_lease(at.id) {
            return Some(Undo::Lease(leased));
        }
        let returned = self.buckets.get_mut(&at.bucket)?.returned.remove(&at.seq)?;
        Some(Undo::Return(at.bucket, at.seq, returned))
    }

    /// Adds a message that moved here from another bucket. Up to the cursor it must be returned, or
    /// it would never be found.
    pub(crate) fn arrive(&mut self, at: Located) {
        let bucket = self.buckets.entry(at.bucket).or_default();
        if at.seq <= bucket.cursor {
            bucket.returned.insert(at.seq, Returned { attempts: 0, expires_at: at.expires_at });
        }
    }

    /// Reverses the changes of a failed transaction, given in their order.
    pub(crate) fn undo(&mut self, changes: Vec<Undo>) {
        for change in changes.into_iter().rev() {
            match change {
                Undo::Lease(leased) => {
                    self.buckets.entry(leased.at.bucket).or_default().leased.add(leased.at.size);
                    self.leased.insert(leased.at.id, leased);
                }
                Undo::Return(bucket, seq, returned) => {
                    self.buckets.entry(bucket).or_default().returned.insert(seq, returned);
                }
            }
        }
    }

    /// Looks for the leased messages in another file: leases on those that are there go on, in
    /// their present buckets. Each bucket restarts from its first message.
    pub(crate) fn relocate(&mut self, mut find: impl FnMut(MessageId) -> Option<Located>) {
        self.buckets.clear();
        for (id, leased) in std::mem::take(&mut self.leased) {
            if let Some(at) = find(id) {
                self.buckets.entry(at.bucket).or_default().leased.add(at.size);
                self.leased.insert(id, Leased { at, ..leased });
            }
        }
    }

    fn end_lease(&mut self, id: MessageId) -> Option<Leased> {
        let leased = self.leased.remove(&id)?;
        self.buckets.entry(leased.at.bucket).or_default().leased.take(leased.at.size);
        Some(leased)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seq: Seq) -> Located {
        let (bucket, id) = (BucketId(1), MessageId::fresh());
        Located { seq, bucket, id, size: 10, qos: 1, expires_at: Some(seq) }
    }

    #[test]
    fn what_is_passed_over_is_found_again() {
        // If the clock is set back before the sweep, the message has not expired after all.
        let mut leases = Leases::default();
        let (over, next) = (at(5), at(6));
        leases.return_unleased(over);
        leases.lease(next);
        assert_eq!(leases.cursor(BucketId(1)), 6);
        assert_eq!(leases.first_returned(BucketId(1)), Some(5));
        assert_eq!(leases.lease(over), 1);
        assert_eq!(leases.first_returned(BucketId(1)), None);
        assert_eq!(leases.leased_of(BucketId(1)), Amount { messages: 2, bytes: 20 });
    }

    #[test]
    fn an_arrival_is_returned_only_up_to_the_cursor() {
        let mut leases = Leases::default();
        leases.lease(at(5));
        leases.arrive(at(3));
        leases.arrive(at(7));
        let found = leases.returned(BucketId(1), 9);
        assert_eq!(found.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn undo_puts_everything_back() {
        let mut leases = Leases::default();
        let (held, back) = (at(1), at(2));
        leases.lease(held);
        leases.lease(back);
        leases.release(back.id);
        let undo = [held, back].into_iter().filter_map(|at| leases.forget(at)).collect();
        assert_eq!((leases.leased(), leases.first_returned(BucketId(1))), (0, None));
        leases.undo(undo);
        assert_eq!((leases.leased(), leases.first_returned(BucketId(1))), (1, Some(2)));
        assert_eq!(leases.lease(back), 2, "and how often it was tried");
    }
}
