//! Room for new messages when the queue is full.

use super::{Draft, SWEEP, Writer};
use crate::{
    config::WhenFull, message::MAX_PRIORITY, order::BucketId, row::Located, tally::Amount,
    trace::Reason,
};

/// The result of making room for a new message.
pub(super) enum Room {
    Made,
    GiveUpNew,
    None,
}

impl Writer {
    /// Makes room for a message of `size` bytes in each of `lanes`, by the policy.
    pub(super) fn make_room(
        &mut self,
        lanes: &[String],
        size: u64,
        priority: u8,
        now: i64,
        draft: &mut Draft,
    ) -> rusqlite::Result<Room> {
        match self.when_full {
            WhenFull::DropOldest => {}
            policy => {
                let fits = lanes.iter().all(|lane| self.is_room_in(lane, size, lanes.len()));
                return Ok(match (fits, policy) {
                    (true, _) => Room::Made,
                    (false, WhenFull::DropNewest) => Room::GiveUpNew,
                    (false, _) => Room::None,
                });
            }
        }
        let copies = u64::try_from(lanes.len()).unwrap_or(u64::MAX);
        let new = Amount { messages: copies, bytes: size.saturating_mul(copies) };
        let missing = self.missing(new);
        if missing == Amount::default() {
            return Ok(Room::Made);
        }
        // Nothing is evicted in vain: first check whether it can be enough.
        let enough =
            |free: Amount| free.bytes >= missing.bytes && free.messages >= missing.messages;
        if !enough(self.evictable(priority)) {
            let all = enough(self.evictable(MAX_PRIORITY));
            return Ok(if all { Room::GiveUpNew } else { Room::None });
        }
        let mut freed = Amount::default();
        let mut steps = 0;
        // A bound that was made smaller is met in steps, or one append would wait for a million
        // others. Until then a new message replaces at least its own amount.
        let has_made = |freed: Amount| freed.bytes >= new.bytes && freed.messages >= new.messages;
        while self.missing(new) != Amount::default() && (steps < SWEEP || !has_made(freed)) {
            let Some(victim) = self.victim(priority)? else { return Ok(Room::None) };
            self.remove(victim, draft)?;
            self.drop_message(&victim, Reason::Full, now, draft)?;
            freed.add(victim.size);
            steps += 1;
        }
        Ok(Room::Made)
    }

    fn is_room_in(&self, lane: &str, size: u64, copies: usize) -> bool {
        let copies = u64::try_from(copies).unwrap_or(u64::MAX);
        let one = Amount { messages: 1, bytes: size };
        let all = Amount { messages: copies, bytes: size.saturating_mul(copies) };
        let held = |lane: &str| self.tally.lane(lane);
        let missing = self.shares.missing(lane, one, all, self.tally.total(), held);
        missing == Amount::default()
    }

    /// Returns the excess over the bounds with this much more.
    fn missing(&self, new: Amount) -> Amount {
        let held = self.tally.total();
        let over = |held: u64, new: u64, most| held.saturating_add(new).saturating_sub(most);
        Amount {
            messages: over(held.messages, new.messages, self.shares.messages),
            bytes: over(held.bytes, new.bytes, self.shares.bytes),
        }
    }

    /// Returns the unleased amount up to this priority.
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

    /// Returns the message to evict next: of the lowest priority with a candidate, the first in
    /// order of the lanes that hold more than their share; if there are none, of all lanes.
    fn victim(&self, up_to: u8) -> rusqlite::Result<Option<Located>> {
        for priority in 0..=up_to {
            let (mut first, mut first_over) = (None, None);
            for bucket in self.tally.of_priority(priority) {
                let Some(candidate) = self.first_free(bucket.id)? else { continue };
                keep_first(&mut first, candidate);
                if self.shares.is_over(self.tally.lane(&bucket.lane)) {
                    keep_first(&mut first_over, candidate);
                }
            }
            if let Some(victim) = first_over.or(first) {
                return Ok(Some(victim));
            }
        }
        Ok(None)
    }

    /// Returns the first unleased message of a bucket.
    fn first_free(&self, bucket: BucketId) -> rusqlite::Result<Option<Located>> {
        // A message that was left behind may be anywhere.
        let mut after = 0;
        if !self.places.has_left_behind(bucket) {
            if let Some(seq) = self.places.first_returned(bucket) {
                return self.store.locate(bucket, seq);
            }
            after = self.places.cursor(bucket);
        }
        // Since the cursor was set back, leased messages may follow it.
        while let Some(at) = self.store.first_after(bucket, after)? {
            if !self.places.is_leased(at.id) {
                return Ok(Some(at));
            }
            after = at.seq;
        }
        Ok(None)
    }
}

fn keep_first(first: &mut Option<Located>, candidate: Located) {
    if first.is_none_or(|first| candidate.seq < first.seq) {
        *first = Some(candidate);
    }
}
