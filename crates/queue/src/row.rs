//! The row of a message: its columns, its reading, and its checksum.

use std::borrow::Cow;

use rusqlite::Row;

use crate::{
    layout::Layout,
    message::MessageId,
    order::{BucketId, Seq},
};

/// The data of a stored message that the writer's decisions need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) seq: Seq,
    pub(crate) bucket: BucketId,
    pub(crate) id: MessageId,
    pub(crate) size: u64,
    pub(crate) qos: u8,
    /// By the queue's clock.
    pub(crate) expires_at: Option<i64>,
}

/// A stored message in full.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) at: Located,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) retain: bool,
    /// By the queue's clock.
    pub(crate) appended_at: i64,
    /// True if its bytes fit its checksum.
    pub(crate) intact: bool,
}

/// The columns of [`Located`], in the order of [`located`].
pub(crate) const LOCATED: &str = "seq, bucket, size, expires_at, id, qos";
/// The columns of [`Stored`], in the order of [`stored`].
pub(crate) const STORED: &str =
    "seq, bucket, size, expires_at, id, qos, topic, payload, retain, appended_at, crc";

pub(crate) fn located(row: &Row<'_>) -> rusqlite::Result<Located> {
    Ok(Located {
        seq: row.get(0)?,
        bucket: BucketId(row.get(1)?),
        size: to_u64(row.get(2)?),
        expires_at: row.get(3)?,
        id: message_id(row, 4)?,
        qos: row.get(5)?,
    })
}

/// Reads a row of the columns [`STORED`].
pub(crate) fn stored(row: &Row<'_>, layout: Layout) -> rusqlite::Result<Stored> {
    let sum: Option<u32> = row.get(10)?;
    let (topic, is_text) = text(row, 6)?;
    let mut stored = Stored {
        at: located(row)?,
        topic,
        payload: row.get(7)?,
        retain: row.get(8)?,
        appended_at: row.get(9)?,
        intact: false,
    };
    // Rows of the first format have no checksum. A topic that is not valid text would be sent as
    // another topic.
    stored.intact = is_text && sum.is_none_or(|sum| sum == stored.content().crc(layout));
    Ok(stored)
}

/// The reason for setting aside a message whose bytes do not fit its checksum, as a word and as
/// text.
pub(crate) const DAMAGED: &str = "damaged";
pub(crate) const TORN: &str = "its bytes on disk do not match its checksum";

/// The full content of a message's row.
pub(crate) struct Content<'a> {
    pub(crate) at: &'a Located,
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) retain: bool,
    pub(crate) appended_at: i64,
}

impl Stored {
    pub(crate) fn content(&self) -> Content<'_> {
        Content {
            at: &self.at,
            topic: &self.topic,
            payload: &self.payload,
            retain: self.retain,
            appended_at: self.appended_at,
        }
    }
}

impl Content<'_> {
    /// Returns the checksum (CRC-32): of all fields, or in the released format of id, topic and
    /// payload.
    pub(crate) fn crc(&self, layout: Layout) -> u32 {
        let at = self.at;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(at.id.as_bytes());
        if layout == Layout::Current {
            hasher.update(&layout.key(at.bucket, at.seq).to_be_bytes());
            hasher.update(&at.size.to_be_bytes());
            hasher.update(&[u8::from(at.expires_at.is_some()), at.qos, u8::from(self.retain)]);
            hasher.update(&at.expires_at.unwrap_or(0).to_be_bytes());
            hasher.update(&self.appended_at.to_be_bytes());
            hasher.update(&self.topic.len().to_be_bytes());
        }
        hasher.update(self.topic.as_bytes());
        hasher.update(self.payload);
        hasher.finalize()
    }
}

/// Reads a text in which a flipped bit costs one letter, not the whole row. False if its bytes are
/// not valid text, so that the letters differ from the stored ones.
fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<(String, bool)> {
    let bytes = row.get_ref(column)?.as_bytes()?;
    let text = String::from_utf8_lossy(bytes);
    let is_text = matches!(text, Cow::Borrowed(_));
    Ok((text.into_owned(), is_text))
}

pub(crate) fn message_id(row: &Row<'_>, column: usize) -> rusqlite::Result<MessageId> {
    let bytes = row.get_ref(column)?.as_blob()?;
    MessageId::from_slice(bytes).ok_or_else(|| {
        // The column holds 16 bytes in every file we wrote: anything else is damage.
        rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
            Some("a message id is not 16 bytes long".to_owned()),
        )
    })
}

/// SQLite's integers are signed; our amounts never come near the end of either range.
pub(crate) fn to_i64(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(crate) fn to_u64(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
