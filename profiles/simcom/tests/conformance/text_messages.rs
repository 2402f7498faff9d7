//! Text messages among other traffic: their text is not taken for an answer, and they are kept off the port.

use std::time::Duration;

use modem::mqtt::Qos;
use modem::profile::Notice;
use modem::{ModemConfig, State};
use modem_conformance::bench::FIRST;
use modem_sim::Model;

use crate::unit::{Unit, scripted};
use crate::whole::{Running, config};

of_the_dialect!(
    a_publish_among_text_messages,
    a_text_message_acknowledges_nothing,
    a_damaged_message_acknowledges_nothing,
    a_port_that_prints_messages_is_told_to_store_them,
    a_port_that_prints_messages_is_left_alone_if_they_are_not_ours,
    a_port_that_prints_no_messages_is_left_alone,
);

/// Text messages before, between and after the parts of a publish.
async fn a_publish_among_text_messages(model: Model) {
    let script = [
        ("AT+CMQTTTOPIC", "|+CMT: \"+8613\",,\"26/11/29,09:00:00+32\"|>||>~|+CMT: ,24|ERROR||OK|"),
        (
            "AT+CMQTTPAYLOAD",
            "|+CMT: \"+8613\",,\"26/11/29,09:00:00+32\"|OK||>~|+CBM: 2,3,1,1,1|+CMQTTPAYLOAD: 0,14||OK||+CDS: 25|RDY|",
        ),
        ("AT+CMQTTPUB", "|+CMT: ,24|+CMQTTPUB: 0,9||OK||+CMT: ,24|+CMQTTPUB: 0,9||+CMQTTPUB: 0,0|"),
    ];
    let bench = scripted(Unit::new(model, &script)).await;
    bench.publish(FIRST, "topic", "payload", Qos::AtLeastOnce).await.unwrap();
    let data: Vec<_> = bench.commands().into_iter().map(|(_, data)| data).collect();
    assert_eq!(data, [b"topic".to_vec(), b"payload".to_vec(), vec![]]);
}

/// Bytes right after a text of unknown length may be more of the text.
async fn a_text_message_acknowledges_nothing(model: Model) {
    const TEXT: &str = "|OK||+CMT: \"+8613\",,\"26/11/29,09:00:00+32\"|+CMQTTPUB: 0,0|+CMQTTPUB: 0,0||+CMQTTPUB: 0,0|";
    let script =
        [("AT+CMQTTTOPIC", ">~|OK|"), ("AT+CMQTTPAYLOAD", ">~|OK|"), ("AT+CMQTTPUB", TEXT)];
    let bench = scripted(Unit::new(model, &script)).await;
    tokio::time::pause();
    let published = bench.publish(FIRST, "topic", "payload", Qos::AtLeastOnce).await;
    assert!(published.unwrap_err().is_timeout(), "it is unknown");
}

async fn a_damaged_message_acknowledges_nothing(model: Model) {
    const DAMAGED: &str = "|OK||+CMQTTRXSTART: 0,1,40||+CMQTTRXTOPIC: 0,1|t||+CMQTTRXPAYLOAD: 0,20|\
        12345678901234567||+CMQTTRXPAYLOAD: 0,20|+CMQTTPUB: 0,0||+CMQTTPUB: 0,0||+CMQTTRXEND: 0|\
        |+CMQTTRXSTART: 0,1,4||+CMQTTRXTOPIC: 0,1|u||+CMQTTRXPAYLOAD: 0,4|next||+CMQTTRXEND: 0|";
    let script = [
        ("AT+CMQTTTOPIC", ">~|OK|"),
        ("AT+CMQTTPAYLOAD", ">~|OK|"),
        ("AT+CMQTTPUB", DAMAGED),
        ("AT+CGSN", "|490154203237518||OK||+CMQTTPUB: 0,6|"),
    ];
    let mut bench = scripted(Unit::new(model, &script)).await;
    tokio::time::pause();
    let published = bench.publish(FIRST, "topic", "payload", Qos::AtLeastOnce).await;
    assert!(published.unwrap_err().is_timeout(), "it is unknown");
    assert!(matches!(bench.notice().await, Notice::Damaged(_)));
    assert_eq!(bench.received().await.1, "u");
}

/// A unit with a session, which prints `says` after its first query for the temperature.
async fn heard(model: Model, says: &'static str, stores_messages: bool) -> Vec<String> {
    let script = [
        ("AT+CMQTTSTART", "|OK||+CMQTTSTART: 0|"),
        ("AT+CMQTTCONNECT", "|OK||+CMQTTCONNECT: 0,0|"),
        ("AT+CMQTTSUB", ">~|OK||+CMQTTSUB: 0,0|"),
        ("AT+CPMUTEMP", says),
        ("AT+CNMI?", "|+CNMI: 2,2,0,1,1||OK|"),
        ("AT+CPMUTEMP", says),
        ("AT+CPMUTEMP", says),
    ];
    let unit = Unit::new(model, &script);
    let heard = unit.heard();
    let wanted = ModemConfig { stores_messages, ..config(&unit.on_pty()) };
    let mut running = Running::start(wanted, &["first"]);
    running.connected(0).await;
    let polls = |heard: &[String]| heard.iter().filter(|line| *line == "AT+CPMUTEMP").count();
    while polls(&heard.lock().unwrap()) < 5 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(running.snapshot.borrow().state, State::Serving);
    let heard = heard.lock().unwrap().clone();
    assert_eq!(heard.iter().filter(|line| *line == "AT+CMQTTSTART").count(), 1, "no boot");
    heard.into_iter().filter(|line| line.starts_with("AT+CNMI")).collect()
}

const PRINTS: &str = "|+CPMUTEMP: 29||OK||+CMT: \"+8613\",,\"26/11/29,09:00:00+32\"|RDY|";

async fn a_port_that_prints_messages_is_told_to_store_them(model: Model) {
    let heard = heard(model, PRINTS, true).await;
    assert_eq!(heard, ["AT+CNMI?", "AT+CNMI=2,1,0,0,1"], "once, whatever comes after it");
}

async fn a_port_that_prints_messages_is_left_alone_if_they_are_not_ours(model: Model) {
    assert_eq!(heard(model, PRINTS, false).await, [""; 0]);
}

async fn a_port_that_prints_no_messages_is_left_alone(model: Model) {
    let says = "|+CPMUTEMP: 29||OK||+CMTI: \"SM\",3|";
    assert_eq!(heard(model, says, true).await, [""; 0]);
}
