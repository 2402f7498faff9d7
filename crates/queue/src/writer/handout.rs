//! The choice of messages for a lease.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{MAX_LEASES, Writer};
use crate::{
    clock::Clock,
    error::StoreError,
    intake::{Change, Handout, Write},
    message::{ASIDE, Lease, MAX_PRIORITY, MessageId, Wanted},
    order::BucketId,
    places::Places,
    row::{DAMAGED, Stored, TORN},
    store::Store,
};

impl Writer {
    /// Hands out messages. If the store fails half way, no message is handed out.
    pub(super) fn lease(&mut self, wanted: &Wanted, now: i64) -> Result<Handout, StoreError> {
        if wanted.lane == ASIDE {
            return Ok(Handout::new(Vec::new(), Arc::clone(&self.shared.intake)));
        }
        let lane: Arc<str> = Arc::from(&*wanted.lane);
        let limit = wanted.limit.min(MAX_LEASES);
        let (mut leases, mut torn) = (Vec::new(), Vec::new());
        for priority in (wanted.floor..=MAX_PRIORITY).rev() {
            let Some(bucket) = self.tally.find(&lane, priority) else { continue };
            let clock = &self.clock;
            let (leases_to, torn_to) = (&mut leases, &mut torn);
            let mut taken = Taking {
                lane: &lane,
                priority,
                limit,
                now,
                clock,
                leases: leases_to,
                torn: torn_to,
            };
            if let Err(error) = take_from(&self.store, &mut self.places, bucket, &mut taken) {
                for lease in leases {
                    self.places.release(lease.id);
                }
                return Err(error.into());
            }
        }
        self.set_torn_aside(torn, now);
        Ok(Handout::new(leases, Arc::clone(&self.shared.intake)))
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
    priority: u8,
    limit: usize,
    now: i64,
    clock: &'a Clock,
    leases: &'a mut Vec<Lease>,
    /// Messages that do not fit their checksum.
    torn: &'a mut Vec<MessageId>,
}

impl Taking<'_> {
    fn room(&self) -> usize {
        self.limit.saturating_sub(self.leases.len())
    }

    fn is_expired(&self, expires_at: Option<i64>) -> bool {
        expires_at.is_some_and(|at| at <= self.now)
    }

    fn push(&mut self, stored: Stored, attempts: u32) {
        self.leases.push(Lease {
            id: stored.at.id,
            lane: self.lane.to_owned(),
            topic: stored.topic,
            payload: stored.payload,
            qos: stored.at.qos,
            retain: stored.retain,
            priority: self.priority,
            appended_at: self.clock.to_wall(stored.appended_at),
            attempts,
        });
    }
}

/// Leases the next messages of a bucket: returned messages first, since they are older.
fn take_from(
    store: &Store,
    places: &mut Places,
    bucket: BucketId,
    taking: &mut Taking<'_>,
) -> rusqlite::Result<()> {
    if taking.room() == 0 {
        return Ok(());
    }
    // Expired messages among them wait for the sweep and may be many: a bounded number is read.
    // Later messages must then wait too, to keep the order.
    let returned = places.returned(bucket, MAX_LEASES.saturating_mul(2));
    let all_seen = returned.len() < MAX_LEASES.saturating_mul(2);
    for (seq, returned) in returned {
        if taking.room() == 0 {
            return Ok(());
        }
        if taking.is_expired(returned.expires_at) {
            continue;
        }
        if let Some(stored) = store.read(bucket, seq)? {
            if !stored.intact {
                taking.torn.push(stored.at.id);
                continue;
            }
            let attempts = places.lease(stored.at);
            taking.push(stored, attempts);
        }
    }
    if !all_seen || taking.room() == 0 {
        return Ok(());
    }
    let mut passed_over = 0;
    store.scan_after(bucket, places.cursor(bucket), |stored| {
        if places.is_leased(stored.at.id) {
            // The cursor was set back before it.
        } else if taking.is_expired(stored.at.expires_at) {
            places.pass_over(stored.at);
            passed_over += 1;
        } else if !stored.intact {
            places.pass_over(stored.at);
            passed_over += 1;
            taking.torn.push(stored.at.id);
        } else {
            let attempts = places.lease(stored.at);
            taking.push(stored, attempts);
        }
        taking.room() > 0 && passed_over < MAX_LEASES
    })
}
