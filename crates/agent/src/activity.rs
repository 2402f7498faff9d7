//! The activity of each modem, for requests to the agent itself: a counter of the metrics' library
//! can be scraped but not read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::events::{Event, Level};
use fleet::Fleet;
use modem::Observer;
use modem::holder::Busy;
use modem::mqtt::Received;
use modem::observe::{DisconnectReason, PublishResult, RecoveryAction, RecoveryOutcome};

use crate::chronicle::Chronicle;

/// Counts since the modem's record began.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals {
    /// Publishes that were acknowledged.
    pub acknowledged: u64,
    /// The sum of their times, in seconds.
    pub seconds: f64,
    /// Publishes that failed, or had no result in time.
    pub failed: u64,
    /// Messages that came down.
    pub received: u64,
}

impl Totals {
    /// Adds two counts.
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            acknowledged: self.acknowledged.saturating_add(other.acknowledged),
            seconds: self.seconds + other.seconds,
            failed: self.failed.saturating_add(other.failed),
            received: self.received.saturating_add(other.received),
        }
    }

    /// Subtracts an earlier count.
    pub fn minus(&self, earlier: &Self) -> Self {
        Self {
            acknowledged: self.acknowledged.saturating_sub(earlier.acknowledged),
            seconds: (self.seconds - earlier.seconds).max(0.0),
            failed: self.failed.saturating_sub(earlier.failed),
            received: self.received.saturating_sub(earlier.received),
        }
    }
}

/// The activity of one modem.
#[derive(Debug, Clone, Default)]
pub struct Activity {
    /// Means of recovery used.
    pub recoveries: u64,
    /// The times of the broker's last acknowledgement of a publish, in seconds since the epoch, by
    /// session.
    pub last_ack: BTreeMap<String, f64>,
    /// The port that another process holds.
    pub busy: Option<Busy>,
    /// Counts of messages.
    pub totals: Totals,
    /// The event of the last disconnect of each session whose reason was not looked at yet.
    disconnects: BTreeMap<String, u64>,
    /// True once its port was there in this run.
    was_there: bool,
}

/// The record of one modem's activity, which its task writes and others read.
#[derive(Default)]
pub struct ActivityRecord {
    activity: Mutex<Activity>,
    modem: String,
    chronicle: Chronicle,
}

impl ActivityRecord {
    /// Returns the activity until now.
    pub fn read(&self) -> Activity {
        self.lock().clone()
    }

    /// Returns the event of the last disconnect of this session, once.
    pub fn take_disconnect(&self, session: &str) -> Option<u64> {
        self.lock().disconnects.remove(session)
    }

    fn note(&self, kind: &str, level: Level, session: Option<&str>, words: String) -> u64 {
        let (kind, session) = (kind.to_owned(), session.map(str::to_owned));
        let modem = Some(self.modem.clone());
        self.chronicle.push(Event { kind, level, modem, session, words, ..Event::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Activity> {
        // No code that holds the lock leaves it half changed.
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for ActivityRecord {
    fn publish(&self, session: &str, _qos: u8, result: PublishResult, took: Duration) {
        let mut activity = self.lock();
        match result {
            PublishResult::Ok => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                activity.last_ack.insert(session.to_owned(), now.as_secs_f64());
                activity.totals.acknowledged = activity.totals.acknowledged.saturating_add(1);
                activity.totals.seconds += took.as_secs_f64();
            }
            PublishResult::Error | PublishResult::Timeout => {
                activity.totals.failed = activity.totals.failed.saturating_add(1);
            }
            // It may still come.
            PublishResult::Unknown => {}
        }
    }

    fn received(&self, _session: &str, _message: &Received) {
        let mut activity = self.lock();
        activity.totals.received = activity.totals.received.saturating_add(1);
    }

    fn connect(&self, session: &str, ok: bool) {
        // The reason of a failure stands in the session's state.
        if ok {
            self.note("connected", Level::Good, Some(session), "connected".to_owned());
        }
    }

    fn disconnect(&self, session: &str, reason: DisconnectReason) {
        let (level, words) = match reason {
            DisconnectReason::Agent => (Level::Info, "disconnected by this agent"),
            DisconnectReason::Broker => (Level::Warn, "disconnected by its broker"),
            DisconnectReason::Network => (Level::Warn, "disconnected: the network was lost"),
            DisconnectReason::Unplug => (Level::Warn, "disconnected: the modem went"),
        };
        let id = self.note("disconnected", level, Some(session), words.to_owned());
        self.lock().disconnects.insert(session.to_owned(), id);
    }

    fn opened(&self, busy: Option<&Busy>) {
        self.lock().busy = busy.cloned();
    }

    fn appeared(&self) {
        // The first one of a run is the start of the agent.
        if std::mem::replace(&mut self.lock().was_there, true) {
            self.note("plugged", Level::Info, None, "plugged in".to_owned());
        }
    }

    fn vanished(&self) {
        self.lock().busy = None;
        let words = "gone: unplugged, reset or without power".to_owned();
        self.note("unplugged", Level::Bad, None, words);
    }

    fn recovery(&self, action: RecoveryAction, outcome: RecoveryOutcome) {
        let action = action_words(action);
        let (level, words) = match outcome {
            RecoveryOutcome::Skipped => return,
            RecoveryOutcome::Cured => (Level::Good, format!("{action} brought it back")),
            RecoveryOutcome::Failed => (Level::Warn, format!("{action} did not bring it back")),
        };
        self.lock().recoveries += 1;
        self.note("recovery", level, None, words);
    }
}

fn action_words(action: RecoveryAction) -> &'static str {
    match action {
        RecoveryAction::Resync => "asking again",
        RecoveryAction::Reopen => "opening the port again",
        RecoveryAction::ServiceRestart => "a restart of its MQTT service",
        RecoveryAction::RadioCycle => "switching its radio off and on",
        RecoveryAction::ModemReset => "a reset of the modem",
        RecoveryAction::UsbReset => "a reset of its USB device",
        RecoveryAction::Power => "the power script",
    }
}

/// The records of all modems. They outlive a modem that a reload closes and opens again.
#[derive(Clone, Default)]
pub struct Activities {
    records: Arc<Mutex<BTreeMap<String, Arc<ActivityRecord>>>>,
    /// The history, to which each record adds.
    pub chronicle: Chronicle,
}

impl Activities {
    /// No records yet.
    pub fn new(chronicle: Chronicle) -> Self {
        Self { records: Arc::default(), chronicle }
    }

    /// Returns the record of a modem that starts, with its earlier counts. A port that was busy is
    /// forgotten.
    pub fn begin(&self, modem: &str) -> Arc<ActivityRecord> {
        let new = || {
            let (modem, chronicle) = (modem.to_owned(), self.chronicle.clone());
            Arc::new(ActivityRecord { activity: Mutex::default(), modem, chronicle })
        };
        let record = Arc::clone(self.lock().entry(modem.to_owned()).or_insert_with(new));
        record.lock().busy = None;
        record
    }

    /// Forgets the modems that left the fleet.
    pub fn keep_fleet(&self, fleet: &Fleet) {
        self.lock().retain(|modem, _| fleet.modems.iter().any(|m| m.name.as_str() == modem));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<ActivityRecord>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_modem_did_outlives_its_reopening_and_what_has_its_port_does_not() {
        let activities = Activities::default();
        let record = activities.begin("north");
        record.opened(Some(&Busy { tty: "/dev/ttyUSB2".into(), holder: None }));
        record.recovery(RecoveryAction::Reopen, RecoveryOutcome::Failed);
        record.recovery(RecoveryAction::Power, RecoveryOutcome::Skipped);
        record.publish("cloud", 1, PublishResult::Ok, Duration::ZERO);
        record.publish("other", 1, PublishResult::Error, Duration::ZERO);
        assert!(record.read().busy.is_some());
        let activity = activities.begin("north").read();
        assert_eq!((activity.recoveries, activity.busy), (1, None));
        assert_eq!(activity.last_ack.keys().collect::<Vec<_>>(), ["cloud"]);
        assert_eq!(activities.begin("south").read().recoveries, 0);
    }
}
