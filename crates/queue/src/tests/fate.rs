//! Tests of the outcomes of messages: traces, outcomes, and acknowledgements that ride with another
//! commit.

use super::*;
use crate::{LaneStat, Reason, State};

async fn state(queue: &Queue, id: MessageId) -> Option<State> {
    queue.trace(id).await.unwrap().map(|trace| trace.state)
}

#[tokio::test]
async fn a_message_is_known_wherever_it_stands_and_after_it_left_also_after_a_restart() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), TestClock::default());
    let queue = open_at(dir.path(), &clock);
    let mut outcomes = queue.outcomes();
    let waiting = store(&queue, message("waiting")).await;
    assert_eq!(state(&queue, waiting).await, Some(State::Waiting));
    queue.lease("l", 1).await.unwrap();
    assert_eq!(state(&queue, waiting).await, Some(State::Leased));
    let acked = store(&queue, keyed("k", message("acked"))).await;
    let purged = store(&queue, message("purged")).await;
    let aside = store(&queue, NewMessage { qos: 0, ..message("aside") }).await;
    let expires_at = Some(clock.now() + Duration::from_secs(1));
    let expired = store(&queue, NewMessage { expires_at, ..message("expired") }).await;
    clock.advance(500);
    assert!(queue.ack(acked, &"north/cloud".into()).await.unwrap());
    assert!(queue.purge(purged).await.unwrap());
    assert!(queue.set_aside(aside, "poison", "the broker kicks").await.unwrap());
    clock.advance(500);
    settle(&queue).await;
    let dropped = |reason| State::Dropped { reason };
    let dead =
        State::DeadLetter { reason: "poison".to_owned(), words: "the broker kicks".to_owned() };
    let ends = [
        (acked, State::Acknowledged { path: "north/cloud".into() }),
        (purged, dropped(Reason::Purged)),
        (aside, dead),
        (expired, dropped(Reason::Expired)),
    ];
    for (id, end) in &ends {
        let told = outcomes.recv().await.unwrap();
        assert_eq!((told.id, &told.state), (*id, end));
    }
    queue.close().await;
    let queue = open_at(dir.path(), &clock);
    for (id, end) in ends {
        assert_eq!(state(&queue, id).await, Some(end));
    }
    let trace = queue.trace(acked).await.unwrap().unwrap();
    assert_eq!((trace.qos, trace.at), (1, clock.now() - Duration::from_millis(500)));
    assert_eq!(queue.trace(aside).await.unwrap().unwrap().qos, 0);
    assert_eq!(state(&queue, MessageId::at(1)).await, None, "the place of another id");
    assert_eq!(state(&queue, MessageId::nil()).await, None);
}

#[tokio::test]
async fn an_ack_may_ride_until_something_waits_for_it() {
    // They share a clock: nothing here takes two seconds.
    for hurried_by in ["append", "hurry", "trace", "close", "listener", "half full"] {
        let dir = tempfile::tempdir().unwrap();
        let queue = open(dir.path());
        if hurried_by == "half full" {
            store(&queue, sized(4, 600 << 10)).await;
        }
        let id = store(&queue, message("a")).await;
        let commits = queue.stat().commits;
        let _listener = (hurried_by == "listener").then(|| queue.outcomes());
        let riding = queue.ack_with_next(id, &"north/cloud".into());
        if !["listener", "half full"].contains(&hurried_by) {
            settle(&queue).await;
            assert_eq!((queue.stat().messages, queue.stat().commits), (1, commits), "it rides");
        }
        match hurried_by {
            "append" => drop(store(&queue, message("b")).await),
            "hurry" => queue.hurry(),
            "trace" => assert!(matches!(state(&queue, id).await, Some(State::Acknowledged { .. }))),
            "close" => queue.close().await,
            _ => {}
        }
        assert!(riding.await.unwrap(), "{hurried_by}");
        if hurried_by != "close" {
            assert_eq!(queue.stat().commits, commits + 1, "one commit for all: {hurried_by}");
        }
        drop(queue);
        let queue = open(dir.path());
        assert!(!queue.ack(id, &"p".into()).await.unwrap(), "{hurried_by}");
    }
}

#[tokio::test]
async fn an_ack_that_nobody_hurries_is_committed_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let id = store(&queue, message("a")).await;
    assert!(queue.ack_with_next(id, &"north/cloud".into()).await.unwrap());
    assert_eq!(queue.stat().messages, 0);
}

#[tokio::test]
async fn copies_are_stored_all_or_none_under_one_key() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(config(dir.path(), 1000, WhenFull::Reject)).unwrap();
    let lanes = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let message = keyed("k", sized(4, 300));
    let receipts = queue.append_copies(message.clone(), lanes(&["l", "m"])).await.unwrap();
    assert_eq!((receipts.len(), queue.stat().messages), (2, 2));
    let again = queue.append_copies(message, lanes(&["l", "m"])).await.unwrap();
    let ids = |receipts: &[crate::Receipt]| receipts.iter().map(|it| it.id).collect::<Vec<_>>();
    assert_eq!(ids(&again), ids(&receipts));
    assert!(again.iter().all(|receipt| receipt.outcome == Outcome::Duplicate));
    let leased: Vec<_> = queue.lease("m", 1).await.unwrap().iter().map(|it| it.id).collect();
    assert_eq!(leased, [receipts[1].id]);
    // A single copy would fit.
    let beside = |bytes| LaneStat { messages: 0, bytes };
    assert!(!queue.has_room(&lanes(&["l", "m"]), 300, beside(0)));
    let full = queue.append_copies(sized(4, 300), lanes(&["l", "m"])).await;
    assert!(full.is_err() && queue.stat().messages == 2);
    assert!(
        queue.has_room(&lanes(&["m"]), 300, beside(0))
            && !queue.has_room(&lanes(&["m"]), 300, beside(200))
    );
    queue.append_copies(sized(4, 300), lanes(&["m"])).await.unwrap();
}

#[tokio::test]
async fn a_lane_that_is_full_leaves_room_for_others() {
    for when_full in [WhenFull::Reject, WhenFull::DropNewest, WhenFull::DropOldest] {
        let dir = tempfile::tempdir().unwrap();
        let queue = Queue::open(config(dir.path(), 4_000, when_full)).unwrap();
        queue.share_among(vec!["l".to_owned(), "m".to_owned()]);
        store(&queue, NewMessage { lane: "m".to_owned(), ..sized(4, 200) }).await;
        for _ in 0..40 {
            // Some are refused, and some are dropped.
            drop(queue.append(sized(4, 200)).await);
        }
        let held = |lane: &str| queue.stat().lanes[&Arc::<str>::from(lane)].bytes;
        assert_eq!(held("m"), 200, "an older one of a lane within its share: {when_full:?}");
        if when_full != WhenFull::DropOldest {
            assert_eq!(held("l"), 3_400, "the share of m is kept: {when_full:?}");
        }
        store(&queue, NewMessage { lane: "m".to_owned(), ..sized(4, 200) }).await;
        assert_eq!(held("m"), 400, "{when_full:?}");
    }
}

#[tokio::test]
async fn a_bound_that_shrank_far_is_met_in_steps() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    for _ in 0..1_500 {
        store(&queue, sized(4, 200)).await;
    }
    drop(queue);
    let queue = Queue::open(config(dir.path(), 2_000, WhenFull::DropOldest)).unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        store(&queue, sized(4, 400)).await;
        held.push(queue.stat().messages);
    }
    assert_eq!(held, [1_500 - 511, 1_500 - 2 * 511, 7, 6]);
}

#[tokio::test]
async fn a_lane_is_renamed_with_all_that_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let (first, second) = (store(&queue, message("a")).await, store(&queue, sized(7, 200)).await);
    let other = store(&queue, NewMessage::new("m", "t", "c")).await;
    let leased = queue.lease("l", 1).await.unwrap();
    assert_eq!(leased[0].id, second);
    assert!(!queue.rename_lane("l", "m").await.unwrap(), "there is one");
    assert!(queue.ack(other, &"p".into()).await.unwrap());
    assert!(queue.rename_lane("l", "m").await.unwrap(), "it ran empty");
    assert!(queue.lease("l", 9).await.unwrap().is_empty());
    assert_eq!(payloads(&queue.lease("m", 9).await.unwrap()), ["a"], "the other is leased still");
    assert!(queue.release(second).await.unwrap() && queue.release(first).await.unwrap());
    drop(queue);
    let queue = open(dir.path());
    let ids: Vec<_> = queue.lease("m", 9).await.unwrap().iter().map(|lease| lease.id).collect();
    assert_eq!(ids, [second, first]);
    assert_eq!(crate::Inspector::open(dir.path()).unwrap().check().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_lane_takes_the_name_of_one_that_runs_empty_in_the_same_commit() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    store(&queue, message("a")).await;
    let last = store(&queue, NewMessage::new("m", "t", "b")).await;
    let path = "p".into();
    let (acked, renamed) =
        tokio::join!(queue.ack_with_next(last, &path), queue.rename_lane("l", "m"));
    assert!(acked.unwrap() && renamed.unwrap());
    drop(queue);
    let queue = open(dir.path());
    assert_eq!(payloads(&queue.lease("m", 9).await.unwrap()), ["a"]);
    assert_eq!(crate::Inspector::open(dir.path()).unwrap().check().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn topics_of_a_lane_are_shown_once_also_under_another_name() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let of = |lane: &str, priority, topic: &str| NewMessage {
        priority,
        ..NewMessage::new(lane, topic, "x")
    };
    let late = store(&queue, of("l", 2, "b")).await;
    let first = store(&queue, of("l", 7, "c")).await;
    let second = store(&queue, of("l", 7, "a")).await;
    store(&queue, of("m", 4, "other")).await;
    let inspector = crate::Inspector::open(dir.path()).unwrap();
    let mut seen = crate::Seen::default();
    let mut look = |lane: &str| {
        let mut shown = Vec::new();
        let more =
            inspector.topics(lane, &mut seen, |id, topic| shown.push((id, topic.to_owned())));
        assert!(!more.unwrap());
        shown.sort_by_key(|(id, _)| [late, first, second].iter().position(|it| it == id));
        shown.into_iter().map(|(_, topic)| topic).collect::<Vec<_>>()
    };
    assert_eq!(look("l"), ["b", "c", "a"]);
    assert!(look("l").is_empty() && look("unknown").is_empty());
    let fourth = store(&queue, of("l", 2, "d")).await;
    assert!(queue.rename_lane("l", "n").await.unwrap());
    assert_eq!(look("n"), ["d"], "what came since");
    assert!(queue.ack(fourth, &"p".into()).await.unwrap());
    assert!(look("n").is_empty());
}

#[tokio::test]
async fn topics_of_a_long_lane_come_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(Config { check: None, ..Config::new(dir.path()) }).unwrap();
    let copies = vec!["l".to_owned(); 1_000];
    for _ in 0..5 {
        queue.append_copies(message("x"), copies.clone()).await.unwrap();
    }
    let inspector = crate::Inspector::open(dir.path()).unwrap();
    let (mut seen, mut ids) = (crate::Seen::default(), Vec::new());
    assert!(inspector.topics("l", &mut seen, |id, _| ids.push(id)).unwrap());
    assert_eq!(i64::try_from(ids.len()).unwrap(), crate::SCAN);
    assert!(!inspector.topics("l", &mut seen, |id, _| ids.push(id)).unwrap());
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5_000);
}

#[tokio::test]
async fn a_wall_clock_that_is_set_expires_nothing() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), TestClock::default());
    let ahead = Arc::new(AtomicU64::new(0));
    let sources = |boot: &str| {
        let (wall, ahead) = (clock.clone(), Arc::clone(&ahead));
        let jumped = move || wall.now() + Duration::from_secs(ahead.load(Ordering::SeqCst));
        Sources { wall: Arc::new(jumped), boot: boot.to_owned(), ..clock.clock() }
    };
    let aged = || Config {
        max_age: Some(Duration::from_secs(3_600)),
        ..config(dir.path(), 1 << 20, WhenFull::Reject)
    };
    let queue = Queue::open_with(aged(), sources("a"), |_| {}).unwrap();
    let now = || clock.now() + Duration::from_secs(ahead.load(Ordering::SeqCst));
    let expires_at = Some(now() + Duration::from_secs(60));
    store(&queue, NewMessage { expires_at, ..message("a") }).await;
    store(&queue, message("b")).await;
    ahead.store(1_000_000, Ordering::SeqCst);
    clock.advance(30_000);
    settle(&queue).await;
    assert_eq!(queue.stat().messages, 2, "while it runs");
    assert_eq!(queue.stat().oldest, Some(now() - Duration::from_secs(30)), "by the new wall clock");
    queue.close().await;
    let queue = Queue::open_with(aged(), sources("a"), |_| {}).unwrap();
    settle(&queue).await;
    assert_eq!(queue.stat().messages, 2, "after a restart");
    clock.advance(30_000);
    settle(&queue).await;
    assert_eq!((queue.stat().messages, queue.stat().dropped.expired), (1, 1), "its time is over");
    queue.close().await;
    let queue = Queue::open_with(aged(), sources("b"), |_| {}).unwrap();
    settle(&queue).await;
    assert_eq!(
        (queue.stat().messages, queue.stat().dropped.age),
        (0, 1),
        "after a boot only it tells"
    );
}
