//! Many modems in one agent: sessions up, memory, processor time, time of a scrape.

use std::fs;
use std::time::Duration;

use anyhow::Context;

use super::lab::{Agent, Lab, now, thread_sleep, wait_until};

/// Arguments of `bench scale`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The numbers of modems, one run each.
    #[arg(long, value_delimiter = ',', default_value = "1,8,64,256")]
    modems: Vec<usize>,
    /// The time over which processor time is measured, in seconds; polls come every 10 s.
    #[arg(long, default_value_t = 30)]
    watch: u64,
}

/// The number of scrapes, of which the median is printed.
const SCRAPES: usize = 20;

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    println!("SIM7600, one session each, poll 10 s; processor time over {} s", arguments.watch);
    println!(
        "| modems | all sessions up after | resident memory | of one core | scrape, median of {SCRAPES} | its size |"
    );
    println!("|--:|--:|--:|--:|--:|--:|");
    for modems in &arguments.modems {
        one(*modems, Duration::from_secs(arguments.watch))?;
    }
    Ok(())
}

fn one(modems: usize, watch: Duration) -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let _sim = lab.sim(modems, &[])?;
    let started = now();
    let agent = lab.agent(modems, "10s", "warn")?;
    let all = f64::from(u32::try_from(modems)?);
    wait_until("all sessions are up", Duration::from_secs(120), || {
        agent.metrics().is_ok_and(|metrics| metrics.get("modemfleet_mqtt_connected") == Some(&all))
    })?;
    let up = started.elapsed();
    let before = agent.process().processor()?;
    thread_sleep(watch);
    let share = (agent.process().processor()? - before) / watch.as_secs_f64();
    let (mut scrapes, mut size) = (Vec::new(), 0);
    for _ in 0..SCRAPES {
        let scrape = now();
        size = agent.scrape()?;
        scrapes.push(scrape.elapsed());
    }
    scrapes.sort();
    let scrape = scrapes.get(SCRAPES / 2).copied().unwrap_or_default();
    println!(
        "| {modems} | {:.1} s | {:.1} MB | {:.1} % | {:.1} ms | {} kB |",
        up.as_secs_f64(),
        resident_mb(&agent)?,
        share * 100.0,
        scrape.as_secs_f64() * 1e3,
        size / 1000
    );
    Ok(())
}

fn resident_mb(agent: &Agent) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid()))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS in status")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024.0 / 1e6)
}
