//! Delivery on a bad disk: slow, full, broken. The duplicates after a kill are bounded by the
//! session's window, whatever the disk does. No accepted message is lost.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use e2e::{Agent, Disk, Fault, Lab, PATIENCE, pause, until, within};

/// The most publishes (messages or batches) of a session that are delivered or under way, but not
/// on record.
const WINDOW: usize = 2;

/// A lab with one modem, not yet plugged in, on a disk with faults on demand.
struct Bench {
    lab: Lab,
    disk: Disk,
    /// Messages of a batch; 1 without batches.
    batch: usize,
    taken: BTreeSet<String>,
    /// The number of duplicates at the last kill that was judged.
    twice: usize,
}

impl Bench {
    fn new(batch: usize) -> Self {
        let mut lab = Lab::without_modems(1);
        if batch > 1 {
            lab.site.body += &format!(
                "routes: [ {{ topic: \"#\", to: [m0/s], batch: {{ format: lines, max_messages: {batch}, \
                 max_delay: 20ms }} }} ]\n"
            );
        }
        let disk = Disk::under(&mut lab.site);
        Self { lab, disk, batch, taken: BTreeSet::new(), twice: 0 }
    }

    /// Hands in messages on four topics in turn.
    fn hand_in(&mut self, agent: &Agent, count: usize) {
        for _ in 0..count {
            let payload = format!("n{}", self.taken.len());
            agent.publish(&format!("topic=t/{}", self.taken.len() % 4), payload.as_bytes());
            self.taken.insert(payload);
        }
    }

    fn plug_in(&mut self, latency: &str) {
        self.lab.sims.push(self.lab.plug_in(0, &["--latency", latency]));
    }

    /// Returns all messages that arrived, one by one.
    fn arrived(&self) -> Vec<String> {
        let all = self.lab.subscriber.messages().into_iter();
        all.flat_map(|message| {
            let text = message.text();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
    }

    /// Waits for this many further messages.
    fn more(&self, count: usize) {
        let wanted = self.arrived().len() + count;
        until("more to arrive", || (self.arrived().len() >= wanted).then_some(()));
    }

    /// Waits until nothing has arrived for a while: deliveries that may run ahead of the disk are
    /// done.
    fn quiet(&self, limit: Duration) {
        let mut seen = (self.arrived().len(), 0);
        let still = || {
            let now = self.arrived().len();
            seen = (now, if now == seen.0 { seen.1 + 1 } else { 0 });
            (seen.1 >= 15).then_some(())
        };
        within(limit, still); // if it never is, the kill falls into the midst of it
    }

    /// Judges the arrived messages after one more kill and a drain.
    #[track_caller]
    fn judge(&mut self) {
        let all_came = || {
            let arrived = BTreeSet::from_iter(self.arrived());
            arrived.is_superset(&self.taken).then_some(())
        };
        within(PATIENCE, all_came);
        let arrived = self.arrived();
        let distinct = BTreeSet::from_iter(arrived.iter().cloned());
        let lost: Vec<_> = self.taken.difference(&distinct).collect();
        assert!(lost.is_empty(), "answered 202 and lost: {lost:?}");
        let twice = arrived.len() - distinct.len();
        let (by_this, allowed) = (twice - self.twice, WINDOW * self.batch);
        assert!(by_this <= allowed, "{by_this} came twice after one kill, {allowed} are allowed");
        self.twice = twice;
    }
}

/// Kills an agent in a sync of three seconds, while a backlog drains.
fn killed_in_a_long_sync(batch: usize) {
    let mut bench = Bench::new(batch);
    let mut agent = bench.lab.site.start();
    bench.hand_in(&agent, if batch > 1 { 1_500 } else { 600 });
    bench.plug_in("0");
    bench.more(5 * batch);
    bench.disk.sync_takes(Duration::from_secs(3));
    thread::scope(|scope| {
        // The sync holds up this message; it has no answer when the agent is killed.
        let http = agent.http;
        scope.spawn(move || http.try_ask("POST", "/api/v1/publish?topic=held", &[], b"held"));
        let began = bench.disk.syncs().1;
        until("a sync to begin", || (bench.disk.syncs().0 > began).then_some(()));
        bench.quiet(Duration::from_millis(2_000));
        let (begun, ended) = bench.disk.syncs();
        assert!(begun > ended, "the sync was over before the kill");
        assert!(bench.arrived().len() < bench.taken.len(), "all was delivered before the kill");
        agent.process.kill();
    });
    bench.disk.sync_takes(Duration::ZERO);
    let agent = bench.lab.start();
    agent.drained();
    bench.judge();
}

#[test]
fn a_kill_in_a_sync_of_three_seconds_makes_no_more_duplicates_than_the_window() {
    killed_in_a_long_sync(1);
}

#[test]
fn a_kill_in_a_sync_of_three_seconds_makes_no_more_duplicates_than_two_batches() {
    killed_in_a_long_sync(20);
}

#[test]
fn kills_on_a_disk_that_takes_300_ms_a_sync_make_no_more_duplicates_than_the_window() {
    const KILLS: usize = 3;
    let mut bench = Bench::new(1);
    bench.plug_in("0");
    let mut agent = bench.lab.start();
    for kill in 0..KILLS {
        bench.hand_in(&agent, 400);
        bench.disk.sync_takes(Duration::from_millis(300));
        let http = agent.http;
        let answered = thread::scope(|scope| {
            let load = scope.spawn(move || {
                // Until the kill; a message without an answer may be stored or not.
                let payloads = (0..).map(|n| format!("steady {kill}-{n}"));
                let is_taken = |payload: &String| {
                    let answer =
                        http.try_ask("POST", "/api/v1/publish?topic=s", &[], payload.as_bytes());
                    answer.is_some_and(|answer| answer.status == 202)
                };
                payloads.take_while(is_taken).collect::<Vec<_>>()
            });
            let ended = bench.disk.syncs().1;
            // In the middle of the third sync from now.
            until("two syncs", || {
                let syncs = bench.disk.syncs();
                (syncs.1 >= ended + 2 && syncs.0 > syncs.1).then_some(())
            });
            pause(Duration::from_millis(150));
            agent.process.kill();
            load.join().unwrap()
        });
        bench.taken.extend(answered);
        bench.disk.sync_takes(Duration::ZERO);
        agent = bench.lab.start();
        agent.drained();
        bench.judge();
    }
}

/// Kills an agent that delivers on a full disk, and lets its successor drain there.
fn killed_on_a_full_disk(batch: usize, count: usize) {
    let mut bench = Bench::new(batch);
    let mut agent = bench.lab.site.start();
    bench.hand_in(&agent, count);
    bench.disk.is_full(true);
    bench.plug_in(if batch > 1 { "5" } else { "2" });
    agent.connected("m0", "s");
    bench.more(2);
    // Near the end, or as far as delivery gets in some seconds.
    let near = || (bench.arrived().len() >= count * 9 / 10).then_some(());
    within(Duration::from_secs(6), near);
    agent.process.kill();
    let agent = bench.lab.start();
    let drained = agent.drained_within(Duration::from_secs(30));
    bench.disk.is_full(false);
    agent.drained();
    bench.judge();
    assert!(drained, "what was delivered could not be removed until there was room");
}

#[test]
fn a_kill_on_a_full_disk_makes_no_more_duplicates_than_the_window() {
    killed_on_a_full_disk(1, 300);
}

#[test]
fn a_kill_on_a_full_disk_makes_no_more_duplicates_than_two_batches() {
    killed_on_a_full_disk(20, 900);
}

#[test]
fn a_disk_that_refuses_writes_is_seen_and_survived() {
    for fault in [Fault::Io, Fault::ReadOnly] {
        let mut bench = Bench::new(1);
        let agent = bench.lab.site.start();
        bench.hand_in(&agent, 20);
        let health = || {
            let answer = agent.http.get("/healthz");
            (answer.status, answer.text())
        };
        let well = health();
        assert_eq!(well.0, 200);
        bench.disk.writes_fail(Some(fault));
        let refused = agent.http.publish("topic=refused", b"refused");
        assert_eq!(refused.status, 507, "{fault:?}: {}", refused.text());
        // The modem takes a window of messages without a record, and no more.
        bench.plug_in("5");
        agent.connected("m0", "s");
        bench.quiet(Duration::from_secs(2));
        let ahead = bench.arrived().len();
        assert!(ahead <= WINDOW, "{fault:?}: {ahead} were delivered and are not on record");
        until("/healthz to show it", || (health() != well).then_some(()));
        assert!(agent.sum("modemfleet_queue_commit_errors_total", &[]) > 0.0, "{fault:?}");
        bench.disk.writes_fail(None);
        agent.drained();
        bench.hand_in(&agent, 1);
        agent.drained();
        until("/healthz to be well again", || (health() == well).then_some(()));
        bench.judge();
        assert_eq!(bench.twice, 0, "{fault:?}: nobody was killed");
        assert!(!bench.arrived().contains(&"refused".to_owned()), "{fault:?}");
    }
}
