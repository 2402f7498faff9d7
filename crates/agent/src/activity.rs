//! The activity of each modem, for requests to the agent itself: a counter of the metrics' library
//! can be scraped but not read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fleet::Fleet;
use modem::Observer;
use modem::holder::Busy;
use modem::observe::{PublishResult, RecoveryAction, RecoveryOutcome};

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
}

/// The record of one modem's activity, which its task writes and others read.
#[derive(Default)]
pub struct ActivityRecord(Mutex<Activity>);

impl ActivityRecord {
    /// Returns the activity until now.
    pub fn read(&self) -> Activity {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Activity> {
        // No code that holds the lock leaves it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for ActivityRecord {
    fn publish(&self, session: &str, _qos: u8, result: PublishResult, _took: Duration) {
        if result == PublishResult::Ok {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.lock().last_ack.insert(session.to_owned(), now.as_secs_f64());
        }
    }

    fn opened(&self, busy: Option<&Busy>) {
        self.lock().busy = busy.cloned();
    }

    fn vanished(&self) {
        self.lock().busy = None;
    }

    fn recovery(&self, _action: RecoveryAction, outcome: RecoveryOutcome) {
        if outcome != RecoveryOutcome::Skipped {
            self.lock().recoveries += 1;
        }
    }
}

/// The records of all modems. They outlive a modem that a reload closes and opens again.
#[derive(Clone, Default)]
pub struct Activities(Arc<Mutex<BTreeMap<String, Arc<ActivityRecord>>>>);

impl Activities {
    /// Returns the record of a modem that starts, with its earlier counts. A port that was busy is
    /// forgotten.
    pub fn begin(&self, modem: &str) -> Arc<ActivityRecord> {
        let record = Arc::clone(self.lock().entry(modem.to_owned()).or_default());
        record.vanished();
        record
    }

    /// Forgets the modems that left the fleet.
    pub fn keep_fleet(&self, fleet: &Fleet) {
        self.lock().retain(|modem, _| fleet.modems.iter().any(|m| m.name.as_str() == modem));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<ActivityRecord>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
