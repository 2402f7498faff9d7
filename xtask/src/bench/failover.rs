//! Two modems under load. The first is unplugged and comes back; then its network goes silent and
//! comes back. Measured are the gaps and the duplicates, and nothing may be lost.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::lab::{Agent, Connection, Lab, free_port, lines, now, thread_sleep, wait_until};

/// Arguments of `bench failover`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Messages a second.
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// Rounds of both faults.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// The longest gap after a loss that is seen at once: a tty that is gone.
const SEEN: f64 = 1.0;

/// The longest gap if only silence shows the loss.
const SILENT: f64 = 20.0;

/// The duration of a phase before the next begins.
const CALM: Duration = Duration::from_secs(3);

/// The silence after which no more messages are expected.
const QUIET: Duration = Duration::from_secs(5);

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let lab = Lab::new()?;
    std::fs::create_dir_all(lab.path("sim"))?;
    let network = Network::new(lab.broker())?;
    for modem in 0..2 {
        let there = lab.path(&format!("sim{modem}")).join("modem0");
        symlink(there, lab.path("sim").join(format!("modem{modem}")))?;
    }
    let first = || lab.sim_in("sim0", network.address, &[]);
    let mut plugged = Some(first()?);
    let _other = lab.sim_in("sim1", lab.broker(), &["--index", "1"])?;
    let http = free_port()?;
    let route = "routes: [ { topic: \"#\", to: [m0/lab, m1/lab], hold_down: 1s } ]\n";
    let fleet = lab.fleet(http, 2, "1h", ", reconnect_max: 2s") + route;
    let agent = lab.agent_of(http, &fleet, "warn")?;
    let (_subscriber, received) = lab.timed_subscriber("fail/#")?;
    on_path(&agent, 0)?;
    let stop = AtomicBool::new(false);
    let mut gaps: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let handed_in = thread::scope(|scope| -> anyhow::Result<u32> {
        let load = scope.spawn(|| hand_in(agent.http(), arguments.rate, &stop));
        let done = (0..arguments.rounds).try_for_each(|_| {
            thread_sleep(CALM);
            let began = lines(&received)?.len();
            plugged = None;
            on_path(&agent, 1)?;
            thread_sleep(CALM);
            plugged = Some(first()?);
            on_path(&agent, 0)?;
            thread_sleep(CALM);
            gaps.entry("unplugged").or_default().push(longest_gap(&received, began)?);
            let began = lines(&received)?.len();
            network.silence(true);
            on_path(&agent, 1)?;
            thread_sleep(CALM);
            network.silence(false);
            on_path(&agent, 0)?;
            thread_sleep(CALM);
            gaps.entry("silent").or_default().push(longest_gap(&received, began)?);
            anyhow::Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        let handed_in = load.join().map_err(|_| anyhow::anyhow!("the load panicked"))?;
        done.and(handed_in)
    })?;
    wait_until("an empty queue", Duration::from_secs(60), || {
        queued(&agent).is_ok_and(|n| n < 0.5)
    })?;
    all_arrived(&received)?;
    report(handed_in, &received, &gaps)
}

/// Waits until messages take this modem's path, by the agent's own metric.
fn on_path(agent: &Agent, modem: usize) -> anyhow::Result<()> {
    let wanted = format!("modem=\"m{modem}\"");
    let active = |agent: &Agent| -> anyhow::Result<bool> {
        let all = agent.metrics()?;
        Ok(all.iter().any(|(name, value)| {
            name.starts_with("modemfleet_route_active{") && name.contains(&wanted) && *value > 0.5
        }))
    };
    wait_until(&format!("messages go by m{modem}"), Duration::from_secs(120), || {
        active(agent).unwrap_or(false)
    })
}

/// Waits until nothing arrives any more. Broker and subscriber may be behind on a busy machine, and
/// a late message is not lost.
fn all_arrived(received: &Path) -> anyhow::Result<()> {
    let mut before = None;
    loop {
        let now = lines(received)?.len();
        if before.replace(now) == Some(now) {
            return Ok(());
        }
        thread_sleep(QUIET);
    }
}

fn queued(agent: &Agent) -> anyhow::Result<f64> {
    Ok(agent.metrics()?.get("modemfleet_queue_messages").copied().unwrap_or(1.0))
}

/// Hands in numbers until `stop` is set; returns how many.
fn hand_in(http: SocketAddr, rate: u32, stop: &AtomicBool) -> anyhow::Result<u32> {
    let mut connection = Connection::open(http)?;
    let (started, mut number) = (now(), 0_u32);
    while !stop.load(Ordering::Relaxed) {
        let status =
            connection.post("/api/v1/publish?topic=fail/t", number.to_string().as_bytes())?;
        ensure!(status == 202, "message {number} was answered {status}");
        number += 1;
        let due = Duration::from_secs(1) * number / rate.max(1);
        thread_sleep(due.saturating_sub(started.elapsed()));
    }
    Ok(number)
}

/// Returns the longest time between two arrivals since the line `began`, in seconds.
fn longest_gap(received: &Path, began: usize) -> anyhow::Result<f64> {
    let time = |line: &String| line.split(' ').next()?.parse::<f64>().ok();
    let times: Vec<f64> =
        lines(received)?.iter().skip(began.saturating_sub(1)).filter_map(time).collect();
    let gaps = times.iter().zip(times.iter().skip(1)).map(|(one, next)| next - one);
    gaps.max_by(f64::total_cmp).context("nothing arrived")
}

fn report(handed_in: u32, received: &Path, gaps: &BTreeMap<&str, Vec<f64>>) -> anyhow::Result<()> {
    let lines = lines(received)?;
    let numbers: Vec<u32> =
        lines.iter().filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    let distinct: BTreeSet<u32> = numbers.iter().copied().collect();
    let lost: Vec<u32> = (0..handed_in).filter(|number| !distinct.contains(number)).collect();
    let twice = numbers.len() - distinct.len();
    println!("{handed_in} published, {} lost, {twice} came twice", lost.len());
    println!("| the first modem is | longest gaps, s | aim, s |");
    println!("|---|---|--:|");
    let mut missed = false;
    for (what, aim) in [("unplugged", SEEN), ("silent", SILENT)] {
        let gaps = gaps.get(what).map(Vec::as_slice).unwrap_or_default();
        missed |= gaps.iter().any(|gap| *gap > aim);
        let shown: Vec<String> = gaps.iter().map(|gap| format!("{gap:.2}")).collect();
        println!("| {what} | {} | {aim} |", shown.join(" / "));
    }
    ensure!(lost.is_empty(), "answered 202 and did not arrive: {lost:?}");
    ensure!(!missed, "a gap is longer than its aim");
    Ok(())
}

/// The way of a modem to the broker: a relay that can drop all bytes, as a radio cell without
/// backhaul does.
struct Network {
    address: SocketAddr,
    silent: Arc<AtomicBool>,
}

impl Network {
    fn new(broker: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, silent) = (listener.local_addr()?, Arc::new(AtomicBool::new(false)));
        let is_silent = Arc::clone(&silent);
        // Ends with the process.
        thread::spawn(move || {
            for modem in listener.incoming().flatten() {
                let Ok(broker) = TcpStream::connect(broker) else { continue };
                let ends = (modem.try_clone(), broker.try_clone());
                let (Ok(from_modem), Ok(to_broker)) = ends else { continue };
                let (one, other) = (Arc::clone(&is_silent), Arc::clone(&is_silent));
                thread::spawn(move || carry(from_modem, to_broker, &one));
                thread::spawn(move || carry(broker, modem, &other));
            }
        });
        Ok(Self { address, silent })
    }

    fn silence(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }
}

/// Carries bytes one way until an end closes. A connection that lost bytes stays silent.
fn carry(mut from: TcpStream, mut to: TcpStream, silent: &AtomicBool) {
    let (mut buffer, mut swallowed) = ([0; 4096], false);
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        swallowed |= silent.load(Ordering::Relaxed);
        let bytes = buffer.get(..count).unwrap_or_default();
        if !swallowed && to.write_all(bytes).is_err() {
            break;
        }
    }
    // Both may be closed by now.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
