//! Tests of a failing disk: nothing is accepted, nothing is forgotten, and the queue goes on.

use std::sync::{Mutex, atomic::AtomicU32};

use super::*;
use crate::{AppendError, Failing, Inspector, OpenError, StoreError, tests::delivery::join_all};

/// Opens a queue whose next commits fail as often as the second value demands.
fn faulty(dir: &Path, config: Config) -> (Queue, Arc<AtomicU32>) {
    let faults = Mutex::new(None);
    let queue = Queue::open_with(config, Sources::real(), |store| {
        *faults.lock().unwrap() = Some(Arc::clone(&store.faults));
    });
    assert!(dir.join("queue.db").exists());
    (queue.unwrap(), faults.into_inner().unwrap().unwrap())
}

/// Returns the figures without those of failures.
fn held(queue: &Queue) -> crate::Stat {
    crate::Stat { failed_commits: 0, failing: None, ..queue.stat() }
}

#[tokio::test]
async fn a_failed_commit_accepts_nothing_and_forgets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, faults) = faulty(dir.path(), config(dir.path(), 1000, WhenFull::DropOldest));
    let leased = store(&queue, sized(4, 300)).await;
    let returned = store(&queue, sized(4, 300)).await;
    let waiting = store(&queue, sized(4, 300)).await;
    queue.lease("l", 2).await.unwrap();
    queue.release(returned).await.unwrap();
    let before = held(&queue);

    faults.store(1, Ordering::SeqCst);
    let evicting = keyed("k", sized(4, 600));
    let error = queue.append(evicting.clone()).await.unwrap_err();
    assert!(matches!(error, AppendError::Store(StoreError::Io(_))), "{error:?}");
    assert_eq!(held(&queue), before);
    faults.store(1, Ordering::SeqCst);
    assert!(matches!(queue.ack(leased, &"p".into()).await, Err(StoreError::Io(_))));
    faults.store(1, Ordering::SeqCst);
    assert!(queue.transfer(returned, "m").await.is_err());
    assert_eq!(held(&queue), before);

    let rest = queue.lease("l", 9).await.unwrap();
    assert_eq!(rest.iter().map(|lease| lease.id).collect::<Vec<_>>(), [returned, waiting]);
    assert_eq!(rest[0].attempts, 2);
    assert!(queue.ack(leased, &"p".into()).await.unwrap(), "still leased, still there");
    queue.release(returned).await.unwrap();
    assert_eq!(queue.append(evicting).await.unwrap().outcome, Outcome::Stored);
    drop(queue);
    assert_eq!(Inspector::open(dir.path()).unwrap().check().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn all_waiting_callers_learn_of_a_failed_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, faults) = faulty(dir.path(), config(dir.path(), 1 << 20, WhenFull::Reject));
    faults.store(u32::MAX, Ordering::SeqCst);
    let appends = (0..50).map(|_| queue.append(message(""))).collect();
    assert!(join_all(appends).await.iter().all(Result::is_err));
    faults.store(0, Ordering::SeqCst);
    assert_eq!((queue.stat().messages, queue.stat().commits), (0, 0));
    store(&queue, message("a")).await;
}

#[tokio::test]
async fn a_failure_is_shown_until_something_can_be_stored_again() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, faults) = faulty(dir.path(), config(dir.path(), 1 << 20, WhenFull::Reject));
    let acked = store(&queue, message("a")).await;
    faults.store(1, Ordering::SeqCst);
    assert!(queue.append(message("b")).await.is_err());
    assert!(queue.ack(acked, &"p".into()).await.unwrap());
    assert_eq!((queue.stat().failing, queue.stat().failed_commits), (Some(Failing::Io), 1));
    let made_good = async {
        while queue.stat().failing.is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // No command is sent meanwhile.
    tokio::time::timeout(Duration::from_secs(10), made_good).await.expect("it is tried again");
    assert_eq!(queue.stat().messages, 0);
}

#[tokio::test]
async fn on_a_full_disk_acks_go_through_and_make_room() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Gate::default();
    let config = config(dir.path(), 1 << 30, WhenFull::Reject);
    let queue = Queue::open_with(config, gate.clock(), |store| store.limit_pages(2_200)).unwrap();
    let mut stored = Vec::new();
    let error = loop {
        match queue.append(sized(4, 1500)).await {
            Ok(receipt) => stored.push(receipt.id),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AppendError::Store(StoreError::DiskFull(_))), "{error:?}");
    assert!(stored.len() > 50, "{}", stored.len());
    let count = u64::try_from(stored.len()).unwrap();
    assert_eq!(queue.stat().messages, count);

    // In one batch the put must not make the ack fail.
    let (put, ack) = in_one_batch(&queue, &gate, sized(4, 100_000), stored[0]).await;
    assert!(matches!(put.unwrap_err(), AppendError::Store(StoreError::DiskFull(_))));
    assert!(ack.unwrap());
    assert_eq!(queue.stat().failing, Some(Failing::DiskFull), "an ack makes that not good");
    for id in &stored[1..20] {
        assert!(queue.ack(*id, &"p".into()).await.unwrap());
    }
    store(&queue, sized(4, 1500)).await;
    drop(queue);
    assert_eq!(open(dir.path()).stat().messages, count - 19);
}

/// A clock that holds the writer at the start of a batch.
#[derive(Clone, Default)]
struct Gate {
    closed: Arc<Mutex<()>>,
    batches: Arc<AtomicU32>,
}

impl Gate {
    fn clock(&self) -> Sources {
        let (gate, real) = (self.clone(), Sources::real());
        let uptime = Arc::clone(&real.uptime);
        let gated = move || {
            gate.batches.fetch_add(1, Ordering::SeqCst);
            drop(gate.closed.lock().unwrap());
            uptime()
        };
        Sources { uptime: Arc::new(gated), ..real }
    }
}

/// Sends an append and an ack that the writer finds waiting at the same time.
async fn in_one_batch(
    queue: &Queue,
    gate: &Gate,
    message: NewMessage,
    id: MessageId,
) -> (Result<crate::Receipt, AppendError>, Result<bool, StoreError>) {
    let mut put = Box::pin(queue.append(message));
    let ack = {
        let _closed = gate.closed.lock().unwrap();
        let before = gate.batches.load(Ordering::SeqCst);
        drop(queue.release(MessageId::fresh()));
        while gate.batches.load(Ordering::SeqCst) == before {
            std::thread::yield_now();
        }
        // One poll puts the append into the line.
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(put.as_mut().poll(&mut context).is_pending());
        queue.ack(id, &"p".into())
    };
    (put.await, ack.await)
}

#[test]
fn files_that_are_not_ours_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("queue.db");
    let set = |sql: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();

    set("create table other (x)");
    let error = Queue::open(config(dir.path(), 1000, WhenFull::Reject)).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
    std::fs::remove_file(&path).unwrap();

    drop(open(dir.path()));
    set("pragma user_version = 5");
    let error = Queue::open(config(dir.path(), 1000, WhenFull::Reject)).unwrap_err();
    assert!(matches!(error, OpenError::NewerFormat { found: 5, known: 4, .. }), "{error:?}");
    assert!(error.to_string().ends_with("its format is version 5, this program knows up to 4"));

    std::fs::write(&path, vec![b'x'; 5000]).unwrap();
    // It is not a database at all: it is moved aside, and kept.
    let queue = Queue::open(config(dir.path(), 1000, WhenFull::Reject)).unwrap();
    assert_eq!((queue.stat().messages, queue.stat().salvages), (0, 1));
}

#[tokio::test]
async fn the_inspector_sees_all_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    for payload in ["a", "b", "c"] {
        store(&queue, message(payload)).await;
    }
    queue.lease("l", 1).await.unwrap();
    let inspector = Inspector::open(dir.path()).unwrap();
    let first = inspector.messages(0, 2).unwrap();
    let rest = inspector.messages(first[1].seq, 9).unwrap();
    let all: Vec<_> = first.iter().chain(&rest).map(|record| &record.payload[..]).collect();
    assert_eq!(all, [b"a", b"b", b"c"]);
    assert_eq!(inspector.check().unwrap(), Vec::<String>::new());
    assert_eq!(queue.stat().leased, 1);
    drop(queue);
    let path = dir.path().join("queue.db");
    let sql = "update bucket set messages = 7";
    rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
    let found = Inspector::open(dir.path()).unwrap().check().unwrap();
    assert_eq!(found, ["lane \"l\", priority 4: totals say 7 messages, there are 3"]);
}
