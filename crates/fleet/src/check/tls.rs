//! `tls` of brokers and sessions: a session's own keys come before those of its broker.

use std::collections::HashMap;
use std::time::SystemTime;

use super::super::tls::{Identity, Tls, certificates, private_key};
use super::super::words;
use super::build::{Build, Certificate, Place};
use crate::pem;
use crate::secret::{Ref, Rule};

/// What a `tls` mapping gives.
#[derive(Clone, Default)]
pub(super) struct TlsKeys {
    ca: Option<Ref>,
    identity: Option<Identity>,
    insecure: Option<bool>,
    /// One of them was given and is wrong: what is missing for it need not be told as well.
    faulty: bool,
}

impl TlsKeys {
    /// Whether it says by whom the broker's certificate must be signed, or that this does not matter.
    pub(super) fn judges(&self) -> bool {
        self.ca.is_some() || self.insecure == Some(true) || self.faulty
    }

    pub(super) fn has_identity(&self) -> bool {
        self.identity.is_some() || self.faulty
    }

    /// These keys, and for what they do not say those of `broker`.
    pub(super) fn over(self, broker: &Self) -> Self {
        // An authority of its own, or `insecure: false`, ends what the broker's `insecure: true` allows.
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

    /// What a session runs with; `None` where that was refused.
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
            let help = "leave one of them out: with `ca` the broker's certificate is checked";
            return self.error(place, message, Some(help.to_owned()));
        }
        let message =
            "`insecure: true`: whoever is on the way can read and change everything, passwords too";
        let help = "give the authority's certificate: `ca: /etc/modemfleet/ca.pem`";
        self.warn(place, message, Some(help.to_owned()));
    }

    /// A file of certificates or a key: its path, or where a secret lies.
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

    /// Looks into the certificates: what is wrong with one may be cured while the agent runs, so that
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

/// What is to be said of a certificate file, and what to do.
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
            faults.push((message, "renew it; modems refuse it, or the broker does"));
        } else if *from > now {
            let message = format!("a certificate in {file} is not valid before {}", day(*from));
            faults.push((message, "look at this machine's clock, else wait or renew it"));
        }
    }
    match &certificate.key {
        None if valid.len() > 1 => {
            let message = format!("{file} holds {} certificates", valid.len());
            faults.push((message, "it is not known whether modems read more than the first"));
        }
        None => {}
        Some(key) => {
            let fits = private_key(key).ok().and_then(|key| pem::belongs(&key, pem));
            if fits == Some(false) {
                let message = format!("the private key in {} is not that of {file}", key.place());
                faults
                    .push((message, "`cert` and `key` have to be a pair; brokers refuse this one"));
            }
        }
    }
    faults
}
