//! TLS: its required keys, and the facts that are read from certificates.

use super::*;

#[test]
fn what_tls_needs_and_what_it_has_no_place_beside() {
    let at = |broker: &str, session: &str| {
        format!(
            "gateway: gw\nbrokers:\n  lab: {broker}\nmodems:\n  m: {{ match: {{ port: /a }}, sessions: {{ s: {session} }} }}\n"
        )
    };
    let aws = "mqtts://a1b2-ats.iot.eu-central-1.amazonaws.com";
    refused(&[
        (broker("{ url: ¶mqtts://b:8883 }"), "`tls: { insecure: true }` accepts that"),
        (at("{ url: ¶mqtts://b }", "{ broker: lab }"), "TLS needs `tls: { ca: … }`"),
        (at("{ url: ¶mqtts://b, tls: { insecure: false } }", "{ broker: lab }"), "TLS needs"),
        (
            at("{ url: mqtts://b }", "{ broker: lab, tls: ¶{ cert: c, key: k } }"),
            "the certificate of the authority that signed the broker's certificate",
        ),
        (
            at(
                "{ url: mqtts://b, tls: { insecure: true } }",
                "{ broker: lab, tls: ¶{ insecure: false } }",
            ),
            "TLS needs `tls: { ca: … }`",
        ),
        (broker("{ url: mqtt://b, ¶tls: { ca: x } }"), "write `url: mqtts://b:8883`"),
        (
            at("{ url: mqtt://b }", "{ broker: lab, ¶tls: { ca: x } }"),
            "needs a broker with `url: mqtts://…`",
        ),
        (broker("{ url: mqtts://b, tls: { ca: x, insecure: ¶true } }"), "contradicts `ca`"),
        (broker("{ url: mqtts://b, tls: { ca: x, insecure: ¶yes } }"), "write `true`"),
        (broker("{ url: mqtts://b, tls: { ca: x, ¶cert: c } }"), "`cert` needs `key`"),
        (broker("{ url: mqtts://b, tls: { ca: x, ¶key: c } }"), "`key` needs `cert`"),
        (broker("{ url: mqtts://b, tls: { ¶cacert: c } }"), "unknown key `cacert` in `tls`"),
        (broker("{ url: mqtts://b, tls: { ca: ¶[x] } }"), "must be the path of a file"),
        (broker("{ url: mqtts://b, tls: { ¶ca: {} } }"), "exactly one of"),
        (broker("{ url: mqtts://b, tls: ¶x }"), "must be a mapping"),
        (
            broker("{ url: mqtts://b, tls: { ca: ¶\"-----BEGIN CERTIFICATE-----\" } }"),
            "not its content",
        ),
        (broker("{ url: ¶ssl://b }"), "write `mqtts://b`"),
        (top("brokers:\n  ¶lab: { provider: aws }"), "`lab` needs `url`"),
        (broker("{ provider: aws, url: ¶mqtt://b }"), "write `mqtts://b:8883`"),
        (broker("{ provider: aws, url: ¶mqtts://b }"), "must be an ATS endpoint"),
        (
            broker("{ provider: aws, url: ¶mqtts://a1b2.iot.eu-central-1.amazonaws.com }"),
            "iot:Data-ATS",
        ),
        (
            broker(&format!("{{ provider: aws, url: {aws}, ¶username: u }}")),
            "not allowed with `provider: aws`",
        ),
        (
            at(&format!("{{ provider: aws, url: {aws}, tls: {{ ca: x }} }}"), "¶{ broker: lab }")
                .replace("s: ¶{", "¶s: {"),
            "needs `tls: { cert: …, key: … }`",
        ),
    ]);
    for taken in [
        at("{ url: mqtts://b, tls: { ca: x } }", "{ broker: lab }"),
        at("{ url: mqtts://b }", "{ broker: lab, tls: { ca: { credential: ca } } }"),
        at(
            "{ url: mqtts://b, tls: { ca: x } }",
            "{ broker: lab, tls: { cert: c, key: { env: K } } }",
        ),
        at(
            &format!("{{ provider: aws, url: {aws}, tls: {{ ca: x }} }}"),
            "{ broker: lab, tls: { cert: c, key: k } }",
        ),
        at(
            "{ provider: aws, url: mqtts://a1.ats.iot.cn-north-1.amazonaws.com.cn, tls: { ca: x, cert: c, key: k } }",
            "{ broker: lab }",
        ),
        aliyun("        securemode: 2\n        tls: { ca: x }\n"),
    ] {
        assert!(parse(&taken).is_ok(), "{taken}\n{}", parse(&taken).unwrap_err());
    }
    let insecure = at("{ url: mqtts://b, tls: { insecure: ¶true } }", "{ broker: lab }");
    expect(&insecure, Severity::Warning, "a machine on the way can read and change everything");
}

#[test]
fn a_private_key_in_the_file_is_shown_to_nobody() {
    let secret = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQ";
    let block = format!(
        "|\n        -----BEGIN PRIVATE KEY-----\n        {secret}\n        -----END PRIVATE KEY-----\n"
    );
    let inline = format!(
        "brokers:\n  b:\n    url: mqtts://b\n    tls:\n      ca: x\n      cert: c\n      key: {block}"
    );
    let broken = format!("{inline}  ]: [\n");
    for text in [top(&inline), broken, top(&inline.replace("key: |", "kye: |"))] {
        let told = parse(&text).unwrap_err().render(false);
        assert!(!told.contains(secret), "{told}");
    }
}

#[test]
fn a_session_completes_its_brokers_tls() {
    let text = "gateway: gw\nbrokers:\n  lab: { url: mqtts://b, tls: { ca: ca.pem, cert: c.pem, key: k.pem } }\nmodems:\n  m:\n    match: { port: /a }\n    sessions:\n      own: { broker: lab, tls: { cert: own.pem, key: { env: K } } }\n      any: { broker: lab, tls: { insecure: true }, client_id: x }\n      same: { broker: lab, client_id: y }\n";
    let fleet = parse(text).unwrap().fleet;
    let words = |session: &fleet::Session| {
        let tls = session.tls.clone().unwrap();
        let identity = tls.identity.unwrap();
        format!(
            "{:?} {} {}",
            tls.ca.map(|ca| ca.place()),
            identity.cert.place(),
            identity.key.place()
        )
    };
    let all: Vec<String> = fleet.sessions().map(words).collect();
    let ca = "Some(\"/etc/modemfleet/ca.pem\")";
    assert_eq!(
        all,
        [
            format!("{ca} /etc/modemfleet/own.pem the environment variable K"),
            "None /etc/modemfleet/c.pem /etc/modemfleet/k.pem".to_owned(),
            format!("{ca} /etc/modemfleet/c.pem /etc/modemfleet/k.pem"),
        ]
    );
    assert_eq!(fleet.sessions().next().unwrap().address(), ("b".to_owned(), 8883));
}

/// Returns a certificate for these years, and its key.
fn made(years: (i32, i32)) -> (String, String) {
    let (key, mut params) =
        (rcgen::KeyPair::generate().unwrap(), rcgen::CertificateParams::default());
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn certificates_are_looked_into() {
    let ((good, key), (old, _), (young, _)) =
        (made((2020, 2060)), made((2020, 2021)), made((2059, 2060)));
    let other = made((2020, 2060)).1;
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
    };
    let context = Context { folder: folder.path().to_owned(), secrets: Secrets::Read, ..context() };
    let check = |ca: &str, cert: &str, key: &str| {
        put("ca", ca);
        put("cert", cert);
        put("key", key);
        let tls = "{ url: mqtts://b, tls: { ca: ca, cert: cert, key: key } }";
        let told = fleet::parse("f", broker(tls).into_bytes(), &context);
        told.map_or_else(|problems| problems.render(false), |loaded| loaded.warnings.render(false))
    };
    assert_eq!(check(&good, &good, &key), "");
    for (ca, cert, key, want) in [
        (&old, &good, &key, "warning: a certificate in"),
        (&old, &good, &key, "expired on 2021-01-01"),
        (&young, &good, &key, "is not valid before 2059-01-01"),
        (&good, &old, &other, "expired on 2021-01-01"),
        (&good, &good, &other, "does not belong to"),
        (&format!("{good}{old}"), &good, &key, "holds 2 certificates"),
        (&key, &good, &key, "error: `ca`: "),
        (&key, &good, &key, "holds no certificate in PEM form"),
        (&good, &good, &good, "holds no private key in PEM form"),
        (&good, &good, &key.replace("PRIVATE", "ENCRYPTED PRIVATE"), "openssl pkey"),
    ] {
        let told = check(ca, cert, key);
        assert!(told.contains(want), "{want}: {told}");
        assert!(!told.contains(key.lines().nth(1).unwrap()), "{told}");
    }
    fs::remove_file(folder.path().join("ca")).unwrap();
    let told =
        fleet::parse("f", broker("{ url: mqtts://b, tls: { ca: ca } }").into_bytes(), &context);
    assert!(told.unwrap_err().render(false).contains("there is no such file"));
}
