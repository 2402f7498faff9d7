//! A measurement at the queue's interface in a process of its own, for `cargo xtask bench`.
//!
//! `append DIR TASKS SECONDS`, `fsync DIR SECONDS`, `fill DIR COUNT LANE`, `first-lease DIR LANE`.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::{
    error::Error,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use queue::{Config, NewMessage, Queue};
use tokio::{task::JoinSet, time::Instant};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const PAYLOAD: usize = 256;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["append", dir, tasks, seconds] => {
            let span = Duration::from_secs(seconds.parse()?);
            append(dir.into(), tasks.parse()?, span).await
        }
        ["fsync", dir, seconds] => fsync(Path::new(dir), Duration::from_secs(seconds.parse()?)),
        ["fill", dir, count, lane] => fill(dir.into(), count.parse()?, lane).await,
        ["first-lease", dir, lane] => first_lease(dir.into(), lane).await,
        _ => Err("see the head of this file for its arguments".into()),
    }
}

fn open(dir: PathBuf) -> Outcome<Queue> {
    Ok(Queue::open(Config { max_bytes: 1 << 30, ..Config::new(dir) })?)
}

fn message(lane: &str) -> NewMessage {
    NewMessage::new(lane, "bench/queue", vec![0x55; PAYLOAD])
}

/// Appends from this many tasks for the span; prints appends and commits.
async fn append(dir: PathBuf, tasks: usize, span: Duration) -> Outcome<()> {
    let queue = open(dir)?;
    let end = Instant::now() + span;
    let mut running = JoinSet::new();
    for _ in 0..tasks {
        let queue = queue.clone();
        running.spawn(async move {
            while Instant::now() < end {
                queue.append(message("l")).await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    let stat = queue.stat();
    queue.close().await;
    println!("{} {}", stat.messages, stat.commits);
    Ok(())
}

/// Writes each message to a file and syncs it, as a simple program would; prints the count.
fn fsync(dir: &Path, span: Duration) -> Outcome<()> {
    std::fs::create_dir_all(dir)?;
    let mut file = File::create(dir.join("messages"))?;
    let (end, mut count) = (Instant::now() + span, 0);
    while Instant::now() < end {
        file.write_all(&[0x55; PAYLOAD])?;
        file.sync_data()?;
        count += 1;
    }
    println!("{count} {count}");
    Ok(())
}

/// Fills a lane, many at a time, reports it, and waits to be killed.
async fn fill(dir: PathBuf, count: u32, lane: &str) -> Outcome<()> {
    let queue = open(dir)?;
    let mut running = JoinSet::new();
    for _ in 0..count {
        if running.len() >= 512 {
            running.join_next().await.transpose()?.transpose()?;
        }
        let (queue, message) = (queue.clone(), message(lane));
        running.spawn(async move { queue.append(message).await });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    println!("{} {}", queue.stat().messages, queue.stat().bytes);
    std::future::pending().await
}

/// Opens, leases a message, reports it, and waits to be killed.
async fn first_lease(dir: PathBuf, lane: &str) -> Outcome<()> {
    let queue = open(dir)?;
    let leases = queue.lease(lane, 1).await?;
    println!("{} {}", leases.len(), queue.stat().messages);
    std::future::pending().await
}
