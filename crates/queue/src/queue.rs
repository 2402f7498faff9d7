//! The queue's handle, and opening and closing a queue.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use tokio::sync::{Semaphore, broadcast, oneshot, watch};

use crate::{
    check,
    clock::Sources,
    config::{Config, WhenFull},
    error::{AppendError, OpenError, StoreError},
    intake::{self, Change, Command, Handout, Write},
    lock::DirLock,
    message::{self, Lease, MAX_SIZE, MessageId, NewMessage, Receipt, Wanted},
    salvage::{self, Salvage},
    schema,
    shared::Shared,
    space,
    stat::{LaneStat, Stat},
    store::Store,
    takeover,
    trace::Trace,
    writer::Writer,
};

/// A durable queue; a cheap handle, to be cloned. When the last clone is dropped the queue is
/// closed, which blocks for the last commit: prefer [`Queue::close`] if that matters.
#[derive(Clone, Debug)]
pub struct Queue {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
    max_bytes: u64,
    when_full: WhenFull,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Queue {
    /// Opens the queue in `config.dir`, or makes it, and starts its writer thread. Blocks on the
    /// disk; takes the same time whatever the number of messages. No message is leased at first.
    ///
    /// The file's pages are not checked for damage here, but in the background if the last stop was
    /// not clean, and by [`Inspector::check`](crate::Inspector::check). When damage is met, now or
    /// later, the file is moved aside into a folder `damaged-…` of the queue's directory. A new
    /// file holds all that could be read of it; the other messages are counted as dropped.
    ///
    /// # Errors
    /// [`OpenError`]; [`OpenError::Locked`] names the process that has it open.
    pub fn open(config: Config) -> Result<Self, OpenError> {
        Self::open_with(config, Sources::real(), |_| {})
    }

    /// Opens like [`Queue::open`], with another clock and access to the store before it is used.
    pub(crate) fn open_with(
        config: Config,
        sources: Sources,
        prepare: impl FnOnce(&Store),
    ) -> Result<Self, OpenError> {
        let lock = DirLock::acquire(&config.dir)?;
        let unclean = space::is_filled(&config.dir.join(schema::LOG));
        let (store, salvage) = open_store(&config)?;
        crate::lock::sync_dir(&config.dir)
            .map_err(|source| OpenError::Prepare { path: config.dir.clone(), source })?;
        prepare(&store);
        let shared = Arc::new(Shared::default());
        let writer =
            Writer::new(store, salvage.as_ref(), lock, &config, sources, Arc::clone(&shared))?;
        if let Some(period) = config.check {
            let (shared, dir) = (Arc::clone(&shared), config.dir.clone());
            std::thread::Builder::new()
                .name("queue-check".to_owned())
                .spawn(move || check::run(&shared, dir, period, unclean))
                .map_err(OpenError::Thread)?;
        }
        let thread = std::thread::Builder::new()
            .name("queue-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(OpenError::Thread)?;
        Ok(Self {
            inner: Arc::new(Inner {
                shared,
                room: Arc::new(Semaphore::new(intake::DEPTH)),
                max_bytes: config.max_bytes,
                when_full: config.when_full,
                thread: Mutex::new(Some(thread)),
            }),
        })
    }

    /// Returns the most bytes of messages it takes ([`Config::max_bytes`]).
    pub fn max_bytes(&self) -> u64 {
        self.inner.max_bytes
    }

    /// Shares the queue among these lanes from now on: a quarter of it is divided among them, so
    /// that a lane that fills up leaves room for the others. At first no lane has a share.
    pub fn share_among(&self, lanes: Vec<String>) {
        self.inner.shared.intake.push(Command::Share(lanes), None);
    }

    /// Stores a message. The outcome is synced to disk before the answer. Appends that wait at the
    /// same time share one sync.
    ///
    /// # Errors
    /// [`AppendError`]; the message was then not taken.
    ///
    /// # Cancel safety
    /// A dropped call may or may not have stored the message. Give it a key to try again safely.
    pub async fn append(&self, message: NewMessage) -> Result<Receipt, AppendError> {
        let lane = message.lane.clone();
        let receipts = self.append_copies(message, vec![lane]).await?;
        receipts.first().copied().ok_or_else(|| StoreError::Closed.into())
    }

    /// Stores a copy of a message in each of `lanes`, whatever its own: all of them or none. The
    /// answer has a receipt for each; a dropped message has one receipt.
    ///
    /// # Errors
    /// [`AppendError`]; no copy was then taken.
    ///
    /// # Cancel safety
    /// As for [`Queue::append`].
    pub async fn append_copies(
        &self,
        message: NewMessage,
        lanes: Vec<String>,
    ) -> Result<Vec<Receipt>, AppendError> {
        message.validate()?;
        lanes.iter().try_for_each(|lane| message::check_lane(lane))?;
        let most = self.inner.max_bytes.min(MAX_SIZE);
        if message.size() > most {
            return Err(AppendError::TooLarge { size: message.size(), max_bytes: most });
        }
        let (answer, receipt) = oneshot::channel();
        let result = Err(StoreError::Closed.into());
        let put = Write::Put { message, lanes, result, answer };
        self.push_when_room(Command::Write(put)).await?;
        receipt.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    /// Reports whether a message of this size would fit now with a copy in each of `lanes`. The
    /// amount `on_the_way` is stored before it. A queue that drops instead of refusing always has
    /// room.
    pub fn has_room(&self, lanes: &[String], size: u64, on_the_way: LaneStat) -> bool {
        self.inner.when_full != WhenFull::Reject
            || self.inner.shared.has_room(lanes, size, on_the_way)
    }

    /// Hands out the next messages of a lane, at most `limit` and at most
    /// [`MAX_LEASES`](crate::MAX_LEASES): higher priority first, then in the order of their append.
    /// Only messages that are on disk and neither leased nor expired; an unknown lane has none.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is leased then.
    ///
    /// # Cancel safety
    /// Messages that were on their way to a dropped call are released again.
    pub async fn lease(&self, lane: &str, limit: usize) -> Result<Vec<Lease>, StoreError> {
        self.lease_wanted(Wanted::of(lane, limit)).await
    }

    /// Leases like [`Queue::lease`], but only messages of at least priority `floor`; others wait.
    ///
    /// # Errors
    /// As [`Queue::lease`].
    ///
    /// # Cancel safety
    /// As for [`Queue::lease`].
    pub async fn lease_from(
        &self,
        lane: &str,
        limit: usize,
        floor: u8,
    ) -> Result<Vec<Lease>, StoreError> {
        self.lease_wanted(Wanted { floor, ..Wanted::of(lane, limit) }).await
    }

    /// Leases like [`Queue::lease`], but only the wanted messages.
    ///
    /// # Errors
    /// As [`Queue::lease`].
    ///
    /// # Cancel safety
    /// As for [`Queue::lease`].
    pub async fn lease_wanted(&self, wanted: Wanted) -> Result<Vec<Lease>, StoreError> {
        let (answer, handout) = oneshot::channel();
        self.push_when_room(Command::Lease { wanted, answer }).await?;
        handout.await.unwrap_or(Err(StoreError::Closed)).map(Handout::take)
    }

    /// Removes a message for good, leased or not, since another party is responsible for it, which
    /// `path` names. `Ok(false)` if there is no message of this id.
    ///
    /// # Errors
    /// [`StoreError`]; the message is then still there, and still leased if it was.
    ///
    /// # Cancel safety
    /// The ack is sent when this function returns, before the future is polled; a dropped future
    /// only does not wait for the disk.
    pub fn ack(
        &self,
        id: MessageId,
        path: &Arc<str>,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send + use<> {
        self.change(id, Change::Ack { path: Arc::clone(path), rides: false })
    }

    /// Acknowledges like [`Queue::ack`], but may wait some two seconds to join another commit,
    /// which halves the writes to a flash disk. Call [`Queue::hurry`] as soon as something waits
    /// for it.
    ///
    /// # Errors
    /// As [`Queue::ack`].
    ///
    /// # Cancel safety
    /// As for [`Queue::ack`].
    pub fn ack_with_next(
        &self,
        id: MessageId,
        path: &Arc<str>,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send + use<> {
        self.change(id, Change::Ack { path: Arc::clone(path), rides: true })
    }

    /// Commits now, together, the acknowledgements that wait for another commit.
    pub fn hurry(&self) {
        self.inner.shared.intake.push(Command::Hurry, None);
    }

    /// Renames a lane, with all its waiting messages, however many. `Ok(false)` if there is a lane
    /// of the new name already: then nothing is changed, and each message can be moved by
    /// [`Queue::transfer`].
    ///
    /// # Errors
    /// As [`Queue::transfer`].
    ///
    /// # Cancel safety
    /// A dropped call may or may not have renamed the lane.
    pub async fn rename_lane(&self, from: &str, to: &str) -> Result<bool, AppendError> {
        message::check_lane(from)?;
        message::check_lane(to)?;
        let (answer, found) = oneshot::channel();
        let rename =
            Write::Rename { from: from.to_owned(), to: to.to_owned(), found: false, answer };
        Ok(self.push_now(Command::Write(rename), found).await?)
    }

    /// Returns the state of a message that is held, or that left lately. `None` if it is not known,
    /// or no longer.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Nothing is changed.
    pub async fn trace(&self, id: MessageId) -> Result<Option<Trace>, StoreError> {
        let (answer, found) = oneshot::channel();
        self.push_when_room(Command::Trace { id, answer }).await?;
        found.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Subscribes to each message that is acknowledged, dropped or set aside from now on, once that
    /// is committed. A receiver that reads too slowly loses the oldest, and gets their number.
    pub fn outcomes(&self) -> broadcast::Receiver<Trace> {
        self.inner.shared.outcomes.subscribe()
    }

    /// Ends a lease: the message is again the next of its lane, in its old place. `Ok(false)` if it
    /// was not leased.
    ///
    /// # Errors
    /// [`StoreError::Closed`] only: nothing is written.
    ///
    /// # Cancel safety
    /// As for [`Queue::ack`].
    pub fn release(
        &self,
        id: MessageId,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send + use<> {
        let (answer, found) = oneshot::channel();
        self.push_now(Command::Release { id, answer }, found)
    }

    /// Ends a lease like [`Queue::release`], but the message is handed out again only after
    /// [`Queue::look_again`], since the consumer cannot use it now. Meanwhile it waits like any
    /// other message. No watcher is woken. `Ok(false)` if it was not leased.
    ///
    /// # Errors
    /// As [`Queue::release`].
    ///
    /// # Cancel safety
    /// As for [`Queue::ack`].
    pub fn pass_over(
        &self,
        id: MessageId,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send + use<> {
        let (answer, found) = oneshot::channel();
        self.push_now(Command::PassOver { id, answer }, found)
    }

    /// Hands out again, in their old places, the messages that were passed over in a lane. Returns
    /// whether there were any; watchers are woken then.
    ///
    /// # Errors
    /// As [`Queue::release`].
    ///
    /// # Cancel safety
    /// As for [`Queue::ack`].
    pub fn look_again(
        &self,
        lane: &str,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send + use<> {
        let (answer, found) = oneshot::channel();
        self.push_now(Command::LookAgain { lane: lane.to_owned(), answer }, found)
    }

    /// Moves a message to another lane with its id, priority and place in the order; a lease on it
    /// ends. `Ok(false)` if there is no message of this id.
    ///
    /// # Errors
    /// [`AppendError::Invalid`] for an invalid lane, else [`AppendError::Store`]; the message then
    /// stays in its lane.
    ///
    /// # Cancel safety
    /// A dropped call may or may not have moved the message; it is in one lane or the other.
    pub async fn transfer(&self, id: MessageId, lane: &str) -> Result<bool, AppendError> {
        message::check_lane(lane)?;
        Ok(self.change(id, Change::Transfer { lane: lane.to_owned() }).await?)
    }

    /// Sets a message aside, on disk: a lease on it ends, no lane hands it out and it blocks no
    /// lane, until [`Queue::requeue`]. It counts against the bounds, and it still expires. `reason`
    /// is a word to sort by, `words` is an explanation; both are cut to a few hundred bytes.
    /// `Ok(false)` if there is no message of this id, or it is aside already.
    ///
    /// # Errors
    /// [`StoreError`]; the message then stays in its place.
    ///
    /// # Cancel safety
    /// As for [`Queue::ack`].
    pub fn set_aside(
        &self,
        id: MessageId,
        reason: &str,
        words: &str,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send + use<> {
        let (reason, words) = (message::cut(reason), message::cut(words));
        self.change(id, Change::SetAside { reason, words })
    }

    /// Returns a message that was set aside to its lane, in its old place. `Ok(false)` if no
    /// message of this id is aside.
    ///
    /// # Errors
    /// [`StoreError`]; the message is then still aside.
    ///
    /// # Cancel safety
    /// As for [`Queue::ack`].
    pub fn requeue(
        &self,
        id: MessageId,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send + use<> {
        self.change(id, Change::Requeue)
    }

    /// Removes a message unsent and counts it as dropped. `Ok(false)` if there is no message of
    /// this id, or it is leased: then it is on its way.
    ///
    /// # Errors
    /// [`StoreError`]; the message is then still there.
    ///
    /// # Cancel safety
    /// As for [`Queue::ack`].
    pub fn purge(
        &self,
        id: MessageId,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send + use<> {
        self.change(id, Change::Purge)
    }

    /// Returns the present figures, from memory.
    pub fn stat(&self) -> Stat {
        self.inner.shared.stat()
    }

    /// Subscribes to a number that changes whenever a message may have become leasable in any lane.
    /// Mark it seen, lease until nothing is returned, then wait for the change.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.inner.shared.leasable.subscribe()
    }

    /// Completes the waiting commands, moves the log into the file, and releases the lock. Every
    /// later call on any clone fails with [`StoreError::Closed`]; a second close does nothing.
    ///
    /// # Cancel safety
    /// Once polled, the close goes on even if the future is dropped.
    pub async fn close(&self) {
        self.inner.shared.close();
        // An error means that the writer is gone, which is the event awaited here.
        drop(self.inner.shared.ended.subscribe().wait_for(|ended| *ended).await);
    }

    async fn push_when_room(&self, command: Command) -> Result<(), StoreError> {
        let room = Arc::clone(&self.inner.room);
        let permit = room.acquire_owned().await.map_err(|_| StoreError::Closed)?;
        match self.inner.shared.intake.push(command, Some(permit)) {
            true => Ok(()),
            false => Err(StoreError::Closed),
        }
    }

    fn change(
        &self,
        id: MessageId,
        change: Change,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send + use<> {
        let (answer, found) = oneshot::channel();
        let write = Write::Change { id, change, found: false, answer };
        self.push_now(Command::Write(write), found)
    }

    /// Sends the command at once; the future only waits for its answer.
    fn push_now(
        &self,
        command: Command,
        answer: oneshot::Receiver<Result<bool, StoreError>>,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send + use<> {
        // A closed line drops the command and with it the sender: the future then returns Closed.
        self.inner.shared.intake.push(command, None);
        async move { answer.await.unwrap_or(Err(StoreError::Closed)) }
    }
}

/// Opens the store; if it is damaged, a new store with its readable part.
fn open_store(config: &Config) -> Result<(Store, Option<Salvage>), OpenError> {
    let prepare = |source| OpenError::Prepare { path: config.dir.clone(), source };
    let ended = salvage::resume(&config.dir).map_err(prepare)?;
    let opened = if salvage::is_emptied(&config.dir) {
        None
    } else {
        match takeover::open(&config.dir, config.fsync)
            .and_then(|store| store.probe().map(|()| store))
        {
            Ok(store) => Some(store),
            Err(error) if salvage::is_damage(&error) => None,
            Err(error) => return Err(error),
        }
    };
    if let Some(store) = opened {
        return Ok((store, ended));
    }
    let mut salvage = salvage::salvage(&config.dir)?;
    salvage.lost = salvage.lost.saturating_add(ended.map_or(0, |earlier| earlier.lost));
    Ok((Store::open(&config.dir, config.fsync)?, Some(salvage)))
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.close();
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the queue's writer thread panicked");
        }
    }
}
