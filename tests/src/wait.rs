//! Waiting for something in another process, with a limit.

use std::time::{Duration, Instant};

/// Longer than anything takes that is not broken, on a machine that is busy with much else. Only a failure takes so
/// long. Two of them fit into the time that a test has (.config/nextest.toml).
pub const PATIENCE: Duration = Duration::from_secs(50);

/// How often another process is asked again.
const STEP: Duration = Duration::from_millis(30);

/// Asks until there is a value, for at most [`PATIENCE`].
///
/// # Panics
/// When the time is over; `what` says what was waited for.
#[track_caller]
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    match within(PATIENCE, ask) {
        Some(value) => value,
        None => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}

/// Asks until there is a value, or `limit` is over.
pub fn within<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = ask() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        pause(STEP);
    }
}

/// Lets time pass. Only for what has no event: a fault that is to fall into the middle of something,
/// or proof that nothing happens.
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Measures how long other processes take.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since its start.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
