//! The changes of a stored message: acked, moved, set aside, requeued, purged.

use std::sync::Arc;

use super::{Draft, Writer};
use crate::{
    intake::Change,
    message::{ASIDE, DEFAULT_PRIORITY, MessageId},
    row::Located,
    trace::{Reason, State},
};

impl Writer {
    /// Changes the message of this id, if there is one to which the change applies.
    pub(super) fn change(
        &mut self,
        id: MessageId,
        change: &Change,
        now: i64,
        draft: &mut Draft,
    ) -> rusqlite::Result<bool> {
        let Some(at) = self.contents.find(id, &self.store)? else { return Ok(false) };
        let aside = self.contents.tally().is_aside(at.bucket);
        match change {
            Change::Ack { path, .. } => {
                self.remove(at, draft)?;
                self.end(&at, State::Acknowledged { path: Arc::clone(path) }, now, draft)?;
            }
            Change::Purge if self.contents.leases().is_leased(id) => return Ok(false),
            Change::Purge => {
                self.remove(at, draft)?;
                self.drop_message(&at, Reason::Purged, now, draft)?;
            }
            Change::Transfer { lane } => {
                if aside {
                    self.store.take_aside(at.seq)?;
                }
                self.move_to(at, lane, draft)?;
            }
            Change::SetAside { .. } if aside => return Ok(false),
            Change::SetAside { reason, words } => {
                let Some(lane) =
                    self.contents.tally().bucket(at.bucket).map(|it| Arc::clone(&it.lane))
                else {
                    return Ok(false);
                };
                self.store.put_aside(at.seq, &lane, reason, words, now)?;
                self.move_to(at, ASIDE, draft)?;
                let (reason, words) = (reason.clone(), words.clone());
                self.end(&at, State::DeadLetter { reason, words }, now, draft)?;
            }
            Change::Requeue if !aside => return Ok(false),
            Change::Requeue => {
                let Some(lane) = self.store.take_aside(at.seq)? else { return Ok(false) };
                self.move_to(at, &lane, draft)?;
            }
        }
        Ok(true)
    }

    /// Renames a lane, with all its waiting messages; false if the name is taken.
    pub(super) fn rename(
        &mut self,
        from: &str,
        to: &str,
        draft: &mut Draft,
    ) -> rusqlite::Result<bool> {
        let Some(gone) = self.contents.rename(from, to) else { return Ok(false) };
        for bucket in gone {
            self.store.remove_bucket(bucket)?;
        }
        self.store.rename_lane(from, to)?;
        draft.changed = true;
        draft.leasable = true;
        Ok(true)
    }

    /// Moves a message to another lane; a lease on it ends.
    fn move_to(&mut self, at: Located, lane: &str, draft: &mut Draft) -> rusqlite::Result<()> {
        let known = self.contents.tally().bucket(at.bucket);
        let priority = known.map_or(DEFAULT_PRIORITY, |it| it.priority);
        let bucket = self.contents.bucket_of(lane, priority);
        self.store.rebucket(&at, bucket)?;
        self.contents.move_to(at, bucket);
        draft.deadlines.moved(at.expires_at);
        draft.changed = true;
        draft.leasable = true;
        Ok(())
    }

    /// Removes a message from the store and from memory.
    pub(super) fn remove(&mut self, at: Located, draft: &mut Draft) -> rusqlite::Result<()> {
        if self.store.remove(&at)? {
            if self.contents.tally().is_aside(at.bucket) {
                self.store.take_aside(at.seq)?;
            }
            self.contents.remove(at);
            draft.changed = true;
        }
        Ok(())
    }
}
