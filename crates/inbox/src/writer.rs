//! The writer: a thread that owns the file, and commits the waiting commands.
//!
//! A batch has three steps. First the messages, in a synced transaction: all of them are stored or
//! none. Then the requests of readers and sessions: they change memory at once, and the positions
//! are written after that. Last the reading, which so sees only messages that are on disk.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    age::{Age, Clock, KeptClock, Moment},
    error::{AttachError, OpenError, ReadError, StoreError},
    line::Line,
    message::{NewMessage, Seq},
    number::to_u64,
    reader::{Kind, Matches},
    readers::{Attached, Memory, Readers, Wish},
    stat::Stat,
};

mod bounds;
mod figures;
mod files;
mod puts;
mod reading;

use figures::Figures;
pub(crate) use figures::Shared;
use files::Files;
pub use reading::{Page, ReaderPage};

/// The most commands in a batch. Bounds how long the first of them waits for the last.
const MAX_BATCH: usize = 256;

/// Longest sleep of the thread: ages are checked after it.
const LOOK: Duration = Duration::from_secs(60);

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
    clock: Clock,
    bounds: Bounds,
    files: Files,
    /// The number of the first file of this run; it is part of the cursors.
    epoch: Option<u32>,
    age: KeptClock,
    line: Line,
    readers: Readers,
    figures: Figures,
    /// True if there is more to remove, or to look at, than a step does.
    is_behind: bool,
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
        let memory = Memory { reader: bounds.age, session: bounds.session };
        let mut writer = Self {
            clock,
            bounds,
            files: Files::new(dir),
            epoch: None,
            age: KeptClock::begin(now),
            line: Line::default(),
            readers: Readers::new(matches, memory),
            figures: Figures::new(shared),
            is_behind: false,
        };
        match writer.open(now) {
            Ok(()) => {}
            // The agent runs on without it, and the file is tried again.
            Err(error) if error.disk().is_some() => writer.files.cannot_open(&error, now),
            Err(error) => return Err(error),
        }
        writer.publish(writer.age.at(now));
        Ok(writer)
    }

    /// Serves until a command to close.
    pub(crate) fn run(mut self, commands: &Receiver<Command>) {
        let end = self.figures.end();
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
        self.age.write_soon();
        // Unwritable changes were reported before.
        let _ = self.save(now);
        self.files.close();
    }

    /// Does one round: the messages, then the requests and their positions, then the reading.
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
                let attached = self.readers.attach(wish, &self.line, now);
                Some(Box::new(move |_, _| drop(answer.send(attached))))
            }
            Command::Subscribe(name, filters, answer) => {
                let is_on_disk = self.readers.subscribe(&name, filters, self.line.last());
                Some(Box::new(move |_, saved| {
                    // A session that the file does not know ends with the agent, and its client
                    // learns that then.
                    let result = if is_on_disk { saved.clone() } else { Ok(()) };
                    drop(answer.send(result));
                }))
            }
            Command::Unsubscribe(name, filters, answer) => {
                let found = self.readers.unsubscribe(&name, &filters);
                Some(Box::new(move |_, saved| drop(answer.send(saved.clone().map(|()| found)))))
            }
            Command::Next { name, after, limit, answer } => Some(Box::new(move |writer, _| {
                drop(answer.send(writer.next(&name, after, limit)));
            })),
            Command::Confirm { name, through, answer } => {
                let through = through.min(self.line.last());
                self.readers.confirm(Kind::Session, &name, through);
                Some(Box::new(move |_, saved| drop(answer.send(saved.clone()))))
            }
            Command::Detach { name, hold, expiry } => {
                self.readers.detach(&name, hold, expiry, now);
                None
            }
            Command::End { name, owner } => {
                self.readers.end(&name, owner.as_deref());
                None
            }
            Command::Read { name, after, limit, answer } => {
                let known = self.readers.meet(&name, &self.line, now);
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
                let found = self.readers.remove(Kind::Reader, &name);
                Some(Box::new(move |_, saved| drop(answer.send(saved.clone().map(|()| found)))))
            }
        }
    }

    /// Opens the file, and takes over what it holds. Known values take precedence.
    fn open(&mut self, now: Moment) -> Result<(), OpenError> {
        let Self { files, epoch, age, line, readers, figures, .. } = self;
        files.open(now, age.at(now), |loaded, store| {
            let is_first = line.last() == 0;
            let is_new = loaded.state.is_none();
            if let Some(lost) = line.adopt(loaded.line) {
                figures.lost(lost);
                store.remove_through(line.last())?;
            }
            let (found, saved) = loaded.state.unzip();
            if epoch.is_none() {
                age.resume(saved, now);
            }
            let epoch = *epoch.get_or_insert_with(|| found.unwrap_or_else(|| fastrand::u32(..)));
            // The new file, or the new moment, is written with the next commit.
            age.write_soon();
            readers.adopt(loaded.readers, is_first, line, age.at(now));
            if is_new {
                // Without it, messages would begin at any number.
                store.save_state(epoch, line, age.state(now))?;
            }
            Ok(())
        })
    }

    /// Opens the file again, when that is due or the files were taken away.
    fn open_if_due(&mut self, now: Moment) {
        if !self.files.are_gone(now) && !self.files.is_due(now) {
            return;
        }
        match self.open(now) {
            Ok(()) => tracing::info!("the inbox is open again"),
            Err(error) => self.files.cannot_open(&error, now),
        }
    }

    /// Moves the damaged file aside, and continues the line in a new file. `false` if that failed.
    fn rescue(&mut self, error: &StoreError, now: Moment) -> bool {
        if !self.files.give_up(error, now) {
            return false;
        }
        self.figures.lost(self.line.give_up());
        let opened = self.open(now);
        if let Err(error) = &opened {
            self.files.cannot_open(error, now);
        }
        opened.is_ok()
    }

    /// Publishes the present figures.
    fn publish(&mut self, now: Age) {
        let stat = Stat {
            messages: self.line.messages(),
            bytes: to_u64(self.line.bytes()),
            failed_commits: self.files.failed_commits(),
            failing: self.files.failing(),
            corruptions: self.files.corruptions(),
            readers: self.readers.waiting(Kind::Reader, &self.line, now),
            sessions: self.readers.waiting(Kind::Session, &self.line, now),
            ..Stat::default()
        };
        self.figures.publish(stat, self.readers.owners(), self.line.last());
    }
}

#[cfg(test)]
impl Writer {
    /// Acts as if the file could not be opened for some time.
    pub(crate) fn lose_file(&mut self) {
        self.files.lose((self.clock)());
    }

    /// Lets this many of the next commits fail.
    pub(crate) fn fail(&self, commits: u32) {
        self.files.faults.store(commits, std::sync::atomic::Ordering::SeqCst);
    }
}
