//! The settings of a modem's own TLS: the trusted authorities, the client's identity, and their
//! files in the modem.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

pub use crate::clock::set_clock;
use crate::message::Client;

/// TLS of a connection. It depends on the firmware whether a modem compares the broker's host name
/// with its certificate; no manual of the families known here says so.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The certificates of the authorities that may have signed the broker's, as PEM. With `None`
    /// the modem accepts any certificate.
    pub ca: Option<String>,
    /// The modem's own certificate, if the broker asks for one.
    pub identity: Option<Identity>,
}

/// A client certificate and its key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate, and those between it and an authority, as PEM.
    pub cert: String,
    /// Its private key, as PEM, not encrypted.
    pub key: SecretString,
}

/// A file that a client needs in the modem. Its name has the hash of its content, so that a present
/// file need not be read, and a changed file has another name. The names begin with our own word
/// and the client's index: nothing else in the modem's flash is touched.
pub struct File<'a> {
    /// Its purpose: `cacert`, `clientcert` or `clientkey`, the options of `AT+CSSLCFG` and
    /// `AT+QSSLCFG`.
    pub option: &'static str,
    /// Its name in the modem.
    pub name: String,
    /// PEM.
    pub content: &'a str,
}

impl<'a> File<'a> {
    fn new(client: Client, option: &'static str, word: &str, content: &'a str) -> Self {
        let hash = Sha256::digest(content.as_bytes());
        let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { option, name: format!("{}{word}-{hash}.pem", prefix(client)), content }
    }
}

/// Returns the beginning of the names of a client's files.
fn prefix(client: Client) -> String {
    format!("mf{}-", client.0)
}

/// Returns the files that a connection of this client needs.
pub fn files(client: Client, tls: &Tls) -> Vec<File<'_>> {
    let mut files = Vec::new();
    if let Some(ca) = &tls.ca {
        files.push(File::new(client, "cacert", "ca", ca));
    }
    if let Some(identity) = &tls.identity {
        files.push(File::new(client, "clientcert", "cert", &identity.cert));
        files.push(File::new(client, "clientkey", "key", identity.key.expose_secret()));
    }
    files
}

/// Reports whether a file is ours, of this client, and not needed.
pub fn is_unused(name: &str, client: Client, needed: &[File<'_>]) -> bool {
    name.starts_with(&prefix(client)) && !needed.iter().any(|file| file.name == name)
}

/// The files that were put into a modem, whole, through one port since it was opened. Clones share
/// it.
///
/// A file of an earlier time has the right name and may have another content. An interrupted upload
/// takes the next bytes that are written as its rest, even the first question of the next run. As
/// long as a handshake works, such a file is as good as any.
#[derive(Debug, Clone, Default)]
pub struct Written(Arc<Mutex<BTreeSet<String>>>);

impl Written {
    /// Notes that this file is whole.
    pub fn note(&self, file: &File<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(file.name.clone());
    }

    /// Returns the names of a connection's files that are not known to be whole. After a failed
    /// handshake they are removed, so that the next connect uploads them again. Each is uploaded
    /// once, since it is known to be whole then. So a failure for another reason does not wear the
    /// modem's flash.
    pub fn doubtful(&self, client: Client, tls: &Tls) -> Vec<String> {
        let sound = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let names = files(client, tls).into_iter().map(|file| file.name);
        names.filter(|name| !sound.contains(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_by_client_kind_and_content() {
        let tls = Tls { ca: Some("a".to_owned()), identity: None };
        let [file] = files(Client(1), &tls).try_into().unwrap_or_else(|_| panic!("one file"));
        assert_eq!((file.option, file.name.as_str()), ("cacert", "mf1-ca-ca978112ca1bbdca.pem"));
        for (name, unused) in [
            ("mf1-ca-ca978112ca1bbdca.pem", false),
            ("mf1-ca-0000000000000000.pem", true),
            ("mf0-ca-0000000000000000.pem", false),
            ("mf10-ca-000000000000000.pem", false),
            ("server-ca.pem", false),
        ] {
            assert_eq!(is_unused(name, Client(1), std::slice::from_ref(&file)), unused, "{name}");
        }
    }
}
