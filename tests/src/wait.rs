//! Waiting with a limit for an event in another process.

use std::time::{Duration, Instant};

/// Longer than any step takes on a busy machine, unless it is broken; only a failure takes so long.
/// Twice this time fits into the limit of a test (.config/nextest.toml).
pub const PATIENCE: Duration = Duration::from_secs(50);

/// The pause between two questions to another process.
const STEP: Duration = Duration::from_millis(30);

/// Asks until there is a value, for at most [`PATIENCE`].
///
/// # Panics
/// If the limit passes; `what` names the awaited event.
#[track_caller]
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    match within(PATIENCE, ask) {
        Some(value) => value,
        None => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}

/// Asks until there is a value, or `limit` has passed.
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

/// Lets time pass. It is for cases without an event: a fault in the middle of an operation, or
/// proof that nothing happens.
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
