//! Bytes as hexadecimal digits, and back.

use std::fmt::Write as _;

/// Writes two digits for each byte, in capitals as the modem prints them.
pub(super) fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut digits, byte| {
        // Writing to a string never fails.
        let _ = write!(digits, "{byte:02X}");
        digits
    })
}

/// Reads the bytes of an even number of digits, in either case; `None` for anything else.
pub(super) fn bytes(digits: &str) -> Option<Vec<u8>> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(nibble(*high)? * 16 + nibble(*low)?)).collect()
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back_and_nothing_else_is_taken() {
        let every: Vec<u8> = (0..=255).collect();
        assert_eq!(bytes(&digits(&every)), Some(every));
        assert_eq!(bytes("4f4E"), Some(b"ON".to_vec()));
        assert_eq!(bytes(""), Some(Vec::new()));
        for odd in ["4", "4g", "+1", "4F4", " 4F", "é"] {
            assert_eq!(bytes(odd), None, "{odd}");
        }
    }
}
