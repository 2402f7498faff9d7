//! Tests of behaviour through the handle that need a controlled clock or disk.

mod aside;
mod bounds;
mod delivery;
mod expiry;
mod failure;
mod fate;
mod model;
mod released;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    Config, Key, Lease, MessageId, NewMessage, OVERHEAD, Outcome, Queue, WhenFull, clock::Sources,
};

/// A wall clock that moves only on command.
#[derive(Clone, Default)]
struct TestClock(Arc<AtomicU64>);

impl TestClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000) + Duration::from_millis(self.millis())
    }

    fn millis(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn advance(&self, millis: u64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }

    /// Returns the wall clock and the time since boot, which advance together.
    fn clock(&self) -> Sources {
        let (wall, uptime) = (self.clone(), self.clone());
        Sources {
            wall: Arc::new(move || wall.now()),
            uptime: Arc::new(move || Duration::from_millis(uptime.millis())),
            boot: "boot".to_owned(),
        }
    }
}

fn config(dir: &Path, max_bytes: u64, when_full: WhenFull) -> Config {
    Config { max_bytes, when_full, check: None, ..Config::new(dir) }
}

fn open(dir: &Path) -> Queue {
    Queue::open(config(dir, 1 << 20, WhenFull::Reject)).unwrap()
}

fn open_at(dir: &Path, clock: &TestClock) -> Queue {
    Queue::open_with(config(dir, 1 << 20, WhenFull::Reject), clock.clock(), |_| {}).unwrap()
}

/// Returns a message on lane `l` with `payload`.
fn message(payload: &str) -> NewMessage {
    NewMessage::new("l", "t", payload)
}

/// Returns a message of priority `priority` that is accounted as exactly `size` bytes.
fn sized(priority: u8, size: u64) -> NewMessage {
    let payload = vec![b'x'; usize::try_from(size - OVERHEAD - 1).unwrap()];
    NewMessage { priority, ..NewMessage::new("l", "t", payload) }
}

/// Adds an idempotency key; its digest is that of topic and payload.
fn keyed(key: &str, message: NewMessage) -> NewMessage {
    let digest = crc32fast::hash(&[message.topic.as_bytes(), b" ", &message.payload].concat());
    NewMessage { key: Some(Key { name: key.to_owned(), digest }), ..message }
}

async fn store(queue: &Queue, message: NewMessage) -> MessageId {
    let receipt = queue.append(message).await.unwrap();
    assert_eq!(receipt.outcome, Outcome::Stored);
    receipt.id
}

fn payloads(leases: &[Lease]) -> Vec<String> {
    leases.iter().map(|lease| String::from_utf8(lease.payload.clone()).unwrap()).collect()
}

/// Lets the writer catch up with the clock: any command sweeps.
async fn settle(queue: &Queue) {
    assert!(!queue.release(MessageId::fresh()).await.unwrap());
}
