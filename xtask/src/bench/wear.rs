//! The wear of a flash disk by messages that come one by one. Measured are the bytes that the
//! system writes for each message that is delivered through a modem and acknowledged by a broker.
//! Another program may be measured beside it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::lab::{
    Agent, Connection, Lab, Written, binary, free_port, now, thread_sleep, wait_until,
};

/// Arguments of `bench wear`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Messages a second.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100])]
    rates: Vec<u32>,
    /// The least number of messages for each figure; at least 15 s (without syncs 70 s).
    #[arg(long, default_value_t = 200)]
    messages: u32,
    /// Values of `queue.fsync`: the moment at which written data reaches the disk.
    #[arg(long, value_delimiter = ',', default_values = ["always", "interval", "off"])]
    fsync: Vec<String>,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 200)]
    payload: usize,
    /// A folder on the file system that is measured. Default: cargo's target folder.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Another program for the same load in the same run, such as that of the commit before.
    #[arg(long)]
    beside: Option<PathBuf>,
    /// The aim: the most bytes of a message at 1 message a second with `fsync: always`.
    #[arg(long, default_value_t = 8_000.0)]
    aim: f64,
}

/// Messages before the first count: files and indices then have their first pages.
const WARM_UP: u32 = 64;

/// The shortest measurement, and that without syncs. Without them the system writes a page after 30
/// s, and further changes of the page until then cost nothing.
const SHORTEST: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(70));

/// The time from the last message to the last write that it causes. Syncs and acknowledgements may
/// wait for a later commit, by two seconds at most.
const SETTLE: Duration = Duration::from_secs(4);

/// The rate from which one agent runs at a time. At such rates, agents that run together would
/// change each other's share of the processor, and so their writes.
const ALONE: u32 = 50;

/// A figure to measure.
#[derive(Clone)]
struct Case {
    fsync: String,
    keys: bool,
    rate: u32,
    /// True for the other program.
    beside: bool,
}

/// The figures of a run, for each message.
#[derive(Clone, Copy)]
struct Figures {
    storage: f64,
    calls: f64,
    /// `storage` with the orderly end, which folds the log into the file: an upper bound of
    /// postponed writes.
    to_the_end: f64,
    median: Duration,
    slow: Duration,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let dir = arguments.dir.clone().unwrap_or_else(crate::step::target);
    let lab = Lab::below(&dir, "")?;
    println!(
        "{} bytes a message, QoS 1, one connection, delivered through a simulated SIM7600; on {}",
        arguments.payload,
        file_system(&dir)?
    );
    header(arguments.beside.is_some());
    let mut missed = Vec::new();
    for &rate in &arguments.rates {
        for (case, ours, theirs) in rate_of(&lab, arguments, rate)? {
            row(&case, ours, theirs, arguments.payload);
            if rate == 1 && case.fsync == "always" && ours.storage > arguments.aim {
                missed.push(ours.storage);
            }
        }
    }
    ensure!(missed.is_empty(), "{missed:.0?} bytes a message, the aim is {}", arguments.aim);
    Ok(())
}

/// Returns the type of a folder's file system, which must be on a disk.
fn file_system(dir: &Path) -> anyhow::Result<String> {
    let output = Command::new("df").arg("--output=fstype,source").arg(dir).output()?;
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().nth(1).context("df knows no file system")?.to_owned();
    let in_memory = ["tmpfs", "ramfs"].iter().any(|kind| line.starts_with(kind));
    ensure!(!in_memory, "{} is on {line}: name a folder on a disk with --dir", dir.display());
    Ok(line.split_whitespace().collect::<Vec<_>>().join(", "))
}

/// Returns all figures of a rate, ours and the other program's.
fn rate_of(
    lab: &Lab,
    arguments: &Arguments,
    rate: u32,
) -> anyhow::Result<Vec<(Case, Figures, Option<Figures>)>> {
    let mut cases = Vec::new();
    for fsync in &arguments.fsync {
        for keys in [false, true] {
            let case = Case { fsync: fsync.clone(), keys, rate, beside: false };
            cases.push(case.clone());
            if arguments.beside.is_some() {
                cases.push(Case { beside: true, ..case });
            }
        }
    }
    let figures = if rate < ALONE {
        let _sim = lab.sim(cases.len(), &[])?;
        thread::scope(|scope| {
            let measure = |(modem, case)| scope.spawn(move || one(lab, arguments, case, modem));
            let all: Vec<_> = cases.iter().enumerate().map(measure).collect();
            let ended = all.into_iter().map(|one| one.join());
            ended
                .map(|ended| ended.unwrap_or_else(|_| Err(anyhow::anyhow!("a run panicked"))))
                .collect::<anyhow::Result<Vec<_>>>()
        })?
    } else {
        let by_turns = cases.iter().map(|case| {
            let _sim = lab.sim(1, &[])?;
            one(lab, arguments, case, 0)
        });
        by_turns.collect::<anyhow::Result<Vec<_>>>()?
    };
    let found: Vec<_> = cases.into_iter().zip(figures).collect();
    let other = |of: &Case| {
        let fits = |case: &Case| case.beside && case.fsync == of.fsync && case.keys == of.keys;
        found.iter().find(|(case, _)| fits(case)).map(|(_, figures)| *figures)
    };
    let ours = found.iter().filter(|(case, _)| !case.beside);
    Ok(ours.map(|(case, figures)| (case.clone(), *figures, other(case))).collect())
}

/// Measures one program with its own queue.
fn one(lab: &Lab, arguments: &Arguments, case: &Case, modem: usize) -> anyhow::Result<Figures> {
    let http = free_port()?;
    let name = format!("{}-{}-{}-{}", case.fsync, case.keys, case.rate, case.beside);
    let queue = lab.path(&format!("queue-{name}"));
    let port = lab.path("sim").join(format!("modem{modem}"));
    let fleet = format!(
        "gateway: {name}\nhttp: {{ listen: \"{http}\" }}\n\
         queue: {{ path: {}, max_bytes: 64MiB, fsync: {} }}\n\
         brokers: {{ lab: {{ url: \"mqtt://{}\" }} }}\n\
         modems:\n  m: {{ match: {{ port: {} }}, sessions: {{ s: {{ broker: lab }} }} }}\n",
        queue.display(),
        case.fsync,
        lab.broker(),
        port.display()
    );
    let command = match (&arguments.beside, case.beside) {
        (Some(program), true) => Command::new(program),
        _ => binary(),
    };
    let agent = lab.agent_by(command, &name, http, &fleet, "warn")?;
    hand_in(http, case, 0..WARM_UP, Duration::ZERO, arguments.payload)?;
    settled(&agent)?;
    let step = Duration::from_secs(1) / case.rate;
    let shortest = if case.fsync == "off" { SHORTEST.1 } else { SHORTEST.0 };
    let count = (shortest.as_millis() / step.as_millis().max(1)).max(arguments.messages.into());
    let count = u32::try_from(count)?;
    let before = agent.process().written()?;
    let mut times = hand_in(http, case, WARM_UP..WARM_UP + count, step, arguments.payload)?;
    settled(&agent)?;
    let after = agent.process().written()?;
    agent.process().end(Duration::from_secs(30))?;
    let ended = agent.process().written()?;
    times.sort();
    let at = |hundredths: usize| times.get(times.len() * hundredths / 100).copied();
    let each = |figure: fn(Written) -> u64, until: Written| {
        let bytes = figure(until).saturating_sub(figure(before));
        f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / f64::from(count)
    };
    Ok(Figures {
        storage: each(|written| written.storage, after),
        calls: each(|written| written.calls, after),
        to_the_end: each(|written| written.storage, ended),
        median: at(50).context("nothing was published")?,
        slow: at(99).context("nothing was published")?,
    })
}

/// Hands in these messages at a pace; returns the time of each until its answer.
fn hand_in(
    http: SocketAddr,
    case: &Case,
    numbers: std::ops::Range<u32>,
    step: Duration,
    bytes: usize,
) -> anyhow::Result<Vec<Duration>> {
    let (mut connection, mut times) = (Connection::open(http)?, Vec::new());
    let started = now();
    for (position, number) in (0..).zip(numbers) {
        thread_sleep((step * position).saturating_sub(started.elapsed()));
        let key =
            if case.keys { format!("Idempotency-Key: wear-{number}\r\n") } else { String::new() };
        let payload = format!("{number:0bytes$}");
        let asked = now();
        let path = "/api/v1/publish?topic=wear/of/a/disk";
        let status = connection.post_with(path, &key, payload.as_bytes())?;
        ensure!(status == 202, "a message was answered {status}");
        times.push(asked.elapsed());
    }
    Ok(times)
}

/// Waits until all messages are delivered and recorded.
fn settled(agent: &Agent) -> anyhow::Result<()> {
    wait_until("the queue is empty", Duration::from_secs(60), || {
        let held =
            agent.metrics().ok().and_then(|all| all.get("modemfleet_queue_messages").copied());
        thread_sleep(Duration::from_millis(100));
        held.is_some_and(|held| held < 0.5)
    })?;
    thread_sleep(SETTLE);
    Ok(())
}

fn header(beside: bool) {
    let (more, line) = match beside {
        true => (" beside, kB | ratio | beside, with the end | ratio |", "--:|--:|--:|--:|"),
        false => ("", ""),
    };
    println!(
        "| fsync | a second | keys | kB a message | × payload | with the end | in calls | 202 p50 / p99, ms |{more}"
    );
    println!("|---|--:|---|--:|--:|--:|--:|--:|{line}");
}

fn row(case: &Case, ours: Figures, theirs: Option<Figures>, payload: usize) {
    let payload = f64::from(u32::try_from(payload).unwrap_or(u32::MAX));
    let keys = if case.keys { "yes" } else { "no" };
    let (kb, ms) = (|bytes: f64| bytes / 1_000.0, |time: Duration| time.as_secs_f64() * 1_000.0);
    print!(
        "| {} | {} | {keys} | {:.1} | {:.0} | {:.1} | {:.1} | {:.1} / {:.1} |",
        case.fsync,
        case.rate,
        kb(ours.storage),
        ours.storage / payload,
        kb(ours.to_the_end),
        kb(ours.calls),
        ms(ours.median),
        ms(ours.slow)
    );
    if let Some(theirs) = theirs {
        print!(
            " {:.1} | {:.2} | {:.1} | {:.2} |",
            kb(theirs.storage),
            ours.storage / theirs.storage,
            kb(theirs.to_the_end),
            ours.to_the_end / theirs.to_the_end
        );
    }
    println!();
}
