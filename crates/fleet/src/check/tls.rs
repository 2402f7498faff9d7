//! `tls` of brokers and sessions: a session's own keys come before those of its broker.

use std::collections::HashMap;
use std::time::SystemTime;

use super::super::tls::{Identity, Tls, certificates, private_key};
use super::super::words;
use super::build::{Build, Certificate, Place};
use crate::pem;
use crate::secret::{Ref, Rule};

/// The values of a `tls` mapping.
#[derive(Clone, Default)]
pub(super) struct TlsKeys {
    ca: Option<Ref>,
    identity: Option<Identity>,
    insecure: Option<bool>,
    /// True if a value was given and is wrong. A message about missing values would then be noise.
    faulty: bool,
}

impl TlsKeys {
    /// Reports whether the broker's authority is known, or does not matter.
    pub(super) fn judges(&self) -> bool {
        self.ca.is_some() || self.insecure == Some(true) || self.faulty
    }

    pub(super) fn has_identity(&self) -> bool {
        self.identity.is_some() || self.faulty
    }

    /// These keys, completed by those of `broker`.
    pub(super) fn over(self, broker: &Self) -> Self {
        // The session's own authority, or `insecure: false`, overrides the broker's `insecure: true`.
        let insecure = match (self.insecure, &self.ca) {
            (Some(own), _) => Some(own),
            (None, Some(_)) => None,
            (None, None) => broker.insecure,
        };
        let ca = self.ca.or_else(|| broker.ca.clone()).filter(|_| insecure != Some(true));
        Self {
            ca,
            insecure,
            identity: self.identity.or_else(|| broker.identity.clone()),
            faulty: self.faulty || broker.faulty,
        }
    }

    /// The TLS of a session; `None` after an error.
    pub(super) fn tls(self) -> Option<Tls> {
        (self.judges() && !self.faulty).then_some(Tls { ca: self.ca, identity: self.identity })
    }
}

impl Build<'_> {
    pub(super) fn tls_keys(&mut self, place: &Place<'_>) -> TlsKeys {
        let ca = self.file(place, "ca", Rule::Certificates);
        let cert = self.file(place, "cert", Rule::Certificates);
        let key = self.file(place, "key", Rule::PrivateKey);
        // Without a default: a session's own value has priority over that of its broker.
        let insecure = self.optional(place, "insecure", words::boolean);
        if insecure == Some(true) {
            self.judge_insecure(place);
        }
        if let Some(ca) = &ca {
            self.certificate(ca, None, &place.at("ca"));
        }
        if let (Some(cert), Some(key)) = (&cert, &key) {
            self.certificate(cert, Some(key), &place.at("cert"));
        }
        let given = ["ca", "cert", "key"].into_iter().filter(|key| place.has(key)).count();
        let good = [&ca, &cert, &key].into_iter().filter(|file| file.is_some()).count();
        let faulty = good < given || (place.has("insecure") && insecure.is_none());
        let identity = cert.zip(key).map(|(cert, key)| Identity { cert, key });
        TlsKeys { ca, identity, insecure, faulty }
    }

    fn judge_insecure(&mut self, tls: &Place<'_>) {
        let place = &tls.at("insecure");
        if tls.has("ca") {
            let message = "`insecure: true` contradicts `ca`";
            let help = "remove one of the two: with `ca` the agent checks the broker's certificate";
            return self.error(place, message, Some(help.to_owned()));
        }
        let message =
            "`insecure: true`: a machine on the way can read and change everything, passwords too";
        let help = "name the authority's certificate: `ca: /etc/modemfleet/ca.pem`";
        self.warn(place, message, Some(help.to_owned()));
    }

    /// A file of certificates or a key: its path, or a reference to a secret.
    fn file(&mut self, parent: &Place<'_>, key: &str, rule: Rule) -> Option<Ref> {
        let Some(text) = parent.text(key) else { return self.secret(parent, key, rule) };
        let path = self.path(text);
        let path = self.optional(parent, key, |_| path)?;
        Some(self.remember(key, crate::secret::Source::File(path), rule, parent.at(key)))
    }

    fn certificate(&mut self, file: &Ref, key: Option<&Ref>, place: &Place<'_>) {
        self.certificates.push(Certificate {
            file: file.clone(),
            key: key.cloned(),
            span: place.span(),
            path: place.path.clone(),
        });
    }

    /// Checks the certificates. A fault of one may be cured while the agent runs, so that
    /// these are warnings. A file that cannot be read was reported with the secrets.
    pub(super) fn judge_certificates(&mut self, now: SystemTime) {
        // Of a file that thousands of keys name the faults are looked for once.
        let mut known: HashMap<_, Vec<(String, &str)>> = HashMap::new();
        for certificate in std::mem::take(&mut self.certificates) {
            if self.report.is_over() {
                break;
            }
            let Certificate { file, key, span, path } = &certificate;
            let pair = (file.use_of(), key.as_ref().map(Ref::use_of));
            let faults = known.entry(pair).or_insert_with(|| {
                let pem = certificates(file).ok();
                pem.map_or_else(Vec::new, |pem| faults(&certificate, &pem, now))
            });
            for (message, help) in faults.iter() {
                let help = Some((*help).to_owned());
                self.report.warn(self.source, span.clone(), path, message.as_str(), help);
            }
        }
    }
}

/// The faults of a certificate file, each with its cure.
fn faults(certificate: &Certificate, pem: &str, now: SystemTime) -> Vec<(String, &'static str)> {
    let mut faults = Vec::new();
    let file = certificate.file.place();
    let valid = pem::validity(pem);
    for pem::Validity { from, until } in &valid {
        let day = |time: SystemTime| {
            humantime::format_rfc3339_seconds(time).to_string().chars().take(10).collect::<String>()
        };
        if *until < now {
            let message = format!("a certificate in {file} expired on {}", day(*until));
            faults.push((
                message,
                "renew the certificate; modems or the broker refuse an expired one",
            ));
        } else if *from > now {
            let message = format!("a certificate in {file} is not valid before {}", day(*from));
            faults.push((message, "check this machine's clock, or renew the certificate"));
        }
    }
    match &certificate.key {
        None if valid.len() > 1 => {
            let message = format!("{file} holds {} certificates", valid.len());
            faults.push((message, "modems may read only the first certificate"));
        }
        None => {}
        Some(key) => {
            let fits = private_key(key).ok().and_then(|key| pem::belongs(&key, pem));
            if fits == Some(false) {
                let message =
                    format!("the private key in {} does not belong to {file}", key.place());
                faults.push((message, "`cert` and `key` must be a pair; brokers refuse this one"));
            }
        }
    }
    faults
}
