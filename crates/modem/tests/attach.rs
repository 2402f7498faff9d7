//! From an open port to a network: radio, card, access point and registration, on units with rare
//! answers.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;
mod unit;

use std::sync::Arc;

use modem::attach::{Apn, ApnProtocol};
use modem::reply::{Domain, PdpType};
use modem::{ModemConfig, State};
use unit::{Ledger, Rules, Running, config};

/// Makes rules with one answer for each command.
fn rules(rules: &[(&str, &str)]) -> Rules {
    let rules: Vec<(String, String)> =
        rules.iter().map(|(command, said)| ((*command).to_owned(), (*said).to_owned())).collect();
    Box::new(move |heard| {
        let rule = rules.iter().find(|(command, _)| match command.strip_suffix('*') {
            Some(start) => heard.starts_with(start),
            None => heard == command,
        });
        rule.map(|(_, said)| said.clone())
    })
}

fn running(config: ModemConfig, of: &[(&str, &str)]) -> Running {
    Running::new(config, &Arc::default(), rules(of))
}

// --- the card --------------------------------------------------------------------------------------

#[tokio::test]
async fn a_second_pin_stops_nothing() {
    for said in ["+CPIN: SIM PIN2||OK", "+CPIN: SIM PUK2||OK", "+CME ERROR: 17", "+CME ERROR: 18"] {
        running(config(), &[("AT+CPIN?", said)]).serves().await;
    }
}

#[tokio::test]
async fn each_lock_of_a_modem_has_its_words() {
    for (said, words) in [
        ("+CPIN: PH-SIM PIN||OK", "another SIM (PH-SIM PIN)"),
        ("+CPIN: PH-NET PIN||OK", "another operator's SIMs (PH-NET PIN)"),
        ("+CPIN: PH-NET PUK||OK", "unblocking key (PH-NET PUK)"),
        ("+CPIN: PH-CORP PIN||OK", "one company's SIMs"),
        ("+CME ERROR: 44", "another provider's SIMs"),
    ] {
        let reason = running(config(), &[("AT+CPIN?", said)]).reason(State::Sim).await;
        assert!(reason.contains(words) && reason.contains("seller"), "{said}: {reason}");
    }
}

#[tokio::test]
async fn the_last_try_of_a_pin_is_not_spent() {
    for (tries, spent) in [
        ("+CPINR: SIM PIN,1||OK", false),
        ("+CPINR: SIM PIN,0||OK", false),
        ("+CPINR: SIM PIN,2||OK", true),
        ("ERROR", true),
        ("OK", true),
    ] {
        let mut is_open = false;
        let of: Rules = Box::new(move |heard| match heard {
            "AT+CPIN?" if !is_open => Some("+CPIN: SIM PIN||OK".to_owned()),
            "AT+CPINR" => Some(tries.to_owned()),
            "AT+CPIN=\"1234\"" => {
                is_open = true;
                Some("OK".to_owned())
            }
            _ => None,
        });
        let with_pin = ModemConfig { pin: Some("1234".into()), ..config() };
        let mut running = Running::new(with_pin, &Arc::default(), of);
        if spent {
            running.serves().await;
        } else {
            let reason = running.reason(State::Sim).await;
            assert!(reason.contains("one try") && reason.contains("phone"), "{reason}");
        }
        assert_eq!(running.sent(&["AT+CPIN="]).len(), usize::from(spent), "{tries}");
    }
    // The tries left are not asked for if no try is due.
    let mut ready = running(ModemConfig { pin: Some("1234".into()), ..config() }, &[]);
    ready.serves().await;
    assert!(ready.sent(&["AT+CPINR"]).is_empty());
}

// --- the radio -------------------------------------------------------------------------------------

#[tokio::test]
async fn a_radio_that_is_off_is_switched_on_before_the_card_is_asked() {
    for (said, after) in [
        ("+CFUN: 0||OK", Some("OK")),
        ("+CFUN: 4||OK", Some("OK")),
        // A refusal is a warning, and the modem may be registered all the same.
        ("+CFUN: 4||OK", Some("ERROR")),
        ("+CFUN: 1||OK", None),
        ("+CFUN: 1,0||OK", None),
        ("+CFUN: 5||OK", None),
        ("ERROR", None),
        ("OK", None),
    ] {
        let of = [("AT+CFUN?", said), ("AT+CFUN=1", after.unwrap_or("ERROR"))];
        let mut running = running(config(), &of);
        running.serves().await;
        let order = running.sent(&["AT+CFUN=", "AT+CPIN?"]);
        let wanted: &[&str] =
            if after.is_some() { &["AT+CFUN=1", "AT+CPIN?"] } else { &["AT+CPIN?"] };
        assert_eq!(order, wanted, "{said}");
    }
}

#[tokio::test]
async fn a_card_that_comes_with_the_radio_ends_nothing_half_way() {
    let mut is_on = false;
    let of: Rules = Box::new(move |heard| match heard {
        "AT+CFUN?" => Some(format!("+CFUN: {}||OK", if is_on { 1 } else { 4 })),
        "AT+CFUN=1" => {
            is_on = true;
            Some("+CPIN: NOT READY||OK".to_owned())
        }
        _ => None,
    });
    let mut running = Running::new(config(), &Arc::default(), of);
    running.hears("AT+START", 1).await;
    running.serves().await;
    assert_eq!(running.sent(&["AT+CFUN="]), ["AT+CFUN=1"]);
}

#[tokio::test]
async fn what_another_program_owns_is_left() {
    let apn = Some(apn("private.example", Some(("user", "secret"))));
    let left = ModemConfig { radio_is_ours: false, apn, ..config() };
    let mut running = running(left, &[("AT+CFUN?", "+CFUN: 4||OK")]);
    running.serves().await;
    let changed = ["AT+CFUN=", "AT+CGATT=", "AT+CGDCONT=", "AT+CGAUTH="];
    assert!(running.sent(&changed).is_empty(), "{:?}", running.heard());
}

// --- the access point ------------------------------------------------------------------------------

fn apn(name: &str, login: Option<(&str, &str)>) -> Apn {
    Apn {
        name: name.to_owned(),
        cid: 1,
        pdp_type: None,
        login: login.map(|(user, password)| (user.to_owned(), password.into())),
        auth: None,
    }
}

/// Serves with this access point, and returns the commands that changed something, up to the
/// service's start.
async fn changes(apn: Apn, ledger: &Arc<Ledger>, of: Rules) -> Vec<String> {
    let config = ModemConfig { apn: Some(apn), ..config() };
    let mut running = Running::new(config, ledger, of);
    running.hears("AT+START", 1).await;
    running.serves().await;
    let sent = running.sent(&["AT+CGDCONT=", "AT+CGAUTH=", "AT+CFUN=", "AT+CGATT=", "AT+START"]);
    running.stop().await;
    sent
}

async fn at_first(apn: Apn, of: &[(&str, &str)]) -> Vec<String> {
    changes(apn, &Arc::default(), rules(of)).await
}

const CYCLE: [&str; 3] = ["AT+CFUN=4", "AT+CFUN=1", "AT+START"];
const SHOWN: &str = "+CGAUTH: 1,2,\"user\",\"secret\"||OK";

fn with_cycle(written: &[&str]) -> Vec<String> {
    written.iter().chain(&CYCLE).map(|line| (*line).to_owned()).collect()
}

#[tokio::test]
async fn an_access_point_that_changed_comes_into_force_once() {
    let written = at_first(apn("private.example", None), &[]).await;
    assert_eq!(written, with_cycle(&["AT+CGDCONT=1,\"IP\",\"private.example\""]));
    assert_eq!(at_first(apn("cmnet", None), &[]).await, ["AT+START"]);
    // A context that does not exist yet, under a number of its own.
    let third = Apn { cid: 3, pdp_type: Some(PdpType::Ipv4v6), ..apn("cmnet", None) };
    assert_eq!(at_first(third, &[]).await, with_cycle(&["AT+CGDCONT=3,\"IPV4V6\",\"cmnet\""]));
}

#[tokio::test]
async fn without_a_type_that_of_the_context_is_kept() {
    for (shown, wanted, written) in [
        ("IPV4V6", None, None),
        ("IPV6", None, None),
        ("PPP", None, Some("IP")),
        ("IPV4V6", Some(PdpType::Ipv4), Some("IP")),
        ("IP", Some(PdpType::Ipv4v6), Some("IPV4V6")),
    ] {
        let shown = format!("+CGDCONT: 1,\"{shown}\",\"cmnet\",\"0.0.0.0\",0,0||OK");
        let of = [("AT+CGDCONT?", shown.as_str())];
        let sent = at_first(Apn { pdp_type: wanted, ..apn("cmnet", None) }, &of).await;
        let wanted = match written {
            Some(kind) => with_cycle(&[&format!("AT+CGDCONT=1,\"{kind}\",\"cmnet\"")]),
            None => vec!["AT+START".to_owned()],
        };
        assert_eq!(sent, wanted, "{shown}");
    }
}

#[tokio::test]
async fn a_login_that_is_shown_is_written_where_it_differs() {
    let wanted = || apn("cmnet", Some(("user", "secret")));
    let login = "AT+CGAUTH=1,2,\"user\",\"secret\"";
    for (shown, written) in [
        (SHOWN, false),
        // SIMCom's order.
        ("+CGAUTH: 1,2,\"secret\",\"user\"||OK", false),
        ("+CGAUTH: 1,2,\"user\",\"other\"||OK", true),
        ("+CGAUTH: 1,2,\"other\",\"secret\"||OK", true),
        ("+CGAUTH: 1,0||OK", true),
        ("+CGAUTH: 2,2,\"user\",\"secret\"||OK", true),
    ] {
        let sent = at_first(wanted(), &[("AT+CGAUTH?", shown)]).await;
        let wanted = if written { with_cycle(&[login]) } else { vec!["AT+START".to_owned()] };
        assert_eq!(sent, wanted, "{shown}");
    }
}

/// The modem does not show it: the ledger remembers the login that came into force last.
#[tokio::test]
async fn a_login_that_is_not_shown_comes_into_force_once_for_each_that_is_given() {
    for shown in ["ERROR", "OK", "+CGAUTH: 1,2,\"user\"||OK", "+CGAUTH: 1,2,\"user\",\"***\"||OK"] {
        let ledger = Arc::default();
        for (password, cycled) in [("first", true), ("first", false), ("second", true)] {
            let of = rules(&[("AT+CGAUTH?", shown)]);
            let sent = changes(apn("cmnet", Some(("user", password))), &ledger, of).await;
            let login = format!("AT+CGAUTH=1,2,\"user\",\"{password}\"");
            let wanted =
                if cycled { with_cycle(&[&login]) } else { vec![login, "AT+START".to_owned()] };
            assert_eq!(sent, wanted, "{shown} {password}");
        }
    }
}

#[tokio::test]
async fn the_protocol_is_chosen_and_a_login_taken_away() {
    let pap = Apn { auth: Some(ApnProtocol::Pap), ..apn("cmnet", Some(("user", "secret"))) };
    let sent = at_first(pap, &[("AT+CGAUTH?", "+CGAUTH: 1,0||OK")]).await;
    assert_eq!(sent, with_cycle(&["AT+CGAUTH=1,1,\"user\",\"secret\""]));
    let none = || Apn { auth: Some(ApnProtocol::None), ..apn("cmnet", None) };
    let sent = at_first(none(), &[("AT+CGAUTH?", SHOWN)]).await;
    assert_eq!(sent, with_cycle(&["AT+CGAUTH=1,0"]));
    let sent = at_first(none(), &[("AT+CGAUTH?", "+CGAUTH: 1,0||OK")]).await;
    assert_eq!(sent, ["AT+START"]);
}

#[tokio::test]
async fn what_is_refused_stops_nothing_and_is_not_attached_for() {
    let wanted = || apn("private.example", Some(("user", "secret")));
    let refused = [("AT+CGDCONT=*", "ERROR"), ("AT+CGAUTH*", "+CME ERROR: 50")];
    let sent = at_first(wanted(), &refused).await;
    assert_eq!(sent.last().unwrap(), "AT+START");
    assert!(!sent.iter().any(|line| line.starts_with("AT+CFUN=")), "{sent:?}");
    let cannot_be_asked = [("AT+CGDCONT?", "ERROR")];
    let sent = at_first(apn("cmnet", None), &cannot_be_asked).await;
    assert_eq!(sent, with_cycle(&["AT+CGDCONT=1,\"IP\",\"cmnet\""]));
}

/// Flight mode reports that the card is not ready, late or at once, on some units.
#[tokio::test]
async fn an_attach_is_finished_whatever_the_modem_prints_meanwhile() {
    for said in ["+CPIN: NOT READY||OK", "OK||+CPIN: NOT READY", "RDY|OK", "+CPIN: SIM PIN|OK"] {
        let mut context = "cmnet".to_owned();
        let of: Rules = Box::new(move |heard| match heard {
            "AT+CGDCONT?" => Some(format!("+CGDCONT: 1,\"IP\",\"{context}\",\"\",0,0||OK")),
            "AT+CGDCONT=1,\"IP\",\"private.example\"" => {
                context = "private.example".to_owned();
                Some("OK".to_owned())
            }
            "AT+CFUN=4" => Some(said.to_owned()),
            _ => None,
        });
        let sent = changes(apn("private.example", None), &Arc::default(), of).await;
        assert_eq!(sent, with_cycle(&["AT+CGDCONT=1,\"IP\",\"private.example\""]), "{said}");
    }
}

#[tokio::test]
async fn a_modem_without_flight_mode_is_detached() {
    let sent = at_first(apn("private.example", None), &[("AT+CFUN=4", "ERROR")]).await;
    assert_eq!(sent[1..], ["AT+CFUN=4", "AT+CGATT=0", "AT+CGATT=1", "AT+START"]);
}

/// Firmware that always shows another value is not attached again for ever.
#[tokio::test]
async fn a_context_that_is_never_kept_is_attached_for_once() {
    let mut booted = false;
    let of: Rules = Box::new(move |heard| {
        let boots = heard == "AT+START" && !std::mem::replace(&mut booted, true);
        boots.then(|| "OK||+CPIN: NOT READY".to_owned())
    });
    let config = ModemConfig { apn: Some(apn("private.example", None)), ..config() };
    let mut running = Running::new(config, &Arc::default(), of);
    running.hears("AT+START", 2).await;
    running.serves().await;
    assert_eq!(running.sent(&["AT+CGDCONT="]).len(), 2);
    assert_eq!(running.sent(&["AT+CFUN="]), ["AT+CFUN=4", "AT+CFUN=1"]);
}

// --- the registration ------------------------------------------------------------------------------

/// The answer of each domain, and the outcome: the domain and the state that are shown, and whether
/// it serves.
type Case = ([&'static str; 3], (Domain, &'static str), bool);

const E: &str = "ERROR";

#[tokio::test]
async fn only_what_carries_data_is_a_registration() {
    let cases: [Case; 14] = [
        (["0,1", "0,1", "0,1"], (Domain::Eps, "home"), true),
        // Packet data in GSM and UMTS.
        (["0,0", "0,1", "0,1"], (Domain::Ps, "home"), true),
        (["0,3", "0,1", "0,1"], (Domain::Ps, "home"), true),
        ([E, "0,1", "0,3"], (Domain::Ps, "home"), true),
        (["0,9", "0,0", "0,0"], (Domain::Eps, "home_csfb_not_preferred"), true),
        // Speech is not data.
        (["0,0", "0,3", "0,1"], (Domain::Ps, "denied"), false),
        (["0,0", "0,0", "0,1"], (Domain::Eps, "not_registered"), false),
        ([E, "0,2", "0,1"], (Domain::Ps, "searching"), false),
        (["0,6", "0,2", "0,1"], (Domain::Eps, "home_sms_only"), false),
        (["0,8", "0,0", "0,0"], (Domain::Eps, "emergency"), false),
        // A refusal explains the search elsewhere.
        (["0,2", "0,3", "0,1"], (Domain::Ps, "denied"), false),
        (["0,3", "0,2", "0,2"], (Domain::Eps, "denied"), false),
        // If the modem knows no other domain, only speech can be asked for.
        ([E, E, "0,1"], (Domain::Cs, "home"), true),
        (["+CME ERROR: 4", "+CME ERROR: 100", "0,3"], (Domain::Cs, "denied"), false),
    ];
    for (said, (domain, state), serves) in cases {
        let of = ["+CEREG", "+CGREG", "+CREG"].into_iter().zip(said).map(|(name, said)| {
            let is_error = said.contains("ERROR");
            let said = if is_error { said.to_owned() } else { format!("{name}: {said}||OK") };
            (format!("AT{name}?"), said)
        });
        let of: Vec<(String, String)> = of.collect();
        let of: Vec<(&str, &str)> = of.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let mut running = running(config(), &of);
        let wanted = if serves { State::Serving } else { State::Searching };
        let snapshot = running.until(|s| s.state == wanted && s.registration.is_some()).await;
        let registration = snapshot.registration.unwrap();
        assert_eq!((registration.domain, registration.stat.as_str()), (domain, state), "{said:?}");
        let has_voice = !serves && said[2] == "0,1";
        assert_eq!(registration.voice_only, has_voice, "{said:?}");
        if !serves {
            let reason = snapshot.reason.unwrap();
            assert!(reason.contains(state), "{said:?}: {reason}");
            assert_eq!(reason.contains("voice only"), has_voice, "{said:?}: {reason}");
        }
    }
}

#[tokio::test]
async fn a_line_about_speech_changes_nothing() {
    let mut running = running(config(), &[("AT+CREG?", "+CREG: 0,3||OK")]);
    running.serves().await;
    for line in ["+CREG: 3", "+CREG: 0", "+CREG: 1"] {
        running.say(line);
    }
    let asked = running.sent(&["AT+CEREG?"]).len();
    running.hears("AT+CEREG?", asked + 3).await;
    let snapshot = running.until(|_| true).await;
    assert_eq!(
        (snapshot.state, snapshot.registration.unwrap().domain),
        (State::Serving, Domain::Eps)
    );
}

#[tokio::test]
async fn a_line_about_speech_registers_nobody() {
    let of = [("AT+CEREG?", "+CEREG: 0,0||OK"), ("AT+CGREG?", "+CGREG: 0,3||OK")];
    let mut running = running(config(), &of);
    running.reason(State::Searching).await;
    running.say("+CREG: 1");
    running.hears("AT+CEREG?", 3).await;
    assert!(running.sent(&["AT+START"]).is_empty());
}
