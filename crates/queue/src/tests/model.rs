//! Random operations against a simple list that does the same.

use proptest::{prelude::*, test_runner::TestRunner};

use super::*;
use crate::{AppendError, Receipt};

const BOUND: u64 = 2000;
const LANES: [&str; 2] = ["l", "m"];

#[derive(Clone, Debug)]
enum Op {
    Append { lane: usize, priority: u8, size: u64, ttl: Option<u64>, key: Option<u8> },
    Lease { lane: usize, limit: usize },
    Ack(usize),
    Release(usize),
    PassOver(usize),
    LookAgain(usize),
    Transfer(usize, usize),
    Advance(u64),
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    let append = (
        0..2usize,
        3..6u8,
        129..700u64,
        prop::option::weighted(0.3, 60_000..180_000u64),
        prop::option::weighted(0.2, 0..4u8),
    );
    prop_oneof![
        8 => append.prop_map(|(lane, priority, size, ttl, key)| Op::Append {
            lane, priority, size, ttl, key
        }),
        4 => (0..2usize, 1..4usize).prop_map(|(lane, limit)| Op::Lease { lane, limit }),
        2 => (0..64usize).prop_map(Op::Ack),
        3 => (0..64usize).prop_map(Op::Release),
        2 => (0..64usize).prop_map(Op::PassOver),
        2 => (0..2usize).prop_map(Op::LookAgain),
        2 => (0..64usize, 0..2usize).prop_map(|(nth, lane)| Op::Transfer(nth, lane)),
        1 => (30_000..90_000u64).prop_map(Op::Advance),
        1 => Just(Op::Reopen),
    ]
}

#[derive(Clone, Debug)]
struct Held {
    id: MessageId,
    lane: usize,
    priority: u8,
    size: u64,
    expires_at: Option<u64>,
    leased: bool,
    /// Passed over: not leased again before the lane is looked at again.
    passed: bool,
}

impl Held {
    fn is_leasable(&self) -> bool {
        !self.leased && !self.passed
    }
}

/// The queue as a list in the order of append.
#[derive(Default)]
struct Model {
    held: Vec<Held>,
    ids: Vec<MessageId>,
    keys: Vec<(u8, MessageId, u64)>,
    full: u64,
    expired: u64,
}

impl Model {
    fn bytes(&self) -> u64 {
        self.held.iter().map(|held| held.size).sum()
    }

    fn expire(&mut self, now: u64) {
        let before = self.held.len();
        self.held.retain(|held| held.leased || held.expires_at.is_none_or(|at| at > now));
        self.expired += u64::try_from(before - self.held.len()).unwrap();
    }

    /// Returns the required answer to an append, by the policy.
    fn fit(&mut self, policy: WhenFull, priority: u8, size: u64) -> Option<Outcome> {
        if self.bytes() + size <= BOUND {
            return Some(Outcome::Stored);
        }
        match policy {
            WhenFull::Reject => None,
            WhenFull::DropNewest => {
                self.full += 1;
                Some(Outcome::Dropped)
            }
            WhenFull::DropOldest => self.evict(priority, size),
        }
    }

    fn evict(&mut self, priority: u8, size: u64) -> Option<Outcome> {
        let kept = |up_to: u8| -> u64 {
            let stays = |held: &&Held| held.leased || held.priority > up_to;
            self.held.iter().filter(stays).map(|held| held.size).sum()
        };
        if kept(9) + size > BOUND {
            return None;
        }
        if kept(priority) + size > BOUND {
            self.full += 1;
            return Some(Outcome::Dropped);
        }
        while self.bytes() + size > BOUND {
            let free = self.held.iter().enumerate().filter(|(_, held)| !held.leased);
            let (victim, _) = free.min_by_key(|(n, held)| (held.priority, *n)).unwrap();
            self.held.remove(victim);
            self.full += 1;
        }
        Some(Outcome::Stored)
    }

    fn lease(&mut self, lane: usize, limit: usize) -> Vec<MessageId> {
        let mut free: Vec<&mut Held> =
            self.held.iter_mut().filter(|held| held.lane == lane && held.is_leasable()).collect();
        free.sort_by_key(|held| std::cmp::Reverse(held.priority));
        free.into_iter()
            .take(limit)
            .map(|held| {
                held.leased = true;
                held.id
            })
            .collect()
    }

    fn look_again(&mut self, lane: usize) {
        let of_lane = self.held.iter_mut().filter(|held| held.lane == lane);
        of_lane.for_each(|held| held.passed = false);
    }

    /// Returns any earlier id, by number.
    fn nth(&self, nth: usize) -> Option<MessageId> {
        (!self.ids.is_empty()).then(|| self.ids[nth % self.ids.len()])
    }
}

struct Run {
    dir: tempfile::TempDir,
    clock: TestClock,
    policy: WhenFull,
    queue: Option<Queue>,
    model: Model,
}

impl Run {
    fn open(&mut self) -> &Queue {
        let config = config(self.dir.path(), BOUND, self.policy);
        let clock = self.clock.clock();
        self.queue.get_or_insert_with(|| Queue::open_with(config, clock, |_| {}).unwrap())
    }

    async fn apply(&mut self, op: Op) {
        let now = self.clock.millis();
        match op {
            Op::Append { lane, priority, size, ttl, key } => {
                self.append(lane, priority, size, ttl, key).await;
            }
            Op::Lease { lane, limit } => {
                let leases = self.open().lease(LANES[lane], limit).await.unwrap();
                let ids: Vec<_> = leases.iter().map(|lease| lease.id).collect();
                assert_eq!(ids, self.model.lease(lane, limit));
            }
            Op::Ack(nth) => {
                let Some(id) = self.model.nth(nth) else { return };
                let found = self.open().ack(id, &"p".into()).await.unwrap();
                let before = self.model.held.len();
                self.model.held.retain(|held| held.id != id);
                assert_eq!(found, self.model.held.len() < before);
            }
            Op::Release(nth) => {
                let Some(id) = self.model.nth(nth) else { return };
                let found = self.open().release(id).await.unwrap();
                let leased = self.model.held.iter_mut().find(|held| held.id == id && held.leased);
                assert_eq!(found, leased.is_some());
                leased.into_iter().for_each(|held| held.leased = false);
            }
            Op::PassOver(nth) => {
                let Some(id) = self.model.nth(nth) else { return };
                let found = self.open().pass_over(id).await.unwrap();
                let leased = self.model.held.iter_mut().find(|held| held.id == id && held.leased);
                assert_eq!(found, leased.is_some());
                leased.into_iter().for_each(|held| (held.leased, held.passed) = (false, true));
            }
            Op::LookAgain(lane) => {
                self.open().look_again(LANES[lane]).await.unwrap();
                self.model.look_again(lane);
            }
            Op::Transfer(nth, lane) => {
                let Some(id) = self.model.nth(nth) else { return };
                let found = self.open().transfer(id, LANES[lane]).await.unwrap();
                let held = self.model.held.iter_mut().find(|held| held.id == id);
                assert_eq!(found, held.is_some());
                held.into_iter().for_each(|held| {
                    (held.lane, held.leased, held.passed) = (lane, false, false);
                });
            }
            Op::Advance(millis) => self.clock.advance(millis),
            Op::Reopen => {
                self.queue = None;
                for held in &mut self.model.held {
                    (held.leased, held.passed) = (false, false);
                }
                // Drops are counted since the queue was opened.
                (self.model.full, self.model.expired) = (0, 0);
            }
        }
        self.model.expire(now.max(self.clock.millis()));
    }

    async fn append(
        &mut self,
        lane: usize,
        priority: u8,
        size: u64,
        ttl: Option<u64>,
        key: Option<u8>,
    ) {
        let message = NewMessage {
            lane: LANES[lane].to_owned(),
            expires_at: ttl.map(|ttl| self.clock.now() + Duration::from_millis(ttl)),
            ..sized(priority, size)
        };
        let message = match key {
            Some(key) => keyed(&key.to_string(), message),
            None => message,
        };
        let answer = self.open().append(message).await;
        let model = &mut self.model;
        let known = model.keys.iter().find(|(known, ..)| Some(*known) == key);
        if let Some((_, id, before)) = known.copied() {
            match answer {
                Ok(receipt) => {
                    assert_eq!(receipt, Receipt { id, outcome: Outcome::Duplicate });
                    assert_eq!(size, before);
                }
                Err(AppendError::OtherContent { id: of }) => assert!(of == id && size != before),
                Err(error) => panic!("{error}"),
            }
            return;
        }
        let expected = model.fit(self.policy, priority, size);
        match answer {
            Ok(receipt) => {
                assert_eq!(Some(receipt.outcome), expected);
                if receipt.outcome == Outcome::Stored {
                    let id = receipt.id;
                    let expires_at = ttl.map(|ttl| self.clock.millis() + ttl);
                    model.held.push(Held {
                        id,
                        lane,
                        priority,
                        size,
                        expires_at,
                        leased: false,
                        passed: false,
                    });
                    model.ids.push(id);
                    model.keys.extend(key.map(|key| (key, id, size)));
                }
            }
            Err(AppendError::Full { .. }) => assert_eq!(expected, None),
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn compare(&mut self) {
        settle(self.open()).await;
        let stat = self.open().stat();
        let model = &self.model;
        let leased = model.held.iter().filter(|held| held.leased).count();
        assert_eq!(stat.messages, u64::try_from(model.held.len()).unwrap());
        assert_eq!(stat.bytes, model.bytes());
        assert_eq!(stat.leased, u64::try_from(leased).unwrap());
        assert_eq!((stat.dropped.full, stat.dropped.expired), (model.full, model.expired));
    }
}

#[test]
fn any_sequence_of_operations_does_what_a_list_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let config = ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() };
    let policy =
        prop_oneof![Just(WhenFull::Reject), Just(WhenFull::DropOldest), Just(WhenFull::DropNewest)];
    let seed = proptest::test_runner::TestRng::deterministic_rng(Default::default());
    TestRunner::new_with_rng(config, seed)
        .run(&(policy, prop::collection::vec(op(), 1..60)), |(policy, ops)| {
            runtime.block_on(async {
                let (clock, model) = (TestClock::default(), Model::default());
                let dir = tempfile::tempdir().unwrap();
                let mut run = Run { dir, clock, policy, queue: None, model };
                for op in ops {
                    run.apply(op).await;
                    run.compare().await;
                }
                run.queue = None;
                let inspector = crate::Inspector::open(run.dir.path());
                // A run that only moved the clock never made the file.
                if let Ok(inspector) = inspector {
                    assert_eq!(inspector.check().unwrap(), Vec::<String>::new());
                }
            });
            Ok(())
        })
        .unwrap();
}
