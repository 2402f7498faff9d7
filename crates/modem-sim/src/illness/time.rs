//! Times in the form of illnesses: `500ms`, `40s`, `10min`, `2h`.

use std::fmt;

use tokio::time::Duration;

/// Reads `500ms`, `40s`, `10min` or `2h`.
pub(super) fn time(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(unit)?;
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    // A modem that is ill for longer than a hundred years is ill for ever.
    let limit = 100 * 366 * 24 * 3_600_000;
    number.checked_mul(milliseconds).filter(|time| *time <= limit).map(Duration::from_millis)
}

/// Writes a time in the form that [`time`] reads.
pub(super) struct Time(pub(super) Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.subsec_millis() {
            0 => write!(f, "{}s", self.0.as_secs()),
            _ => write!(f, "{}ms", self.0.as_millis()),
        }
    }
}
