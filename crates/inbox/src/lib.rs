//! A durable inbox: a line of messages with many readers, each at its own pace.
//!
//! A message is *put* at the end and is on disk when that is reported. *Readers* have a name and
//! read all messages; *sessions* have filters and get matching messages. Both *confirm* messages,
//! in order. A message is removed once all of them have it, or when a bound requires it. If there
//! are neither, it stays until the bounds.
//!
//! # How it works
//! A thread owns an SQLite file in write-ahead mode and takes all waiting commands into one
//! transaction. The line loses messages at its front only, so that a message's number and a running
//! total of bytes are all the accounting there is. The position of each reader is kept in memory
//! and written when it changes. So a failing disk holds up no reader, and unwritten positions are
//! written later.
//!
//! # Invariants
//! - Nothing is reported as stored, and nothing is read, before it is committed and synced.
//! - Putting never waits: when the disk is slower than the messages, the newest are refused and
//!   counted.
//! - Messages that a bound removes are counted. A reader gets the number of those it missed.
//! - Ages are measured by a clock that no setting of the wall clock moves.

mod age;
mod cursor;
mod error;
mod inbox;
mod line;
mod lock;
mod message;
mod number;
mod reader;
mod readers;
mod schema;
mod stat;
mod store;
mod writer;

pub use cursor::Cursor;
pub use error::{AttachError, Cause, OpenError, ReadError, StoreError};
pub use inbox::{Config, Hold, Inbox};
pub use message::{Message, NewMessage, OVERHEAD, Seq};
pub use reader::{MAX_READERS, MAX_SESSIONS};
pub use readers::Attached;
pub use stat::{Dropped, Failing, Stat, Waiting};
pub use writer::{Page, ReaderPage, Slow};

#[cfg(test)]
mod tests;
