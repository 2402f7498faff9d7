//! The traffic of `deploy/prometheus/agent` over a metered link: series a modem, bytes a day.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::lab::{Lab, Process, free_port, request, thread_sleep, wait_until};

/// Arguments of `bench remote-write`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Modems on the gateway.
    #[arg(long, default_value_t = 4)]
    modems: usize,
    /// The time in which bytes are counted, in minutes.
    #[arg(long, default_value_t = 5)]
    minutes: u64,
}

/// The limit that the README of the folder promises.
const MOST_SERIES: f64 = 40.0;

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let _sim = lab.sim(arguments.modems, &[])?;
    let agent = lab.agent(arguments.modems, "10s", "warn")?;
    agent.hand_in("bench", b"21.5", 100)?;
    let central =
        prometheus(&lab, "central", "global: {}\n", &["--web.enable-remote-write-receiver"])?;
    let edge =
        prometheus(&lab, "edge", &config(agent.http(), central.1)?, &["--enable-feature=agent"])?;
    let series = || samples(central.1, "count({modem!=\"\"})");
    wait_until("the first samples are there", Duration::from_secs(180), || {
        series().is_ok_and(|series| series > 0.0)
    })?;
    let before = sent(edge.1)?;
    for _ in 0..arguments.minutes {
        agent.hand_in("bench", b"21.5", 10)?;
        thread_sleep(Duration::from_secs(60));
    }
    let bytes = sent(edge.1)? - before;
    let modems = f64::from(u32::try_from(arguments.modems)?);
    let minutes = f64::from(u32::try_from(arguments.minutes)?);
    let (each, day) = (series()? / modems, bytes / minutes * 24.0 * 60.0);
    println!(
        "| modems | series a modem | bytes a minute | a day | a day and modem |\n|--:|--:|--:|--:|--:|"
    );
    println!(
        "| {modems} | {each:.1} | {:.0} | {:.2} MB | {:.2} MB |",
        bytes / minutes,
        day / 1e6,
        day / 1e6 / modems
    );
    ensure!(each <= MOST_SERIES, "{each} series a modem, {MOST_SERIES} are promised");
    Ok(())
}

/// Returns the configuration of the gateway, with the addresses of this run and no password.
fn config(agent: SocketAddr, central: SocketAddr) -> anyhow::Result<String> {
    let path = crate::step::root().join("deploy/prometheus/agent/prometheus.yml");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (before, rest) =
        text.split_once("    # Instead of `basic_auth`").context("no basic_auth")?;
    let (_, after) = rest.split_once("    queue_config:").context("no queue_config")?;
    let text = format!("{before}    queue_config:{after}");
    let wanted = ["127.0.0.1:9810", "https://prometheus.example.com"];
    ensure!(wanted.iter().all(|part| text.contains(part)), "the configuration has other addresses");
    let text = text.replace(wanted[0], &agent.to_string());
    Ok(text.replace(wanted[1], &format!("http://{central}")))
}

/// Starts a Prometheus, and returns it with its address.
fn prometheus(
    lab: &Lab,
    name: &str,
    config: &str,
    more: &[&str],
) -> anyhow::Result<(Process, SocketAddr)> {
    let (file, http) = (lab.path(&format!("{name}.yml")), free_port()?);
    fs::write(&file, config)?;
    let data = |kind: &str, dir: &Path| format!("--storage.{kind}.path={}", dir.display());
    let kind = if more.contains(&"--enable-feature=agent") { "agent" } else { "tsdb" };
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", file.display()));
    command.arg(data(kind, &lab.path(name))).arg(format!("--web.listen-address={http}")).args(more);
    let process = Process::start(command.stderr(Stdio::null()))?;
    wait_until("Prometheus is ready", Duration::from_secs(30), || {
        request(http, "GET", "/-/ready", b"").is_ok_and(|(status, _)| status == 200)
    })?;
    Ok((process, http))
}

/// Returns the bytes sent to the central side, compressed
/// (`prometheus_remote_storage_bytes_total`).
fn sent(edge: SocketAddr) -> anyhow::Result<f64> {
    let (_, page) = request(edge, "GET", "/metrics", b"")?;
    let line = page.lines().find(|line| line.starts_with("prometheus_remote_storage_bytes_total"));
    Ok(line.and_then(|line| line.rsplit(' ').next()).context("no bytes were counted")?.parse()?)
}

/// Returns the only value of an expression.
fn samples(server: SocketAddr, expr: &str) -> anyhow::Result<f64> {
    let escaped: String = expr.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let (_, body) = request(server, "GET", &format!("/api/v1/query?query={escaped}"), b"")?;
    let json: serde_json::Value = serde_json::from_str(&body)?;
    let value = json.pointer("/data/result/0/value/1").and_then(|value| value.as_str());
    Ok(value.unwrap_or("0").parse()?)
}
