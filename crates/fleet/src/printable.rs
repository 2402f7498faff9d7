//! Text from outside for people, in terminals, logs and labels.
//!
//! A modem, a broker or a fleet file may contain anything. A control character commands a terminal, a bidirectional one
//! shows words in another order than they are written, and one that cannot be seen makes two names look alike.

use std::io::{self, Write};

/// Replacement of a character that is not shown.
pub const INSTEAD: char = char::REPLACEMENT_CHARACTER;

/// Reports whether a character does not simply print: controls, line ends of Unicode, the marks and
/// embeddings of bidirectional text (UAX #9), characters without width, noncharacters and interlinear marks.
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
        || matches!(u32::from(c), 0xFDD0..=0xFDEF)
        || u32::from(c) & 0xFFFE == 0xFFFE
}

/// The text with a mark in the place of each such character.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if is_unprintable(c) { INSTEAD } else { c }).collect()
}

/// [`printable`], line by line: for text that may have several.
pub fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// Writes a line to standard error, if there is one.
pub fn complain(words: &str) {
    let _ = writeln!(io::stderr(), "{}", printable_lines(words));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_commands_a_terminal_or_deceives_its_reader_is_replaced() {
        let controls = (0_u32..0x20).chain(0x7F..0xA0);
        let others = (0x202A..=0x202E).chain(0x2066..=0x2069);
        let single = [0x200E, 0x200F, 0x61C, 0x2028, 0x2029, 0x200B, 0x200D, 0x2060, 0xFEFF, 0xAD];
        let tags = [0xE0001, 0xE0041, 0xFFFE, 0xFFFF, 0x1FFFE, 0xFDD0];
        for code in controls.chain(others).chain(single).chain(tags) {
            let c = char::from_u32(code).unwrap();
            assert_eq!(printable(&format!("a{c}b")), "a\u{fffd}b", "U+{code:04X}");
        }
    }

    #[test]
    fn what_people_write_stays() {
        for text in
            ["", "SIM7600G-H", "Ünïcode 漢字 العربية עברית", "a b", "€", "😀", "\u{fffd}", "é"]
        {
            assert_eq!(printable(text), text);
        }
        assert_eq!(printable_lines("a\u{1b}\nb"), "a\u{fffd}\nb");
    }
}
