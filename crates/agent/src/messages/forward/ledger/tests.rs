//! The ledger between a queue and sessions that are values too: what holds whatever happens, and what forbidden
//! topics cost.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// Places of each session's window.
const WINDOW: usize = 2;

/// A place; the session counts those that are taken.
struct Token(Rc<Cell<usize>>);

impl Drop for Token {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The place where the queue has a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Waiting,
    Passed,
    Leased,
    Delivered,
    Aside,
}

struct Message {
    lease: Lease,
    at: At,
}

/// A session: it publishes one message after the other.
#[derive(Default)]
struct Session {
    up: bool,
    is_stalled: bool,
    /// The longest payload it takes.
    most: usize,
    line: VecDeque<FlightId>,
    taken: Rc<Cell<usize>>,
}

impl Session {
    fn is_free(&self) -> bool {
        self.up && !self.is_stalled
    }
}

struct World {
    now: Instant,
    ledger: Ledger<Token>,
    queue: BTreeMap<usize, Message>,
    appended: usize,
    numbers: HashMap<MessageId, usize>,
    sessions: Vec<Session>,
    /// The messages of each flight.
    cargo: BTreeMap<FlightId, Vec<usize>>,
    excused: BTreeMap<FlightId, bool>,
    /// Ends on their way to the disk.
    commits: VecDeque<Order>,
    /// The messages that the broker saw, in order, with repetitions.
    seen: Vec<usize>,
    reach: Vec<bool>,
    has_unfit: bool,
}

struct Free<'a>(&'a [Session]);

impl Destinations for Free<'_> {
    fn destination(&self, lease: &Lease) -> Destination {
        let fits = |session: &Session| lease.payload.len() <= session.most;
        if let Some(path) = self.0.iter().position(|session| session.is_free() && fits(session)) {
            return Destination::Path(path);
        }
        if self.0.iter().any(fits) { Destination::Later } else { Destination::Never }
    }
}

impl World {
    fn new(most: &[usize]) -> Self {
        let session = |most: &usize| Session { up: true, most: *most, ..Session::default() };
        Self {
            now: Instant::now(),
            ledger: Ledger::new(),
            queue: BTreeMap::new(),
            appended: 0,
            numbers: HashMap::new(),
            sessions: most.iter().map(session).collect(),
            cargo: BTreeMap::new(),
            excused: BTreeMap::new(),
            commits: VecDeque::new(),
            seen: Vec::new(),
            reach: vec![false; most.len()],
            has_unfit: false,
        }
    }

    fn append(&mut self, topic: &str, size: usize) -> usize {
        let number = self.appended;
        self.appended += 1;
        let id: MessageId = uuid::Uuid::now_v7().to_string().parse().unwrap();
        let lease = Lease {
            id,
            lane: String::new(),
            topic: topic.to_owned(),
            payload: vec![0; size],
            qos: 1,
            retain: false,
            priority: 4,
            appended_at: SystemTime::UNIX_EPOCH,
            attempts: 1,
        };
        self.numbers.insert(id, number);
        self.queue.insert(number, Message { lease, at: At::Waiting });
        number
    }

    fn put(&mut self, id: MessageId, at: At) {
        self.queue.get_mut(&self.numbers[&id]).unwrap().at = at;
    }

    fn withdraw_all(&mut self) {
        for id in self.ledger.withdraw_all() {
            self.put(id, At::Waiting);
        }
    }

    fn look_again(&mut self) {
        self.withdraw_all();
        for message in self.queue.values_mut().filter(|message| message.at == At::Passed) {
            message.at = At::Waiting;
        }
        self.ledger.looked_again();
        self.has_unfit = false;
    }

    /// Does what a forwarder does after each event.
    fn drive(&mut self) {
        for (path, _) in self.sessions.iter().enumerate().filter(|(_, session)| session.is_free()) {
            self.ledger.path_is_free(path, self.now);
        }
        for flight in self.movable() {
            self.ledger.move_on(flight);
        }
        let reach: Vec<bool> = self.sessions.iter().map(Session::is_free).collect();
        let gains = reach.iter().zip(&self.reach).any(|(now, before)| *now && !before);
        self.reach = reach;
        if !self.reach.contains(&true) {
            return self.look_again();
        }
        if self.ledger.wants_all() || gains && self.has_unfit {
            self.look_again();
        }
        for round in 0.. {
            assert!(round < 10_000, "it comes to no end");
            if !self.give() && !self.lease() {
                break;
            }
            if self.ledger.wants_all() {
                self.look_again();
            }
        }
    }

    fn movable(&self) -> Vec<FlightId> {
        let takes = |at: usize, lease: &Lease| {
            self.sessions[at].is_free() && lease.payload.len() <= self.sessions[at].most
        };
        let stalled = self.ledger.all_stalled().into_iter();
        stalled
            .filter(|(_, path, lease)| {
                (0..self.sessions.len()).any(|at| at != *path && takes(at, lease))
            })
            .map(|(flight, ..)| flight)
            .collect()
    }

    fn lease(&mut self) -> bool {
        if self.ledger.waiting() >= 4 || self.ledger.len() > 300 {
            return false;
        }
        let next = self.queue.values_mut().filter(|message| message.at == At::Waiting).take(4);
        let mut some = false;
        for message in next {
            some = true;
            message.at = match self.ledger.admit(message.lease.clone()) {
                Ok(_) => At::Leased,
                Err(_) => At::Passed,
            };
        }
        some
    }

    fn give(&mut self) -> bool {
        let more = self.queue.values().any(|message| message.at == At::Waiting);
        let out = self.ledger.outbound(&Free(&self.sessions), self.now, more);
        let mut some = false;
        for (order, destination) in out.misfits {
            if destination == Destination::Later {
                if let Some(lease) = self.ledger.withdraw(order) {
                    self.put(lease.id, At::Passed);
                    (some, self.has_unfit) = (true, true);
                }
            } else {
                self.ledger.set_aside(order, "refused", "");
                self.commits.push_back(order);
                some = true;
            }
        }
        let next = out.by_path.into_iter().filter_map(|(path, all)| Some((path, *all.first()?)));
        for (path, order) in out.trial.into_iter().chain(next) {
            let taken = Rc::clone(&self.sessions[path].taken);
            if taken.get() < WINDOW && !some {
                taken.set(taken.get() + 1);
                let number = self.numbers[&self.ledger.lease(order).unwrap().id];
                let flight = self.ledger.give(&[order], path, Token(taken));
                self.cargo.insert(flight, vec![number]);
                self.excused.insert(flight, self.ledger.is_excused(flight));
                self.sessions[path].line.push_back(flight);
                some = true;
            }
        }
        some
    }

    fn land(&mut self, flight: FlightId, landing: Landing) {
        let landed = self.ledger.landed(flight, landing, self.now);
        self.commits.extend(landed.ending);
    }

    /// The session ends: what it published last, if `seen`, was seen by the broker.
    fn end(&mut self, path: usize, seen: bool, first: Landing) {
        let line = std::mem::take(&mut self.sessions[path].line);
        self.sessions[path].up = false;
        self.sessions[path].is_stalled = false;
        for (at, flight) in line.into_iter().enumerate() {
            if at == 0 && seen {
                self.seen.extend(&self.cargo[&flight]);
            }
            self.land(flight, if at == 0 { first.clone() } else { Landing::Back });
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Append { topic, size } => drop(self.append(&format!("t/{topic}"), size)),
            Step::Up(path) => self.sessions[path].up = true,
            Step::Down { path, seen } => self.end(path, seen, Landing::Back),
            Step::Kick(path) if !self.sessions[path].line.is_empty() => {
                self.end(path, false, Landing::Kicked);
            }
            Step::Result { path, good } => {
                if let Some(flight) = self.sessions[path].line.pop_front() {
                    self.sessions[path].is_stalled = false;
                    if good {
                        self.seen.extend(&self.cargo[&flight]);
                    }
                    let refused = Landing::Refused(String::new());
                    self.land(flight, if good { Landing::Acknowledged } else { refused });
                }
            }
            Step::Stall(path) => {
                let session = &mut self.sessions[path];
                if session.up && !session.is_stalled && !session.line.is_empty() {
                    session.is_stalled = true;
                    let behind = session.line.split_off(1);
                    self.ledger.stalled(self.sessions[path].line[0]);
                    behind.into_iter().for_each(|flight| self.land(flight, Landing::Back));
                }
            }
            Step::Commit(good) => {
                if let Some(order) = self.commits.pop_front() {
                    if good { self.committed(order) } else { self.ledger.not_committed(order) }
                }
            }
            Step::Wait(seconds) => {
                self.now += Duration::from_secs(seconds);
                self.commits.extend(self.ledger.again());
            }
            Step::Kick(_) => {}
        }
        self.drive();
    }

    fn committed(&mut self, order: Order) {
        if let Some((lease, end)) = self.ledger.end(order) {
            let (id, end) = (lease.id, end.clone());
            self.put(id, if matches!(end, End::Aside { .. }) { At::Aside } else { At::Delivered });
        }
        self.ledger.committed(order);
    }

    /// Checks what holds at any time.
    fn check(&self) {
        let held: Vec<usize> =
            self.ledger.entries.values().map(|entry| self.numbers[&entry.lease.id]).collect();
        let mut once = held.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), held.len(), "no message is in two places");
        let leased = self.queue.iter().filter(|(_, message)| message.at == At::Leased);
        let leased: Vec<usize> = leased.map(|(number, _)| *number).collect();
        assert_eq!(once, leased, "all that is leased is in a place");
        for (order, entry) in &self.ledger.entries {
            let flights = self.ledger.flights.values();
            match &entry.state {
                State::Ready => {}
                State::Given(id) | State::Stalled(id) => {
                    let flight = &self.ledger.flights[id];
                    assert!(flight.open.contains(order) && !flight.has_ended && !flight.is_late);
                }
                State::Ending { end: End::Acknowledged { path }, .. } => {
                    let mut theirs = flights.filter(|f| f.path == *path && f.open.contains(order));
                    assert!(theirs.next().is_some(), "delivered, not on disk, and without a place");
                }
                State::Ending { .. } => {}
            }
        }
        for (path, session) in self.sessions.iter().enumerate() {
            let flights = self.ledger.flights.values().filter(|flight| flight.path == path).count();
            assert!(session.taken.get() <= WINDOW && flights == session.taken.get());
        }
        assert!(self.ledger.suspects().count() <= MOST_SUSPECTS + 2 * WINDOW);
        let ending =
            self.ledger.entries.values().filter(|e| matches!(e.state, State::Ending { .. }));
        assert!(self.ledger.len() <= 8 + MOST_SUSPECTS + 2 * WINDOW + ending.count());
    }

    /// Checks that of each topic the broker saw first what came first.
    fn assert_order(&self) {
        let mut last: HashMap<&str, usize> = HashMap::new();
        let mut first_seen = HashSet::new();
        for number in self.seen.iter().filter(|number| first_seen.insert(**number)) {
            let topic = self.queue[number].lease.topic.as_str();
            let before = last.insert(topic, *number);
            assert!(
                before.is_none_or(|before| before < *number),
                "{topic}: {number} after {before:?}"
            );
        }
    }

    /// All goes well from now on, but for forbidden topics.
    fn settle(&mut self, is_forbidden: impl Fn(&str) -> bool) {
        let is_over = |message: &Message| matches!(message.at, At::Delivered | At::Aside);
        for _ in 0..4_000 {
            if self.queue.values().all(is_over) {
                return;
            }
            for path in 0..self.sessions.len() {
                self.sessions[path].up = true;
                let first = self.sessions[path].line.front().copied();
                let Some(flight) = first else { continue };
                let number = self.cargo[&flight][0];
                if is_forbidden(&self.queue[&number].lease.topic) {
                    self.step(&Step::Kick(path));
                } else {
                    self.step(&Step::Result { path, good: true });
                }
                self.check();
            }
            self.step(&Step::Commit(true));
            self.step(&Step::Wait(1));
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append { topic: u8, size: usize },
    Up(usize),
    Down { path: usize, seen: bool },
    Kick(usize),
    Result { path: usize, good: bool },
    Stall(usize),
    Commit(bool),
    Wait(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4_u8, 1..4_usize).prop_map(|(topic, size)| Step::Append { topic, size }),
        2 => (0..2_usize).prop_map(Step::Up),
        1 => (0..2_usize, any::<bool>()).prop_map(|(path, seen)| Step::Down { path, seen }),
        1 => (0..2_usize).prop_map(Step::Kick),
        6 => (0..2_usize).prop_map(|path| Step::Result { path, good: true }),
        1 => (0..2_usize).prop_map(|path| Step::Result { path, good: false }),
        1 => (0..2_usize).prop_map(Step::Stall),
        6 => prop::bool::weighted(0.8).prop_map(Step::Commit),
        1 => (0..100_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_message_is_in_one_place_and_what_is_not_on_disk_within_the_window(
        steps in prop::collection::vec(any_step(), 0..80),
    ) {
        let mut world = World::new(&[3, 1]);
        for step in &steps {
            world.step(step);
            world.check();
        }
    }

    /// Sessions come and go, and results stay out until they break.
    #[test]
    fn of_a_topic_none_overtakes_where_all_paths_take_all(
        steps in prop::collection::vec(any_step(), 0..80),
    ) {
        let mut world = World::new(&[3, 3]);
        for step in &steps {
            match step {
                // These set aside, or let others go first.
                Step::Kick(_) | Step::Result { good: false, .. } | Step::Stall(_) => {}
                step => world.step(step),
            }
            world.assert_order();
        }
    }

    /// Sizes alternate, and the small ones may take either path.
    #[test]
    fn of_a_topic_none_overtakes_while_all_paths_are_up(
        steps in prop::collection::vec(any_step(), 0..80),
        most in prop::sample::select(vec![[1, 3], [3, 1], [2, 3]]),
    ) {
        let mut world = World::new(&most);
        for step in &steps {
            match step {
                Step::Append { .. } | Step::Result { good: true, .. } | Step::Commit(_) | Step::Wait(_) => {
                    world.step(step);
                }
                _ => {}
            }
            world.assert_order();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happened_all_is_delivered_or_aside_in_the_end(
        steps in prop::collection::vec(any_step(), 0..80),
        has_forbidden in any::<bool>(),
    ) {
        let mut world = World::new(&[3, 1]);
        for step in &steps {
            world.step(step);
        }
        // Something else flows, by which a forbidden topic is known.
        for number in 0..200 {
            world.append(&format!("flow/{number}"), 1);
        }
        world.settle(|topic| has_forbidden && topic == "t/0");
        for message in world.queue.values() {
            let topic = message.lease.topic.as_str();
            let is_over = matches!(message.at, At::Delivered | At::Aside);
            prop_assert!(is_over || has_forbidden && topic == "t/0", "{topic} {:?}", message.at);
        }
        prop_assert!(world.sessions.iter().all(|session| session.taken.get() <= usize::from(has_forbidden)));
    }
}

#[test]
fn however_many_fit_only_a_path_that_is_down_those_behind_them_go() {
    let mut world = World::new(&[3, 1]);
    world.sessions[0].up = false;
    for number in 0..1_000 {
        world.append(&format!("large/{number}"), 3);
    }
    let small = world.append("small", 1);
    world.drive();
    world.step(&Step::Result { path: 1, good: true });
    assert_eq!(world.seen, [small]);
    assert!(world.ledger.len() <= 2, "none of them is held");
    // The path comes: they go first, in their order.
    world.append("large/0", 3);
    world.step(&Step::Up(0));
    for _ in 0..1_001 {
        world.step(&Step::Result { path: 0, good: true });
        world.step(&Step::Commit(true));
        world.step(&Step::Commit(true));
    }
    let want: Vec<usize> = [small].into_iter().chain(0..1_000).chain([1_001]).collect();
    assert_eq!(world.seen, want);
}

#[test]
fn on_a_disk_that_takes_nothing_no_more_is_published_than_the_window_holds() {
    let mut world = World::new(&[3]);
    for number in 0..100 {
        world.append(&number.to_string(), 1);
    }
    world.drive();
    for _ in 0..50 {
        world.step(&Step::Result { path: 0, good: true });
        world.step(&Step::Commit(false));
        world.step(&Step::Wait(1));
    }
    assert_eq!(world.seen, [0, 1]);
    for _ in 0..200 {
        world.step(&Step::Commit(true));
        world.step(&Step::Result { path: 0, good: true });
    }
    assert_eq!(world.seen, (0..100).collect::<Vec<_>>(), "each once");
}

/// The time of a publish, that of a closed session until its CONNECT is sent at the earliest, and that of a CONNECT.
const PUBLISH: Duration = Duration::from_millis(50);
const RECONNECT: Duration = Duration::from_secs(1);
const CONNECT: Duration = Duration::from_millis(500);

/// A broker that closes the session under each message of `forbid/#`, minute after minute.
struct Trial {
    world: World,
    wait: Duration,
    kicks: u32,
}

impl Trial {
    fn new() -> Self {
        Self { world: World::new(&[3]), wait: RECONNECT, kicks: 0 }
    }

    /// One publish, or a pause where there is none.
    fn go_on(&mut self) {
        let world = &mut self.world;
        world.now += PUBLISH;
        let Some(flight) = world.sessions[0].line.front().copied() else { return world.drive() };
        let number = world.cargo[&flight][0];
        if !world.queue[&number].lease.topic.starts_with("forbid/") {
            world.step(&Step::Result { path: 0, good: true });
        } else {
            self.kicks += 1;
            // The back-off of a session at its worst.
            let excused = world.excused[&flight];
            self.wait =
                if excused { self.wait } else { (self.wait * 3).min(Duration::from_secs(20)) };
            world.step(&Step::Kick(0));
            world.now += CONNECT + if excused { RECONNECT } else { self.wait };
            world.step(&Step::Up(0));
        }
        while !world.commits.is_empty() {
            world.step(&Step::Commit(true));
        }
        world.check();
    }

    fn count(&self, begins: &str, at: At) -> usize {
        let is = |message: &&Message| message.lease.topic.starts_with(begins) && message.at == at;
        self.world.queue.values().filter(is).count()
    }
}

#[test]
fn a_forbidden_message_each_ten_seconds_leaves_nine_tenths_of_the_time_to_others() {
    let mut trial = Trial::new();
    let (start, long) = (trial.world.now, Duration::from_secs(900));
    let (mut good, mut forbidden, mut delivered) = (0, 0, 0);
    while trial.world.now - start < long {
        if (trial.world.now - start).as_secs() / 10 >= forbidden {
            forbidden += 1;
            trial.world.append("forbid/topic", 1);
        }
        while trial.count("good/", At::Waiting) < 8 {
            good += 1;
            trial.world.append(&format!("good/{}", good % 7), 1);
        }
        trial.go_on();
        // What is over is counted, and only slows the test down.
        let before = trial.world.queue.len();
        trial.world.queue.retain(|_, message| message.at != At::Delivered);
        delivered += before - trial.world.queue.len();
        trial.world.cargo.retain(|flight, _| trial.world.ledger.flights.contains_key(flight));
    }
    let spent = trial.world.now - start;
    let possible = usize::try_from(spent.as_millis() / PUBLISH.as_millis()).unwrap();
    let left = trial.count("forbid/", At::Waiting) + trial.count("forbid/", At::Passed);
    eprintln!("{delivered} of {possible} in {spent:?}, {} kicks, {left} left", trial.kicks);
    assert!(delivered * 10 >= possible * 9, "{delivered} of {possible} in {spent:?}");
    assert!(left < 20, "and they do not pile up: {left}");
}

#[test]
fn fifty_forbidden_at_the_head_cost_others_seconds() {
    for distinct in [false, true] {
        let mut trial = Trial::new();
        for number in 0..50 {
            let topic =
                if distinct { format!("forbid/{number}") } else { "forbid/topic".to_owned() };
            trial.world.append(&topic, 1);
        }
        for number in 0..365 {
            trial.world.append(&format!("good/{}", number % 5), 1);
        }
        let start = trial.world.now;
        trial.world.drive();
        while trial.count("good/", At::Delivered) < 365 {
            assert!(trial.world.now - start < Duration::from_secs(600), "{distinct}");
            trial.go_on();
        }
        let cost = trial.world.now - start - PUBLISH * 365;
        eprintln!("distinct {distinct}: {cost:?}, {} kicks", trial.kicks);
        assert!(cost < Duration::from_secs(30), "{distinct}: {cost:?}, {} kicks", trial.kicks);
    }
}

#[test]
fn doubts_stay_bounded_whatever_becomes_of_the_messages() {
    let mut doubts = Doubts::default();
    let id = || -> MessageId { uuid::Uuid::now_v7().to_string().parse().unwrap() };
    for number in 0..10 * TOPICS {
        // Each is lost under once and never seen again, as one that expires.
        doubts.kicked(&format!("t/{number}"), &[id()], 0, true, Instant::now());
        doubts.kicked("one", &[id()], 0, true, Instant::now());
    }
    assert_eq!(doubts.topics.len(), TOPICS);
    let messages: usize = doubts.topics.values().map(|doubt| doubt.messages.len()).sum();
    assert!(messages < 2 * TOPICS + 256, "{messages}");
    assert!(doubts.covers("one", MessageId::nil()), "what is met again and again is remembered");
}
