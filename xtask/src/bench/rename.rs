//! A route is renamed while many messages wait for it: by a reload, and before a start. Measured
//! are the gaps of this route and of another, and the longest waits of requests and hand-ins.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::lab::{
    Agent, Connection, Lab, free_port, lines, now, queue_bench, request, thread_sleep, wait_until,
};

/// The filters of the route in each of the files: each of them matches all of its messages.
const FILES: [&[&str]; 3] = [&["bench/#", "bench/+"], &["bench/+"], &["bench/#"]];

/// Arguments of `bench rename`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Messages of 256 bytes that wait for the route.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u32,
    /// Messages that also wait in the lane that takes over. With any, a new name is not enough, and
    /// the fewer of the two are moved one by one.
    #[arg(long, default_value_t = 0)]
    there: u32,
    /// The longest gap of the route at the reload, in seconds.
    #[arg(long, default_value_t = 3.0)]
    most: f64,
}

/// The duration of the phases before and after.
const CALM: Duration = Duration::from_secs(3);

/// The limit of a start or a reload until the route delivers.
const PATIENCE: Duration = Duration::from_secs(180);

/// The longest waits for an answer, in seconds.
#[derive(Default)]
struct Waited {
    hand_in: f64,
    health: f64,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let dir = lab.path("queue");
    let dir = dir.to_str().context("the folder's name is not UTF-8")?;
    for (name, count) in ["bench/#", "bench/+"].iter().zip([arguments.messages, arguments.there]) {
        let fill = ["fill", dir, &count.to_string(), &format!("route {name}")];
        queue_bench(&fill)?.1.kill()?;
    }
    println!(
        "{} messages wait for the route, and {} for the other filter",
        arguments.messages, arguments.there
    );
    let _sim = lab.sim(2, &[])?;
    let (_subscriber, received) = lab.timed_subscriber("#")?;
    println!(
        "| what | seconds to /healthz | to the first message of the route | its longest gap | that of another route | longest hand-in | longest /healthz |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|");
    let [both, second, first] = FILES;
    let started = start(&lab, &received, both, "a start")?;
    let gap = reload(&lab, &started, &received, second)?;
    started.process().end(PATIENCE)?;
    drop(started);
    drop(start(&lab, &received, first, "a start after it was renamed")?);
    ensure!(gap <= arguments.most, "the route delivered nothing for {gap:.2} s");
    Ok(())
}

fn fleet(lab: &Lab, http: SocketAddr, filters: &[&str]) -> String {
    let route = |filter: &&str| format!("  - {{ topic: \"{filter}\", to: [m0/lab] }}\n");
    let routes: String = filters.iter().map(route).collect();
    let other = "  - { topic: \"other/#\", to: [m1/lab] }\n";
    format!("{}routes:\n{routes}{other}", lab.fleet(http, 2, "1h", ""))
}

/// Starts an agent, and waits until the route delivers.
fn start(lab: &Lab, received: &Path, filters: &[&str], what: &str) -> anyhow::Result<Agent> {
    let (http, before, began) = (free_port()?, lines(received)?.len(), now());
    let agent = lab.agent_of(http, &fleet(lab, http, filters), "info")?;
    wait_until("the agent is healthy", PATIENCE, || is_healthy(&agent))?;
    let healthy = began.elapsed().as_secs_f64();
    wait_until("the route delivers", PATIENCE, || {
        arrivals(received, before, "bench/").is_ok_and(|times| !times.is_empty())
    })?;
    let first = began.elapsed().as_secs_f64();
    println!("| {what} | {healthy:.2} | {first:.2} | | | | |");
    Ok(agent)
}

fn is_healthy(agent: &Agent) -> bool {
    request(agent.http(), "GET", "/healthz", b"").is_ok_and(|(status, _)| status == 200)
}

/// Renames the route while messages of another route are handed in; returns the longest gap.
fn reload(lab: &Lab, agent: &Agent, received: &Path, filters: &[&str]) -> anyhow::Result<f64> {
    let (before, stop) = (lines(received)?.len(), AtomicBool::new(false));
    let (waited, took) = thread::scope(|scope| -> anyhow::Result<_> {
        let load = scope.spawn(|| load(agent, &stop));
        let done = (|| {
            thread_sleep(CALM);
            fs::write(lab.path("agent.yaml"), fleet(lab, agent.http(), filters))?;
            let began = now();
            let (status, body) = request(agent.http(), "POST", "/api/v1/reload", b"")?;
            ensure!(status == 200, "the reload was answered {status}: {body}");
            let (took, after) = (began.elapsed().as_secs_f64(), lines(received)?.len());
            wait_until("the route delivers again", PATIENCE, || {
                arrivals(received, after, "bench/").is_ok_and(|times| times.len() > 10)
            })?;
            thread_sleep(CALM);
            Ok(took)
        })();
        stop.store(true, Ordering::Relaxed);
        let waited = load.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
        Ok((waited, done?))
    })?;
    let gap = |topic| anyhow::Ok(longest_gap(&arrivals(received, before, topic)?));
    let (own, other) = (gap("bench/")?, gap("other/")?);
    println!(
        "| a reload of {took:.2} s | | | {own:.2} | {other:.2} | {:.2} | {:.2} |",
        waited.hand_in, waited.health
    );
    Ok(own)
}

/// Hands in twenty messages a second of the other route, and asks for the health as often.
fn load(agent: &Agent, stop: &AtomicBool) -> anyhow::Result<Waited> {
    let (mut connection, mut waited) = (Connection::open(agent.http())?, Waited::default());
    while !stop.load(Ordering::Relaxed) {
        let began = now();
        let status = connection.post("/api/v1/publish?topic=other/x", b"x")?;
        ensure!(status == 202, "a message was answered {status}");
        waited.hand_in = waited.hand_in.max(began.elapsed().as_secs_f64());
        let began = now();
        ensure!(is_healthy(agent), "the agent is not healthy");
        waited.health = waited.health.max(began.elapsed().as_secs_f64());
        thread_sleep(Duration::from_millis(50));
    }
    Ok(waited)
}

/// Returns the times at which messages of such a topic arrived, after the first `from` lines.
fn arrivals(received: &Path, from: usize, topic: &str) -> anyhow::Result<Vec<f64>> {
    let at = |line: &String| {
        let (time, rest) = line.split_once(' ')?;
        rest.starts_with(topic).then(|| time.parse().ok())?
    };
    Ok(lines(received)?.iter().skip(from).filter_map(at).collect())
}

fn longest_gap(times: &[f64]) -> f64 {
    let gaps = times.iter().zip(times.iter().skip(1)).map(|(one, next)| next - one);
    gaps.fold(0.0, f64::max)
}
