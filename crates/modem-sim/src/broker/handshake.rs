//! TLS to the broker, with the modem's own files, settings and clock.
//!
//! It is unknown if a real modem compares the name in the broker's certificate with the host by default. Here
//! the name is compared only if a setting requests it: a host must not rely on the comparison.

use std::{net::IpAddr, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::failure::Failure;
use crate::port::Wire;

/// The number of times that a certificate's own time replaces the present, if the time is to be ignored: a
/// chain is at most this long.
const CHAIN: usize = 5;

/// The settings of a TLS connection.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    /// The host of the URL.
    pub(crate) host: String,
    /// 0 SSL 3 to 3 TLS 1.2, 4 all.
    pub(crate) version: u32,
    /// True if the broker has to show a certificate that the CA has signed (authmode 1 and 2).
    pub(crate) checks_server: bool,
    /// True if that certificate has to be the host's.
    pub(crate) checks_name: bool,
    /// True if the modem shows a certificate of its own (authmode 2 and 3).
    pub(crate) shows_client: bool,
    pub(crate) ignores_time: bool,
    pub(crate) sends_name: bool,
    /// The files that the settings name, if they exist.
    pub(crate) ca: Option<Vec<u8>>,
    pub(crate) cert: Option<Vec<u8>>,
    pub(crate) key: Option<Vec<u8>>,
    /// The modem's clock, seconds since 1970.
    pub(crate) now: i64,
}

/// Speaks TLS over a TCP connection. The modem's code for each failure is inferred from the codes' names and
/// from users' reports; no manual has it.
pub(crate) async fn handshake(stream: TcpStream, terms: &Terms) -> Result<Box<dyn Wire>, Failure> {
    let config = config(terms)?;
    let name = ServerName::try_from(terms.host.clone());
    // A name that TLS cannot carry is not sent, and no certificate matches it.
    let name = name.unwrap_or_else(|_| ServerName::IpAddress(IpAddr::from([0, 0, 0, 0]).into()));
    match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => {
            tracing::debug!(%error, "the TLS handshake failed");
            Err(Failure::Handshake)
        }
    }
}

fn config(terms: &Terms) -> Result<ClientConfig, Failure> {
    if terms.version < 3 {
        tracing::debug!("rustls speaks TLS 1.2 only, of what the modem speaks");
        return Err(Failure::Handshake);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier {
        roots: if terms.checks_server { Some(roots(terms)?) } else { None },
        now: UnixTime::since_unix_epoch(std::time::Duration::from_secs(
            u64::try_from(terms.now).unwrap_or(0),
        )),
        checks_name: terms.checks_name,
        ignores_time: terms.ignores_time,
        provider: Arc::clone(&provider),
    };
    let config = ClientConfig::builder_with_provider(provider)
        // The modem's newest version is 1.2.
        .with_protocol_versions(&[&rustls::version::TLS12])
        .map_err(|_| Failure::Handshake)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = if terms.shows_client {
        let (cert, key) =
            terms.cert.as_ref().zip(terms.key.as_ref()).ok_or(Failure::NoCertificate)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(Failure::BadCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| Failure::BadCertificate)?;
        config.with_client_auth_cert(chain, key).map_err(|_| Failure::BadCertificate)?
    } else {
        config.with_no_client_auth()
    };
    config.enable_sni = terms.sends_name;
    Ok(config)
}

fn roots(terms: &Terms) -> Result<RootCertStore, Failure> {
    let ca = terms.ca.as_ref().ok_or(Failure::NoCertificate)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca) {
        let certificate = certificate.map_err(|_| Failure::BadCertificate)?;
        roots.add(certificate).map_err(|_| Failure::BadCertificate)?;
    }
    if roots.is_empty() { Err(Failure::BadCertificate) } else { Ok(roots) }
}

/// Checks the broker's certificate according to the settings.
#[derive(Debug)]
struct Verifier {
    /// `None`: any certificate is accepted.
    roots: Option<RootCertStore>,
    checks_name: bool,
    now: UnixTime,
    ignores_time: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        if self.checks_name {
            verify_server_name(&certificate, name)?;
        }
        let Some(roots) = &self.roots else { return Ok(ServerCertVerified::assertion()) };
        let algorithms = self.provider.signature_verification_algorithms.all;
        let mut now = self.now;
        for _ in 0..CHAIN {
            let verified = verify_server_cert_signed_by_trust_anchor(
                &certificate,
                roots,
                intermediates,
                now,
                algorithms,
            );
            now = match verified {
                Err(Error::InvalidCertificate(CertificateError::ExpiredContext {
                    not_after,
                    ..
                })) if self.ignores_time => not_after,
                Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
                    not_before,
                    ..
                })) if self.ignores_time => not_before,
                verified => return verified.map(|()| ServerCertVerified::assertion()),
            };
        }
        Err(Error::InvalidCertificate(CertificateError::Expired))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
