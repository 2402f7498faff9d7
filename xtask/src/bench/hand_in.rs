//! Durable hand-ins a second: at the queue's interface beside one-by-one syncs, and through HTTP
//! beside mosquitto with persistence.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::lab::{Connection, Lab, free_port, now, queue_bench};

/// Arguments of `bench hand-in`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Messages of the runs through brokers.
    #[arg(long, default_value_t = 5_000)]
    messages: u32,
}

/// Clients at the same time in the runs through brokers.
const CLIENTS: [u32; 2] = [1, 16];

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    // mosquitto's way of durability: it writes to the laboratory's folder each second, without a
    // sync.
    let persistent = "persistence true\nautosave_interval 1\npersistence_location ./\n";
    let lab = Lab::with_broker(persistent)?;
    println!(
        "durable hand-ins of 256 bytes; each answered only once it is on disk, but for mosquitto's"
    );
    println!("| way | tasks | a second | commits a second | × one by one |");
    println!("|---|--:|--:|--:|--:|");
    let seconds = arguments.seconds.to_string();
    let measure = |words: &[&str], name: &str| -> anyhow::Result<(f64, f64)> {
        let dir = lab.path(name);
        let dir = dir.to_str().context("the folder's name is not UTF-8")?;
        let (first, rest) = words.split_first().context("no words")?;
        let words: Vec<&str> = [&[*first, dir], rest].concat();
        let ((messages, commits), _) = queue_bench(&words)?;
        Ok((rate(messages, arguments.seconds), rate(commits, arguments.seconds)))
    };
    let (plain, _) = measure(&["fsync", &seconds], "plain")?;
    println!("| a file, written and synced one by one | 1 | {plain:.0} | {plain:.0} | 1.0 |");
    for tasks in ["1", "16", "256"] {
        let (messages, commits) =
            measure(&["append", tasks, &seconds], &format!("append-{tasks}"))?;
        println!(
            "| the queue | {tasks} | {messages:.0} | {commits:.0} | {:.1} |",
            messages / plain
        );
    }
    for connections in [1, 16, 64] {
        let messages = http(&lab, connections, arguments.seconds)?;
        println!(
            "| HTTP, connections kept | {connections} | {messages:.0} | | {:.1} |",
            messages / plain
        );
    }
    let listener = free_port()?;
    let http = free_port()?;
    let fleet = lab.fleet(http, 1, "10s", "")
        + &format!("hand_in: {{ mqtt: {{ listen: \"{listener}\" }} }}\n");
    let agent = lab.agent_of(http, &fleet, "warn")?;
    through_brokers("MQTT listener of the agent", listener, arguments.messages, plain)?;
    drop(agent);
    lab.offline_subscriber("bench/#")?;
    through_brokers(
        "mosquitto, persistence on (not synced)",
        lab.broker(),
        arguments.messages,
        plain,
    )
}

fn through_brokers(
    name: &str,
    listener: SocketAddr,
    messages: u32,
    plain: f64,
) -> anyhow::Result<()> {
    for clients in CLIENTS {
        let rate = through_mqtt(listener, clients, messages)?;
        println!("| {name} | {clients} | {rate:.0} | | {:.1} |", rate / plain);
    }
    Ok(())
}

fn rate(count: u64, seconds: u64) -> f64 {
    let number = |n: u64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    number(count) / number(seconds)
}

/// Returns the messages a second that the agent answered with 202.
fn http(lab: &Lab, connections: u32, seconds: u64) -> anyhow::Result<f64> {
    let agent = lab.agent(1, "10s", "warn")?;
    let (span, started) = (Duration::from_secs(seconds), now());
    let counts: Vec<anyhow::Result<u64>> = thread::scope(|scope| {
        let one = || {
            scope.spawn(|| -> anyhow::Result<u64> {
                let (mut connection, mut count) = (Connection::open(agent.http())?, 0);
                while started.elapsed() < span {
                    let status =
                        connection.post("/api/v1/publish?topic=bench/http", &[0x55; 256])?;
                    ensure!(status == 202, "a message was answered {status}");
                    count += 1;
                }
                Ok(count)
            })
        };
        let workers: Vec<_> = (0..connections).map(|_| one()).collect();
        let ended = workers.into_iter().map(|worker| worker.join());
        ended
            .map(|ended| ended.unwrap_or_else(|_| Err(anyhow::anyhow!("a worker panicked"))))
            .collect()
    });
    let count: u64 = counts.into_iter().sum::<anyhow::Result<u64>>()?;
    Ok(rate(count, seconds))
}

/// Returns the messages a second of `clients` clients, `messages` each.
fn through_mqtt(listener: SocketAddr, clients: u32, messages: u32) -> anyhow::Result<f64> {
    let started = now();
    thread::scope(|scope| {
        let one = |_| scope.spawn(|| publish(listener, messages));
        let all: Vec<_> = (0..clients).map(one).collect();
        all.into_iter().try_for_each(|client| {
            client.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a client panicked")))
        })
    })?;
    Ok(f64::from(clients) * f64::from(messages) / started.elapsed().as_secs_f64())
}

/// Runs `mosquitto_pub` with a message on each line, QoS 1 and its usual twenty in flight.
fn publish(listener: SocketAddr, messages: u32) -> anyhow::Result<()> {
    let line = format!("{}\n", "x".repeat(256));
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", &listener.ip().to_string(), "-p", &listener.port().to_string()]);
    command.args(["-q", "1", "-t", "bench/mqtt", "-l"]).stdin(Stdio::piped());
    let mut child = command.spawn().context("cannot start mosquitto_pub")?;
    {
        let mut input = child.stdin.take().context("mosquitto_pub has no input")?;
        for _ in 0..messages {
            input.write_all(line.as_bytes())?;
        }
    }
    ensure!(child.wait()?.success(), "mosquitto_pub failed");
    Ok(())
}
