//! A durable queue for store-and-forward: append, lease, ack, bound, survive power loss.
//!
//! A message is *appended* to a lane and is on disk when the append is answered. It is *leased* to
//! be sent, and *acked* once another party is responsible for it; only then does it leave. If a
//! lease is released, or a restart ends it, the message is in its old place again. So a message is
//! delivered at least once, and in order if each lease is acked before the next is taken.
//!
//! ```
//! # use queue::{Config, NewMessage, Queue};
//! # async fn example(dir: std::path::PathBuf) -> Result<(), Box<dyn std::error::Error>> {
//! let queue = Queue::open(Config::new(dir))?;
//! queue.append(NewMessage::new("north", "sensors/door", "open")).await?;
//! for lease in queue.lease("north", 16).await? {
//!     // … send it; then:
//!     queue.ack(lease.id, &"north/cloud".into()).await?;
//! }
//! queue.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//! A thread owns an SQLite file in write-ahead mode and takes all waiting commands into one
//! transaction. So many callers share one sync, and the first never waits for others. The order is
//! the row's number, never the clock. Leases are in memory. Totals are stored beside the messages,
//! so that opening reads the same few pages whatever the backlog.
//!
//! A commit writes few pages. Rows of a lane and priority are together, so that no index is needed
//! to find the next. An id holds its message's place, so that no index is needed to find it. Keys
//! and receipts share a row ([`Queue::trace`]). An acknowledgement may ride with the next append
//! ([`Queue::ack_with_next`]).
//!
//! # Invariants
//! - Nothing is answered or leased before it is committed, and under [`Fsync::Always`] synced; a
//!   failed commit accepts nothing, on disk or in memory.
//! - No message is leased twice at a time.
//! - Messages that expire, age out or are evicted are counted; none of this happens to a leased
//!   message.
//! - A message that was set aside keeps its lane and its place in the order, and blocks no other
//!   message.

mod bounds;
mod check;
mod checks;
mod clock;
mod config;
mod contents;
mod error;
mod inspect;
mod intake;
mod layout;
mod leases;
mod lock;
mod message;
mod order;
mod queue;
mod record;
mod row;
mod salvage;
mod schema;
mod shared;
mod space;
mod stat;
mod store;
mod takeover;
mod tally;
mod trace;
mod writer;

pub use config::{Config, Fsync, WhenFull};
pub use error::{AppendError, Cause, Holder, OpenError, StoreError};
pub use inspect::{Aside, Filter, Inspector, Page, Record, SCAN, Seen};
pub use message::{
    DEFAULT_PRIORITY, InvalidMessage, Key, Lease, MAX_NAME, MAX_PRIORITY, MAX_TOPIC, MessageId,
    NewMessage, OVERHEAD, Outcome, Receipt, Wanted,
};
pub use queue::Queue;
pub use record::REMEMBERED;
pub use salvage::{Salvage, repair};
pub use stat::{Dropped, Failing, LaneStat, Stat};
pub use trace::{Reason, State, Trace};
pub use uuid::Error as InvalidId;
pub use writer::MAX_LEASES;

#[cfg(test)]
mod tests;
