//! The agent killed on a slow or a full disk. Accepted messages arrive, and the duplicates after
//! each kill fit into the session's window.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::disk::{SlowDisk, SmallDisk};
use super::lab::{
    Agent, Connection, Lab, free_port, lines, now, request, thread_sleep, wait_until,
};

/// The most messages or batches of a session that are delivered or under way, but not on record.
const WINDOW: usize = 2;

/// The most messages of a batch.
const BATCH: usize = 20;

/// The limit of a drain.
const DRAIN: Duration = Duration::from_secs(120);

/// The limit of a drain on the full disk, before the disk is freed.
const DRAIN_FULL: Duration = Duration::from_secs(20);

/// A fault of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Bad {
    /// Each sync takes a given time.
    Slow,
    /// Other files have filled the disk.
    Full,
}

/// The fault of the disk, and the number of rounds.
#[derive(clap::Args)]
pub(super) struct BadDisk {
    /// Kills on a bad disk instead: each in its own round, with and without batches.
    #[arg(long, value_enum)]
    disk: Option<Bad>,
    /// Rounds of each kind.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// The duration of a sync on the slow disk, in milliseconds.
    #[arg(long, value_delimiter = ',', default_values_t = [300, 3_000])]
    sync: Vec<u64>,
    /// The small file system, in MiB.
    #[arg(long, default_value_t = 64)]
    size: u64,
    /// Messages that wait when a round begins; on the full disk also a third and a tenth of them.
    #[arg(long, default_value_t = 1_500)]
    backlog: usize,
    /// The program to kill. Default: the release build.
    #[arg(long)]
    program: Option<PathBuf>,
}

impl BadDisk {
    /// Returns the fault of the disk; `None` for a good disk.
    pub(super) fn disk(&self) -> Option<Bad> {
        self.disk
    }
}

/// The common part of all rounds of a kind.
struct Rounds<'a> {
    lab: &'a Lab,
    program: &'a Path,
    received: &'a Path,
    random: &'a mut fastrand::Rng,
    queue: PathBuf,
    batches: bool,
    http: SocketAddr,
    /// The subscriber's lines before this round.
    before: usize,
}

/// The outcome of a round.
#[derive(Default)]
struct Found {
    answered: usize,
    lost: usize,
    twice: usize,
    /// True if all messages were delivered and recorded before the full disk was freed.
    drained_full: Option<bool>,
}

pub(super) fn run(arguments: &BadDisk, bad: Bad, seed: u64) -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let (_subscriber, received) = lab.subscriber("kill/#")?;
    let program = arguments.program.clone();
    let program = program.unwrap_or_else(|| crate::step::target().join("release/modemfleet"));
    let mut random = fastrand::Rng::with_seed(seed);
    println!(
        "| disk | batches | round | answered 202 | lost | received twice | allowed | drained while full |"
    );
    println!("|---|---|--:|--:|--:|--:|--:|---|");
    let mut over = 0;
    for batches in [false, true] {
        let mut rounds = Rounds {
            lab: &lab,
            program: &program,
            received: &received,
            random: &mut random,
            queue: lab.path(if batches { "queue-batches" } else { "queue-single" }),
            batches,
            http: free_port()?,
            before: 0,
        };
        over += match bad {
            Bad::Slow => rounds.on_a_slow_disk(arguments)?,
            Bad::Full => rounds.on_a_full_disk(arguments)?,
        };
    }
    ensure!(over == 0, "{over} rounds lost messages, or brought more of them twice than a window");
    Ok(())
}

impl Rounds<'_> {
    fn on_a_slow_disk(&mut self, arguments: &BadDisk) -> anyhow::Result<usize> {
        let disk = SlowDisk::new(&self.lab.path(""), &self.queue)?;
        let _sim = self.sim()?;
        let mut over = 0;
        for &sync in &arguments.sync {
            for round in 1..=arguments.rounds {
                let found = self.slow(&disk, arguments, Duration::from_millis(sync))?;
                over += self.row(&format!("{sync} ms a sync"), round, &found);
            }
        }
        Ok(over)
    }

    /// Kills the agent while a backlog drains, more messages come in and each sync takes its time.
    fn slow(
        &mut self,
        disk: &SlowDisk,
        arguments: &BadDisk,
        sync: Duration,
    ) -> anyhow::Result<Found> {
        self.before = lines(self.received)?.len();
        disk.sync_takes(Duration::ZERO)?;
        let mut agent = self.agent(disk.run(self.program))?;
        self.wait_for_session(&agent)?;
        let mut taken = self.backlog(arguments.backlog)?;
        disk.sync_takes(sync)?;
        let longest = sync.as_millis() + sync.as_millis() / 2 + 500;
        let moment = Duration::from_millis(self.random.u64(20..u64::try_from(longest)?));
        let (http, stop) = (self.http, AtomicBool::new(false));
        thread::scope(|scope| -> anyhow::Result<()> {
            let stop = &stop;
            let load = scope.spawn(move || steady(http, stop));
            thread_sleep(moment);
            drop(agent); // which kills it
            stop.store(true, Ordering::Relaxed);
            taken.extend(load.join().map_err(|_| anyhow::anyhow!("an application panicked"))?);
            Ok(())
        })?;
        disk.sync_takes(Duration::ZERO)?;
        agent = self.agent(disk.run(self.program))?;
        drain(&agent, DRAIN)?;
        drop(agent);
        self.found(&taken, None)
    }

    fn on_a_full_disk(&mut self, arguments: &BadDisk) -> anyhow::Result<usize> {
        let folder = self.lab.path(if self.batches { "small-batches" } else { "small-single" });
        fs::create_dir(&folder)?;
        let disk = SmallDisk::mount(&folder, arguments.size << 20)?;
        self.queue = folder.join("queue");
        let mut over = 0;
        for round in 1..=arguments.rounds {
            // Every other round begins with a new queue, whose files are still small.
            let queue = disk.path("queue")?;
            if round % 2 == 1 && queue.exists() {
                fs::remove_dir_all(queue)?;
            }
            let share = [1, 3, 10].into_iter().cycle().nth(round).unwrap_or(1);
            let found = self.full(&disk, arguments.backlog / share)?;
            over += self.row(&format!("{} MiB, full", arguments.size), round, &found);
        }
        Ok(over)
    }

    /// Fills the disk beside a backlog, plugs the modem in, kills the agent, and starts it on the
    /// full disk.
    fn full(&mut self, disk: &SmallDisk, backlog: usize) -> anyhow::Result<Found> {
        self.before = lines(self.received)?.len();
        let mut agent = self.agent(disk.run(self.program))?;
        let taken = self.backlog(backlog)?;
        disk.fill()?;
        let sim = self.sim()?;
        wait_until("the first message", DRAIN_FULL, || {
            lines(self.received).is_ok_and(|all| all.len() > self.before)
        })?;
        thread_sleep(Duration::from_millis(self.random.u64(20..5_000)));
        drop(agent); // which kills it
        agent = self.agent(disk.run(self.program))?;
        let drained = drain(&agent, DRAIN_FULL).is_ok();
        disk.free()?;
        drain(&agent, DRAIN)?;
        drop((agent, sim));
        self.found(&taken, Some(drained))
    }

    /// Starts a modem. It is quick enough to run ahead of the disk, and slow enough to outlast the
    /// kill.
    fn sim(&self) -> anyhow::Result<super::lab::Process> {
        let latency = if self.batches { "10" } else { "0" };
        self.lab.sim(1, &["--latency".to_owned(), latency.to_owned()])
    }

    fn agent(&self, command: std::process::Command) -> anyhow::Result<Agent> {
        let plain = self.lab.fleet(self.http, 1, "10s", "");
        let path = self.lab.path("queue").display().to_string();
        let mut fleet = plain.replace(&path, &self.queue.display().to_string());
        if self.batches {
            fleet += &format!(
                "routes: [ {{ topic: \"#\", to: [m0/lab], batch: {{ format: lines, max_messages: {BATCH}, \
                 max_delay: 20ms }} }} ]\n"
            );
        }
        self.lab.agent_by(command, "agent", self.http, &fleet, "warn")
    }

    fn wait_for_session(&self, agent: &Agent) -> anyhow::Result<()> {
        wait_until("the session is connected", DRAIN, || {
            let all = agent.metrics().ok();
            all.and_then(|all| all.get("modemfleet_mqtt_connected").copied()).unwrap_or(0.0) > 0.5
        })
    }

    /// Hands in `count` messages over some connections, and returns those that got a 202.
    fn backlog(&mut self, count: usize) -> anyhow::Result<BTreeSet<String>> {
        let (http, run) = (self.http, self.random.u32(..));
        thread::scope(|scope| {
            let one = |app: usize| {
                scope.spawn(move || -> anyhow::Result<Vec<String>> {
                    let (mut connection, mut taken) = (Connection::open(http)?, Vec::new());
                    for number in (app..count).step_by(8) {
                        let message = format!("{run:x}-{number}");
                        let path = format!("/api/v1/publish?topic=kill/{app}");
                        let status = connection.post(&path, message.as_bytes())?;
                        ensure!(status == 202, "a message was answered {status}");
                        taken.push(message);
                    }
                    Ok(taken)
                })
            };
            let all: Vec<_> = (0..8).map(one).collect();
            let ended = all.into_iter().map(|one| {
                one.join().unwrap_or_else(|_| Err(anyhow::anyhow!("an application panicked")))
            });
            Ok(ended.collect::<anyhow::Result<Vec<_>>>()?.into_iter().flatten().collect())
        })
    }

    /// Judges the messages that arrived in this round.
    fn found(&self, taken: &BTreeSet<String>, drained_full: Option<bool>) -> anyhow::Result<Found> {
        thread_sleep(Duration::from_secs(1)); // the last ones are on their way to the subscriber
        let received = lines(self.received)?;
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for line in received.iter().skip(self.before) {
            // The first line of a batch has the topic before it.
            *times.entry(line.rsplit(' ').next().unwrap_or(line)).or_default() += 1;
        }
        let lost = taken.iter().filter(|message| !times.contains_key(message.as_str())).count();
        let twice = times.values().map(|times| times - 1).sum();
        Ok(Found { answered: taken.len(), lost, twice, drained_full })
    }

    /// Prints a round; returns 1 if it lost messages, or repeated too many.
    fn row(&self, disk: &str, round: usize, found: &Found) -> usize {
        let allowed = if self.batches { WINDOW * BATCH } else { WINDOW };
        let (batches, full) = (
            if self.batches { "yes" } else { "no" },
            match found.drained_full {
                None => "–",
                Some(true) => "yes",
                Some(false) => "no",
            },
        );
        let Found { answered, lost, twice, .. } = found;
        println!(
            "| {disk} | {batches} | {round} | {answered} | {lost} | {twice} | {allowed} | {full} |"
        );
        usize::from(*lost > 0 || *twice > allowed)
    }
}

/// Hands in until `stop` is set or no answer comes, and returns the messages that were answered
/// with 202.
fn steady(http: SocketAddr, stop: &AtomicBool) -> Vec<String> {
    let (mut taken, run) = (Vec::new(), fastrand::u32(..));
    for number in 0_u32.. {
        let message = format!("{run:x}-steady-{number}");
        let path = "/api/v1/publish?topic=kill/steady";
        match request(http, "POST", path, message.as_bytes()) {
            Ok((202, _)) => taken.push(message),
            Ok(_) | Err(_) => break,
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    taken
}

fn drain(agent: &Agent, limit: Duration) -> anyhow::Result<()> {
    let started = now();
    loop {
        let held = agent.metrics()?.get("modemfleet_queue_messages").copied();
        if held.context("the agent reports no number of messages")? < 0.5 {
            return Ok(());
        }
        ensure!(started.elapsed() < limit, "the queue does not drain");
        thread_sleep(Duration::from_millis(100));
    }
}
