//! The way from callers to the writer: one line of commands that ends when it is closed.
//!
//! Not an mpsc channel, for two reasons: an ack or a release must be accepted without waiting, so
//! that dropping its future cannot lose it, and the writer waits with a time limit, for expiry.

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

/// How many appends and leases may wait in the line. Deep enough to fill a commit while another
/// one syncs; with payloads of 10 KiB still under 3 MiB.
pub(crate) const DEPTH: usize = 256;

/// What a caller wants. Each carries the way back.
#[derive(Debug)]
pub(crate) enum Command {
    /// Something that a transaction makes durable.
    Write(Write),
    /// Commit what waits for another commit.
    Hurry,
    /// These lanes share the queue from now on.
    Share(Vec<String>),
    /// Hand out messages.
    Lease { wanted: Wanted, answer: oneshot::Sender<Result<Handout, StoreError>> },
    /// Where the message of this id stands.
    Trace { id: MessageId, answer: oneshot::Sender<Result<Option<Trace>, StoreError>> },
    /// The file was found to be damaged, after so many salvages.
    Salvage { after: u64 },
    /// Take a lease back, of a message that is not handed out again before [`Command::LookAgain`].
    PassOver { id: MessageId, answer: oneshot::Sender<Result<bool, StoreError>> },
    /// Hand out again what was passed over in this lane; the answer says whether anything was.
    LookAgain { lane: String, answer: oneshot::Sender<Result<bool, StoreError>> },
    /// Take a lease back; the answer says whether there was one.
    Release { id: MessageId, answer: oneshot::Sender<Result<bool, StoreError>> },
}

/// A command for a transaction, with room for its result until that has been synced.
#[derive(Debug)]
pub(crate) enum Write {
    Put {
        message: NewMessage,
        /// A copy goes into each of these.
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

/// What is done to a message that is there.
#[derive(Debug)]
pub(crate) enum Change {
    /// Somebody else is responsible for it: it leaves. One that `rides` waits for another commit.
    Ack { path: Arc<str>, rides: bool },
    /// It goes to another lane.
    Transfer { lane: String },
    /// It is taken out of the way.
    SetAside { reason: String, words: String },
    /// It comes back from there.
    Requeue,
    /// It is given up.
    Purge,
}

impl Change {
    /// Whether it makes room on a full disk.
    pub(crate) fn makes_room(&self) -> bool {
        matches!(self, Self::Ack { .. } | Self::Purge)
    }
}

impl Write {
    /// Whether a power loss may undo it for a while: the message then comes once more, and that is all.
    pub(crate) fn may_come_undone(&self) -> bool {
        matches!(self, Self::Change { change: Change::Ack { .. }, .. })
    }

    /// Reports whether it may wait for another one.
    pub(crate) fn rides(&self) -> bool {
        matches!(self, Self::Change { change: Change::Ack { rides: true, .. }, .. })
    }

    /// Reports whether it stores something, and so needs space for later acknowledgements.
    pub(crate) fn stores(&self) -> bool {
        !matches!(self, Self::Change { change, .. } if change.makes_room())
    }

    /// Answers with what the transaction found. A caller who went away is no error.
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

/// What the writer got.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Commands in the order they came; none if the time limit passed first.
    Batch(Vec<Command>),
    /// The line is closed and empty.
    Closed,
}

/// The line.
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
    /// Puts a command at the end, with its permit if its kind needs one; the permit goes back when
    /// the writer takes the command. False if the line is closed: the command is then gone.
    ///
    /// Acks, releases and other changes need no permit: there are at most as many as leases, and each
    /// takes a few bytes.
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

    /// Waits for the first command, at most for `limit`, then takes what is there, at most `most`.
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

    /// Nothing more comes in; what waits is still done.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrival.notify_one();
    }

    /// Nothing more comes in, and nothing more is done: who waits learns that the queue is closed.
    pub(crate) fn abandon(&self) {
        let waiting = {
            let mut line = self.lock();
            line.closed = true;
            std::mem::take(&mut line.waiting)
        };
        drop(waiting);
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        // A poisoned line is still a line: no code that holds the lock can leave it half changed.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the leases of a handout that nobody took.
pub(crate) fn release_all(intake: &Intake, leases: &[Lease]) {
    for lease in leases {
        let (answer, _) = oneshot::channel();
        intake.push(Command::Release { id: lease.id, answer }, None);
    }
}

/// Leased messages on their way to the caller: dropped on the way, they are released.
#[derive(Debug)]
pub(crate) struct Handout {
    leases: Vec<Lease>,
    intake: Arc<Intake>,
}

impl Handout {
    pub(crate) fn new(leases: Vec<Lease>, intake: Arc<Intake>) -> Self {
        Self { leases, intake }
    }

    /// The caller has them.
    pub(crate) fn take(mut self) -> Vec<Lease> {
        std::mem::take(&mut self.leases)
    }
}

impl Drop for Handout {
    fn drop(&mut self) {
        release_all(&self.intake, &self.leases);
    }
}
