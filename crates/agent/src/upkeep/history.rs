//! The last hour of each modem's signal, a value a minute, for the graphs of the status page.
//!
//! Prometheus keeps the real history; this one is for a person who has only the gateway.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use modem::Snapshot;
use tokio_util::sync::CancellationToken;

use crate::now::View;

/// The interval between two values.
const STEP: Duration = Duration::from_secs(60);

/// The number of values kept: those of an hour.
const KEPT: usize = 60;

/// The signals of all modems over the last hour.
#[derive(Debug, Default)]
pub struct History(Mutex<BTreeMap<String, VecDeque<Option<f64>>>>);

impl History {
    /// Notes the present signals, and again each minute until stopped.
    ///
    /// # Cancel safety
    /// Dropping the future ends the notes; earlier values stay.
    pub async fn keep(&self, view: &View, stop: &CancellationToken) {
        let mut step = tokio::time::interval(STEP);
        // Both arms are cancel safe, and none awaits in its body.
        while tokio::select! { _ = step.tick() => true, () = stop.cancelled() => false } {
            let now = view.now();
            self.keep_only(|name| now.modem(name).is_some());
            for modem in &now.modems {
                let signal = signal(&modem.snapshot.borrow()).map(|(_, dbm)| dbm);
                self.note(&modem.name, signal);
            }
        }
    }

    /// Forgets the modems that left the fleet.
    fn keep_only(&self, is_kept: impl Fn(&str) -> bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|modem, _| is_kept(modem));
    }

    fn note(&self, modem: &str, dbm: Option<f64>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let values = all.entry(modem.to_owned()).or_default();
        values.push_back(dbm);
        while values.len() > KEPT {
            values.pop_front();
        }
    }

    /// Returns a value a minute, the oldest first, in dBm; `None` if the modem reported none.
    pub fn of(&self, modem: &str) -> Vec<Option<f64>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(modem).map(|values| values.iter().copied().collect()).unwrap_or_default()
    }
}

/// Returns the best measure of a modem's signal now: its name, and its value in dBm. In LTE and 5G
/// the reference signal says more than the total power.
pub fn signal(snapshot: &Snapshot) -> Option<(&'static str, f64)> {
    let rsrp = || snapshot.signals.iter().find_map(|s| s.rsrp_dbm).map(|dbm| ("rsrp", dbm));
    let rssi = || snapshot.signals.iter().find_map(|s| s.rssi_dbm).map(|dbm| ("rssi", dbm));
    rsrp().or_else(rssi)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_kept_and_gaps_stay_gaps() {
        let history = History::default();
        assert_eq!(history.of("north"), []);
        for minute in 0..70 {
            history.note("north", (minute != 69).then(|| f64::from(minute) - 120.0));
        }
        let values = history.of("north");
        assert_eq!((values.len(), values[0], values[59]), (60, Some(-110.0), None));
    }
}
