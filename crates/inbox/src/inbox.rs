//! The inbox's handle, and opening and closing an inbox.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering, mpsc},
    time::Duration,
};

use tokio::sync::{Semaphore, oneshot, watch};

use crate::{
    age,
    error::{AttachError, OpenError, ReadError, StoreError},
    message::{NewMessage, Seq},
    number::to_i64,
    reader::Matches,
    readers::{Attached, Wish},
    stat::Stat,
    writer::{Bounds, Command, Completion, Page, Put, ReaderPage, Shared, Slow, Writer},
};

/// The number of messages that may wait to be stored. A disk may pause for a while; with payloads
/// of 11 KiB they are still less than 6 MiB. If it is full the newest are refused.
const DEPTH: usize = 512;

/// The number of requests of readers and sessions that may wait for the writer; further requests
/// wait for their turn.
const REQUESTS: usize = 256;

/// Place and bounds of an inbox.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its folder, made with mode 0700 if missing. Nothing else should be kept in it.
    pub dir: PathBuf,
    /// The most bytes of messages, as accounted (see [`OVERHEAD`](crate::OVERHEAD)).
    pub max_bytes: u64,
    /// The age at which a message is removed, and the time after which an unseen reader is
    /// forgotten.
    pub max_age: Duration,
    /// The longest time for which a session is kept while its client is away.
    pub session_expiry: Duration,
    /// Reports whether a filter takes a topic.
    pub matches: fn(&str, &str) -> bool,
}

impl Config {
    /// Returns the defaults: 64 MiB and seven days in `dir`; sessions are kept for a day.
    pub fn new(dir: impl Into<PathBuf>, matches: fn(&str, &str) -> bool) -> Self {
        Self {
            dir: dir.into(),
            max_bytes: 64 << 20,
            max_age: Duration::from_secs(7 * 86_400),
            session_expiry: Duration::from_secs(86_400),
            matches,
        }
    }
}

/// A durable inbox; a cheap handle, to be cloned.
#[derive(Clone, Debug)]
pub struct Inbox {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    places: Arc<Semaphore>,
    requests: Semaphore,
}

impl Inbox {
    /// Opens the inbox, or makes it, and starts its thread. Blocks on the disk; takes the same time
    /// whatever its content. If the disk refuses (full, read-only, errors) the inbox is still open:
    /// nothing is stored then, and the file is tried again every few seconds. A damaged file is
    /// moved aside.
    ///
    /// # Errors
    /// [`OpenError`], for failures that do not pass by themselves.
    pub fn open(config: Config) -> Result<Self, OpenError> {
        let (inbox, writer, commands) = Self::prepare(config, age::system)?;
        std::thread::Builder::new()
            .name("inbox-writer".to_owned())
            .spawn(move || writer.run(&commands))
            .map_err(OpenError::Thread)?;
        Ok(inbox)
    }

    /// Makes an inbox whose thread does not run yet.
    pub(crate) fn prepare(
        config: Config,
        clock: impl FnOnce() -> age::Clock,
    ) -> Result<(Self, Writer, mpsc::Receiver<Command>), OpenError> {
        let Config { dir, max_bytes, max_age, session_expiry, matches } = config;
        let bounds = Bounds {
            bytes: to_i64(max_bytes),
            age: age::millis(max_age),
            session: age::millis(session_expiry),
        };
        let shared = Arc::new(Shared::default());
        let matches: Matches = matches;
        let writer = Writer::new(dir, bounds, matches, clock(), Arc::clone(&shared))?;
        let (commands, waiting) = mpsc::channel();
        let inner = Inner {
            shared,
            commands,
            places: Arc::new(Semaphore::new(DEPTH)),
            requests: Semaphore::new(REQUESTS),
        };
        Ok((Self { inner: Arc::new(inner) }, writer, waiting))
    }

    /// Puts a message at the end and returns at once. `then` is called once it is on disk, or could
    /// not be stored; from the writer's thread, so it must not wait for anything.
    ///
    /// # Errors
    /// [`Slow`] if too many are on their way: the message was not taken, is counted, and `then` is
    /// not called.
    pub fn put(
        &self,
        message: NewMessage,
        then: impl FnOnce(Result<Seq, StoreError>) + Send + 'static,
    ) -> Result<(), Slow> {
        let Ok(place) = Arc::clone(&self.inner.places).try_acquire_owned() else {
            self.inner.shared.slow.fetch_add(1, Ordering::Relaxed);
            return Err(Slow);
        };
        let put = Put { message, then: Completion::new(Box::new(then)), place };
        // If a closed inbox does not take a message, the message's drop reports that.
        let _ = self.send(Command::Put(put));
        Ok(())
    }

    /// Subscribes to the number of the last message.
    pub fn watch(&self) -> watch::Receiver<Seq> {
        self.inner.shared.stored.subscribe()
    }

    /// Returns the present figures, from memory.
    pub fn stat(&self) -> Stat {
        self.inner.shared.stat()
    }

    /// Takes up the session `name` for a connection of `owner`, or begins it. With `clean` the rest
    /// of an earlier session is removed first. `expiry` is the time for which the session outlives
    /// the connection, within the bound; `None`: as long as the bound allows. Returns `None` if the
    /// expiry is zero and there is no session.
    ///
    /// # Errors
    /// [`AttachError`].
    ///
    /// # Cancel safety
    /// A dropped call may leave the session marked as connected, until the next call.
    pub async fn attach(
        &self,
        name: &str,
        owner: Option<&str>,
        clean: bool,
        expiry: Option<Duration>,
    ) -> Result<Option<(Attached, Hold)>, AttachError> {
        let (name, owner) = (name.to_owned(), owner.map(str::to_owned));
        let (answer, attached) = oneshot::channel();
        let wish = Wish { name: name.clone(), owner, clean, expiry };
        let _turn = self.inner.requests.acquire().await;
        self.send(Command::Attach(wish, answer)).map_err(|_| AttachError::Closed)?;
        let attached = attached.await.map_err(|_| AttachError::Closed)??;
        Ok(attached.map(|attached| {
            let hold = Hold { inbox: self.clone(), name, hold: attached.hold, expiry: None };
            (attached, hold)
        }))
    }

    /// True if a session of this name belongs to another user than `user`.
    pub fn is_of_another(&self, name: &str, user: Option<&str>) -> bool {
        let owner = self.inner.shared.owner(name).flatten();
        owner.is_some() && user.is_some() && owner.as_deref() != user
    }

    /// True if there is a session of this name.
    pub fn has_session(&self, name: &str) -> bool {
        self.inner.shared.owner(name).is_some()
    }

    /// Ends the session `name` if it exists and `user` may have it; waits for nothing.
    pub fn end(&self, name: &str, user: Option<&str>) {
        let (name, owner) = (name.to_owned(), user.map(str::to_owned));
        // A closed inbox has no sessions to end.
        let _ = self.send(Command::End { name, owner });
    }

    /// Reads the next messages for the reader `name`, at most `limit`: after the cursor `after`, or
    /// after its last confirmed message. A new reader begins with the first message in the inbox.
    ///
    /// # Errors
    /// [`ReadError`].
    ///
    /// # Cancel safety
    /// Reading changes nothing, except the time at which the reader was seen.
    pub async fn read(
        &self,
        name: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ReaderPage, ReadError> {
        let (answer, page) = oneshot::channel();
        let (name, after) = (name.to_owned(), after.map(str::to_owned));
        let _turn = self.inner.requests.acquire().await;
        self.send(Command::Read { name, after, limit, answer })?;
        page.await.unwrap_or(Err(ReadError::Store(StoreError::Closed)))
    }

    /// Notes that the reader `name` has everything up to and including the message of the cursor
    /// `through`. Returns the number of those messages.
    ///
    /// # Errors
    /// [`ReadError`]. After [`ReadError::Store`] it holds while the agent runs, and is not on disk.
    ///
    /// # Cancel safety
    /// A dropped call still takes effect.
    pub async fn confirm(&self, name: &str, through: &str) -> Result<u64, ReadError> {
        let (answer, confirmed) = oneshot::channel();
        let (name, through) = (name.to_owned(), through.to_owned());
        let _turn = self.inner.requests.acquire().await;
        self.send(Command::ConfirmRead { name, through, answer })?;
        confirmed.await.unwrap_or(Err(ReadError::Store(StoreError::Closed)))
    }

    /// Forgets the reader `name`. `false` if there is no such reader.
    ///
    /// # Errors
    /// [`StoreError`]. The reader is forgotten while the agent runs, and is still on disk.
    ///
    /// # Cancel safety
    /// A dropped call still takes effect.
    pub async fn forget(&self, name: &str) -> Result<bool, StoreError> {
        let (answer, found) = oneshot::channel();
        let _turn = self.inner.requests.acquire().await;
        self.send(Command::Forget(name.to_owned(), answer))?;
        found.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Completes the waiting commands, moves the log into the file, and releases the lock.
    ///
    /// # Cancel safety
    /// Once polled, the close goes on even if the future is dropped.
    pub async fn close(&self) {
        // If the writer is gone, the inbox is closed already.
        let _ = self.send(Command::Close);
        drop(self.inner.shared.ended.subscribe().wait_for(|ended| *ended).await);
    }

    fn send(&self, command: Command) -> Result<(), StoreError> {
        self.inner.commands.send(command).map_err(|_| StoreError::Closed)
    }
}

/// A connection's hold on its session: the session is left when this is dropped.
#[derive(Debug)]
pub struct Hold {
    inbox: Inbox,
    name: String,
    hold: u64,
    expiry: Option<Duration>,
}

impl Hold {
    /// Sets the time for which the session outlives the connection, within the bound.
    pub fn set_expiry(&mut self, expiry: Duration) {
        self.expiry = Some(expiry);
    }

    /// Adds filters with their QoS: messages from now on. A known filter keeps its beginning.
    ///
    /// # Errors
    /// [`StoreError`]: they hold while the agent runs, and are not on disk.
    ///
    /// # Cancel safety
    /// The command is sent when this function returns, before the future is polled.
    pub fn subscribe(
        &self,
        filters: Vec<(String, u8)>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let (answer, found) = oneshot::channel();
        answered(self.send(Command::Subscribe(self.name.clone(), filters, answer)), found)
    }

    /// Removes filters. Returns for each whether it was there.
    ///
    /// # Errors
    /// As [`Hold::subscribe`].
    ///
    /// # Cancel safety
    /// As [`Hold::subscribe`].
    pub fn unsubscribe(
        &self,
        filters: Vec<String>,
    ) -> impl Future<Output = Result<Vec<bool>, StoreError>> + Send + use<> {
        let (answer, found) = oneshot::channel();
        answered(self.send(Command::Unsubscribe(self.name.clone(), filters, answer)), found)
    }

    /// Returns the next messages after `after` that its filters take, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Reading changes nothing, except that these messages may have been sent.
    pub fn next(
        &self,
        after: Seq,
        limit: usize,
    ) -> impl Future<Output = Result<Page, StoreError>> + Send + use<> {
        let (answer, found) = oneshot::channel();
        let name = self.name.clone();
        answered(self.send(Command::Next { name, after, limit, answer }), found)
    }

    /// Notes that the session has everything up to and including this message.
    ///
    /// # Errors
    /// [`StoreError`]: it holds while the agent runs, and is not on disk.
    ///
    /// # Cancel safety
    /// The command is sent when this function returns, before the future is polled.
    pub fn confirm(
        &self,
        through: Seq,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let (answer, found) = oneshot::channel();
        let name = self.name.clone();
        answered(self.send(Command::Confirm { name, through, answer }), found)
    }

    /// Sends a request at once, even if its answer is not awaited. A connection bounds its
    /// requests.
    fn send(&self, command: Command) -> Result<(), StoreError> {
        self.inbox.send(command)
    }
}

/// Waits for the answer to a sent request.
async fn answered<T>(
    sent: Result<(), StoreError>,
    found: oneshot::Receiver<Result<T, StoreError>>,
) -> Result<T, StoreError> {
    sent?;
    found.await.unwrap_or(Err(StoreError::Closed))
}

impl Drop for Hold {
    fn drop(&mut self) {
        let (name, hold, expiry) = (self.name.clone(), self.hold, self.expiry);
        // A closed inbox has no connections.
        let _ = self.inbox.send(Command::Detach { name, hold, expiry });
    }
}
