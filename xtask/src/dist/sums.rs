//! Checksums, in the format of sha256sum(1).

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Returns the SHA-256 in hexadecimal.
pub(super) fn sha256(content: &[u8]) -> String {
    let mut digits = String::new();
    for byte in Sha256::digest(content) {
        // Writing to a string does not fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// Returns the lines for these files, by name.
pub(super) fn page(mut files: Vec<(String, Vec<u8>)>) -> String {
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files.iter().map(|(name, content)| format!("{}  {name}\n", sha256(content))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_sha256sum_by_name() {
        let page = page(vec![("b".to_owned(), b"abc".to_vec()), ("a".to_owned(), Vec::new())]);
        let lines: Vec<&str> = page.lines().collect();
        assert_eq!(
            lines,
            [
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b",
            ]
        );
    }
}
