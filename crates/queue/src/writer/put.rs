//! A new message: stored in its place, with its copies, or given up.

use super::{Draft, Writer, room::Admission};
use crate::{
    error::AppendError,
    message::{MessageId, NewMessage, Outcome, Receipt},
    row::Located,
    trace::Reason,
};

impl Writer {
    pub(super) fn put(
        &mut self,
        message: &NewMessage,
        lanes: &[String],
        now: i64,
        draft: &mut Draft,
    ) -> rusqlite::Result<Result<Vec<Receipt>, AppendError>> {
        if let Some(key) = &message.key
            && let Some(seen) = self.store.recall(&key.name)?
        {
            if seen.is_other(key) {
                return Ok(Err(AppendError::OtherContent { id: seen.id }));
            }
            let receipt = |id| Receipt { id, outcome: Outcome::Duplicate };
            return Ok(Ok(seen.ids().map(receipt).collect()));
        }
        let expires_at = message.expires_at.map(|at| self.clock.of_wall(at));
        if expires_at.is_some_and(|at| at <= now) {
            return self.give_up(message, Reason::Expired, now, draft).map(Ok);
        }
        match self.make_room(lanes, message.size(), message.priority, now, draft)? {
            Admission::Store => {}
            Admission::GiveUpNew => return self.give_up(message, Reason::Full, now, draft).map(Ok),
            Admission::Refuse => return Ok(Err(self.bounds.refusal())),
        }
        let mut receipts = Vec::with_capacity(lanes.len());
        for lane in lanes {
            let first = receipts.first().map(|receipt: &Receipt| receipt.id);
            let at = self.place(message, lane, first, expires_at);
            self.store.insert(&at, message, now)?;
            if let Some(key) = message.key.as_ref().filter(|_| first.is_none()) {
                self.store.remember(key, &at, lanes.len(), now)?;
            }
            self.contents.add(&at);
            receipts.push(Receipt { id: at.id, outcome: Outcome::Stored });
        }
        draft.deadlines.stored(expires_at, now);
        draft.changed = true;
        draft.leasable = true;
        Ok(Ok(receipts))
    }

    /// Returns the next place in the order, for a message in this lane, or a copy of `first`.
    fn place(
        &mut self,
        message: &NewMessage,
        lane: &str,
        first: Option<MessageId>,
        expires_at: Option<i64>,
    ) -> Located {
        let seq = self.numbering.take();
        Located {
            seq,
            bucket: self.contents.bucket_of(lane, message.priority),
            id: first.map_or_else(|| MessageId::at(seq), |first| first.copy_at(seq)),
            size: message.size(),
            qos: message.qos,
            expires_at,
        }
    }

    /// Counts a message that is not stored; its receipt has the reason.
    fn give_up(
        &mut self,
        message: &NewMessage,
        reason: Reason,
        now: i64,
        draft: &mut Draft,
    ) -> rusqlite::Result<Vec<Receipt>> {
        let at = self.place(message, &message.lane, None, None);
        self.drop_message(&at, reason, now, draft)?;
        Ok(vec![Receipt { id: at.id, outcome: Outcome::Dropped }])
    }
}
