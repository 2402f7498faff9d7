//! TLS: the modem's settings decide, against a real broker with certificates.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends at the first surprise; clippy.toml frees only the test functions"
)]

mod common;

use common::{Broker, Host, in_memory};
use modem_sim::{Clock, Options};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

/// A certificate authority, with which certificates are signed.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Returns a certificate and its key.
    fn sign(&self, expired: bool) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["broker.example.com".to_owned()]).unwrap();
        // Differs from the authority's name: OpenSSL would take it for self-signed.
        params.distinguished_name.push(DnType::CommonName, "leaf");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(if expired { 2021 } else { 2040 }, 1, 1);
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (cert.pem(), key.serialize_pem())
    }

    async fn broker(&self, expired: bool, more: &str) -> Broker {
        let (cert, key) = self.sign(expired);
        Broker::with_files(&[("ca", &self.pem), ("cert", &cert), ("key", &key)], |dir| {
            format!(
                "allow_anonymous true\ncafile {dir}/ca\ncertfile {dir}/cert\nkeyfile {dir}/key\n{more}"
            )
        })
        .await
    }
}

/// The settings that a host makes in the modem before CONNECT.
#[derive(Clone, Copy)]
struct Setting<'a> {
    authmode: u8,
    ca: Option<&'a str>,
    identity: Option<&'a (String, String)>,
    more: &'a [&'a str],
}

async fn store(host: &mut Host, option: &str, file: &str, pem: &str) {
    host.fill(&format!("AT+CCERTDOWN=\"{file}\",{}", pem.len()), pem).await;
    host.ok(&format!("AT+CSSLCFG=\"{option}\",0,\"{file}\"")).await;
}

/// Returns the code with which CONNECT ends.
async fn connect(options: Options, setting: Setting<'_>) -> String {
    let (_bench, mut host) = in_memory(options);
    host.write("ATE0\r").await;
    host.until("OK\r\n").await;
    host.ok(&format!("AT+CSSLCFG=\"authmode\",0,{}", setting.authmode)).await;
    if let Some(ca) = setting.ca {
        store(&mut host, "cacert", "ca.pem", ca).await;
    }
    if let Some((cert, key)) = setting.identity {
        store(&mut host, "clientcert", "cert.pem", cert).await;
        store(&mut host, "clientkey", "key.pem", key).await;
    }
    for command in setting.more {
        host.ok(command).await;
    }
    host.ask("AT+CMQTTSTART", "+CMQTTSTART: 0\r\n\r\nOK\r\n").await;
    host.ok("AT+CMQTTACCQ=0,\"id\",1,4").await;
    host.ok("AT+CMQTTSSLCFG=0,0").await;
    host.ask("AT+CMQTTCONNECT=0,\"tcp://broker.example.com:8883\",60,1", "+CMQTTCONNECT: 0,").await;
    let code = String::from_utf8(host.until("\r\n").await).unwrap().trim().to_owned();
    if code == "0" {
        host.publish("t", b"over TLS").await;
        host.until("+CMQTTPUB: 0,0\r\n").await;
        host.ask("AT+CMQTTDISC=0,60", "+CMQTTDISC: 0,0\r\n").await;
    }
    code
}

#[tokio::test]
async fn the_settings_decide() {
    let (ours, other) = (Authority::new(), Authority::new());
    let plain = ours.broker(false, "").await;
    let mutual = ours.broker(false, "require_certificate true\n").await;
    let expired = ours.broker(true, "").await;
    let (known, stranger) = (ours.sign(false), other.sign(false));
    let none = Setting { authmode: 0, ca: None, identity: None, more: &[] };
    let ca = Setting { authmode: 1, ca: Some(&ours.pem), ..none };
    let both = Setting { authmode: 2, identity: Some(&known), ..ca };
    let strict = ["AT+CSSLCFG=\"ignorelocaltime\",0,0", "AT+CSSLCFG=\"enableSNI\",0,1"];
    let old = ["AT+CSSLCFG=\"sslversion\",0,1"];
    for (what, broker, setting, want) in [
        ("nothing is checked", &plain, none, "0"),
        ("the right CA", &plain, ca, "0"),
        ("the right CA, time and name", &plain, Setting { more: &strict, ..ca }, "0"),
        ("another CA", &plain, Setting { ca: Some(&other.pem), ..ca }, "32"),
        ("no CA", &plain, Setting { ca: None, ..ca }, "33"),
        ("a CA that is none", &plain, Setting { ca: Some("no PEM"), ..ca }, "34"),
        ("TLS 1.0", &plain, Setting { more: &old, ..ca }, "32"),
        ("an expired certificate", &expired, Setting { more: &strict, ..ca }, "32"),
        ("an expired certificate, time ignored", &expired, ca, "0"),
        ("a client certificate", &mutual, both, "0"),
        ("a client certificate, server unchecked", &mutual, Setting { authmode: 3, ..both }, "0"),
        ("no client certificate", &mutual, ca, "32"),
        ("no file of one", &mutual, Setting { identity: None, ..both }, "33"),
        ("another's", &mutual, Setting { identity: Some(&stranger), ..both }, "32"),
    ] {
        assert_eq!(connect(broker.options(), setting).await, want, "{what}");
    }
    let unset = Options { clock: Clock::Unset, ..plain.options() };
    let set = ["AT+CSSLCFG=\"ignorelocaltime\",0,0", "AT+CCLK=\"30/01/01,00:00:00+00\""];
    assert_eq!(connect(unset.clone(), Setting { more: &set[..1], ..ca }).await, "32");
    assert_eq!(connect(unset, Setting { more: &set, ..ca }).await, "0");
    let closed = Options { broker: Some("127.0.0.1:1".to_owned()), ..plain.options() };
    assert_eq!(connect(closed, ca).await, "3");
}
