//! The last hour of each modem's signal, a value a minute, for the graphs of the status page.
//!
//! Prometheus keeps the real history; this one is for a person who has only the gateway.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::history::{ModemHistory, Series};
use modem::Snapshot;
use tokio_util::sync::CancellationToken;

use crate::activity::Totals;
use crate::now::View;

/// The interval between two values.
const STEP: Duration = Duration::from_secs(60);

/// The number of values kept: those of an hour.
const HOUR: usize = 60;

/// Minutes in a value of the day.
const TEN: usize = 10;

/// Values of the day.
const DAY: usize = 144;

/// The values of one step.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Point {
    dbm: Option<f64>,
    /// The messages of the step.
    counts: Totals,
}

impl Point {
    /// Returns the mean time of its publishes, in seconds.
    fn latency(&self) -> Option<f64> {
        let count = self.counts.acknowledged;
        (count > 0).then(|| self.counts.seconds / float(count))
    }

    /// Sums points up: their messages, and the mean of their signals.
    fn of_many(points: &[Self]) -> Self {
        let signals: Vec<f64> = points.iter().filter_map(|point| point.dbm).collect();
        let sum: f64 = signals.iter().sum();
        let mean = (!signals.is_empty())
            .then(|| sum / u32::try_from(signals.len()).map_or(1.0, f64::from));
        let counts = points.iter().fold(Totals::default(), |sum, point| sum.plus(&point.counts));
        Self { dbm: mean, counts }
    }
}

/// The values of one modem.
#[derive(Debug, Default)]
struct Course {
    /// The counts at the last step; `None` before the first.
    totals: Option<Totals>,
    hour: VecDeque<Point>,
    day: VecDeque<Point>,
    /// Minutes that are not yet a value of the day.
    minutes: Vec<Point>,
}

impl Course {
    fn note(&mut self, dbm: Option<f64>, totals: Totals) {
        let counts = totals.minus(&self.totals.unwrap_or(totals));
        self.totals = Some(totals);
        let point = Point { dbm, counts };
        push(&mut self.hour, point, HOUR);
        self.minutes.push(point);
        if self.minutes.len() >= TEN {
            push(&mut self.day, Point::of_many(&self.minutes), DAY);
            self.minutes.clear();
        }
    }
}

fn push(points: &mut VecDeque<Point>, point: Point, most: usize) {
    points.push_back(point);
    while points.len() > most {
        points.pop_front();
    }
}

fn series(points: impl Iterator<Item = Point> + Clone, step: Duration, end: f64) -> Series {
    Series {
        step_seconds: step.as_secs(),
        end_timestamp_seconds: end,
        signal_dbm: points.clone().map(|point| point.dbm).collect(),
        latency_seconds: points.clone().map(|point| point.latency()).collect(),
        acknowledged: points.clone().map(|point| point.counts.acknowledged).collect(),
        failed: points.clone().map(|point| point.counts.failed).collect(),
        received: points.map(|point| point.counts.received).collect(),
    }
}

/// The courses of all modems.
#[derive(Debug, Default)]
pub struct History(Mutex<Courses>);

#[derive(Debug, Default)]
struct Courses {
    modems: BTreeMap<String, Course>,
    /// The time of the last step, in seconds since the epoch.
    end: f64,
}

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
            let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.lock().end = end.as_secs_f64();
            for modem in &now.modems {
                let dbm = signal(&modem.snapshot.borrow()).map(|(_, dbm)| dbm);
                self.note(&modem.name, dbm, modem.activity.read().totals);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Courses> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the modems that left the fleet.
    fn keep_only(&self, is_kept: impl Fn(&str) -> bool) {
        self.lock().modems.retain(|modem, _| is_kept(modem));
    }

    fn note(&self, modem: &str, dbm: Option<f64>, totals: Totals) {
        self.lock().modems.entry(modem.to_owned()).or_default().note(dbm, totals);
    }

    /// Returns a value a minute, the oldest first, in dBm; `None` if the modem reported none.
    pub fn of(&self, modem: &str) -> Vec<Option<f64>> {
        let courses = self.lock();
        let of = |course: &Course| course.hour.iter().map(|point| point.dbm).collect();
        courses.modems.get(modem).map(of).unwrap_or_default()
    }

    /// Returns the last hour and the last day of a modem. The day ends with the minutes that are not ten yet.
    pub fn all_of(&self, modem: &str) -> ModemHistory {
        let courses = self.lock();
        let Some(course) = courses.modems.get(modem) else { return ModemHistory::default() };
        let rest = (!course.minutes.is_empty()).then(|| Point::of_many(&course.minutes));
        let day = course.day.iter().copied().chain(rest);
        let ten = STEP * u32::try_from(TEN).unwrap_or(1);
        ModemHistory {
            hour: series(course.hour.iter().copied(), STEP, courses.end),
            day: series(day, ten, courses.end),
        }
    }
}

/// Returns the best measure of a modem's signal now: its name, and its value in dBm. In LTE and 5G
/// the reference signal says more than the total power.
pub fn signal(snapshot: &Snapshot) -> Option<(&'static str, f64)> {
    let rsrp = || snapshot.signals.iter().find_map(|s| s.rsrp_dbm).map(|dbm| ("rsrp", dbm));
    let rssi = || snapshot.signals.iter().find_map(|s| s.rssi_dbm).map(|dbm| ("rssi", dbm));
    rsrp().or_else(rssi)
}

fn float(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(acknowledged: u64, seconds: f64) -> Totals {
        Totals { acknowledged, seconds, ..Totals::default() }
    }

    #[test]
    fn an_hour_is_kept_and_gaps_stay_gaps() {
        let history = History::default();
        assert_eq!(history.of("north"), []);
        for minute in 0..70 {
            let dbm = (minute != 69).then(|| f64::from(minute) - 120.0);
            history.note("north", dbm, Totals::default());
        }
        let values = history.of("north");
        assert_eq!((values.len(), values[0], values[59]), (60, Some(-110.0), None));
    }

    #[test]
    fn a_day_is_kept_in_steps_of_ten_minutes_and_counts_are_of_their_step() {
        let history = History::default();
        assert_eq!(history.all_of("north"), ModemHistory::default());
        for minute in 0..1_505_u32 {
            let count = u64::from(minute) * 3;
            history.note("north", Some(-90.0), totals(count, f64::from(minute) * 1.5));
        }
        let all = history.all_of("north");
        assert_eq!((all.hour.signal_dbm.len(), all.day.signal_dbm.len()), (60, 145));
        assert_eq!((all.hour.acknowledged[0], all.hour.latency_seconds[0]), (3, Some(0.5)));
        assert_eq!((all.day.acknowledged[0], all.day.acknowledged[144]), (30, 15));
        assert_eq!(all.day.signal_dbm[0], Some(-90.0));
        // A record that begins with figures of an earlier life of the modem counts none of them.
        history.note("south", None, totals(70, 7.0));
        let all = history.all_of("south");
        assert_eq!((all.hour.acknowledged[0], all.hour.latency_seconds[0]), (0, None));
    }
}
