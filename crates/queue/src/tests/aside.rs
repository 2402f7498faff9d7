//! Tests of messages set aside: they block nothing, are on disk, and return to their old place.

use super::*;
use crate::{AppendError, Filter, Inspector, InvalidMessage};

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
    // The other message was leased meanwhile; this message is still before it.
    assert_eq!(payloads(&queue.lease("l", 9).await.unwrap()), ["bad"]);
    assert!(queue.ack(bad, &"p".into()).await.unwrap());
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

#[tokio::test]
async fn a_listing_goes_page_by_page_and_is_filtered() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let mut ids = Vec::new();
    for n in 0..6 {
        let lane = if n % 2 == 0 { "l" } else { "m" };
        ids.push(store(&queue, NewMessage::new(lane, "t", n.to_string())).await);
    }
    queue.set_aside(ids[2], "poison", "the broker kicks").await.unwrap();
    queue.set_aside(ids[5], "refused", "").await.unwrap();
    let inspector = Inspector::open(dir.path()).unwrap();
    let all = |filter: Filter| {
        let (mut found, mut after) = (Vec::new(), 0);
        loop {
            let page = inspector.page(after, 2, &filter).unwrap();
            assert!(page.records.len() <= 2);
            found.extend(page.records.into_iter().map(|record| record.id));
            match page.next {
                Some(next) => after = next,
                None => return found,
            }
        }
    };
    assert_eq!(all(Filter::default()), ids);
    let lane = Filter { lane: Some("l".to_owned()), ..Filter::default() };
    assert_eq!(all(lane), [ids[0], ids[2], ids[4]]);
    assert_eq!(all(Filter { aside: Some(true), ..Filter::default() }), [ids[2], ids[5]]);
    let waiting = Filter { aside: Some(false), ..Filter::default() };
    assert_eq!(all(waiting), [ids[0], ids[1], ids[3], ids[4]]);
    let refused = Filter { reason: Some("refused".to_owned()), ..Filter::default() };
    assert_eq!(all(refused), [ids[5]]);
    let before = Filter { appended_before: Some(UNIX_EPOCH), ..Filter::default() };
    assert_eq!(all(before), []);
    let record = inspector.find(ids[2]).unwrap().unwrap();
    let aside = record.aside.unwrap();
    assert_eq!((record.lane.as_str(), aside.reason.as_str()), ("l", "poison"));
    assert_eq!(aside.words, "the broker kicks");
    assert!(inspector.find(MessageId::fresh()).unwrap().is_none());
    let (seen, told) = (inspector.stat().unwrap(), queue.stat());
    assert_eq!((seen.messages, seen.bytes, seen.aside), (told.messages, told.bytes, told.aside));
    assert_eq!((seen.lanes, seen.oldest), (told.lanes, told.oldest));
}
