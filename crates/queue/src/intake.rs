//! The line of commands from callers to the writer, which ends after it is closed.
//!
//! It is not an mpsc channel, for two reasons. An ack or a release must be accepted without
//! waiting, so that dropping its future cannot lose it. And the writer waits with a time limit, for
//! expiry.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    error::{AppendError, StoreError},
    message::{Lease, MessageId, NewMessage, Receipt, Wanted},
    trace::Trace,
};

/// The number of appends and leases that may wait in the line. Deep enough to fill a commit while
/// another syncs; with payloads of 10 KiB still under 3 MiB.
pub(crate) const DEPTH: usize = 256;

/// A caller's command, with the sender of its answer.
#[derive(Debug)]
pub(crate) enum Command {
    /// A change that a transaction makes durable.
    Write(Write),
    /// Commit the writes that wait for another commit.
    Hurry,
    /// Share the queue among these lanes from now on.
    Share(Vec<String>),
    /// Hand out messages.
    Lease { wanted: Wanted, answer: oneshot::Sender<Result<Handout, StoreError>> },
    /// Find the state of the message of this id.
    Trace { id: MessageId, answer: oneshot::Sender<Result<Option<Trace>, StoreError>> },
    /// Salvage the file, which was found damaged after this many salvages.
    Salvage { after: u64 },
    /// End a lease of a message that is not handed out again before [`Command::LookAgain`].
    PassOver { id: MessageId, answer: oneshot::Sender<Result<bool, StoreError>> },
    /// Hand out again the passed-over messages of this lane; the answer is true if there were any.
    LookAgain { lane: String, answer: oneshot::Sender<Result<bool, StoreError>> },
    /// End a lease; the answer is true if there was a lease.
    Release { id: MessageId, answer: oneshot::Sender<Result<bool, StoreError>> },
}

/// A command for a transaction, with room for its result until that has been synced.
#[derive(Debug)]
pub(crate) enum Write {
    Put {
        message: NewMessage,
        /// The lanes that each get a copy.
        lanes: Vec<String>,
        result: Result<Vec<Receipt>, AppendError>,
        answer: oneshot::Sender<Result<Vec<Receipt>, AppendError>>,
    },
    Change {
        id: MessageId,
        change: Change,
        found: bool,
        answer: oneshot::Sender<Result<bool, StoreError>>,
    },
    Rename {
        from: String,
        to: String,
        found: bool,
        answer: oneshot::Sender<Result<bool, StoreError>>,
    },
}

/// A change of a stored message.
#[derive(Debug)]
pub(crate) enum Change {
    /// The message leaves, since another party is responsible for it. An ack that `rides` waits for
    /// another commit.
    Ack { path: Arc<str>, rides: bool },
    /// The message moves to another lane.
    Transfer { lane: String },
    /// The message is set aside.
    SetAside { reason: String, words: String },
    /// The message returns from aside.
    Requeue,
    /// The message is given up.
    Purge,
}

impl Change {
    /// Reports whether the change makes room on a full disk.
    pub(crate) fn makes_room(&self) -> bool {
        matches!(self, Self::Ack { .. } | Self::Purge)
    }
}

impl Write {
    /// Reports whether a power loss may undo it for a while: the only effect is that the message is
    /// sent again.
    pub(crate) fn may_come_undone(&self) -> bool {
        matches!(self, Self::Change { change: Change::Ack { .. }, .. })
    }

    /// Reports whether it may wait for another commit.
    pub(crate) fn rides(&self) -> bool {
        matches!(self, Self::Change { change: Change::Ack { rides: true, .. }, .. })
    }

    /// Reports whether it stores something, and so needs space for later acknowledgements.
    pub(crate) fn stores(&self) -> bool {
        !matches!(self, Self::Change { change, .. } if change.makes_room())
    }

    /// Answers with the transaction's result. It is not an error if the caller is gone.
    pub(crate) fn settle(self) {
        match self {
            Self::Put { result, answer, .. } => drop(answer.send(result)),
            Self::Change { found, answer, .. } | Self::Rename { found, answer, .. } => {
                drop(answer.send(Ok(found)));
            }
        }
    }

    /// Answers that nothing was done.
    pub(crate) fn fail(self, error: &StoreError) {
        match self {
            Self::Put { answer, .. } => drop(answer.send(Err(error.clone().into()))),
            Self::Change { answer, .. } | Self::Rename { answer, .. } => {
                drop(answer.send(Err(error.clone())));
            }
        }
    }
}

/// The writer's next input.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Commands in the order of arrival; empty if the time limit passed first.
    Batch(Vec<Command>),
    /// The line is closed and empty.
    Closed,
}

/// The line of commands.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    line: Mutex<Line>,
    arrival: Condvar,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<(Command, Option<OwnedSemaphorePermit>)>,
    closed: bool,
}

impl Intake {
    /// Adds a command at the end, with its permit if its kind needs a permit; the permit is
    /// returned when the writer takes the command. Returns false if the line is closed: the command
    /// is then dropped.
    ///
    /// Acks, releases and other changes need no permit: there are at most as many as leases, and
    /// each takes a few bytes.
    pub(crate) fn push(&self, command: Command, permit: Option<OwnedSemaphorePermit>) -> bool {
        let mut line = self.lock();
        if line.closed {
            // The command may own a handout whose drop pushes again: not under the lock.
            drop(line);
            drop(command);
            return false;
        }
        line.waiting.push_back((command, permit));
        drop(line);
        self.arrival.notify_one();
        true
    }

    /// Waits for the first command, at most for `limit`, then takes the waiting commands, at most
    /// `most`.
    pub(crate) fn take(&self, most: usize, limit: Option<Duration>) -> Taken {
        let idle = |line: &mut Line| line.waiting.is_empty() && !line.closed;
        let line = self.lock();
        let mut line = match limit {
            None => self.arrival.wait_while(line, idle).unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                self.arrival
                    .wait_timeout_while(line, limit, idle)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        if line.waiting.is_empty() && line.closed {
            return Taken::Closed;
        }
        let count = line.waiting.len().min(most);
        Taken::Batch(line.waiting.drain(..count).map(|(command, _)| command).collect())
    }

    /// Closes the line; waiting commands are still done.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrival.notify_one();
    }

    /// Closes the line and drops the waiting commands: their callers get the error that the queue
    /// is closed.
    pub(crate) fn abandon(&self) {
        let waiting = {
            let mut line = self.lock();
            line.closed = true;
            std::mem::take(&mut line.waiting)
        };
        drop(waiting);
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        // A poisoned line is still usable: no code that holds the lock can leave it half changed.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the leases of a handout that was not taken.
pub(crate) fn release_all(intake: &Intake, leases: &[Lease]) {
    for lease in leases {
        let (answer, _) = oneshot::channel();
        intake.push(Command::Release { id: lease.id, answer }, None);
    }
}

/// Leased messages on their way to the caller; if dropped on the way, they are released.
#[derive(Debug)]
pub(crate) struct Handout {
    leases: Vec<Lease>,
    intake: Arc<Intake>,
}

impl Handout {
    pub(crate) fn new(leases: Vec<Lease>, intake: Arc<Intake>) -> Self {
        Self { leases, intake }
    }

    /// Passes the messages to the caller.
    pub(crate) fn take(mut self) -> Vec<Lease> {
        std::mem::take(&mut self.leases)
    }
}

impl Drop for Handout {
    fn drop(&mut self) {
        release_all(&self.intake, &self.leases);
    }
}
