//! Modems with one fault, and the finding on it.

use std::time::{Duration, UNIX_EPOCH};

use modem::probe::Identity;
use modem::profile::Status;
use modem::reply::{self, CmeError, Context, Domain, PdpType};

use super::*;
use api::doctor::Level;
use fleet::{Context as FileContext, Secrets};

/// 2026-11-25T09:58:00Z
const NOW: Duration = Duration::from_secs(1_795_600_680);

fn exam() -> Exam {
    let now = UNIX_EPOCH + NOW;
    let model = "{ id: sim7600, manufacturer: SIMCom, cgmm: [SIM7600], profile: sim7600, usb: [], mqtt: { clients: 2, topic: 1, payload: 1 }, evidence: { identification: manual, mqtt: manual, status: manual } }";
    Exam {
        identity: Identity {
            model: "SIMCOM_SIM7600G-H".to_owned(),
            imei: "861234560000005".to_owned(),
            iccid: None,
        },
        model: serde_yaml::from_str(model).unwrap(),
        speaks_tls: true,
        signs_aliyun: true,
        card: reply::pin(&["+CPIN: READY"]).map_err(|error| error.to_string()),
        iccid: Ok("8986001420000000001".to_owned()),
        tries: Ok(PinTries { pin: Some(3), puk: Some(10) }),
        registration: registration("+CEREG: 0,1"),
        operator: reply::operator(&["+COPS: 0,0,\"CHINA MOBILE\",7"])
            .map_err(|error| error.to_string()),
        status: Ok(Status {
            signals: vec![Signal { rsrp_dbm: Some(-85.0), ..Signal::unknown(Rat::Lte) }],
            ..Status::default()
        }),
        context: Ok(Some(Context {
            cid: 1,
            pdp_type: Some(PdpType::Ipv4),
            apn: Some("cmnet".to_owned()),
        })),
        address: Ok(Some([10, 64, 0, 2].into())),
        clock: Ok((reply::clock(&["+CCLK: \"26/11/25,17:58:00+32\""]).unwrap(), now)),
    }
}

fn registration(line: &str) -> Result<Registration, String> {
    reply::solicited(Domain::Eps, &[line]).map_err(|error| error.to_string())
}

fn refused(code: u16) -> Result<Pin, String> {
    let error = CmeError::of_line(&format!("+CME ERROR: {code}")).unwrap();
    Ok(reply::pin_refused(&error))
}

fn lock(line: &str) -> Result<Pin, String> {
    reply::pin(&[line]).map_err(|error| error.to_string())
}

/// A modem of a fleet file, with these keys and this broker.
fn configured(keys: &str, broker: &str) -> fleet::Modem {
    let text = format!(
        "gateway: gw\nbrokers: {{ lab: {{ {broker} }} }}\nmodems: {{ north: {{ match: {{ model: sim7600 }}, {keys} sessions: {{ s: {{ broker: lab }} }} }} }}"
    );
    let context = FileContext { secrets: Secrets::Skip, ..FileContext::default() };
    let loaded = fleet::parse("fleet.yaml", text.into_bytes(), &context);
    let mut fleet = loaded.unwrap_or_else(|problems| panic!("{problems}")).fleet;
    fleet.modems.remove(0)
}

fn plain(keys: &str) -> fleet::Modem {
    configured(keys, "url: \"mqtt://broker.example.com\"")
}

fn secured() -> fleet::Modem {
    configured("", "url: \"mqtts://broker.example.com\", tls: { ca: /ca.pem }")
}

fn seen(exam: Exam) -> Seen {
    Seen { exam: Ok(exam), state: None, pin: GivenPin::None, may_set_clock: true }
}

/// Returns the only finding that is not ok.
fn fault(seen: &Seen, modem: &fleet::Modem) -> Finding {
    let mut faults = seen.findings(modem);
    faults.retain(|finding| finding.level != Level::Ok);
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.remove(0)
}

#[test]
fn of_a_modem_in_good_order_there_is_nothing_to_say_but_so() {
    let findings = seen(exam()).findings(&plain("apn: CMNET,"));
    let checks: Vec<&str> = findings.iter().map(|finding| finding.check.as_str()).collect();
    assert_eq!(checks, ["modem", "sim", "network", "signal", "apn", "address", "clock"]);
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:?}");
}

/// An exam with one fault, and the expected check, level, part of the message and of the advice.
type Fault = (Exam, &'static str, Level, &'static str, &'static str);

fn with(change: fn(&mut Exam)) -> Exam {
    let mut exam = exam();
    change(&mut exam);
    exam
}

fn faults_of_cards() -> Vec<Fault> {
    vec![
        (with(|e| e.card = refused(10)), "sim", Level::Fail, "no SIM is inserted", "insert one"),
        (
            with(|e| {
                e.card = lock("+CPIN: SIM PIN");
                e.tries = Ok(PinTries { pin: Some(1), puk: None });
            }),
            "sim",
            Level::Fail,
            "needs its PIN, with one try left; the fleet file has none",
            "pin: { file",
        ),
        (
            with(|e| e.card = lock("+CPIN: SIM PUK")),
            "sim",
            Level::Fail,
            "needs its PUK",
            "operator",
        ),
        (
            with(|e| e.card = lock("+CPIN: PH-SIM PIN")),
            "sim",
            Level::Fail,
            "another SIM (PH-SIM PIN)",
            "seller",
        ),
        (
            with(|e| e.card = refused(40)),
            "sim",
            Level::Fail,
            "operator's SIMs (PH-NET PIN)",
            "seller",
        ),
        (with(|e| e.card = refused(13)), "sim", Level::Fail, "SIM failure", ""),
        (with(|e| e.card = Err("no answer".to_owned())), "sim", Level::Warn, "no answer", "again"),
    ]
}

fn faults_of_networks() -> Vec<Fault> {
    vec![
        (
            with(|e| e.registration = registration("+CEREG: 0,3")),
            "network",
            Level::Fail,
            "denies data to this SIM or this modem (denied)",
            "ask the operator",
        ),
        (
            with(|e| e.registration = registration("+CEREG: 0,0")),
            "network",
            Level::Fail,
            "not searching",
            "AT+CFUN?",
        ),
        (
            with(|e| e.registration = registration("+CEREG: 0,2")),
            "network",
            Level::Fail,
            "none found yet",
            "antenna",
        ),
        (
            with(|e| e.registration = registration("+CEREG: 0,4")),
            "network",
            Level::Fail,
            "out of",
            "",
        ),
        (
            with(|e| e.registration = registration("+CEREG: 0,8")),
            "network",
            Level::Fail,
            "emergency calls only (emergency)",
            "",
        ),
        (
            with(|e| {
                let denied = registration("+CEREG: 0,3");
                e.registration = denied.map(|it| Registration { voice_only: true, ..it });
            }),
            "network",
            Level::Fail,
            "(denied); it is registered for voice only",
            "data plan",
        ),
        (
            with(|e| e.registration = registration("+CEREG: 0,5")),
            "network",
            Level::Fail,
            "the fleet file has `roaming: deny`",
            "roaming: allow",
        ),
        (
            with(|e| {
                let weak = Signal { rsrp_dbm: Some(-121.0), ..Signal::unknown(Rat::Lte) };
                e.status = Ok(Status { signals: vec![weak], ..Status::default() });
            }),
            "signal",
            Level::Warn,
            "weak: lte RSRP -121 dBm",
            "antenna",
        ),
        (
            with(|e| e.status = Ok(Status::default())),
            "signal",
            Level::Warn,
            "no signal strength",
            "",
        ),
        (with(|e| e.context = Ok(None)), "apn", Level::Fail, "no context 1", "apn: NAME"),
        (with(|e| e.address = Ok(None)), "address", Level::Fail, "gave no address", "`apn`"),
    ]
}

#[test]
fn each_fault_is_one_finding_with_its_cure() {
    let home = plain("");
    for (exam, check, level, message, advice) in
        faults_of_cards().into_iter().chain(faults_of_networks())
    {
        // Without a registration no address is expected, and without a card no network.
        let exam = if exam.registration.as_ref().is_ok_and(|r| !r.stat.is_registered()) {
            Exam { address: Ok(None), ..exam }
        } else {
            exam
        };
        let found = fault(&seen(exam), &home);
        assert_eq!((found.check.as_str(), found.level), (check, level), "{found:?}");
        assert!(found.message.contains(message), "{found:?}");
        assert!(found.advice.as_deref().unwrap().contains(advice), "{found:?}");
    }
}

#[test]
fn a_pin_of_the_fleet_file_is_judged_by_its_tries_and_by_what_came_of_it() {
    let of = |pin, tries| Seen {
        pin,
        ..seen(Exam {
            card: lock("+CPIN: SIM PIN"),
            tries: Ok(PinTries { pin: Some(tries), puk: None }),
            ..exam()
        })
    };
    let home = plain("");
    let refused = fault(&of(GivenPin::Refused, 2), &home);
    assert_eq!(refused.level, Level::Fail);
    assert!(refused.message.contains("refused the PIN of the fleet file, with 2 tries left"));
    let last = fault(&of(GivenPin::Untried, 1), &home);
    assert_eq!(last.level, Level::Fail, "{last:?}");
    assert!(last.message.contains("one try left, which the agent does not use"), "{last:?}");
    let good = of(GivenPin::Untried, 3).findings(&home);
    assert!(good.iter().all(|finding| finding.level == Level::Ok), "{good:?}");
}

#[test]
fn a_second_pin_is_no_fault() {
    for line in ["+CPIN: SIM PIN2", "+CPIN: SIM PUK2"] {
        let findings = seen(Exam { card: lock(line), ..exam() }).findings(&plain(""));
        assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:?}");
        assert!(findings.iter().any(|finding| finding.check == "network"), "{findings:?}");
    }
}

#[test]
fn another_modem_than_the_file_means_is_told() {
    for (matching, message) in [
        (
            "imei: \"861234567000000\"",
            "names imei 861234567000000, but the modem there has 8612345",
        ),
        ("iccid: \"89860012345678901234\"", "names iccid"),
        ("model: sim8200", "names model sim8200, but the modem there has SIMCOM_SIM7600G-H"),
    ] {
        let text = format!("gateway: gw\nmodems: {{ north: {{ match: {{ {matching} }} }} }}");
        let context = FileContext { secrets: Secrets::Skip, ..FileContext::default() };
        let loaded = fleet::parse("f", text.into_bytes(), &context);
        let fleet = loaded.unwrap_or_else(|problems| panic!("{problems}")).fleet;
        let found = fault(&seen(exam()), &fleet.modems[0]);
        assert!(found.message.contains(message), "{found:?}");
    }
}

#[test]
fn another_access_point_matters_only_once_the_agent_should_have_written_it() {
    let modem = plain("apn: iot.example,");
    let before = seen(exam());
    assert!(before.findings(&modem).iter().all(|finding| finding.level == Level::Ok));
    let after = Seen { state: Some((State::Serving, None)), ..before };
    assert_eq!(fault(&after, &modem).check, "apn");
    let left = Seen { state: None, ..after };
    let found = fault(&left, &plain("apn: iot.example, radio: leave,"));
    assert!(found.message.contains("`radio: leave`"), "{found:?}");
}

#[test]
fn an_address_family_matters_where_the_file_names_one() {
    let both = || {
        let context =
            Context { cid: 1, pdp_type: Some(PdpType::Ipv4v6), apn: Some("cmnet".into()) };
        Seen {
            state: Some((State::Serving, None)),
            ..seen(Exam { context: Ok(Some(context)), ..exam() })
        }
    };
    let findings = both().findings(&plain("apn: cmnet,"));
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:?}");
    assert_eq!(fault(&both(), &plain("apn: { name: cmnet, type: ip },")).check, "apn");
}

#[test]
fn a_clock_matters_where_certificates_are_judged_by_it() {
    let unset = || Exam {
        clock: Ok((reply::clock(&["+CCLK: \"80/01/06,00:00:08+00\""]).unwrap(), UNIX_EPOCH + NOW)),
        ..exam()
    };
    let off = Exam {
        clock: Ok((reply::clock(&["+CCLK: \"26/11/20,17:58:00+32\""]).unwrap(), UNIX_EPOCH + NOW)),
        ..exam()
    };
    let quiet = seen(unset()).findings(&plain(""));
    assert!(quiet.iter().all(|finding| finding.level == Level::Ok), "{quiet:?}");
    let warned = fault(&seen(unset()), &secured());
    assert_eq!((warned.check.as_str(), warned.level), ("clock", Level::Warn));
    assert!(fault(&seen(off), &secured()).message.contains("5 days from"));
    let both = Seen { may_set_clock: false, ..seen(unset()) };
    assert_eq!(fault(&both, &secured()).level, Level::Fail);
}

#[test]
fn a_modem_that_was_not_asked_says_why_and_nothing_else() {
    let mute = Seen { exam: Err("/dev/ttyUSB2 does not answer".to_owned()), ..seen(exam()) };
    let found = mute.findings(&plain(""));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].level, Level::Fail);
    let failed = Seen { state: Some((State::Failed, Some("burnt".to_owned()))), ..seen(exam()) };
    assert_eq!(fault(&failed, &plain("")).message, "failed: burnt");
}
