//! The state of messages, and the records of those that leave.

use super::{Draft, Writer};
use crate::{
    error::StoreError,
    message::MessageId,
    row::Located,
    trace::{Reason, State, Trace},
};

impl Writer {
    /// Returns the state or the outcome of the message of this id.
    pub(super) fn trace(&self, id: MessageId) -> Result<Option<Trace>, StoreError> {
        let Some(at) = self.contents.find(id, &self.store)? else {
            let record = self.store.record(id)?;
            return Ok(record.map(|record| Trace {
                id,
                qos: record.qos,
                state: record.state,
                at: self.clock.to_wall(record.at),
            }));
        };
        let (state, since) = if self.contents.tally().is_aside(at.bucket) {
            let (reason, words, since) = self.store.aside(at.seq)?.unwrap_or_default();
            (State::DeadLetter { reason, words }, since)
        } else {
            let since = self.store.appended_at(at.bucket, at.seq)?.unwrap_or_default();
            let is_leased = self.contents.leases().is_leased(id);
            (if is_leased { State::Leased } else { State::Waiting }, since)
        };
        Ok(Some(Trace { id, qos: at.qos, state, at: self.clock.to_wall(since) }))
    }

    /// Notes the outcome of a message.
    pub(super) fn end(
        &mut self,
        at: &Located,
        state: State,
        now: i64,
        draft: &mut Draft,
    ) -> rusqlite::Result<()> {
        self.store.ended(at, &state, now)?;
        let at_wall = self.clock.to_wall(now);
        draft.end(Trace { id: at.id, qos: at.qos, state, at: at_wall });
        Ok(())
    }

    /// Notes that a message is given up, and the reason.
    pub(super) fn drop_message(
        &mut self,
        at: &Located,
        reason: Reason,
        now: i64,
        draft: &mut Draft,
    ) -> rusqlite::Result<()> {
        self.end(at, State::Dropped { reason }, now, draft)
    }
}
