//! The bounds of a queue, and the fair share of each lane in them: messages for one modem do not use
//! up the room for another.
//!
//! A quarter of the queue is divided among the lanes. The unused rest of a lane's part is kept for
//! that lane. All else is open to every lane.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    config::{Config, WhenFull},
    error::AppendError,
    tally::Amount,
};

/// The bounds of a queue, the lanes that share it, and the rule if it is full.
///
/// The parts of all lanes together are at most a quarter of each bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The most bytes.
    bytes: u64,
    /// The most messages; [`u64::MAX`] if there is no such bound.
    messages: u64,
    when_full: WhenFull,
    lanes: BTreeSet<Arc<str>>,
}

impl Bounds {
    /// Begins without shares.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            bytes: config.max_bytes,
            messages: config.max_messages.unwrap_or(u64::MAX),
            when_full: config.when_full,
            lanes: BTreeSet::new(),
        }
    }

    /// Divides the shares among these lanes from now on.
    pub(crate) fn divide_among(&mut self, lanes: Vec<String>) {
        self.lanes = lanes.into_iter().map(Arc::from).collect();
    }

    /// Returns the rule if the queue is full.
    pub(crate) fn when_full(&self) -> WhenFull {
        self.when_full
    }

    /// Returns the refusal of a message for which there is no room.
    pub(crate) fn refusal(&self) -> AppendError {
        let max_messages = Some(self.messages).filter(|most| *most < u64::MAX);
        AppendError::Full { max_bytes: self.bytes, max_messages }
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

    /// Returns the excess over the bounds with this much more, whatever the shares.
    pub(crate) fn excess(&self, held: Amount, new: Amount) -> Amount {
        let all = sum(held, new);
        Amount {
            messages: all.messages.saturating_sub(self.messages),
            bytes: all.bytes.saturating_sub(self.bytes),
        }
    }

    /// Reports whether a message of `size` bytes fits into each of `lanes`, with its copies;
    /// `held` returns a lane's amount, `total` is that of all lanes.
    pub(crate) fn fits(
        &self,
        lanes: &[String],
        size: u64,
        total: Amount,
        held: impl Fn(&str) -> Amount,
    ) -> bool {
        let (one, all) = (Amount::of(1, size), Amount::copies(lanes, size));
        let is_room = |lane: &String| self.missing(lane, one, all, total, &held);
        lanes.iter().all(|lane| is_room(lane) == Amount::default())
    }

    /// Returns the part of a lane.
    fn part(&self) -> Amount {
        let parts = u64::try_from(self.lanes.len()).unwrap_or(u64::MAX).saturating_mul(4).max(1);
        if self.lanes.len() < 2 {
            return Amount::default();
        }
        Amount { messages: self.messages / parts, bytes: self.bytes / parts }
    }

    /// Returns the excess over the bounds once `one` more is in `lane` and `all` more in all lanes.
    fn missing(
        &self,
        lane: &str,
        one: Amount,
        all: Amount,
        total: Amount,
        held: impl Fn(&str) -> Amount,
    ) -> Amount {
        let all = sum(total, all);
        let reserved = self.reserved(lane, sum(held(lane), one), all, held);
        self.excess(all, reserved)
    }

    /// Returns the amount reserved for other lanes than `lane`, which would hold `own`.
    fn reserved(
        &self,
        lane: &str,
        own: Amount,
        all: Amount,
        held: impl Fn(&str) -> Amount,
    ) -> Amount {
        let part = self.part();
        let mut reserved = Amount::default();
        // A lane within its part takes the room that was reserved for it. And while three quarters
        // hold all, nothing has to be counted.
        let is_near = |all: u64, most: u64| all > most.saturating_sub(most / 4);
        let is_scarce = is_near(all.bytes, self.bytes) || is_near(all.messages, self.messages);
        if !is_scarce || (own.bytes <= part.bytes && own.messages <= part.messages) {
            return reserved;
        }
        for other in self.lanes.iter().filter(|other| &***other != lane) {
            let has = held(other);
            let rest = Amount {
                messages: part.messages.saturating_sub(has.messages),
                bytes: part.bytes.saturating_sub(has.bytes),
            };
            reserved = sum(reserved, rest);
        }
        reserved
    }
}

fn sum(mut one: Amount, other: Amount) -> Amount {
    one.join(other);
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(bytes: u64, messages: Option<u64>) -> Bounds {
        Bounds::new(&Config { max_bytes: bytes, max_messages: messages, ..Config::new("unused") })
    }

    #[test]
    fn a_lane_that_fills_up_leaves_the_others_their_part() {
        let mut bounds = bounds(800, Some(80));
        let none = Amount::default();
        for (lanes, lane, own, other, new, want, why) in [
            ("", "a", 700, 0, 100, none, "no lane has a part"),
            ("a", "a", 700, 0, 100, none, "no other lane has one"),
            ("a b", "a", 600, 0, 100, none, "a hundred are left for b"),
            ("a b", "a", 700, 0, 100, Amount::of(0, 100), "they are b's"),
            ("a b", "b", 0, 700, 100, none, "and b gets them"),
            ("a b", "b", 0, 700, 101, Amount::of(0, 1), "but no more"),
            ("a b", "c", 0, 600, 100, none, "a lane without a part takes what is open to all"),
            ("a b", "a", 650, 60, 50, none, "what b has used of its part is not reserved twice"),
            ("a b", "a", 650, 60, 51, Amount::of(0, 1), "and the rest is"),
        ] {
            bounds.divide_among(lanes.split_whitespace().map(str::to_owned).collect());
            let held = |name: &str| match name == lane {
                true => Amount::of(1, own),
                false if name.len() == 1 && name != "c" => Amount::of(1, other),
                false => none,
            };
            let total = Amount::of(2, own + other);
            let one = Amount::of(1, new);
            assert_eq!(bounds.missing(lane, one, one, total, held), want, "{why}");
            let fits = bounds.fits(&[lane.to_owned()], new, total, held);
            assert_eq!(fits, want == none, "{why}");
        }
    }

    #[test]
    fn copies_count_once_for_each_lane() {
        let bounds = bounds(800, Some(3));
        let lanes = |names: &str| names.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let fits = |names: &str, size, total| {
            bounds.fits(&lanes(names), size, total, |_| Amount::default())
        };
        assert!(fits("a b", 400, Amount::default()));
        assert!(!fits("a b", 401, Amount::default()));
        assert!(fits("a b c", 1, Amount::default()) && !fits("a b c", 1, Amount::of(1, 1)));
        assert_eq!(bounds.excess(Amount::of(2, 700), Amount::of(3, 150)), Amount::of(2, 50));
    }
}
