//! The fair share of each lane: messages for one modem do not use up the room for another.
//!
//! A quarter of the queue is divided among the lanes. The unused rest of a lane's part is kept for
//! that lane. All else is open to every lane.

use std::{collections::BTreeSet, sync::Arc};

use crate::tally::Amount;

/// The bounds of a queue and the lanes that share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shares {
    /// The most bytes.
    pub(crate) bytes: u64,
    /// The most messages; [`u64::MAX`] if there is no such bound.
    pub(crate) messages: u64,
    lanes: BTreeSet<Arc<str>>,
}

impl Shares {
    /// Begins without shares.
    pub(crate) fn new(bytes: u64, messages: Option<u64>) -> Self {
        Self { bytes, messages: messages.unwrap_or(u64::MAX), lanes: BTreeSet::new() }
    }

    /// Divides the shares among these lanes from now on.
    pub(crate) fn divide_among(&mut self, lanes: Vec<String>) {
        self.lanes = lanes.into_iter().map(Arc::from).collect();
    }

    /// Returns the part of a lane.
    fn part(&self) -> Amount {
        let parts = u64::try_from(self.lanes.len()).unwrap_or(u64::MAX).saturating_mul(4).max(1);
        if self.lanes.len() < 2 {
            return Amount::default();
        }
        Amount { messages: self.messages / parts, bytes: self.bytes / parts }
    }

    /// Reports whether more than half of a bound is used.
    pub(crate) fn is_half_full(&self, total: Amount) -> bool {
        total.bytes > self.bytes / 2 || total.messages > self.messages / 2
    }

    /// Reports whether a lane holds more than its part.
    pub(crate) fn is_over(&self, held: Amount) -> bool {
        let part = self.part();
        held.bytes > part.bytes || held.messages > part.messages
    }

    /// Returns the excess over the bounds once `one` more is in `lane` and `all` more in all lanes;
    /// `held` returns a lane's amount, `total` is that of all lanes.
    pub(crate) fn missing(
        &self,
        lane: &str,
        one: Amount,
        all: Amount,
        total: Amount,
        held: impl Fn(&str) -> Amount,
    ) -> Amount {
        let sum = |have: Amount, new: Amount| Amount {
            messages: have.messages.saturating_add(new.messages),
            bytes: have.bytes.saturating_add(new.bytes),
        };
        let all = sum(total, all);
        let kept = self.kept(lane, sum(held(lane), one), all, held);
        Amount {
            messages: all.messages.saturating_add(kept.messages).saturating_sub(self.messages),
            bytes: all.bytes.saturating_add(kept.bytes).saturating_sub(self.bytes),
        }
    }

    /// Returns the amount kept for other lanes than `lane`, which would hold `own`.
    fn kept(&self, lane: &str, own: Amount, all: Amount, held: impl Fn(&str) -> Amount) -> Amount {
        let part = self.part();
        let mut kept = Amount::default();
        // A lane within its part takes the room that was kept for it. And while three quarters hold
        // all, nothing has to be counted.
        let is_near = |all: u64, most: u64| all > most.saturating_sub(most / 4);
        let is_scarce = is_near(all.bytes, self.bytes) || is_near(all.messages, self.messages);
        if !is_scarce || (own.bytes <= part.bytes && own.messages <= part.messages) {
            return kept;
        }
        for other in self.lanes.iter().filter(|other| &***other != lane) {
            let has = held(other);
            kept.bytes = kept.bytes.saturating_add(part.bytes.saturating_sub(has.bytes));
            kept.messages =
                kept.messages.saturating_add(part.messages.saturating_sub(has.messages));
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_that_fills_up_leaves_the_others_their_part() {
        let mut shares = Shares::new(800, Some(80));
        let amount = |messages, bytes| Amount { messages, bytes };
        let none = amount(0, 0);
        for (lanes, lane, own, other, new, want, why) in [
            ("", "a", 700, 0, 100, none, "no lane has a part"),
            ("a", "a", 700, 0, 100, none, "nobody else has one"),
            ("a b", "a", 600, 0, 100, none, "a hundred are left for b"),
            ("a b", "a", 700, 0, 100, amount(0, 100), "they are b's"),
            ("a b", "b", 0, 700, 100, none, "and b gets them"),
            ("a b", "b", 0, 700, 101, amount(0, 1), "but no more"),
            ("a b", "c", 0, 600, 100, none, "a lane without a part takes what is for everybody"),
            ("a b", "a", 650, 60, 50, none, "what b has used of its part is not kept twice"),
            ("a b", "a", 650, 60, 51, amount(0, 1), "and the rest is"),
        ] {
            shares.divide_among(lanes.split_whitespace().map(str::to_owned).collect());
            let held = |name: &str| match name == lane {
                true => amount(1, own),
                false if name.len() == 1 && name != "c" => amount(1, other),
                false => none,
            };
            let new = amount(1, new);
            let found = shares.missing(lane, new, new, amount(2, own + other), held);
            assert_eq!(found, want, "{why}");
        }
    }
}
