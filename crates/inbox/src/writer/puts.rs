//! The storing of messages: all of them in a synced transaction, or none.

use super::{Put, Writer};
use crate::{age::Moment, error::StoreError, message::NewMessage};

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
        let first = self.line.next();
        let stored = match self.store_all(&messages, now) {
            Err(error @ StoreError::Corrupt(_)) if self.rescue(&error, now) => {
                self.store_all(&messages, now)
            }
            stored => stored,
        };
        let count = u64::try_from(messages.len()).unwrap_or(u64::MAX);
        self.figures.put(count, stored.is_ok());
        self.publish(self.age.at(now));
        for (then, seq) in thens.into_iter().zip(first..) {
            then.tell(stored.clone().map(|()| seq));
        }
    }

    fn store_all(&mut self, messages: &[NewMessage], now: Moment) -> Result<(), StoreError> {
        let (wall, aged) = (now.wall, self.age.at(now));
        let first = self.line.next();
        let line = self.files.transact(true, |store| {
            let mut line = self.line;
            for message in messages {
                line = line.with(message.size());
                store.insert(&line, message, aged, wall)?;
            }
            Ok(line)
        })?;
        for (message, seq) in messages.iter().zip(first..) {
            self.readers.pass(seq, &message.topic);
        }
        self.line = line;
        Ok(())
    }
}
