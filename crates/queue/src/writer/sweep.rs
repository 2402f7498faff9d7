//! Messages that expired by their own time to live or by the queue's maximum age.

use super::{Draft, SWEEP, Writer};
use crate::{clock::earlier, trace::Reason};

impl Writer {
    /// Removes unleased messages that expired or are too old, and sets the time of the next sweep.
    pub(super) fn sweep(&mut self, now: i64, draft: &mut Draft) -> rusqlite::Result<()> {
        self.sweep_aged(now, draft)?;
        // Leased messages are in the way at the head of the index: read that much further.
        let most = self.contents.leases().leased().saturating_add(SWEEP);
        let expired = self.store.expired(now, most)?;
        let more = u64::try_from(expired.len()).is_ok_and(|found| found >= most);
        for at in expired {
            if !self.contents.leases().is_leased(at.id) {
                self.remove(at, draft)?;
                self.drop_message(&at, Reason::Expired, now, draft)?;
            }
        }
        let next = if more { Some(now) } else { self.store.next_expiry(now)? };
        draft.deadlines.swept_expired(next);
        // Messages that the sweep took may have kept a lease from looking further.
        draft.leasable = true;
        Ok(())
    }

    /// Sweeps each bucket by its order: the first young message ends the search there.
    fn sweep_aged(&mut self, now: i64, draft: &mut Draft) -> rusqlite::Result<()> {
        if self.deadlines.too_old_at(now).is_none() {
            return Ok(());
        }
        // As above: leased messages are passed over.
        let mut left = self.contents.leases().leased().saturating_add(SWEEP);
        let mut next = None;
        for bucket in self.contents.tally().ids().collect::<Vec<_>>() {
            let first = self.store.first(bucket, left)?;
            if u64::try_from(first.len()).is_ok_and(|found| found >= left) {
                next = Some(now);
            }
            for (at, appended_at) in first {
                left = left.saturating_sub(1);
                if self.contents.leases().is_leased(at.id) {
                    continue;
                }
                let end = self.deadlines.too_old_at(appended_at);
                if end.is_some_and(|end| end > now) {
                    next = earlier(next, end);
                    break;
                }
                self.remove(at, draft)?;
                self.drop_message(&at, Reason::Age, now, draft)?;
            }
        }
        draft.deadlines.swept_aged(next);
        Ok(())
    }
}
