//! The side of the writer that callers see: the figures, the outcomes, and the calls to lease.

use std::{sync::Arc, time::Duration};

use super::draft::Draft;
use crate::{
    bounds::Bounds,
    intake::{Intake, Taken},
    shared::Shared,
    stat::{Dropped, Stat},
};

/// The most commands in a batch. Bounds how long the first of them waits for the last.
const MAX_BATCH: usize = 256;

/// The writer's side of the state that it shares with callers.
///
/// Callers see nothing of a transaction before it is kept. A woken watcher finds the figures of what
/// woke it.
pub(super) struct Board {
    shared: Arc<Shared>,
    dropped: Dropped,
    /// True if a message may have become leasable since the watchers were last woken.
    leasable: bool,
}

/// Reports the end of the writer to the callers, even after a panic.
pub(super) struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.checks.end();
        self.0.intake.abandon();
        self.0.ended.send_replace(true);
    }
}

impl Board {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, dropped: Dropped::default(), leasable: false }
    }

    /// Returns the value whose drop reports the end.
    pub(super) fn end(&self) -> End {
        End(Arc::clone(&self.shared))
    }

    /// Waits for commands, at most for `limit`.
    pub(super) fn take(&self, limit: Option<Duration>) -> Taken {
        self.shared.intake.take(MAX_BATCH, limit)
    }

    /// Returns the line of commands, to which a handout returns.
    pub(super) fn intake(&self) -> Arc<Intake> {
        Arc::clone(&self.shared.intake)
    }

    /// Reports whether outcomes have a listener.
    pub(super) fn has_listener(&self) -> bool {
        self.shared.outcomes.receiver_count() > 0
    }

    /// Shows the bounds.
    pub(super) fn show_bounds(&self, bounds: &Bounds) {
        *self.shared.lock_bounds() = bounds.clone();
    }

    /// Counts messages that a damaged file lost.
    pub(super) fn lost(&mut self, messages: u64) {
        self.dropped.add(Dropped { damaged: messages, ..Dropped::default() });
    }

    /// Notes that a message may have become leasable.
    pub(super) fn note_leasable(&mut self, leasable: bool) {
        self.leasable |= leasable;
    }

    /// Shows the outcomes of a transaction that is on disk.
    pub(super) fn kept(&mut self, draft: Draft) {
        self.leasable |= draft.leasable;
        let (ended, dropped) = draft.into_outcomes();
        self.dropped.add(dropped);
        for trace in ended {
            // There may be no listener.
            drop(self.shared.outcomes.send(trace));
        }
    }

    /// Updates the figures and wakes the watchers.
    pub(super) fn publish(&mut self, stat: Stat) {
        *self.shared.lock_stat() = Stat { dropped: self.dropped, ..stat };
        // After the figures: a woken watcher may read them.
        if std::mem::take(&mut self.leasable) {
            self.shared.leasable.send_modify(|count| *count = count.wrapping_add(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        message::MessageId,
        trace::{Reason, State, Trace},
    };

    #[test]
    fn a_woken_watcher_finds_the_figures() {
        let shared = Arc::new(Shared::default());
        let mut board = Board::new(Arc::clone(&shared));
        let (mut outcomes, watch) = (shared.outcomes.subscribe(), shared.leasable.subscribe());
        assert!(board.has_listener());
        let mut draft = Draft::default();
        let (id, state) = (MessageId::fresh(), State::Dropped { reason: Reason::Full });
        let trace = Trace { id, qos: 1, state, at: std::time::UNIX_EPOCH };
        draft.end(trace.clone());
        draft.leasable = true;
        board.kept(draft);
        board.lost(2);
        assert_eq!(outcomes.try_recv().ok(), Some(trace));
        assert!(!watch.has_changed().unwrap(), "the figures are not there yet");
        board.publish(Stat { messages: 5, ..Stat::default() });
        let stat = shared.stat();
        assert_eq!((stat.messages, stat.dropped.full, stat.dropped.damaged), (5, 1, 2));
        assert!(watch.has_changed().unwrap());
        drop(board.end());
        assert!(*shared.ended.borrow() && !shared.intake.push(crate::intake::Command::Hurry, None));
    }
}
