//! Random operations against a simple list that does the same.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{prelude::*, test_runner::TestRunner};

use super::*;

const BOUND: u64 = 1500;
const AGE: u64 = 1600;
const EXPIRY: u64 = 800;
const TOPICS: [&str; 3] = ["a/x", "a/y", "b"];
const FILTERS: [&str; 3] = ["a/#", "a/y", "b"];

#[derive(Clone, Debug)]
enum Op {
    Put { topic: usize, size: usize },
    PutFails,
    Attach { session: usize, clean: bool },
    Detach(usize),
    Subscribe(usize, usize),
    Unsubscribe(usize, usize),
    Confirm(usize, usize),
    Read(usize),
    ConfirmRead(usize, usize),
    Forget(usize),
    Advance(u64),
    Kill,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..3usize, 1..300usize).prop_map(|(topic, size)| Op::Put { topic, size }),
        1 => Just(Op::PutFails),
        2 => (0..2usize, prop::bool::weighted(0.2)).prop_map(|(session, clean)| Op::Attach { session, clean }),
        2 => (0..2usize).prop_map(Op::Detach),
        3 => (0..2usize, 0..3usize).prop_map(|(session, filter)| Op::Subscribe(session, filter)),
        1 => (0..2usize, 0..3usize).prop_map(|(session, filter)| Op::Unsubscribe(session, filter)),
        3 => (0..2usize, 0..6usize).prop_map(|(session, nth)| Op::Confirm(session, nth)),
        2 => (0..2usize).prop_map(Op::Read),
        2 => (0..2usize, 0..6usize).prop_map(|(reader, nth)| Op::ConfirmRead(reader, nth)),
        1 => (0..2usize).prop_map(Op::Forget),
        2 => (1..4u64).prop_map(|n| Op::Advance(n * 200)),
        1 => Just(Op::Kill),
    ]
}

#[derive(Clone, Debug)]
struct Held {
    seq: Seq,
    topic: &'static str,
    payload: String,
    size: u64,
    at: u64,
}

#[derive(Debug, Default)]
struct Session {
    /// Each with the last message before its request.
    filters: BTreeMap<&'static str, Seq>,
    position: Seq,
    attached: bool,
    seen: u64,
}

impl Session {
    fn wants(&self, held: &Held) -> bool {
        self.filters.iter().any(|(filter, since)| *since < held.seq && matches(filter, held.topic))
    }

    /// Returns the last message up to which it lacks nothing.
    fn reach(&self, model: &Model) -> Seq {
        let lacks = model.held.iter().filter(|held| held.seq > self.position && self.wants(held));
        lacks.map(|held| held.seq - 1).min().unwrap_or(model.last)
    }
}

#[derive(Debug, Default)]
struct Model {
    held: Vec<Held>,
    last: Seq,
    now: u64,
    sessions: BTreeMap<usize, Session>,
    /// The position, and the time at which it was seen.
    readers: BTreeMap<usize, (Seq, u64)>,
    full: u64,
    age: u64,
}

impl Model {
    /// Does the work at the end of each step.
    fn settle(&mut self) {
        let now = self.now;
        self.sessions.retain(|_, s| s.attached || now - s.seen < EXPIRY);
        self.readers.retain(|_, (_, seen)| now - *seen < AGE);
        let reaches: Vec<Seq> = self.sessions.values().map(|s| s.reach(self)).collect();
        let positions = self.readers.values().map(|(position, _)| *position);
        if let Some(floor) = reaches.into_iter().chain(positions).min() {
            self.held.retain(|held| held.seq > floor);
        }
        while self.held.iter().map(|held| held.size).sum::<u64>() > BOUND {
            self.held.remove(0);
            self.full += 1;
        }
        while self.held.first().is_some_and(|held| now - held.at >= AGE) {
            self.held.remove(0);
            self.age += 1;
        }
    }

    fn first(&self) -> Seq {
        self.held.first().map_or(self.last + 1, |held| held.seq)
    }
}

struct Pair {
    desk: Desk,
    model: Model,
    holds: BTreeMap<usize, Hold>,
    deaths: u32,
    seen: BTreeSet<&'static str>,
}

impl Pair {
    fn new() -> Self {
        let desk = Desk::with(|config| {
            config.max_bytes = BOUND;
            config.max_age = Duration::from_secs(AGE);
            config.session_expiry = Duration::from_secs(EXPIRY);
        });
        let (model, holds) = (Model::default(), BTreeMap::new());
        Self { desk, model, holds, deaths: 0, seen: BTreeSet::new() }
    }

    fn put(&mut self, topic: usize, size: usize) {
        let topic = TOPICS[topic];
        let payload = "x".repeat(size);
        let new = message(topic, &payload);
        let seq = self.desk.put(topic, &payload).unwrap();
        self.model.last += 1;
        assert_eq!(seq, self.model.last);
        let at = self.model.now;
        self.model.held.push(Held { seq, topic, payload, size: new.size(), at });
    }

    fn attach(&mut self, session: usize, clean: bool) {
        let inbox = self.desk.inbox.clone();
        let name = session.to_string();
        let attached = inbox.attach(&name, None, clean, None);
        let (attached, hold) = self.desk.ask(attached).unwrap().unwrap();
        let model = &mut self.model;
        model.sessions.retain(|n, s| *n != session || s.attached || model.now - s.seen < EXPIRY);
        let known = model.sessions.remove(&session).filter(|_| !clean);
        assert_eq!(attached.present, known.is_some());
        let mut known = known.unwrap_or(Session { position: model.last, ..Session::default() });
        known.attached = true;
        model.sessions.insert(session, known);
        self.holds.insert(session, hold);
        self.seen.insert(if attached.present { "present" } else { "absent" });
    }

    /// Compares the messages it gets now with the list.
    fn pull(&mut self, session: usize) -> Vec<Seq> {
        let Some(hold) = self.holds.get(&session) else { return Vec::new() };
        let model = &self.model.sessions[&session];
        let wanted = |held: &&Held| held.seq > model.position && model.wants(held);
        let expected: Vec<&Held> = self.model.held.iter().filter(wanted).collect();
        let page = self.desk.ask(hold.next(model.position, 100)).unwrap();
        assert_eq!(page.messages.len(), expected.len());
        for (got, held) in page.messages.iter().zip(&expected) {
            assert_eq!((got.seq, text(&got.payload)), (held.seq, held.payload.clone()));
        }
        expected.iter().map(|held| held.seq).collect()
    }

    fn read(&mut self, reader: usize) -> Vec<String> {
        let model = &mut self.model;
        let now = model.now;
        model.readers.retain(|_, (_, seen)| now - *seen < AGE);
        let first = model.first();
        let known = model.readers.entry(reader).or_insert((first - 1, now));
        known.1 = now;
        let inbox = self.desk.inbox.clone();
        let page = self.desk.ask(inbox.read(&reader.to_string(), None, 100)).unwrap();
        let position = known.0;
        assert_eq!(page.missed, u64::try_from((first - 1 - position).max(0)).unwrap());
        let expected: Vec<_> = model.held.iter().filter(|held| held.seq > position).collect();
        let got: Vec<_> = page.messages.iter().map(|(_, m)| (m.seq, text(&m.payload))).collect();
        let expected: Vec<_> = expected.iter().map(|h| (h.seq, h.payload.clone())).collect();
        assert_eq!(got, expected);
        page.messages.iter().map(|(cursor, _)| cursor.to_string()).collect()
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Put { topic, size } => self.put(topic, size),
            Op::PutFails => {
                self.desk.fail(1);
                assert!(self.desk.put("a/x", "fails").is_err());
            }
            Op::Attach { session, clean } => self.attach(session, clean),
            Op::Detach(session) => {
                if self.holds.remove(&session).is_some() {
                    let model = self.model.sessions.get_mut(&session).unwrap();
                    (model.attached, model.seen) = (false, self.model.now);
                    self.desk.pump();
                }
            }
            Op::Subscribe(session, filter) => {
                if let Some(hold) = self.holds.get(&session) {
                    let filter = FILTERS[filter];
                    self.desk.ask(hold.subscribe(vec![(filter.to_owned(), 1)])).unwrap();
                    let model = self.model.sessions.get_mut(&session).unwrap();
                    model.filters.entry(filter).or_insert(self.model.last);
                }
            }
            Op::Unsubscribe(session, filter) => {
                if let Some(hold) = self.holds.get(&session) {
                    let filter = FILTERS[filter];
                    let found = self.desk.ask(hold.unsubscribe(vec![filter.to_owned()])).unwrap();
                    let model = self.model.sessions.get_mut(&session).unwrap();
                    assert_eq!(found, [model.filters.remove(filter).is_some()]);
                }
            }
            Op::Confirm(session, nth) => {
                if let Some(seq) = self.pull(session).get(nth).copied() {
                    self.seen.insert("confirmed");
                    self.desk.ask(self.holds[&session].confirm(seq)).unwrap();
                    self.model.sessions.get_mut(&session).unwrap().position = seq;
                }
            }
            Op::Read(reader) => drop(self.read(reader)),
            Op::ConfirmRead(reader, nth) => {
                let cursors = self.read(reader);
                if let Some(cursor) = cursors.get(nth) {
                    self.seen.insert("confirmed by a reader");
                    self.model.settle();
                    let inbox = self.desk.inbox.clone();
                    self.desk.ask(inbox.confirm(&reader.to_string(), cursor)).unwrap();
                    let seq = cursor.rsplit('-').next().unwrap().parse().unwrap();
                    self.model.readers.get_mut(&reader).unwrap().0 = seq;
                }
            }
            Op::Forget(reader) => {
                let inbox = self.desk.inbox.clone();
                let found = self.desk.ask(inbox.forget(&reader.to_string())).unwrap();
                assert_eq!(found, self.model.readers.remove(&reader).is_some());
            }
            Op::Advance(seconds) => {
                self.model.now += seconds;
                self.desk.pass(Duration::from_secs(seconds));
                self.desk.pump();
            }
            Op::Kill => self.kill(),
        }
        self.check();
    }

    fn kill(&mut self) {
        self.deaths += 1;
        // Their end has no receiver.
        self.holds.clear();
        drop(self.desk.commands.try_iter().collect::<Vec<_>>());
        let Desk { dir, config, now, .. } = std::mem::replace(&mut self.desk, Desk::new());
        self.desk = Desk::open(dir, config, now).unwrap();
        for session in self.model.sessions.values_mut().filter(|s| s.attached) {
            (session.attached, session.seen) = (false, self.model.now);
        }
        (self.model.full, self.model.age) = (0, 0);
        self.desk.pump();
    }

    fn check(&mut self) {
        let gone = self.model.held.len();
        self.model.settle();
        // Messages that a bound removed hold up no session any more.
        self.model.settle();
        self.desk.pump();
        let stat = self.desk.inbox.stat();
        let bytes: u64 = self.model.held.iter().map(|held| held.size).sum();
        let held = u64::try_from(self.model.held.len()).unwrap();
        assert_eq!((stat.messages, stat.bytes), (held, bytes));
        assert_eq!((stat.dropped.full, stat.dropped.age), (self.model.full, self.model.age));
        assert_eq!(stat.readers.len(), self.model.readers.len());
        assert_eq!(stat.sessions.len(), self.model.sessions.len());
        for session in self.holds.keys().copied().collect::<Vec<_>>() {
            self.pull(session);
        }
        if self.model.held.len() < gone {
            self.seen.insert("removed");
        }
        if stat.dropped.full > 0 {
            self.seen.insert("full");
        }
        if stat.dropped.age > 0 {
            self.seen.insert("old");
        }
    }
}

#[test]
fn the_inbox_does_what_a_list_does() {
    let config =
        ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() };
    let seed = proptest::test_runner::TestRng::deterministic_rng(Default::default());
    let seen = std::cell::RefCell::new(BTreeMap::<&str, u32>::new());
    TestRunner::new_with_rng(config, seed)
        .run(&prop::collection::vec(op(), 1..120), |ops| {
            let mut pair = Pair::new();
            for op in ops {
                pair.run(op);
            }
            let mut seen = seen.borrow_mut();
            *seen.entry("deaths").or_default() += pair.deaths;
            for what in pair.seen {
                *seen.entry(what).or_default() += 1;
            }
            Ok(())
        })
        .unwrap();
    // A run that never reached these would prove nothing.
    let seen = seen.into_inner();
    for what in [
        "deaths",
        "present",
        "absent",
        "confirmed",
        "confirmed by a reader",
        "full",
        "old",
        "removed",
    ] {
        assert!(seen.get(what).is_some_and(|count| *count > 5), "{what}: {seen:?}");
    }
}
