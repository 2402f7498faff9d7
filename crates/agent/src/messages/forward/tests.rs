//! The forwarder between a real queue and sessions that do as they are told.

use std::sync::Arc;
use std::time::Duration;

use modem::Snapshot;
use modem::mqtt::MqttError;
use modem::session::{Job, Outcome, Progress, STALL, SessionPhase, SessionState, Uplink, Window};
use modem::snapshot::Identified;
use queue::{Config, NewMessage, Queue, State};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::forwarder::Forwarder;
use super::given::Given;
use super::target::Target;
use crate::budget::Allowance;
use crate::metrics::Metrics;
use crate::now::Waiting;
use fleet::{Batch, BatchFormat, Name, Policy, Route, SessionId};

/// A session of the lane, seen from the modem's side.
struct Fake {
    jobs: mpsc::Receiver<Job>,
    state: watch::Sender<SessionState>,
    stalled: watch::Sender<bool>,
    allowance: watch::Sender<Allowance>,
}

impl Fake {
    /// Its SIM's budget lets through what has at least this priority.
    fn floor(&self, floor: u8) {
        self.allowance.send_replace(Allowance { floor, ..Allowance::default() });
    }

    fn connected(&self, yes: bool) {
        let phase = if yes { SessionPhase::Connected } else { SessionPhase::BackingOff };
        self.state.send_replace(SessionState { phase, reason: None });
    }

    async fn job(&mut self) -> Job {
        timeout(Duration::from_secs(5), self.jobs.recv())
            .await
            .expect("a job comes")
            .expect("the forwarder lives")
    }
}

struct Rig {
    queue: Queue,
    metrics: Arc<Metrics>,
    given: Given,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    waiting: Vec<watch::Receiver<Waiting>>,
    _dir: tempfile::TempDir,
}

fn rig(sessions: usize) -> (Rig, Vec<Fake>) {
    rig_of(&vec![1_024; sessions])
}

/// A session for each length of a topic that its modem takes.
fn rig_of(topics: &[usize]) -> (Rig, Vec<Fake>) {
    rig_with(topics, super::Routing::default())
}

/// A session for each length of a payload that its modem takes.
fn rig_of_sizes(sizes: &[usize]) -> (Rig, Vec<Fake>) {
    let modems: Vec<Snapshot> = sizes.iter().map(|most| snapshot(1_024, *most)).collect();
    rig_of_lanes(&["lane"], &modems, &super::Routing::default())
}

/// The same by a route that puts messages on lines.
fn rig_of_batches(topics: &[usize]) -> (Rig, Vec<Fake>) {
    rig_of_slow_batches(topics, Duration::from_millis(20))
}

fn rig_of_slow_batches(topics: &[usize], max_delay: Duration) -> (Rig, Vec<Fake>) {
    let batch = Batch {
        format: BatchFormat::Lines,
        max_messages: 3,
        max_bytes: 1_000,
        max_delay,
        ids: false,
    };
    let route = Route {
        topic: "#".to_owned(),
        to: Vec::new(),
        policy: Policy::Failover,
        publish_as: None,
        hold_down: Duration::ZERO,
        fail_back: true,
        stall: STALL,
        name: None,
        batch: Some(batch),
    };
    rig_with(topics, super::Routing::of(&route, "gw"))
}

fn rig_with(topics: &[usize], routing: super::Routing) -> (Rig, Vec<Fake>) {
    let modems: Vec<Snapshot> = topics.iter().map(|most| snapshot(*most, 10_240)).collect();
    rig_of_lanes(&["lane"], &modems, &routing)
}

fn session(number: usize) -> (SessionId, Uplink, watch::Receiver<Allowance>, Fake) {
    let (job_tx, jobs) = mpsc::channel(2);
    let (stalled, watching) = watch::channel(false);
    let (state, watched) =
        watch::channel(SessionState { phase: SessionPhase::Waiting, reason: None });
    let name = |text: &str| Name::new(text).unwrap();
    let id = SessionId { modem: name(&format!("m{number}")), session: name("s") };
    let (leave, window) = (CancellationToken::new(), Window::new(2));
    let renew = watch::Sender::new(0);
    let uplink = Uplink { jobs: job_tx, state: watched, stalled: watching, leave, window, renew };
    let (allowance, allowed) = watch::channel(Allowance::default());
    (id, uplink, allowed, Fake { jobs, state, stalled, allowance })
}

/// Lanes that share their sessions.
fn rig_of_lanes(lanes: &[&str], modems: &[Snapshot], routing: &super::Routing) -> (Rig, Vec<Fake>) {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(Config::new(dir.path())).unwrap();
    let (metrics, stop) = (Metrics::new().unwrap(), CancellationToken::new());
    let given = Given::default();
    let (mut paths, mut fakes) = (Vec::new(), Vec::new());
    for (number, modem) in modems.iter().enumerate() {
        let (id, uplink, allowed, fake) = session(number);
        paths.push((id, uplink, watch::channel(modem.clone()).1, allowed));
        fakes.push(fake);
    }
    let (mut tasks, mut waiting) = (JoinSet::new(), Vec::new());
    for lane in lanes {
        let target = |(id, uplink, modem, allowed): &(SessionId, Uplink, _, _)| {
            let target = Target::new(id.clone(), uplink.clone());
            target
                .with_modem(watch::Receiver::clone(modem))
                .with_allowance(Some(watch::Receiver::clone(allowed)))
        };
        let forwarder = Forwarder::new(
            queue.clone(),
            (*lane).to_owned(),
            paths.iter().map(target).collect(),
            routing.clone(),
            Arc::clone(&metrics),
            stop.clone(),
            given.clone(),
        );
        waiting.push(forwarder.waiting());
        tasks.spawn(forwarder.run());
    }
    (Rig { queue, metrics, given, stop, tasks, waiting, _dir: dir }, fakes)
}

fn snapshot(max_topic: usize, max_payload: usize) -> Snapshot {
    let identified = Identified {
        model_id: String::new(),
        model: String::new(),
        manufacturer: String::new(),
        firmware: None,
        profile: String::new(),
        imei: String::new(),
        iccid: None,
        max_topic,
        max_payload,
        min_payload: 0,
    };
    Snapshot { identified: Some(identified), ..Snapshot::absent() }
}

impl Rig {
    async fn append(&self, topic: &str) {
        self.queue.append(NewMessage::new("lane", topic, "x")).await.unwrap();
    }

    async fn append_many(&self, topic: &str, count: usize) {
        for _ in 0..count {
            self.append(topic).await;
        }
    }

    async fn append_lines(&self, payloads: &[&str]) {
        for payload in payloads {
            self.queue.append(NewMessage::new("lane", "t", *payload)).await.unwrap();
        }
    }

    async fn append_with(&self, topic: &str, priority: u8) {
        let message = NewMessage { priority, ..NewMessage::new("lane", topic, "x") };
        self.queue.append(message).await.unwrap();
    }

    async fn left(&self, messages: u64) {
        let reached = async {
            while self.queue.stat().messages != messages {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(Duration::from_secs(5), reached).await.unwrap_or_else(|_| {
            panic!("{} messages are left, not {messages}", self.queue.stat().messages)
        });
    }

    fn set_aside(&self, reason: &str) -> f64 {
        let families = self.metrics.registry().gather();
        let family =
            families.iter().find(|f| f.name() == "modemfleet_messages_set_aside_total").unwrap();
        let of = |m: &&prometheus::proto::Metric| m.get_label().iter().any(|l| l.value() == reason);
        family.get_metric().iter().find(of).unwrap().get_counter().get_value()
    }
}

fn tell(job: &Job, progress: Progress) {
    job.progress.try_send(progress).unwrap();
}

#[tokio::test]
async fn a_poison_message_is_overtaken_and_set_aside_and_nothing_else_is() {
    let (rig, mut fakes) = rig(1);
    let session = &mut fakes[0];
    rig.append("bad").await;
    for number in 0..20 {
        rig.append(&format!("good/{number}")).await;
    }
    let (mut kicks, mut delivered) = (0, Vec::new());
    session.connected(true);
    while delivered.len() < 20 {
        let job = session.job().await;
        if job.message.topic == "bad" {
            kicks += 1;
            // As a session does it: down, its message lost, the other one given back, up again.
            session.connected(false);
            tell(&job, Progress::Done(Outcome::Lost { by_broker: true }));
            while let Ok(behind) = session.jobs.try_recv() {
                tell(&behind, Progress::Done(Outcome::NotSent));
            }
            session.connected(true);
        } else {
            tell(&job, Progress::Done(Outcome::Acknowledged));
            delivered.push(job.message.topic);
        }
    }
    rig.left(1).await;
    assert_eq!(rig.queue.stat().aside.messages, 1);
    assert_eq!((kicks, rig.set_aside("poison")), (5, 1.0));
    delivered.sort();
    delivered.dedup();
    assert_eq!(delivered.len(), 20, "each of the others once");
    rig.append("later").await;
    let job = session.job().await;
    assert_eq!(job.message.topic, "later", "the lane goes on");
}

#[tokio::test]
async fn losses_count_only_where_the_same_session_acknowledged_something_in_between() {
    let (rig, mut fakes) = rig(2);
    let (left, right) = fakes.split_at_mut(1);
    let (kicker, other) = (&mut left[0], &mut right[0]);
    rig.append("bad").await;
    // The kicking session never acknowledges anything; the other one does, of the same lane.
    for number in 0..10 {
        kicker.connected(true);
        let job = kicker.job().await;
        assert_eq!(job.message.topic, "bad");
        kicker.connected(false);
        tell(&job, Progress::Done(Outcome::Lost { by_broker: true }));
        while let Ok(behind) = kicker.jobs.try_recv() {
            tell(&behind, Progress::Done(Outcome::NotSent));
        }
        rig.append(&format!("good/{number}")).await;
        other.connected(true);
        let job = other.job().await;
        assert_ne!(job.message.topic, "bad", "suspects are overtaken");
        other.connected(false);
        tell(&job, Progress::Done(Outcome::Acknowledged));
        rig.left(1).await;
    }
    assert_eq!((rig.set_aside("poison"), rig.queue.stat().aside.messages), (0.0, 0));
}

#[tokio::test]
async fn after_one_of_a_topic_was_set_aside_one_loss_is_enough_for_the_others() {
    let (rig, mut fakes) = rig(1);
    let session = &mut fakes[0];
    rig.append("bad").await;
    session.connected(true);
    let (mut kicks, mut number) = (0, 0);
    while rig.queue.stat().aside.messages < 4 {
        // Others come and go, so that the session is sound each time.
        number += 1;
        rig.append(&format!("good/{number}")).await;
        let Ok(Some(job)) = timeout(Duration::from_millis(100), session.jobs.recv()).await else {
            continue;
        };
        if job.message.topic != "bad" {
            tell(&job, Progress::Done(Outcome::Acknowledged));
            continue;
        }
        kicks += 1;
        assert_eq!(job.is_suspect, kicks > 1, "the first may be the session's own");
        session.connected(false);
        tell(&job, Progress::Done(Outcome::Lost { by_broker: true }));
        while let Ok(behind) = session.jobs.try_recv() {
            tell(&behind, Progress::Done(Outcome::NotSent));
        }
        if kicks == 5 {
            rig.append_many("bad", 3).await;
        }
        session.connected(true);
    }
    assert_eq!((kicks, rig.set_aside("poison")), (6, 4.0));
}

#[tokio::test]
async fn lanes_that_share_a_session_share_its_window() {
    let lanes = ["lane", "other"];
    let (rig, mut fakes) =
        rig_of_lanes(&lanes, &[snapshot(1_024, 10_240)], &super::Routing::default());
    for number in 0..10 {
        for lane in lanes {
            let message = NewMessage::new(lane, format!("{lane}/{number}"), "x");
            rig.queue.append(message).await.unwrap();
        }
    }
    fakes[0].connected(true);
    let (mut open, mut topics) = (Vec::new(), Vec::new());
    while topics.len() < 20 {
        while open.len() < 2.min(20 - topics.len()) {
            open.push(fakes[0].job().await);
        }
        let more = timeout(Duration::from_millis(20), fakes[0].jobs.recv()).await;
        assert!(more.is_err(), "two are out, and nothing of them is on disk");
        let first = open.remove(0);
        topics.push(first.message.topic.clone());
        tell(&first, Progress::Done(Outcome::Acknowledged));
    }
    rig.left(0).await;
    for lane in lanes {
        let of_lane = topics.iter().filter(|topic| topic.starts_with(lane));
        let want: Vec<String> = (0..10).map(|number| format!("{lane}/{number}")).collect();
        assert!(of_lane.eq(&want), "in order: {topics:?}");
    }
    let first_half = topics.iter().take(10).filter(|topic| topic.starts_with("other")).count();
    assert!((3..=7).contains(&first_half), "and in turns: {topics:?}");
}

#[tokio::test]
async fn a_topic_whose_messages_take_two_paths_keeps_its_order() {
    let (rig, mut fakes) = rig_of_sizes(&[5, 100]);
    for size in [1, 9, 1, 9] {
        let payload = vec![b'x'; size];
        rig.queue.append(NewMessage::new("lane", "t", payload)).await.unwrap();
    }
    fakes.iter().for_each(|fake| fake.connected(true));
    for (path, size) in [(0, 1), (1, 9), (0, 1), (1, 9)] {
        let job = fakes[path].job().await;
        assert_eq!(job.message.payload.len(), size);
        let other = timeout(Duration::from_millis(20), fakes[1 - path].jobs.recv()).await;
        assert!(other.is_err(), "the next may only go once this one is there");
        tell(&job, Progress::Done(Outcome::Acknowledged));
    }
    rig.left(0).await;
}

#[tokio::test]
async fn losses_that_the_broker_did_not_cause_accuse_nobody() {
    let (rig, mut fakes) = rig(1);
    rig.append("unlucky").await;
    fakes[0].connected(true);
    for _ in 0..20 {
        let job = fakes[0].job().await;
        tell(&job, Progress::Done(Outcome::Lost { by_broker: false }));
    }
    let job = fakes[0].job().await;
    tell(&job, Progress::Done(Outcome::Acknowledged));
    rig.left(0).await;
    assert_eq!(rig.set_aside("poison"), 0.0);
}

#[tokio::test]
async fn a_message_whose_result_stays_out_takes_the_next_path_once_one_is_free() {
    let (rig, mut fakes) = rig(2);
    rig.append("a").await;
    rig.append("b").await;
    fakes[0].connected(true);
    let stuck = fakes[0].job().await;
    assert_eq!(stuck.stall, STALL);
    let behind = fakes[0].job().await;
    tell(&stuck, Progress::Stalled);
    assert!(
        timeout(Duration::from_millis(50), fakes[1].jobs.recv()).await.is_err(),
        "no other path is free"
    );
    fakes[1].connected(true);
    let again = fakes[1].job().await;
    assert_eq!((again.message.topic.as_str(), behind.message.topic.as_str()), ("a", "b"));
    tell(&again, Progress::Done(Outcome::Acknowledged));
    let next = fakes[1].job().await;
    assert_eq!(next.message.topic, "b", "withdrawn from behind the stuck one");
    assert!(behind.progress.is_closed());
    tell(&next, Progress::Done(Outcome::Acknowledged));
    rig.left(0).await;
    // The stalled session gets messages again once its late result is in.
    fakes[1].connected(false);
    rig.append("c").await;
    assert!(timeout(Duration::from_millis(50), fakes[0].jobs.recv()).await.is_err());
    tell(&stuck, Progress::Done(Outcome::Acknowledged));
    assert_eq!(fakes[0].job().await.message.topic, "c");
}

#[tokio::test]
async fn a_late_acknowledgement_spares_the_message_its_second_way() {
    let (rig, mut fakes) = rig(2);
    rig.append("a").await;
    fakes[0].connected(true);
    let stuck = fakes[0].job().await;
    fakes[1].connected(true);
    tell(&stuck, Progress::Stalled);
    let again = fakes[1].job().await;
    tell(&again, Progress::Done(Outcome::NotSent));
    tell(&stuck, Progress::Done(Outcome::Acknowledged));
    rig.left(0).await;
}

#[tokio::test]
async fn what_is_too_large_for_the_path_that_is_up_holds_up_nobody() {
    let (mut rig, mut fakes) = rig_of(&[9, 3]);
    // More than may be held.
    for number in 0..200 {
        rig.append(&format!("large/{number}")).await;
    }
    rig.append("a").await;
    fakes[1].connected(true);
    let job = fakes[1].job().await;
    assert_eq!(job.message.topic, "a");
    tell(&job, Progress::Done(Outcome::Acknowledged));
    rig.left(200).await;
    let told =
        rig.waiting[0].wait_for(|waiting| waiting.unfit.is_some() && waiting.oldest.is_none());
    timeout(Duration::from_secs(5), told).await.expect("it is said that they wait").unwrap();
    fakes[0].connected(true);
    for number in 0..200 {
        let job = fakes[0].job().await;
        assert_eq!(job.message.topic, format!("large/{number}"));
        tell(&job, Progress::Done(Outcome::Acknowledged));
    }
    rig.left(0).await;
    assert_eq!(rig.waiting[0].borrow().unfit, None);
}

#[tokio::test]
async fn a_message_whose_result_stays_out_is_not_moved_to_where_it_does_not_fit() {
    let (rig, mut fakes) = rig_of(&[9, 3]);
    rig.append("large").await;
    fakes[0].connected(true);
    let stuck = fakes[0].job().await;
    fakes[1].connected(true);
    tell(&stuck, Progress::Stalled);
    rig.append("next").await;
    let next = fakes[0].job().await;
    assert_eq!(next.message.topic, "next", "the only path for it stays open");
    tell(&stuck, Progress::Done(Outcome::Acknowledged));
    tell(&next, Progress::Done(Outcome::Acknowledged));
    rig.left(0).await;
    let more = timeout(Duration::from_millis(50), fakes[0].jobs.recv()).await;
    assert!(more.is_err(), "each once");
}

#[tokio::test]
async fn an_acknowledgement_that_comes_while_the_agent_ends_counts() {
    let (mut rig, mut fakes) = rig(1);
    rig.append("a").await;
    fakes[0].connected(true);
    let job = fakes[0].job().await;
    rig.stop.cancel();
    tokio::time::sleep(Duration::from_millis(20)).await;
    tell(&job, Progress::Done(Outcome::Acknowledged));
    drop(job);
    timeout(Duration::from_secs(5), rig.tasks.join_next()).await.expect("the forwarder ends");
    rig.left(0).await;
}

#[tokio::test]
async fn the_first_connected_session_is_preferred_and_order_is_kept() {
    let (rig, mut fakes) = rig(2);
    for number in 0..5 {
        rig.append(&number.to_string()).await;
    }
    fakes[1].connected(true);
    let job = fakes[1].job().await;
    assert_eq!(job.message.topic, "0");
    fakes[0].connected(true);
    tell(&job, Progress::Done(Outcome::Acknowledged));
    let second = fakes[1].job().await;
    assert_eq!(second.message.topic, "1", "handed over before the preferred one came");
    tell(&second, Progress::Done(Outcome::Acknowledged));
    for number in 2..5 {
        let job = fakes[0].job().await;
        assert_eq!(job.message.topic, number.to_string());
        tell(&job, Progress::Done(Outcome::Acknowledged));
    }
    rig.left(0).await;
}

#[tokio::test]
async fn what_a_budget_does_not_let_through_takes_the_next_path_or_waits() {
    let (rig, mut fakes) = rig(2);
    let acknowledge = |job: Job| tell(&job, Progress::Done(Outcome::Acknowledged));
    fakes[0].connected(true);
    fakes[0].floor(5);
    for (topic, priority) in [("low/1", 4), ("high/1", 5), ("low/2", 0)] {
        rig.append_with(topic, priority).await;
    }
    let job = fakes[0].job().await;
    assert_eq!(job.message.topic, "high/1");
    acknowledge(job);
    // More wait than may be leased at all, and hold up nobody.
    for _ in 0..100 {
        rig.append_with("low/more", 4).await;
    }
    rig.append_with("high/2", 9).await;
    let job = fakes[0].job().await;
    assert_eq!(job.message.topic, "high/2");
    acknowledge(job);
    rig.left(102).await;
    assert_eq!(rig.queue.stat().leased, 0, "what waits may expire");
    // Another path takes them, in their order.
    fakes[1].connected(true);
    for number in 0..102 {
        let job = fakes[1].job().await;
        let want =
            ["low/1", "low/more", "low/2"][usize::from(number > 0) + usize::from(number > 100)];
        assert_eq!(job.message.topic, want, "{number}");
        acknowledge(job);
    }
    // Neither lets anything through, until one does again.
    fakes[0].floor(10);
    fakes[1].floor(10);
    rig.append_with("urgent", 9).await;
    assert!(timeout(Duration::from_millis(50), fakes[0].jobs.recv()).await.is_err());
    fakes[0].floor(0);
    let job = fakes[0].job().await;
    assert_eq!(job.message.topic, "urgent");
    acknowledge(job);
    rig.left(0).await;
}

#[tokio::test]
async fn a_message_that_fits_only_where_the_budget_is_used_up_holds_up_nobody() {
    let (rig, mut fakes) = rig_of(&[9, 3]);
    fakes[0].connected(true);
    fakes[0].floor(10);
    fakes[1].connected(true);
    rig.append("large").await;
    rig.append("a").await;
    let job = fakes[1].job().await;
    assert_eq!(job.message.topic, "a");
    tell(&job, Progress::Done(Outcome::Acknowledged));
    fakes[0].floor(0);
    let job = fakes[0].job().await;
    assert_eq!(job.message.topic, "large");
    tell(&job, Progress::Done(Outcome::Acknowledged));
    rig.left(0).await;
}

#[tokio::test]
async fn behind_a_message_of_another_lane_whose_result_stays_out_nothing_waits() {
    let (rig, mut fakes) = rig(2);
    fakes[0].connected(true);
    rig.append("a").await;
    rig.append("b").await;
    // Not taken out of the channel: the session is busy with a message of somebody else.
    until_full(&fakes[0]).await;
    fakes[0].stalled.send_replace(true);
    fakes[1].connected(true);
    for topic in ["a", "b"] {
        let job = fakes[1].job().await;
        assert_eq!(job.message.topic, topic);
        tell(&job, Progress::Done(Outcome::Acknowledged));
    }
    rig.left(0).await;
    while let Ok(job) = fakes[0].jobs.try_recv() {
        assert!(job.progress.is_closed(), "withdrawn");
    }
    fakes[0].stalled.send_replace(false);
    rig.append("c").await;
    assert_eq!(fakes[0].job().await.message.topic, "c");
}

async fn until_full(fake: &Fake) {
    let full = async {
        while fake.jobs.len() < 2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(5), full).await.expect("the messages are handed over");
}

#[tokio::test]
async fn a_forwarder_that_ends_sees_what_it_gave_out_to_its_end_and_gives_the_rest_back_in_order() {
    let (mut rig, mut fakes) = rig(1);
    for topic in ["a", "b", "c", "d"] {
        rig.append(topic).await;
    }
    fakes[0].connected(true);
    let (first, second) = (fakes[0].job().await, fakes[0].job().await);
    rig.stop.cancel();
    tell(&first, Progress::Done(Outcome::Acknowledged));
    tell(&second, Progress::Done(Outcome::NotSent));
    timeout(Duration::from_secs(5), rig.tasks.join_next()).await.expect("it ends");
    rig.left(3).await;
    let leases = rig.queue.lease("lane", 10).await.unwrap();
    let topics: Vec<&str> = leases.iter().map(|lease| lease.topic.as_str()).collect();
    assert_eq!(topics, ["b", "c", "d"]);
}

#[tokio::test]
async fn a_result_that_stays_out_does_not_keep_a_forwarder_from_its_end() {
    let (mut rig, mut fakes) = rig(1);
    rig.append("a").await;
    fakes[0].connected(true);
    let _stuck = fakes[0].job().await;
    rig.stop.cancel();
    // Once it was told it asks the queue nothing more, so its patience is all that time is passed by.
    tokio::time::sleep(Duration::from_millis(100)).await;
    tokio::time::pause();
    rig.tasks.join_next().await;
    tokio::time::resume();
    let leases = rig.queue.lease("lane", 10).await.unwrap();
    assert_eq!(leases.len(), 1, "another forwarder may have it");
}

fn text(job: &Job) -> String {
    String::from_utf8(job.message.payload.clone()).unwrap()
}

#[tokio::test]
async fn a_batch_leaves_the_queue_at_its_acknowledgement_and_comes_back_whole() {
    let (rig, mut fakes) = rig_of_batches(&[9]);
    rig.append_lines(&["a", "b", "c", "d"]).await;
    fakes[0].connected(true);
    let first = fakes[0].job().await;
    assert_eq!(text(&first), "a\nb\nc");
    let second = fakes[0].job().await;
    assert_eq!(text(&second), "d", "it waited for others in vain");
    assert_eq!(rig.queue.stat().messages, 4);
    // The session ends under the first, and the second was not sent.
    fakes[0].connected(false);
    tell(&first, Progress::Done(Outcome::Lost { by_broker: false }));
    tell(&second, Progress::Done(Outcome::NotSent));
    rig.append_lines(&["e"]).await;
    fakes[0].connected(true);
    let mut lines = Vec::new();
    while lines.len() < 5 {
        let job = fakes[0].job().await;
        lines.extend(text(&job).lines().map(str::to_owned));
        tell(&job, Progress::Done(Outcome::Acknowledged));
    }
    assert_eq!(lines, ["a", "b", "c", "d", "e"], "in order, each once");
    rig.left(0).await;
}

#[tokio::test]
async fn a_batch_that_is_refused_is_taken_apart_and_only_the_culprit_set_aside() {
    let (rig, mut fakes) = rig_of_batches(&[9]);
    rig.append_lines(&["a", "bad", "c"]).await;
    fakes[0].connected(true);
    let refused = || Progress::Done(Outcome::Refused(MqttError::without_code("PUB", None, "")));
    let job = fakes[0].job().await;
    assert_eq!(text(&job), "a\nbad\nc");
    tell(&job, refused());
    for want in ["a", "bad", "c"] {
        let job = fakes[0].job().await;
        assert_eq!(text(&job), want);
        let good = want != "bad";
        tell(&job, if good { Progress::Done(Outcome::Acknowledged) } else { refused() });
    }
    rig.left(1).await;
    assert_eq!((rig.set_aside("refused"), rig.queue.stat().aside.messages), (1.0, 1));
}

#[tokio::test]
async fn a_batch_under_which_a_broker_closes_the_session_condemns_the_culprit_only() {
    let (rig, mut fakes) = rig_of_batches(&[9]);
    rig.append_lines(&["a", "bad", "c"]).await;
    let session = &mut fakes[0];
    session.connected(true);
    let (mut lines, mut number) = (Vec::new(), 0);
    while rig.queue.stat().aside.messages == 0 || rig.queue.stat().messages > 1 {
        let Ok(Some(job)) = timeout(Duration::from_millis(200), session.jobs.recv()).await else {
            continue;
        };
        if job.progress.is_closed() {
            continue;
        }
        if text(&job).contains("bad") {
            session.connected(false);
            tell(&job, Progress::Done(Outcome::Lost { by_broker: true }));
            while let Ok(behind) = session.jobs.try_recv() {
                tell(&behind, Progress::Done(Outcome::NotSent));
            }
            // Other messages come and go: the session is sound.
            number += 1;
            rig.append(&format!("other/{number}")).await;
            session.connected(true);
        } else {
            lines.push(text(&job));
            tell(&job, Progress::Done(Outcome::Acknowledged));
        }
    }
    rig.left(1).await;
    assert!(lines.contains(&"a".to_owned()) && lines.contains(&"c".to_owned()), "{lines:?}");
    assert_eq!(rig.set_aside("poison"), 1.0);
}

#[tokio::test]
async fn a_batch_whose_result_stays_out_takes_the_next_path_whole() {
    let (rig, mut fakes) = rig_of_batches(&[9, 9]);
    rig.append_lines(&["a", "b"]).await;
    fakes[0].connected(true);
    let stuck = fakes[0].job().await;
    fakes[1].connected(true);
    tell(&stuck, Progress::Stalled);
    let again = fakes[1].job().await;
    assert_eq!((text(&stuck), text(&again)), ("a\nb".to_owned(), "a\nb".to_owned()));
    tell(&again, Progress::Done(Outcome::Acknowledged));
    rig.left(0).await;
    tell(&stuck, Progress::Done(Outcome::Acknowledged));
}

#[tokio::test]
async fn a_batch_whose_time_comes_while_no_path_is_free_leaves_its_lane_at_rest() {
    let (rig, mut fakes) = rig_of_slow_batches(&[9], Duration::from_secs(2));
    rig.append_lines(&["a"]).await;
    let leased = async |count: u64| {
        while rig.queue.stat().leased != count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    fakes[0].connected(true);
    leased(1).await;
    fakes[0].connected(false);
    leased(0).await;
    // A clock that is paused goes on only while everybody rests: a lane that looks again and again stops it.
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(10)).await;
    tokio::time::resume();
    fakes[0].connected(true);
    assert_eq!(text(&fakes[0].job().await), "a");
}

#[tokio::test]
async fn a_message_is_known_to_be_where_it_was_given_until_its_end_is_recorded() {
    let (rig, mut fakes) = rig(2);
    let mut outcomes = rig.queue.outcomes();
    let id = rig.queue.append(NewMessage::new("lane", "t", "x")).await.unwrap().id;
    assert_eq!(rig.given.at(id), None, "no session is there");
    fakes[0].connected(true);
    let first = fakes[0].job().await;
    assert_eq!(rig.given.at(id).as_deref(), Some("m0/s"));
    // Its result stays out, and the other path comes up.
    fakes[0].stalled.send_replace(true);
    tell(&first, Progress::Stalled);
    fakes[1].connected(true);
    let second = fakes[1].job().await;
    assert_eq!(rig.given.at(id).as_deref(), Some("m1/s"), "the newest counts");
    tell(&second, Progress::Done(Outcome::Acknowledged));
    let ended = timeout(Duration::from_secs(5), outcomes.recv()).await.unwrap().unwrap();
    assert_eq!((ended.id, ended.state), (id, State::Acknowledged { path: "m1/s".into() }));
    tell(&first, Progress::Done(Outcome::Acknowledged));
    let forgotten = async {
        while rig.given.at(id).is_some() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(5), forgotten).await.expect("nothing is kept of what is over");
}

#[tokio::test]
async fn a_lane_that_is_held_waits_until_it_is_free_and_others_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(Config::new(dir.path())).unwrap();
    let (metrics, stop) = (Metrics::new().unwrap(), CancellationToken::new());
    let mut forwarding = super::Forwarding::new(queue.clone(), metrics, stop.clone());
    let (id, uplink, _allowed, mut fake) = session(0);
    fake.connected(true);
    let lanes = || {
        let plan = |lane| {
            let modem = snapshot(1_024, 10_240);
            super::LanePlan::with_path(lane, id.clone(), uplink.clone(), modem)
        };
        ["held", "other"].map(plan).into_iter().collect::<Vec<_>>()
    };
    let held = || super::Held::from(["held".into()]);
    forwarding.hold(held());
    forwarding.start(lanes());
    for topic in ["new", "newer"] {
        queue.append(NewMessage::new("held", topic, "x")).await.unwrap();
        queue.append(NewMessage::new("other", "other", "x")).await.unwrap();
        let job = fake.job().await;
        assert_eq!(job.message.topic, "other", "the first is in the queue, and waits");
        tell(&job, Progress::Done(Outcome::Acknowledged));
    }
    forwarding.held().send_replace(super::Held::new());
    for topic in ["new", "newer"] {
        let job = fake.job().await;
        assert_eq!(job.message.topic, topic);
        tell(&job, Progress::Done(Outcome::Acknowledged));
    }
    // One that runs is held from its next start; it may end before its turn has come.
    forwarding.hold(held());
    forwarding.end_others(&lanes());
    forwarding.ended().await;
    forwarding.start(lanes());
    queue.append(NewMessage::new("held", "newest", "x")).await.unwrap();
    queue.append(NewMessage::new("other", "other", "x")).await.unwrap();
    assert_eq!(fake.job().await.message.topic, "other");
    stop.cancel();
    forwarding.all_ended().await;
    for lane in ["held", "other"] {
        assert_eq!(queue.lease(lane, 9).await.unwrap().len(), 1, "{lane}: it was given back");
    }
}
