//! The names of messages for readers: opaque, and of one file only.

use std::fmt;
use std::str::FromStr;

use crate::message::Seq;

/// A place in the line of messages: at this message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The file's number: a file whose message numbers restart has another epoch.
    pub(crate) epoch: u32,
    pub(crate) seq: Seq,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}", self.epoch, self.seq)
    }
}

/// The text is not a cursor of any inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotACursor;

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let (epoch, seq) = text.split_once('-').ok_or(NotACursor)?;
        let cursor = Self {
            epoch: u32::from_str_radix(epoch, 16).map_err(|_| NotACursor)?,
            seq: seq.parse().map_err(|_| NotACursor)?,
        };
        // Each cursor has a single spelling.
        if cursor.to_string() == text { Ok(cursor) } else { Err(NotACursor) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_is_written_and_nothing_else_is_one() {
        let cursor = Cursor { epoch: 0xab, seq: 12 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "12", "ab-12", "000000ab-", "000000ab-+12", "000000AB-12", "000000ab-012"] {
            assert_eq!(bad.parse::<Cursor>(), Err(NotACursor), "{bad}");
        }
    }
}
