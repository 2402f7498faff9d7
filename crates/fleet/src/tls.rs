//! TLS of a session: the places of its certificates, and reading them.

use secrecy::ExposeSecret;

use crate::pem;
use crate::secret::{Ref, SecretError};

/// The security of a session over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The authorities that may have signed the broker's certificate. None: `insecure: true`, and any
    /// certificate is taken.
    pub ca: Option<Ref>,
    /// The client's certificate and key, if the broker asks for them.
    pub identity: Option<Identity>,
}

/// A client certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate.
    pub cert: Ref,
    /// Its private key.
    pub key: Ref,
}

impl Tls {
    /// Reports whether the broker is not authenticated.
    pub fn is_insecure(&self) -> bool {
        self.ca.is_none()
    }

    /// The files it is made of.
    pub fn files(&self) -> impl Iterator<Item = &Ref> {
        let identity = self.identity.iter().flat_map(|Identity { cert, key }| [cert, key]);
        self.ca.iter().chain(identity)
    }

    /// Reads the files now, so that a renewed certificate needs no reload.
    ///
    /// # Errors
    /// [`SecretError`] if a file cannot be read or has another content.
    pub fn read(&self) -> Result<modem::tls::Tls, SecretError> {
        let identity = |identity: &Identity| {
            Ok(modem::tls::Identity {
                cert: certificates(&identity.cert)?,
                key: private_key(&identity.key)?,
            })
        };
        Ok(modem::tls::Tls {
            ca: self.ca.as_ref().map(certificates).transpose()?,
            identity: self.identity.as_ref().map(identity).transpose()?,
        })
    }
}

/// The certificates of a file and nothing else of it, as PEM.
pub(super) fn certificates(file: &Ref) -> Result<String, SecretError> {
    let text = file.read()?;
    pem::certificates(text.expose_secret()).map_err(|fault| file.unusable(fault))
}

/// The private key of a file and nothing else of it, as PEM.
pub(super) fn private_key(file: &Ref) -> Result<secrecy::SecretString, SecretError> {
    let text = file.read()?;
    pem::private_key(text.expose_secret()).map_err(|fault| file.unusable(fault))
}
