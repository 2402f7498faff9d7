//! The text of a file, and the places of its lines and characters.

use std::ops::Range;

/// Places are noted so often, in bytes. A table of all of them would take eight times the file.
const BLOCK: usize = 64;

/// The text of a file and the places of its lines and characters.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// The name to print.
    pub(super) file: String,
    /// The text, without a byte order mark.
    pub(super) text: String,
    /// For each block how many characters and line ends stand before it.
    before: Vec<(u32, u32)>,
}

/// Reports whether a byte begins a character.
fn begins(byte: &u8) -> bool {
    byte & 0xC0 != 0x80
}

/// So many; a file has at most a million bytes.
fn count<'a>(bytes: &'a [u8], is: impl Fn(&&'a u8) -> bool) -> u32 {
    u32::try_from(bytes.iter().filter(is).count()).unwrap_or(u32::MAX)
}

impl Source {
    pub(super) fn new(file: &str, text: String) -> Self {
        let (mut chars, mut lines) = (0_u32, 0_u32);
        let of_block = |block: &[u8]| {
            let before = (chars, lines);
            chars = chars.saturating_add(count(block, |byte| begins(byte)));
            lines = lines.saturating_add(count(block, |byte| **byte == b'\n'));
            before
        };
        let mut before: Vec<(u32, u32)> = text.as_bytes().chunks(BLOCK).map(of_block).collect();
        before.push((chars, lines));
        Self { file: file.to_owned(), text, before }
    }

    /// The byte at which the character `index` begins; the end of the text for any beyond it.
    pub(super) fn byte_of(&self, index: usize) -> usize {
        let before = |chars: u32| usize::try_from(chars).unwrap_or(usize::MAX);
        let block = self.before.partition_point(|(chars, _)| before(*chars) <= index).max(1) - 1;
        let left = index - self.before.get(block).map_or(0, |(chars, _)| before(*chars)).min(index);
        let start = (block * BLOCK).min(self.text.len());
        let rest = self.text.as_bytes().get(start..).unwrap_or_default();
        let mut begun = rest.iter().enumerate().filter(|(_, byte)| begins(byte));
        begun.nth(left).map_or(self.text.len(), |(at, _)| start + at)
    }

    /// Counts the characters, or line ends, before a byte.
    fn counted(&self, byte: usize, table: fn((u32, u32)) -> u32, is: fn(&&u8) -> bool) -> usize {
        let block = byte / BLOCK;
        let before = self.before.get(block).map_or(0, |counts| table(*counts));
        let rest = self.text.as_bytes().get(block * BLOCK..byte).unwrap_or_default();
        usize::try_from(before.saturating_add(count(rest, is))).unwrap_or(usize::MAX)
    }

    fn char_of(&self, byte: usize) -> usize {
        self.counted(byte, |(chars, _)| chars, |byte| begins(byte))
    }

    /// Line and column, both from 1, of a byte.
    pub(super) fn position(&self, byte: usize) -> (usize, usize) {
        let line = self.counted(byte, |(_, lines)| lines, |byte| **byte == b'\n');
        let column = self.char_of(byte) - self.char_of(self.line(byte).start);
        (line + 1, column + 1)
    }

    /// The line around a byte, without its end.
    pub(super) fn line(&self, byte: usize) -> Range<usize> {
        let byte = self.text.floor_char_boundary(byte);
        let before = self.text.get(..byte).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = self.text.get(byte..).unwrap_or_default();
        let end = byte + rest.find('\n').unwrap_or(rest.len());
        let text = self.text.get(start..end).unwrap_or_default();
        start..start + text.strip_suffix('\r').unwrap_or(text).len().max(byte - start)
    }

    /// At most `most` characters of a line, with up to `before` of them before `byte`.
    pub(super) fn around(
        &self,
        byte: usize,
        line: &Range<usize>,
        before: usize,
        most: usize,
    ) -> Range<usize> {
        let first = self.char_of(line.start).max(self.char_of(byte).saturating_sub(before));
        self.byte_of(first)..self.byte_of(first + most).min(line.end)
    }

    /// `span` as far as it lies in the line it begins in, without the white space at its end.
    pub(super) fn first_line(&self, span: Range<usize>) -> Range<usize> {
        let start = self.text.floor_char_boundary(span.start);
        let within = self.text.get(start..span.end).unwrap_or_default();
        let line = within.split(['\n', '\r']).next().unwrap_or_default().trim_end();
        start..start + line.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_that_counting_gives() {
        let texts = ["", "a", "\n", "ä\r\nb", &"xä\n€ \u{1f600}y".repeat(90), &"a".repeat(300)];
        for text in texts {
            let source = Source::new("f", text.to_owned());
            for (index, (at, _)) in text.char_indices().enumerate() {
                assert_eq!(source.byte_of(index), at, "{index} of {text:?}");
                let before = &text[..at];
                let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                let place = (before.matches('\n').count() + 1, column);
                assert_eq!(source.position(at), place, "{at} of {text:?}");
                let line = text.split('\n').nth(place.0 - 1).unwrap_or_default();
                assert!(text[source.line(at)].starts_with(line.trim_end_matches('\r')), "{text:?}");
            }
            assert_eq!(source.byte_of(text.chars().count()), text.len());
            assert_eq!(source.byte_of(usize::MAX), text.len());
        }
    }

    #[test]
    fn of_a_long_line_a_part_is_taken() {
        let source = Source::new("f", format!("é\n{}\nz", "ä".repeat(1000)));
        let line = source.line(502);
        assert_eq!(line, source.line(501));
        assert_eq!(line, 3..2003);
        assert_eq!(source.around(503, &line, 80, 160), 343..663);
        assert_eq!(source.around(3, &line, 80, 160), 3..323);
        assert_eq!(source.around(2003, &line, 80, 160), 1843..2003);
    }
}
