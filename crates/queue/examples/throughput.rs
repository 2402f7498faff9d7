//! Figures of this machine's disk: durable appends a second, and the start with a large backlog.
//!
//! `cargo run --release -p queue --example throughput [DIR [BACKLOG]]`
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::{error::Error, path::PathBuf, time::Duration};

use queue::{Config, NewMessage, Queue};
use tokio::{task::JoinSet, time::Instant};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How long each figure is measured.
const SPAN: Duration = Duration::from_secs(2);
const PAYLOAD: usize = 256;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let backlog: u32 = args.next().map_or(Ok(1_000_000), |n| n.parse())?;
    let dir = tempfile::tempdir_in(dir)?;
    for tasks in [1, 16, 256] {
        let (appended, commits) =
            append_for(dir.path().join(format!("append-{tasks}")), tasks).await?;
        let seconds = SPAN.as_secs();
        println!(
            "{tasks:>4} tasks: {} durable appends/s, {} commits/s",
            appended / seconds,
            commits / seconds
        );
    }
    let path = dir.path().join("backlog");
    fill(path.clone(), backlog).await?;
    let file = std::fs::metadata(path.join("queue.db"))?.len();
    let started = Instant::now();
    let queue = open(path)?;
    println!("open with {} messages: {:?}", queue.stat().messages, started.elapsed());
    println!("accounted {} bytes, file {file} bytes", queue.stat().bytes);
    head(&queue).await?;
    Ok(())
}

/// What the head costs with all of it behind: first leases, then leases behind many leased ones.
async fn head(queue: &Queue) -> Outcome<()> {
    let started = Instant::now();
    let first = queue.lease("l", 1).await?;
    println!("first lease of 1: {:?}", started.elapsed());
    for _ in 0..100 {
        queue.lease("l", 1000).await?;
    }
    let started = Instant::now();
    queue.lease("l", 1).await?;
    println!("lease of 1 behind {} leased: {:?}", queue.stat().leased - 1, started.elapsed());
    let started = Instant::now();
    for lease in first {
        queue.ack(lease.id).await?;
    }
    println!("ack: {:?}", started.elapsed());
    Ok(())
}

fn open(dir: PathBuf) -> Outcome<Queue> {
    Ok(Queue::open(Config { max_bytes: 1 << 40, ..Config::new(dir) })?)
}

fn message() -> NewMessage {
    NewMessage::new("l", "sensors/throughput", vec![0x55; PAYLOAD])
}

/// Appends from so many tasks for the span; answers messages and commits.
async fn append_for(dir: PathBuf, tasks: usize) -> Outcome<(u64, u64)> {
    let queue = open(dir)?;
    let end = Instant::now() + SPAN;
    let mut running = JoinSet::new();
    for _ in 0..tasks {
        let queue = queue.clone();
        running.spawn(async move {
            while Instant::now() < end {
                queue.append(message()).await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    let stat = queue.stat();
    queue.close().await;
    Ok((stat.messages, stat.commits))
}

/// Fills a queue, many at a time.
async fn fill(dir: PathBuf, count: u32) -> Outcome<()> {
    let queue = open(dir)?;
    let mut running = JoinSet::new();
    for _ in 0..count {
        if running.len() >= 512 {
            running.join_next().await.transpose()?.transpose()?;
        }
        let queue = queue.clone();
        running.spawn(async move { queue.append(message()).await });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    queue.close().await;
    Ok(())
}
