//! The recent failures of a session: their cause, and the wait after them.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::{Backoff, pace};
use crate::mqtt::MqttError;

/// The number of failures in a row, not by the broker, after which the stack is the cause.
const ROW: u32 = 3;

/// The failures of one session.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// The failures in a row that were not the broker's answer.
    own: u32,
    /// The time since which it has not been connected for a stable time.
    since: Option<Instant>,
    /// True if it was connected since the service was started.
    was_good: bool,
    /// True if the last CONNECT was refused as by a stack without service, although the service was
    /// started.
    pub(super) is_forgotten: bool,
    /// The time for which the last failure kept the stack from others.
    held: Duration,
}

/// The longest wait for another session's sake. CONNECT is the longest operation of the stack.
const LONGEST: Duration = Duration::from_secs(150);

impl Failures {
    /// Notes that the service was started just now.
    pub(super) fn service_started(&mut self) {
        (self.was_good, self.is_forgotten) = (false, false);
    }

    /// Notes that it is connected.
    pub(super) fn connected(&mut self) {
        (self.was_good, self.is_forgotten) = (true, false);
        self.held = Duration::ZERO;
    }

    /// Notes that it was connected for a stable time.
    pub(super) fn stable(&mut self) {
        self.since = None;
    }

    /// Notes that a CONNECT, or a step after it, failed after `took`. `has_service` is true if the
    /// stack refuses without a code while its service is not started.
    pub(super) fn of_connect(&mut self, error: &MqttError, took: Duration, has_service: bool) {
        self.count(error);
        self.held = took;
        let is_bare = has_service && matches!(error, MqttError::NoCode { .. });
        self.is_forgotten = self.was_good && is_bare;
    }

    /// Notes that a publish failed after `took`, and the session with it.
    pub(super) fn of_publish(&mut self, error: &MqttError, took: Duration) {
        self.count(error);
        self.is_forgotten = false;
        self.held = took;
    }

    /// Counts a failure; a failure by the broker ends the row.
    fn count(&mut self, error: &MqttError) {
        self.own = if error.is_own() { self.own.saturating_add(1) } else { 0 };
    }

    /// Reports whether the row is so long that the stack is the cause.
    pub(super) fn is_row(&self) -> bool {
        self.own >= ROW
    }

    /// Ends the row.
    pub(super) fn forgive(&mut self) {
        self.own = 0;
    }

    /// Returns the wait before the next CONNECT. Young trouble is tried soon. A failure that held
    /// up another session, which works, is followed by a wait longer than that.
    pub(super) fn next_wait(&mut self, backoff: &mut Backoff, others_are_sound: bool) -> Duration {
        let since = *self.since.get_or_insert_with(Instant::now);
        let wait = backoff.next_wait_within(pace(since.elapsed()));
        let held = (self.held + self.held / 5).min(LONGEST);
        if others_are_sound { wait.max(held) } else { wait }
    }
}
