//! Tests of crashes: a writer killed at random moments, and a log cut or damaged anywhere.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on must panic"
)]

use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use queue::{Config, Inspector, Lease, NewMessage, Queue};

/// The variable with the child's directory.
const CHILD_DIR: &str = "QUEUE_TEST_CHILD_DIR";
const KILLS: usize = 20;
/// Bytes of the log's header, and of a frame with its page.
const HEADER: usize = 32;
const FRAME: usize = 24 + 1024;

fn open(dir: &Path) -> Queue {
    Queue::open(Config { max_bytes: 1 << 30, ..Config::new(dir) }).unwrap()
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Returns all leasable messages, in order.
async fn drain(queue: &Queue) -> Vec<Lease> {
    let mut all = Vec::new();
    loop {
        let more = queue.lease("l", usize::MAX).await.unwrap();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

/// Prints a report on stdout, at once and in one piece.
fn say(word: &str, what: &str) {
    let line = format!("{word} {what}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

/// The process that is killed, and not a test of its own. Four tasks append, a fifth leases and
/// acks.
#[test]
fn child() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let queue = open(Path::new(&dir));
    let run = std::process::id();
    block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..4 {
            let queue = queue.clone();
            tasks.spawn(async move {
                for n in 0.. {
                    let name = format!("{run}-{task}-{n}");
                    let payload = format!("{name} {}", "x".repeat(n % 700));
                    queue.append(NewMessage::new("l", "t", payload)).await.unwrap();
                    say("appended", &name);
                }
            });
        }
        tasks.spawn(async move {
            loop {
                for lease in queue.lease("l", 3).await.unwrap() {
                    let name = name(&lease);
                    say("acking", &name);
                    assert!(queue.ack(lease.id, &"p".into()).await.unwrap());
                    say("acked", &name);
                }
                tokio::task::yield_now().await;
            }
        });
        tasks.join_next().await.unwrap().unwrap();
    });
}

/// Returns the child's name of a message; its filling must be intact.
fn name(lease: &Lease) -> String {
    let text = std::str::from_utf8(&lease.payload).unwrap();
    let (name, filling) = text.split_once(' ').unwrap();
    let n: usize = name.rsplit('-').next().unwrap().parse().unwrap();
    assert_eq!(filling, "x".repeat(n % 700), "{name}");
    name.to_owned()
}

/// Runs a child and kills it after `lines` lines; returns all its output.
fn run_and_kill(dir: &Path, lines: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut all: Vec<String> = said.by_ref().take(lines).map(Result::unwrap).collect();
    assert_eq!(all.len(), lines, "the child ended by itself: {all:?}");
    child.kill().unwrap();
    // Output from before the signal is still in the pipe; the last line may be cut short.
    all.extend(said.map_while(Result::ok));
    assert!(!child.wait().unwrap().success());
    all
}

#[test]
fn killed_at_any_moment_nothing_answered_is_undone() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let (mut appended, mut acking, mut acked) = (HashSet::new(), HashSet::new(), HashSet::new());
    for kill in 0..KILLS {
        for line in run_and_kill(dir.path(), random.usize(5..800)) {
            let Some((word, name)) = line.split_once(' ') else { continue };
            match word {
                "appended" => appended.insert(name.to_owned()),
                "acking" => acking.insert(name.to_owned()),
                "acked" => acked.insert(name.to_owned()),
                _ => continue,
            };
        }
        // An operator may look before the agent is back and has recovered the log.
        let looked = Inspector::open(dir.path()).unwrap().messages(0, u32::MAX).unwrap();
        let (queue, held) = block_on(async {
            let queue = open(dir.path());
            let held: Vec<String> = drain(&queue).await.iter().map(name).collect();
            (queue, held)
        });
        assert_eq!(looked.len(), held.len());
        let held: HashSet<String> = HashSet::from_iter(held);
        let lost: Vec<_> =
            appended.iter().filter(|m| !acking.contains(*m) && !held.contains(*m)).collect();
        assert!(lost.is_empty(), "kill {kill}: lost {lost:?}");
        let back: Vec<_> = acked.intersection(&held).collect();
        assert!(back.is_empty(), "kill {kill}: back after their ack: {back:?}");
        assert_eq!(queue.stat().messages, u64::try_from(held.len()).unwrap());
        drop(queue);
        assert_eq!(Inspector::open(dir.path()).unwrap().check().unwrap(), Vec::<String>::new());
    }
    assert!(appended.len() > 100 && acked.len() > 20, "{} {}", appended.len(), acked.len());
}

/// Appends `count` messages, each in its own commit, and copies file and log while the queue is
/// open, as a power loss would leave them.
fn snapshot(dir: &Path, count: usize) -> (Vec<u8>, Vec<u8>) {
    let queue = open(dir);
    block_on(async {
        for n in 0..count {
            queue.append(NewMessage::new("l", "t", n.to_string())).await.unwrap();
        }
    });
    assert_eq!(queue.stat().commits, u64::try_from(count).unwrap());
    let mut log = fs::read(dir.join("queue.db-wal")).unwrap();
    // After its last frame there are zeros and frames of earlier rounds, with another salt.
    let salt = log[16..24].to_vec();
    let frames = log[HEADER..].chunks(FRAME).take_while(|frame| frame.get(8..16) == Some(&*salt));
    log.truncate(HEADER + frames.count() * FRAME);
    (fs::read(dir.join("queue.db")).unwrap(), log)
}

/// Returns the number of messages after a start from this file and log. They must be the first
/// messages, all and in order, and the queue must go on.
fn recovered(file: &[u8], log: &[u8]) -> usize {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("queue.db"), file).unwrap();
    fs::write(dir.path().join("queue.db-wal"), log).unwrap();
    let queue = open(dir.path());
    let count = block_on(async {
        let held = drain(&queue).await;
        for (n, lease) in held.iter().enumerate() {
            assert_eq!(lease.payload, n.to_string().as_bytes());
        }
        assert_eq!(queue.stat().messages, u64::try_from(held.len()).unwrap());
        queue.append(NewMessage::new("l", "t", "next")).await.unwrap();
        assert_eq!(queue.lease("l", 1).await.unwrap()[0].payload, b"next");
        held.len()
    });
    drop(queue);
    assert_eq!(Inspector::open(dir.path()).unwrap().check().unwrap(), Vec::<String>::new());
    count
}

#[test]
fn a_torn_log_loses_its_tail_only() {
    let dir = tempfile::tempdir().unwrap();
    let (file, log) = snapshot(dir.path(), 30);
    assert_eq!(recovered(&file, &log), 30);
    let mut random = fastrand::Rng::with_seed(11);
    let mut cuts: Vec<usize> = (0..24).map(|_| random.usize(0..log.len())).collect();
    cuts.extend([0, 1, 31, 32, log.len() - 1]);
    cuts.sort_unstable();
    let mut last = 0;
    for cut in cuts {
        let count = recovered(&file, &log[..cut]);
        assert!(count >= last, "{count} messages from {cut} bytes, {last} from fewer");
        last = count;
    }
    assert_eq!(last, 29, "one byte short is one message short");
}

#[test]
fn a_damaged_log_is_used_up_to_the_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (file, log) = snapshot(dir.path(), 30);
    let mut random = fastrand::Rng::with_seed(13);
    for _ in 0..12 {
        let at = random.usize(log.len() / 2..log.len());
        let mut damaged = log.clone();
        damaged[at] ^= 0x40;
        let count = recovered(&file, &damaged);
        assert!(count < 30, "the flipped bit at {at} went unnoticed");
        assert!(count >= recovered(&file, &log[..at - 1]).saturating_sub(1));
    }
}
