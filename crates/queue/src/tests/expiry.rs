//! Tests of expired messages.

use super::*;
use crate::tests::delivery::join_all;

fn expiring(clock: &TestClock, payload: &str, millis: u64) -> NewMessage {
    NewMessage { expires_at: Some(clock.now() + Duration::from_millis(millis)), ..message(payload) }
}

#[tokio::test]
async fn an_expired_message_is_dropped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::default();
    let queue = open_at(dir.path(), &clock);
    store(&queue, expiring(&clock, "a", 60_000)).await;
    store(&queue, expiring(&clock, "b", 120_000)).await;
    store(&queue, message("c")).await;
    clock.advance(60_000);
    assert_eq!(payloads(&queue.lease("l", 1).await.unwrap()), ["b"]);
    let stat = queue.stat();
    assert_eq!((stat.messages, stat.dropped.expired), (2, 1));
    drop(queue);
    clock.advance(60_000);
    let queue = open_at(dir.path(), &clock);
    assert_eq!(payloads(&queue.lease("l", 9).await.unwrap()), ["c"], "also after a restart");
}

#[tokio::test]
async fn expired_on_arrival_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::default();
    let queue = open_at(dir.path(), &clock);
    let receipt = queue.append(expiring(&clock, "a", 0)).await.unwrap();
    assert_eq!(receipt.outcome, Outcome::Dropped);
    assert_eq!((queue.stat().messages, queue.stat().dropped.expired), (0, 1));
}

#[tokio::test]
async fn a_leased_message_does_not_expire_until_it_is_released() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::default();
    let queue = open_at(dir.path(), &clock);
    let acked = store(&queue, expiring(&clock, "a", 60_000)).await;
    let released = store(&queue, expiring(&clock, "b", 60_000)).await;
    queue.lease("l", 2).await.unwrap();
    clock.advance(60_000);
    settle(&queue).await;
    assert_eq!(queue.stat().messages, 2);
    assert!(queue.ack(acked, &"p".into()).await.unwrap());
    assert!(queue.release(released).await.unwrap());
    assert!(queue.lease("l", 9).await.unwrap().is_empty());
    assert_eq!((queue.stat().messages, queue.stat().dropped.expired), (0, 1));
}

#[tokio::test]
async fn many_that_expire_at_once_do_not_hide_what_lies_behind() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::default();
    let queue = open_at(dir.path(), &clock);
    let appends = (0..3000).map(|_| queue.append(expiring(&clock, "", 60_000))).collect();
    join_all::<_>(appends).await;
    store(&queue, message("behind")).await;
    clock.advance(60_000);
    let mut watch = queue.watch();
    let leases = loop {
        watch.mark_unchanged();
        let leases = queue.lease("l", 9).await.unwrap();
        if !leases.is_empty() {
            break leases;
        }
        watch.changed().await.unwrap();
    };
    assert_eq!(payloads(&leases), ["behind"]);
    let mut watch = queue.watch();
    while queue.stat().messages > 1 {
        watch.changed().await.unwrap();
    }
    assert_eq!(queue.stat().dropped.expired, 3000);
}

#[tokio::test]
async fn expired_messages_make_room() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::default();
    let config = config(dir.path(), 1000, WhenFull::Reject);
    let queue = Queue::open_with(config, clock.clock(), |_| {}).unwrap();
    let expires_at = Some(clock.now() + Duration::from_secs(60));
    store(&queue, NewMessage { expires_at, ..sized(4, 900) }).await;
    clock.advance(60_000);
    store(&queue, sized(4, 900)).await;
}

#[tokio::test]
async fn a_flipped_bit_in_the_time_of_the_last_message_ages_no_other() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), TestClock::default());
    let aged = || Config {
        max_age: Some(Duration::from_secs(60)),
        ..config(dir.path(), 1 << 20, WhenFull::Reject)
    };
    let open = || Queue::open_with(aged(), clock.clock(), |_| {}).unwrap();
    let queue = open();
    store(&queue, message("first")).await;
    store(&queue, expiring(&clock, "expires", 60_000)).await;
    store(&queue, message("last")).await;
    queue.close().await;
    let conn = rusqlite::Connection::open(dir.path().join("queue.db")).unwrap();
    let flip = "update message set appended_at = appended_at | (1 << 45)
                where place = (select max(place) from message)";
    assert_eq!(conn.execute(flip, []).unwrap(), 1);
    drop(conn);
    clock.advance(1_000);
    let queue = open();
    settle(&queue).await;
    assert_eq!(queue.stat().dropped, crate::Dropped::default());
    assert_eq!(payloads(&queue.lease("l", 9).await.unwrap()), ["first", "expires"]);
    assert_eq!(queue.stat().aside.messages, 1);
}
