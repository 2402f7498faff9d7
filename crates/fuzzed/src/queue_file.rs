//! The queue's files: with any damage, they are opened or rejected, and each served message was
//! stored.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use queue::{Config, Fsync, Inspector, MessageId, NewMessage, Queue};

use crate::damage::{damage, read, write};
use crate::place::{folder, wait_for};

/// The names of the database and of its log.
const FILES: [&str; 2] = ["queue.db", "queue.db-wal"];

/// Lanes of the messages.
const LANES: [&str; 3] = ["a", "b", "c"];

/// Messages of the file before it is damaged.
const MESSAGES: usize = 60;

/// The size of each tenth payload: larger than a page.
const LARGE: usize = 12 * 1024;

/// A message as it was handed in: lane, topic, payload.
type Row = (String, String, Vec<u8>);

/// Files, the messages that were put into them, and the number of messages still in them. If the
/// log is damaged, an acknowledgement may be lost with it, and its message is there again.
struct Stored {
    files: [Vec<u8>; 2],
    rows: BTreeMap<MessageId, Row>,
    held: u64,
}

/// Damages the files of a queue as the input describes, and serves the rest. With an odd first byte
/// the queue was killed and left its log; otherwise it was closed.
pub fn run(input: &[u8]) {
    static CLOSED: OnceLock<Stored> = OnceLock::new();
    static KILLED: OnceLock<Stored> = OnceLock::new();
    let Some((first, damages)) = input.split_first() else { return };
    let stored = match first & 1 {
        0 => CLOSED.get_or_init(|| store(true)),
        _ => KILLED.get_or_init(|| store(false)),
    };
    let dir = folder();
    let mut files = stored.files.clone();
    damage(&mut files, damages);
    write(dir.path(), FILES, &files);
    // The log may end anywhere: content beyond its end counts as never written.
    let is_sound = stored.files[1].is_empty() && files[1].is_empty() && is_sound(dir.path());
    wait_for(serve(dir.path(), stored, is_sound));
}

/// Reports whether the check finds nothing; it may fail, and must not panic.
fn is_sound(dir: &Path) -> bool {
    let Ok(inspector) = Inspector::open(dir) else { return false };
    drop((inspector.stat(), inspector.messages(i64::MIN, 10)));
    inspector.check().is_ok_and(|found| found.is_empty())
}

fn config(dir: &Path) -> Config {
    Config { fsync: Fsync::Off, check: None, ..Config::new(dir) }
}

/// Opens the damaged files, and takes all messages out of them.
async fn serve(dir: &Path, stored: &Stored, is_sound: bool) {
    let Ok(queue) = Queue::open(config(dir)) else {
        assert!(!is_sound, "a sound file is refused");
        return;
    };
    let mut served = 0;
    for lane in LANES {
        // A read of damaged pages may fail, and is followed by a salvage; it must not fail for
        // ever.
        let mut refusal = None;
        for _ in 0..3 {
            let leases = match queue.lease(lane, MESSAGES * 2).await {
                Ok(leases) => leases,
                Err(error) => {
                    refusal = Some(error);
                    continue;
                }
            };
            refusal = None;
            for lease in leases {
                let row = stored.rows.get(&lease.id);
                let served_row = (lease.lane.clone(), lease.topic.clone(), lease.payload.clone());
                assert_eq!(row, Some(&served_row), "what is served was not stored");
                served += 1;
                drop(queue.ack(lease.id, &"m/s".into()).await);
            }
        }
        assert!(
            refusal.is_none(),
            "the lane {lane} cannot be read: {refusal:?}, {:?}",
            queue.stat()
        );
    }
    let stat = queue.stat();
    let known = served + stat.aside.messages + stat.dropped.damaged;
    if is_sound {
        let held = stored.held;
        assert!(known >= held, "{served} served, of {held} in a sound file: {stat:?}");
    }
    let appended = queue.append(NewMessage::new("new", "new", "new")).await;
    queue.close().await;
    if let Ok(receipt) = appended {
        let queue = Queue::open(config(dir)).expect("a queue that took a message opens again");
        let leases = queue.lease("new", 1).await.expect("the message that it took");
        assert!(leases.iter().any(|lease| lease.id == receipt.id), "it was lost: {leases:?}");
        queue.close().await;
    }
}

/// Returns the files of a used queue.
fn store(is_closed: bool) -> Stored {
    let dir = folder();
    let queue = Queue::open(config(dir.path())).expect("a new queue");
    let rows = wait_for(fill(&queue));
    let held = queue.stat().messages;
    if is_closed {
        wait_for(queue.close());
        return Stored { files: read(dir.path(), FILES), rows, held };
    }
    // As a kill would leave them: this queue does not write by itself.
    let files = read(dir.path(), FILES);
    assert!(!files[1].is_empty(), "the log is in use");
    wait_for(queue.close());
    Stored { files, rows, held }
}

/// Puts messages in, and takes some out again.
async fn fill(queue: &Queue) -> BTreeMap<MessageId, Row> {
    let mut rows = BTreeMap::new();
    for number in 0..MESSAGES {
        let lane = LANES[number % LANES.len()];
        let bytes = if number % 10 == 0 { LARGE } else { number };
        let row: Row = (lane.to_owned(), format!("t/{number}"), vec![b'p'; bytes]);
        let (lane, topic, payload) = row.clone();
        let priority = u8::try_from(number % 3).unwrap_or_default();
        let message = NewMessage { priority, ..NewMessage::new(lane, topic, payload) };
        let receipt = queue.append(message).await.expect("room for a message");
        rows.insert(receipt.id, row);
    }
    let first = queue.lease(LANES[0], 4).await.expect("what was put in");
    for (number, lease) in first.iter().enumerate() {
        let done = match number {
            0 => queue.set_aside(lease.id, "test", "words").await,
            _ => queue.ack(lease.id, &"m/s".into()).await,
        };
        assert!(done.expect("it is there"), "{lease:?}");
    }
    rows
}
