//! The sessions that have messages: for receipts, since the queue knows only that a message is leased.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use queue::MessageId;

/// The paths that have a message, the newest last: after a stall it is at two.
type Paths = Vec<(u64, Arc<str>)>;

/// The paths of messages that were given to a session and are not yet recorded as acknowledged; a cheap
/// handle, to be cloned. It holds as many messages as fit into all windows.
#[derive(Clone, Debug, Default)]
pub struct Given {
    at: Arc<Mutex<At>>,
}

#[derive(Debug, Default)]
struct At {
    next: u64,
    paths: HashMap<MessageId, Paths>,
}

impl Given {
    /// Notes that a path (`modem/session`) has these messages, for as long as the answer lives.
    pub(super) fn note(
        &self,
        ids: impl IntoIterator<Item = MessageId>,
        path: &Arc<str>,
    ) -> Holding {
        let ids: Vec<MessageId> = ids.into_iter().collect();
        let mut at = self.lock();
        let number = at.next;
        at.next = number.wrapping_add(1);
        for id in &ids {
            at.paths.entry(*id).or_default().push((number, Arc::clone(path)));
        }
        Holding { given: self.clone(), number, ids }
    }

    /// The path that has a message, the newest if several do. `None` if none has it.
    pub fn at(&self, id: MessageId) -> Option<Arc<str>> {
        let at = self.lock();
        at.paths.get(&id)?.last().map(|(_, path)| Arc::clone(path))
    }

    fn lock(&self) -> MutexGuard<'_, At> {
        // No code that holds the lock leaves it half changed.
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Messages that a path has, until this is dropped.
#[derive(Debug)]
pub(super) struct Holding {
    given: Given,
    number: u64,
    ids: Vec<MessageId>,
}

impl Drop for Holding {
    fn drop(&mut self) {
        let mut at = self.given.lock();
        for id in &self.ids {
            let Some(paths) = at.paths.get_mut(id) else { continue };
            paths.retain(|(number, _)| *number != self.number);
            if paths.is_empty() {
                at.paths.remove(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_path_counts_and_nothing_stays_behind() {
        let given = Given::default();
        let id = MessageId::nil();
        let (first, second): (Arc<str>, Arc<str>) = ("a/s".into(), "b/s".into());
        assert_eq!(given.at(id), None);
        let stalled = given.note([id], &first);
        let moved = given.note([id], &second);
        assert_eq!(given.at(id).as_deref(), Some("b/s"));
        drop(moved);
        assert_eq!(given.at(id).as_deref(), Some("a/s"), "the first one still has it");
        drop(stalled);
        assert_eq!(given.at(id), None);
        assert!(given.lock().paths.is_empty(), "nothing is kept of what is over");
    }
}
