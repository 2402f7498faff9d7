//! One session: its broker as configured, its credentials, its certificates, and its state.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use modem::session::{SessionPhase, SessionState};

use super::Finding;
use fleet::pem::Validity;
use fleet::{Access, Session};

/// The time before an expiry at which a certificate should be renewed.
const SOON: Duration = Duration::from_secs(30 * 86_400);

/// The two ports of MQTT (IANA).
const PLAIN: u16 = 1_883;
const SECURED: u16 = 8_883;

/// A secret that the fleet file refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Its key in the fleet file.
    pub key: &'static str,
    /// Its place, in words.
    pub place: String,
    /// The reason why it cannot be used, if so.
    pub fault: Option<String>,
    /// Its file, if any user of the machine may read it.
    pub open_to_all: Option<PathBuf>,
}

/// A readable file of certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificates {
    /// `ca` or `cert`.
    pub key: &'static str,
    /// Its place, in words.
    pub place: String,
    /// The period in which each is valid.
    pub valid: Vec<Validity>,
    /// True if the private key belongs to it; `None` if that cannot be checked.
    pub fits_key: Option<bool>,
}

/// Observed facts of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The secrets that it signs in with.
    pub secrets: Vec<Secret>,
    /// Its readable certificates.
    pub certificates: Vec<Certificates>,
    /// True if its modem's profile speaks TLS; `None` if the modem is not known.
    pub speaks_tls: Option<bool>,
    /// True if its modem can sign in to Alibaba Cloud by itself; `None` if the modem is not known.
    pub signs_aliyun: Option<bool>,
    /// True if its device secret could be read and does not look like one.
    pub has_odd_secret: bool,
    /// Its state, if an agent runs.
    pub state: Option<SessionState>,
    /// The present time.
    pub now: SystemTime,
}

impl Seen {
    /// Returns the findings on the session.
    pub fn findings(&self, session: &Session) -> Vec<Finding> {
        let mut findings = vec![broker(session)];
        findings.extend(self.credentials());
        findings.extend(self.triple(session));
        findings.extend(self.tls(session));
        findings.extend(self.state.as_ref().map(state));
        findings
    }

    fn credentials(&self) -> Vec<Finding> {
        let check = "credentials";
        let mut findings: Vec<Finding> = self.secrets.iter().filter_map(unusable).collect();
        if findings.is_empty() && !self.secrets.is_empty() {
            let keys: Vec<&str> = self.secrets.iter().map(|secret| secret.key).collect();
            findings.push(Finding::ok(check, format!("{} can be read", keys.join(", "))));
        }
        findings
    }

    /// Checks the product key, the device secret and the host. Alibaba Cloud gives them a fixed
    /// form.
    fn triple(&self, session: &Session) -> Vec<Finding> {
        let check = "credentials";
        let Access::Aliyun { device, options, modem_signs, .. } = &session.access else {
            return Vec::new();
        };
        let mut findings = Vec::new();
        if *modem_signs && self.signs_aliyun == Some(false) {
            findings.push(Finding::fail(
                check,
                "`aliauth: true`, but this modem cannot sign in by itself",
                "remove `aliauth`: the agent then signs",
            ));
        }
        let key = device.product_key();
        if key.len() != 11 || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            findings.push(Finding::warn(
                check,
                format!(
                    "{key:?} does not look like a product key, which has 11 letters and digits"
                ),
                "copy it from the device's page in the console; the product's name is something else",
            ));
        }
        if self.has_odd_secret {
            findings.push(Finding::warn(
                check,
                "the device secret does not look like one, which has 32 letters and digits",
                "copy it from the device's page in the console; the product's secret and a computed password are something else",
            ));
        }
        let (host, _) = device.address(options);
        if let Some(owner) = device.foreign_host(&host) {
            findings.push(Finding::fail(
                check,
                format!("the host belongs to the product {owner}, but the device to {key}"),
                "remove `host`: it follows from the product key and the region",
            ));
        }
        findings
    }

    fn tls(&self, session: &Session) -> Vec<Finding> {
        let check = "tls";
        let Some(tls) = &session.tls else { return Vec::new() };
        let mut findings = Vec::new();
        if self.speaks_tls == Some(false) {
            findings.push(Finding::fail(
                check,
                "this modem's profile does not speak TLS",
                "use another modem for this session (`modemfleet profiles list` shows which can), or a broker with mqtt://",
            ));
        }
        if tls.is_insecure() {
            findings.push(Finding::warn(
                check,
                "`insecure: true`: the broker's certificate is not checked, so anyone on the network path can read and change everything",
                "set the certificate of its authority: `tls: { ca: FILE }`",
            ));
        }
        findings.extend(self.certificates.iter().flat_map(|file| self.certificate(file)));
        // A file that could not be read is reported with the credentials.
        let all_read = self.secrets.iter().all(|secret| secret.fault.is_none());
        if findings.is_empty() && all_read {
            let until = self.certificates.iter().flat_map(|file| &file.valid).map(|v| v.until);
            let until = until.min().map(|until| format!(", all valid until {}", day(until)));
            let message = format!("certificates can be read{}", until.unwrap_or_default());
            findings.push(Finding::ok(check, message));
        }
        findings
    }

    fn certificate(&self, file: &Certificates) -> Vec<Finding> {
        let check = "tls";
        let Certificates { key, place, valid, fits_key } = file;
        let mut findings = Vec::new();
        for Validity { from, until } in valid {
            if *until < self.now {
                let message =
                    format!("`{key}`: a certificate in {place} expired on {}", day(*until));
                findings.push(Finding::fail(
                    check,
                    message,
                    "renew it; the new file is taken up at the next connect",
                ));
            } else if *from > self.now {
                let message =
                    format!("`{key}`: a certificate in {place} is not valid before {}", day(*from));
                findings.push(Finding::fail(
                    check,
                    message,
                    "check this machine's clock; else wait for that day, or get a new certificate",
                ));
            } else if until.duration_since(self.now).is_ok_and(|left| left < SOON) {
                let message =
                    format!("`{key}`: a certificate in {place} expires on {}", day(*until));
                findings.push(Finding::warn(check, message, "renew it before that day"));
            }
        }
        if *key == "ca" && valid.len() > 1 {
            let message = format!("`ca`: {place} holds {} certificates", valid.len());
            findings.push(Finding::warn(
                check,
                message,
                "keep only the one that signed the broker's: modems may read only the first",
            ));
        }
        if *fits_key == Some(false) {
            findings.push(Finding::fail(
                check,
                format!("`key` is not the private key of the certificate in {place}"),
                "`cert` and `key` must be a pair: `openssl x509 -noout -pubkey` and `openssl pkey -pubout` must print the same",
            ));
        }
        findings
    }
}

/// Returns the finding on a secret that cannot be used, or that any user may read.
pub fn unusable(secret: &Secret) -> Option<Finding> {
    let check = "credentials";
    if let Some(fault) = &secret.fault {
        let taken_up = match secret.key {
            "pin" => "then `modemfleet reload`; a credential needs a restart of the agent",
            _ => "it is read again at each connect, without a restart of the agent",
        };
        let advice = format!("correct {}; {taken_up}", secret.place);
        return Some(Finding::fail(check, fault.clone(), advice));
    }
    let file = secret.open_to_all.as_ref()?.display();
    let message = format!("every user of this machine can read {file}");
    Some(Finding::warn(check, message, format!("`chmod 600 {file}`")))
}

/// The first ten characters of RFC 3339.
fn day(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string().chars().take(10).collect()
}

fn broker(session: &Session) -> Finding {
    let check = "broker";
    let (host, port) = session.address();
    let secured = session.tls.is_some();
    let scheme = if secured { "mqtts" } else { "mqtt" };
    let shown = format!("{scheme}://{host}:{port}");
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return Finding::warn(
            check,
            format!(
                "{shown}: the modem connects through its own network, in which that address is the modem itself"
            ),
            "use the broker's address on the internet; only simulated modems reach this one",
        );
    }
    if (secured && port == PLAIN) || (!secured && port == SECURED) {
        let usual = if secured { SECURED } else { PLAIN };
        return Finding::warn(
            check,
            format!("{shown}: this port is usually for {}", if secured { "mqtt" } else { "mqtts" }),
            format!("brokers usually have {scheme} at {usual}"),
        );
    }
    if is_private(address) {
        return Finding::warn(
            check,
            format!("{shown} is a private address, but the modem connects through its own network"),
            "only a private APN that leads there reaches it; else use the broker's address on the internet",
        );
    }
    Finding::ok(check, shown)
}

fn is_private(address: Option<IpAddr>) -> bool {
    match address {
        Some(IpAddr::V4(address)) => address.is_private() || address.is_link_local(),
        Some(IpAddr::V6(address)) => address.is_unique_local() || address.is_unicast_link_local(),
        None => false,
    }
}

/// Splits a reason that ends with advice:
/// `… failed with code 3 (socket connect failed): check the broker's …`.
fn parts(reason: Option<&str>) -> (&str, &str) {
    let reason = reason.unwrap_or("no reason is known");
    let split = reason.find("): ").and_then(|at| reason.split_at_checked(at + 1));
    split.map_or((reason, EXPLAIN), |(what, rest)| (what, rest.trim_start_matches(": ")))
}

const EXPLAIN: &str = "`modemfleet status` shows the session's state, and `modemfleet explain CODE` the meaning of a code";

fn state(state: &SessionState) -> Finding {
    let check = "session";
    let (reason, explain) = parts(state.reason.as_deref());
    match state.phase {
        SessionPhase::Connected => Finding::ok(check, "connected"),
        SessionPhase::Connecting => {
            Finding::warn(check, "connecting", "try again in a few seconds")
        }
        SessionPhase::Waiting => Finding::warn(
            check,
            match &state.reason {
                Some(reason) => format!("waits for its modem: {reason}"),
                None => "waits for its modem".to_owned(),
            },
            "see the findings for its modem first",
        ),
        SessionPhase::BackingOff => {
            Finding::fail(check, format!("not connected: {reason}"), explain)
        }
        SessionPhase::Failed => Finding::fail(check, format!("failed: {reason}"), explain),
    }
}

/// Reports whether a device secret does not look like one of Alibaba Cloud's.
pub fn is_odd_secret(secret: &str) -> bool {
    secret.len() != 32 || !secret.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The result of a try to reach a broker from this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// A program accepts connections there.
    Open,
    /// The name has no address here.
    NoName(String),
    /// Connections there fail.
    Closed(String),
}

impl Reach {
    /// Returns the finding on the try. It is only a hint, since the modem has a network of its own.
    pub fn finding(&self, host: &str, port: u16) -> Finding {
        let check = "reach";
        let only = "the modem has a network of its own, so this is a hint only";
        match self {
            Self::Open => {
                Finding::ok(check, format!("this machine reaches {host}:{port} ({only})"))
            }
            Self::NoName(why) => Finding::warn(
                check,
                format!("this machine finds no address for {host}: {why} ({only})"),
                "check the name, and whether this machine has a network at all",
            ),
            Self::Closed(why) => Finding::warn(
                check,
                format!("this machine does not reach {host}:{port}: {why} ({only})"),
                "check that the broker runs, and that no firewall blocks its port",
            ),
        }
    }
}

#[cfg(test)]
mod tests;
