//! Conditions before a modem serves: the right modem, with its SIM open, in the right network.

use std::sync::Arc;

use modem::attach::Apn;
use modem::port::{At, Kind, Port};
use modem::reply::PdpType;
use modem::session::SessionPhase;
use modem::{ModemConfig, State};
use modem_conformance::bench::{Book, connection};
use modem_conformance::broker::Broker;
use modem_sim::{Model, Options, Registration};

use crate::unit::Unit;
use crate::whole::{Ledger, Running, Sim, config, to};

scenarios!(
    the_right_pin_opens_the_sim,
    a_wrong_pin_is_tried_once_over_three_restarts,
    a_sim_that_wants_its_puk_is_left_alone,
    a_sim_that_wants_a_pin_nobody_gave,
    an_apn_is_written_only_where_it_differs,
    roaming_is_denied_or_allowed,
    a_modem_that_searches_is_waited_for,
    old_firmware_takes_short_client_ids_only,
    another_imei_is_refused,
    another_sim_is_refused,
    another_sim_is_refused_where_the_firmware_is_not_told,
    a_loss_in_another_domain_is_none,
    another_model_is_refused,
    an_unknown_model_is_named,
);

fn with_pin(port: &std::path::Path, pin: &str) -> ModemConfig {
    ModemConfig { pin: Some(pin.into()), ..config(port) }
}

/// Runs a single command on a tty that no process holds.
async fn ask(port: &std::path::Path, command: &str) -> Vec<String> {
    let tty = loop {
        // A tty is closed on a thread of its own.
        match modem::serial::open(port.to_owned().into()).await {
            Ok(open) => break open.tty,
            Err(modem::serial::OpenError::Busy { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    let (port, at, events) = Port::new(tty, at::Framing::default(), Arc::new(Book::default()));
    let asking = async |at: At| {
        let exchange = at::Exchange::new(command, modem::profile::PATIENCE).unwrap();
        at.run(Kind::Basic, exchange.answer(at::Answer::Any)).await.unwrap().lines
    };
    let (_, lines) = tokio::join!(port.run(), asking(at));
    drop(events);
    lines
}

async fn the_right_pin_opens_the_sim(model: Model) {
    let broker = Broker::open().await;
    let pin = Some("1234".to_owned());
    let sim = Sim::new(Options { broker: Some(broker.address()), pin, ..Options::new(model) });
    let mut running = Running::with(
        with_pin(&sim.port, "1234"),
        vec![to(connection("first"))],
        Arc::new(Ledger::default()),
    );
    running.connected(0).await;
}

async fn a_wrong_pin_is_tried_once_over_three_restarts(model: Model) {
    let sim = Sim::new(Options { pin: Some("1234".to_owned()), ..Options::new(model) });
    let ledger = Arc::new(Ledger::default());
    for start in 0..3 {
        let config = with_pin(&sim.port, "9999");
        let mut running = Running::with(config, vec![to(connection("first"))], ledger.clone());
        let blocked = running.until(|s| s.state == State::Sim && s.reason.is_some()).await;
        let reason = blocked.reason.unwrap();
        assert!(reason.contains("refused"), "start {start}: {reason}");
        running.stop().await;
    }
    assert_eq!(ask(&sim.port, "AT+SPIC").await, ["+SPIC: 2,10,0,10"], "one try of three is gone");
    // Once the file is corrected, the new PIN is tried.
    let mut running = Running::with(with_pin(&sim.port, "1234"), Vec::new(), ledger);
    running.stands(State::Serving).await;
}

async fn a_sim_that_wants_its_puk_is_left_alone(model: Model) {
    let sim = Sim::new(Options { pin: Some("1234".to_owned()), ..Options::new(model) });
    let (port, at, events) = Port::new(
        modem::serial::open(sim.port.clone().into()).await.unwrap().tty,
        at::Framing::default(),
        Arc::new(Book::default()),
    );
    let burn = async |at: At| {
        for _ in 0..3 {
            let wrong = at::Exchange::new("AT+CPIN=\"0000\"", modem::profile::PATIENCE).unwrap();
            at.run(Kind::Basic, wrong).await.unwrap_err();
        }
    };
    tokio::join!(port.run(), burn(at));
    drop(events);
    let before = ask(&sim.port, "AT+SPIC").await;
    assert_eq!(before, ["+SPIC: 0,10,0,10"]);
    let mut running =
        Running::with(with_pin(&sim.port, "1234"), Vec::new(), Arc::new(Ledger::default()));
    let reason = running.until(|s| s.state == State::Sim && s.reason.is_some()).await.reason;
    assert!(reason.unwrap().contains("PUK"));
    running.stop().await;
    assert_eq!(ask(&sim.port, "AT+SPIC").await, before);
}

async fn a_sim_that_wants_a_pin_nobody_gave(model: Model) {
    let sim = Sim::new(Options { pin: Some("1234".to_owned()), ..Options::new(model) });
    let mut running = Running::start(config(&sim.port), &["first"]);
    let reason = running.until(|s| s.state == State::Sim && s.reason.is_some()).await.reason;
    assert!(reason.unwrap().contains("set `pin:"));
}

async fn an_apn_is_written_only_where_it_differs(model: Model) {
    let apn = |name: &str| {
        let name = name.to_owned();
        Some(Apn { name, cid: 1, pdp_type: Some(PdpType::Ipv4), login: None, auth: None })
    };
    for (wanted, written) in [("cmnet", 0), ("CMNET", 0), ("internet", 1)] {
        let script = [
            ("AT+CGDCONT?", "|+CGDCONT: 1,\"IP\",\"cmnet\",\"0.0.0.0\",0,0,0,0||OK|"),
            ("AT+CMQTTSTART", "|OK||+CMQTTSTART: 0|"),
            ("AT+CMQTTCONNECT", "|OK||+CMQTTCONNECT: 0,0|"),
            ("AT+CMQTTSUB", ">~|OK||+CMQTTSUB: 0,0|"),
        ];
        let unit = Unit::new(model, &script);
        let heard = unit.heard();
        let config = ModemConfig { apn: apn(wanted), ..config(&unit.on_pty()) };
        let mut running = Running::start(config, &["first"]);
        running.connected(0).await;
        let heard = heard.lock().unwrap().clone();
        let writes: Vec<_> = heard.iter().filter(|l| l.starts_with("AT+CGDCONT=")).collect();
        assert_eq!(writes.len(), written, "{wanted}: {writes:?}");
        let ours: Vec<_> =
            heard.iter().filter(|l| l.contains("CGACT") || l.contains("NETOPEN")).collect();
        assert!(ours.is_empty(), "{ours:?}");
        if written == 1 {
            assert_eq!(writes[0], "AT+CGDCONT=1,\"IP\",\"internet\"");
            let position = |start: &str| heard.iter().position(|line| line.starts_with(start));
            assert!(position("AT+CGDCONT=") < position("AT+CMQTTSTART"));
        }
    }
}

async fn roaming_is_denied_or_allowed(model: Model) {
    let broker = Broker::open().await;
    let mut options = Options { broker: Some(broker.address()), ..Options::new(model) };
    options.radio.registration = Registration::Roaming;
    let sim = Sim::new(options);
    let mut running = Running::start(config(&sim.port), &["first"]);
    let denied = running.until(|s| s.state == State::Searching && s.reason.is_some()).await;
    assert!(denied.reason.unwrap().contains("roaming: deny"));
    assert_eq!(running.book.count("connect first true"), 0);
    running.stop().await;
    assert_eq!(broker.times_logged("as first"), 0);
    let allowed = ModemConfig { roaming: true, ..config(&sim.port) };
    let mut running = Running::start(allowed, &["first"]);
    running.connected(0).await;
}

async fn a_modem_that_searches_is_waited_for(model: Model) {
    let broker = Broker::open().await;
    let mut options = Options { broker: Some(broker.address()), ..Options::new(model) };
    options.radio.registration = Registration::Searching;
    let sim = Sim::new(options);
    let mut running = Running::start(config(&sim.port), &["first"]);
    let searching = running.until(|s| s.state == State::Searching && s.reason.is_some()).await;
    assert!(searching.reason.unwrap().contains("not registered"));
    sim.handle.register(Registration::Home).await.unwrap();
    running.connected(0).await;
    assert!(running.until(|s| s.state == State::Serving).await.reason.is_none());
}

/// Firmware of 2018: at most 23 bytes of client id, and no argument for the MQTT version.
async fn old_firmware_takes_short_client_ids_only(model: Model) {
    let script = [
        ("AT+CMQTTSTART", "|+CMQTTSTART: 0||OK|"),
        ("AT+CMQTTACCQ=0,", "|ERROR|"),
        ("AT+CMQTTACCQ=?", "|+CMQTTACCQ: (0-1),(1-23),(0-1)||OK|"),
    ];
    let unit = Unit::new(model, &script);
    let heard = unit.heard();
    let id = "7600|securemode=3,signmethod=hmacsha1|";
    let mut running = Running::start(config(&unit.on_pty()), &[id]);
    let failed = running.session(0, |state| state.phase == SessionPhase::Failed).await;
    let reason = failed.reason.unwrap();
    assert!(reason.contains("has 38 bytes") && reason.contains("at most 23"), "{reason}");
    assert_eq!(heard.lock().unwrap().iter().filter(|l| l.contains("CMQTTCONNECT=")).count(), 0);
}

/// An A76xx never had that argument.
#[tokio::test]
async fn old_firmware_without_the_version_argument_is_served() {
    let script = [
        ("AT+CMQTTSTART", "|+CMQTTSTART: 0||OK|"),
        ("AT+CMQTTACCQ=0,\"short\",0,4", "|ERROR|"),
        ("AT+CMQTTACCQ=?", "|+CMQTTACCQ: (0-1),(1-23),(0-1)||OK|"),
        ("AT+CMQTTCFG", "|ERROR|"),
        ("AT+CMQTTCONNECT", "|OK||+CMQTTCONNECT: 0,0|"),
        ("AT+CMQTTSUB", ">~|OK||+CMQTTSUB: 0,0|"),
    ];
    let unit = Unit::new(Model::Sim7600, &script);
    let heard = unit.heard();
    let mut running = Running::start(config(&unit.on_pty()), &["short"]);
    running.connected(0).await;
    let heard = heard.lock().unwrap();
    assert!(heard.iter().any(|line| line == "AT+CMQTTACCQ=0,\"short\""), "{heard:?}");
}

async fn another_imei_is_refused(model: Model) {
    let sim = Sim::new(Options::new(model));
    let imei = Some("490154203237518".to_owned());
    let wanted = ModemConfig { imei, ..config(&sim.port) };
    let mut running = Running::start(wanted, &["first"]);
    let reason = running.stands(State::Failed).await;
    assert!(reason.contains("imei 490154203237518") && reason.contains("has 86123456"), "{reason}");
}

async fn another_sim_is_refused(model: Model) {
    let broker = Broker::open().await;
    let sim = Sim::at(model, &broker);
    let wanted = ModemConfig { iccid: Some("89860000000000000000".into()), ..config(&sim.port) };
    let mut running = Running::start(wanted, &["first"]);
    let reason = running.stands(State::Failed).await;
    assert!(reason.contains("iccid 8986000000") && reason.contains("has 8986001"), "{reason}");
    assert!(!running.uplinks[0].state.borrow().is_connected());
}

async fn another_model_is_refused(model: Model) {
    let sim = Sim::new(Options::new(model));
    let wanted = ModemConfig { model: Some("EC25".to_owned()), ..config(&sim.port) };
    let mut running = Running::start(wanted, &["first"]);
    let reason = running.stands(State::Failed).await;
    assert!(reason.contains("model EC25"), "{reason}");
    assert!(reason.to_ascii_lowercase().contains(model.name()), "{reason}");
}

async fn an_unknown_model_is_named(model: Model) {
    let unit = Unit::new(model, &[]).called("SIMCOM_SIM9999X");
    let mut running = Running::start(config(&unit.on_pty()), &["first"]);
    let reason = running.stands(State::Failed).await;
    assert!(reason.contains("no profile knows the model \"SIMCOM_SIM9999X\""), "{reason}");
}

/// A gap in the first answer must not hide the content of the next.
async fn another_sim_is_refused_where_the_firmware_is_not_told(model: Model) {
    let script = [
        ("AT+CMQTTSTART", "|OK||+CMQTTSTART: 0|"),
        ("AT+CMQTTCONNECT", "|OK||+CMQTTCONNECT: 0,0|"),
        ("AT+CMQTTSUB", ">~|OK||+CMQTTSUB: 0,0|"),
        ("AT+CGMR", "|ERROR|"),
        ("AT+CICCID", "|+ICCID: 89860010004200000009||OK|"),
    ];
    let unit = Unit::new(model, &script);
    let iccid = Some("89860000000000000000".to_owned());
    let wanted = ModemConfig { iccid, ..config(&unit.on_pty()) };
    let mut running = Running::start(wanted, &["first"]);
    let reason = running.stands(State::Failed).await;
    assert!(reason.contains("has 89860010004200000009"), "{reason}");
}

/// A unit that is attached for data only reports that it cannot make calls: it serves all the same.
async fn a_loss_in_another_domain_is_none(model: Model) {
    let script = [
        ("AT+CMQTTSTART", "|OK||+CMQTTSTART: 0|"),
        ("AT+CMQTTCONNECT", "|OK||+CMQTTCONNECT: 0,0|"),
        ("AT+CMQTTSUB", ">~|OK||+CMQTTSUB: 0,0|^|+CREG: 0|"),
    ];
    let unit = Unit::new(model, &script);
    let heard = unit.heard();
    let poll = std::time::Duration::from_secs(60);
    let mut running = Running::start(ModemConfig { poll, ..config(&unit.on_pty()) }, &["first"]);
    running.connected(0).await;
    // The last query of the first poll: the notice came before it.
    while !heard.lock().unwrap().iter().any(|line| line == "AT+COPS?") {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let snapshot = running.snapshot.borrow().clone();
    assert_eq!(snapshot.state, State::Serving, "{:?}", snapshot.reason);
    assert!(snapshot.registration.unwrap().stat.is_registered());
}
