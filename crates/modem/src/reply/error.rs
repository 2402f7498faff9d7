//! The reason why a reply was not understood.

use std::fmt;

/// The reason why a reply was not understood. The text of the modem is kept, cut to
/// [`Excerpt::MAX`] characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// No line of the reply is the answer to the command.
    #[error("reading the reply to {command}: it has no {wanted}")]
    Missing {
        /// The command that was sent, for example `AT+CSQ`.
        command: &'static str,
        /// The missing part, for example `+CSQ: line`.
        wanted: &'static str,
    },
    /// One argument of the answer has a form or a value that it cannot have.
    #[error("reading the reply to {command}: {argument} should be {expected}, not {got:?}")]
    Argument {
        /// The command that was sent.
        command: &'static str,
        /// The argument's name in the standard or the manual, for example `stat`.
        argument: &'static str,
        /// The values that are allowed.
        expected: &'static str,
        /// The modem's value; empty if there is none.
        got: Excerpt,
    },
    /// The modem ended the command with an error instead of an answer.
    #[error("reading the reply to {command}: the modem refused it with {result:?}")]
    Refused {
        /// The command that was sent.
        command: &'static str,
        /// The final result code as sent.
        result: Excerpt,
    },
}

/// The first characters of a text from a modem, short enough for any log line.
#[derive(Clone, PartialEq, Eq)]
pub struct Excerpt(String);

impl Excerpt {
    /// The number of characters that are kept.
    pub const MAX: usize = 40;

    /// Returns `text`, cut to [`MAX`](Self::MAX) characters.
    pub fn new(text: &str) -> Self {
        Self(text.chars().take(Self::MAX).collect())
    }

    /// Returns the text that was kept.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As a quoted string: control bytes of a modem must not reach a terminal.
        fmt::Debug::fmt(&self.0, f)
    }
}
