//! Tests of a queue of a released program, taken over by this one: whole, after a kill in the
//! middle, on a full disk. How it was made: data/stored/README.md.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on must panic; a kill at a moment takes a real clock"
)]

#[path = "data/stored/formula.rs"]
mod formula;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use formula::{APPENDED, Fate, LANES, LEASED, LEASED_LANES, WAITING, fate, key, message, reason};
use lzma_rust2::XzReader;
use queue::{Config, Filter, Inspector, Key, MessageId, NewMessage, Outcome, Queue, Record, State};

/// The variable with the folder of the queue that the child opens.
const OPEN: &str = "QUEUE_TEST_OPEN_AND_WAIT";

/// The variable with the folder of the small file system that the child fills.
const FULL: &str = "QUEUE_TEST_FULL_DISK";

/// The number of newest keys that the program of the stored queue remembered.
const KEYS: usize = 10_000;

/// The two files of the stored queue.
struct Stored {
    file: Vec<u8>,
    log: Vec<u8>,
}

impl Stored {
    fn unpack() -> Self {
        let unpack = |packed: &[u8]| {
            let mut bytes = Vec::new();
            XzReader::new(packed, false).read_to_end(&mut bytes).unwrap();
            bytes
        };
        Self {
            file: unpack(include_bytes!("data/stored/queue.db.xz")),
            log: unpack(include_bytes!("data/stored/queue.db-wal.xz")),
        }
    }

    /// Writes the queue into a folder as a killed program leaves it.
    fn lay(&self, dir: &Path) {
        fs::write(dir.join("queue.db"), &self.file).unwrap();
        fs::write(dir.join("queue.db-wal"), &self.log).unwrap();
    }
}

fn config(dir: &Path) -> Config {
    Config { max_bytes: 1 << 30, check: None, ..Config::new(dir) }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Returns all messages by their number, made once.
fn messages() -> &'static [NewMessage] {
    static MESSAGES: OnceLock<Vec<NewMessage>> = OnceLock::new();
    MESSAGES.get_or_init(|| (0..APPENDED).map(message).collect())
}

fn wanted(n: u32) -> &'static NewMessage {
    &messages()[usize::try_from(n).unwrap()]
}

/// Returns the numbers of the held messages, in the order of their append.
fn held() -> Vec<u32> {
    (0..APPENDED).filter(|n| fate(*n) != Fate::Acknowledged).collect()
}

/// Returns the numbers of the messages that wait in a lane, in their order of lease.
fn line(lane: &str) -> Vec<u32> {
    let waits = |n: &u32| fate(*n) == Fate::Waiting && wanted(*n).lane == lane;
    let mut line: Vec<u32> = (0..APPENDED).filter(waits).collect();
    // Stable: within a priority the order of the append remains.
    line.sort_by_key(|n| std::cmp::Reverse(wanted(*n).priority));
    line
}

fn assert_same(record: &Record, n: u32) {
    let NewMessage { lane, topic, payload, qos, retain, priority, expires_at, .. } = wanted(n);
    assert_eq!((&record.lane, &record.topic, &record.payload), (lane, topic, payload), "{n}");
    assert_eq!((record.qos, record.retain, record.priority), (*qos, *retain, *priority), "{n}");
    assert_eq!(record.expires_at, *expires_at, "message {n}");
    assert!(record.intact, "message {n} does not fit its checksum");
    let aside = record.aside.as_ref().map(|aside| (aside.reason.as_str(), aside.words.clone()));
    assert_eq!(aside, (fate(n) == Fate::DeadLetter).then(|| reason(n)), "message {n}");
}

/// Checks each message of an open queue, its totals and its keys. Returns the ids by number.
async fn assert_whole(queue: &Queue, dir: &Path) -> BTreeMap<u32, MessageId> {
    let records = Inspector::open(dir).unwrap().messages(0, u32::MAX).unwrap();
    let numbers = held();
    assert_eq!(records.len(), numbers.len());
    for (record, n) in records.iter().zip(&numbers) {
        assert_same(record, *n);
    }
    let ids: BTreeMap<u32, MessageId> =
        numbers.iter().copied().zip(records.iter().map(|record| record.id)).collect();
    let stat = queue.stat();
    let aside = numbers.len() - usize::try_from(WAITING).unwrap();
    assert_eq!(stat.messages, u64::try_from(numbers.len()).unwrap());
    assert_eq!(stat.aside.messages, u64::try_from(aside).unwrap());
    assert_eq!(stat.bytes, numbers.iter().map(|n| wanted(*n).size()).sum::<u64>());
    assert_eq!(stat.dropped.by_reason().map(|(_, count)| count), [0; 5]);
    for lane in LANES {
        let held = stat.lanes[lane].messages;
        assert_eq!(held, u64::try_from(line(lane).len()).unwrap(), "{lane}");
    }
    assert_keys(queue, &ids).await;
    assert_eq!(queue.stat().messages, stat.messages, "a duplicate is not stored");
    ids
}

/// Hands in again messages with remembered keys, including messages that left.
async fn assert_keys(queue: &Queue, ids: &BTreeMap<u32, MessageId>) {
    let keyed: Vec<u32> = (0..APPENDED).filter(|n| key(*n).is_some()).collect();
    let remembered = &keyed[keyed.len() - KEYS..];
    let left = remembered.iter().filter(|n| fate(**n) == Fate::Acknowledged);
    let (first, last) = (remembered[0], remembered[KEYS - 1]);
    let some = left.copied().chain(remembered.iter().copied().step_by(97)).chain([first, last]);
    for n in some {
        let key = key(n).map(|name| Key { name, digest: 7 });
        let receipt = queue.append(NewMessage { key, ..wanted(n).clone() }).await.unwrap();
        assert_eq!(receipt.outcome, Outcome::Duplicate, "message {n}");
        if let Some(id) = ids.get(&n) {
            assert_eq!(receipt.id, *id, "message {n}");
        }
    }
}

/// Leases and acknowledges waiting messages of a lane until none is left, or `limit` are done.
async fn assert_order(queue: &Queue, lane: &str, limit: usize) {
    let mut due = line(lane).into_iter().take(limit);
    let mut left = limit;
    loop {
        let leases = queue.lease(lane, left.min(500)).await.unwrap();
        if leases.is_empty() {
            break;
        }
        left -= leases.len();
        let mut acks = Vec::new();
        for lease in leases {
            let n = due.next().unwrap_or_else(|| panic!("one too many: {}", lease.topic));
            let NewMessage { topic, payload, qos, retain, priority, .. } = wanted(n);
            assert_eq!((&lease.topic, &lease.payload), (topic, payload), "message {n} of {lane}");
            assert_eq!((lease.qos, lease.retain, lease.priority), (*qos, *retain, *priority));
            acks.push(queue.ack(lease.id, &"m0/s".into()));
        }
        for ack in acks {
            assert!(ack.await.unwrap());
        }
    }
    assert_eq!(due.next(), None, "{lane} ends too early");
}

#[test]
fn all_that_a_released_program_held_is_there_in_its_order() {
    let dir = tempfile::tempdir().unwrap();
    Stored::unpack().lay(dir.path());
    assert_eq!((0..APPENDED).filter(|n| fate(*n) == Fate::Waiting).count(), 100_000);
    block_on(async {
        let queue = Queue::open(config(dir.path())).unwrap();
        let ids = assert_whole(&queue, dir.path()).await;
        assert_eq!(queue.trace(ids[&0]).await.unwrap().unwrap().state, State::Waiting);
        queue.close().await;

        // Once more, since the first opening may have made another file of it.
        let queue = Queue::open(config(dir.path())).unwrap();
        assert_eq!(assert_whole(&queue, dir.path()).await, ids);
        for lane in LANES {
            assert_order(&queue, lane, usize::MAX).await;
        }
        for (n, id) in ids.iter().filter(|(n, _)| fate(**n) == Fate::DeadLetter) {
            assert!(queue.requeue(*id).await.unwrap(), "dead letter {n}");
        }
        for lane in LANES {
            for lease in queue.lease(lane, 500).await.unwrap() {
                assert!(queue.ack(lease.id, &"m0/s".into()).await.unwrap());
            }
        }
        assert_eq!((queue.stat().messages, queue.stat().bytes), (0, 0));
        queue.close().await;
    });
    assert_eq!(Inspector::open(dir.path()).unwrap().check().unwrap(), Vec::<String>::new());
}

#[test]
fn what_was_leased_when_the_program_was_killed_is_free_again() {
    let dir = tempfile::tempdir().unwrap();
    Stored::unpack().lay(dir.path());
    block_on(async {
        let queue = Queue::open(config(dir.path())).unwrap();
        assert_eq!(queue.stat().leased, 0);
        for lane in LEASED_LANES {
            assert_order(&queue, lane, LEASED).await;
        }
    });
}

#[test]
fn a_dead_letter_is_traced_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    Stored::unpack().lay(dir.path());
    let aside = Filter { aside: Some(true), ..Filter::default() };
    block_on(async {
        let queue = Queue::open(config(dir.path())).unwrap();
        let page = Inspector::open(dir.path()).unwrap().page(0, 1, &aside).unwrap();
        let (reason, words) = reason(7); // the first of them
        let trace = queue.trace(page.records[0].id).await.unwrap().unwrap();
        assert_eq!(trace.state, State::DeadLetter { reason: reason.to_owned(), words });
    });
}

/// The process that is killed while it opens the queue, and not a test of its own.
#[test]
fn child() {
    let Ok(dir) = std::env::var(OPEN) else { return };
    let say = |word: &str| std::io::stdout().lock().write_all(word.as_bytes()).unwrap();
    say("\nopening\n");
    let _queue = Queue::open(config(Path::new(&dir))).unwrap();
    say("\nopen\n");
    std::thread::park(); // until the kill
}

/// A process that opens the queue.
struct Opener {
    child: Child,
    begun: Instant,
    /// Receives the end of the opening.
    opened: Receiver<Instant>,
}

impl Opener {
    /// Starts the process, and waits until it is about to open.
    fn start(dir: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child", "--nocapture"]).env(OPEN, dir);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.by_ref().any(|line| line == "opening"));
        let begun = Instant::now();
        let (send, opened) = mpsc::channel();
        // Ends with the process.
        std::thread::spawn(move || {
            if lines.any(|line| line == "open") {
                // The receiver is gone if the process was killed before.
                let _ = send.send(Instant::now());
            }
        });
        Self { child, begun, opened }
    }

    /// Waits until the queue is open, and at most until `moment`; false if it is not open by then.
    fn opens_until(&self, moment: Instant) -> bool {
        match self.opened.recv_timeout(moment.saturating_duration_since(Instant::now())) {
            Ok(_) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => panic!("it ended before the queue was open"),
        }
    }

    /// Waits until something happened; true if the queue is open before that.
    fn opens_before(&self, mut happened: impl FnMut() -> bool) -> bool {
        while !happened() {
            if self.opens_until(Instant::now() + LOOK) {
                return true;
            }
        }
        false
    }

    /// Waits until the queue is open; returns the time that took.
    fn opening(&self) -> Duration {
        let opened = self.opened.recv().unwrap();
        opened.saturating_duration_since(self.begun)
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), None, "it ended by itself: {status}");
    }
}

/// Returns paths and lengths of the files in a folder, and in the folders in it.
fn files(dir: &Path) -> BTreeMap<PathBuf, u64> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok) {
        match entry.metadata() {
            Ok(file) if file.is_dir() => all.extend(files(&entry.path())),
            Ok(file) => drop(all.insert(entry.path(), file.len())),
            Err(_) => {} // it is gone again
        }
    }
    all
}

/// The moment at which a process that opens the queue is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// After this many hundredths of the time of an opening.
    Time(u32),
    /// As soon as the files have changed this often.
    Changes(usize),
    /// As soon as a new file that was made beside the old one takes its name.
    Replaced,
}

/// The interval at which the files are looked at.
const LOOK: Duration = Duration::from_millis(1);

/// Kills a process that opens the queue at this moment of an opening that takes as long as `whole`;
/// at the end of the opening, if that comes first. Returns whether the queue was open by then.
fn kill_at(dir: &Path, moment: Moment, whole: Duration) -> bool {
    let opener = Opener::start(dir);
    let is_open = match moment {
        Moment::Time(hundredths) => opener.opens_until(opener.begun + whole * hundredths / 100),
        Moment::Changes(wanted) => {
            let (mut seen, mut changes) = (files(dir), 0);
            opener.opens_before(|| {
                let now = files(dir);
                changes += usize::from(now != seen);
                seen = now;
                changes >= wanted
            })
        }
        Moment::Replaced => {
            let (made, mut was_made) = (dir.join("takeover/queue.db"), false);
            opener.opens_before(|| {
                let is_made = made.exists();
                was_made |= is_made;
                was_made && !is_made
            })
        }
    };
    opener.kill();
    is_open
}

#[test]
fn killed_in_the_middle_of_the_opening_nothing_is_lost() {
    let stored = Stored::unpack();
    let whole = {
        let dir = tempfile::tempdir().unwrap();
        stored.lay(dir.path());
        let opener = Opener::start(dir.path());
        let took = opener.opening();
        opener.kill();
        took
    };
    use Moment::{Changes, Replaced, Time};
    let twice = [(Time(30), Time(80)), (Changes(3), Replaced), (Changes(20), Changes(8))];
    for (first, second) in twice {
        let dir = tempfile::tempdir().unwrap();
        stored.lay(dir.path());
        let opened = [first, second].map(|moment| kill_at(dir.path(), moment, whole));
        println!("killed at {first:?} and {second:?} of {whole:?}; open by then: {opened:?}");
        let is_early = matches!(first, Changes(_));
        assert!(!is_early || !opened[0], "an opening has more changes than that");
        block_on(async {
            let queue = Queue::open(config(dir.path())).unwrap();
            assert_whole(&queue, dir.path()).await;
            for lane in LANES {
                assert_order(&queue, lane, 50).await;
            }
        });
    }
}

/// A test only if `FULL` names a small file system of its own.
#[test]
fn on_a_full_disk_inside() {
    let Ok(dir) = std::env::var(FULL) else { return };
    let dir = Path::new(&dir);
    let queue = dir.join("queue");
    fs::create_dir(&queue).unwrap();
    Stored::unpack().lay(&queue);
    // As the killed program left them. SQLite rebuilds its index of the log in its old place.
    fs::write(queue.join("queue.db-shm"), [0; 32 * 1024]).unwrap();
    fs::write(queue.join("queue.lock"), "12345\n").unwrap();
    fill(&dir.join("others"));
    let acknowledged = 100;
    block_on(async {
        let held = Queue::open(config(&queue)).unwrap();
        assert_order(&held, LANES[1], acknowledged).await;
        println!("acknowledged {acknowledged} on the full disk");
        held.close().await;
        fs::remove_file(dir.join("others")).unwrap();

        // There is room again: nothing is lost, and no acknowledged message returns.
        let held = Queue::open(config(&queue)).unwrap();
        let left: u64 = held.stat().messages;
        let all = u64::try_from(self::held().len()).unwrap();
        assert_eq!(left, all - u64::try_from(acknowledged).unwrap());
        let next = line(LANES[1])[acknowledged];
        let lease = &held.lease(LANES[1], 1).await.unwrap()[0];
        assert_eq!((&lease.topic, &lease.payload), (&wanted(next).topic, &wanted(next).payload));
        for lane in LANES.iter().filter(|lane| **lane != LANES[1]) {
            assert_order(&held, lane, usize::MAX).await;
        }
    });
}

/// Fills the file system to its last byte.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [1 << 16, 1 << 12, 1] {
        while file.write(&vec![0x55; size]).is_ok() {}
    }
}

#[test]
fn on_a_full_disk_it_goes_on() {
    if !Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success())
    {
        eprintln!("skipped: no user namespace can be made here, so no small file system either");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=40m none \"$1\" && shift && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", mount, "sh"]).arg(dir.path());
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", "on_a_full_disk_inside", "--nocapture"]).env(FULL, dir.path());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("on the full disk"), "{said}\n{told}");
}
