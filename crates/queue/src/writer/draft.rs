//! The effects of a transaction that takes place beside its contents.

use super::deadlines::Deadlines;
use crate::{
    stat::Dropped,
    trace::{Reason, State, Trace},
};

/// Effects of a transaction beyond the contents, to be kept or dropped as a whole.
///
/// Each drop is counted and has an outcome.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) deadlines: Deadlines,
    /// The outcomes of messages.
    ended: Vec<Trace>,
    dropped: Dropped,
    /// True if something is to be written.
    pub(super) changed: bool,
    /// True if a message may become leasable.
    pub(super) leasable: bool,
}

impl Draft {
    /// Begins a transaction with the present deadlines.
    pub(super) fn new(deadlines: Deadlines) -> Self {
        Self { deadlines, ..Self::default() }
    }

    /// Notes the outcome of a message.
    pub(super) fn end(&mut self, trace: Trace) {
        if let State::Dropped { reason } = trace.state {
            self.count(reason);
        }
        self.ended.push(trace);
        self.changed = true;
    }

    fn count(&mut self, reason: Reason) {
        let count = match reason {
            Reason::Full => &mut self.dropped.full,
            Reason::Expired => &mut self.dropped.expired,
            Reason::Age => &mut self.dropped.age,
            Reason::Purged => &mut self.dropped.purged,
            Reason::Damaged => &mut self.dropped.damaged,
        };
        *count = count.saturating_add(1);
    }

    /// Returns the outcomes, and the number of drops among them.
    pub(super) fn into_outcomes(self) -> (Vec<Trace>, Dropped) {
        (self.ended, self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageId;

    #[test]
    fn each_drop_is_counted_by_its_reason_and_nothing_else_is() {
        let mut draft = Draft::default();
        let others = [State::Acknowledged { path: "p".into() }];
        let drops = Reason::ALL.map(|reason| State::Dropped { reason });
        for state in drops.into_iter().chain(others) {
            let at = std::time::UNIX_EPOCH;
            draft.end(Trace { id: MessageId::fresh(), qos: 1, state, at });
        }
        assert!(draft.changed && !draft.leasable);
        let (ended, dropped) = draft.into_outcomes();
        assert_eq!((ended.len(), dropped.by_reason().map(|(_, count)| count)), (6, [1; 5]));
    }
}
