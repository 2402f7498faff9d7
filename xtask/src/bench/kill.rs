//! The agent killed at random moments under load: accepted messages arrive, and duplicates are
//! counted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::ensure;

use super::bad_disk;
use super::lab::{Connection, Lab, free_port, lines, now, thread_sleep};

/// Applications that hand in one message at a time each.
const APPLICATIONS: u32 = 4;

/// The sessions of the two modems.
const SESSIONS: usize = 2;

/// Arguments of `bench kill`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The number of kills.
    #[arg(long, default_value_t = 500)]
    kills: usize,
    /// The agent's longest life, in milliseconds.
    #[arg(long, default_value_t = 2_000)]
    longest: u64,
    /// The seed of the moments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The pause of an application after each message, in milliseconds. By default more comes in
    /// than two modems carry while they are up half of the time.
    #[arg(long, default_value_t = 20)]
    pause: u64,
    #[command(flatten)]
    bad_disk: bad_disk::BadDisk,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(bad) = arguments.bad_disk.disk() {
        return bad_disk::run(&arguments.bad_disk, bad, arguments.seed);
    }
    let lab = Lab::new()?;
    let _sim = lab.sim(SESSIONS, &[])?;
    let (_subscriber, received) = lab.subscriber("kill/#")?;
    let (http, stop) = (free_port()?, AtomicBool::new(false));
    let mut random = fastrand::Rng::with_seed(arguments.seed);
    let mut agent = lab.agent_on(http, SESSIONS, "10s", "warn", "")?;
    let pause = Duration::from_millis(arguments.pause);
    let (taken, agent): (BTreeSet<String>, _) = thread::scope(|scope| -> anyhow::Result<_> {
        let stop = &stop;
        let load = |app| scope.spawn(move || hand_in(http, app, pause, stop));
        let applications: Vec<_> = (0..APPLICATIONS).map(load).collect();
        for kill in 1..=arguments.kills {
            thread_sleep(Duration::from_millis(random.u64(20..arguments.longest)));
            drop(agent); // which kills it
            agent = lab.agent_on(http, SESSIONS, "10s", "warn", "")?;
            if kill % 50 == 0 {
                println!("{kill} kills, {} arrived so far", lines(&received)?.len());
            }
        }
        stop.store(true, Ordering::Relaxed);
        let ended = applications.into_iter().map(|application| application.join());
        let taken =
            ended.map(|ended| ended.map_err(|_| anyhow::anyhow!("an application panicked")));
        let taken = taken.collect::<anyhow::Result<Vec<_>>>()?.into_iter().flatten().collect();
        Ok((taken, agent))
    })?;
    let started = now();
    while agent.metrics()?.get("modemfleet_queue_messages").copied().unwrap_or(1.0) > 0.0 {
        ensure!(started.elapsed() < Duration::from_secs(1_200), "the queue does not drain");
        thread_sleep(Duration::from_millis(100));
    }
    thread_sleep(Duration::from_secs(1)); // the last ones are on their way to the subscriber
    report(arguments.kills, &taken, &lines(&received)?)
}

fn report(kills: usize, taken: &BTreeSet<String>, received: &[String]) -> anyhow::Result<()> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for line in received {
        *times.entry(line.rsplit(' ').next().unwrap_or(line)).or_default() += 1;
    }
    let lost = taken.iter().filter(|message| !times.contains_key(message.as_str())).count();
    let twice = received.len() - times.len();
    let number = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    println!("| kills | answered 202 | lost | received twice | a kill | a kill and session |");
    println!("|--:|--:|--:|--:|--:|--:|");
    let mean = number(twice) / number(kills);
    println!(
        "| {kills} | {} | {lost} | {twice} | {mean:.2} | {:.2} |",
        taken.len(),
        mean / number(SESSIONS)
    );
    ensure!(lost == 0, "{lost} messages were answered 202 and did not arrive");
    ensure!(twice <= kills * SESSIONS * 2, "more than two duplicates a kill and session");
    Ok(())
}

/// Hands in until `stop` is set; returns the messages that were answered with 202.
fn hand_in(http: SocketAddr, app: u32, pause: Duration, stop: &AtomicBool) -> BTreeSet<String> {
    let (mut taken, mut connection, mut number) = (BTreeSet::new(), None, 0);
    while !stop.load(Ordering::Relaxed) {
        let Some(open) = connection.take().or_else(|| Connection::open(http).ok()) else {
            thread_sleep(Duration::from_millis(5)); // nobody is there just now
            continue;
        };
        let mut open = open;
        let message = format!("{app}-{number}");
        let path = format!("/api/v1/publish?topic=kill/{app}");
        if let Ok(202) = open.post(&path, message.as_bytes()) {
            taken.insert(message);
            connection = Some(open);
        }
        // A message without an answer may be stored or not; it is not handed in again.
        number += 1;
        thread_sleep(pause);
    }
    taken
}
