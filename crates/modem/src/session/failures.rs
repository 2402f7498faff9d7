//! How a session has failed lately: whether that is its stack's doing, and how long to wait.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::mqtt::MqttError;
use crate::recovery::pace;

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
    /// What failed last kept the stack from others until its time was over.
    held_up: bool,
}

impl Failures {
    /// The service was started just now.
    pub(super) fn service_started(&mut self) {
        self.was_good = false;
    }

    /// It is connected.
    pub(super) fn connected(&mut self) {
        (self.was_good, self.held_up) = (true, false);
    }

    /// It was connected for a stable time.
    pub(super) fn stable(&mut self) {
        self.since = None;
    }

    /// A CONNECT, or what follows it, failed.
    pub(super) fn of_connect(&mut self, error: &MqttError) {
        self.count(error);
        self.held_up = true;
        self.is_forgotten = self.was_good && matches!(error, MqttError::NoCode { .. });
    }

    /// A publish failed, and the session with it.
    pub(super) fn of_publish(&mut self, error: &MqttError) {
        self.count(error);
        (self.held_up, self.is_forgotten) = (error.is_timeout(), false);
    }

    /// A row of failures is ended by the broker's word.
    fn count(&mut self, error: &MqttError) {
        self.own = if error.is_own() { self.own.saturating_add(1) } else { 0 };
    }

    /// Whether there were so many that the stack is to blame.
    pub(super) fn is_row(&self) -> bool {
        self.own >= ROW
    }

    /// Ends the row; whether there was one.
    pub(super) fn forgive(&mut self) -> bool {
        std::mem::take(&mut self.own) > 0
    }

    /// How long to wait before the next CONNECT, after one that took so long with all that followed. Trouble that is
    /// young is tried soon. One that held up another session, which works, waits longer than it did.
    pub(super) fn next_wait(
        &mut self,
        backoff: &mut Backoff,
        took: Duration,
        others_are_sound: bool,
    ) -> Duration {
        let since = *self.since.get_or_insert_with(Instant::now);
        let wait = backoff.next_wait_within(pace(since.elapsed()));
        if self.held_up && others_are_sound { wait.max(took + took / 5) } else { wait }
    }
}
