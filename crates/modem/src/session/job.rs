//! One message on its way through a session, and what becomes of it.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::mqtt::{Message, MqttError};

/// News of one message: that its result stays out, and its end. There are no more, so it is never full.
const PROGRESS: usize = 2;

/// How a publish ended for its sender.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The broker has it (QoS 1, 2), or the modem took it (QoS 0).
    Acknowledged,
    /// This message cannot be published here; the session stands.
    Refused(MqttError),
    /// The session ended before a result came: the broker may or may not have it.
    Lost {
        /// The broker closed the session while it had the message, as it does for a forbidden topic.
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
    /// After this long without a result [`Progress::Stalled`] is told, once.
    pub stall: Duration,
    /// Its sender suspects it: if the broker closes the session under it, that speaks against the message
    /// and not against the session, whose next CONNECT comes soon.
    pub is_suspect: bool,
    /// Where its news go; room for two.
    pub progress: mpsc::Sender<Progress>,
}

impl Job {
    /// A message, and where its news come.
    pub fn new(message: Message, stall: Duration) -> (Self, mpsc::Receiver<Progress>) {
        let (progress, news) = mpsc::channel(PROGRESS);
        (Self { message, stall, is_suspect: false, progress }, news)
    }

    pub(super) fn done(self, outcome: Outcome) {
        // Nobody may be left to hear it; the queue then still holds the message.
        let _ = self.progress.try_send(Progress::Done(outcome));
    }
}
