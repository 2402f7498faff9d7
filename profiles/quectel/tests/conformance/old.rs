//! Older firmware, and state that an earlier program left in the modem.

use modem::mqtt::{Client, Connection, MqttError, Qos, Scope};
use modem::profile::Notice;
use modem_conformance::bench::{FIRST, connection, message};
use tokio::time::Duration;

use crate::unit::{OPENED, unit};

/// Settings that a firmware of 2018 does not know, and more.
const UNKNOWN: [(&str, &str); 8] = [
    ("AT+QMTCFG=\"recv/mode\"", "|ERROR|"),
    ("AT+QMTCFG=\"dataformat\"", "|ERROR|"),
    ("AT+QMTCFG=\"send/mode\"", "|+CME ERROR: 4|"),
    ("AT+QMTCFG=\"view/mode\"", "|ERROR|"),
    ("AT+QMTCFG=\"edit/timeout\"", "|ERROR|"),
    ("AT+QMTCFG=\"qmtping\"", "|ERROR|"),
    ("AT+QMTCFG=\"aliauth\"", "|ERROR|"),
    ("AT+QMTCFG=\"will\"", "|ERROR|"),
];

#[tokio::test]
async fn a_setting_that_the_session_does_not_need_stops_nothing_and_one_that_it_needs_has_a_name() {
    let (bench, heard) = unit(&[&UNKNOWN[..], &OPENED].concat()).await;
    bench.open(FIRST, &connection("m")).await.unwrap();
    for name in ["version", "keepalive", "session", "timeout", "pdpcid", "dataformat", "ssl"] {
        let start = format!("AT+QMTCFG=\"{name}\",0");
        assert!(heard.lock().unwrap().iter().any(|line| line.starts_with(&start)), "{name}");
    }

    let will = Some(message("t", "gone", Qos::AtLeastOnce));
    let persistent = Connection { clean_session: false, ..connection("m") };
    for (setting, refused) in
        [("will", Connection { will, ..connection("m") }), ("session", persistent)]
    {
        let start = format!("AT+QMTCFG=\"{setting}\"");
        let (bench, heard) = unit(&[(&*start, "|ERROR|")]).await;
        let error = bench.open(FIRST, &refused).await.unwrap_err();
        let words = format!(
            "the modem refused QMTCFG \"{setting}\" (it gave no code): usually this firmware does not know"
        );
        assert!(error.to_string().starts_with(&words), "{error}");
        assert!(!heard.lock().unwrap().iter().any(|line| line.starts_with("AT+QMTOPEN=")));
    }
}

/// The modem is asked first: an empty device might turn this way to sign in on.
#[tokio::test]
async fn a_device_that_an_earlier_program_left_is_taken_away() {
    let empty = "AT+QMTCFG=\"aliauth\",0,\"\",\"\",\"\"";
    for (said, is_emptied) in [
        ("|+QMTCFG: \"aliauth\",\"a1\",\"d\",\"s\"||OK|", true),
        ("|+QMTCFG: \"aliauth\",\"\",\"\",\"\"||OK|", false),
        ("|OK|", false),
    ] {
        let (bench, heard) =
            unit(&[&[("AT+QMTCFG=\"aliauth\",0", said)], &OPENED[..]].concat()).await;
        bench.open(FIRST, &connection("m")).await.unwrap();
        assert_eq!(heard.lock().unwrap().iter().any(|line| line == empty), is_emptied, "{said}");
    }
}

#[tokio::test]
async fn without_pubex_a_message_goes_by_pub_and_one_that_would_end_its_data_is_refused_by_name() {
    let published = ("AT+QMTPUB=", "|>~|OK||+QMTPUB: 0,#,0|");
    let (bench, heard) =
        unit(&[("AT+QMTPUBEX=0", "|ERROR|"), ("AT+QMTPUBEX=?", "|ERROR|"), published, published])
            .await;
    for payload in ["one", "two\r\n"] {
        bench.publish(FIRST, "t", payload, Qos::AtLeastOnce).await.unwrap();
    }
    for byte in [0x1a, 0x1b] {
        let refused = bench.publish(FIRST, "t", [b'a', byte], Qos::AtLeastOnce).await.unwrap_err();
        assert!(
            refused.to_string().starts_with(
                "the payload cannot be sent to this modem: this firmware has no QMTPUBEX"
            ),
            "{refused}"
        );
        assert_eq!(refused.scope(), Scope::Message);
    }
    let heard = heard.lock().unwrap();
    let publishes: Vec<_> = heard.iter().filter(|line| line.starts_with("AT+QMTPUB")).collect();
    assert_eq!(
        publishes,
        [
            "AT+QMTPUBEX=0,1,1,0,\"t\",3",
            "AT+QMTPUBEX=?",
            "AT+QMTPUB=0,2,1,0,\"t\" one\\x1a",
            "AT+QMTPUB=0,3,1,0,\"t\" two\\r\\n\\x1a",
        ]
    );
}

/// If the firmware has the command, a refusal counts against the message, not against the command.
#[tokio::test]
async fn a_message_that_pubex_refuses_is_not_tried_by_pub() {
    let (bench, heard) = unit(&[
        ("AT+QMTPUBEX=0", "|ERROR|"),
        ("AT+QMTPUBEX=?", "|+QMTPUBEX: (0-5),(0-65535),(0-2),(0,1)||OK|"),
    ])
    .await;
    let refused = bench.publish(FIRST, "t", "x", Qos::AtLeastOnce).await.unwrap_err();
    assert!(matches!(refused, MqttError::NoCode { operation: "QMTPUBEX", .. }), "{refused}");
    assert!(!heard.lock().unwrap().iter().any(|line| line.starts_with("AT+QMTPUB=")));
}

#[tokio::test]
async fn a_message_that_the_modem_keeps_is_told_and_fetched() {
    for answer in ["|+QMTRECV: 0,7,\"t\",5,\"a\r\nb\"\"||OK|", "|+QMTRECV: 0,7,\"t\",\"a,b\"||OK|"]
    {
        let (mut bench, _) =
            unit(&[("AT+CSQ", "|OK||+QMTRECV: 0,3|"), ("AT+QMTRECV=0,3", answer)]).await;
        let run =
            modem::profile::run(&bench.at, modem::port::Kind::Status, "AT+CSQ", at::Answer::None);
        run.await.unwrap();
        assert_eq!(bench.notice().await, Notice::Pending { client: Client(0), slot: 3 });
        bench.mqtt.fetch(&bench.at, FIRST, 3).await.unwrap();
        let (client, topic, payload) = bench.received().await;
        assert_eq!((client, &*topic), (FIRST, "t"));
        assert!(matches!(&payload[..], b"a\r\nb\"" | b"a,b"), "{payload:?}");
    }
    let (bench, _) = unit(&[("AT+QMTRECV=0,3", "|ERROR|")]).await;
    let refused = bench.mqtt.fetch(&bench.at, FIRST, 3).await.unwrap_err().to_string();
    assert!(refused.contains("has no message there"), "{refused}");
}

/// The payload holds a line that looks like the result of the publish under way.
#[tokio::test]
async fn a_message_without_a_length_acknowledges_nothing() {
    for (said, is_acknowledged) in [
        ("|OK||+QMTRECV: 0,7,\"t\",\"x|+QMTPUBEX: 0,#,0|y\"|", false),
        ("|OK||+QMTRECV: 0,7,\"t\",\"x\"|+QMTPUBEX: 0,#,0|\"|", false),
        // Bytes that come together with the line may be a piece of the message: unknown.
        ("|OK||+QMTRECV: 0,7,\"t\",\"x\"||+QMTPUBEX: 0,#,0|", false),
        ("|OK||+QMTPUBEX: 0,#,0||+QMTRECV: 0,7,\"t\",\"x\"|", true),
    ] {
        let said = format!("|>~{said}");
        let (mut bench, _) = unit(&[
            ("AT+QMTPUBEX=0", "|ERROR|"),
            ("AT+QMTPUBEX=?", "|ERROR|"),
            ("AT+QMTPUB=", &said.replace("PUBEX", "PUB")),
        ])
        .await;
        tokio::time::pause();
        let published = bench.publish(FIRST, "t", "up", Qos::AtLeastOnce).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        tokio::time::resume();
        match published {
            Ok(()) => assert!(is_acknowledged, "{said}"),
            Err(error) => assert!(!is_acknowledged && error.is_timeout(), "{said}: {error}"),
        }
        if is_acknowledged {
            assert_eq!(bench.received().await, (FIRST, "t".to_owned(), b"x".to_vec()));
        }
    }
}

/// The session runs over the context of the agent's access point.
#[tokio::test]
async fn the_context_of_the_access_point_is_the_sessions() {
    for cid in [1, 3] {
        let (bench, heard) = unit(&OPENED).await;
        let connection = Connection { context: cid, ..connection("m") };
        bench.open(FIRST, &connection).await.unwrap();
        let line = format!("AT+QMTCFG=\"pdpcid\",0,{cid}");
        assert!(heard.lock().unwrap().contains(&line), "{line}");
    }
}
