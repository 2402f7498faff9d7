//! The writer: a thread that owns the store, and commits the waiting commands together.
//!
//! A batch has two halves. First a transaction of all changes to the disk; it is answered once it
//! is synced, and leaves no trace in memory if it fails. Then releases and leases, which change
//! memory only and so see only durable messages.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    clock::{Clock, Sources},
    config::{Config, Fsync, WhenFull},
    error::{OpenError, StoreError},
    intake::{Command, Handout, Taken, Write},
    lock::DirLock,
    message::{MAX_PRIORITY, MessageId},
    order::{BucketId, Seq},
    places::{Places, Undo},
    row::Located,
    salvage::Salvage,
    schema,
    share::Shares,
    shared::Shared,
    stat::{Dropped, LaneStat, Stat},
    store::Store,
    tally::{Amount, Tally},
    trace::Trace,
};

mod change;
mod handout;
mod place;
mod put;
mod rescue;
mod riding;
mod room;
mod sweep;
mod syncs;
mod traces;
mod trouble;

use place::Place;
use riding::Riding;
use syncs::Syncs;
use trouble::Trouble;

/// The most commands in a batch. Bounds how long the first of them waits for the last.
const MAX_BATCH: usize = 256;

/// The most messages that a [`Queue::lease`](crate::Queue::lease) hands out.
pub const MAX_LEASES: usize = 1024;

/// The most expired messages that a transaction removes. A clock may jump over the time of a
/// million of them, which must neither hold up the callers nor swell the log.
const SWEEP: u64 = 512;

/// The longest wait for the next expiry. The wall clock may be set meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Reports the end of the writer to the callers, even after a panic.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.watch.end();
        self.0.intake.abandon();
        self.0.ended.send_replace(true);
    }
}

/// The state of the thread.
pub(crate) struct Writer {
    store: Store,
    dir: PathBuf,
    fsync: Fsync,
    lock: DirLock,
    clock: Clock,
    shares: Shares,
    /// The oldest age, in milliseconds.
    max_age: Option<i64>,
    when_full: WhenFull,
    shared: Arc<Shared>,
    tally: Tally,
    places: Places,
    next_seq: Seq,
    /// No unleased message expires before this moment (milliseconds of the Unix epoch).
    next_expiry: Option<i64>,
    /// No unleased message is too old before this moment.
    next_age: Option<i64>,
    syncs: Syncs,
    riding: Riding,
    /// True if the next transaction gives up some of the space that is kept for a full disk.
    burns: bool,
    /// True if the last sweep failed: the next sweep waits for a command or for [`LONGEST_WAIT`].
    sweep_failed: bool,
    dropped: Dropped,
    commits: u64,
    failed_commits: u64,
    trouble: Trouble,
    salvages: Salvages,
    /// The first message of buckets, if known, with its append time.
    heads: HashMap<BucketId, (Seq, i64)>,
    /// The result and the time of the last look at the files' place.
    place: Place,
    /// True if a message may have become leasable since the watchers were last woken.
    leasable: bool,
}

/// The number of times that the file was replaced, and the time for the next try after a failure.
#[derive(Debug, Default)]
struct Salvages {
    done: u64,
    retry_at: Option<Instant>,
}

/// Effects of a transaction beyond the store, to be kept or undone as a whole.
#[derive(Default)]
struct Draft {
    undo: Vec<Undo>,
    arrivals: Vec<Located>,
    /// The outcomes of messages.
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
        sources: Sources,
        shared: Arc<Shared>,
    ) -> Result<Self, OpenError> {
        let failed = |e| schema::failed(&config.dir.join(schema::FILE), e);
        let buckets = store.load_buckets().map_err(failed)?;
        let newest = store.newest(&buckets).map_err(failed)?;
        let clock = Clock::new(sources, store.mark().as_ref(), newest);
        if let Err(error) = store.keep_time(&clock) {
            // Ages then depend on the wall clock until the next start.
            tracing::warn!(error = %error, "could not keep the queue's time");
        }
        let max_age = config.max_age.map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let mut writer = Self {
            next_seq: store.last_seq(&buckets).map_err(failed)?.saturating_add(1).max(1),
            tally: Tally::new(buckets),
            places: Places::default(),
            next_expiry: store.next_expiry(i64::MIN).map_err(failed)?,
            next_age: max_age.is_some().then_some(i64::MIN),
            max_age,
            shares: Shares::new(config.max_bytes, config.max_messages),
            syncs: Syncs::new(config.fsync),
            riding: Riding::default(),
            burns: false,
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
            trouble: Trouble::default(),
            leasable: false,
            heads: HashMap::new(),
            place: Place::default(),
            when_full: config.when_full,
            store,
            lock,
            clock,
            shared,
        };
        writer.share_among(Vec::new());
        writer.publish();
        Ok(writer)
    }

    /// Shares the queue among these lanes from now on.
    fn share_among(&mut self, lanes: Vec<String>) {
        self.shares.divide_among(lanes);
        *self.shared.lock_shares() = self.shares.clone();
    }

    /// Serves until the line is closed and empty, then closes the store.
    pub(crate) fn run(mut self) {
        let end = End(Arc::clone(&self.shared));
        while let Taken::Batch(batch) = self.shared.intake.take(MAX_BATCH, self.patience()) {
            self.step(batch);
            self.syncs.run(&self.store, self.commits);
        }
        self.commit_riding();
        if let Err(error) = self.store.keep_time(&self.clock) {
            tracing::warn!(error = %error, "could not keep the queue's time");
        }
        if let Err(error) = self.store.close() {
            // Nothing is lost: answered messages are in the log, which the next start reads.
            tracing::warn!(error = %error, "could not close the queue's file cleanly");
        }
        // The lock is released after the file and before callers see the end.
        drop(self.lock);
        drop(end);
    }

    /// Returns the wait for a command until expired messages are to be removed.
    fn patience(&self) -> Option<Duration> {
        let sweep = self.next_sweep().map(|next| {
            if self.sweep_failed {
                return LONGEST_WAIT;
            }
            let wait = next.saturating_sub(self.clock.now());
            Duration::from_millis(u64::try_from(wait).unwrap_or(0)).min(LONGEST_WAIT)
        });
        let patience = earlier(sweep, self.syncs.patience());
        earlier(earlier(patience, self.riding.patience()), self.trouble.patience())
    }

    /// Returns the time when the next message expires or is too old.
    fn next_sweep(&self) -> Option<i64> {
        earlier(self.next_expiry, self.next_age)
    }

    fn step(&mut self, batch: Vec<Command>) {
        if self.store.is_nowhere() {
            // An earlier salvage failed half way; it may succeed by now.
            self.salvage();
        }
        self.place.look(&self.store, &self.dir);
        self.trouble.look_again(&mut self.store, &self.clock);
        let (mut writes, mut reads) = (Vec::new(), Vec::new());
        for command in batch {
            match command {
                Command::Write(write) => writes.extend(self.riding.board(write)),
                Command::Hurry => self.riding.hurry(),
                Command::Share(lanes) => self.share_among(lanes),
                // The check found damage: answers from the file are not worth waiting for. Except
                // if the file was replaced while the check still read the old file.
                Command::Salvage { after } if after == self.salvages.done => drop(self.salvage()),
                Command::Salvage { .. } => {}
                Command::Trace { .. } => {
                    // The answer must show the actual state.
                    self.riding.hurry();
                    reads.push(command);
                }
                Command::Lease { .. }
                | Command::Release { .. }
                | Command::PassOver { .. }
                | Command::LookAgain { .. } => reads.push(command),
            }
        }
        let now = self.clock.now();
        // A listener, or a queue that fills up, must not wait for a riding acknowledgement.
        let wanted = self.shared.outcomes.receiver_count() > 0
            || self.shares.is_half_full(self.tally.total());
        if !writes.is_empty() || self.sweep_due(now) || self.riding.is_due(wanted) {
            // Writes that make room are first.
            writes.splice(..0, self.riding.take());
        }
        let mut settled = Vec::new();
        if !writes.is_empty() || self.sweep_due(now) {
            settled = self.write(writes, now);
        }
        if !settled.is_empty() {
            // Answered only after this, so that the figures show it to the caller.
            self.publish();
            settled.into_iter().for_each(Write::settle);
        }
        let replies: Vec<Reply> =
            reads.into_iter().filter_map(|command| self.read(command, now)).collect();
        self.publish();
        replies.into_iter().for_each(Reply::settle);
    }

    /// Commits the writes that waited for another commit.
    fn commit_riding(&mut self) {
        let riding = self.riding.take();
        if !riding.is_empty() {
            let now = self.clock.now();
            self.write(riding, now).into_iter().for_each(Write::settle);
            self.publish();
        }
    }

    fn sweep_due(&self, now: i64) -> bool {
        self.next_sweep().is_some_and(|next| next <= now)
    }

    /// Makes the writes durable in a transaction, and returns those to be answered. On a full disk,
    /// writes that free room get a second chance without those that need it.
    fn write(&mut self, writes: Vec<Write>, now: i64) -> Vec<Write> {
        let (writes, error) = match self.transact(writes, now) {
            Ok(writes) => return writes,
            Err(failed) => failed,
        };
        let (writes, error) = match error {
            // None of it was accepted, so all of it can be repeated in the new file.
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
        let is_full = matches!(error, StoreError::DiskFull(_));
        let alone = !others.is_empty() && (is_full || matches!(error, StoreError::Removed));
        others.into_iter().for_each(|write| write.fail(&error));
        let (mut acks, mut error) = (acks, error);
        // First without writes that need room, then with room that was kept for this.
        for burns in [false, true] {
            let tried = if burns { is_full } else { alone };
            if acks.is_empty() || !tried {
                continue;
            }
            self.burns = burns;
            match self.transact(acks, now) {
                Ok(acks) => return acks,
                Err(failed) => (acks, error) = failed,
            }
        }
        self.burns = false;
        acks.into_iter().for_each(|write| write.fail(&error));
        Vec::new()
    }

    /// Runs a transaction: sweep, then all writes in order, then the totals. All of it takes effect
    /// on disk and in memory, or none.
    fn transact(
        &mut self,
        mut writes: Vec<Write>,
        now: i64,
    ) -> Result<Vec<Write>, (Vec<Write>, StoreError)> {
        if self.place.is_lost() && writes.iter().any(Write::stores) {
            self.failed_commits = self.failed_commits.saturating_add(1);
            return Err((writes, StoreError::Removed));
        }
        let stores = writes.iter().any(Write::stores);
        let before = self.tally.clone();
        let mut draft =
            Draft { next_expiry: self.next_expiry, next_age: self.next_age, ..Draft::default() };
        let sync = !writes.iter().all(Write::may_come_undone);
        let done = self.store.sync_commits(sync);
        let done = done.and_then(|()| self.apply_all(&mut writes, now, &mut draft));
        self.sweep_failed = done.is_err();
        match done {
            Ok(()) => {
                // A transaction without changes did not use the disk.
                let asked = draft.changed;
                self.keep(draft);
                if asked {
                    self.trouble.ended(stores);
                }
                if sync && self.fsync == Fsync::Always {
                    self.syncs.synced(self.commits);
                }
                Ok(writes)
            }
            Err(error) => {
                if let Err(error) = self.store.rollback() {
                    tracing::error!(error = %error, "could not roll the queue back");
                }
                self.store.undone();
                self.tally = before;
                self.heads.clear();
                self.places.undo(draft.undo);
                let error = StoreError::from(error);
                self.failed_commits = self.failed_commits.saturating_add(1);
                self.trouble.met(error.failing(), stores);
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
        if std::mem::take(&mut self.burns) {
            self.store.burn_ballast()?;
        }
        if self.sweep_due(now) {
            self.sweep(now, draft)?;
        }
        let stores = writes.iter().any(Write::stores);
        for write in writes {
            match write {
                Write::Put { message, lanes, result, .. } => {
                    *result = self.put(message, lanes, now, draft)?;
                }
                Write::Change { id, change, found, .. } => {
                    *found = self.change(*id, change, now, draft)?;
                }
                Write::Rename { from, to, found, .. } => {
                    *found = self.rename(from, to, draft)?;
                }
            }
        }
        for bucket in self.tally.drain_changed() {
            self.store.save_bucket(&bucket)?;
        }
        self.store.ensure_space(stores)?;
        self.store.commit()
    }

    /// Keeps the effects in memory: the transaction is on disk.
    fn keep(&mut self, draft: Draft) {
        for at in draft.arrivals {
            self.heads.remove(&at.bucket);
            self.places.arrive(at);
        }
        for trace in draft.ended {
            // There may be no listener.
            drop(self.shared.outcomes.send(trace));
        }
        self.dropped.add(draft.dropped);
        self.next_expiry = draft.next_expiry;
        self.next_age = draft.next_age;
        self.commits = self.commits.saturating_add(u64::from(draft.changed));
        self.leasable |= draft.leasable;
    }

    fn read(&mut self, command: Command, now: i64) -> Option<Reply> {
        match command {
            Command::Lease { wanted, answer } => {
                let leased = match self.lease(&wanted, now) {
                    Err(StoreError::Corrupt(_)) if self.salvage() => self.lease(&wanted, now),
                    leased => leased,
                };
                Some(Reply::Lease(leased, answer))
            }
            Command::Release { id, answer } => Some(Reply::Release(self.release(id, now), answer)),
            Command::PassOver { id, answer } => {
                Some(Reply::Release(self.places.leave_behind(id), answer))
            }
            Command::LookAgain { lane, answer } => {
                Some(Reply::Release(self.look_again(&lane), answer))
            }
            Command::Trace { id, answer } => Some(Reply::Trace(self.trace(id), answer)),
            Command::Write(_) | Command::Hurry | Command::Share(_) | Command::Salvage { .. } => {
                None
            }
        }
    }

    fn release(&mut self, id: MessageId, now: i64) -> bool {
        let Some(leased) = self.places.release(id) else { return false };
        if self.max_age.is_some() {
            // The sweep passed it by as well; a search at each release would cost too much.
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

    /// Sets the cursors of a lane back to its passed-over messages; false if there were none.
    fn look_again(&mut self, lane: &str) -> bool {
        let lane: Arc<str> = Arc::from(lane);
        let mut any = false;
        for priority in 0..=MAX_PRIORITY {
            if let Some(bucket) = self.tally.find(&lane, priority) {
                any |= self.places.look_again(bucket);
            }
        }
        self.leasable |= any;
        any
    }

    /// Returns the append time of the first message in order that is not aside.
    fn oldest(&mut self) -> rusqlite::Result<Option<i64>> {
        let mut first: Option<(Seq, i64)> = None;
        for bucket in self.tally.filled() {
            let head = match self.heads.get(&bucket.id) {
                Some(head) => Some(*head),
                None => self.store.head(bucket.id)?,
            };
            if let Some(head) = head {
                self.heads.insert(bucket.id, head);
                first = earlier(first, Some(head));
            }
        }
        Ok(first.map(|(_, appended_at)| appended_at))
    }

    /// Updates the figures and wakes the watchers.
    fn publish(&mut self) {
        let oldest = match self.tally.total().messages {
            0 => None,
            // A figure is not worth an error: it is left out, and the next command will report the
            // failure.
            _ => self.oldest().ok().flatten().map(|at| self.clock.to_wall(at)),
        };
        let total = self.tally.total();
        let lane_stat = |held: &Amount| LaneStat { messages: held.messages, bytes: held.bytes };
        let lanes: BTreeMap<_, _> =
            self.tally.lanes().map(|(lane, held)| (Arc::clone(lane), lane_stat(held))).collect();
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
            failing: self.place.failing().or(self.trouble.failing()),
            failed_syncs: self.syncs.failed,
            lanes,
        };
        *self.shared.lock_stat() = stat;
        // After the figures: a woken watcher may read them.
        if std::mem::take(&mut self.leasable) {
            self.shared.leasable.send_modify(|count| *count = count.wrapping_add(1));
        }
    }
}

impl Draft {
    /// Notes the expiry time of a message.
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
            // If the caller is gone, the handout's drop releases its messages.
            Self::Lease(handout, answer) => drop(answer.send(handout)),
            Self::Trace(found, answer) => drop(answer.send(found)),
            Self::Release(found, answer) => drop(answer.send(Ok(found))),
        }
    }
}

/// Returns the smaller of two optional values.
fn earlier<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
