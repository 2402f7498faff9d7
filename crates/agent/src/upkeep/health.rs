//! Health: the progress of the loops, and the writability of the queue's disk.
//!
//! These are two facts, since they have different cures. A restart cures stuck loops: this fact
//! feeds the service manager's watchdog, and `/livez` reports it. A restart does not cure a full
//! disk, and would publish messages again whose delivery could not be recorded. So `/healthz`
//! reports the disk, and the watchdog is still fed.

use std::time::Duration;

use queue::{Failing, Queue, Stat, StoreError};

/// The queue's writer answers within a few commits; a disk that takes longer is stuck.
const HEALTHY: Duration = Duration::from_secs(5);

/// The reason why the agent makes no progress. A restart may cure it.
#[derive(Debug, thiserror::Error)]
pub enum Wedged {
    /// The queue's writer runs and cannot work.
    #[error("the queue's writer failed: {0}")]
    Queue(#[source] StoreError),
    /// The queue's writer does not answer: the disk, or the writer, is stuck.
    #[error("the queue's writer has not answered for {HEALTHY:?}")]
    Stuck,
}

/// The reason why nothing can be stored or removed, though all loops run. A restart does not cure
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue cannot be written: {}; {failed} commits have failed", words(*why))]
pub struct Degraded {
    /// The cause of the last commit's failure.
    pub why: Failing,
    /// Failed commits since the queue was opened.
    pub failed: u64,
}

fn words(why: Failing) -> &'static str {
    match why {
        Failing::DiskFull => "its disk is full",
        Failing::ReadOnly => "its file system is read-only",
        Failing::Io => "its disk fails",
        Failing::Removed => "its folder was removed or replaced",
        Failing::Other => "see the log",
    }
}

impl Degraded {
    /// Returns the fault that a queue's figures show, if any.
    pub fn of(stat: &Stat) -> Option<Self> {
        stat.failing.map(|why| Self { why, failed: stat.failed_commits })
    }
}

/// Checks that each loop makes progress. This function runs on the runtime's one thread, as modems,
/// forwarders and servers do. The queue's writer has a thread of its own, so it is asked.
///
/// # Errors
/// [`Wedged`].
///
/// # Cancel safety
/// Nothing is left behind.
pub async fn check(queue: &Queue) -> Result<(), Wedged> {
    // This id belongs to no message: its release changes nothing, but takes the writer's turn.
    let nobody = queue::MessageId::nil();
    match tokio::time::timeout(HEALTHY, queue.release(nobody)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Wedged::Queue(error)),
        Err(_) => Err(Wedged::Stuck),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_of_failing_has_its_words() {
        let of = |failing| Degraded::of(&Stat { failing, failed_commits: 7, ..Stat::default() });
        assert_eq!(of(None), None, "what failed earlier is over");
        for (why, phrase) in [
            (Failing::DiskFull, "disk is full; 7 commits"),
            (Failing::ReadOnly, "is read-only"),
            (Failing::Io, "disk fails"),
            (Failing::Removed, "removed or replaced"),
            (Failing::Other, "see the log"),
        ] {
            let told = of(Some(why)).expect("it fails").to_string();
            assert!(told.contains(phrase), "{told}");
        }
    }
}
