//! Ports of a modem without AT: positions in sentences of NMEA 0183, diagnostics in frames of HDLC.
//!
//! Some vendors change the order of the interfaces, and a port that is tried in vain costs six
//! seconds. Both protocols have a check sum, so that noise is not mistaken for either.

use std::time::Duration;

use tokio::time::Instant;

/// The time to wait for an answer at a port that prints positions: an AT port may print them too,
/// between its answers.
const ANSWER: Duration = Duration::from_millis(1_500);

/// The number of sentences after which a port counts as a port of positions.
const SENTENCES: u32 = 2;

/// The longest sentence that is read (NMEA 0183 has 82 bytes), and the longest frame.
const LONGEST: usize = 2_048;

/// The byte at the start and end of a frame (ISO/IEC 13239).
const FLAG: u8 = 0x7e;

/// The mark before a byte of a frame that was changed by [`CHANGE`].
const ESCAPE: u8 = 0x7d;

const CHANGE: u8 = 0x20;

/// The residue of the check sequence over an intact frame (RFC 1662, C.2).
const RESIDUE: u16 = 0xf0b8;

/// The protocol of a port that does not speak AT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Sentences of NMEA 0183.
    Nmea,
    /// Frames of HDLC, as diagnostics use them.
    Diagnostics,
    /// Nothing, at a port that no layout names.
    Silence,
}

impl Protocol {
    /// Returns the end of a sentence about the port.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nmea => "speaks NMEA, not AT",
            Self::Diagnostics => "speaks diagnostic frames, not AT",
            Self::Silence => "does not answer AT commands",
        }
    }
}

/// Detects protocols other than AT, until an answer proves that the port speaks AT.
#[derive(Debug)]
pub(crate) struct Foreign {
    since: Instant,
    sentences: u32,
    /// True once a final result code was read: the port speaks AT, whatever else it prints.
    is_at: bool,
    line: Vec<u8>,
    frame: Vec<u8>,
}

impl Foreign {
    /// Creates the detection for a port that was opened at `since`.
    pub(crate) fn new(since: Instant) -> Self {
        Self { since, sentences: 0, is_at: false, line: Vec::new(), frame: Vec::new() }
    }

    /// Reports whether it is certain that the port speaks AT.
    pub(crate) fn is_at(&self) -> bool {
        self.is_at
    }

    /// Reads bytes, and returns the protocol once it is certain.
    pub(crate) fn hear(&mut self, bytes: &[u8], now: Instant) -> Option<Protocol> {
        let mut is_frame = false;
        for byte in bytes {
            is_frame |= self.frame_byte(*byte);
            self.line_byte(*byte);
        }
        if self.is_at {
            return None;
        }
        if is_frame {
            return Some(Protocol::Diagnostics);
        }
        let is_late = now.duration_since(self.since) >= ANSWER;
        (self.sentences >= SENTENCES && is_late).then_some(Protocol::Nmea)
    }

    fn line_byte(&mut self, byte: u8) {
        if byte == b'\n' {
            let line = self.line.trim_ascii();
            self.sentences += u32::from(is_sentence(line));
            self.is_at |= matches!(line, b"OK" | b"ERROR") || line.starts_with(b"+CME ERROR:");
            self.line.clear();
        } else if self.line.len() < LONGEST {
            self.line.push(byte);
        }
    }

    /// Reports whether this byte ends an intact frame.
    fn frame_byte(&mut self, byte: u8) -> bool {
        if byte != FLAG {
            if self.frame.len() < LONGEST {
                self.frame.push(byte);
            }
            return false;
        }
        let is_right = is_frame(&self.frame);
        self.frame.clear();
        is_right
    }
}

/// Reports whether a line is a sentence: `$` or `!`, fields, `*`, and the exclusive or of the bytes
/// in between as two hexadecimal digits.
fn is_sentence(line: &[u8]) -> bool {
    let Some(body) = line.strip_prefix(b"$").or_else(|| line.strip_prefix(b"!")) else {
        return false;
    };
    let mut parts = body.rsplitn(2, |byte| *byte == b'*');
    let (Some(digits), Some(fields)) = (parts.next(), parts.next()) else { return false };
    let sum = fields.iter().fold(0, |sum, byte| sum ^ byte);
    let told = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 2);
    fields.contains(&b',') && told.and_then(|d| u8::from_str_radix(d, 16).ok()) == Some(sum)
}

/// Reports whether a frame holds a byte or more, and an intact check sequence (RFC 1662, C.2).
fn is_frame(escaped: &[u8]) -> bool {
    let (mut length, mut sum, mut change) = (0, u16::MAX, 0);
    for byte in escaped {
        if *byte == ESCAPE {
            change = CHANGE;
            continue;
        }
        length += 1;
        sum = check(sum, *byte ^ std::mem::take(&mut change));
    }
    length > 2 && sum == RESIDUE
}

fn check(sum: u16, byte: u8) -> u16 {
    (0..8).fold(
        sum ^ u16::from(byte),
        |sum, _| {
            if sum & 1 == 1 { (sum >> 1) ^ 0x8408 } else { sum >> 1 }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENTENCE: &[u8] =
        b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n";

    /// Returns a diagnostic answer to an unknown command, with a byte that needs the escape.
    fn frame() -> Vec<u8> {
        let body = [0x13, FLAG, 0x41];
        let sum = !body.iter().fold(u16::MAX, |sum, byte| check(sum, *byte));
        let mut frame = Vec::new();
        for byte in body.into_iter().chain(sum.to_le_bytes()) {
            if matches!(byte, FLAG | ESCAPE) {
                frame.extend([ESCAPE, byte ^ CHANGE]);
            } else {
                frame.push(byte);
            }
        }
        frame.push(FLAG);
        frame
    }

    fn heard(pieces: &[&[u8]], after: Duration) -> Option<Protocol> {
        let start = Instant::now();
        let mut foreign = Foreign::new(start);
        pieces.iter().find_map(|piece| foreign.hear(piece, start + after))
    }

    #[test]
    fn the_check_sequence_is_that_of_the_standard() {
        // The check value of CRC-16/X-25 in the catalogues.
        assert_eq!(!b"123456789".iter().fold(u16::MAX, |sum, byte| check(sum, *byte)), 0x906e);
    }

    #[test]
    fn positions_are_known_once_the_port_had_time_to_answer() {
        let twice = [SENTENCE, SENTENCE].concat();
        assert_eq!(heard(&[&twice], ANSWER), Some(Protocol::Nmea));
        assert_eq!(heard(&[&twice], Duration::ZERO), None, "an AT port may tell them, too");
        assert_eq!(heard(&[SENTENCE], ANSWER), None);
        let (start, rest) = twice.split_at(30);
        assert_eq!(heard(&[start, rest], ANSWER), Some(Protocol::Nmea), "cut anywhere");
    }

    #[test]
    fn frames_are_known_at_once() {
        let frame = frame();
        assert_eq!(heard(&[&frame], Duration::ZERO), Some(Protocol::Diagnostics));
        for cut in 0..frame.len() {
            let (start, rest) = frame.split_at(cut);
            let told = heard(&[b"\r\n~", start, rest], Duration::ZERO);
            assert_eq!(told, Some(Protocol::Diagnostics), "cut at {cut}");
        }
    }

    #[test]
    fn a_port_that_answers_is_one_for_at_whatever_else_it_tells() {
        let both = [b"\r\nOK\r\n", SENTENCE, SENTENCE, &frame()].concat();
        assert_eq!(heard(&[&both], ANSWER), None);
    }

    #[test]
    fn what_is_neither_is_taken_for_neither() {
        let broken = SENTENCE.to_ascii_lowercase();
        let mut damaged = frame();
        damaged[0] ^= 1;
        let long = vec![b'$'; 3 * LONGEST];
        let said: [&[u8]; 7] = [
            b"\r\nOK\r\n\r\n+CREG: 0,1\r\n",
            b"$GPGGA,1*\r\n$,*\r\n$*00\r\n$GPGGA*7A\r\n",
            b"~~~~~~~~\r\n~^#{}|\\~",
            &broken,
            &damaged,
            &long,
            b"\xff\x00$\xc3*zz\n",
        ];
        for said in said {
            assert_eq!(heard(&[said, said, said], ANSWER), None, "{said:?}");
        }
    }
}
