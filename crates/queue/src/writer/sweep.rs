//! Messages whose time is over, by their own time to live or by the age that the queue allows.

use super::{Draft, SWEEP, Writer};
use crate::trace::Reason;

impl Writer {
    /// Removes messages that expired or are too old and that nobody has leased, and finds out when to
    /// come back.
    pub(super) fn sweep(&mut self, now: i64, draft: &mut Draft) -> rusqlite::Result<()> {
        self.sweep_aged(now, draft)?;
        // Leased ones are in the way at the head of the index: look that much further.
        let most = self.places.leased().saturating_add(SWEEP);
        let expired = self.store.expired(now, most)?;
        let more = u64::try_from(expired.len()).is_ok_and(|found| found >= most);
        for at in expired {
            if !self.places.is_leased(at.id) {
                self.remove(at, draft)?;
                draft.drop(at, Reason::Expired, now);
            }
        }
        draft.next_expiry = if more { Some(now) } else { self.store.next_expiry(now)? };
        // What the sweep took may have kept a lease from looking further.
        draft.leasable = true;
        Ok(())
    }

    /// By their order, for a clock may have been set: the first one that is young ends the search.
    fn sweep_aged(&mut self, now: i64, draft: &mut Draft) -> rusqlite::Result<()> {
        let Some(age) = self.bounds.age else { return Ok(()) };
        // As above: leased ones are passed over.
        let most = self.places.leased().saturating_add(SWEEP);
        let first = self.store.first(most)?;
        let more = u64::try_from(first.len()).is_ok_and(|found| found >= most);
        draft.next_age = more.then_some(now);
        for (at, appended_at) in first {
            if self.places.is_leased(at.id) {
                continue;
            }
            let end = appended_at.saturating_add(age);
            if end > now {
                draft.next_age = Some(end);
                break;
            }
            self.remove(at, draft)?;
            draft.drop(at, Reason::Age, now);
        }
        Ok(())
    }
}
