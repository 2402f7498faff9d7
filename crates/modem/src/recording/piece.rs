//! A piece of a recording, as the port gave it.

/// A piece of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Sent(Vec<u8>),
    Received(Vec<u8>),
    /// The engine took a line before this place for a URC.
    Urc,
    /// A comment.
    Note(String),
}
