//! Attackers: each runs until `stop` is set, and opens closed connections again.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;

use crate::bench::lab::{Process, now, request, thread_sleep};

/// A head without its end.
const HEAD: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-a: b\r\n";

/// The first bytes of a CONNECT.
const CONNECT: &[u8] = &[0x10, 0x20];

/// The time for a connection to be accepted before another is tried.
const PATIENCE: Duration = Duration::from_secs(1);

/// The time for which the system repeats a connection attempt by itself.
const RETRIED: Duration = Duration::from_secs(10);

/// The pause between two checks of all connections.
const LOOK: Duration = Duration::from_millis(10);

/// A kind of attack.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Attack {
    /// 1,500 requests with an unfinished head.
    Http,
    /// 300 MQTT connections with an unfinished CONNECT.
    Mqtt,
    /// 2,500 connections as in [`Mqtt`](Self::Mqtt), each opened again at once.
    MqttCrowd,
    /// A fleet file of 1 MiB with a problem in each of its words.
    Plan,
    /// 20,000 received messages a second.
    Downlink,
}

/// The addresses under attack.
#[derive(Clone, Copy)]
pub(super) struct Targets {
    pub(super) http: SocketAddr,
    pub(super) mqtt: SocketAddr,
    pub(super) broker: SocketAddr,
}

impl Attack {
    pub(super) const ALL: [Self; 5] =
        [Self::Http, Self::Mqtt, Self::MqttCrowd, Self::Plan, Self::Downlink];

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Http => "1,500 half-open requests",
            Self::Mqtt => "300 half-open MQTT connections",
            Self::MqttCrowd => "2,500 half-open MQTT connections",
            Self::Plan => "a plan of 1 MiB",
            Self::Downlink => "20,000 downlinks/s",
        }
    }

    /// Attacks until `stop`, and counts connections, plans or messages.
    pub(super) fn run(self, targets: Targets, stop: &AtomicBool, done: &AtomicUsize) {
        match self {
            Self::Http => half_open(targets.http, 1_500, HEAD, stop, done),
            Self::Mqtt => half_open(targets.mqtt, 300, CONNECT, stop, done),
            Self::MqttCrowd => thread::scope(|scope| {
                for _ in 0..2_500 {
                    scope.spawn(|| comes_again(targets.mqtt, CONNECT, stop, done));
                }
            }),
            Self::Plan => plans(targets.http, stop, done),
            Self::Downlink => downlinks(targets.broker, stop, done),
        }
    }
}

/// Holds `count` connections that send only `half`.
fn half_open(to: SocketAddr, count: usize, half: &[u8], stop: &AtomicBool, done: &AtomicUsize) {
    let mut all: Vec<Option<TcpStream>> = Vec::new();
    all.resize_with(count, || None);
    while !stop.load(Ordering::Relaxed) {
        for one in &mut all {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            if one.as_mut().is_none_or(is_closed) {
                *one = begun(to, half);
                done.fetch_add(usize::from(one.is_some()), Ordering::Relaxed);
            }
        }
        thread_sleep(LOOK);
    }
}

/// Holds such a connection, and opens the next as soon as it is cut off.
fn comes_again(to: SocketAddr, half: &[u8], stop: &AtomicBool, done: &AtomicUsize) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect_timeout(&to, RETRIED) else {
            thread_sleep(LOOK);
            continue;
        };
        let is_begun =
            stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.write_all(half)).is_ok();
        done.fetch_add(usize::from(is_begun), Ordering::Relaxed);
        let is_waiting = |error: std::io::Error| error.kind() == ErrorKind::WouldBlock;
        while !stop.load(Ordering::Relaxed) && stream.read(&mut [0]).is_err_and(is_waiting) {}
    }
}

fn begun(to: SocketAddr, half: &[u8]) -> Option<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).ok()?;
    stream.write_all(half).ok()?;
    stream.set_nonblocking(true).ok()?;
    Some(stream)
}

fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 256]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// Sends one plan after another. A killed agent does not answer, and is asked again.
fn plans(http: SocketAddr, stop: &AtomicBool, done: &AtomicUsize) {
    let mut plan = b"routes: [".to_vec();
    while plan.len() < 1024 * 1024 - 8 {
        plan.extend_from_slice(b"{a}, ");
    }
    plan.extend_from_slice(b"{a}]");
    while !stop.load(Ordering::Relaxed) {
        let answered = request(http, "POST", "/api/v1/reload/plan", &plan).is_ok();
        done.fetch_add(usize::from(answered), Ordering::Relaxed);
        thread_sleep(LOOK);
    }
}

/// Makes the broker send messages to the sessions' subscription, at an even pace.
fn downlinks(broker: SocketAddr, stop: &AtomicBool, done: &AtomicUsize) {
    let Ok((_process, mut input)) = publisher(broker) else { return };
    let started = now();
    let mut sent = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        let due = usize::try_from(started.elapsed().as_millis()).unwrap_or_default() * 20;
        let lines = "12345678901234567890\n".repeat(due.saturating_sub(sent));
        if input.write_all(lines.as_bytes()).is_err() {
            return;
        }
        done.store(due, Ordering::Relaxed);
        sent = due;
        thread_sleep(LOOK);
    }
}

fn publisher(broker: SocketAddr) -> anyhow::Result<(Process, ChildStdin)> {
    let mut command = Command::new("mosquitto_pub");
    let (ip, port) = (broker.ip().to_string(), broker.port().to_string());
    command.args(["-h", &ip, "-p", &port, "-q", "0", "-t", "down/x", "-l"]);
    let mut process = Process::start(command.stdin(Stdio::piped()).stderr(Stdio::null()))?;
    let input = process.input().context("mosquitto_pub has no input")?;
    Ok((process, input))
}
