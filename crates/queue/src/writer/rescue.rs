//! A file that turns out to be damaged while it is served: replaced under the callers' feet.

use std::time::{Duration, Instant};

use super::Writer;
use crate::{error::StoreError, salvage, store::Store, tally::Tally};

/// After a salvage that failed (the disk may be full) it is not tried again at each command.
const RETRY: Duration = Duration::from_secs(60);

impl Writer {
    /// Replaces the damaged file by what can be read of it; false if that cannot be done now. Leases
    /// on messages that were saved go on.
    pub(super) fn salvage(&mut self) -> bool {
        if self.salvages.retry_at.is_some_and(|at| now() < at) {
            return false;
        }
        match self.replace_store() {
            Ok(()) => {
                self.salvages.done = self.salvages.done.saturating_add(1);
                self.leasable = true;
                true
            }
            Err(error) => {
                self.salvages.retry_at = now().checked_add(RETRY);
                let chain: &dyn std::error::Error = &*error;
                tracing::error!(error = chain, "could not salvage the queue's damaged file");
                false
            }
        }
    }

    fn replace_store(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        let old = std::mem::replace(&mut self.store, Store::nowhere()?);
        if let Err(error) = old.close() {
            tracing::debug!(error = %error, "the damaged file did not close cleanly");
        }
        let salvaged = salvage::salvage(&self.dir);
        // Where it failed between the two names: opening would make an empty file in the place.
        let ended = salvage::resume(&self.dir)?;
        // Where that failed the old file is still in its place, and serves what it can.
        self.store = Store::open(&self.dir, self.fsync)?;
        let buckets = self.store.load_buckets()?;
        self.next_seq = self.next_seq.max(self.store.last_seq(&buckets)?.saturating_add(1));
        self.tally = Tally::new(buckets);
        self.heads.clear();
        let (store, tally) = (&self.store, &self.tally);
        self.places.keep(|id| matches!(store.find(id, tally.ids()), Ok(Some(_))));
        self.next_expiry = self.store.next_expiry(i64::MIN).map_err(StoreError::from)?;
        let lost = match ended {
            Some(salvage) => salvage.lost,
            None => salvaged?.lost,
        };
        self.dropped.damaged = self.dropped.damaged.saturating_add(lost);
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "a thread of its own, and the wall clock may be set")]
fn now() -> Instant {
    Instant::now()
}
