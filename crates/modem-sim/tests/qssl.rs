//! Quectel's files and MQTT over TLS, from a host's view.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends at the first surprise; clippy.toml frees only the test functions"
)]

mod common;

use common::{Broker, Host, in_memory};
use modem_sim::{Model, Options};
use rcgen::{CertificateParams, KeyPair};

fn ec25() -> Options {
    Options::new(Model::Ec25)
}

async fn quiet(host: &mut Host) {
    host.write("ATE0\r").await;
    host.until("OK\r\n").await;
}

/// Returns the modem's answer to an upload.
async fn upload(host: &mut Host, name: &str, data: &str) -> String {
    host.write(format!("AT+QFUPL=\"{name}\",{},10\r", data.len())).await;
    assert_eq!(host.until("CONNECT\r\n").await, b"\r\nCONNECT\r\n");
    host.write(data).await;
    String::from_utf8(host.until("OK\r\n").await).unwrap()
}

#[tokio::test]
async fn files_are_counted_summed_listed_and_deleted() {
    let (bench, mut host) = in_memory(ec25());
    quiet(&mut host).await;
    let said = upload(&mut host, "UFS:a.pem", "abc\r\nOK\r\n").await;
    // 6162 ^ 630d ^ 0a4f ^ 4b0d ^ 0a00
    assert_eq!(said, "\r\n+QFUPL: 9,492d\r\n\r\nOK\r\n");
    upload(&mut host, "b", "xy").await;
    let list = host.ask("AT+QFLST=\"*\"", "OK\r\n").await;
    assert_eq!(list, "\r\n+QFLST: \"UFS:a.pem\",9\r\n+QFLST: \"UFS:b\",2\r\n\r\nOK\r\n");
    for (command, said) in [
        ("AT+QFUPL=\"a.pem\",2,10", "File already existed"),
        ("AT+QFLST=\"c\"", "File not found"),
        ("AT+QFDEL=\"UFS:c\"", "Delete the file failed"),
    ] {
        let told = host.ask(command, "\r\n+CME ERROR: ").await;
        let told = told + &String::from_utf8(host.until("\r\n").await).unwrap();
        assert!(told.contains(said), "{command}: {told}");
    }
    for command in
        ["AT+QFUPL=\"\",2", "AT+QFUPL=\"x\",0", "AT+QFUPL=x,1", "AT+QFLST=1", "AT+QSSLCFG=\"x\",0"]
    {
        host.ask(command, "ERROR\r\n").await;
    }
    host.ok("AT+QFDEL=\"a.pem\"").await;
    // Files outlive a boot, settings do not.
    host.ok("AT+QSSLCFG=\"sni\",5,1").await;
    let said = host.ask("AT+QSSLCFG=\"sni\",5", "OK\r\n").await;
    assert_eq!(said, "\r\n+QSSLCFG: \"sni\",5,1\r\n\r\nOK\r\n");
    host.write("AT+CFUN=1,1\r").await;
    host.until("+QIND: PB DONE\r\n").await;
    quiet(&mut host).await;
    let said = host.ask("AT+QSSLCFG=\"sni\",5", "OK\r\n").await;
    assert_eq!(said, "\r\n+QSSLCFG: \"sni\",5,0\r\n\r\nOK\r\n");
    assert_eq!(
        host.ask("AT+QFLST=\"UFS:*\"", "OK\r\n").await,
        "\r\n+QFLST: \"UFS:b\",2\r\n\r\nOK\r\n"
    );
    drop(bench);
}

/// The end of OPEN and, if OPEN succeeds, of CONN.
#[tokio::test]
async fn the_context_of_a_client_decides() {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["broker.example.com".to_owned()]).unwrap();
    let cert = params.self_signed(&key).unwrap().pem();
    let broker = Broker::with_files(&[("cert", &cert), ("key", &key.serialize_pem())], |dir| {
        format!("allow_anonymous true\ncertfile {dir}/cert\nkeyfile {dir}/key\n")
    })
    .await;
    let (_bench, mut host) = in_memory(Options { broker: broker.options().broker, ..ec25() });
    quiet(&mut host).await;
    upload(&mut host, "ca.pem", &cert).await;
    let other = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    upload(&mut host, "other.pem", &other).await;
    for (ssl, settings, end) in [
        ("1,3", &["seclevel\",3,0"][..], "0"),
        ("1,3", &["seclevel\",3,1"], "-1"), // no file is named
        ("1,3", &["cacert\",3,\"UFS:ca.pem\""], "0"),
        ("1,3", &["sslversion\",3,1"], "-1"),
        ("1,4", &["seclevel\",4,0"], "0"),
        ("1,5", &["seclevel\",5,1", "cacert\",5,\"other.pem\""], "-1"),
        ("1,5", &["ignoreinvalidcertsign\",5,1"], "0"),
        ("1,5", &["ignoreinvalidcertsign\",5,0"], "-1"),
        ("1,5", &["ignoremulticertchainverify\",5,1"], "0"),
        ("1,5", &["ignoremulticertchainverify\",5,0", "ignorecertitem\",5,1048575"], "0"),
        ("1,5", &["ignorecertitem\",5,0"], "-1"),
        ("1,5", &["seclevel\",5,0", "checkhost\",5,1"], "0"),
    ] {
        for setting in settings {
            host.ok(&format!("AT+QSSLCFG=\"{setting}")).await;
        }
        host.ok(&format!("AT+QMTCFG=\"ssl\",1,{ssl}")).await;
        host.ask("AT+QMTOPEN=1,\"broker.example.com\",8883", "+QMTOPEN: 1,").await;
        let said = String::from_utf8(host.until("\r\n").await).unwrap();
        assert_eq!(said.trim(), end, "{ssl} {settings:?}");
        if end == "0" {
            host.ask("AT+QMTCONN=1,\"id\"", "+QMTCONN: 1,0,0\r\n").await;
            host.ask("AT+QMTDISC=1", "+QMTDISC: 1,0\r\n").await;
        }
    }
    host.ask("AT+QMTOPEN=1,\"other.example.com\",8883", "+QMTOPEN: 1,-1\r\n").await;
    host.ok("AT+QSSLCFG=\"checkhost\",5,0").await;
    host.ask("AT+QMTOPEN=1,\"other.example.com\",8883", "+QMTOPEN: 1,0\r\n").await;
    for refused in ["AT+QMTCFG=\"ssl\",1,1", "AT+QMTCFG=\"ssl\",1,1,6", "AT+QMTCFG=\"ssl\",1,2,0"] {
        host.ask(refused, "ERROR\r\n").await;
    }
}
