//! The writer: a thread that owns the file, and commits the waiting commands.
//!
//! A batch has three steps. First the messages, in a synced transaction: all of them are stored or
//! none. Then the requests of readers and sessions: they change memory at once, and the positions
//! are written after that. Last the reading, which so sees only messages that are on disk.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use crate::{
    age::{Age, AgeClock, Clock, Moment, Saved, millis},
    cursor::Cursor,
    error::{AttachError, OpenError, ReadError, StoreError},
    lock::DirLock,
    message::{Message, NewMessage, Seq},
    reader::{Kind, Matches, Reader},
    stat::{Stat, Waiting},
    store::{Line, Store, to_i64, to_u64},
};

mod bounds;
mod ground;
mod puts;
mod readers;
mod sessions;

use ground::Ground;

/// The most commands in a batch. Bounds how long the first of them waits for the last.
const MAX_BATCH: usize = 256;

/// Longest sleep of the thread: ages are checked after it.
const LOOK: Duration = Duration::from_secs(60);

/// The interval at which the clock of ages is saved: a kill makes everything younger by that at
/// most.
const SAVE_AGE: i64 = 60 * 60 * 1000;

/// The difference from the clock of ages by which the wall clock counts as set.
const WAS_SET: i64 = 60 * 1000;

/// The wait before a file that could not be opened is tried again.
const OPEN_AGAIN: Duration = Duration::from_secs(5);

/// Receives a message's result; called by the writer's thread, so it must return at once.
pub(crate) type Then = Box<dyn FnOnce(Result<Seq, StoreError>) + Send>;

/// The callback of a message, which is always called: a message that the writer never takes was not
/// stored.
pub(crate) struct Completion(Option<Then>);

impl Completion {
    pub(crate) fn new(then: Then) -> Self {
        Self(Some(then))
    }

    pub(crate) fn tell(mut self, result: Result<Seq, StoreError>) {
        if let Some(then) = self.0.take() {
            then(result);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(then) = self.0.take() {
            then(Err(StoreError::Closed));
        }
    }
}

/// A message on its way.
pub(crate) struct Put {
    pub(crate) message: NewMessage,
    pub(crate) then: Completion,
    /// Its place in the line.
    pub(crate) place: OwnedSemaphorePermit,
}

/// The newest messages are refused: earlier messages are not stored yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slow;

/// A client's request for a session.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) name: String,
    pub(crate) owner: Option<String>,
    /// True if the rest of an earlier session is to be removed.
    pub(crate) clean: bool,
    /// The time for which the session outlives its connection; `None`: as long as the bound allows.
    pub(crate) expiry: Option<Duration>,
}

/// A session held by a connection.
#[derive(Debug)]
pub struct Attached {
    /// True if it was there before.
    pub present: bool,
    /// The time for which it outlives the connection.
    pub expiry: Duration,
    /// Its filters with their QoS.
    pub filters: Vec<(String, u8)>,
    /// The position: all messages up to this one are confirmed or unwanted.
    pub position: Seq,
    /// All messages up to this one may have been sent before.
    pub sent: Seq,
    pub(crate) hold: u64,
}

/// Messages for a session.
#[derive(Debug)]
pub struct Page {
    /// Messages that its filters take, in order.
    pub messages: Vec<Message>,
    /// All messages up to this one were looked at.
    pub through: Seq,
}

/// Messages for a reader.
#[derive(Debug, PartialEq, Eq)]
pub struct ReaderPage {
    /// In order, each with the cursor that names it.
    pub messages: Vec<(Cursor, Message)>,
    /// The number of messages that a bound removed since the reader's last confirmed message.
    pub missed: u64,
    /// True if there are more.
    pub more: bool,
}

type Answer<T> = oneshot::Sender<T>;

/// A request of a caller, with the sender of its answer.
pub(crate) enum Command {
    Put(Put),
    Attach(Wish, Answer<Result<Option<Attached>, AttachError>>),
    Subscribe(String, Vec<(String, u8)>, Answer<Result<(), StoreError>>),
    Unsubscribe(String, Vec<String>, Answer<Result<Vec<bool>, StoreError>>),
    Next {
        name: String,
        after: Seq,
        limit: usize,
        answer: Answer<Result<Page, StoreError>>,
    },
    Confirm {
        name: String,
        through: Seq,
        answer: Answer<Result<(), StoreError>>,
    },
    Detach {
        name: String,
        hold: u64,
        expiry: Option<Duration>,
    },
    End {
        name: String,
        owner: Option<String>,
    },
    Read {
        name: String,
        after: Option<String>,
        limit: usize,
        answer: Answer<Result<ReaderPage, ReadError>>,
    },
    ConfirmRead {
        name: String,
        through: String,
        answer: Answer<Result<u64, ReadError>>,
    },
    Forget(String, Answer<Result<bool, StoreError>>),
    Close,
}

/// The rest of a request, after the changes of its batch are written or failed.
type Settle = Box<dyn FnOnce(&mut Writer, &Result<(), StoreError>)>;

/// State that callers and the writer share.
#[derive(Debug)]
pub(crate) struct Shared {
    stat: Mutex<Stat>,
    /// The owners of the sessions.
    owners: Mutex<HashMap<String, Option<String>>>,
    pub(crate) slow: AtomicU64,
    pub(crate) stored: watch::Sender<Seq>,
    pub(crate) ended: watch::Sender<bool>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            stat: Mutex::default(),
            owners: Mutex::default(),
            slow: AtomicU64::new(0),
            stored: watch::Sender::new(0),
            ended: watch::Sender::new(false),
        }
    }
}

impl Shared {
    pub(crate) fn stat(&self) -> Stat {
        let mut stat = self.stat.lock().unwrap_or_else(PoisonError::into_inner).clone();
        stat.dropped.slow = self.slow.load(Ordering::Relaxed);
        stat
    }

    /// Returns the owner of the session of this name; `None` if there is no session.
    pub(crate) fn owner(&self, name: &str) -> Option<Option<String>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

/// Reports that the writer ended, even after a panic.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.ended.send_replace(true);
    }
}

/// The bounds of the content.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) bytes: i64,
    /// In milliseconds, like all below.
    pub(crate) age: i64,
    pub(crate) session: i64,
}

/// The state of the thread.
pub(crate) struct Writer {
    dir: PathBuf,
    clock: Clock,
    matches: Matches,
    bounds: Bounds,
    shared: Arc<Shared>,
    /// The open file; none while the disk refuses it.
    ground: Option<Ground>,
    /// The earliest moment of the next try.
    open_again: Duration,
    epoch: Option<u32>,
    age: AgeClock,
    saved: Option<Saved>,
    line: Line,
    readers: BTreeMap<(Kind, String), Reader>,
    /// Rows to remove from the file.
    removed: BTreeSet<(Kind, String)>,
    /// Messages with wrong checksums, which were counted.
    damaged: BTreeSet<Seq>,
    holds: u64,
    /// True while a session was granted something that is not on disk yet.
    is_urgent: bool,
    /// True if there is more to remove, or to look at, than a step does.
    is_behind: bool,
    stat: Stat,
    #[cfg(test)]
    pub(crate) faults: Arc<std::sync::atomic::AtomicU32>,
}

impl Writer {
    pub(crate) fn new(
        dir: PathBuf,
        bounds: Bounds,
        matches: Matches,
        clock: Clock,
        shared: Arc<Shared>,
    ) -> Result<Self, OpenError> {
        let now = clock();
        let mut writer = Self {
            dir,
            matches,
            bounds,
            shared,
            ground: None,
            open_again: Duration::ZERO,
            epoch: None,
            age: AgeClock::resume(None, now),
            saved: None,
            line: Line::default(),
            readers: BTreeMap::new(),
            removed: BTreeSet::new(),
            damaged: BTreeSet::new(),
            holds: 0,
            is_urgent: false,
            is_behind: false,
            stat: Stat::default(),
            clock,
            #[cfg(test)]
            faults: Arc::default(),
        };
        match writer.open(now) {
            Ok(()) => {}
            // The agent runs on without it, and the file is tried again.
            Err(error) if error.disk().is_some() => writer.cannot_open(&error, now),
            Err(error) => return Err(error),
        }
        writer.publish(writer.age.at(now));
        Ok(writer)
    }

    /// Serves until a command to close.
    pub(crate) fn run(mut self, commands: &Receiver<Command>) {
        let end = End(Arc::clone(&self.shared));
        loop {
            let mut batch = Vec::new();
            let patience = if self.is_behind { Duration::ZERO } else { LOOK };
            match commands.recv_timeout(patience) {
                Ok(first) => batch.push(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let rest = MAX_BATCH.saturating_sub(batch.len());
            batch.extend(commands.try_iter().take(rest));
            let closes = batch.iter().any(|command| matches!(command, Command::Close));
            self.step(batch);
            if closes {
                break;
            }
        }
        self.close();
        drop(end);
    }

    fn close(mut self) {
        let now = (self.clock)();
        self.saved = None;
        // Unwritable changes were reported before.
        let _ = self.save(now);
        if let Some(ground) = self.ground
            && let Err(error) = ground.close()
        {
            // Nothing is lost: answered messages are in the log, which the next start reads.
            tracing::warn!(error = %error, "could not close the inbox's file cleanly");
        }
    }

    pub(crate) fn step(&mut self, batch: Vec<Command>) {
        let now = (self.clock)();
        self.open_if_due(now);
        let (mut puts, mut others) = (Vec::new(), Vec::new());
        for command in batch {
            match command {
                Command::Put(put) => puts.push(put),
                other => others.push(other),
            }
        }
        if !puts.is_empty() {
            self.put_all(puts, now);
        }
        let age = self.age.at(now);
        let settles: Vec<Settle> =
            others.into_iter().filter_map(|command| self.take(command, age)).collect();
        self.advance();
        let saved = self.save(now);
        self.publish(age);
        for settle in settles {
            settle(self, &saved);
        }
    }

    /// Does the part of a command that is in memory; the rest follows the commit.
    fn take(&mut self, command: Command, now: Age) -> Option<Settle> {
        match command {
            // They were taken out before.
            Command::Put(_) | Command::Close => None,
            Command::Attach(wish, answer) => {
                let attached = self.attach(wish, now);
                Some(Box::new(move |_, _| drop(answer.send(attached))))
            }
            Command::Subscribe(name, filters, answer) => {
                let is_on_disk = self.subscribe(&name, filters);
                Some(Box::new(move |_, saved| {
                    // A session that the file does not know ends with the agent, and its client
                    // learns that then.
                    let result = if is_on_disk { saved.clone() } else { Ok(()) };
                    drop(answer.send(result));
                }))
            }
            Command::Unsubscribe(name, filters, answer) => {
                let found = self.unsubscribe(&name, &filters);
                Some(Box::new(move |_, saved| drop(answer.send(saved.clone().map(|()| found)))))
            }
            Command::Next { name, after, limit, answer } => Some(Box::new(move |writer, _| {
                drop(answer.send(writer.next(&name, after, limit)));
            })),
            Command::Confirm { name, through, answer } => {
                self.confirm(Kind::Session, &name, through);
                Some(Box::new(move |_, saved| drop(answer.send(saved.clone()))))
            }
            Command::Detach { name, hold, expiry } => {
                self.detach(&name, hold, expiry, now);
                None
            }
            Command::End { name, owner } => {
                self.end(&name, owner.as_deref());
                None
            }
            Command::Read { name, after, limit, answer } => {
                let known = self.meet(&name, now);
                Some(Box::new(move |writer, _| {
                    let page = known.and_then(|()| writer.read(&name, after.as_deref(), limit));
                    drop(answer.send(page));
                }))
            }
            Command::ConfirmRead { name, through, answer } => {
                let confirmed = self.confirm_read(&name, &through, now);
                Some(Box::new(move |_, saved| {
                    let saved = saved.clone().map_err(ReadError::from);
                    drop(answer.send(confirmed.and_then(|count| saved.map(|()| count))));
                }))
            }
            Command::Forget(name, answer) => {
                let found = self.remove(Kind::Reader, &name);
                Some(Box::new(move |_, saved| drop(answer.send(saved.clone().map(|()| found)))))
            }
        }
    }

    /// Forgets a reader or a session.
    fn remove(&mut self, kind: Kind, name: &str) -> bool {
        let key = (kind, name.to_owned());
        let found = self.readers.remove(&key).is_some();
        if found {
            self.removed.insert(key);
        }
        found
    }

    /// Confirms everything up to `through`, within the existing messages.
    fn confirm(&mut self, kind: Kind, name: &str, through: Seq) {
        let through = through.min(self.line.last);
        if let Some(reader) = self.readers.get_mut(&(kind, name.to_owned())) {
            reader.confirm(through);
        }
    }

    fn cursor(&self, seq: Seq) -> Cursor {
        Cursor { epoch: self.epoch.unwrap_or_default(), seq }
    }

    /// Publishes the present figures.
    fn publish(&mut self, now: Age) {
        self.stat.messages = self.line.messages();
        self.stat.bytes = to_u64(self.line.bytes());
        let of = |kind| {
            let of_kind = self.readers.values().filter(move |reader| reader.kind == kind);
            of_kind.map(|reader| self.waiting(reader, now)).collect()
        };
        (self.stat.readers, self.stat.sessions) = (of(Kind::Reader), of(Kind::Session));
        let sessions = self.readers.values().filter(|reader| reader.kind == Kind::Session);
        let owners = sessions.map(|s| (s.name.clone(), s.owner.clone())).collect();
        *self.shared.owners.lock().unwrap_or_else(PoisonError::into_inner) = owners;
        *self.shared.stat.lock().unwrap_or_else(PoisonError::into_inner) = self.stat.clone();
        let last = self.line.last;
        self.shared.stored.send_if_modified(|told| std::mem::replace(told, last) != last);
    }

    fn waiting(&self, reader: &Reader, now: Age) -> Waiting {
        let had = reader.position.max(self.line.first.saturating_sub(1));
        let away = to_u64(now.saturating_sub(reader.seen));
        Waiting {
            name: reader.name.clone(),
            behind: to_u64(self.line.last.saturating_sub(had)),
            away: reader.attached.is_none().then(|| Duration::from_millis(away)),
        }
    }

    /// Returns the time of both clocks, if it has to be written now.
    fn unsaved(&self, now: Moment) -> Option<Saved> {
        let shown = Saved { age: self.age.at(now), wall: now.wall };
        let due = self.saved.is_none_or(|saved| {
            let (age, wall) =
                (shown.age.saturating_sub(saved.age), shown.wall.saturating_sub(saved.wall));
            age >= SAVE_AGE || age.abs_diff(wall) >= WAS_SET.unsigned_abs()
        });
        due.then_some(shown)
    }
}
