//! The figures that callers see, and the notices of new messages.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

use crate::{
    message::Seq,
    stat::{Dropped, Stat},
};

/// State that callers and the writer share.
#[derive(Debug)]
pub(crate) struct Shared {
    stat: Mutex<Stat>,
    /// The owners of the sessions.
    owners: Mutex<HashMap<String, Option<String>>>,
    pub(crate) slow: AtomicU64,
    pub(crate) stored: watch::Sender<Seq>,
    pub(crate) ended: watch::Sender<bool>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            stat: Mutex::default(),
            owners: Mutex::default(),
            slow: AtomicU64::new(0),
            stored: watch::Sender::new(0),
            ended: watch::Sender::new(false),
        }
    }
}

impl Shared {
    pub(crate) fn stat(&self) -> Stat {
        let mut stat = self.stat.lock().unwrap_or_else(PoisonError::into_inner).clone();
        stat.dropped.slow = self.slow.load(Ordering::Relaxed);
        stat
    }

    /// Returns the owner of the session of this name; `None` if there is no session.
    pub(crate) fn owner(&self, name: &str) -> Option<Option<String>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

/// Reports that the writer ended, even after a panic.
pub(super) struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.ended.send_replace(true);
    }
}

/// The counts of this run, and the writer's side of what it shares with callers.
///
/// Each lost message is counted once. A watcher of new messages finds the figures with them.
#[derive(Debug)]
pub(super) struct Figures {
    shared: Arc<Shared>,
    stored: u64,
    dropped: Dropped,
    /// Messages with wrong checksums, which were counted.
    damaged: BTreeSet<Seq>,
}

impl Figures {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, stored: 0, dropped: Dropped::default(), damaged: BTreeSet::new() }
    }

    /// Returns the value whose drop reports the end.
    pub(super) fn end(&self) -> End {
        End(Arc::clone(&self.shared))
    }

    /// Counts messages that were put: stored, or not.
    pub(super) fn put(&mut self, messages: u64, stored: bool) {
        let count = if stored { &mut self.stored } else { &mut self.dropped.failed };
        *count = count.saturating_add(messages);
    }

    /// Counts messages before `first` that were given up, since the inbox was full or they were
    /// too old.
    pub(super) fn gave_up(&mut self, first: Seq, full: u64, old: u64) {
        self.damaged = self.damaged.split_off(&first);
        self.dropped.full = self.dropped.full.saturating_add(full);
        self.dropped.age = self.dropped.age.saturating_add(old);
    }

    /// Counts messages that were lost with their file.
    pub(super) fn lost(&mut self, messages: u64) {
        self.dropped.damaged = self.dropped.damaged.saturating_add(messages);
    }

    /// Counts messages with wrong checksums; they are passed over.
    pub(super) fn damaged(&mut self, found: Vec<Seq>) {
        for seq in found.into_iter().filter(|seq| self.damaged.insert(*seq)) {
            self.dropped.damaged = self.dropped.damaged.saturating_add(1);
            tracing::error!(seq, "a message in the inbox is damaged, and is not delivered");
        }
    }

    /// Publishes the present figures, and the last message.
    pub(super) fn publish(&self, stat: Stat, owners: HashMap<String, Option<String>>, last: Seq) {
        let stat = Stat { stored: self.stored, dropped: self.dropped, ..stat };
        *self.shared.owners.lock().unwrap_or_else(PoisonError::into_inner) = owners;
        *self.shared.stat.lock().unwrap_or_else(PoisonError::into_inner) = stat;
        self.shared.stored.send_if_modified(|shown| std::mem::replace(shown, last) != last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lost_message_is_counted_once() {
        let shared = Arc::new(Shared::default());
        let mut figures = Figures::new(Arc::clone(&shared));
        let seen = shared.stored.subscribe();
        figures.put(3, true);
        figures.put(2, false);
        figures.damaged(vec![4, 7]);
        figures.damaged(vec![4, 7, 9]);
        figures.gave_up(8, 5, 1);
        figures.lost(10);
        shared.slow.fetch_add(6, Ordering::Relaxed);
        assert!(!seen.has_changed().unwrap());
        figures.publish(Stat::default(), HashMap::new(), 9);
        let dropped = Dropped { full: 5, age: 1, slow: 6, failed: 2, damaged: 13 };
        assert_eq!((shared.stat().stored, shared.stat().dropped), (3, dropped));
        assert!(seen.has_changed().unwrap() && *seen.borrow() == 9);
    }
}
