//! The agent under attack, with 1,024 descriptors and 256 MiB. Measured are its health, the service
//! for a replugged modem and for an honest client, and its memory.

mod load;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::lab::{Agent, Lab, Process, free_port, now, request_within, thread_sleep, wait_until};
use load::{Attack, Targets};

/// Arguments of `bench attack`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The least duration of each attack, in seconds.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// The program under attack. Default: the release build.
    #[arg(long)]
    program: Option<PathBuf>,
}

/// The memory of the agent, as in the service's unit.
const MEMORY: u64 = 256 * 1024 * 1024;

/// The time from an attack's beginning to the first figure.
const BEGIN: Duration = Duration::from_secs(2);

/// The time after which a request counts as unanswered.
const UNANSWERED: Duration = Duration::from_secs(10);

/// The time after which a modem counts as not served.
const UNSERVED: Duration = Duration::from_secs(60);

/// The address of the honest MQTT client. Attacks come from 127.0.0.1.
const HONEST: &str = "127.0.0.2";

/// The pause between two requests of the observers.
const PACE: Duration = Duration::from_millis(100);

/// The figures of an attack.
#[derive(Default)]
struct Found {
    /// `/healthz`: the slowest answer, and how many did not come.
    worst: Duration,
    asked: usize,
    unanswered: usize,
    /// From the modem's port to its session.
    served: Option<Duration>,
    /// Messages of an honest MQTT client, each on its own connection.
    published: usize,
    acknowledged: usize,
    /// The agent's share of one processor from the first figure on, in per cent.
    processor: Option<f64>,
    /// In MiB; `None` if the agent was killed.
    peak: Option<f64>,
    attacks: Vec<usize>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    more_descriptors()?;
    let lab = Lab::new()?;
    let group = Group::new();
    let limit =
        if group.is_some() { "in a memory cgroup of 256 MiB" } else { "no cgroup available" };
    println!(
        "ulimit -n 1024, {limit}; aims: /healthz 1,000 ms, replugged 5 s, all published, 128 MiB"
    );
    println!(
        "| attack | done | /healthz, worst, ms | unanswered | replugged modem serves after, s | published by MQTT | of one core, % | peak, MiB |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|");
    let one = Attack::ALL.map(|attack| vec![attack]);
    for attacks in [vec![]].into_iter().chain(one).chain([Attack::ALL.to_vec()]) {
        let found = under(&lab, arguments, group.as_ref(), &attacks)?;
        println!("{}", row(&attacks, &found));
    }
    Ok(())
}

/// Raises the limit for 4,300 connections and other files.
fn more_descriptors() -> anyhow::Result<()> {
    let own = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &own, "--nofile=8192:"]).status()?;
    ensure!(raised.success(), "cannot raise the limit of open files to 8,192");
    Ok(())
}

/// Runs one agent under these attacks, and returns its figures.
fn under(
    lab: &Lab,
    arguments: &Arguments,
    group: Option<&Group>,
    attacks: &[Attack],
) -> anyhow::Result<Found> {
    let _staying = lab.sim_in("sim0", lab.broker(), &[])?;
    let mut plugged = Some(lab.sim_in("sim1", lab.broker(), &["--index", "1"])?);
    let targets = Targets { http: free_port()?, mqtt: free_port()?, broker: lab.broker() };
    let agent = start(lab, arguments, group, targets)?;
    wait_until("both modems serve", UNSERVED, || is_serving(targets.http, 2))?;
    let (stop, done) = (AtomicBool::new(false), [const { AtomicUsize::new(0) }; 5]);
    let mut found = thread::scope(|scope| -> anyhow::Result<Found> {
        for (attack, done) in attacks.iter().zip(&done) {
            let (stop, attack) = (&stop, *attack);
            scope.spawn(move || attack.run(targets, stop, done));
        }
        thread_sleep(BEGIN);
        let health = scope.spawn(|| health(targets.http, &stop));
        let client = scope.spawn(|| publish(targets.mqtt, &stop));
        let (began, before) = (now(), agent.process().processor()?);
        let served = replug(lab, targets.http, &mut plugged);
        thread_sleep(Duration::from_secs(arguments.seconds).saturating_sub(began.elapsed()));
        let spent = agent.process().processor().map(|after| after - before);
        let share = spent.map(|spent| spent / began.elapsed().as_secs_f64() * 100.0);
        stop.store(true, Ordering::Relaxed);
        let mut found = health.join().map_err(|_| anyhow::anyhow!("a watcher panicked"))?;
        let client = client.join().map_err(|_| anyhow::anyhow!("the client panicked"))?;
        (found.published, found.acknowledged) = client;
        found.served = served?;
        found.processor = share.ok();
        Ok(found)
    })?;
    found.peak = agent.process().resident("VmHWM").ok();
    found.attacks = done.iter().take(attacks.len()).map(|it| it.load(Ordering::Relaxed)).collect();
    Ok(found)
}

fn start(
    lab: &Lab,
    arguments: &Arguments,
    group: Option<&Group>,
    targets: Targets,
) -> anyhow::Result<Agent> {
    for modem in 0..2 {
        let link = lab.path("sim").join(format!("modem{modem}"));
        fs::create_dir_all(lab.path("sim"))?;
        // The link exists from the second attack on.
        let _ = symlink(lab.path(&format!("sim{modem}")).join("modem0"), link);
    }
    // Its messages belong to the attack before.
    let _ = fs::remove_dir_all(lab.path("queue"));
    let subscribe = ", subscribe: [ { filter: \"down/#\", qos: 0 } ], reconnect_max: 2s";
    let fleet = lab.fleet(targets.http, 2, "1h", subscribe)
        + &format!("hand_in: {{ mqtt: {{ listen: \"{}\" }} }}\n", targets.mqtt);
    let program = arguments.program.clone();
    let program = program.unwrap_or_else(|| crate::step::target().join("release/modemfleet"));
    let enter =
        group.map_or(String::new(), |group| format!("echo $$ > '{}'; ", group.tasks().display()));
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{enter}ulimit -n 1024; exec \"$0\" \"$@\"")]).arg(program);
    lab.agent_by(command, "agent", targets.http, &fleet, "warn")
}

/// Reports whether the agent has this many connected sessions.
fn is_serving(http: SocketAddr, sessions: usize) -> bool {
    let metrics = request_within(UNANSWERED, http, "GET", "/metrics", b"");
    let Ok((_, text)) = metrics else { return false };
    let connected =
        |line: &&str| line.starts_with("modemfleet_mqtt_connected{") && line.ends_with(" 1");
    text.lines().filter(connected).count() == sessions
}

/// Asks for the agent's health again and again.
fn health(http: SocketAddr, stop: &AtomicBool) -> Found {
    let mut found = Found::default();
    while !stop.load(Ordering::Relaxed) {
        let asked = now();
        let answer = request_within(UNANSWERED, http, "GET", "/healthz", b"");
        let is_well = answer.is_ok_and(|(status, _)| status == 200);
        found.worst = found.worst.max(asked.elapsed());
        (found.asked, found.unanswered) =
            (found.asked + 1, found.unanswered + usize::from(!is_well));
        thread_sleep(PACE);
    }
    found
}

/// Publishes messages as an application that connects for each, from an address without attacks.
/// Returns how many were published, and how many acknowledged.
fn publish(mqtt: SocketAddr, stop: &AtomicBool) -> (usize, usize) {
    let (mut published, mut acknowledged) = (0, 0);
    let (ip, port) = (mqtt.ip().to_string(), mqtt.port().to_string());
    while !stop.load(Ordering::Relaxed) {
        let mut command = Command::new("timeout");
        command.args(["10", "mosquitto_pub", "-h", &ip, "-p", &port, "-q", "1", "-t", "up/x"]);
        let done = command.args(["-m", "good", "-A", HONEST]).stderr(Stdio::null()).status();
        published += 1;
        acknowledged += usize::from(done.is_ok_and(|status| status.success()));
        thread_sleep(PACE);
    }
    (published, acknowledged)
}

/// Replugs a modem, and measures the time until its session is back.
fn replug(
    lab: &Lab,
    http: SocketAddr,
    plugged: &mut Option<Process>,
) -> anyhow::Result<Option<Duration>> {
    *plugged = None;
    // A dead pty's number is given to the next pty.
    fs::remove_file(lab.path("sim1").join("modem0"))?;
    if wait_until("its session is gone", UNSERVED, || is_serving(http, 1)).is_err() {
        return Ok(None);
    }
    let began = now();
    *plugged = Some(lab.sim_in("sim1", lab.broker(), &["--index", "1"])?);
    let served = wait_until("it serves", UNSERVED, || is_serving(http, 2));
    Ok(served.is_ok().then(|| began.elapsed()))
}

fn row(attacks: &[Attack], found: &Found) -> String {
    let words: Vec<&str> = attacks.iter().map(|attack| attack.words()).collect();
    let what = match words.as_slice() {
        [] => "none",
        [one] => one,
        _ => "all at once",
    };
    let done: Vec<String> = found.attacks.iter().map(ToString::to_string).collect();
    let served =
        found.served.map_or("never".to_owned(), |time| format!("{:.2}", time.as_secs_f64()));
    format!(
        "| {what} | {} | {} | {} of {} | {served} | {} of {} | {} | {} |",
        done.join(" / "),
        found.worst.as_millis(),
        found.unanswered,
        found.asked,
        found.acknowledged,
        found.published,
        found.processor.map_or("killed".to_owned(), |share| format!("{share:.0}")),
        found.peak.map_or("killed".to_owned(), |peak| format!("{peak:.0}")),
    )
}

/// A memory cgroup with the service's limit.
struct Group(PathBuf);

impl Group {
    /// Makes the group; `None` if this machine or user cannot.
    fn new() -> Option<Self> {
        let name = format!("modemfleet-bench-{}", std::process::id());
        let of = |root: &str, limit: &str| -> anyhow::Result<Self> {
            // With the first version the root is an ordinary folder.
            ensure!(Path::new(root).join("cgroup.procs").exists(), "no cgroup");
            let path = Path::new(root).join(&name);
            fs::create_dir(&path).context("no cgroup")?;
            let group = Self(path);
            fs::write(group.0.join(limit), MEMORY.to_string())?;
            Ok(group)
        };
        let second = of("/sys/fs/cgroup", "memory.max");
        second.or_else(|_| of("/sys/fs/cgroup/memory", "memory.limit_in_bytes")).ok()
    }

    fn tasks(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its processes have ended, so nothing uses it.
        let _ = fs::remove_dir(&self.0);
    }
}
