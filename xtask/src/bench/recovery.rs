//! Modems that are ill for a while and recover by themselves: the time from the cure to service,
//! and the actions. One agent has all of them, so that one waits for another's reset, as on a
//! gateway.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::lab::{Agent, Lab, Process, free_port, now, thread_sleep};

/// Arguments of `bench recovery`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The durations of the illness, in seconds.
    #[arg(long, value_delimiter = ',', default_values_t = [10_u64, 120, 1_800])]
    seconds: Vec<u64>,
}

/// The causes of docs/recovery.md, each with an illness of the simulator that shows it.
const CAUSES: [(&str, &str); 10] = [
    ("mute", "mute"),
    ("wedged (START takes 130 s)", "slow:+CMQTTSTART:130s"),
    ("service (data refused)", "no-data"),
    ("unregistered", "registration"),
    ("denied", "denied"),
    ("denied (voice only)", "voice-only"),
    ("sim", "sim-failure"),
    ("sessions (client in use)", "stuck-client"),
    ("boot_loop", "brown-out:connect"),
    ("update", "update"),
];

/// The longest time from a modem's cure to its service.
const LIMIT: Duration = Duration::from_secs(300);

/// A modem.
struct Patient {
    cause: &'static str,
    seconds: u64,
    cured: Instant,
    /// Seconds from the cure until it was seen connected.
    took: Option<f64>,
    _sim: Process,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let lab = Lab::new()?;
    std::fs::create_dir_all(lab.path("sim"))?;
    let mut patients = Vec::new();
    for seconds in &arguments.seconds {
        for (cause, illness) in CAUSES {
            let folder = format!("sim{}", patients.len());
            let there = lab.path(&folder).join("modem0");
            symlink(there, lab.path("sim").join(format!("modem{}", patients.len())))?;
            let (illness, index) = (format!("{illness}={seconds}s"), patients.len().to_string());
            let sim = lab.sim_in(&folder, lab.broker(), &["--ill", &illness, "--index", &index])?;
            let cured = now() + Duration::from_secs(*seconds);
            patients.push(Patient { cause, seconds: *seconds, cured, took: None, _sim: sim });
        }
    }
    let http = free_port()?;
    let agent = lab.agent_of(http, &lab.fleet(http, patients.len(), "10s", ""), "info")?;
    watch(&agent, &mut patients)?;
    report(&agent, &patients)
}

fn watch(agent: &Agent, patients: &mut [Patient]) -> anyhow::Result<()> {
    while patients.iter().any(|it| it.took.is_none() && now() < it.cured + LIMIT) {
        let metrics = agent.metrics()?;
        for (index, it) in patients.iter_mut().enumerate().filter(|(_, it)| it.took.is_none()) {
            let labels = format!("{{modem=\"m{index}\",session=\"lab\"}}");
            let is_up = metrics.get(&format!("modemfleet_mqtt_connected{labels}"));
            if is_up.is_some_and(|up| *up > 0.5) && now() >= it.cured {
                it.took = Some(now().duration_since(it.cured).as_secs_f64());
            }
        }
        thread_sleep(Duration::from_millis(250));
    }
    Ok(())
}

/// Returns the actions on a modem and their counts, with any outcome but `skipped`.
fn actions(metrics: &BTreeMap<String, f64>, index: usize) -> String {
    let mut done = BTreeMap::<&str, f64>::new();
    let of_it = format!("modem=\"m{index}\"");
    for (series, count) in metrics {
        let is_action = series.starts_with("modemfleet_recovery_actions_total{");
        if is_action && *count > 0.0 && series.contains(&of_it) && !series.contains("skipped") {
            let action = series.split("action=\"").nth(1).and_then(|rest| rest.split('"').next());
            *done.entry(action.unwrap_or_default()).or_default() += count;
        }
    }
    let words: Vec<_> = done.iter().map(|(action, count)| format!("{action} {count}")).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

fn report(agent: &Agent, patients: &[Patient]) -> anyhow::Result<()> {
    let metrics = agent.metrics()?;
    println!("{:<32} {:>6}  {:>12}  actions", "cause", "ill", "in service");
    for (index, it) in patients.iter().enumerate() {
        let actions = actions(&metrics, index);
        let took = it.took.map_or("not yet".to_owned(), |took| format!("{took:.1} s later"));
        println!("{:<32} {:>4} s  {took:>12}  {actions}", it.cause, it.seconds);
    }
    let late = patients.iter().find(|it| it.took.is_none());
    late.map_or(Ok(()), |it| Err(anyhow::anyhow!("{} did not come back", it.cause)))
        .context("a modem that recovered is not in service")
}
