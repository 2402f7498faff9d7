//! Tests of kills at random moments, while messages arrive, sessions confirm and readers read.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on must panic"
)]

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use inbox::{Config, Inbox, NewMessage};

/// The variable with the child's directory.
const CHILD_DIR: &str = "INBOX_TEST_CHILD_DIR";
const KILLS: usize = 20;

fn open(dir: &Path) -> Inbox {
    let config = Config { max_bytes: 1 << 30, ..Config::new(dir, |filter, topic| filter == topic) };
    Inbox::open(config).unwrap()
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Prints a report on stdout, at once and in one piece.
fn say(word: &str, seq: i64) {
    let line = format!("{word} {seq}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

/// Returns the payload of a number; its filling must be intact.
fn payload(seq: i64) -> String {
    format!("{seq} {}", "x".repeat(usize::try_from(seq % 700).unwrap()))
}

/// The process that is killed, and not a test of its own. It puts without a pause, while a session
/// takes one topic of two and a reader takes all.
#[test]
fn child() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let inbox = open(Path::new(&dir));
    block_on(async {
        let (attached, hold) = inbox.attach("s", None, false, None).await.unwrap().unwrap();
        if !attached.present {
            hold.subscribe(vec![("even".to_owned(), 1)]).await.unwrap();
        }
        // The reader is known from now on: no message leaves before it has it.
        inbox.read("r", None, 1).await.unwrap();
        // The number of the next message: the line continues from its end.
        let mut next = *inbox.watch().borrow() + 1;
        let (mut after, mut cursor) = (attached.position, None::<String>);
        loop {
            for _ in 0..5 {
                let topic = if next % 2 == 0 { "even" } else { "odd" };
                let (source, topic) = ("m/s".to_owned(), topic.to_owned());
                let message = NewMessage { source, topic, qos: 1, payload: payload(next).into() };
                let put = inbox.put(message, move |stored| {
                    assert_eq!(stored.unwrap(), next);
                    say("stored", next);
                });
                if put.is_ok() {
                    next += 1;
                }
            }
            let page = hold.next(after, 3).await.unwrap();
            after = page.through;
            for message in page.messages {
                assert_eq!((message.topic.as_str(), message.seq % 2), ("even", 0));
                say("got", message.seq);
                drop(hold.confirm(message.seq).await);
                say("confirmed", message.seq);
            }
            let page = inbox.read("r", cursor.as_deref(), 5).await.unwrap();
            assert_eq!(page.missed, 0);
            for (_, message) in &page.messages {
                say("read", message.seq);
            }
            if let Some((last, _)) = page.messages.last() {
                let last = last.to_string();
                inbox.confirm("r", &last).await.unwrap();
                cursor = Some(last);
            }
        }
    });
}

/// Runs a child and kills it after `lines` lines; returns all its output.
fn run_and_kill(dir: &Path, lines: usize) -> Vec<(String, i64)> {
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
    // Output from before the signal is still in the pipe, line by line: pipe(7) takes short writes
    // whole.
    all.extend(said.map_while(Result::ok));
    assert!(!child.wait().unwrap().success());
    let pair = |line: &String| {
        let (word, seq) = line.split_once(' ')?;
        Some((word.to_owned(), seq.parse().ok()?))
    };
    all.iter().filter_map(pair).collect()
}

#[test]
fn killed_at_any_moment_nothing_stored_is_lost_to_anybody() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let (mut stored, mut got, mut read) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut confirmed, mut again) = (BTreeSet::new(), 0);
    for _ in 0..KILLS {
        for (word, seq) in run_and_kill(dir.path(), random.usize(20..800)) {
            match word.as_str() {
                "stored" => stored.insert(seq),
                "got" => {
                    // A kill takes back no reported confirmation.
                    assert!(!confirmed.contains(&seq), "{seq} came after it was confirmed");
                    again += u32::from(got.contains(&seq));
                    got.insert(seq)
                }
                "confirmed" => confirmed.insert(seq),
                "read" => read.insert(seq),
                _ => true,
            };
        }
    }
    // Messages that are not delivered yet are there.
    let inbox = open(dir.path());
    block_on(async {
        let (attached, hold) = inbox.attach("s", None, false, None).await.unwrap().unwrap();
        assert!(attached.present, "the session is there");
        let mut after = attached.position;
        while after < *inbox.watch().borrow() {
            let page = hold.next(after, 1000).await.unwrap();
            for message in &page.messages {
                assert_eq!(message.payload, payload(message.seq));
                got.insert(message.seq);
            }
            after = page.through;
        }
        let mut cursor = None::<String>;
        loop {
            let page = inbox.read("r", cursor.as_deref(), 1000).await.unwrap();
            assert_eq!(page.missed, 0);
            read.extend(page.messages.iter().map(|(_, message)| message.seq));
            match page.messages.last() {
                Some((last, _)) => cursor = Some(last.to_string()),
                None => break,
            }
        }
        inbox.close().await;
    });
    let lost: Vec<_> = stored.iter().filter(|seq| !read.contains(seq)).collect();
    assert!(lost.is_empty(), "lost to the reader: {lost:?}");
    let lost: Vec<_> = stored.iter().filter(|seq| *seq % 2 == 0 && !got.contains(seq)).collect();
    assert!(lost.is_empty(), "lost to the session: {lost:?}");
    // Messages are confirmed singly: a kill brings at most one of them again.
    assert!(again <= u32::try_from(KILLS).unwrap(), "{again} came again in {KILLS} kills");
    assert!(stored.len() > 500 && confirmed.len() > 100, "{} {}", stored.len(), confirmed.len());
}
