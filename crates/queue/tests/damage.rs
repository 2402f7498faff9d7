//! Tests of damage on disk: readable messages are served, others are counted, and the damaged file
//! is kept.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must panic"
)]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};

use queue::{Config, Inspector, Lease, NewMessage, Queue, WhenFull};
use tempfile::TempDir;

const COUNT: u32 = 1_000;
const PAGE: u64 = 1024;

fn open(dir: &Path) -> Queue {
    Queue::open(Config { check: None, ..Config::new(dir) }).unwrap()
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn payload(n: u32) -> Vec<u8> {
    format!("{n} {}", "x".repeat(usize::try_from(n % 400).unwrap())).into_bytes()
}

/// Returns the number of a message, which must be whole.
fn number(lease: &Lease) -> u32 {
    let text = std::str::from_utf8(&lease.payload).unwrap();
    let n = text.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(lease.payload, payload(n));
    n
}

async fn append(queue: &Queue, numbers: impl Iterator<Item = u32>) {
    let mut tasks = tokio::task::JoinSet::new();
    for n in numbers {
        let queue = queue.clone();
        let message = NewMessage::new(format!("lane {}", n % 3), format!("t/{n}"), payload(n));
        tasks.spawn(async move { queue.append(message).await.unwrap() });
    }
    tasks.join_all().await;
}

/// Returns all messages by their number, with the number of times that each arrived.
async fn drain(queue: &Queue) -> BTreeMap<u32, u32> {
    let mut all = BTreeMap::new();
    for lane in ["lane 0", "lane 1", "lane 2", "salvaged"] {
        loop {
            let leases = queue.lease(lane, 1_024).await.unwrap();
            if leases.is_empty() {
                break;
            }
            for lease in leases {
                *all.entry(number(&lease)).or_default() += 1;
            }
        }
    }
    all
}

/// Makes a queue of [`COUNT`] messages, 100 of them acked and one set aside, and closes it.
fn filled() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let queue = open(dir.path());
        append(&queue, COUNT..COUNT + 100).await;
        for lane in ["lane 0", "lane 1", "lane 2"] {
            for lease in queue.lease(lane, 100).await.unwrap() {
                queue.ack(lease.id, &"p".into()).await.unwrap();
            }
        }
        assert_eq!(queue.stat().messages, 0);
        append(&queue, 0..COUNT).await;
        let lease = queue.lease("lane 0", 1).await.unwrap().remove(0);
        assert!(queue.set_aside(lease.id, "poison", "the broker kicks").await.unwrap());
        queue.close().await;
    });
    dir
}

fn file(dir: &TempDir) -> PathBuf {
    dir.path().join("queue.db")
}

fn garbage(dir: &TempDir, page: u64) {
    let file = File::options().write(true).open(file(dir)).unwrap();
    let mut random = fastrand::Rng::with_seed(page);
    let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(1024).collect();
    file.write_all_at(&bytes, page * PAGE).unwrap();
}

/// Returns the pages that hold messages.
fn pages_of_messages(dir: &TempDir) -> Vec<u64> {
    let bytes = fs::read(file(dir)).unwrap();
    let is_leaf = |page: &&[u8]| page[0] == 13 && page.windows(4).any(|window| window == b"xxxx");
    let pages = (0..).zip(bytes.chunks(1024));
    pages.filter(|(_, page)| is_leaf(page)).map(|(number, _)| number).collect()
}

/// Returns the folders that keep the damaged files.
fn kept(dir: &TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.file_name().unwrap().as_encoded_bytes().starts_with(b"damaged-"))
        .collect()
}

/// Opens the queue, and asserts that each message arrives once and no acked message returns.
/// Missing messages must be counted, and the queue must go on. Returns the number of messages left.
fn serves_the_rest(dir: &TempDir) -> u64 {
    let before = fs::read(file(dir)).unwrap();
    let sound = Inspector::open(dir.path())
        .is_ok_and(|inspector| inspector.check().is_ok_and(|found| found.is_empty()));
    let left = block_on(async {
        let check = Some(Duration::from_millis(20));
        let queue = Queue::open(Config { check, ..Config::new(dir.path()) }).unwrap();
        let found = async {
            while !sound && queue.stat().salvages == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), found).await.expect("damage is found");
        let all = drain(&queue).await;
        assert!(all.values().all(|times| *times == 1), "twice: {all:?}");
        assert!(all.keys().all(|n| *n < COUNT), "acked and back");
        let stat = queue.stat();
        let left = u64::try_from(all.len()).unwrap() + stat.aside.messages;
        assert_eq!(stat.messages, left);
        if stat.salvages > 0 {
            assert_eq!(stat.dropped.damaged, u64::from(COUNT) - left, "counted");
            assert_eq!(kept(dir).len(), 1);
            let file = fs::read(kept(dir)[0].join("queue.db")).unwrap();
            assert_eq!(file.len(), before.len());
            // The writes of a start (the time, a total) may be in it.
            let pages = file.chunks(1024).zip(before.chunks(1024)).skip(1);
            let changed = pages.filter(|(now, then)| now != then);
            let changed = changed.count();
            assert!(changed <= 16, "kept as it was: {changed} pages differ");
        }
        append(&queue, 0..1).await;
        assert_eq!(queue.lease("lane 0", 1).await.unwrap().len(), 1);
        queue.close().await;
        left
    });
    let inspector = Inspector::open(dir.path()).unwrap();
    assert_eq!(inspector.check().unwrap(), Vec::<String>::new());
    left
}

#[test]
fn a_sound_file_is_left_alone() {
    let dir = filled();
    assert_eq!(serves_the_rest(&dir), u64::from(COUNT));
    assert!(kept(&dir).is_empty());
}

#[test]
fn a_page_of_garbage_costs_what_is_on_it() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut worst = u64::from(COUNT);
    for round in 0..12 {
        let dir = filled();
        let pages = fs::metadata(file(&dir)).unwrap().len() / PAGE;
        let of_messages = pages_of_messages(&dir);
        assert!(of_messages.len() > 100);
        let page = match round % 3 {
            0 => random.u64(1..pages),
            // The roots of tables and indices are among the first.
            1 => random.u64(1..20),
            _ => of_messages[random.usize(..of_messages.len())],
        };
        garbage(&dir, page);
        let left = serves_the_rest(&dir);
        assert!(round % 3 != 2 || left > u64::from(COUNT) - 12, "{left}");
        worst = worst.min(left);
    }
    assert!(worst > u64::from(COUNT) / 2, "{worst} left of {COUNT}");
}

#[test]
fn a_first_page_of_garbage_costs_nothing() {
    let dir = filled();
    garbage(&dir, 0);
    assert_eq!(serves_the_rest(&dir), u64::from(COUNT));
    assert_eq!(kept(&dir).len(), 1);
    assert_eq!(fs::read(kept(&dir)[0].join("queue.db-page1")).unwrap().len(), 2048);
}

#[test]
fn a_file_that_was_cut_loses_what_was_cut() {
    let length = fs::metadata(file(&filled())).unwrap().len();
    let mut last = 0;
    for part in [10, 50, 90, 95, 99] {
        let dir = filled();
        // Not at the end of a page.
        let at = length * part / 100 + 77;
        File::options().write(true).open(file(&dir)).unwrap().set_len(at).unwrap();
        let left = serves_the_rest(&dir);
        assert!(left >= last, "{left} are left of {part} per cent, {last} of fewer");
        assert_eq!(kept(&dir).len(), 1);
        last = left;
    }
    assert!(last > u64::from(COUNT) / 2, "{last}");
}

#[test]
fn a_file_of_which_nothing_is_left_is_kept_and_the_queue_goes_on() {
    let dir = filled();
    File::options().write(true).open(file(&dir)).unwrap().set_len(77).unwrap();
    let queue = open(dir.path());
    assert_eq!((queue.stat().messages, queue.stat().salvages), (0, 1));
    assert_eq!(kept(&dir).len(), 1);
    block_on(append(&queue, 0..3));
    assert_eq!(block_on(drain(&queue)).len(), 3);
}

#[test]
fn an_emptied_file_does_not_take_its_log_along() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("queue.db-wal");
    let queue = open(dir.path());
    block_on(append(&queue, 0..3));
    let copy = tempfile::tempdir().unwrap();
    fs::write(copy.path().join("queue.db"), b"").unwrap();
    fs::copy(&log, copy.path().join("queue.db-wal")).unwrap();
    let queue = open(copy.path());
    let all = block_on(drain(&queue));
    assert_eq!(all.into_keys().collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_flipped_bit_is_not_sent_on() {
    let dir = filled();
    let bytes = fs::read(file(&dir)).unwrap();
    // In the payload of a message, where no structure of the file would show it.
    let mark = b"t/399399 ";
    let at = bytes.windows(mark.len()).position(|window| window == mark).unwrap() + 40;
    let flipped = [bytes[at] ^ 0x20];
    let open_file = File::options().write(true).open(file(&dir)).unwrap();
    open_file.write_all_at(&flipped, u64::try_from(at).unwrap()).unwrap();
    let found = Inspector::open(dir.path()).unwrap().check().unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with("does not match its checksum"), "{found:?}");
    block_on(async {
        let queue = open(dir.path());
        let all = drain(&queue).await;
        assert_eq!((all.len(), all.contains_key(&399)), (998, false));
        assert_eq!((queue.stat().aside.messages, queue.stat().leased), (2, 998));
    });
}

/// A byte that is not UTF-8 must not block the lane for ever.
#[test]
fn a_flipped_bit_in_a_topic_sets_the_message_aside() {
    let dir = filled();
    let bytes = fs::read(file(&dir)).unwrap();
    let mark = b"t/399399 ";
    let at = bytes.windows(mark.len()).position(|window| window == mark).unwrap();
    let open_file = File::options().write(true).open(file(&dir)).unwrap();
    open_file.write_all_at(&[bytes[at] ^ 0x80], u64::try_from(at).unwrap()).unwrap();
    let found = Inspector::open(dir.path()).unwrap().check().unwrap();
    assert!(
        matches!(&found[..], [one] if one.ends_with("does not match its checksum")),
        "{found:?}"
    );
    block_on(async {
        let queue = open(dir.path());
        let all = drain(&queue).await;
        assert_eq!((all.len(), all.contains_key(&399)), (998, false));
        assert_eq!((queue.stat().aside.messages, queue.stat().salvages), (2, 0));
    });
}

/// A number outside the range of our columns: its row is unreadable, and all others are readable.
#[test]
fn a_value_that_was_never_written_costs_its_message() {
    for change in ["qos = 300", "crc = -1"] {
        let dir = filled();
        let conn = rusqlite::Connection::open(file(&dir)).unwrap();
        conn.execute(&format!("update message set {change} where topic = 't/399'"), []).unwrap();
        drop(conn);
        block_on(async {
            let queue = open(dir.path());
            let all = drain(&queue).await;
            let stat = queue.stat();
            assert_eq!((all.len(), all.contains_key(&399)), (998, false), "{change}: {stat:?}");
            assert_eq!(stat.dropped.damaged + stat.aside.messages, 2, "{change}: {stat:?}");
        });
    }
}

#[test]
fn damage_that_comes_while_it_is_served_is_salvaged_under_way() {
    let dir = filled();
    block_on(async {
        let queue = open(dir.path());
        let held = queue.lease("lane 1", 1).await.unwrap().remove(0);
        for page in pages_of_messages(&dir).into_iter().skip(9).step_by(9) {
            garbage(&dir, page);
        }
        let all = drain(&queue).await;
        let stat = queue.stat();
        assert!(stat.salvages > 0);
        assert!(all.len() > 100, "{}", all.len());
        assert_eq!(stat.dropped.damaged + stat.messages, u64::from(COUNT));
        assert!(all.keys().all(|n| *n < COUNT) && all.values().all(|times| *times == 1));
        // Its lease went on if it was saved: it was not handed out again.
        assert!(!all.contains_key(&number(&held)));
        append(&queue, 0..1).await;
        queue.close().await;
    });
    assert_eq!(Inspector::open(dir.path()).unwrap().check().unwrap(), Vec::<String>::new());
}

#[test]
fn the_check_in_the_background_finds_what_nobody_asked_for() {
    let dir = filled();
    let pages = pages_of_messages(&dir);
    block_on(async {
        let often = Config { check: Some(Duration::from_millis(50)), ..Config::new(dir.path()) };
        let queue = Queue::open(often).unwrap();
        assert_eq!(queue.stat().salvages, 0);
        garbage(&dir, pages[pages.len() / 2]);
        let found = async {
            while queue.stat().salvages == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), found).await.expect("the check finds it");
        let stat = queue.stat();
        assert_eq!(stat.dropped.damaged + stat.messages, u64::from(COUNT));
        assert_eq!(stat.aside.messages, 1);
    });
}

/// Waits until the check in the background found damage.
async fn salvaged(queue: &Queue) {
    let found = async {
        while queue.stat().salvages == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found).await.expect("the check finds it");
}

/// With the table of the lanes all messages come into one lane, whose number another lane had.
#[test]
fn leases_follow_their_messages_into_the_lane_of_what_was_saved() {
    let dir = filled();
    block_on(async {
        let often = Config { check: Some(Duration::from_millis(50)), ..Config::new(dir.path()) };
        let queue = Queue::open(often).unwrap();
        let leases = queue.lease("lane 1", 100).await.unwrap();
        assert_eq!(leases.len(), 100);
        let released = queue.lease("lane 0", 200).await.unwrap();
        for lease in released {
            assert!(queue.release(lease.id).await.unwrap());
        }
        garbage(&dir, 1);
        salvaged(&queue).await;
        let all = drain(&queue).await;
        let stat = queue.stat();
        assert_eq!((all.len(), stat.leased, stat.messages), (899, 999, 1_000), "{stat:?}");
        assert_eq!(stat.aside.messages, 1, "what was set aside is not sent");
        assert!(leases.iter().all(|lease| !all.contains_key(&number(lease))), "leased twice");
        for lease in leases {
            assert!(queue.ack(lease.id, &"p".into()).await.unwrap());
        }
        assert_eq!((queue.stat().leased, queue.stat().messages), (899, 900));
        queue.close().await;
    });
    assert_eq!(Inspector::open(dir.path()).unwrap().check().unwrap(), Vec::<String>::new());
}

#[test]
fn what_was_released_and_is_lost_is_not_in_the_way_of_those_behind_it() {
    let dir = filled();
    block_on(async {
        let config = Config {
            check: Some(Duration::from_millis(50)),
            max_messages: Some(500),
            when_full: WhenFull::DropOldest,
            ..Config::new(dir.path())
        };
        let queue = open(dir.path());
        for lane in ["lane 1", "lane 2"] {
            for lease in queue.lease(lane, 1_024).await.unwrap() {
                assert!(queue.ack(lease.id, &"p".into()).await.unwrap());
            }
        }
        queue.close().await;
        let queue = Queue::open(config).unwrap();
        for lease in queue.lease("lane 0", 1_024).await.unwrap() {
            assert!(queue.release(lease.id).await.unwrap());
        }
        // Pages that hold one of the first messages, or did.
        let bytes = fs::read(file(&dir)).unwrap();
        let mark = b"t/33 xxx";
        let places = bytes
            .chunks(1024)
            .zip(0..)
            .filter(|(page, _)| page.windows(mark.len()).any(|window| window == mark));
        places.for_each(|(_, page)| garbage(&dir, page));
        salvaged(&queue).await;
        assert!(queue.stat().dropped.damaged > 0);
        append(&queue, (0..COUNT).filter(|n| n % 3 == 0)).await;
        assert_eq!(queue.stat().messages, 500);
        assert!(queue.stat().dropped.full > 0);
    });
}
