//! From the start of a process to its first lease, with a large backlog that a killed process left.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::lab::{Lab, Process, now, queue_bench, thread_sleep};

/// The lane of the implied route.
const LANE: &str = "route #";

/// The aims: seconds to the first lease, and MiB resident.
const AIM: (f64, f64) = (0.5, 50.0);

/// Arguments of `bench queue-start`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Messages of 256 bytes that are queued.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u32,
    /// The number of starts.
    #[arg(long, default_value_t = 5)]
    starts: u32,
    /// The time from the start to the reading of memory: the check in the background runs
    /// meanwhile.
    #[arg(long, default_value_t = 15)]
    settle: u64,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let dir = lab.path("queue");
    println!("filling a queue with {} messages of 256 bytes, then kill -9", arguments.messages);
    let (filled, mut process) =
        queue_bench(&["fill", text(&dir)?, &arguments.messages.to_string(), LANE])?;
    println!("{} messages, {} bytes accounted", filled.0, filled.1);
    process.kill()?;
    println!(
        "| what | seconds to the first lease | resident then, MiB | after {} s, MiB |",
        arguments.settle
    );
    println!("|---|--:|--:|--:|");
    let (mut worst, mut most) = (0.0_f64, 0.0_f64);
    for start in 1..=arguments.starts {
        let started = now();
        let (leased, mut process) = queue_bench(&["first-lease", text(&dir)?, LANE])?;
        let took = started.elapsed().as_secs_f64();
        ensure!(leased.0 == 1, "nothing was leased");
        let (first, peak) = settled(&process, arguments.settle)?;
        println!("| the queue alone, start {start} | {took:.3} | {first:.1} | {peak:.1} |");
        (worst, most) = (worst.max(took), most.max(peak));
        process.kill()?;
    }
    for start in 1..=arguments.starts {
        let started = now();
        let agent = lab.agent(1, "10s", "warn")?;
        let took = started.elapsed().as_secs_f64();
        let queued = agent.metrics()?.get("modemfleet_queue_messages").copied().unwrap_or_default();
        ensure!(queued >= f64::from(arguments.messages) - 1.0, "{queued} are queued");
        let (first, peak) = settled(agent.process(), arguments.settle)?;
        println!(
            "| the agent until it serves HTTP, start {start} | {took:.3} | {first:.1} | {peak:.1} |"
        );
        (worst, most) = (worst.max(took), most.max(peak));
    }
    ensure!(worst <= AIM.0, "a start took {worst:.3} s, the aim is {} s", AIM.0);
    ensure!(most <= AIM.1, "{most:.1} MiB were resident, the aim is {} MiB", AIM.1);
    Ok(())
}

/// Returns the resident memory now, and its peak after some seconds.
fn settled(process: &Process, seconds: u64) -> anyhow::Result<(f64, f64)> {
    let first = process.resident("VmRSS")?;
    thread_sleep(Duration::from_secs(seconds));
    Ok((first, process.resident("VmHWM")?))
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the folder's name is not UTF-8")
}
