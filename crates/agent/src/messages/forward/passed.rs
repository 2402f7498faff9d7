//! Messages that a forwarder cannot use now and passes over in the queue, so that they hold up no others.

use std::time::{Duration, SystemTime};

use queue::{MessageId, Queue};
use tokio::time::Instant;

/// The time between two looks whether the oldest message is still there.
const CHECK: Duration = Duration::from_secs(60);

/// The messages of a lane that were passed over. The queue knows which; of them this keeps one.
#[derive(Debug, Default)]
pub(super) struct Passed {
    has_any: bool,
    /// The oldest that only an absent path could take.
    oldest: Option<(MessageId, SystemTime)>,
    check_at: Option<Instant>,
}

impl Passed {
    /// Passes one over. `unfit`: when it was handed in, if only an absent path can take it.
    pub(super) fn pass_over(&mut self, queue: &Queue, id: MessageId, unfit: Option<SystemTime>) {
        drop(queue.pass_over(id));
        self.has_any = true;
        let Some(at) = unfit else { return };
        if self.oldest.is_none_or(|(_, oldest)| at < oldest) {
            self.oldest = Some((id, at));
            self.check_at = Some(Instant::now() + CHECK);
        }
    }

    /// Reports whether nothing was passed over.
    pub(super) fn is_empty(&self) -> bool {
        !self.has_any
    }

    /// The hand-in of the oldest that only an absent path could take.
    pub(super) fn oldest(&self) -> Option<SystemTime> {
        self.oldest.map(|(_, at)| at)
    }

    /// The time of the next look whether that one is still there.
    pub(super) fn check_at(&self) -> Option<Instant> {
        self.check_at
    }

    /// The one to look for, if it is time: it may have expired.
    pub(super) fn due(&mut self, now: Instant) -> Option<MessageId> {
        self.check_at.filter(|at| *at <= now)?;
        self.check_at = Some(now + CHECK);
        self.oldest.map(|(id, _)| id)
    }

    /// Lets the queue hand all of them out again, each in its old place.
    pub(super) fn look_again(&mut self, queue: &Queue, lane: &str) {
        drop(queue.look_again(lane));
        *self = Self::default();
    }
}
