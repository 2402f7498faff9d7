//! Illnesses of the modem, its card and its radio, from a host's view.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Bench, Host, in_memory, sim7600};
use modem_sim::{Model, Onset, Options, Radio, Symptom};
use tokio::time::{Duration, Instant, sleep};

/// Returns a modem with these illnesses and no echo.
async fn ill(options: Options, illnesses: &[&str]) -> (Bench, Host) {
    let onsets = illnesses.iter().map(|text| text.parse::<Onset>().unwrap()).collect();
    let (bench, mut host) = in_memory(Options { onsets, ..options });
    host.ask("ATE0", "OK\r\n").await;
    (bench, host)
}

/// Returns the answer, up to and with its last line.
async fn said(host: &mut Host, command: &str, end: &str) -> String {
    let answer = host.ask(command, &format!("{end}\r\n")).await;
    answer.split("\r\n").filter(|line| !line.is_empty()).collect::<Vec<_>>().join("|")
}

async fn seconds(count: u64) {
    sleep(Duration::from_secs(count)).await;
}

/// Returns the registration of each domain: CREG, CGREG, CEREG.
async fn domains(host: &mut Host) -> String {
    let mut stats = String::new();
    for name in ["+CREG", "+CGREG", "+CEREG"] {
        let line = said(host, &format!("AT{name}?"), "OK").await;
        let (_, stat) = line.trim_end_matches("|OK").split_once(',').unwrap();
        stats.push_str(stat);
    }
    stats
}

#[tokio::test(start_paused = true)]
async fn data_refused_for_a_while_is_given_then() {
    let (_bench, mut host) = ill(sim7600(), &["no-data=40s"]).await;
    assert_eq!(domains(&mut host).await, "111");
    assert_eq!(said(&mut host, "AT+CGACT?", "OK").await, "+CGACT: 1,0|+CGACT: 2,0|OK");
    seconds(39).await;
    assert_eq!(said(&mut host, "AT+CMQTTSTART", "ERROR").await, "+CMQTTSTART: 7|ERROR");
    seconds(2).await;
    assert_eq!(said(&mut host, "AT+CMQTTSTART", "OK").await, "+CMQTTSTART: 0|OK");
    assert_eq!(said(&mut host, "AT+CGACT?", "OK").await, "+CGACT: 1,1|+CGACT: 2,1|OK");
}

#[tokio::test(start_paused = true)]
async fn a_card_without_data_is_refused_for_ever_and_a_quectel_says_so_of_its_context() {
    let (_bench, mut host) = ill(Options::new(Model::Ec25), &["no-data=never"]).await;
    seconds(100_000).await;
    assert_eq!(domains(&mut host).await, "111");
    let open = said(&mut host, "AT+QMTOPEN=0,\"h\",1883", "+QMTOPEN: 0,3").await;
    assert_eq!(open, "OK|+QMTOPEN: 0,3");
}

#[tokio::test(start_paused = true)]
async fn a_slow_command_keeps_its_port_and_urcs_come_meanwhile() {
    let (bench, mut host) = ill(sim7600(), &["slow:+COPS:20s=never"]).await;
    let start = Instant::now();
    host.write("AT+COPS?\rAT+CSQ\r").await;
    host.silent(Duration::from_secs(19)).await;
    bench.handle.text_message("hello").await.unwrap();
    host.until("\r\n+CMTI: \"SM\",1\r\n").await;
    let cops = host.until("OK\r\n").await;
    assert_eq!(cops, b"\r\n+COPS: 0,0,\"CHINA MOBILE\",7\r\n\r\nOK\r\n");
    assert_eq!(start.elapsed().as_secs(), 20);
    host.until("+CSQ: 22,99\r\n\r\nOK\r\n").await;
    assert_eq!(start.elapsed().as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_start_may_take_a_minute_and_a_boot_forgets_it() {
    let (bench, mut host) = ill(sim7600(), &["slow:+CMQTTSTART:60s=never"]).await;
    host.write("AT+CMQTTSTART\r").await;
    host.silent(Duration::from_secs(59)).await;
    assert_eq!(host.until("OK\r\n").await, b"\r\n+CMQTTSTART: 0\r\n\r\nOK\r\n");
    let before = bench.handle.command_count();
    host.write("AT+CMQTTSTART\r").await;
    while bench.handle.command_count() == before {
        tokio::task::yield_now().await;
    }
    bench.handle.reset().await.unwrap();
    host.until("PB DONE\r\n").await;
    host.silent(Duration::from_secs(120)).await;
}

#[tokio::test(start_paused = true)]
async fn an_update_prints_and_answers_nothing_until_its_end() {
    for (name, boots) in [("update", false), ("update:boot", true)] {
        let illness = format!("{name}=50s@8s");
        let (_bench, mut host) = ill(Options::new(Model::Ec25), &[&illness]).await;
        seconds(9).await;
        host.write("AT+CSQ\r").await;
        for second in 0..50 {
            let line = format!("\r\n+QIND: \"FOTA\",\"UPDATING\",{}%\r\n", second * 2);
            assert_eq!(String::from_utf8(host.until("%\r\n").await).unwrap(), line);
        }
        let end = host.until("\"END\",0\r\n").await;
        assert_eq!(end, b"\r\n+QIND: \"FOTA\",\"END\",0\r\n");
        if boots {
            host.until("\r\nRDY\r\n").await;
            host.until("+QIND: PB DONE\r\n").await;
        }
        // The echo is back either way.
        assert_eq!(host.ask("AT", "OK\r\n").await, "AT\r\r\nOK\r\n");
    }
}

#[tokio::test(start_paused = true)]
async fn an_update_forgets_a_command_that_was_under_way() {
    let illnesses = ["slow:+CSQ:5s=never", "update=20s@3s"];
    let (_bench, mut host) = ill(Options::new(Model::Ec25), &illnesses).await;
    host.write("AT+CSQ\r").await;
    let all = String::from_utf8(host.until_timed_out("\"END\",0\r\n").await).unwrap();
    assert!(!all.contains("+CSQ") && !all.contains("OK"), "{all}");
    host.silent(Duration::from_secs(10)).await;
    host.ask("AT", "OK\r\n").await;
}

#[tokio::test(start_paused = true)]
async fn an_update_that_loses_its_supply_is_the_end_of_the_modem() {
    let (bench, mut host) = ill(Options::new(Model::Ec25), &["update=50s@1s"]).await;
    host.until("\"UPDATING\",0%\r\n").await;
    bench.handle.reset().await.unwrap();
    host.until("\"UPDATING\",2%\r\n").await;
    bench.handle.unplug().await.unwrap();
    let (ours, theirs) = tokio::io::duplex(4_096);
    bench.handle.attach(theirs).await.unwrap();
    bench.handle.plug().await.unwrap();
    let mut host = Host::new(ours);
    host.write("AT\r").await;
    host.silent(Duration::from_secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn a_weak_supply_fails_half_a_second_after_start() {
    let (_bench, mut host) = ill(sim7600(), &["brown-out:start=power"]).await;
    let start = Instant::now();
    host.ask("AT+CMQTTSTART", "+CMQTTSTART: 0\r\n\r\nOK\r\n").await;
    host.until("\r\nRDY\r\n").await;
    assert_eq!(start.elapsed().as_millis(), 500);
    host.until("PB DONE\r\n").await;
    let refused = host.ask("AT+CMQTTACCQ=0,\"c\"", "ERROR\r\n").await;
    assert_eq!(refused, "AT+CMQTTACCQ=0,\"c\"\r\r\nERROR\r\n", "echo is back, the service gone");
}

#[tokio::test]
async fn a_silent_boot_says_nothing_before_the_message_store() {
    for (model, lines) in [
        (Model::Sim7600, "\r\nSMS DONE\r\n\r\nPB DONE\r\n"),
        (Model::Ec25, "\r\n+QIND: SMS DONE\r\n\r\n+QIND: PB DONE\r\n"),
    ] {
        let (bench, mut host) = ill(Options::new(model), &["silent-boot=never"]).await;
        bench.handle.reset().await.unwrap();
        assert_eq!(String::from_utf8(host.until("PB DONE\r\n").await).unwrap(), lines);
        assert_eq!(host.ask("AT", "OK\r\n").await, "AT\r\r\nOK\r\n");
    }
}

#[tokio::test]
async fn a_card_that_fails_wants_its_supply_anew() {
    let (_bench, mut host) = ill(sim7600(), &["sim-failure=card-power"]).await;
    host.ok("AT+CMEE=1").await;
    assert_eq!(said(&mut host, "AT+CPIN?", "+CME ERROR: 13").await, "+CME ERROR: 13");
    assert_eq!(said(&mut host, "AT+CICCID", "+CME ERROR: 13").await, "+CME ERROR: 13");
    assert_eq!(domains(&mut host).await, "000");
    host.ok("AT+CFUN=4").await;
    host.ok("AT+CFUN=1").await;
    assert_eq!(said(&mut host, "AT+CPIN?", "13").await, "+CME ERROR: 13", "4 leaves the supply");
    host.ok("AT+CFUN=0").await;
    assert_eq!(said(&mut host, "AT+CFUN=1", "OK").await, "+CPIN: READY|OK");
    assert_eq!(said(&mut host, "AT+CPIN?", "OK").await, "+CPIN: READY|OK");
    assert_eq!(domains(&mut host).await, "111");
}

#[tokio::test]
async fn a_card_that_fails_is_well_after_a_boot() {
    let (_bench, mut host) = ill(sim7600(), &["sim-failure=card-power"]).await;
    let boot = host.ask("AT+CRESET", "PB DONE\r\n").await;
    assert!(boot.ends_with("RDY\r\n\r\n+CPIN: READY\r\n\r\nSMS DONE\r\n\r\nPB DONE\r\n"), "{boot}");
    // A card that nothing cures has no such lines.
    let (bench, mut host) = ill(sim7600(), &["sim-failure=never"]).await;
    bench.handle.reset().await.unwrap();
    let boot = host.ask("ATE0", "OK\r\n").await;
    assert_eq!(boot, "\r\nRDY\r\nATE0\r\r\nOK\r\n");
}

#[tokio::test(start_paused = true)]
async fn a_card_without_contact_comes_back() {
    let (_bench, mut host) = ill(sim7600(), &["sim-absent=30s@10s"]).await;
    assert_eq!(domains(&mut host).await, "111");
    seconds(11).await;
    host.ok("AT+CMEE=1").await;
    assert_eq!(said(&mut host, "AT+CPIN?", "10").await, "+CME ERROR: 10");
    assert_eq!(domains(&mut host).await, "000");
    host.until_timed_out("\r\n+CPIN: READY\r\n").await;
    assert_eq!(domains(&mut host).await, "111");
}

#[tokio::test]
async fn a_card_may_ask_for_pin_2_and_serve() {
    let (_bench, mut host) = ill(sim7600(), &["sim-pin2=never"]).await;
    assert_eq!(said(&mut host, "AT+CPIN?", "OK").await, "+CPIN: SIM PIN2|OK");
    assert_eq!(domains(&mut host).await, "111");
    assert_eq!(said(&mut host, "AT+CMQTTSTART", "OK").await, "+CMQTTSTART: 0|OK");
}

#[tokio::test]
async fn flight_mode_tells_of_the_card_and_outlives_a_boot() {
    let (bench, mut host) = ill(sim7600(), &["keeps-flight-mode=never"]).await;
    let off = host.ask("AT+CFUN=4", "NOT READY\r\n").await;
    assert_eq!(off, "\r\nOK\r\n\r\n+CPIN: NOT READY\r\n");
    bench.handle.reset().await.unwrap();
    host.until("PB DONE\r\n").await;
    host.ask("ATE0", "OK\r\n").await;
    assert_eq!(said(&mut host, "AT+CFUN?", "OK").await, "+CFUN: 4|OK");
    assert_eq!(domains(&mut host).await, "000");
    let on = host.ask("AT+CFUN=1", "READY\r\n").await;
    assert_eq!(on, "\r\nOK\r\n\r\n+CPIN: READY\r\n");
    assert_eq!(domains(&mut host).await, "111");
}

#[tokio::test]
async fn a_radio_that_was_left_off_is_off_at_the_start() {
    let (_bench, mut host) = ill(sim7600(), &["radio-off=radio-cycle"]).await;
    assert_eq!(said(&mut host, "AT+CFUN?", "OK").await, "+CFUN: 4|OK");
    assert_eq!(said(&mut host, "AT+CPIN?", "OK").await, "+CPIN: READY|OK");
    assert_eq!(domains(&mut host).await, "000");
    assert_eq!(said(&mut host, "AT+CMQTTSTART", "ERROR").await, "+CMQTTSTART: 7|ERROR");
    host.ok("AT+CFUN=1").await;
    assert_eq!(domains(&mut host).await, "111");
}

#[tokio::test]
async fn voice_without_data_shows_in_the_domains() {
    let (_bench, mut host) = ill(sim7600(), &["voice-only=never"]).await;
    assert_eq!(domains(&mut host).await, "130");
    let operator = said(&mut host, "AT+COPS?", "OK").await;
    assert_eq!(operator, "+COPS: 0,0,\"CHINA MOBILE\",7|OK");
    assert_eq!(said(&mut host, "AT+CGATT?", "OK").await, "+CGATT: 0|OK");
    assert_eq!(said(&mut host, "AT+CMQTTSTART", "ERROR").await, "+CMQTTSTART: 7|ERROR");
}

#[tokio::test]
async fn a_refused_card_stays_refused_until_the_radio_was_off() {
    let (_bench, mut host) = ill(sim7600(), &["denied=radio-cycle"]).await;
    host.ok("AT+CREG=1").await;
    assert_eq!(domains(&mut host).await, "333");
    host.ok("AT+CGATT=0").await;
    host.ok("AT+CGATT=1").await;
    assert_eq!(domains(&mut host).await, "333");
    assert_eq!(said(&mut host, "AT+CFUN=4", "OK").await, "+CREG: 0|OK");
    assert_eq!(said(&mut host, "AT+CFUN=1", "OK").await, "+CREG: 1|OK");
}

#[tokio::test(start_paused = true)]
async fn a_search_without_end_ends_by_itself_where_it_says_so() {
    let (_bench, mut host) = ill(sim7600(), &["registration=30min"]).await;
    host.ok("AT+CEREG=1").await;
    assert_eq!(domains(&mut host).await, "222");
    sleep(Duration::from_secs(1_799)).await;
    assert_eq!(domains(&mut host).await, "222");
    host.until("\r\n+CEREG: 1\r\n").await;
}

#[tokio::test]
async fn detached_is_not_registered_for_data() {
    let (_bench, mut host) = ill(sim7600(), &[]).await;
    host.ask("AT+CMQTTSTART", "OK\r\n").await;
    assert_eq!(said(&mut host, "AT+CGATT=0", "OK").await, "+CMQTTNONET|OK");
    assert_eq!(said(&mut host, "AT+CGATT?", "OK").await, "+CGATT: 0|OK");
    assert_eq!(domains(&mut host).await, "100");
    assert_eq!(said(&mut host, "AT+CMQTTSTART", "ERROR").await, "+CMQTTSTART: 7|ERROR");
    host.ok("AT+CGATT=1").await;
    assert_eq!(domains(&mut host).await, "111");
    assert_eq!(said(&mut host, "AT+CGATT=2", "ERROR").await, "ERROR");
}

#[tokio::test]
async fn an_access_point_comes_into_force_with_the_next_attach() {
    let detach: [&[&str]; 3] =
        [&["AT+CGATT=0", "AT+CGATT=1"], &["AT+CFUN=4", "AT+CFUN=1"], &["AT+CFUN=0", "AT+CFUN=1"]];
    for steps in detach {
        let radio = Radio { apn: Some("Private.apn".to_owned()), ..sim7600().radio };
        let (bench, mut host) = ill(Options { radio, ..sim7600() }, &[]).await;
        assert_eq!(domains(&mut host).await, "111");
        assert_eq!(said(&mut host, "AT+CMQTTSTART", "ERROR").await, "+CMQTTSTART: 7|ERROR");
        host.ok("AT+CGDCONT=1,\"IP\",\"private.apn\"").await;
        host.ok("AT+CGATT=1").await;
        host.ok("AT+CFUN=1").await;
        let early = said(&mut host, "AT+CMQTTSTART", "ERROR").await;
        assert_eq!(early, "+CMQTTSTART: 7|ERROR", "it was attached all the time");
        for step in steps {
            host.ok(step).await;
        }
        assert_eq!(said(&mut host, "AT+CMQTTSTART", "OK").await, "+CMQTTSTART: 0|OK", "{steps:?}");
        bench.handle.reset().await.unwrap();
        host.until("PB DONE\r\n").await;
        host.ask("AT+CMQTTSTART", "+CMQTTSTART: 0\r\n").await;
    }
}

#[tokio::test]
async fn a_login_is_kept_and_shown_as_the_family_does() {
    for (model, command, shown) in [
        (
            Model::Sim7600,
            "AT+CGAUTH=1,2,\"secret\",\"user\"",
            "+CGAUTH: 1,2,\"user\"|+CGAUTH: 2,0|OK",
        ),
        (
            Model::A7670,
            "AT+CGAUTH=1,1,\"secret\",\"user\"",
            "+CGAUTH: 1,1,\"user\",\"secret\"|+CGAUTH: 2,0|OK",
        ),
        (
            Model::Ec25,
            "AT+CGAUTH=1,2,\"user\",\"secret\"",
            "+CGAUTH: 1,2,\"user\",\"secret\"|+CGAUTH: 2,0|OK",
        ),
    ] {
        let (_bench, mut host) = ill(Options::new(model), &[]).await;
        host.ok(command).await;
        host.ok("AT+CGDCONT=1,\"IP\",\"other\"").await;
        assert_eq!(said(&mut host, "AT+CGAUTH?", "OK").await, shown);
        host.ok("AT+CGAUTH=1,0").await;
        assert_eq!(said(&mut host, "AT+CGAUTH?", "OK").await, "+CGAUTH: 1,0|+CGAUTH: 2,0|OK");
        for bad in ["AT+CGAUTH=1", "AT+CGAUTH=1,4", "AT+CGAUTH=9,1,\"x\",\"y\""] {
            assert_eq!(said(&mut host, bad, "ERROR").await, "ERROR", "{bad}");
        }
    }
}

#[tokio::test]
async fn the_last_try_of_a_pin_is_counted_where_each_vendor_counts_it() {
    let locked = |model| Options { pin: Some("1234".into()), pin_tries: 1, ..Options::new(model) };
    for (model, command, shown) in [
        (Model::Sim7600, "AT+SPIC", "+SPIC: 1,10,0,10|OK"),
        (Model::Ec25, "AT+QPINC?", "+QPINC: \"SC\",1,10|+QPINC: \"P2\",3,10|OK"),
        (Model::Ec25, "AT+QPINC=\"SC\"", "+QPINC: \"SC\",1,10|OK"),
    ] {
        let (_bench, mut host) = ill(locked(model), &[]).await;
        assert_eq!(said(&mut host, command, "OK").await, shown);
        host.ok("AT+CMEE=1").await;
        assert_eq!(said(&mut host, "AT+CPIN=0000", "12").await, "+CME ERROR: 12");
        assert_eq!(said(&mut host, "AT+CPIN?", "OK").await, "+CPIN: SIM PUK|OK");
    }
}

#[tokio::test]
async fn text_messages_go_where_cnmi_says() {
    let (bench, mut host) = ill(sim7600(), &[]).await;
    assert_eq!(said(&mut host, "AT+CNMI?", "OK").await, "+CNMI: 2,1,0,0,0|OK");
    assert_eq!(said(&mut host, "AT+CMGF?", "OK").await, "+CMGF: 0|OK");
    bench.handle.text_message("RDY").await.unwrap();
    host.until("\r\n+CMTI: \"SM\",1\r\n").await;
    host.ok("AT+CNMI=2,2,0,0,0").await;
    bench.handle.text_message("RDY").await.unwrap();
    let unit = "04 0D 91 683108100005F0 00 00 62119290000023 03 526216".replace(' ', "");
    let pdu = format!("\r\n+CMT: ,{}\r\n00{unit}\r\n", unit.len() / 2);
    assert_eq!(String::from_utf8(host.until("526216\r\n").await).unwrap(), pdu);
    host.ok("AT+CMGF=1").await;
    bench.handle.text_message("+CMQTTPUB: 0,0").await.unwrap();
    let text = host.until("+CMQTTPUB: 0,0\r\n").await;
    let said_of_it = "\r\n+CMT: \"+8613800100500\",,\"26/11/29,09:00:00+32\"\r\n+CMQTTPUB: 0,0\r\n";
    assert_eq!(String::from_utf8(text).unwrap(), said_of_it);
    host.ok("AT+CNMI=2,0").await;
    bench.handle.text_message("RDY").await.unwrap();
    host.silent(Duration::from_millis(10)).await;
    for bad in ["AT+CNMI=3", "AT+CNMI=2,4", "AT+CNMI=2,2,0,0,0,0", "AT+CMGF=2", "AT+CMGF=0,1"] {
        assert_eq!(host.ask(bad, "ERROR\r\n").await, "\r\nERROR\r\n", "{bad}");
    }
    bench.handle.reset().await.unwrap();
    host.until("PB DONE\r\n").await;
    host.ask("ATE0", "OK\r\n").await;
    host.ask("AT+CNMI?", "+CNMI: 2,1,0,0,0\r\n").await;
}

#[tokio::test]
async fn an_illness_of_one_symptom_takes_the_place_of_the_one_before() {
    let (bench, mut host) = ill(sim7600(), &["denied=never", "sim-pin2=never"]).await;
    bench.handle.fall_ill("denied=radio-cycle".parse().unwrap()).await.unwrap();
    host.ok("AT+CFUN=4").await;
    host.ok("AT+CFUN=1").await;
    assert_eq!(domains(&mut host).await, "111");
    assert_eq!(said(&mut host, "AT+CPIN?", "OK").await, "+CPIN: SIM PIN2|OK");
    bench.handle.heal(Symptom::SimPin2).await.unwrap();
    assert_eq!(said(&mut host, "AT+CPIN?", "OK").await, "+CPIN: READY|OK");
}

/// The page for operators names each illness.
#[test]
fn every_symptom_is_described() {
    let page = include_str!("../../../docs/without-hardware.md");
    for name in Symptom::all_names() {
        let name = name.split(':').next().unwrap();
        assert!(page.contains(&format!("| `{name}")), "{name}");
    }
}
