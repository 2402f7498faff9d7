//! `GET /api/v1/modems/NAME/history`: the last hour and the last day of one modem, in memory.

use serde::{Deserialize, Serialize};

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModemHistory {
    /// The last hour, a value a minute.
    pub hour: Series,
    /// The last day, a value for ten minutes.
    pub day: Series,
}

/// Values at equal steps, the oldest first. All lists have the same length.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Series {
    /// The step in seconds.
    pub step_seconds: u64,
    /// The time of the last value, in seconds since the epoch.
    pub end_timestamp_seconds: f64,
    /// The signal in dBm, by the modem's best measure; in the day's series the mean.
    pub signal_dbm: Vec<Option<f64>>,
    /// The mean time from a publish to its acknowledgement, in seconds.
    pub latency_seconds: Vec<Option<f64>>,
    /// Publishes that were acknowledged.
    pub acknowledged: Vec<u64>,
    /// Publishes that failed, or had no result in time.
    pub failed: Vec<u64>,
    /// Messages that came down.
    pub received: Vec<u64>,
}
