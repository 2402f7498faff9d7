//! A certificate authority, brokers with its certificates, and the settings of a session for both.

use modem::mqtt::Connection;
use modem::tls::{Identity, Tls};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use crate::bench::connection;
use crate::broker::Broker;

/// The year in which its certificates end, unless a test wants another.
const LAST_YEAR: i32 = 4096;

/// A certificate authority, with a server and a client that it has signed.
pub struct Pki {
    /// The authority's own certificate, as PEM.
    pub ca: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Default for Pki {
    fn default() -> Self {
        let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { ca: params.self_signed(&key).unwrap().pem(), issuer: Issuer::new(params, key) }
    }
}

impl Pki {
    fn sign(&self, last_year: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["broker.example.com".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "leaf");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(last_year, 1, 1);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Starts a broker over TLS, with further lines in its file.
    pub async fn broker(&self, more: &str) -> Broker {
        self.broker_until(LAST_YEAR, more).await
    }

    /// Starts a broker over TLS whose certificate ends with this year's first day.
    pub async fn broker_until(&self, year: i32, more: &str) -> Broker {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = self.sign(year);
        for (name, text) in [("ca", &self.ca), ("cert", &cert), ("key", &key)] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let at = folder.path().display().to_string();
        let lines = format!(
            "allow_anonymous true\ncafile {at}/ca\ncertfile {at}/cert\nkeyfile {at}/key\n{more}"
        );
        Broker::start(folder, &lines).await
    }

    /// Returns settings with which the modem checks the broker.
    pub fn trusting(&self) -> Tls {
        Tls { ca: Some(self.ca.clone()), identity: None }
    }

    /// Returns settings with which the modem checks the broker, and the broker may check the modem.
    pub fn mutual(&self) -> Tls {
        let (cert, key) = self.sign(LAST_YEAR);
        Tls { identity: Some(Identity { cert, key: key.into() }), ..self.trusting() }
    }
}

/// Returns a connection over TLS.
pub fn over(tls: &Tls) -> Connection {
    Connection { port: 8883, tls: Some(tls.clone()), ..connection("m") }
}
