//! Messages by HTTP through two modems, one fault after another and all together: nothing may be
//! lost.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::ensure;

use super::lab::{Lab, lines, now, thread_sleep};

/// Arguments of `bench soak`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Messages of each run.
    #[arg(long, default_value_t = 1_000)]
    messages: usize,
    /// Faults of the simulator, one run each; `none` for no fault, `all` for all at once.
    #[arg(long, value_delimiter = ',', default_value = "none")]
    faults: Vec<String>,
    /// Probability of each fault for each command.
    #[arg(long, default_value_t = 0.05)]
    probability: f64,
    /// The longest wait before a reconnect; the agent's own default is a calm 60 s.
    #[arg(long, default_value = "2s")]
    reconnect_max: String,
    /// Seed of the simulator's dice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The longest time of a run, in seconds.
    #[arg(long, default_value_t = 1_200)]
    limit: u64,
}

/// Every fault that the simulator knows.
const ALL: [&str; 13] = [
    "silence",
    "late",
    "garbage",
    "urc",
    "late-prompt",
    "no-prompt",
    "reset",
    "unplug",
    "result-first",
    "ok-first",
    "lost",
    "pub-error",
    "split",
];

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    println!(
        "{} messages of QoS 1 by HTTP, two SIM7600, each fault at {}, reconnect_max {}",
        arguments.messages, arguments.probability, arguments.reconnect_max
    );
    println!("| fault | received | missing | duplicates | published ok | desyncs | seconds |");
    println!("|---|--:|--:|--:|--:|--:|--:|");
    let mut lost = 0;
    for fault in &arguments.faults {
        lost += one(arguments, fault)?;
    }
    ensure!(lost == 0, "{lost} messages did not arrive within the limit");
    Ok(())
}

fn one(arguments: &Arguments, fault: &str) -> anyhow::Result<usize> {
    let lab = Lab::new()?;
    let faults: Vec<&str> = match fault {
        "none" => Vec::new(),
        "all" => ALL.to_vec(),
        fault => vec![fault],
    };
    let mut options = vec!["--seed".to_owned(), arguments.seed.to_string()];
    for fault in faults {
        options.extend(["--fault".to_owned(), format!("{fault}={}", arguments.probability)]);
    }
    let _sim = lab.sim(2, &options)?;
    let (_subscriber, received) = lab.subscriber("soak/#")?;
    let session = format!(", reconnect_max: {}", arguments.reconnect_max);
    let agent = lab.agent_with(2, "10s", "warn", &session)?;
    let started = now();
    agent.hand_in("soak", b"payload", arguments.messages)?;
    let limit = Duration::from_secs(arguments.limit);
    let mut left = 1.0;
    while started.elapsed() < limit && left > 0.0 {
        thread_sleep(Duration::from_millis(100));
        left = agent.metrics()?.get("modemfleet_queue_messages").copied().unwrap_or(1.0);
    }
    let took = started.elapsed();
    thread_sleep(Duration::from_millis(500)); // the last ones are on their way to the subscriber
    let all = lines(&received)?;
    let unique: BTreeSet<&String> = all.iter().collect();
    let lost = arguments.messages.saturating_sub(unique.len());
    let metrics = agent.metrics()?;
    println!(
        "| {fault} | {} | {lost} | {} | {} | {} | {:.1} |",
        unique.len(),
        all.len() - unique.len(),
        agent.publishes("ok")?,
        metrics.get("modemfleet_at_desyncs_total").copied().unwrap_or_default(),
        took.as_secs_f64()
    );
    Ok(lost)
}
