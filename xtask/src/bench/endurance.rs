//! One agent for an hour or a night: memory, processor time, bytes written to disk, bytes over the air.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::lab::{Agent, Lab, free_port, now, thread_sleep, wait_until};

/// Arguments of `bench endurance`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Modems of the agent, a session each.
    #[arg(long, default_value_t = 8)]
    modems: usize,
    /// The duration, in minutes.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Messages handed in each minute, over all modems, one by one; 0 measures an idle agent.
    #[arg(long, default_value_t = 48)]
    per_minute: usize,
    /// Bytes of each payload.
    #[arg(long, default_value_t = 200)]
    bytes: usize,
    /// Each modem publishes its state each minute.
    #[arg(long)]
    telemetry: bool,
    /// `queue.fsync` of the fleet file.
    #[arg(long, default_value = "always")]
    fsync: String,
    /// Minutes between two lines of the table.
    #[arg(long, default_value_t = 10)]
    every: u64,
}

/// The figures at one moment.
struct Look {
    resident: f64,
    processor: f64,
    written: f64,
    from_modems: f64,
    to_modems: f64,
    estimated: f64,
    published: f64,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let lab = Lab::with_broker("sys_interval 5\n")?;
    let _sim = lab.sim(arguments.modems, &[])?;
    let agent = agent(&lab, arguments)?;
    let all = f64::from(u32::try_from(arguments.modems)?);
    wait_until("all sessions are up", Duration::from_secs(120), || {
        agent.metrics().is_ok_and(|metrics| metrics.get("modemfleet_mqtt_connected") == Some(&all))
    })?;
    println!(
        "{} SIM7600, poll 10 s, a scrape each 15 s, {} messages of {} bytes a minute (QoS 1, by HTTP), fsync {}, log at info",
        arguments.modems, arguments.per_minute, arguments.bytes, arguments.fsync
    );
    println!("| minute | resident memory | of one core | written to disk | published |");
    println!("|--:|--:|--:|--:|--:|");
    let first = look(&lab, &agent)?;
    let mut last = row(0, &first, &first, 0);
    let mut handed = 0;
    for minute in 1..=arguments.minutes {
        handed += a_minute(&agent, arguments)?;
        if minute % arguments.every == 0 || minute == arguments.minutes {
            last = row(minute, &look(&lab, &agent)?, &last, arguments.every);
        }
    }
    wait_until("all is published", Duration::from_secs(60), || {
        agent.publishes("ok").is_ok_and(|ok| ok >= count(handed))
    })?;
    thread_sleep(Duration::from_secs(6)); // the broker tells its own figures each 5 s
    summary(&first, &look(&lab, &agent)?, arguments)
}

/// Starts the agent as an operator would: a log at `info`, and a budget. The budget's estimate is
/// printed beside the broker's count.
fn agent(lab: &Lab, arguments: &Arguments) -> anyhow::Result<Agent> {
    let http = free_port()?;
    let mut fleet = String::new();
    let fsync = format!("max_bytes: 1GiB, fsync: {} }}", arguments.fsync);
    let plain = lab.fleet(http, arguments.modems, "10s", "").replace("max_bytes: 1GiB }", &fsync);
    for line in plain.lines() {
        fleet += line;
        fleet += "\n";
        if line.starts_with("    poll:") {
            fleet += "    budget: { bytes: 10GB }\n";
            fleet += if arguments.telemetry { "    telemetry: { every: 60s }\n" } else { "" };
        }
    }
    lab.agent_of(http, &fleet, "info")
}

/// Hands in a minute's messages at equal distances, with a scrape each quarter.
fn a_minute(agent: &Agent, arguments: &Arguments) -> anyhow::Result<usize> {
    let (started, minute) = (now(), Duration::from_secs(60));
    let payload = vec![b'x'; arguments.bytes];
    let steps = u32::try_from(arguments.per_minute)?.max(4);
    for step in 0..steps {
        if count(arguments.per_minute) > f64::from(step) {
            agent.hand_in("bench", &payload, 1)?;
        }
        if step % steps.div_ceil(4) == 0 {
            agent.scrape()?;
        }
        let next = minute * (step + 1) / steps;
        thread_sleep(next.saturating_sub(started.elapsed()));
    }
    Ok(arguments.per_minute)
}

fn look(lab: &Lab, agent: &Agent) -> anyhow::Result<Look> {
    let metrics = agent.metrics()?;
    let metric = |name: &str| metrics.get(name).copied().unwrap_or_default();
    Ok(Look {
        resident: agent.process().resident("VmRSS")?,
        processor: metric("process_cpu_seconds_total"),
        written: written(agent)?,
        from_modems: broker(lab, "bytes/received")?,
        to_modems: broker(lab, "bytes/sent")?,
        estimated: metric("modemfleet_budget_used_bytes"),
        published: agent.publishes("ok")? + 0.0, // the sum of nothing is -0
    })
}

/// Prints a line of the table; rates are those since the line before.
fn row(minute: u64, this: &Look, before: &Look, minutes: u64) -> Look {
    let seconds =
        if minutes == 0 { 1.0 } else { count(60) * f64::from(u32::try_from(minutes).unwrap_or(1)) };
    println!(
        "| {minute} | {:.1} MiB | {:.2} % | {:.1} MB | {:.0} |",
        this.resident,
        (this.processor - before.processor) / seconds * 100.0,
        this.written / 1e6,
        this.published
    );
    Look { ..*this }
}

fn summary(first: &Look, last: &Look, arguments: &Arguments) -> anyhow::Result<()> {
    println!(
        "\nmemory: {:.1} MiB at the start, {:.1} MiB at the end",
        first.resident, last.resident
    );
    let days = f64::from(u32::try_from(arguments.minutes)?) / (24.0 * 60.0);
    let handed = count(arguments.per_minute) * f64::from(u32::try_from(arguments.minutes)?);
    let modems = count(arguments.modems);
    println!("| what | a day and modem | a message of {} bytes |", arguments.bytes);
    println!("|---|--:|--:|");
    let line = |name: &str, of: fn(&Look) -> f64| {
        let all = of(last) - of(first);
        // Without messages, only the idle costs count.
        let each = if handed > 0.0 { format!("{:.0} B", all / handed) } else { "–".to_owned() };
        println!("| {name} | {:.2} MB | {each} |", all / days / modems / 1e6);
    };
    line("written to disk", |look| look.written);
    line("MQTT from the modems, at the broker", |look| look.from_modems);
    line("MQTT to the modems, at the broker", |look| look.to_modems);
    line("over the air by the budget's estimate, with TCP/IP, both ways", |look| look.estimated);
    Ok(())
}

/// Returns the bytes that the kernel had to write for this process (proc(5)).
fn written(agent: &Agent) -> anyhow::Result<f64> {
    let io = fs::read_to_string(format!("/proc/{}/io", agent.pid()))?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.context("the system reports no write_bytes")?.parse()?)
}

/// Returns a figure of mosquitto about itself.
fn broker(lab: &Lab, what: &str) -> anyhow::Result<f64> {
    let address = lab.broker();
    let mut command = Command::new("mosquitto_sub");
    command.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
    let output =
        command.args(["-C", "1", "-W", "20", "-t", &format!("$SYS/broker/{what}")]).output()?;
    ensure!(output.status.success(), "the broker reports no {what}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
}

fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}
