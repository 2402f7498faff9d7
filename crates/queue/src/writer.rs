//! The writer: a thread that owns the store, and commits the waiting commands together.
//!
//! A batch has two halves. First a transaction of all changes to the disk; it is answered once it
//! is synced, and leaves no trace in memory if it fails. Then releases and leases, which change
//! memory only and so see only durable messages.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;

use crate::{
    bounds::Bounds,
    clock::{Clock, Sources, earlier},
    config::Config,
    contents::Contents,
    error::{OpenError, StoreError},
    intake::{Command, Handout, Taken, Write},
    lock::DirLock,
    message::MessageId,
    order::Numbering,
    salvage::Salvage,
    schema,
    shared::Shared,
    stat::Stat,
    store::Store,
    trace::Trace,
};

mod board;
mod change;
mod deadlines;
mod draft;
mod faults;
mod folder;
mod handout;
mod presence;
mod put;
mod riding;
mod room;
mod sweep;
mod syncs;
mod traces;

use board::Board;
use deadlines::Deadlines;
use draft::Draft;
use faults::Faults;
use folder::Folder;
use riding::Riding;
use syncs::Syncs;

/// The most messages that a [`Queue::lease`](crate::Queue::lease) hands out.
pub const MAX_LEASES: usize = 1024;

/// The most expired messages that a transaction removes. A clock may jump over the time of a
/// million of them, which must neither hold up the callers nor swell the log.
const SWEEP: u64 = 512;

/// The state of the thread.
pub(crate) struct Writer {
    store: Store,
    folder: Folder,
    clock: Clock,
    bounds: Bounds,
    contents: Contents,
    numbering: Numbering,
    deadlines: Deadlines,
    riding: Riding,
    syncs: Syncs,
    faults: Faults,
    board: Board,
}

/// The means of a transaction on a full disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reserve {
    /// The space that is kept for a full disk stays.
    Kept,
    /// Some of it is given up.
    Burnt,
}

impl Writer {
    pub(crate) fn new(
        store: Store,
        salvage: Option<&Salvage>,
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
        let mut board = Board::new(shared);
        board.lost(salvage.map_or(0, |salvage| salvage.lost));
        let expiry = store.next_expiry(i64::MIN).map_err(failed)?;
        let mut writer = Self {
            folder: Folder::new(config, lock, salvage),
            bounds: Bounds::new(config),
            numbering: Numbering::after(store.last_seq(&buckets).map_err(failed)?),
            contents: Contents::new(buckets),
            deadlines: Deadlines::new(config.max_age, expiry),
            riding: Riding::default(),
            syncs: Syncs::new(config.fsync),
            faults: Faults::default(),
            store,
            clock,
            board,
        };
        writer.share_among(Vec::new());
        writer.publish();
        Ok(writer)
    }

    /// Shares the queue among these lanes from now on.
    fn share_among(&mut self, lanes: Vec<String>) {
        self.bounds.divide_among(lanes);
        self.board.show_bounds(&self.bounds);
    }

    /// Serves until the line is closed and empty, then closes the store.
    pub(crate) fn run(mut self) {
        let end = self.board.end();
        while let Taken::Batch(batch) = self.board.take(self.patience()) {
            self.step(batch);
            self.syncs.run(|| self.store.sync());
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
        self.folder.leave();
        drop(end);
    }

    /// Returns the wait for a command until something is to be done without one.
    fn patience(&self) -> Option<Duration> {
        let sweep = self.deadlines.patience(|| self.clock.now());
        let patience = earlier(sweep, self.syncs.patience());
        earlier(earlier(patience, self.riding.patience()), self.faults.patience())
    }

    /// Does one round: a transaction of all writes, then what only changes memory.
    fn step(&mut self, batch: Vec<Command>) {
        if self.store.is_nowhere() {
            // An earlier salvage failed half way; it may succeed by now.
            self.salvage();
        }
        self.faults.look(&mut self.store, self.folder.path(), &self.clock);
        let (mut writes, mut reads) = (Vec::new(), Vec::new());
        for command in batch {
            self.sort(command, &mut writes, &mut reads);
        }
        let now = self.clock.now();
        // A listener, or a queue that fills up, must not wait for a riding acknowledgement.
        let wanted =
            self.board.has_listener() || self.bounds.is_half_full(self.contents.tally().total());
        if !writes.is_empty() || self.deadlines.is_due(now) || self.riding.is_due(wanted) {
            // Writes that make room are first.
            writes.splice(..0, self.riding.take());
        }
        let mut settled = Vec::new();
        if !writes.is_empty() || self.deadlines.is_due(now) {
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

    /// Puts a command into the half of the round that does it, or does it at once.
    fn sort(&mut self, command: Command, writes: &mut Vec<Write>, reads: &mut Vec<Command>) {
        match command {
            Command::Write(write) => writes.extend(self.riding.board(write)),
            Command::Hurry => self.riding.hurry(),
            Command::Share(lanes) => self.share_among(lanes),
            // The check found damage: answers from the file are not worth waiting for. Except if
            // the file was replaced while the check still read the old file.
            Command::Salvage { after } if after == self.folder.salvages() => {
                self.salvage();
            }
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

    /// Commits the writes that waited for another commit.
    fn commit_riding(&mut self) {
        let riding = self.riding.take();
        if !riding.is_empty() {
            let now = self.clock.now();
            self.write(riding, now).into_iter().for_each(Write::settle);
            self.publish();
        }
    }

    /// Makes the writes durable in a transaction, and returns those to be answered. On a full disk,
    /// writes that free room get a second chance without those that need it.
    fn write(&mut self, writes: Vec<Write>, now: i64) -> Vec<Write> {
        let (writes, error) = match self.transact(writes, now, Reserve::Kept) {
            Ok(writes) => return writes,
            Err(failed) => failed,
        };
        let (writes, error) = match error {
            // None of it was accepted, so all of it can be repeated in the new file.
            StoreError::Corrupt(_) if self.salvage() => {
                match self.transact(writes, now, Reserve::Kept) {
                    Ok(writes) => return writes,
                    Err(failed) => failed,
                }
            }
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
        for (reserve, is_tried) in [(Reserve::Kept, alone), (Reserve::Burnt, is_full)] {
            if acks.is_empty() || !is_tried {
                continue;
            }
            match self.transact(acks, now, reserve) {
                Ok(acks) => return acks,
                Err(failed) => (acks, error) = failed,
            }
        }
        acks.into_iter().for_each(|write| write.fail(&error));
        Vec::new()
    }

    /// Runs a transaction: sweep, then all writes in order, then the totals. All of it takes effect
    /// on disk and in memory, or none.
    fn transact(
        &mut self,
        mut writes: Vec<Write>,
        now: i64,
        reserve: Reserve,
    ) -> Result<Vec<Write>, (Vec<Write>, StoreError)> {
        let stores = writes.iter().any(Write::stores);
        if let Err(error) = self.faults.refuse(stores) {
            return Err((writes, error));
        }
        let sync = !writes.iter().all(Write::may_come_undone);
        let mut draft = Draft::new(self.deadlines);
        self.contents.begin();
        let done = self
            .store
            .sync_commits(sync)
            .and_then(|()| self.apply_all(&mut writes, now, reserve, &mut draft));
        match done {
            Ok(()) => {
                self.keep(draft, sync, stores);
                Ok(writes)
            }
            Err(error) => {
                let error = StoreError::from(error);
                self.undo(&error, stores);
                Err((writes, error))
            }
        }
    }

    fn apply_all(
        &mut self,
        writes: &mut [Write],
        now: i64,
        reserve: Reserve,
        draft: &mut Draft,
    ) -> rusqlite::Result<()> {
        self.store.begin()?;
        if reserve == Reserve::Burnt {
            self.store.burn_ballast()?;
        }
        if self.deadlines.is_due(now) {
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
        for bucket in self.contents.drain_changed() {
            self.store.save_bucket(&bucket)?;
        }
        self.store.ensure_space(stores)?;
        self.store.commit()
    }

    /// Keeps the effects in memory: the transaction is on disk.
    fn keep(&mut self, draft: Draft, sync: bool, stores: bool) {
        self.contents.keep();
        self.deadlines = draft.deadlines;
        self.deadlines.tried(false);
        self.syncs.committed(draft.changed, sync);
        // A transaction without changes did not use the disk.
        if draft.changed {
            self.faults.succeeded(stores);
        }
        self.board.kept(draft);
    }

    /// Undoes the effects of a transaction that failed.
    fn undo(&mut self, error: &StoreError, stores: bool) {
        if let Err(error) = self.store.rollback() {
            tracing::error!(error = %error, "could not roll the queue back");
        }
        self.store.undone();
        self.contents.undo();
        self.deadlines.tried(true);
        self.faults.failed(error.failing(), stores);
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
                Some(Reply::Release(self.contents.pass_over(id), answer))
            }
            Command::LookAgain { lane, answer } => {
                let any = self.contents.look_again(&lane);
                self.board.note_leasable(any);
                Some(Reply::Release(any, answer))
            }
            Command::Trace { id, answer } => Some(Reply::Trace(self.trace(id), answer)),
            Command::Write(_) | Command::Hurry | Command::Share(_) | Command::Salvage { .. } => {
                None
            }
        }
    }

    fn release(&mut self, id: MessageId, now: i64) -> bool {
        let Some(leased) = self.contents.release(id) else { return false };
        self.deadlines.released(leased.at.expires_at, now);
        self.board.note_leasable(true);
        true
    }

    /// Replaces the damaged file by its readable part; false if that cannot be done now. Leases on
    /// saved messages go on.
    fn salvage(&mut self) -> bool {
        if !self.folder.may_salvage() {
            return false;
        }
        let done = self.replace_store();
        self.folder.tried(done.is_ok());
        self.board.note_leasable(done.is_ok());
        if let Err(error) = &done {
            let chain: &dyn std::error::Error = &**error;
            tracing::error!(error = chain, "could not salvage the queue's damaged file");
        }
        done.is_ok()
    }

    fn replace_store(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        let damaged = std::mem::replace(&mut self.store, Store::nowhere()?);
        let replaced = self.folder.replace(damaged)?;
        self.store = replaced.store;
        let buckets = self.store.load_buckets()?;
        self.numbering.pass(self.store.last_seq(&buckets)?);
        self.contents.replace(buckets, &self.store);
        self.deadlines.replaced(self.store.next_expiry(i64::MIN)?);
        self.board.lost(replaced.salvaged?.lost);
        Ok(())
    }

    /// Updates the figures and wakes the watchers.
    fn publish(&mut self) {
        // A figure is not worth an error: it is left out, and the next command will report the
        // failure.
        let oldest = self.contents.oldest(|bucket| self.store.head(bucket)).ok().flatten();
        let stat = Stat {
            oldest: oldest.map(|at| self.clock.to_wall(at)),
            commits: self.syncs.commits(),
            failed_syncs: self.syncs.failed(),
            salvages: self.folder.salvages(),
            failed_commits: self.faults.failed_commits(),
            failing: self.faults.failing(),
            ..self.contents.stat()
        };
        self.board.publish(stat);
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
