//! The demo's count of messages: published, arrived, duplicates and latencies.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

/// The number of finished messages that are remembered to recognise duplicates. A duplicate follows
/// within the agent's stall time, and the demo makes some twenty messages a second.
const REMEMBERED: usize = 20_000;

/// The number of latencies that are kept: those of the last hour or so.
const LATENCIES: usize = 100_000;

/// A digest of a message's topic and payload, to find damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Print(u64);

impl Print {
    /// Returns the digest of a message.
    pub(super) fn of(topic: &str, payload: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        (topic, payload).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// A message as seen from both ends, in any order.
#[derive(Debug, Default)]
struct Entry {
    accepted: Option<(Instant, Print)>,
    arrived: Option<(Instant, Print)>,
}

/// Counts of all messages.
#[derive(Debug, Default)]
pub(super) struct Tally {
    open: BTreeMap<u64, Entry>,
    finished: BTreeSet<u64>,
    latencies: VecDeque<Duration>,
    /// Messages that the agent answered with 202.
    pub(super) handed_in: u64,
    /// Messages that the agent refused.
    pub(super) refused: u64,
    /// Messages that arrived, each counted once.
    pub(super) received: u64,
    /// Further copies of messages that had arrived.
    pub(super) duplicates: u64,
    /// Messages that arrived with another topic or payload.
    pub(super) damaged: u64,
}

impl Tally {
    /// Counts an answer 202 of the agent.
    pub(super) fn accepted(&mut self, number: u64, print: Print, at: Instant) {
        self.handed_in += 1;
        self.open.entry(number).or_default().accepted = Some((at, print));
        self.settle(number);
    }

    /// Counts a message that reached the subscriber; `number` is from its payload.
    pub(super) fn arrived(&mut self, number: u64, print: Print, at: Instant) {
        if self.finished.contains(&number) {
            self.duplicates += 1;
            return;
        }
        let entry = self.open.entry(number).or_default();
        if entry.arrived.is_some() {
            self.duplicates += 1;
            return;
        }
        entry.arrived = Some((at, print));
        self.received += 1;
        self.settle(number);
    }

    /// Closes the entry of a message that was both accepted and received.
    fn settle(&mut self, number: u64) {
        let Some(Entry { accepted: Some(handed), arrived: Some(got) }) = self.open.get(&number)
        else {
            return;
        };
        if handed.1 != got.1 {
            self.damaged += 1;
        }
        // It may arrive before the answer: that counts as no time.
        if self.latencies.len() == LATENCIES {
            self.latencies.pop_front();
        }
        self.latencies.push_back(got.0.saturating_duration_since(handed.0));
        self.finished.insert(number);
        if self.finished.len() > REMEMBERED {
            self.finished.pop_first();
        }
        self.open.remove(&number);
    }

    /// Returns the number of messages that the agent accepted and that have not arrived.
    pub(super) fn missing(&self) -> usize {
        self.open.values().filter(|entry| entry.accepted.is_some()).count()
    }

    /// Returns the latency that this part (in thousandths) of the messages did not exceed, by
    /// nearest rank.
    pub(super) fn latency(&self, per_mille: usize) -> Option<Duration> {
        let mut sorted: Vec<_> = self.latencies.iter().copied().collect();
        sorted.sort_unstable();
        let rank = (sorted.len() * per_mille).div_ceil(1_000);
        sorted.get(rank.saturating_sub(1)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(word: &str) -> Print {
        Print::of("t", word.as_bytes())
    }

    #[test]
    fn what_was_answered_and_did_not_arrive_is_missing() {
        let (mut tally, now) = (Tally::default(), Instant::now());
        tally.accepted(1, print("a"), now);
        tally.accepted(2, print("b"), now);
        tally.arrived(1, print("a"), now);
        assert_eq!((tally.handed_in, tally.received, tally.missing()), (2, 1, 1));
        tally.arrived(2, print("b"), now);
        assert_eq!((tally.received, tally.missing(), tally.damaged), (2, 0, 0));
    }

    #[test]
    fn copies_and_damage_are_counted_and_fill_no_gap() {
        let (mut tally, now) = (Tally::default(), Instant::now());
        tally.arrived(1, print("a"), now); // before its answer
        tally.arrived(1, print("a"), now);
        tally.accepted(1, print("a"), now);
        tally.arrived(1, print("a"), now);
        assert_eq!((tally.received, tally.duplicates, tally.missing()), (1, 2, 0));
        tally.accepted(2, print("b"), now);
        tally.arrived(2, print("c"), now);
        assert_eq!((tally.received, tally.damaged), (2, 1));
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let (mut tally, now) = (Tally::default(), Instant::now());
        assert_eq!(tally.latency(500), None);
        for number in 1..=100 {
            tally.accepted(number, print("a"), now);
            tally.arrived(number, print("a"), now + Duration::from_millis(number));
        }
        assert_eq!(tally.latency(500), Some(Duration::from_millis(50)));
        assert_eq!(tally.latency(990), Some(Duration::from_millis(99)));
        assert_eq!(tally.latency(1_000), Some(Duration::from_millis(100)));
    }
}
