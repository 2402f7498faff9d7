//! Everything but MQTT, from a host's view.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Host, in_memory, sim7600};
use modem_sim::{Access, Coverage, Model, Options, Radio, Registration, Signal};
use tokio::time::Duration;

const INSTANT: Duration = Duration::from_millis(10);

#[tokio::test]
async fn echo_is_on_after_power_and_goes_with_ate0() {
    let (_bench, mut host) = in_memory(sim7600());
    assert_eq!(host.ask("AT", "OK\r\n").await, "AT\r\r\nOK\r\n");
    assert_eq!(host.ask("ATE0", "OK\r\n").await, "ATE0\r\r\nOK\r\n");
    assert_eq!(host.ask("at+cgmm", "OK\r\n").await, "\r\nSIMCOM_SIM7600G-H\r\n\r\nOK\r\n");
    host.write("\r\n\r \r").await;
    host.silent(INSTANT).await;
    for garbage in ["hello", "AT+NOSUCH?", "AT+CESQ", "AT+CSQ;+CREG?", "AT+C5GREG?", "\u{7f}x"] {
        assert_eq!(host.ask(garbage, "ERROR\r\n").await, "\r\nERROR\r\n", "{garbage}");
    }
}

#[tokio::test]
async fn identification_has_the_prefixes_of_real_units() {
    let (_bench, mut host) = quiet(sim7600()).await;
    assert_eq!(info(&mut host, "AT+CGMR").await, "+CGMR: LE20B04SIM7600G22");
    assert!(info(&mut host, "AT+CICCID").await.starts_with("+ICCID: 8986"));
    let imei = info(&mut host, "AT+CGSN").await;
    assert!(imei.len() == 15 && imei.bytes().all(|b| b.is_ascii_digit()), "{imei}");
    assert!(info(&mut host, "ATI").await.contains(&format!("IMEI: {imei}\r\n+GCAP: +CGSM")));
    assert_eq!(info(&mut host, "AT+CSQ").await, "+CSQ: 22,99");
    assert_eq!(info(&mut host, "AT+CPMUTEMP").await, "+CPMUTEMP: 29");
    assert_eq!(
        info(&mut host, "AT+CPSI?").await,
        "+CPSI: LTE,Online,460-00,0x3100,136092930,257,EUTRAN-BAND3,1850,5,5,-94,-850,-545,15"
    );
    let (_other, mut second) = quiet(Options { index: 1, ..sim7600() }).await;
    assert_ne!(info(&mut second, "AT+CGSN").await, imei);
}

#[tokio::test]
async fn a_sim8200_tells_both_lines_of_en_dc_and_one_of_sa() {
    let (bench, mut host) = quiet(Options::new(Model::Sim8200)).await;
    let nsa = info(&mut host, "AT+CPSI?").await;
    assert!(nsa.contains("-545,15\r\n+CPSI: NR5G_NSA,644,NR5G_BAND78,627264,-960,-120,95,1,12"));
    assert_eq!(info(&mut host, "AT+COPS?").await, "+COPS: 0,0,\"CHINA MOBILE\",13");
    bench.handle.set_access(Access::Sa).await.unwrap();
    assert!(info(&mut host, "AT+CPSI?").await.starts_with("+CPSI: NR5G_SA,Online,460-00,0x3100,"));
    assert_eq!(info(&mut host, "AT+C5GREG?").await, "+C5GREG: 0,1");
    assert_eq!(info(&mut host, "AT+CEREG?").await, "+CEREG: 0,0");
}

#[tokio::test]
async fn an_a7670_tells_indexes_and_boots_with_other_lines() {
    let (_bench, mut host) = quiet(Options::new(Model::A7670)).await;
    assert_eq!(info(&mut host, "AT+CGMM").await, "A7670E-FASE");
    assert_eq!(info(&mut host, "AT+CGMI").await, "INCORPORATED");
    assert_eq!(
        info(&mut host, "AT+CPSI?").await,
        "+CPSI: LTE,Online,460-00,0x3100,136092930,257,EUTRAN-BAND3,1850,5,5,22,55,56,15"
    );
    let contexts = info(&mut host, "AT+CGDCONT?").await;
    assert!(contexts.contains("\"cmnet.MNC000.MCC460.GPRS\""), "{contexts}");
    let boot = "\r\nOK\r\n\r\n*ATREADY: 1\r\n\r\n+CPIN: READY\r\n\r\n+CGEV: EPS PDN ACT 1\r\n\
                \r\nSMS DONE\r\n\r\nPB DONE\r\n";
    assert_eq!(host.ask("AT+CRESET", "PB DONE\r\n").await, boot);
}

#[tokio::test]
async fn registration_is_reported_without_n() {
    let (bench, mut host) = quiet(sim7600()).await;
    host.ok("AT+CREG=1").await;
    host.ok("AT+CEREG=2").await;
    bench.handle.register(Registration::Searching).await.unwrap();
    host.until("\r\n+CREG: 2\r\n").await;
    host.until("\r\n+CEREG: 2\r\n").await;
    assert_eq!(info(&mut host, "AT+CPSI?").await, "+CPSI: NO SERVICE,Online");
    bench.handle.register(Registration::Roaming).await.unwrap();
    host.until("\r\n+CREG: 5\r\n").await;
    host.until("\r\n+CEREG: 5,\"3100\",\"081C9D02\",7\r\n").await;
    assert_eq!(info(&mut host, "AT+CREG?").await, "+CREG: 1,5");
    host.ok("AT+AUTOCSQ=1,1").await;
    bench.handle.set_signal(Signal { csq: 9, ..Signal::default() }).await.unwrap();
    host.until("\r\n+CSQ: 9,99\r\n").await;
    bench.handle.network(Coverage::None).await.unwrap();
    host.until("\r\n+CREG: 2\r\n").await;
}

#[tokio::test]
async fn errors_follow_cmee_and_the_sim_counts_tries_over_power() {
    let (bench, mut host) = quiet(Options { pin: Some("1234".into()), ..sim7600() }).await;
    assert_eq!(info(&mut host, "AT+CPIN?").await, "+CPIN: SIM PIN");
    assert_eq!(info(&mut host, "AT+CREG?").await, "+CREG: 0,0");
    let refused = host.ask("AT+CPIN=0000", "password\r\n").await;
    assert_eq!(refused, "\r\n+CME ERROR: incorrect password\r\n");
    host.ok("AT+CMEE=1").await;
    assert_eq!(host.ask("AT+CPIN=\"0000\"", "16\r\n").await, "\r\n+CME ERROR: 16\r\n");
    assert_eq!(info(&mut host, "AT+SPIC").await, "+SPIC: 1,10,0,10");
    bench.handle.reset().await.unwrap();
    host.until("\r\n+CPIN: SIM PIN\r\n").await;
    host.ask("ATE0", "OK\r\n").await;
    assert_eq!(info(&mut host, "AT+SPIC").await, "+SPIC: 1,10,0,10");
    host.ask("AT+CPIN=1234", "PB DONE\r\n").await;
    assert_eq!(info(&mut host, "AT+CREG?").await, "+CREG: 0,1");
    assert_eq!(info(&mut host, "AT+SPIC").await, "+SPIC: 3,10,0,10");
}

#[tokio::test]
async fn contexts_outlive_a_reset_and_echo_does_not() {
    let (_bench, mut host) = quiet(sim7600()).await;
    host.ok("AT+CGDCONT=1,\"IPV4V6\",\"iot.example\"").await;
    assert_eq!(host.ask("AT+CGDCONT=99,\"IP\",\"x\"", "ERROR\r\n").await, "\r\nERROR\r\n");
    let reset = host.ask("AT+CRESET", "PB DONE\r\n").await;
    let boot = "\r\nOK\r\n\r\nRDY\r\n\r\n+CPIN: READY\r\n\r\nSMS DONE\r\n\r\nPB DONE\r\n";
    assert_eq!(reset, boot);
    let shown = host.ask("AT+CGDCONT?", "OK\r\n").await;
    assert!(shown.starts_with("AT+CGDCONT?\r"), "{shown}");
    assert!(shown.contains("+CGDCONT: 1,\"IPV4V6\",\"iot.example\","), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_boot_takes_its_time() {
    let (bench, mut host) = in_memory(Options { boot_time: Duration::from_secs(20), ..sim7600() });
    bench.handle.reset().await.unwrap();
    host.write("AT\r").await;
    host.until("\r\nRDY\r\n").await;
    assert!(host.ask("AT+CPIN?", "busy\r\n").await.ends_with("+CME ERROR: SIM busy\r\n"));
    host.until("\r\n+CPIN: READY\r\n").await;
    assert!(host.ask("AT+CREG?", "OK\r\n").await.contains("+CREG: 0,2"));
    host.until("PB DONE\r\n").await;
    assert!(host.ask("AT+CREG?", "OK\r\n").await.contains("+CREG: 0,1"));
}

#[tokio::test(start_paused = true)]
async fn latency_stands_before_each_answer() {
    let (_bench, mut host) = in_memory(Options { latency: Duration::from_millis(30), ..sim7600() });
    let start = tokio::time::Instant::now();
    host.ask("ATE0", "OK\r\n").await;
    host.write("AT\rAT\r").await;
    host.until("OK\r\n").await;
    host.until("OK\r\n").await;
    let taken = start.elapsed();
    assert!((90..100).contains(&taken.as_millis()), "{taken:?}");
}

#[tokio::test]
async fn random_bytes_never_stop_the_modem() {
    let mut rng = fastrand::Rng::with_seed(11);
    let words: [&[u8]; 12] = [
        b"AT+CMQTT",
        b"START\r",
        b"ACCQ=0,\"a\"\r",
        b"TOPIC=0,5\r",
        b"AT+C",
        b"\"",
        b"=",
        b",",
        b"\r",
        b"99999999999999999999",
        b"?\r",
        b"\x08\x1a",
    ];
    let radio = Radio { access: Access::Lte, ..sim7600().radio };
    let (_bench, mut host) = in_memory(Options { radio, ..sim7600() });
    for _ in 0..300 {
        let mut bytes = Vec::new();
        for _ in 0..rng.usize(..40) {
            match rng.bool() {
                true => bytes.extend_from_slice(words[rng.usize(..words.len())]),
                false => bytes.push(rng.u8(..)),
            }
        }
        host.write(&bytes).await;
        drop(tokio::time::timeout(Duration::from_micros(200), host.until("\u{0}never")).await);
        host.seen.clear();
    }
    // Leaves a prompt, if any, then sends an endless line, then expects a sane answer.
    host.write(vec![b'\r'; 11_000]).await;
    host.write(vec![b'x'; 100_000]).await;
    host.ask("", "ERROR\r\n").await;
    host.ask("AT+CGMM", "SIMCOM_SIM7600G-H\r\n\r\nOK\r\n").await;
}

async fn quiet(options: Options) -> (common::Bench, Host) {
    let (bench, mut host) = in_memory(options);
    host.ask("ATE0", "OK\r\n").await;
    (bench, host)
}

/// Returns the information text of an answer that ends with `OK`.
async fn info(host: &mut Host, command: &str) -> String {
    let answer = host.ask(command, "\r\n\r\nOK\r\n").await;
    answer.trim_start().trim_end_matches("\r\n\r\nOK\r\n").to_owned()
}
