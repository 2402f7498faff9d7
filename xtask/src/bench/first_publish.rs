//! From the opened tty to the first acknowledged publish, beside a script with fixed sleeps.

use std::fs::File;
use std::io::{Read, Write};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::lab::{Lab, now, thread_sleep, wait_until};

/// Arguments of `bench first-publish`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Latency of each answer of the modem, in milliseconds.
    #[arg(long, default_value_t = 20)]
    latency: u64,
    /// The number of measurements.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Leave out the script with fixed sleeps, which takes thirteen seconds.
    #[arg(long)]
    no_script: bool,
}

/// The exchanges of a program that opens a port with an unknown modem and skips no check. Each
/// entry is one answer of the modem, so a command with a prompt is two.
const REFERENCE: [&str; 15] = [
    "AT+CGMM",
    "ATE0",
    "AT+CMEE=1",
    "AT+CGSN",
    "AT+CPIN?",
    "AT+CEREG?",
    "AT+CMQTTSTART",
    "AT+CMQTTACCQ",
    "AT+CMQTTCFG=\"checkUTF8\"",
    "AT+CMQTTCONNECT",
    "AT+CMQTTTOPIC: prompt",
    "AT+CMQTTTOPIC: data",
    "AT+CMQTTPAYLOAD: prompt",
    "AT+CMQTTPAYLOAD: data",
    "AT+CMQTTPUB",
];

/// The most time of the agent relative to the reference, without the results' own time.
const AIM: f64 = 1.1;

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let latency = Duration::from_millis(arguments.latency);
    println!("reference: {} exchanges of {latency:?}", REFERENCE.len());
    for exchange in REFERENCE {
        println!("  {exchange}");
    }
    let reference = latency * u32::try_from(REFERENCE.len()).unwrap_or(u32::MAX);
    let mut ratios = Vec::new();
    for round in 1..=arguments.rounds {
        let Measured { total, results } = agent(arguments.latency)?;
        let ratio = total.saturating_sub(results).as_secs_f64() / reference.as_secs_f64();
        println!(
            "round {round}: {total:.1?}, of it results' own time {results:.1?}; {ratio:.2} × {reference:?}"
        );
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios.get(ratios.len() / 2).copied().context("no rounds")?;
    println!("median {median:.2} × the reference (aim: at most {AIM})");
    if !arguments.no_script {
        let (publish, whole) = script(arguments.latency)?;
        println!(
            "script with one-second sleeps: publish returns after {publish:.1?}, whole script {whole:.1?}"
        );
    }
    ensure!(median <= AIM, "the median {median:.2} is above {AIM}");
    Ok(())
}

/// The times of a run.
struct Measured {
    total: Duration,
    /// Time between the acceptance of START, CONNECT and PUB and their results.
    results: Duration,
}

/// Queues a message, plugs the modem in, and reads the times from the agent's log.
fn agent(latency: u64) -> anyhow::Result<Measured> {
    let lab = Lab::new()?;
    let agent = lab.agent(1, "1h", "modemfleet::at=trace,modem=debug")?;
    agent.hand_in("first", b"21.5", 1)?;
    let _sim = lab.sim(1, &["--latency".to_owned(), latency.to_string()])?;
    wait_until("the first publish", Duration::from_secs(20), || {
        agent.publishes("ok").is_ok_and(|ok| ok > 0.0)
    })?;
    let log = agent.log()?;
    let mut opened = None;
    let mut results = Duration::ZERO;
    for line in log.lines() {
        if line.contains("\"tty opened\"") {
            opened = Some(timestamp(line)?);
        }
        // START's result comes with its OK. The time of CONNECT and PUB beyond one latency is their
        // own.
        let operation = ["AT+CMQTTCONNECT", "AT+CMQTTPUB"]
            .iter()
            .any(|name| line.contains(&format!("\"message\":\"< {name}")));
        if operation {
            results += took(line)?.saturating_sub(Duration::from_millis(latency));
        }
        if line.contains("\"message\":\"< AT+CMQTTPUB") {
            let total =
                timestamp(line)?.saturating_sub(opened.context("the log shows no opened tty")?);
            return Ok(Measured { total, results });
        }
    }
    anyhow::bail!("the log shows no publish")
}

/// Returns the time of day of a log line.
fn timestamp(line: &str) -> anyhow::Result<Duration> {
    let text = line.split("\"timestamp\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let time = text.and_then(|text| text.split('T').nth(1)).context("a log line without a time")?;
    let mut parts =
        time.trim_end_matches('Z').split(':').map(|part| part.parse::<f64>().unwrap_or_default());
    let (hours, minutes, seconds) = (parts.next(), parts.next(), parts.next());
    let seconds = hours.unwrap_or_default() * 3_600.0
        + minutes.unwrap_or_default() * 60.0
        + seconds.unwrap_or_default();
    Ok(Duration::from_secs_f64(seconds))
}

/// Returns the duration of a log line's exchange: `"took":"21.3ms"`.
fn took(line: &str) -> anyhow::Result<Duration> {
    let text = line
        .split("\"took\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .context("a log line without its duration")?;
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: f64 = digits.parse()?;
    Ok(Duration::from_secs_f64(match text.get(digits.len()..) {
        Some("s") => number,
        Some("ms") => number / 1e3,
        _ => number / 1e6,
    }))
}

/// Runs a script of today's usual kind, from START to STOP: write, sleep a second, read, thirteen
/// times.
fn script(latency: u64) -> anyhow::Result<(Duration, Duration)> {
    const STEPS: [&str; 13] = [
        "AT+CMQTTSTART\r",
        "AT+CMQTTACCQ=0,\"script\"\r",
        "AT+CMQTTCONNECT=0,\"tcp://broker:1883\",60,1\r",
        "AT+CMQTTTOPIC=0,5\r",
        "first",
        "AT+CMQTTPAYLOAD=0,4\r",
        "21.5",
        "AT+CMQTTPUB=0,1,60\r",
        "AT+CMQTTUNSUB=0,5,0\r",
        "first",
        "AT+CMQTTDISC=0,60\r",
        "AT+CMQTTREL=0\r",
        "AT+CMQTTSTOP\r",
    ];
    let lab = Lab::new()?;
    let _sim = lab.sim(1, &["--latency".to_owned(), latency.to_string()])?;
    let mut tty = File::options().read(true).write(true).open(lab.path("sim").join("modem0"))?;
    let started = now();
    let mut published = Duration::ZERO;
    for step in STEPS {
        tty.write_all(step.as_bytes())?;
        thread_sleep(Duration::from_secs(1));
        let mut answer = [0; 1024];
        let count = tty.read(&mut answer)?;
        let answer = String::from_utf8_lossy(answer.get(..count).unwrap_or_default()).into_owned();
        if answer.contains("+CMQTTPUB: 0,0") {
            published = started.elapsed();
        }
    }
    ensure!(!published.is_zero(), "the script's publish failed");
    Ok((published, started.elapsed()))
}
