//! The line of messages: its ends, and its size.

use crate::{
    message::Seq,
    number::{to_i64, to_u64},
};

/// The ends of the line of messages, and its size.
///
/// Messages leave at the front only, and no number is given twice: `first` and `last` only grow, and
/// the sizes with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// The first message, or the next number if there are no messages.
    first: Seq,
    /// The last message that was ever put.
    last: Seq,
    /// The size of all messages before the first.
    before: i64,
    /// The size of all messages ever put.
    total: i64,
}

impl Default for Line {
    fn default() -> Self {
        Self::empty(0, 0)
    }
}

impl Line {
    /// Returns an empty line after this last message, with the size of all that were ever put.
    pub(crate) fn empty(last: Seq, total: i64) -> Self {
        Self { first: last.saturating_add(1), last, before: total, total }
    }

    /// Returns the line of these messages, with the size of all before them and of all ever put.
    pub(crate) fn of(first: Seq, last: Seq, before: i64, total: i64) -> Self {
        Self { first, last, before, total }
    }

    /// Returns the first message, or the next number if there are no messages.
    pub(crate) fn first(&self) -> Seq {
        self.first
    }

    /// Returns the last message that was ever put.
    pub(crate) fn last(&self) -> Seq {
        self.last
    }

    /// Returns the number of the next message.
    pub(crate) fn next(&self) -> Seq {
        self.last.saturating_add(1)
    }

    /// Returns the size of all messages ever put.
    pub(crate) fn total(&self) -> i64 {
        self.total
    }

    pub(crate) fn messages(&self) -> u64 {
        to_u64(self.last.saturating_sub(self.first).saturating_add(1))
    }

    pub(crate) fn bytes(&self) -> i64 {
        self.total.saturating_sub(self.before)
    }

    /// Returns the last message up to `position` that is not there any more, or not wanted again.
    pub(crate) fn behind(&self, position: Seq) -> Seq {
        position.max(self.first.saturating_sub(1))
    }

    /// Returns the number of messages after `position` that left.
    pub(crate) fn missed(&self, position: Seq) -> u64 {
        to_u64(self.first.saturating_sub(1).saturating_sub(position))
    }

    /// Reports whether a message is in the line.
    pub(crate) fn holds(&self, seq: Seq) -> bool {
        (self.first..=self.last).contains(&seq)
    }

    /// Returns the line with one more message of this size at its end.
    pub(crate) fn with(self, size: u64) -> Self {
        Self { last: self.next(), total: self.total.saturating_add(to_i64(size)), ..self }
    }

    /// Returns the line from `first` on; `before` is the size of all messages before it, which is
    /// all of them if it is not known.
    pub(crate) fn from(self, first: Seq, before: Option<i64>) -> Self {
        Self { first, before: before.unwrap_or(self.total), ..self }
    }

    /// Gives up all messages, and returns their number.
    pub(crate) fn give_up(&mut self) -> u64 {
        let lost = self.messages();
        *self = Self::empty(self.last, self.total);
        lost
    }

    /// Continues with what a file holds; `None` for a new file. If that is less than was known, all
    /// messages are given up, and their number is returned: none of those in the file may stay.
    pub(crate) fn adopt(&mut self, found: Option<Self>) -> Option<u64> {
        match found {
            Some(found) if found.last >= self.last => {
                *self = found;
                None
            }
            // Numbers are never given twice.
            _ => Some(self.give_up()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_sizes_only_grow() {
        let mut line = Line::default();
        assert_eq!((line.messages(), line.bytes(), line.next()), (0, 0, 1));
        line = line.with(100).with(50).with(7);
        assert_eq!((line.messages(), line.bytes(), line.next()), (3, 157, 4));
        line = line.from(2, Some(100));
        assert_eq!((line.messages(), line.bytes(), line.first()), (2, 57, 2));
        assert_eq!([1, 2, 3, 4].map(|seq| line.holds(seq)), [false, true, true, false]);
        assert_eq!((line.missed(0), line.missed(1), line.missed(3)), (1, 0, 0));
        assert_eq!((line.behind(0), line.behind(2)), (1, 2));
        assert_eq!(line.from(4, None), Line::empty(3, 157));
    }

    #[test]
    fn a_file_that_lost_its_end_costs_all_that_was_known() {
        let mut line = Line::default().with(1).with(1);
        assert_eq!(line.adopt(Some(Line::of(2, 5, 9, 12))), None, "more than was known");
        assert_eq!((line.messages(), line.next()), (4, 6));
        assert_eq!(line.adopt(Some(Line::of(1, 4, 0, 8))), Some(4));
        assert_eq!((line.messages(), line.next(), line.bytes()), (0, 6, 0));
        assert_eq!(line.adopt(None), Some(0), "they were counted");
        line = line.with(1);
        assert_eq!((line.adopt(None), line.next()), (Some(1), 7));
    }
}
