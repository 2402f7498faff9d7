//! A client's line of messages, in front of a real queue.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use queue::{Config, Queue};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::metrics::Metrics;
use crate::now::{Now, View};

struct Rig {
    hand_in: HandIn,
    queue: Queue,
    _dir: tempfile::TempDir,
    _now: watch::Sender<Arc<Now>>,
}

/// A queue with the bounds of `more`, and a route for everything.
fn rig(more: &str) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let file = format!(
        "gateway: g\nqueue: {{ path: {}{more} }}\nbrokers: {{ b: {{ url: \"mqtt://h\" }} }}\n\
         modems: {{ m: {{ match: {{ port: /dev/null }}, sessions: {{ s: {{ broker: b }} }} }} }}\n",
        dir.path().display()
    );
    let loaded = fleet::parse("f", file.into_bytes(), &fleet::Context::default()).unwrap();
    let fleet = loaded.fleet;
    let queue = Queue::open(Config {
        max_bytes: fleet.queue.max_bytes,
        max_messages: fleet.queue.max_messages,
        check: None,
        ..Config::new(dir.path())
    })
    .unwrap();
    let (now, watched) =
        watch::channel(Arc::new(Now { fleet, modems: Vec::new(), waiting: Vec::new() }));
    let view = View::new(watched, queue.clone());
    let hand_in = HandIn::new(view, Metrics::new().unwrap(), CancellationToken::new());
    Rig { hand_in, queue, _dir: dir, _now: now }
}

fn message(number: u16, payload: usize) -> Unanswered {
    let message = Message {
        topic: format!("t/{number}"),
        payload: Bytes::from(vec![b'x'; payload]),
        qos: 1,
        retain: false,
        expiry: None,
        is_text: false,
        properties: Vec::new(),
    };
    Unanswered::new(Id::new(number), message)
}

/// The numbers of the messages in the queue, in its order.
async fn stored(rig: &Rig) -> Vec<u16> {
    let leases = rig.queue.lease("route #", 1_000).await.unwrap();
    leases.iter().map(|lease| lease.topic.trim_start_matches("t/").parse().unwrap()).collect()
}

/// Leaves this turn of the task nothing of what tokio lets it do before it wants to go on with others.
async fn use_up_the_turn() {
    poll_fn(|cx| {
        while pin!(tokio::task::consume_budget()).poll(cx).is_ready() {}
        Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn what_is_taken_up_at_the_end_of_a_turn_keeps_its_order() {
    let rig = rig("");
    let mut in_hand = InHand::new(rig.hand_in.clone());
    use_up_the_turn().await;
    (1..=12).for_each(|number| in_hand.push(message(number, 10)));
    assert!(in_hand.next().now_or_never().is_none());
    // The next turn comes before what was put off in the last one is woken, and brings new messages.
    tokio::task::yield_now().await;
    (13..=20).for_each(|number| in_hand.push(message(number, 10)));
    for number in 1..=20 {
        let settled = in_hand.next().await.unwrap();
        assert_eq!(settled.message.id, Id::new(number));
    }
    assert_eq!(stored(&rig).await, (1..=20).collect::<Vec<_>>());
}

/// Fills the queue but for so many bytes of payload of one message.
async fn fill(rig: &Rig, left: u64) {
    loop {
        let room = rig.queue.max_bytes() - rig.queue.stat().bytes;
        let Some(payload) = room.checked_sub(left + 2 * (queue::OVERHEAD + 10)) else { break };
        let bytes = usize::try_from(payload.min(10_000)).unwrap();
        let filler = queue::NewMessage::new("filler", "f", vec![b'f'; bytes]);
        rig.queue.append(filler).await.unwrap();
        if bytes < 10_000 {
            break;
        }
    }
}

/// One message of the filling leaves the queue.
async fn make_room(rig: &Rig) {
    let filler = rig.queue.lease("filler", 1).await.unwrap();
    rig.queue.ack(filler[0].id, &"m/s".into()).await.unwrap();
}

/// Waits for the next answer as a connection does, which asks for room now and then; for so long at most.
async fn answer(in_hand: &mut InHand, most: Duration) -> Option<u16> {
    let next = async {
        loop {
            in_hand.start();
            let pause = in_hand.pause().unwrap_or(Duration::from_secs(60));
            tokio::select! {
                settled = in_hand.next() => if let Some(settled) = settled {
                    settled.result.expect("it is taken");
                    return settled.message.id.map_or(0, Id::get);
                },
                () = tokio::time::sleep(pause) => {}
            }
        }
    };
    tokio::time::timeout(most, next).await.ok()
}

#[tokio::test]
async fn near_the_bound_no_small_message_takes_the_room_of_a_large_one_before_it() {
    let rig = rig(", max_bytes: 1MiB");
    fill(&rig, 3_000).await;
    let mut in_hand = InHand::new(rig.hand_in.clone());
    let sizes = [100, 2_700, 100, 100, 2_700, 100, 100, 2_700, 100, 100];
    for (number, size) in (1..).zip(sizes) {
        in_hand.push(message(number, size));
    }
    let mut answered = Vec::new();
    while answered.len() < sizes.len() {
        match answer(&mut in_hand, 4 * ROOM_AGAIN).await {
            Some(number) => answered.push(number),
            None => make_room(&rig).await,
        }
    }
    assert_eq!(answered, (1..=10).collect::<Vec<_>>(), "PUBACKs come in order");
    assert_eq!(stored(&rig).await, (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_queue_that_is_full_after_all_keeps_the_order() {
    let rig = rig(", max_messages: 8");
    let mut in_hand = InHand::new(rig.hand_in.clone());
    (1..=8).for_each(|number| in_hand.push(message(number, 10)));
    // Past hand-in, so that the room is taken from those that have it: all but two are refused.
    for _ in 0..6 {
        rig.queue.append(queue::NewMessage::new("filler", "f", "f")).await.unwrap();
    }
    let mut answered = Vec::new();
    let mut refusals = 0;
    while answered.len() < 8 {
        match answer(&mut in_hand, 4 * ROOM_AGAIN).await {
            Some(number) => answered.push(number),
            None => make_room(&rig).await,
        }
        refusals += usize::from(in_hand.refused_at.is_some());
    }
    assert!(refusals > 0, "the queue was full after all");
    assert_eq!(answered, (1..=8).collect::<Vec<_>>());
    assert_eq!(stored(&rig).await, (1..=8).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_client_that_has_gone_leaves_what_it_would_not_send_again() {
    let rig = rig(", max_messages: 1");
    rig.queue.append(queue::NewMessage::new("filler", "f", "f")).await.unwrap();
    let of_qos_0 = |bytes| Unanswered { id: None, ..message(1, bytes) };
    let cost = of_qos_0(10).cost();
    let memory = Arc::new(Semaphore::new(usize::try_from(2 * cost).unwrap()));
    let mut in_hand = InHand::new(rig.hand_in.clone());
    in_hand.push(message(1, 10));
    in_hand.push(of_qos_0(10));
    in_hand.leave(&memory);
    assert_eq!(in_hand.line.len(), 1, "a message with a number is sent again");
    in_hand.push(message(2, 10));
    in_hand.push(Unanswered { is_will: true, ..of_qos_0(10) });
    assert_eq!((in_hand.line.len(), memory.available_permits(), in_hand.lost()), (2, 0, 2));
    in_hand.push(of_qos_0(10));
    assert_eq!((in_hand.line.len(), in_hand.lost()), (2, 3), "memory is bounded");
    make_room(&rig).await;
    assert_eq!(answer(&mut in_hand, Duration::from_secs(60)).await, Some(0));
    assert_eq!(memory.available_permits(), usize::try_from(cost).unwrap());
    assert_eq!(in_hand.lost(), 2);
}

#[tokio::test]
async fn the_time_that_a_message_waits_for_room_is_a_part_of_its_own() {
    let rig = rig("");
    let mut in_hand = InHand::new(rig.hand_in.clone());
    for (number, ttl) in [(1, 0), (2, 60)] {
        let mut message = message(number, 10);
        message.submission.ttl = Some(Duration::from_secs(ttl));
        in_hand.push(message);
        let settled = in_hand.next().await.unwrap();
        let is_dropped = settled.result.unwrap().outcome == queue::Outcome::Dropped;
        assert!(ttl == 0 || !is_dropped);
        assert_eq!(settled.message.has_expired(), ttl == 0);
    }
    // Clocks are read in milliseconds: one that is over may be stored, and goes with the next sweep.
    let is_swept = async {
        while rig.queue.stat().dropped.expired == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), is_swept).await.unwrap();
    assert_eq!(rig.queue.stat().dropped.expired, 1);
}
