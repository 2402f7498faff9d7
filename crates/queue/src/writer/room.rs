//! Room for new messages when the queue is full.

use super::{Draft, SWEEP, Writer};
use crate::{config::WhenFull, message::MAX_PRIORITY, row::Located, tally::Amount, trace::Reason};

/// The decision about a new message.
pub(super) enum Admission {
    Store,
    GiveUpNew,
    Refuse,
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
    ) -> rusqlite::Result<Admission> {
        match self.bounds.when_full() {
            WhenFull::DropOldest => {
                self.evict_for(Amount::copies(lanes, size), priority, now, draft)
            }
            policy => {
                let held = |lane: &str| self.contents.tally().lane(lane);
                Ok(
                    match (
                        self.bounds.fits(lanes, size, self.contents.tally().total(), held),
                        policy,
                    ) {
                        (true, _) => Admission::Store,
                        (false, WhenFull::DropNewest) => Admission::GiveUpNew,
                        (false, _) => Admission::Refuse,
                    },
                )
            }
        }
    }

    /// Makes room for this much by dropping the oldest, up to this priority.
    fn evict_for(
        &mut self,
        new: Amount,
        priority: u8,
        now: i64,
        draft: &mut Draft,
    ) -> rusqlite::Result<Admission> {
        let missing = self.bounds.excess(self.contents.tally().total(), new);
        if missing == Amount::default() {
            return Ok(Admission::Store);
        }
        // Nothing is evicted in vain: first check whether it can be enough.
        let enough =
            |free: Amount| free.bytes >= missing.bytes && free.messages >= missing.messages;
        if !enough(self.evictable(priority)) {
            let all = enough(self.evictable(MAX_PRIORITY));
            return Ok(if all { Admission::GiveUpNew } else { Admission::Refuse });
        }
        let mut freed = Amount::default();
        let mut steps = 0;
        // A bound that was made smaller is met in steps, or one append would wait for a million
        // others. Until then a new message replaces at least its own amount.
        let has_made = |freed: Amount| freed.bytes >= new.bytes && freed.messages >= new.messages;
        let is_full = |writer: &Self| {
            writer.bounds.excess(writer.contents.tally().total(), new) != Amount::default()
        };
        while is_full(self) && (steps < SWEEP || !has_made(freed)) {
            let Some(victim) = self.victim(priority)? else { return Ok(Admission::Refuse) };
            self.remove(victim, draft)?;
            self.drop_message(&victim, Reason::Full, now, draft)?;
            freed.add(victim.size);
            steps += 1;
        }
        Ok(Admission::Store)
    }

    /// Returns the unleased amount up to this priority.
    fn evictable(&self, priority: u8) -> Amount {
        let mut free = Amount::default();
        for bucket in
            (0..=priority).flat_map(|priority| self.contents.tally().of_priority(priority))
        {
            let leased = self.contents.leases().leased_of(bucket.id);
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
            for bucket in self.contents.tally().of_priority(priority) {
                let Some(candidate) = self.contents.first_free(bucket.id, &self.store)? else {
                    continue;
                };
                keep_first(&mut first, candidate);
                if self.bounds.is_over(self.contents.tally().lane(&bucket.lane)) {
                    keep_first(&mut first_over, candidate);
                }
            }
            if let Some(victim) = first_over.or(first) {
                return Ok(Some(victim));
            }
        }
        Ok(None)
    }
}

fn keep_first(first: &mut Option<Located>, candidate: Located) {
    if first.is_none_or(|first| candidate.seq < first.seq) {
        *first = Some(candidate);
    }
}
