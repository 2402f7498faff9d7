//! Tests of append, lease, ack, release and transfer: the right messages in the right order.

use std::collections::HashSet;

use super::*;
use crate::{AppendError, InvalidMessage, MAX_LEASES, REMEMBERED, StoreError};
use crate::{order::BucketId, row::Located};

#[tokio::test]
async fn a_message_comes_back_as_it_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let sent = NewMessage {
        payload: (0..=255).collect(),
        topic: "a/\0/ü".to_owned(),
        qos: 2,
        retain: true,
        priority: 9,
        ..message("")
    };
    let id = store(&queue, sent.clone()).await;
    let leases = queue.lease("l", 10).await.unwrap();
    let [lease] = &leases[..] else { panic!("{leases:?}") };
    assert_eq!((lease.id, &lease.topic, &lease.payload), (id, &sent.topic, &sent.payload));
    assert_eq!((lease.qos, lease.retain, lease.priority, lease.attempts), (2, true, 9, 1));
    assert_eq!(id.to_string().parse::<MessageId>().unwrap(), id);
}

#[tokio::test]
async fn higher_priority_first_then_order_of_append() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    for (priority, payload) in [(4, "a"), (0, "b"), (9, "c"), (4, "d"), (9, "e")] {
        store(&queue, NewMessage { priority, ..message(payload) }).await;
    }
    assert_eq!(payloads(&queue.lease("l", 3).await.unwrap()), ["c", "e", "a"]);
    assert_eq!(payloads(&queue.lease("l", 9).await.unwrap()), ["d", "b"]);
    assert!(queue.lease("l", 9).await.unwrap().is_empty());
    assert!(queue.lease("unknown", 9).await.unwrap().is_empty());
    assert!(queue.lease("l", 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_released_message_is_next_again_in_its_old_place() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    for payload in ["a", "b", "c", "d"] {
        store(&queue, message(payload)).await;
    }
    let first = queue.lease("l", 3).await.unwrap();
    assert!(queue.release(first[2].id).await.unwrap());
    assert!(queue.release(first[0].id).await.unwrap());
    assert!(!queue.release(first[0].id).await.unwrap());
    let again = queue.lease("l", 9).await.unwrap();
    assert_eq!(payloads(&again), ["a", "c", "d"]);
    assert_eq!(again.iter().map(|lease| lease.attempts).collect::<Vec<_>>(), [2, 2, 1]);
}

#[tokio::test]
async fn an_ack_is_for_good_and_idempotent() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let leased = store(&queue, message("a")).await;
    let waiting = store(&queue, message("b")).await;
    let kept = store(&queue, message("c")).await;
    queue.lease("l", 1).await.unwrap();
    assert!(queue.ack(leased, &"p".into()).await.unwrap());
    assert!(!queue.ack(leased, &"p".into()).await.unwrap());
    assert!(!queue.release(leased).await.unwrap());
    assert!(
        queue.ack(waiting, &"p".into()).await.unwrap(),
        "an ack may come late, after the release"
    );
    assert!(!queue.ack(MessageId::fresh(), &"p".into()).await.unwrap());
    queue.close().await;
    drop(queue);
    let queue = open(dir.path());
    let left = queue.lease("l", 9).await.unwrap();
    assert_eq!(left.iter().map(|lease| lease.id).collect::<Vec<_>>(), [kept]);
}

#[tokio::test]
async fn a_dropped_ack_is_an_ack() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let id = store(&queue, message("a")).await;
    drop(queue.ack(id, &"p".into()));
    queue.close().await;
    drop(queue);
    assert_eq!(open(dir.path()).stat().messages, 0);
}

#[tokio::test]
async fn messages_on_their_way_to_a_dropped_lease_are_released() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    store(&queue, message("a")).await;
    for _ in 0..50 {
        // One poll sends the command; the answer may or may not be there when it is dropped.
        let mut lease = Box::pin(queue.lease("l", 1));
        let poll = std::future::poll_fn(|cx| std::task::Poll::Ready(lease.as_mut().poll(cx))).await;
        if let std::task::Poll::Ready(leases) = poll {
            queue.release(leases.unwrap()[0].id).await.unwrap();
        }
    }
    // The writer leases and answers in turn; its own releases are at the end of the line.
    settle(&queue).await;
    settle(&queue).await;
    assert_eq!(queue.stat().leased, 0);
    assert_eq!(queue.lease("l", 1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_restart_frees_all_leases_and_keeps_the_order() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    for payload in ["a", "b", "c"] {
        store(&queue, message(payload)).await;
    }
    let leases = queue.lease("l", 2).await.unwrap();
    queue.ack(leases[1].id, &"p".into()).await.unwrap();
    let before = queue.stat();
    assert_eq!((before.messages, before.leased), (2, 1));
    drop(queue);
    let queue = open(dir.path());
    let after = queue.stat();
    assert_eq!((after.messages, after.bytes, after.leased), (2, before.bytes, 0));
    assert_eq!(after.oldest, before.oldest);
    store(&queue, message("d")).await;
    assert_eq!(payloads(&queue.lease("l", 9).await.unwrap()), ["a", "c", "d"]);
}

#[tokio::test]
async fn a_key_answers_the_first_id_also_after_ack_and_restart() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let keyed = |key: &str| keyed(key, message("a"));
    let (one, two) = tokio::join!(queue.append(keyed("k")), queue.append(keyed("k")));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!((one.outcome, two.outcome), (Outcome::Stored, Outcome::Duplicate));
    assert_eq!(one.id, two.id);
    assert_eq!(queue.stat().messages, 1);
    assert!(queue.ack(one.id, &"p".into()).await.unwrap());
    drop(queue);
    let queue = open(dir.path());
    let again = queue.append(keyed("k")).await.unwrap();
    assert_eq!((again.id, again.outcome), (one.id, Outcome::Duplicate));
    store(&queue, keyed("other")).await;
    // Another message must not be answered as if it had been taken.
    let id = one.id;
    for other in [message("b"), NewMessage { topic: "u".to_owned(), ..message("a") }] {
        let other = super::keyed("k", other);
        let refused = queue.append(other).await.unwrap_err();
        assert!(matches!(refused, AppendError::OtherContent { id: of } if of == id), "{refused}");
    }
}

#[test]
fn the_keys_of_the_newest_messages_are_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = crate::store::Store::open(dir.path(), crate::Fsync::Off).unwrap();
    let most = i64::from(REMEMBERED);
    store.begin().unwrap();
    for seq in 1..=most + 1_024 {
        let at = Located {
            seq,
            bucket: BucketId(1),
            id: MessageId::at(seq),
            size: 1,
            qos: 1,
            expires_at: None,
        };
        let key = Key { name: seq.to_string(), digest: 7 };
        store.remember(&key, &at, 1, 0).unwrap();
        if seq == 1 {
            // The map of keys is loaded from now on.
            assert!(store.recall("1").unwrap().is_some());
        }
    }
    store.commit().unwrap();
    let mut recalls = |seq: i64| store.recall(&seq.to_string()).unwrap().map(|seen| seen.id);
    assert!((1..=1_024).all(|seq| recalls(seq).is_none()), "the oldest are forgotten");
    assert!((1_025..=most + 1_024).all(|seq| recalls(seq).is_some_and(|id| id.seq() == seq)));
}

#[tokio::test]
async fn a_transfer_keeps_id_priority_and_place() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    for (lane, payload) in [("l", "a"), ("m", "b"), ("l", "c"), ("m", "d")] {
        store(&queue, NewMessage { lane: lane.to_owned(), ..message(payload) }).await;
    }
    let from = queue.lease("l", 1).await.unwrap();
    let there = queue.lease("m", 1).await.unwrap();
    assert_eq!(payloads(&there), ["b"]);
    assert!(queue.transfer(from[0].id, "m").await.unwrap());
    assert!(!queue.release(from[0].id).await.unwrap(), "the lease ended");
    assert!(!queue.transfer(MessageId::fresh(), "m").await.unwrap());
    let leases = queue.lease("m", 9).await.unwrap();
    assert_eq!(payloads(&leases), ["a", "d"], "before the rows after it, though passed already");
    assert_eq!(leases[0].id, from[0].id);
    drop(queue);
    let queue = open(dir.path());
    assert_eq!(payloads(&queue.lease("m", 9).await.unwrap()), ["a", "b", "d"]);
    assert_eq!(queue.stat().lanes["m"].messages, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_is_leased_twice() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let appends = (0..200).map(|n| queue.append(message(&n.to_string()))).collect::<Vec<_>>();
    for append in join_all(appends).await {
        append.unwrap();
    }
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let queue = queue.clone();
        tasks.spawn(async move {
            let mut got = Vec::new();
            loop {
                let leases = queue.lease("l", 7).await.unwrap();
                if leases.is_empty() {
                    return got;
                }
                got.extend(leases.into_iter().map(|lease| lease.id));
            }
        });
    }
    let all: Vec<MessageId> = tasks.join_all().await.concat();
    assert_eq!(all.len(), 200);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 200);
}

#[tokio::test]
async fn waiting_appends_share_commits() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let appends = (0..256).map(|n| queue.append(message(&n.to_string()))).collect::<Vec<_>>();
    for append in join_all(appends).await {
        append.unwrap();
    }
    let stat = queue.stat();
    assert_eq!(stat.messages, 256);
    assert!((1..=64).contains(&stat.commits), "{} commits", stat.commits);
    assert_eq!(queue.lease("l", 256).await.unwrap().len(), 256);
    assert_eq!(queue.stat().commits, stat.commits, "a lease writes nothing");
}

#[tokio::test]
async fn a_lease_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let appends = (0..MAX_LEASES + 10).map(|_| queue.append(message(""))).collect::<Vec<_>>();
    join_all(appends).await;
    assert_eq!(queue.lease("l", usize::MAX).await.unwrap().len(), MAX_LEASES);
    assert_eq!(queue.lease("l", usize::MAX).await.unwrap().len(), 10);
}

#[tokio::test]
async fn watchers_learn_of_appends_and_releases() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let mut watch = queue.watch();
    assert!(!watch.has_changed().unwrap());
    store(&queue, message("a")).await;
    assert!(watch.has_changed().unwrap());
    watch.mark_unchanged();
    let leases = queue.lease("l", 1).await.unwrap();
    assert!(!watch.has_changed().unwrap());
    queue.release(leases[0].id).await.unwrap();
    assert!(watch.has_changed().unwrap());
}

#[tokio::test]
async fn after_close_everything_says_closed() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let other = queue.clone();
    let id = store(&queue, message("a")).await;
    queue.close().await;
    queue.close().await;
    assert!(matches!(other.ack(id, &"p".into()).await, Err(StoreError::Closed)));
    assert!(matches!(other.release(id).await, Err(StoreError::Closed)));
    assert!(matches!(other.lease("l", 1).await, Err(StoreError::Closed)));
    let closed = other.append(message("b")).await.unwrap_err();
    assert_eq!(closed.to_string(), "could not use the queue: it is closed");
    // The log is moved into the file, and the lock is free while handles are still held.
    let log = std::fs::read(dir.path().join("queue.db-wal")).unwrap();
    assert_eq!(log[..32], [0; 32], "it keeps its space and says that it is empty");
    assert_eq!(open(dir.path()).stat().messages, 1);
}

#[tokio::test]
async fn what_the_format_cannot_hold_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let refused = |message| async {
        match queue.append(message).await {
            Err(AppendError::Invalid(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    let bad = NewMessage { qos: 3, ..message("") };
    assert_eq!(refused(bad).await, InvalidMessage::Qos(3));
    let bad = NewMessage { priority: 10, ..message("") };
    assert_eq!(refused(bad).await, InvalidMessage::Priority(10));
    let bad = NewMessage { lane: "x".repeat(257), ..message("") };
    assert_eq!(refused(bad).await, InvalidMessage::Lane { length: 257 });
    let bad = keyed(&"x".repeat(257), message(""));
    assert_eq!(refused(bad).await, InvalidMessage::Key { length: 257 });
    let bad = NewMessage { topic: "x".repeat(65_536), ..message("") };
    assert_eq!(refused(bad).await, InvalidMessage::Topic { length: 65_536 });
}

/// Polls all futures to their end at the same time.
pub(super) async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(|f| (Box::pin(f), None)).collect();
    std::future::poll_fn(|cx| {
        let mut pending = false;
        for (future, output) in futures.iter_mut().filter(|(_, output)| output.is_none()) {
            match future.as_mut().poll(cx) {
                std::task::Poll::Ready(done) => *output = Some(done),
                std::task::Poll::Pending => pending = true,
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    futures.into_iter().map(|(_, output)| output.unwrap()).collect()
}

#[tokio::test]
async fn what_is_below_the_floor_waits_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    for (payload, priority) in [("a", 1), ("b", 5), ("c", 1), ("d", 9)] {
        store(&queue, NewMessage { priority, ..message(payload) }).await;
    }
    assert_eq!(payloads(&queue.lease_from("l", 9, 5).await.unwrap()), ["d", "b"]);
    assert_eq!(payloads(&queue.lease_from("l", 9, 5).await.unwrap()), [""; 0]);
    assert_eq!(payloads(&queue.lease_from("l", 9, 10).await.unwrap()), [""; 0]);
    assert_eq!(payloads(&queue.lease("l", 9).await.unwrap()), ["a", "c"]);
}

#[tokio::test]
async fn what_is_passed_over_waits_until_somebody_looks_again() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(config(dir.path(), 1_000, WhenFull::DropOldest)).unwrap();
    for payload in ["a", "b", "c", "d"] {
        store(&queue, message(payload)).await;
    }
    let leases = queue.lease("l", 3).await.unwrap();
    let mut watch = queue.watch();
    watch.mark_unchanged();
    assert!(queue.pass_over(leases[0].id).await.unwrap());
    assert!(!queue.pass_over(leases[0].id).await.unwrap());
    assert!(!watch.has_changed().unwrap(), "nothing came that can be leased");
    assert!(queue.release(leases[1].id).await.unwrap());
    assert_eq!(payloads(&queue.lease("l", 1).await.unwrap()), ["b"]);
    assert_eq!(queue.trace(leases[0].id).await.unwrap().unwrap().state, crate::State::Waiting);
    assert!(queue.look_again("l").await.unwrap() && watch.has_changed().unwrap());
    assert!(!queue.look_again("l").await.unwrap() && !queue.look_again("m").await.unwrap());
    // Each is leased once, and leased messages stay leased.
    assert_eq!(payloads(&queue.lease("l", 9).await.unwrap()), ["a", "d"]);
    assert!(queue.lease("l", 9).await.unwrap().is_empty());
    // A message that was passed over gives way like any other waiting message.
    assert!(queue.pass_over(leases[0].id).await.unwrap());
    store(&queue, sized(4, 600)).await;
    assert_eq!(
        queue.trace(leases[0].id).await.unwrap().unwrap().state,
        crate::State::Dropped { reason: crate::Reason::Full }
    );
}
