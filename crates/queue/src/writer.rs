//! The writer: one thread that owns the store, and turns what is waiting into one commit.
//!
//! A batch has two halves. First a transaction of everything that changes the disk; it is answered
//! once it is synced, and leaves no trace in memory if it fails. Then releases and leases, which
//! change memory only and so see only what is durable.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::{broadcast, oneshot, watch};

use crate::{
    check::Watch,
    error::{AppendError, OpenError, StoreError},
    intake::{Command, Intake, Taken, Write},
    lock::DirLock,
    message::{MessageId, NewMessage, Outcome, Receipt},
    places::{Places, Undo},
    queue::{Clock, Config, Fsync, Handout, WhenFull},
    salvage::Salvage,
    schema,
    stat::{Dropped, Failing, LaneStat, Stat},
    store::{Located, Seq, Store},
    tally::Tally,
    trace::{Reason, State, Trace},
};

mod change;
mod handout;
mod rescue;
mod room;
mod sweep;
mod syncs;

use rescue::Salvages;
use room::Room;
use syncs::Syncs;

/// The most commands in one batch. Bounds how long the first of them waits for the last.
const MAX_BATCH: usize = 256;

/// The most messages that one [`Queue::lease`](crate::Queue::lease) hands out.
pub const MAX_LEASES: usize = 1024;

/// How many idempotency keys are remembered, the newest ones.
pub const REMEMBERED_KEYS: u32 = 10_000;

/// The most expired messages that one transaction removes, so that a clock that jumps over the
/// time of a million of them neither holds up the callers nor swells the log.
const SWEEP: u64 = 512;

/// How many outcomes a slow reader may fall behind.
const OUTCOMES: usize = 1024;

/// The longest wait for the next expiry. The wall clock may be set while we wait for it.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What callers and the writer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) intake: Intake,
    pub(crate) watch: Watch,
    pub(crate) leasable: watch::Sender<u64>,
    pub(crate) ended: watch::Sender<bool>,
    pub(crate) outcomes: broadcast::Sender<Trace>,
    stat: Mutex<Stat>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            intake: Intake::default(),
            watch: Watch::default(),
            leasable: watch::Sender::new(0),
            ended: watch::Sender::new(false),
            outcomes: broadcast::Sender::new(OUTCOMES),
            stat: Mutex::default(),
        }
    }
}

impl Shared {
    /// Nothing more comes in; what waits is still done.
    pub(crate) fn close(&self) {
        self.watch.end();
        self.intake.close();
    }

    pub(crate) fn stat(&self) -> Stat {
        self.stat.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Tells the callers that the writer ended, also when it panicked.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.watch.end();
        self.0.intake.abandon();
        self.0.ended.send_replace(true);
    }
}

/// The most that is held.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    bytes: u64,
    messages: Option<u64>,
    /// In milliseconds.
    age: Option<i64>,
}

/// The state of the thread.
pub(crate) struct Writer {
    store: Store,
    dir: PathBuf,
    fsync: Fsync,
    lock: DirLock,
    clock: Clock,
    bounds: Bounds,
    when_full: WhenFull,
    shared: Arc<Shared>,
    tally: Tally,
    places: Places,
    next_seq: Seq,
    /// No unleased message expires before this moment (milliseconds of the Unix epoch).
    next_expiry: Option<i64>,
    /// Nor is one too old before this one.
    next_age: Option<i64>,
    syncs: Syncs,
    /// The last sweep failed: the next one waits for a command or for [`LONGEST_WAIT`].
    sweep_failed: bool,
    dropped: Dropped,
    commits: u64,
    failed_commits: u64,
    failing: Option<Failing>,
    salvages: Salvages,
    /// What became of messages that left lately.
    traces: HashMap<MessageId, Trace>,
    /// Something may have become leasable that the watchers have not been told.
    leasable: bool,
}

/// What a transaction in progress did beyond the store, to be kept or undone as a whole.
#[derive(Default)]
struct Draft {
    undo: Vec<Undo>,
    arrivals: Vec<Located>,
    /// What became of messages.
    ended: Vec<Trace>,
    dropped: Dropped,
    next_expiry: Option<i64>,
    next_age: Option<i64>,
    changed: bool,
    leasable: bool,
}

impl Writer {
    pub(crate) fn new(
        store: Store,
        salvage: Option<Salvage>,
        lock: DirLock,
        config: &Config,
        clock: Clock,
        shared: Arc<Shared>,
    ) -> Result<Self, OpenError> {
        let failed = |e| schema::failed(&config.dir.join(schema::FILE), e);
        let bounds = Bounds {
            bytes: config.max_bytes,
            messages: config.max_messages,
            age: config.max_age.map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX)),
        };
        let mut writer = Self {
            tally: Tally::new(store.load_buckets().map_err(failed)?),
            places: Places::default(),
            next_seq: store.last_seq().map_err(failed)?.saturating_add(1),
            next_expiry: store.next_expiry(i64::MIN).map_err(failed)?,
            next_age: bounds.age.is_some().then_some(i64::MIN),
            syncs: Syncs::new(config.fsync),
            sweep_failed: false,
            dropped: Dropped {
                damaged: salvage.as_ref().map_or(0, |salvage| salvage.lost),
                ..Dropped::default()
            },
            salvages: Salvages { done: u64::from(salvage.is_some()), retry_at: None },
            dir: config.dir.clone(),
            fsync: config.fsync,
            commits: 0,
            failed_commits: 0,
            failing: None,
            leasable: false,
            traces: HashMap::new(),
            bounds,
            when_full: config.when_full,
            store,
            lock,
            clock,
            shared,
        };
        writer.publish();
        Ok(writer)
    }

    /// Serves until the line is closed and empty, then closes the store.
    pub(crate) fn run(mut self) {
        let end = End(Arc::clone(&self.shared));
        while let Taken::Batch(batch) = self.shared.intake.take(MAX_BATCH, self.patience()) {
            self.step(batch);
            self.syncs.run(&self.store, self.commits);
        }
        if let Err(error) = self.store.close() {
            // Nothing is lost: what was answered is in the log, which the next start reads.
            tracing::warn!(error = %error, "could not close the queue's file cleanly");
        }
        // The lock goes after the file and before anybody is told.
        drop(self.lock);
        drop(end);
    }

    /// How long to wait for a command before expired messages want to be removed.
    fn patience(&self) -> Option<Duration> {
        let sweep = self.next_sweep().map(|next| {
            if self.sweep_failed {
                return LONGEST_WAIT;
            }
            let wait = next.saturating_sub(millis((self.clock)()));
            Duration::from_millis(u64::try_from(wait).unwrap_or(0)).min(LONGEST_WAIT)
        });
        earlier(sweep, self.syncs.patience())
    }

    /// When the next message expires or is too old.
    fn next_sweep(&self) -> Option<i64> {
        earlier(self.next_expiry, self.next_age)
    }

    fn step(&mut self, batch: Vec<Command>) {
        let now = millis((self.clock)());
        if self.store.is_nowhere() {
            // An earlier salvage failed half way; what there is may be had by now.
            self.salvage();
        }
        let (mut writes, mut reads) = (Vec::new(), Vec::new());
        for command in batch {
            match command {
                Command::Write(write) => writes.push(write),
                Command::Lease { .. } | Command::Release { .. } | Command::Trace { .. } => {
                    reads.push(command);
                }
                // Found by the check: what the file still answers is not worth waiting for.
                // Unless it was replaced while the check still read the old one.
                Command::Salvage { after } if after == self.salvages.done => drop(self.salvage()),
                Command::Salvage { .. } => {}
            }
        }
        let mut settled = Vec::new();
        if !writes.is_empty() || self.sweep_due(now) {
            settled = self.write(writes, now);
        }
        if !settled.is_empty() {
            // Answered only after this, so that who has an answer finds it in the figures.
            self.publish();
            settled.into_iter().for_each(Write::settle);
        }
        let replies: Vec<Reply> =
            reads.into_iter().filter_map(|command| self.read(command, now)).collect();
        self.publish();
        replies.into_iter().for_each(Reply::settle);
    }

    fn sweep_due(&self, now: i64) -> bool {
        self.next_sweep().is_some_and(|next| next <= now)
    }

    /// Makes the writes durable in one transaction, and returns those to be answered. On a full
    /// disk what frees room gets a second chance without what needs it.
    fn write(&mut self, writes: Vec<Write>, now: i64) -> Vec<Write> {
        let (writes, error) = match self.transact(writes, now) {
            Ok(writes) => return writes,
            Err(failed) => failed,
        };
        let (writes, error) = match error {
            // None of it was accepted, so all of it can be done again in the new file.
            StoreError::Corrupt(_) if self.salvage() => match self.transact(writes, now) {
                Ok(writes) => return writes,
                Err(failed) => failed,
            },
            error => (writes, error),
        };
        let chain: &dyn std::error::Error = &error;
        tracing::warn!(error = chain, "a commit of the queue failed");
        let (acks, others): (Vec<_>, Vec<_>) = writes.into_iter().partition(
            |write| matches!(write, Write::Change { change, .. } if change.makes_room()),
        );
        let retry = matches!(error, StoreError::DiskFull(_)) && !others.is_empty();
        others.into_iter().for_each(|write| write.fail(&error));
        if !retry || acks.is_empty() {
            acks.into_iter().for_each(|write| write.fail(&error));
            return Vec::new();
        }
        self.transact(acks, now).unwrap_or_else(|(acks, error)| {
            acks.into_iter().for_each(|write| write.fail(&error));
            Vec::new()
        })
    }

    /// One transaction: sweep, then all writes in order, then the totals. Either all of it is on
    /// disk and in memory, or none.
    fn transact(
        &mut self,
        mut writes: Vec<Write>,
        now: i64,
    ) -> Result<Vec<Write>, (Vec<Write>, StoreError)> {
        let before = self.tally.clone();
        let mut draft =
            Draft { next_expiry: self.next_expiry, next_age: self.next_age, ..Draft::default() };
        let sync = !writes.iter().all(Write::may_come_undone);
        let done = self.store.sync_commits(sync);
        let done = done.and_then(|()| self.apply_all(&mut writes, now, &mut draft));
        self.sweep_failed = done.is_err();
        match done {
            Ok(()) => {
                self.keep(draft);
                self.failing = None;
                if sync && self.fsync == Fsync::Always {
                    self.syncs.synced(self.commits);
                }
                Ok(writes)
            }
            Err(error) => {
                if let Err(error) = self.store.rollback() {
                    tracing::error!(error = %error, "could not roll the queue back");
                }
                self.tally = before;
                self.places.undo(draft.undo);
                let error = StoreError::from(error);
                self.failed_commits = self.failed_commits.saturating_add(1);
                self.failing = Some(error.failing());
                Err((writes, error))
            }
        }
    }

    fn apply_all(
        &mut self,
        writes: &mut [Write],
        now: i64,
        draft: &mut Draft,
    ) -> rusqlite::Result<()> {
        self.store.begin()?;
        if self.sweep_due(now) {
            self.sweep(now, draft)?;
        }
        for write in writes {
            match write {
                Write::Put { message, id, result, .. } => {
                    *result = self.put(message, *id, now, draft)?;
                }
                Write::Change { id, change, found, .. } => {
                    *found = self.change(*id, change, now, draft)?;
                }
            }
        }
        for bucket in self.tally.drain_changed() {
            self.store.save_bucket(&bucket)?;
        }
        self.store.commit()
    }

    /// The transaction is on disk: what it did in memory stays.
    fn keep(&mut self, draft: Draft) {
        draft.arrivals.into_iter().for_each(|at| self.places.arrive(at));
        for trace in draft.ended {
            self.traces.insert(trace.id, trace.clone());
            // Nobody may listen.
            drop(self.shared.outcomes.send(trace));
        }
        self.dropped.add(draft.dropped);
        self.next_expiry = draft.next_expiry;
        self.next_age = draft.next_age;
        self.commits = self.commits.saturating_add(u64::from(draft.changed));
        self.leasable |= draft.leasable;
    }

    fn put(
        &mut self,
        message: &NewMessage,
        id: MessageId,
        now: i64,
        draft: &mut Draft,
    ) -> rusqlite::Result<Result<Receipt, AppendError>> {
        if let Some(key) = &message.key
            && let Some(seen) = self.store.recall(key)?
        {
            if seen.is_other(message) {
                return Ok(Err(AppendError::OtherContent { id: seen.id }));
            }
            return Ok(Ok(Receipt { id: seen.id, outcome: Outcome::Duplicate }));
        }
        let expires_at = message.expires_at.map(millis);
        if expires_at.is_some_and(|at| at <= now) {
            draft.dropped.expired = draft.dropped.expired.saturating_add(1);
            return Ok(Ok(Receipt { id, outcome: Outcome::Dropped }));
        }
        let size = message.size();
        match self.make_room(size, message.priority, now, draft)? {
            Room::Made => {}
            Room::GiveUpNew => {
                draft.dropped.full = draft.dropped.full.saturating_add(1);
                return Ok(Ok(Receipt { id, outcome: Outcome::Dropped }));
            }
            Room::None => {
                let Bounds { bytes: max_bytes, messages: max_messages, .. } = self.bounds;
                return Ok(Err(AppendError::Full { max_bytes, max_messages }));
            }
        }
        let bucket = self.tally.find_or_make(&Arc::from(&*message.lane), message.priority);
        let at = Located { seq: self.next_seq, bucket, id, size, qos: message.qos, expires_at };
        self.store.insert(&at, message, now)?;
        // A failed batch leaves a gap in the order, which is as good as none.
        self.next_seq = self.next_seq.saturating_add(1);
        if let Some(key) = &message.key {
            self.store.remember(key, id, message, i64::from(REMEMBERED_KEYS))?;
        }
        self.tally.add(bucket, size);
        draft.expect(expires_at);
        draft.next_age =
            earlier(draft.next_age, self.bounds.age.map(|age| now.saturating_add(age)));
        draft.changed = true;
        draft.leasable = true;
        Ok(Ok(Receipt { id, outcome: Outcome::Stored }))
    }

    fn read(&mut self, command: Command, now: i64) -> Option<Reply> {
        match command {
            Command::Lease { lane, limit, floor, answer } => {
                let limit = limit.min(MAX_LEASES);
                let leased = match self.lease(&lane, limit, floor, now) {
                    Err(StoreError::Corrupt(_)) if self.salvage() => {
                        self.lease(&lane, limit, floor, now)
                    }
                    leased => leased,
                };
                Some(Reply::Lease(leased, answer))
            }
            Command::Release { id, answer } => Some(Reply::Release(self.release(id, now), answer)),
            Command::Trace { id, answer } => Some(Reply::Trace(self.trace(id), answer)),
            Command::Write(_) | Command::Salvage { .. } => None,
        }
    }

    fn trace(&self, id: MessageId) -> Result<Option<Trace>, StoreError> {
        if let Some(trace) = self.traces.get(&id) {
            return Ok(Some(trace.clone()));
        }
        let Some(at) = self.store.find(id)? else { return Ok(None) };
        let since = self.store.appended_at(at.seq)?.unwrap_or_default();
        let state = if self.places.is_leased(id) { State::Leased } else { State::Waiting };
        Ok(Some(Trace { id, qos: at.qos, state, at: time(since) }))
    }

    fn release(&mut self, id: MessageId, now: i64) -> bool {
        let Some(leased) = self.places.release(id) else { return false };
        if self.bounds.age.is_some() {
            // The sweep passed it by as well; to look for it at each release would cost too much.
            let soon = i64::try_from(LONGEST_WAIT.as_millis()).unwrap_or(i64::MAX);
            self.next_age = earlier(self.next_age, Some(now.saturating_add(soon)));
        }
        // If it expired meanwhile, the sweep has passed it by.
        if let Some(at) = leased.at.expires_at {
            self.next_expiry = Some(self.next_expiry.map_or(at, |next| next.min(at)));
        }
        self.leasable = true;
        true
    }

    /// When the first message in order was appended that is not aside.
    fn oldest(&self) -> rusqlite::Result<Option<i64>> {
        if self.tally.aside().messages == 0 {
            return self.store.oldest();
        }
        let mut first = None;
        for bucket in self.tally.filled() {
            let seq = self.store.first_after(bucket.id, 0)?.map(|at| at.seq);
            first = earlier(first, seq);
        }
        first.map_or(Ok(None), |seq| self.store.appended_at(seq))
    }

    /// Brings the figures up to date and wakes the watchers.
    fn publish(&mut self) {
        let oldest = match self.tally.total().messages {
            0 => None,
            // A figure is not worth an error: it is left out, and the next command will tell.
            _ => self.oldest().ok().flatten().map(time),
        };
        let total = self.tally.total();
        let lanes: BTreeMap<_, _> = self
            .tally
            .lanes()
            .into_iter()
            .map(|(lane, held)| (lane, LaneStat { messages: held.messages, bytes: held.bytes }))
            .collect();
        let aside = self.tally.aside();
        let stat = Stat {
            messages: total.messages,
            bytes: total.bytes,
            oldest,
            leased: self.places.leased(),
            dropped: self.dropped,
            aside: LaneStat { messages: aside.messages, bytes: aside.bytes },
            commits: self.commits,
            salvages: self.salvages.done,
            failed_commits: self.failed_commits,
            failing: self.failing,
            failed_syncs: self.syncs.failed,
            lanes,
        };
        *self.shared.stat.lock().unwrap_or_else(PoisonError::into_inner) = stat;
        // After the figures: who is woken by it may look at them.
        if std::mem::take(&mut self.leasable) {
            self.shared.leasable.send_modify(|count| *count = count.wrapping_add(1));
        }
    }
}

impl Draft {
    /// A message left, or was set aside.
    fn end(&mut self, at: Located, state: State, now: i64) {
        self.ended.push(Trace { id: at.id, qos: at.qos, state, at: time(now) });
    }

    /// Counts a message that is given up.
    fn drop(&mut self, at: Located, reason: Reason, now: i64) {
        let count = match reason {
            Reason::Full => &mut self.dropped.full,
            Reason::Expired => &mut self.dropped.expired,
            Reason::Age => &mut self.dropped.age,
            Reason::Purged => &mut self.dropped.purged,
            Reason::Damaged => &mut self.dropped.damaged,
        };
        *count = count.saturating_add(1);
        self.end(at, State::Dropped { reason }, now);
    }

    /// A message that expires at this moment is there.
    fn expect(&mut self, expires_at: Option<i64>) {
        self.next_expiry = earlier(self.next_expiry, expires_at);
    }
}

/// The answer to a command that changed memory only, held back until the figures show it.
enum Reply {
    Lease(Result<Handout, StoreError>, oneshot::Sender<Result<Handout, StoreError>>),
    Trace(Result<Option<Trace>, StoreError>, oneshot::Sender<Result<Option<Trace>, StoreError>>),
    Release(bool, oneshot::Sender<Result<bool, StoreError>>),
}

impl Reply {
    fn settle(self) {
        match self {
            // If the caller is gone, the handout's drop releases what is in it.
            Self::Lease(handout, answer) => drop(answer.send(handout)),
            Self::Trace(found, answer) => drop(answer.send(found)),
            Self::Release(found, answer) => drop(answer.send(Ok(found))),
        }
    }
}

/// The smaller of two that may be missing.
fn earlier<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A moment as the store keeps it: milliseconds of the Unix epoch, at the ends of the range for
/// what lies beyond.
pub(crate) fn millis(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

/// The moment that was kept as milliseconds of the Unix epoch.
pub(crate) fn time(millis: i64) -> SystemTime {
    let distance = Duration::from_millis(millis.unsigned_abs());
    let moment = if millis < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    moment.unwrap_or(UNIX_EPOCH)
}
