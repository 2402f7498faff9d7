//! `cargo xtask bench NAME`: figures, with a reference measured in the same run.

mod attack;
mod bad_disk;
mod disk;
mod endurance;
mod failover;
mod field;
mod first_publish;
mod hand_in;
mod hotplug;
mod judge;
mod kill;
mod lab;
mod power_cut;
mod publish_rate;
mod queue_start;
mod recovery;
mod remote_write;
mod rename;
mod scale;
mod soak;
mod wear;

use clap::Subcommand;

/// The benchmarks. Each builds the release binary first, and needs mosquitto.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Half-open connections, a huge plan, a flood of downlinks: service for other clients, and
    /// memory.
    Attack(attack::Arguments),
    /// One agent for an hour or longer: memory, processor time, bytes to disk and over the air.
    Endurance(endurance::Arguments),
    /// Two modems under load, one unplugged, one with a silent network: gaps, losses, duplicates.
    Failover(failover::Arguments),
    /// Cases of modems in the field, also those of more than a minute: each judges its own outcome.
    Field(field::Arguments),
    /// From the opened tty to the first acknowledged publish, beside a script with fixed sleeps.
    FirstPublish(first_publish::Arguments),
    /// From the plug to the identified modem, beside ModemManager, on a real kernel in a guest.
    Hotplug(hotplug::Arguments),
    /// Durable hand-ins a second, beside one-by-one syncs and mosquitto.
    HandIn(hand_in::Arguments),
    /// Fleet files of a mebibyte, of many shapes, through `check`: seconds and memory.
    Judge(judge::Arguments),
    /// The agent killed at random moments under load: nothing may be lost.
    Kill(kill::Arguments),
    /// The power of a guest cut while messages are handed in: no accepted message may be lost.
    PowerCut(power_cut::Arguments),
    /// From the start of a process to its first lease, with a million messages queued.
    QueueStart(queue_start::Arguments),
    /// Publishes a second with a full queue, beside a bare loop on the same pty.
    PublishRate(publish_rate::Arguments),
    /// Modems that are ill for 10 s, 2 min and 30 min: the time from the cure to service.
    Recovery(recovery::Arguments),
    /// The traffic of a Prometheus in agent mode over a metered link: series a modem, bytes a day.
    RemoteWrite(remote_write::Arguments),
    /// A route renamed while a million messages wait: its gap in delivery at a reload, or at a
    /// start.
    Rename(rename::Arguments),
    /// Many modems in one agent: memory, processor time, time of a scrape.
    Scale(scale::Arguments),
    /// Messages by HTTP through two modems, with faults on demand: nothing may be lost.
    Soak(soak::Arguments),
    /// Bytes that a message makes the system write to its disk, at 1, 10 and 100 a second.
    Wear(wear::Arguments),
}

/// Builds the binary and runs a benchmark.
///
/// # Errors
/// If a part does not start, or a figure misses its aim.
pub(crate) fn run(bench: &Bench) -> anyhow::Result<()> {
    crate::setup::tests(&[])?;
    crate::step::Invocation::cargo(&["build", "--release", "--package", "modemfleet"]).run()?;
    if matches!(bench, Bench::HandIn(_) | Bench::QueueStart(_) | Bench::Rename(_)) {
        let example = ["build", "--release", "--package", "queue", "--example", "bench"];
        crate::step::Invocation::cargo(&example).run()?;
    }
    match bench {
        Bench::Attack(arguments) => attack::run(arguments),
        Bench::Endurance(arguments) => endurance::run(arguments),
        Bench::Failover(arguments) => failover::run(arguments),
        Bench::Field(arguments) => field::run(arguments),
        Bench::FirstPublish(arguments) => first_publish::run(arguments),
        Bench::Hotplug(arguments) => hotplug::run(arguments),
        Bench::HandIn(arguments) => hand_in::run(arguments),
        Bench::Judge(arguments) => judge::run(arguments),
        Bench::Kill(arguments) => kill::run(arguments),
        Bench::PowerCut(arguments) => power_cut::run(arguments),
        Bench::QueueStart(arguments) => queue_start::run(arguments),
        Bench::PublishRate(arguments) => publish_rate::run(arguments),
        Bench::Recovery(arguments) => recovery::run(arguments),
        Bench::RemoteWrite(arguments) => remote_write::run(arguments),
        Bench::Rename(arguments) => rename::run(arguments),
        Bench::Scale(arguments) => scale::run(arguments),
        Bench::Soak(arguments) => soak::run(arguments),
        Bench::Wear(arguments) => wear::run(arguments),
    }
}
