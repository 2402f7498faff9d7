//! The choice of messages for a lease.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{MAX_LEASES, Writer};
use crate::{
    clock::Clock,
    error::StoreError,
    intake::{Change, Handout, Write},
    leases::Leases,
    message::{ASIDE, Lease, MAX_PRIORITY, MessageId, Wanted},
    order::BucketId,
    row::{DAMAGED, Stored, TORN},
    store::Store,
};

impl Writer {
    /// Hands out messages. If the store fails half way, no message is handed out.
    pub(super) fn lease(&mut self, wanted: &Wanted, now: i64) -> Result<Handout, StoreError> {
        if wanted.lane == ASIDE {
            return Ok(Handout::new(Vec::new(), self.board.intake()));
        }
        let lane: Arc<str> = Arc::from(&*wanted.lane);
        let limit = wanted.limit.min(MAX_LEASES);
        let mut taking = Taking {
            lane: &lane,
            limit,
            now,
            clock: &self.clock,
            taken: Vec::new(),
            torn: Vec::new(),
        };
        let (tally, leases) = self.contents.lease_from();
        for priority in (wanted.floor..=MAX_PRIORITY).rev() {
            let Some(bucket) = tally.find(&lane, priority) else { continue };
            if let Err(error) = taking.take_from(&self.store, leases, bucket, priority) {
                for lease in taking.taken {
                    leases.release(lease.id);
                }
                return Err(error.into());
            }
        }
        let Taking { taken, torn, .. } = taking;
        self.set_torn_aside(torn, now);
        Ok(Handout::new(taken, self.board.intake()))
    }

    /// Sets aside messages that do not fit their checksum, for an operator to see: they are not
    /// sent.
    fn set_torn_aside(&mut self, torn: Vec<MessageId>, now: i64) {
        if torn.is_empty() {
            return;
        }
        let writes = torn.into_iter().map(|id| {
            tracing::error!(%id, "a stored message does not match its checksum; it becomes a dead letter");
            let change = Change::SetAside { reason: DAMAGED.to_owned(), words: TORN.to_owned() };
            Write::Change { id, change, found: false, answer: oneshot::channel().0 }
        });
        let writes = writes.collect();
        // If that fails the message is still passed over, until the next start.
        self.write(writes, now).into_iter().for_each(Write::settle);
    }
}

/// A lease command on its way through the buckets of its lane.
struct Taking<'a> {
    lane: &'a str,
    limit: usize,
    now: i64,
    clock: &'a Clock,
    taken: Vec<Lease>,
    /// Messages that do not fit their checksum.
    torn: Vec<MessageId>,
}

impl Taking<'_> {
    fn room(&self) -> usize {
        self.limit.saturating_sub(self.taken.len())
    }

    fn is_expired(&self, expires_at: Option<i64>) -> bool {
        expires_at.is_some_and(|at| at <= self.now)
    }

    fn push(&mut self, stored: Stored, priority: u8, attempts: u32) {
        self.taken.push(Lease {
            id: stored.at.id,
            lane: self.lane.to_owned(),
            topic: stored.topic,
            payload: stored.payload,
            qos: stored.at.qos,
            retain: stored.retain,
            priority,
            appended_at: self.clock.to_wall(stored.appended_at),
            attempts,
        });
    }

    /// Leases the next messages of a bucket: returned messages first, since they are older.
    fn take_from(
        &mut self,
        store: &Store,
        leases: &mut Leases,
        bucket: BucketId,
        priority: u8,
    ) -> rusqlite::Result<()> {
        if self.room() == 0 || !self.take_returned(store, leases, bucket, priority)? {
            return Ok(());
        }
        let mut returned = 0;
        store.scan_after(bucket, leases.cursor(bucket), |stored| {
            if leases.is_leased(stored.at.id) {
                // The cursor was set back before it.
            } else if self.is_expired(stored.at.expires_at) {
                leases.return_unleased(stored.at);
                returned += 1;
            } else if !stored.intact {
                leases.return_unleased(stored.at);
                returned += 1;
                self.torn.push(stored.at.id);
            } else {
                let attempts = leases.lease(stored.at);
                self.push(stored, priority, attempts);
            }
            self.room() > 0 && returned < MAX_LEASES
        })
    }

    /// Leases returned messages of a bucket; false if later ones have to wait, to keep the order.
    fn take_returned(
        &mut self,
        store: &Store,
        leases: &mut Leases,
        bucket: BucketId,
        priority: u8,
    ) -> rusqlite::Result<bool> {
        // Expired messages among them wait for the sweep and may be many: a bounded number is read.
        let most = MAX_LEASES.saturating_mul(2);
        let returned = leases.returned(bucket, most);
        let all_seen = returned.len() < most;
        for (seq, returned) in returned {
            if self.room() == 0 {
                return Ok(false);
            }
            if self.is_expired(returned.expires_at) {
                continue;
            }
            if let Some(stored) = store.read(bucket, seq)? {
                if !stored.intact {
                    self.torn.push(stored.at.id);
                    continue;
                }
                let attempts = leases.lease(stored.at);
                self.push(stored, priority, attempts);
            }
        }
        Ok(all_seen && self.room() > 0)
    }
}
