//! Certificates and keys as PEM (RFC 7468): the parts of a file for a modem, and the faults of a file.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use secrecy::{ExposeSecret, SecretString};
use x509_parser::parse_x509_certificate;
use zeroize::Zeroizing;

/// The most bytes of a file that is looked at: a certificate with the text that `openssl x509 -text` puts
/// before it.
pub const MAX_FILE: u64 = 64 * 1024;

/// AT+CCERTDOWN takes so many bytes.
const MAX_PEM: usize = 10_240;

/// From when until when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Not before this time.
    pub from: SystemTime,
    /// Not after this time.
    pub until: SystemTime,
}

/// A piece of a file between its marks, both included.
struct Block<'a> {
    label: &'a str,
    /// It may be a key.
    text: Zeroizing<String>,
}

/// The certificates of a text and nothing else of it, each line ending with LF.
///
/// # Errors
/// The fault, as the end of a sentence.
pub fn certificates(text: &str) -> Result<String, &'static str> {
    let mut pem = String::new();
    for block in blocks(text)?.iter().filter(|block| block.label == "CERTIFICATE") {
        let der = der(block).ok_or("holds a certificate whose base64 is damaged")?;
        parse_x509_certificate(&der).map_err(|_| "holds a certificate that is not X.509")?;
        pem.push_str(&block.text);
    }
    if pem.is_empty() {
        return Err("holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)");
    }
    if pem.len() > MAX_PEM {
        Err("holds more than the 10240 bytes that a modem takes")
    } else {
        Ok(pem)
    }
}

/// The private key of a text and nothing else of it.
///
/// # Errors
/// The fault, as the end of a sentence without any part of the key.
pub fn private_key(text: &str) -> Result<SecretString, &'static str> {
    let blocks = blocks(text)?;
    let mut keys = blocks.iter().filter(|block| block.label.ends_with("PRIVATE KEY"));
    let key =
        keys.next().ok_or("holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)")?;
    if keys.next().is_some() {
        return Err("holds more than one private key");
    }
    if key.label.starts_with("ENCRYPTED") || key.text.contains("ENCRYPTED") {
        return Err("holds an encrypted key; `openssl pkey -in OLD -out NEW` decrypts it");
    }
    PrivateKeyDer::from_pem_slice(key.text.as_bytes())
        .map_err(|_| "holds a private key that is damaged or of an unknown kind")?;
    Ok(SecretString::from(key.text.as_str()))
}

/// From when until when each certificate of a PEM text is valid.
pub fn validity(pem: &str) -> Vec<Validity> {
    let time = |seconds: i64| {
        let since = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { UNIX_EPOCH.checked_sub(since) } else { UNIX_EPOCH.checked_add(since) }
    };
    let of = |der: CertificateDer<'_>| {
        let (_, certificate) = parse_x509_certificate(&der).ok()?;
        let validity = certificate.validity();
        let from = time(validity.not_before.timestamp())?;
        Some(Validity { from, until: time(validity.not_after.timestamp())? })
    };
    CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(|der| of(der.ok()?)).collect()
}

/// Reports whether a key belongs to the first certificate of a PEM text; `None` if that is unknown.
pub fn belongs(key: &SecretString, cert: &str) -> Option<bool> {
    let chain = CertificateDer::pem_slice_iter(cert.as_bytes()).collect::<Result<_, _>>().ok()?;
    let key = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes()).ok()?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key).ok()?;
    match CertifiedKey::new(chain, key).keys_match() {
        Ok(()) => Some(true),
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => Some(false),
        Err(_) => None,
    }
}

fn der(block: &Block<'_>) -> Option<Vec<u8>> {
    CertificateDer::from_pem_slice(block.text.as_bytes()).ok().map(|der| der.to_vec())
}

/// The blocks of a text; the lines between them are for people.
fn blocks(text: &str) -> Result<Vec<Block<'_>>, &'static str> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut open = false;
    for line in text.lines().map(str::trim) {
        if let Some(label) = mark(line, "-----BEGIN ") {
            // All room at once: the buffers that a growing text leaves behind are not wiped.
            let text = Zeroizing::new(String::with_capacity(text.len() + 1));
            blocks.push(Block { label, text });
            open = true;
        }
        if let Some(block) = blocks.last_mut().filter(|_| open) {
            block.text.push_str(line);
            block.text.push('\n');
        }
        open &= mark(line, "-----END ").is_none();
    }
    if open { Err("holds a -----BEGIN … line without its -----END … line") } else { Ok(blocks) }
}

/// The label in a line that begins so.
fn mark<'a>(line: &'a str, begin: &str) -> Option<&'a str> {
    line.strip_prefix(begin)?.strip_suffix("-----")
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn made() -> (String, String) {
        let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn only_what_belongs_there_goes_into_the_modem() {
        let (cert, key) = made();
        let file = format!("Certificate:\n    Data: …\r\n{}\n{key}", cert.replace('\n', "\r\n"));
        assert_eq!(certificates(&file).unwrap(), cert);
        assert_eq!(private_key(&file).unwrap().expose_secret(), key);
        let curve =
            "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
        assert_eq!(private_key(&format!("{curve}{key}")).unwrap().expose_secret(), key);
    }

    #[test]
    fn what_cannot_be_used_says_why_and_shows_nothing() {
        let (cert, key) = made();
        let middle = cert.lines().nth(2).unwrap().to_owned();
        for (text, want) in [
            ("", "holds no certificate"),
            (key.as_str(), "holds no certificate"),
            (&cert.replace(&middle, "?"), "is damaged"),
            (&cert.replace(&middle, ""), "is not X.509"),
            (&cert.replace("-----END CERTIFICATE-----", ""), "without its -----END"),
            (&cert.repeat(30), "more than the 10240 bytes"),
        ] {
            assert!(certificates(text).unwrap_err().contains(want), "{text}");
        }
        let encrypted = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
        for (text, want) in [
            (cert.as_str(), "holds no private key"),
            (&encrypted, "openssl pkey"),
            (&key.repeat(2), "more than one"),
            (&key.replace("MIGH", "?"), "is damaged"),
        ] {
            let fault = private_key(text).unwrap_err();
            assert!(fault.contains(want), "{fault}");
        }
    }

    #[test]
    fn dates_are_read_and_keys_compared() {
        let ((cert, key), (_, other)) = (made(), made());
        let valid = validity(&cert);
        let [Validity { from, until }] = valid.as_slice() else { panic!("{valid:?}") };
        assert_eq!(humantime::format_rfc3339(*from).to_string(), "2020-01-01T00:00:00Z");
        assert_eq!(humantime::format_rfc3339(*until).to_string(), "2021-01-01T00:00:00Z");
        assert_eq!(belongs(&key.into(), &cert), Some(true));
        assert_eq!(belongs(&other.into(), &cert), Some(false));
        assert_eq!(belongs(&"no key".into(), &cert), None);
    }
}
