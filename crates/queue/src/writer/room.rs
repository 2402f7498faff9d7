//! Who gives way when the queue is full.

use super::{Draft, Writer};
use crate::{message::MAX_PRIORITY, queue::WhenFull, store::Located, tally::BucketId};

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
        draft: &mut Draft,
    ) -> rusqlite::Result<Room> {
        let wanted = self.tally.total().bytes.saturating_add(size);
        let Some(missing) = wanted.checked_sub(self.max_bytes).filter(|missing| *missing > 0)
        else {
            return Ok(Room::Made);
        };
        match self.when_full {
            WhenFull::Reject => return Ok(Room::None),
            WhenFull::DropNewest => return Ok(Room::GiveUpNew),
            WhenFull::DropOldest => {}
        }
        // Nothing is evicted in vain: first see whether it can be enough.
        if self.evictable(priority) < missing {
            return Ok(if self.evictable(MAX_PRIORITY) < missing {
                Room::None
            } else {
                Room::GiveUpNew
            });
        }
        while self.tally.total().bytes.saturating_add(size) > self.max_bytes {
            let Some(victim) = self.victim(priority)? else { return Ok(Room::None) };
            self.remove(victim, draft)?;
            draft.dropped.full = draft.dropped.full.saturating_add(1);
        }
        Ok(Room::Made)
    }

    /// Bytes that nobody has leased, up to this priority.
    fn evictable(&self, priority: u8) -> u64 {
        (0..=priority)
            .flat_map(|priority| self.tally.of_priority(priority))
            .map(|bucket| bucket.held.bytes.saturating_sub(self.places.leased_of(bucket.id).bytes))
            .fold(0, u64::saturating_add)
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
