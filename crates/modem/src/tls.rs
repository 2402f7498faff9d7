//! What a modem's own TLS is told: whom to trust, and who it is.

use secrecy::SecretString;

/// TLS of a connection. Whether a modem compares the broker's host name with its certificate is the
/// firmware's matter; of the families known here no manual says it.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The certificates of the authorities that may have signed the broker's, as PEM. None: the modem
    /// takes any certificate.
    pub ca: Option<String>,
    /// What the modem shows, where the broker asks for it.
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
