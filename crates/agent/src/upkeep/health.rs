//! Health: the progress of the loops, and the queue's disk, which takes what they write or does not.
//!
//! Two facts, since they have different cures. Loops that are stuck come back by a restart: that feeds the
//! service manager's watchdog, and is what `/livez` answers. A full disk does not, and each start would publish
//! what was delivered and not recorded once more: `/healthz` shows it beside, and the watchdog is fed.

use std::time::Duration;

use queue::{Failing, Queue, Stat, StoreError};

/// The queue's writer answers within a few commits; a disk that takes longer is stuck.
const HEALTHY: Duration = Duration::from_secs(5);

/// Why the agent does not make progress. A restart may cure it.
#[derive(Debug, thiserror::Error)]
pub enum Wedged {
    /// The queue's writer is there and cannot work.
    #[error("the queue's writer failed: {0}")]
    Queue(#[source] StoreError),
    /// The queue's writer does not answer: the disk, or the writer, is stuck.
    #[error("the queue's writer has not answered for {HEALTHY:?}")]
    Stuck,
}

/// Why nothing can be stored or removed, though all loops run. A restart cures nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue cannot be written: {}; {failed} commits have failed", words(*why))]
pub struct Degraded {
    /// The reason why the last commit failed.
    pub why: Failing,
    /// Commits that failed since the queue was opened.
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
    /// Returns what the figures of a queue say.
    pub fn of(stat: &Stat) -> Option<Self> {
        stat.failing.map(|why| Self { why, failed: stat.failed_commits })
    }
}

/// Asks each loop for a sign of life. That this runs shows that the runtime's one thread does, on which
/// modems, forwarders and servers run; the queue's writer has a thread of its own and is asked.
///
/// # Errors
/// [`Wedged`].
///
/// # Cancel safety
/// Nothing is left behind.
pub async fn check(queue: &Queue) -> Result<(), Wedged> {
    // A message that cannot be: to release it changes nothing, but takes the writer's turn.
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
