//! Who gives way when the queue is full.

use super::{Draft, Writer};
use crate::{
    message::MAX_PRIORITY,
    queue::WhenFull,
    store::Located,
    tally::{Amount, BucketId},
    trace::Reason,
};

/// Whether a new message fits.
pub(super) enum Room {
    Made,
    GiveUpNew,
    None,
}

impl Writer {
    /// Sees to it that `size` more bytes fit, by the policy.
    pub(super) fn make_room(
        &mut self,
        size: u64,
        priority: u8,
        now: i64,
        draft: &mut Draft,
    ) -> rusqlite::Result<Room> {
        let missing = self.missing(size);
        if missing == Amount::default() {
            return Ok(Room::Made);
        }
        match self.when_full {
            WhenFull::Reject => return Ok(Room::None),
            WhenFull::DropNewest => return Ok(Room::GiveUpNew),
            WhenFull::DropOldest => {}
        }
        // Nothing is evicted in vain: first see whether it can be enough.
        let enough =
            |free: Amount| free.bytes >= missing.bytes && free.messages >= missing.messages;
        if !enough(self.evictable(priority)) {
            return Ok(if enough(self.evictable(MAX_PRIORITY)) {
                Room::GiveUpNew
            } else {
                Room::None
            });
        }
        while self.missing(size) != Amount::default() {
            let Some(victim) = self.victim(priority)? else { return Ok(Room::None) };
            self.remove(victim, draft)?;
            draft.drop(victim, Reason::Full, now);
        }
        Ok(Room::Made)
    }

    /// By how much the bounds are exceeded once a message of `size` bytes is in.
    fn missing(&self, size: u64) -> Amount {
        let held = self.tally.total();
        let most = self.bounds.messages.unwrap_or(u64::MAX);
        Amount {
            messages: held.messages.saturating_add(1).saturating_sub(most),
            bytes: held.bytes.saturating_add(size).saturating_sub(self.bounds.bytes),
        }
    }

    /// What nobody has leased, up to this priority.
    fn evictable(&self, priority: u8) -> Amount {
        let mut free = Amount::default();
        for bucket in (0..=priority).flat_map(|priority| self.tally.of_priority(priority)) {
            let leased = self.places.leased_of(bucket.id);
            let messages = bucket.held.messages.saturating_sub(leased.messages);
            free.messages = free.messages.saturating_add(messages);
            free.bytes = free.bytes.saturating_add(bucket.held.bytes.saturating_sub(leased.bytes));
        }
        free
    }

    /// The message to evict next: of the lowest priority that has one, the first in order.
    fn victim(&self, up_to: u8) -> rusqlite::Result<Option<Located>> {
        for priority in 0..=up_to {
            let mut first: Option<Located> = None;
            for bucket in self.tally.of_priority(priority) {
                let candidate = self.first_free(bucket.id)?;
                if candidate.is_some_and(|c| first.is_none_or(|first| c.seq < first.seq)) {
                    first = candidate;
                }
            }
            if first.is_some() {
                return Ok(first);
            }
        }
        Ok(None)
    }

    /// The first message of a bucket that nobody has leased.
    fn first_free(&self, bucket: BucketId) -> rusqlite::Result<Option<Located>> {
        match self.places.first_returned(bucket) {
            Some(seq) => self.store.locate(seq),
            None => self.store.first_after(bucket, self.places.cursor(bucket)),
        }
    }
}
