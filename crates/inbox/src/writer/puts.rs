//! The storing of messages: all of them in a synced transaction, or none.

use super::{Moment, NewMessage, Put, Store, StoreError, Writer, to_i64};
use crate::store::Line;

impl Writer {
    /// Stores these messages, and reports each result.
    pub(super) fn put_all(&mut self, puts: Vec<Put>, now: Moment) {
        let (mut messages, mut thens) = (Vec::new(), Vec::new());
        for Put { message, then, place } in puts {
            messages.push(message);
            thens.push(then);
            // The next message may enter.
            drop(place);
        }
        let before = self.line;
        let stored = match self.store_all(&messages, now) {
            Err(error @ StoreError::Corrupt(_)) if self.rescue(&error, now) => {
                self.store_all(&messages, now)
            }
            stored => stored,
        };
        let count = u64::try_from(messages.len()).unwrap_or(u64::MAX);
        match &stored {
            Ok(()) => self.stat.stored = self.stat.stored.saturating_add(count),
            Err(_) => {
                self.stat.dropped.failed = self.stat.dropped.failed.saturating_add(count);
            }
        }
        self.publish(self.age.at(now));
        for (then, seq) in thens.into_iter().zip(before.last.saturating_add(1)..) {
            then.tell(stored.clone().map(|()| seq));
        }
    }

    fn store_all(&mut self, messages: &[NewMessage], now: Moment) -> Result<(), StoreError> {
        let (wall, aged) = (now.wall, self.age.at(now));
        let line = self.line;
        let total = self.transact(true, |store| {
            let mut total = line.total;
            for (message, seq) in messages.iter().zip(line.last.saturating_add(1)..) {
                total = total.saturating_add(to_i64(message.size()));
                store.insert(seq, total, message, aged, wall)?;
            }
            Ok(total)
        })?;
        let matches = self.matches;
        for (message, seq) in messages.iter().zip(line.last.saturating_add(1)..) {
            for reader in self.readers.values_mut() {
                reader.pass(matches, seq, &message.topic);
            }
        }
        let last = line.last.saturating_add(i64::try_from(messages.len()).unwrap_or(0));
        self.line = Line { last, total, ..line };
        Ok(())
    }

    /// Runs a transaction: all that `work` does takes effect, or nothing.
    pub(super) fn transact<T>(
        &mut self,
        sync: bool,
        work: impl FnOnce(&Store) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let failing = self.stat.failing;
        let Some(ground) = &mut self.ground else {
            return Err(StoreError::NotOpen(failing.unwrap_or(crate::Failing::Other)));
        };
        let store = &mut ground.store;
        let done = store.sync_commits(sync).and_then(|()| store.begin()).and_then(|()| {
            let done = work(store)?;
            store.commit()?;
            Ok(done)
        });
        match done {
            Ok(done) => {
                if self.stat.failing.take().is_some() {
                    tracing::info!("the inbox can be written again");
                }
                Ok(done)
            }
            Err(error) => {
                store.rollback();
                let error = StoreError::from(error);
                self.stat.failed_commits = self.stat.failed_commits.saturating_add(1);
                if self.stat.failing.replace(error.failing()).is_none() {
                    let chain: &dyn std::error::Error = &error;
                    tracing::error!(
                        error = chain,
                        "a commit of the inbox failed: received messages are not stored"
                    );
                }
                Err(error)
            }
        }
    }
}
