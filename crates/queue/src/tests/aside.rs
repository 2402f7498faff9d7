//! Messages that were set aside: out of the way, on disk, and back in their old place.

use super::*;
use crate::{AppendError, Inspector, InvalidMessage};

#[tokio::test]
async fn what_is_set_aside_blocks_nothing_survives_and_comes_back_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let bad = store(&queue, message("bad")).await;
    store(&queue, message("good")).await;
    queue.lease("l", 1).await.unwrap();
    assert!(queue.set_aside(bad, "poison", "the broker kicks").await.unwrap());
    assert!(!queue.set_aside(bad, "poison", "again").await.unwrap(), "it is aside already");
    let stat = queue.stat();
    assert_eq!((stat.messages, stat.aside.messages, stat.leased), (2, 1, 0));
    assert_eq!(stat.lanes[&Arc::<str>::from("l")].messages, 1);
    assert_eq!(stat.lanes.len(), 1, "what is aside is in no lane");
    let leases = queue.lease("l", 9).await.unwrap();
    assert_eq!(payloads(&leases), ["good"]);
    queue.release(leases[0].id).await.unwrap();

    drop(queue);
    let queue = open(dir.path());
    assert_eq!(queue.stat().aside.messages, 1);
    assert_eq!(payloads(&queue.lease("l", 9).await.unwrap()), ["good"]);
    assert!(queue.requeue(bad).await.unwrap());
    assert!(!queue.requeue(bad).await.unwrap());
    assert_eq!(queue.stat().aside.messages, 0);
    // The other one was leased meanwhile; this one is before it all the same.
    assert_eq!(payloads(&queue.lease("l", 9).await.unwrap()), ["bad"]);
    assert!(queue.ack(bad).await.unwrap());
    drop(queue);
    assert_eq!(Inspector::open(dir.path()).unwrap().check().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn the_lane_of_what_is_aside_is_closed_to_callers() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let id = store(&queue, message("a")).await;
    queue.set_aside(id, "refused", "").await.unwrap();
    assert!(queue.lease("(aside)", 9).await.unwrap().is_empty());
    let error = queue.append(NewMessage::new("(aside)", "t", "x")).await.unwrap_err();
    assert!(matches!(error, AppendError::Invalid(InvalidMessage::Reserved)), "{error:?}");
    assert!(queue.transfer(id, "(aside)").await.is_err());
    // A transfer brings it back as well, to the other lane.
    assert!(queue.transfer(id, "m").await.unwrap());
    assert_eq!(queue.stat().aside.messages, 0);
    assert_eq!(payloads(&queue.lease("m", 9).await.unwrap()), ["a"]);
    assert_eq!(Inspector::open(dir.path()).unwrap().check().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_aside_counts_and_expires_and_is_not_the_oldest() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), TestClock::default());
    let queue = open_at(dir.path(), &clock);
    let expires_at = Some(clock.now() + Duration::from_millis(500));
    let bad = store(&queue, NewMessage { expires_at, ..message("bad") }).await;
    clock.advance(100);
    store(&queue, message("good")).await;
    assert_eq!(queue.stat().oldest, Some(clock.now() - Duration::from_millis(100)));
    queue.set_aside(bad, "poison", "").await.unwrap();
    assert_eq!(queue.stat().oldest, Some(clock.now()));
    clock.advance(500);
    settle(&queue).await;
    let stat = queue.stat();
    assert_eq!((stat.messages, stat.aside.messages, stat.dropped.expired), (1, 0, 1));
    assert!(!queue.requeue(bad).await.unwrap());
}

#[tokio::test]
async fn a_purge_spares_what_is_on_its_way() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let leased = store(&queue, message("leased")).await;
    queue.lease("l", 1).await.unwrap();
    let waiting = store(&queue, message("waiting")).await;
    let aside = store(&queue, message("aside")).await;
    queue.set_aside(aside, "refused", "").await.unwrap();
    assert!(!queue.purge(leased).await.unwrap());
    assert!(queue.purge(waiting).await.unwrap());
    assert!(queue.purge(aside).await.unwrap());
    assert_eq!((queue.stat().messages, queue.stat().dropped.purged), (1, 2));
    assert_eq!(Inspector::open(dir.path()).unwrap().check().unwrap(), Vec::<String>::new());
}

#[test]
fn a_file_of_the_first_version_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let path = dir.path().join("queue.db");
    let sql = "drop table aside; alter table message drop column crc; pragma user_version = 1";
    rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let queue = open(dir.path());
        let id = store(&queue, message("a")).await;
        assert!(queue.set_aside(id, "poison", "").await.unwrap());
    });
}
