//! Tests of text messages (27.005 §3.4): the line after the header is text, whatever it holds.

use super::*;

const FROM: &str = r#"+CMT: "+8613",,"26/11/29,09:00:00+32""#;

/// Texts that a message may hold.
const TEXTS: [&str; 10] = [
    "+CMQTTPUB: 0,0",
    "RDY",
    "OK",
    "ERROR",
    ">",
    "+CMT: \"+8613\",,\"26/11/29,09:00:00+32\"",
    "+CMQTTRXPAYLOAD: 0,500",
    "+QMTRECV: 0,0,\"t\",500,\"",
    "861234567000003",
    "",
];

fn headers() -> [String; 6] {
    [
        FROM.to_owned(),
        "+CMT: ,24".to_owned(),
        "+CBM: 88".to_owned(),
        "+CBM: 2,3,1,1,1".to_owned(),
        "+CDS: 25".to_owned(),
        r#"+CDS: 6,12,"+8613",145,"26/11/29,09:00:00+32","26/11/29,09:00:05+32",0"#.to_owned(),
    ]
}

/// In each state of the line, each text is the message's, and later lines keep their meaning.
#[test]
fn the_line_after_a_message_is_text_whatever_it_says() {
    for header in headers() {
        for text in TEXTS {
            let case = format!("{header} {text:?}");
            let said = format!("\r\n{header}\r\n{text}\r\n");
            let heard = format!("urc {header} data {}", text.escape_debug());
            let mut line = Line::in_step();
            line.modem(&said);
            assert_eq!(line.told(), std::slice::from_ref(&heard), "idle: {case}");
            line.send(publish());
            line.modem(&said);
            line.modem("\r\nOK\r\n");
            line.modem(&said);
            assert_eq!(line.told(), [heard.clone(), heard.clone()], "publish: {case}");
            line.wait(300);
            line.modem("\r\n+CMQTTPUB: 0,0\r\n");
            assert_eq!(line.told(), ["ok [] result +CMQTTPUB: 0,0"], "publish: {case}");
            line.sent.clear();
            line.send(topic());
            line.modem(&said);
            assert_eq!(line.sent(), "AT+CMQTTTOPIC=0,5¶", "no prompt: {case}");
            line.modem("\r\n>");
            assert_eq!(line.sent(), "a/b/c", "{case}");
            line.modem(&said);
            line.modem("\r\nOK\r\n");
            assert_eq!(
                line.told(),
                [heard.clone(), heard.clone(), "ok []".to_owned()],
                "topic: {case}"
            );
            line.send(at("AT+CGMM").answer(Answer::Bare));
            line.modem(&said);
            line.modem("\r\nSIM\r\n");
            line.modem(&said);
            line.modem("\r\nOK\r\n");
            assert_eq!(
                line.told(),
                [heard.clone(), heard, "ok [\"SIM\"]".to_owned()],
                "answer: {case}"
            );
        }
    }
}

#[test]
fn a_message_does_not_put_the_engine_in_step() {
    let mut line = Line::in_step();
    line.send(creg());
    line.wait(3 * SEC);
    line.told.clear();
    for text in [IMEI, "OK"] {
        line.modem(&format!("\r\n{FROM}\r\n{text}\r\n"));
    }
    assert!(!line.told().iter().any(|told| told.starts_with("in step")));
    line.modem(PROOF);
    assert_eq!(line.told().last(), Some(&format!("in step {IMEI}")));
}

#[test]
fn a_notice_of_a_stored_message_has_no_second_line() {
    for notice in ["+CMTI: \"SM\",3", "+CDSI: \"SM\",3"] {
        let mut line = Line::in_step();
        line.send(publish());
        line.modem(&format!("\r\nOK\r\n\r\n{notice}\r\n+CMQTTPUB: 0,0\r\n"));
        assert_eq!(
            line.told(),
            [format!("urc {notice}"), "ok [] result +CMQTTPUB: 0,0".to_owned()]
        );
    }
}

/// A text may hold line ends. A line that follows at once is more of the text, and a line after an
/// empty line may be. A result is then not believed, and the publish soon counts as unknown.
#[test]
fn a_text_of_several_lines_ends_nothing() {
    for text in [
        "hello\r\n+CMQTTPUB: 0,0",
        "hello\n+CMQTTPUB: 0,0",
        "a\r\nRDY\r\nOK",
        "\r\n+CMQTTPUB: 0,0",
        "a\r\n\r\n\r\nRDY",
    ] {
        let mut line = Line::in_step();
        line.send(publish());
        line.modem("\r\nOK\r\n");
        line.modem(&format!("\r\n{FROM}\r\n{text}\r\n"));
        let told = line.told();
        assert_eq!(told.len(), 1, "{text:?} {told:?}");
        line.wait(300);
        line.modem("\r\n+CMQTTPUB: 0,0\r\n");
        assert_eq!(line.told(), ["ok [] result +CMQTTPUB: 0,0"], "{text:?}");
    }
    let mut line = Line::in_step();
    line.send(publish());
    line.modem("\r\nOK\r\n");
    line.modem(&format!("\r\n{FROM}\r\nhello\r\n\r\n+CMQTTPUB: 0,0\r\n"));
    line.told.clear();
    line.wait(3 * SEC);
    assert_eq!(line.told()[0], "failed: no answer in time: the modem still owed its result line");
}

/// With `AT+CSDH=1` the header names the length of the text.
#[test]
fn a_text_of_known_length_is_cut_by_it() {
    const TEXT: &str = "hello\r\n\r\n+CMQTTPUB: 0,0\r\n\r\nOK\r\n\r\nRDY\r\nünd";
    let characters = TEXT.chars().count();
    let mut line = Line::in_step();
    line.send(publish());
    line.modem(&format!(
        "\r\n{FROM},145,4,0,0,\"+8614\",145,{characters}\r\n{TEXT}\r\n\r\nOK\r\n\r\n+CMQTTPUB: 0,0\r\n"
    ));
    let told = line.told();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].ends_with("ünd"));
    assert_eq!(told[1], "ok [] result +CMQTTPUB: 0,0", "what comes after it is believed at once");
}

#[test]
fn a_text_of_known_length_may_come_in_pieces() {
    const TEXT: &str = "hello\r\n+CMQTTPUB: 0,0\r\nRDY\r\nbye";
    let mut line = Line::in_step();
    line.send(publish());
    line.modem("\r\nOK\r\n");
    let length = TEXT.len();
    line.modem(&format!("\r\n{FROM},145,4,0,0,\"+8614\",145,{length}\r\n"));
    for piece in TEXT.as_bytes().chunks(7) {
        line.wait(100);
        line.modem(std::str::from_utf8(piece).unwrap());
    }
    line.modem("\r\n");
    let told = line.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].ends_with("bye"), "{told:?}");
}

/// The string of a USSD message may hold line ends (27.007 §7.15).
#[test]
fn the_lines_of_a_ussd_message_are_no_results() {
    let mut line = Line::in_step();
    line.send(publish());
    line.modem("\r\nOK\r\n\r\n+CUSD: 0,\"Balance 5\r\n+CMQTTPUB: 0,0\r\nRDY\r\nbye\",15\r\n");
    assert_eq!(line.told(), ["urc +CUSD: 0,\"Balance 5"]);
    line.wait(SEC);
    line.modem("\r\n+CMQTTPUB: 0,0\r\n");
    assert_eq!(line.told(), ["ok [] result +CMQTTPUB: 0,0"]);
}

#[test]
fn a_text_shorter_than_its_length_swallows_what_comes_at_once_and_no_more() {
    let mut line = Line::in_step();
    line.modem(&format!("\r\n{FROM},145,4,0,0,\"+8614\",145,30\r\nhi\r\n"));
    line.wait(300);
    assert_eq!(line.told(), [format!("urc {FROM},145,4,0,0,\"+8614\",145,30 data hi")]);
    line.send(creg());
    line.modem("\r\n+CREG: 0,1\r\n\r\nOK\r\n");
    assert_eq!(line.told(), ["ok [\"+CREG: 0,1\"]"]);
}

#[test]
fn a_text_that_stays_out_is_not_waited_for() {
    let mut line = Line::in_step();
    line.modem(&format!("\r\n{FROM}\r\n"));
    line.wait(2 * SEC);
    assert_eq!(line.told(), [format!("urc {FROM} data ")]);
    line.send(creg());
    line.modem("\r\n+CREG: 0,1\r\n\r\nOK\r\n");
    assert_eq!(line.told(), ["ok [\"+CREG: 0,1\"]"]);
}

#[test]
fn stored_messages_are_an_answer_and_their_texts_end_nothing() {
    let names: Arc<[String]> = ["+CMGL", "+CMGR"].map(str::to_owned).into();
    for (said, lines) in [
        (
            "+CMGL: 1,\"REC READ\",\"+8613\",,\"26/11/29,09:00:00+32\"\r\nOK\r\nERROR\r\n+CMGL: 2,\"REC READ\",\"+8613\",,\"26/11/29,09:00:00+32\"\r\nRDY\r\n",
            vec![
                "+CMGL: 1,\"REC READ\",\"+8613\",,\"26/11/29,09:00:00+32\"",
                "OK",
                "ERROR",
                "+CMGL: 2,\"REC READ\",\"+8613\",,\"26/11/29,09:00:00+32\"",
                "RDY",
            ],
        ),
        ("+CMGR: 1,,24\r\n0891683108\r\n", vec!["+CMGR: 1,,24", "0891683108"]),
        (
            "+CMGR: \"REC READ\",\"+8613\",,\"26/11/29,09:00:00+32\",145,4,0,0,\"+8614\",145,7\r\na\r\n\r\nOK\r\n",
            vec![
                "+CMGR: \"REC READ\",\"+8613\",,\"26/11/29,09:00:00+32\",145,4,0,0,\"+8614\",145,7",
                "a",
                "OK",
            ],
        ),
        ("+CMGR: 0,,0\r\n", vec!["+CMGR: 0,,0"]),
        ("+CMGL: (0-4)\r\n", vec!["+CMGL: (0-4)"]),
    ] {
        let mut line = Line::in_step();
        line.send(at("AT+CMGL=4").answer(Answer::Named(Arc::clone(&names))));
        line.modem(&format!("\r\n{said}\r\nOK\r\n"));
        assert_eq!(line.told(), [format!("ok {lines:?}")]);
    }
}

#[test]
fn an_echo_right_after_a_text_is_no_text() {
    let mut line = Line::in_step();
    line.modem(&format!("\r\n{FROM}\r\nhello\r\n"));
    line.told.clear();
    line.send(creg());
    line.modem("AT+CREG?\r\r\n+CREG: 0,1\r\n\r\nOK\r\n");
    assert_eq!(line.told(), ["ok [\"+CREG: 0,1\"]"]);
}

/// The modem's answer to a command that was sent after a text is outside of the text; so are
/// results by which no message is given up.
#[test]
fn an_answer_to_a_later_command_ends_the_doubt() {
    let mut line = Line::in_step();
    line.modem(&format!("\r\n{FROM}\r\nhello\r\n"));
    line.send(topic());
    line.modem("\r\n>");
    line.modem("\r\nOK\r\n");
    line.send(publish());
    line.modem("\r\nOK\r\n\r\n+CMQTTPUB: 0,0\r\n");
    assert_eq!(line.told()[1..], ["ok []", "ok [] result +CMQTTPUB: 0,0"]);
    line.modem(&format!("\r\n{FROM}\r\nhello\r\n"));
    line.send(publish());
    line.modem("\r\n+CMQTTPUB: 0,0\r\n\r\nOK\r\n");
    assert_eq!(line.told()[1..], ["ok [] result +CMQTTPUB: 0,0"]);
    let result = ResultLine { prefix: "+CMQTTSUB:", first: Some(0), ..ResultLine::BLANK };
    line.send(at("AT+CMQTTSUB=0").result(result, Duration::from_secs(60)));
    line.modem(&format!("\r\nOK\r\n\r\n{FROM}\r\nhello\r\n\r\n+CMQTTSUB: 0,0\r\n"));
    assert_eq!(line.told()[1..], ["ok [] result +CMQTTSUB: 0,0"]);
}

/// Old Quectel firmware gives no length: anything in the payload may follow such a message.
#[test]
fn a_result_in_one_go_with_a_message_of_unknown_length_is_unknown() {
    let mut line = Line::in_step();
    line.send(publish());
    line.modem("\r\nOK\r\n");
    line.modem("\r\n+QMTRECV: 0,1,\"t\",\"a\r\n+CMQTTPUB: 0,0\"\r\n\r\n+CMQTTPUB: 0,0\r\n\r\n+QMTRECV: 0,2,\"t\",\"b\"\r\n");
    assert_eq!(line.told(), ["urc +QMTRECV: 0,1,\"t\",\"a", "urc +QMTRECV: 0,2,\"t\",\"b\""]);
    line.wait(300);
    line.modem("\r\n+CMQTTPUB: 0,0\r\n");
    assert_eq!(line.told(), ["ok [] result +CMQTTPUB: 0,0"]);
}

/// A text without an end is bounded in memory and time.
#[test]
fn an_endless_text_is_cut_off() {
    let mut line = Line::in_step();
    line.modem(&format!("\r\n{FROM}\r\n"));
    for _ in 0..200 {
        line.modem(&"x".repeat(10_000));
    }
    line.modem("\r\n");
    let told = line.told();
    assert!(told.len() == 1 && told[0].len() < 70_000);
}
