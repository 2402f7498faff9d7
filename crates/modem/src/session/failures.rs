//! How a session has failed lately: whether that is its stack's doing, and how long to wait.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::{Backoff, pace};
use crate::mqtt::MqttError;

/// So many failures in a row that were not the broker's word are the stack's.
const ROW: u32 = 3;

/// The failures of one session.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// In a row, and not the broker's word.
    own: u32,
    /// Since when it has not been connected for a stable time.
    since: Option<Instant>,
    /// It was connected since the service was started.
    was_good: bool,
    /// The last CONNECT was refused as by a stack that knows no service, though there was one.
    pub(super) is_forgotten: bool,
    /// For how long what failed last kept the stack from others.
    held: Duration,
}

/// The longest wait for another session's sake. Nothing keeps the stack longer than CONNECT.
const LONGEST: Duration = Duration::from_secs(150);

impl Failures {
    /// The service was started just now.
    pub(super) fn service_started(&mut self) {
        (self.was_good, self.is_forgotten) = (false, false);
    }

    /// It is connected.
    pub(super) fn connected(&mut self) {
        (self.was_good, self.is_forgotten) = (true, false);
        self.held = Duration::ZERO;
    }

    /// It was connected for a stable time.
    pub(super) fn stable(&mut self) {
        self.since = None;
    }

    /// A CONNECT, or what follows it, failed after so long. `has_service`: the stack refuses without a code where its
    /// service is not started.
    pub(super) fn of_connect(&mut self, error: &MqttError, took: Duration, has_service: bool) {
        self.count(error);
        self.held = took;
        let is_bare = has_service && matches!(error, MqttError::NoCode { .. });
        self.is_forgotten = self.was_good && is_bare;
    }

    /// A publish failed after so long, and the session with it.
    pub(super) fn of_publish(&mut self, error: &MqttError, took: Duration) {
        self.count(error);
        self.is_forgotten = false;
        self.held = took;
    }

    /// A row of failures is ended by the broker's word.
    fn count(&mut self, error: &MqttError) {
        self.own = if error.is_own() { self.own.saturating_add(1) } else { 0 };
    }

    /// Reports whether there were so many that the stack is to blame.
    pub(super) fn is_row(&self) -> bool {
        self.own >= ROW
    }

    /// Ends the row.
    pub(super) fn forgive(&mut self) {
        self.own = 0;
    }

    /// How long to wait before the next CONNECT. Trouble that is young is tried soon. One that held up another session,
    /// which works, waits longer than it did.
    pub(super) fn next_wait(&mut self, backoff: &mut Backoff, others_are_sound: bool) -> Duration {
        let since = *self.since.get_or_insert_with(Instant::now);
        let wait = backoff.next_wait_within(pace(since.elapsed()));
        let held = (self.held + self.held / 5).min(LONGEST);
        if others_are_sound { wait.max(held) } else { wait }
    }
}
