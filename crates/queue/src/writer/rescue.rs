//! The replacement of a file that is found damaged while it is in use.

use std::time::{Duration, Instant};

use super::Writer;
use crate::{error::StoreError, salvage, store::Store, tally::Tally};

/// The wait after a failed salvage (the disk may be full), so that not each command tries again.
const RETRY: Duration = Duration::from_secs(60);

impl Writer {
    /// Replaces the damaged file by its readable part; false if that cannot be done now. Leases on
    /// saved messages go on.
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
        // After a failure between the two renames, opening would make an empty file in its place.
        let ended = salvage::resume(&self.dir)?;
        // If that failed the old file is still in its place, and serves its readable part.
        self.store = Store::open(&self.dir, self.fsync)?;
        let buckets = self.store.load_buckets()?;
        self.next_seq = self.next_seq.max(self.store.last_seq(&buckets)?.saturating_add(1));
        self.tally = Tally::new(buckets);
        self.heads.clear();
        let (store, tally) = (&self.store, &self.tally);
        self.places.relocate(|id| store.find(id, tally.ids()).ok().flatten());
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
