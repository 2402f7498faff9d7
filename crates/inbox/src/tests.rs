//! Tests of the inbox: the writer runs without its thread, by a clock that is set by hand.

use std::{
    future::Future,
    path::Path,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    Attached, Config, Failing, Hold, Inbox, NewMessage, OpenError, Seq, StoreError,
    age::Moment,
    writer::{Command, Writer},
};

mod damage;
mod model;
mod readers;
mod sessions;

/// Lets a commit fail as on a full disk, as often as `faults` demands.
pub(crate) fn fail_if_told(faults: &AtomicU32) -> rusqlite::Result<()> {
    let told = faults.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
    if told.is_err() {
        return Ok(());
    }
    let code = rusqlite::ffi::SQLITE_FULL;
    Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None))
}

/// Matches a topic: `a/#` takes topics that begin with `a/`, any other filter only itself.
fn matches(filter: &str, topic: &str) -> bool {
    filter.strip_suffix('#').map_or(filter == topic, |start| topic.starts_with(start))
}

/// Results of the messages that were put.
type Told = Arc<Mutex<Vec<Result<Seq, Option<Failing>>>>>;

/// An inbox whose writer does a step whenever a request waits for it.
struct Desk {
    dir: Arc<TempDir>,
    config: Config,
    now: Arc<Mutex<Moment>>,
    inbox: Inbox,
    writer: Writer,
    commands: mpsc::Receiver<Command>,
    told: Told,
}

impl Desk {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let mut config = Config::new(dir.path(), matches);
        change(&mut config);
        let now = Moment { wall: 1_800_000_000_000, running: Duration::ZERO };
        Self::open(dir, config, Arc::new(Mutex::new(now))).unwrap()
    }

    fn open(dir: Arc<TempDir>, config: Config, now: Arc<Mutex<Moment>>) -> Result<Self, OpenError> {
        let clock = Arc::clone(&now);
        let clock = move || -> crate::age::Clock { Box::new(move || *clock.lock().unwrap()) };
        let (inbox, writer, commands) = Inbox::prepare(config.clone(), clock)?;
        Ok(Self { dir, config, now, inbox, writer, commands, told: Told::default() })
    }

    /// Reopens as after a kill: nothing is closed.
    fn killed(self) -> Self {
        self.killed_with(|_| {})
    }

    fn killed_with(self, meanwhile: impl FnOnce(&Path)) -> Self {
        let Self { dir, config, now, inbox, writer, commands, .. } = self;
        drop((inbox, writer, commands));
        meanwhile(dir.path());
        Self::open(dir, config, now).unwrap()
    }

    fn pass(&self, time: Duration) {
        let mut now = self.now.lock().unwrap();
        now.wall += i64::try_from(time.as_millis()).unwrap();
        now.running += time;
    }

    fn pump(&mut self) {
        let batch = self.commands.try_iter().collect();
        self.writer.step(batch);
    }

    fn ask<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..10 {
            if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
                return done;
            }
            self.pump();
        }
        panic!("the writer does not answer");
    }

    /// Puts a message without a step of the writer.
    fn hand(&self, topic: &str, payload: &str) {
        let told = Arc::clone(&self.told);
        let put = self.inbox.put(message(topic, payload), move |result| {
            let result = result.map_err(|error| match error {
                StoreError::Closed => None,
                error => Some(error.failing()),
            });
            told.lock().unwrap().push(result);
        });
        put.unwrap();
    }

    /// Puts a message, and returns its result.
    fn put(&mut self, topic: &str, payload: &str) -> Result<Seq, Option<Failing>> {
        self.hand(topic, payload);
        self.pump();
        self.told.lock().unwrap().pop().unwrap()
    }

    fn attach(&mut self, name: &str) -> (Attached, Hold) {
        let inbox = self.inbox.clone();
        self.ask(inbox.attach(name, None, false, None)).unwrap().unwrap()
    }

    /// Returns the messages of a session after `after`: payloads with their QoS.
    fn pull(&mut self, hold: &Hold, after: Seq) -> Vec<(String, u8)> {
        let page = self.ask(hold.next(after, 100)).unwrap();
        page.messages.iter().map(|m| (text(&m.payload), m.qos)).collect()
    }

    /// Returns the payloads for a reader, and the cursors.
    fn read(&mut self, name: &str, after: Option<&str>) -> (Vec<String>, Vec<String>) {
        let inbox = self.inbox.clone();
        let page = self.ask(inbox.read(name, after, 100)).unwrap();
        page.messages.iter().map(|(c, m)| (text(&m.payload), c.to_string())).unzip()
    }

    fn fail(&self, commits: u32) {
        self.writer.fail(commits);
    }
}

fn message(topic: &str, payload: &str) -> NewMessage {
    NewMessage {
        source: "north/cloud".to_owned(),
        topic: topic.to_owned(),
        qos: 1,
        payload: payload.to_owned().into(),
    }
}

fn text(payload: &[u8]) -> String {
    String::from_utf8(payload.to_vec()).unwrap()
}

#[test]
fn the_newest_are_refused_when_the_disk_is_slower_and_all_others_are_told_in_order() {
    let mut desk = Desk::new();
    let mut slow = 0;
    for n in 0..600 {
        let told = Arc::clone(&desk.told);
        let put = desk.inbox.put(message("t", &n.to_string()), move |result| {
            told.lock().unwrap().push(result.map_err(|_| None));
        });
        slow += u64::from(put.is_err());
    }
    assert_eq!(slow, 600 - 512);
    desk.pump();
    let expected: Vec<_> = (1..=512).map(Ok).collect();
    assert_eq!(*desk.told.lock().unwrap(), expected);
    let stat = desk.inbox.stat();
    assert_eq!((stat.stored, stat.messages, stat.dropped.slow), (512, 512, 88));
    // There is room again.
    assert_eq!(desk.put("t", "x"), Ok(513));
}

#[test]
fn the_files_are_the_owners_alone_and_a_second_opener_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let mut desk = Desk::with(|config| config.dir = config.dir.join("deep/inbox"));
    desk.put("t", "x").unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&desk.config.dir), 0o700);
    for file in std::fs::read_dir(&desk.config.dir).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let second = Desk::open(Arc::clone(&desk.dir), desk.config.clone(), Arc::clone(&desk.now));
    assert!(matches!(second.err(), Some(OpenError::Locked { .. })));
}

#[test]
fn beyond_its_bytes_the_oldest_go_and_are_counted() {
    let mut desk = Desk::with(|config| config.max_bytes = 1000);
    let (_, _hold) = desk.attach("s");
    let inbox = desk.inbox.clone();
    assert_eq!(desk.ask(inbox.read("r", None, 10)).unwrap().messages.len(), 0);
    for n in 0..10 {
        // 128 + 11 + 1 + 60 bytes each: five fit.
        desk.put("t", &format!("{n:060}")).unwrap();
    }
    let stat = desk.inbox.stat();
    assert_eq!((stat.messages, stat.bytes, stat.dropped.full), (5, 1000, 5));
    let page = desk.ask(inbox.read("r", None, 2)).unwrap();
    assert_eq!((page.messages.len(), page.missed, page.more), (2, 5, true));
    assert_eq!(text(&page.messages[0].1.payload), format!("{:060}", 5));
    // Larger than the bound: counted too, and nothing is left.
    desk.put("t", &"x".repeat(2000)).unwrap();
    assert_eq!((desk.inbox.stat().messages, desk.inbox.stat().dropped.full), (0, 11));
    assert_eq!(desk.put("t", "x"), Ok(12));
}

#[test]
fn what_is_too_old_goes_and_is_counted_and_a_clock_that_is_set_ages_nothing() {
    let mut desk = Desk::with(|config| config.max_age = Duration::from_secs(1000));
    desk.put("t", "one").unwrap();
    desk.pass(Duration::from_secs(600));
    desk.put("t", "two").unwrap();
    // The first time sync after a boot.
    desk.now.lock().unwrap().wall += 1_000_000_000;
    desk.pump();
    assert_eq!(desk.inbox.stat().messages, 2);
    desk = desk.killed();
    desk.pump();
    assert_eq!(desk.inbox.stat().messages, 2, "the jump is known after a restart");
    desk.pass(Duration::from_secs(400));
    desk.pump();
    let stat = desk.inbox.stat();
    assert_eq!((stat.messages, stat.dropped.age), (1, 1));
    assert_eq!(desk.read("r", None).0, ["two"]);
}

#[test]
fn numbers_go_on_over_a_restart_also_from_an_empty_inbox() {
    let mut desk = Desk::new();
    let (_, cursors) = {
        desk.put("t", "one").unwrap();
        desk.read("r", None)
    };
    let inbox = desk.inbox.clone();
    assert_eq!(desk.ask(inbox.confirm("r", &cursors[0])).unwrap(), 1);
    assert_eq!(desk.inbox.stat().messages, 0);
    drop(inbox);
    let mut desk = desk.killed();
    assert_eq!(desk.put("t", "two"), Ok(2));
    assert_eq!(desk.read("r", Some(&cursors[0])).0, ["two"]);
}

#[test]
fn a_real_thread_stores_reads_and_closes() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let inbox = Inbox::open(Config::new(dir.path(), matches)).unwrap();
        let mut news = inbox.watch();
        inbox.put(message("t", "x"), |stored| assert_eq!(stored.unwrap(), 1)).unwrap();
        news.changed().await.unwrap();
        assert_eq!(inbox.read("r", None, 10).await.unwrap().messages.len(), 1);
        inbox.close().await;
        assert!(inbox.read("r", None, 10).await.is_err());
        let told = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&told);
        let put = inbox.put(message("t", "y"), move |stored| {
            assert!(matches!(stored, Err(StoreError::Closed)));
            count.fetch_add(1, Ordering::SeqCst);
        });
        assert!(put.is_ok() && told.load(Ordering::SeqCst) == 1);
        assert!(!dir.path().join("inbox.db-wal").exists(), "the log is in the file");
        let again = Inbox::open(Config::new(dir.path(), matches)).unwrap();
        assert_eq!(again.stat().messages, 1);
        again.close().await;
    });
}
