//! Tests of the bound and its three policies.

use super::*;
use crate::{AppendError, Failing, StoreError};

fn full(dir: &Path, when_full: WhenFull) -> Queue {
    Queue::open(config(dir, 1000, when_full)).unwrap()
}

#[tokio::test]
async fn reject_says_full_until_something_is_acked() {
    let dir = tempfile::tempdir().unwrap();
    let queue = full(dir.path(), WhenFull::Reject);
    let first = store(&queue, sized(4, 600)).await;
    store(&queue, sized(4, 400)).await;
    assert_eq!(queue.stat().bytes, 1000, "the bound is inclusive");
    let error = queue.append(sized(9, 129)).await.unwrap_err();
    assert!(
        matches!(error, AppendError::Full { max_bytes: 1000, max_messages: None }),
        "{error:?}"
    );
    assert_eq!(queue.stat().dropped.full, 0, "a refusal is no loss");
    queue.ack(first, &"p".into()).await.unwrap();
    store(&queue, sized(4, 600)).await;
}

#[tokio::test]
async fn drop_newest_gives_up_the_new_one_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let queue = full(dir.path(), WhenFull::DropNewest);
    store(&queue, sized(4, 900)).await;
    let keyed = keyed("k", sized(4, 200));
    let receipt = queue.append(keyed.clone()).await.unwrap();
    assert_eq!(receipt.outcome, Outcome::Dropped);
    let receipt = queue.append(keyed).await.unwrap();
    assert_eq!(receipt.outcome, Outcome::Dropped, "the key of a dropped one is not remembered");
    let stat = queue.stat();
    assert_eq!((stat.messages, stat.dropped.full), (1, 2));
    assert_eq!(stat.dropped.by_reason()[..2], [("full", 2), ("expired", 0)]);
}

#[tokio::test]
async fn drop_oldest_evicts_the_lowest_priority_first_then_the_oldest_of_all_lanes() {
    let dir = tempfile::tempdir().unwrap();
    let queue = full(dir.path(), WhenFull::DropOldest);
    let high = store(&queue, sized(5, 250)).await;
    let other = NewMessage { lane: "m".to_owned(), ..sized(4, 250) };
    let oldest = store(&queue, other).await;
    let newer = store(&queue, sized(4, 250)).await;
    let low = store(&queue, sized(1, 250)).await;
    store(&queue, sized(4, 200)).await;
    assert!(!queue.ack(low, &"p".into()).await.unwrap(), "lowest priority goes first");
    store(&queue, sized(4, 200)).await;
    assert!(!queue.ack(oldest, &"p".into()).await.unwrap(), "then the oldest, whatever its lane");
    assert!(queue.ack(newer, &"p".into()).await.unwrap());
    assert!(queue.ack(high, &"p".into()).await.unwrap());
    assert_eq!(queue.stat().dropped.full, 2);
}

#[tokio::test]
async fn drop_oldest_spares_leased_and_higher_ones() {
    let dir = tempfile::tempdir().unwrap();
    let queue = full(dir.path(), WhenFull::DropOldest);
    store(&queue, sized(4, 400)).await;
    store(&queue, sized(4, 400)).await;
    let leases = queue.lease("l", 1).await.unwrap();
    store(&queue, sized(4, 600)).await;
    assert!(queue.ack(leases[0].id, &"p".into()).await.unwrap(), "the leased one was spared");
    let receipt = queue.append(sized(3, 600)).await.unwrap();
    assert_eq!(receipt.outcome, Outcome::Dropped, "a lower one evicts no higher one");
    let held = queue.lease("l", 9).await.unwrap();
    assert_eq!(held.len(), 1);
    let error = queue.append(sized(9, 600)).await.unwrap_err();
    assert!(matches!(error, AppendError::Full { .. }), "all is leased: {error:?}");
    queue.release(held[0].id).await.unwrap();
    store(&queue, sized(9, 600)).await;
    assert!(!queue.ack(held[0].id, &"p".into()).await.unwrap(), "a released one is evicted");
    assert_eq!(queue.stat().dropped.full, 3);
}

#[tokio::test]
async fn what_is_leased_is_not_evicted_once_passed_over_messages_are_looked_at_again() {
    let dir = tempfile::tempdir().unwrap();
    let queue = full(dir.path(), WhenFull::DropOldest);
    let first = store(&queue, sized(4, 300)).await;
    let passed = store(&queue, sized(4, 300)).await;
    let last = store(&queue, sized(4, 300)).await;
    assert_eq!(queue.lease("l", 9).await.unwrap().len(), 3);
    assert!(queue.pass_over(passed).await.unwrap());
    assert!(queue.look_again("l").await.unwrap());
    // The lane begins from its first message again, and two of its messages are leased.
    store(&queue, sized(4, 400)).await;
    for leased in [first, last] {
        assert!(queue.ack(leased, &"p".into()).await.unwrap(), "it was on its way");
    }
    assert!(!queue.ack(passed, &"p".into()).await.unwrap(), "it waited, and gave way");
    assert_eq!((queue.stat().messages, queue.stat().dropped.full), (1, 1));
}

#[tokio::test]
async fn nothing_is_evicted_in_vain() {
    let dir = tempfile::tempdir().unwrap();
    let queue = full(dir.path(), WhenFull::DropOldest);
    store(&queue, sized(4, 500)).await;
    let leased = queue.lease("l", 1).await.unwrap();
    let small = store(&queue, sized(4, 200)).await;
    let error = queue.append(sized(4, 900)).await.unwrap_err();
    assert!(matches!(error, AppendError::Full { .. }), "{error:?}");
    assert!(queue.ack(small, &"p".into()).await.unwrap());
    assert!(queue.ack(leased[0].id, &"p".into()).await.unwrap());
}

#[tokio::test]
async fn larger_than_the_bound_is_too_large_under_every_policy() {
    for policy in [WhenFull::Reject, WhenFull::DropOldest, WhenFull::DropNewest] {
        let dir = tempfile::tempdir().unwrap();
        let queue = full(dir.path(), policy);
        store(&queue, sized(4, 200)).await;
        let error = queue.append(sized(4, 1001)).await.unwrap_err();
        assert!(matches!(error, AppendError::TooLarge { size: 1001, max_bytes: 1000 }));
        assert_eq!(queue.stat().messages, 1);
    }
}

#[tokio::test]
async fn a_bound_that_shrank_is_met_by_the_next_append() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    for _ in 0..5 {
        store(&queue, sized(4, 500)).await;
    }
    drop(queue);
    let queue = full(dir.path(), WhenFull::DropOldest);
    assert_eq!(queue.stat().bytes, 2500);
    store(&queue, sized(4, 500)).await;
    assert_eq!((queue.stat().bytes, queue.stat().dropped.full), (1000, 4));
}

fn with(dir: &Path, change: impl FnOnce(&mut Config)) -> Config {
    let mut config = config(dir, 1 << 20, WhenFull::Reject);
    change(&mut config);
    config
}

#[tokio::test]
async fn a_bound_by_count_holds_under_each_policy() {
    for (policy, dropped) in
        [(WhenFull::Reject, 0), (WhenFull::DropNewest, 1), (WhenFull::DropOldest, 1)]
    {
        let dir = tempfile::tempdir().unwrap();
        let config = with(dir.path(), |c| (c.max_messages, c.when_full) = (Some(2), policy));
        let queue = Queue::open(config).unwrap();
        let first = store(&queue, message("1")).await;
        store(&queue, message("2")).await;
        let third = queue.append(message("3")).await;
        assert_eq!((queue.stat().messages, queue.stat().dropped.full), (2, dropped));
        match policy {
            WhenFull::Reject => {
                let error = third.unwrap_err();
                assert!(error.to_string().ends_with(" and 2 messages"), "{error}");
            }
            WhenFull::DropNewest => assert_eq!(third.unwrap().outcome, Outcome::Dropped),
            WhenFull::DropOldest => {
                assert!(!queue.ack(first, &"p".into()).await.unwrap(), "it gave way")
            }
        }
    }
}

#[tokio::test]
async fn what_is_older_than_the_bound_goes_and_what_is_leased_stays() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), TestClock::default());
    let aged = || with(dir.path(), |c| c.max_age = Some(Duration::from_millis(1_000)));
    let queue = Queue::open_with(aged(), clock.clock(), |_| {}).unwrap();
    let leased = store(&queue, message("leased")).await;
    queue.lease("l", 1).await.unwrap();
    store(&queue, message("old")).await;
    clock.advance(600);
    store(&queue, message("young")).await;
    clock.advance(400);
    settle(&queue).await;
    assert_eq!((queue.stat().messages, queue.stat().dropped.age), (2, 1));
    assert_eq!(queue.stat().dropped.expired, 0);
    assert!(queue.release(leased).await.unwrap());
    clock.advance(60_000);
    settle(&queue).await;
    assert_eq!((queue.stat().messages, queue.stat().dropped.age), (0, 3));
    // A start finds messages that grew old meanwhile.
    store(&queue, message("left")).await;
    drop(queue);
    clock.advance(1_000);
    let queue = Queue::open_with(aged(), clock.clock(), |_| {}).unwrap();
    settle(&queue).await;
    assert_eq!((queue.stat().messages, queue.stat().dropped.age), (0, 1));
}

#[tokio::test]
async fn files_that_are_taken_away_are_noticed_and_nothing_more_goes_into_them() {
    for gone in ["queue.db-wal", "queue.db", ""] {
        let dir = tempfile::tempdir().unwrap();
        let queue = Queue::open(with(&dir.path().join("queue"), |_| {})).unwrap();
        let kept = store(&queue, message("a")).await;
        let path = dir.path().join("queue");
        match gone {
            "" => std::fs::rename(&path, dir.path().join("elsewhere")).unwrap(),
            file => std::fs::remove_file(path.join(file)).unwrap(),
        }
        let told = async {
            while queue.stat().failing != Some(Failing::Removed) {
                tokio::time::sleep(Duration::from_millis(20)).await;
                settle(&queue).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), told).await.expect("it is noticed");
        let refused = queue.append(message("b")).await.unwrap_err();
        assert!(matches!(refused, AppendError::Store(StoreError::Removed)), "{refused}");
        assert!(queue.ack(kept, &"p".into()).await.unwrap(), "what leaves still leaves");
    }
}
