//! One message on its way through a session, and its outcome.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::mqtt::{Message, MqttError};

/// The most news of one message: that its result is overdue, and its end. So the channel is never
/// full.
const PROGRESS: usize = 2;

/// The outcome of a publish for its sender.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The broker has it (QoS 1, 2), or the modem took it (QoS 0).
    Acknowledged,
    /// This message cannot be published here; the session goes on.
    Refused(MqttError),
    /// The session ended before a result came: the broker may or may not have it.
    Lost {
        /// True if the broker closed the session while it had the message, as it does for a
        /// forbidden topic.
        by_broker: bool,
    },
    /// It never reached the modem.
    NotSent,
}

/// News of one job.
#[derive(Debug, Clone)]
pub enum Progress {
    /// No result within [`Job::stall`]. The outcome still follows.
    Stalled,
    /// The end.
    Done(Outcome),
}

/// One message on its way. A closed `progress` withdraws it as long as it has not been sent.
#[derive(Debug)]
pub struct Job {
    /// The message.
    pub message: Message,
    /// The time without a result after which [`Progress::Stalled`] is sent, once.
    pub stall: Duration,
    /// True if its sender suspects it. If the broker then closes the session, that speaks against
    /// the message and not against the session, whose next CONNECT comes soon.
    pub is_suspect: bool,
    /// The channel for its news; room for two.
    pub progress: mpsc::Sender<Progress>,
}

impl Job {
    /// Creates a job, with the receiver of its news.
    pub fn new(message: Message, stall: Duration) -> (Self, mpsc::Receiver<Progress>) {
        let (progress, news) = mpsc::channel(PROGRESS);
        (Self { message, stall, is_suspect: false, progress }, news)
    }

    pub(super) fn done(self, outcome: Outcome) {
        // The receiver may be gone; the queue then still holds the message.
        let _ = self.progress.try_send(Progress::Done(outcome));
    }
}
