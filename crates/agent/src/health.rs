//! Whether the loops make progress: what `/healthz` answers and the service manager's watchdog is fed by.

use std::time::Duration;

use queue::{Queue, StoreError};

/// The queue's writer answers within a few commits; a disk that takes longer is stuck.
const HEALTHY: Duration = Duration::from_secs(5);

/// Why the agent is not healthy.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// The queue's writer is there and cannot work.
    #[error("the queue's writer failed: {0}")]
    Queue(#[source] StoreError),
    /// The queue's writer does not answer: the disk, or the writer, is stuck.
    #[error("the queue's writer has not answered for {HEALTHY:?}")]
    Stuck,
}

/// Asks each loop for a sign of life. That this runs shows that the runtime's one thread does, on which
/// modems, forwarders and servers run; the queue's writer has a thread of its own and is asked.
///
/// # Errors
/// [`Unhealthy`].
///
/// # Cancel safety
/// Nothing is left behind.
pub async fn check(queue: &Queue) -> Result<(), Unhealthy> {
    // A message that cannot be: to release it changes nothing, but takes the writer's turn.
    let nobody = queue::MessageId::nil();
    match tokio::time::timeout(HEALTHY, queue.release(nobody)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Unhealthy::Queue(error)),
        Err(_) => Err(Unhealthy::Stuck),
    }
}
