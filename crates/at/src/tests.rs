//! Tests of the engine under a virtual clock: every race of a serial line as data.

use std::sync::Arc;
use std::time::{Duration, Instant};

mod announced;
mod text_messages;

use crate::{
    Announced, Answer, Cause, Engine, Event, Exchange, Failure, FinalCode, Framing, Guarded,
    Identity, Quoted, ResultLine, WaitingFor,
};

const IMEI: &str = "861234567000003";
const PUB: ResultLine = ResultLine { prefix: "+CMQTTPUB:", first: Some(0), ..ResultLine::BLANK };
const SEC: u64 = 1_000;

fn framing() -> Framing {
    Framing {
        quoted: vec![Quoted { prefix: "+QMTRECV:" }],
        announced: vec![Announced { prefix: "+CMQTTRXPAYLOAD:", length_at: 1 }],
        urcs: vec!["SMS DONE", "PB DONE", "NO CARRIER"],
        boots: vec!["RDY"],
        max_prompt_data: 20,
        guarded: vec![Guarded { prefix: "+CMQTTCONNECT:", from: 5 }],
        updates: Vec::new(),
        parts: vec!["+CMQTTRXSTART:", "+CMQTTRXEND:"],
    }
}

/// An engine, a virtual clock, and its output in words.
struct Line {
    engine: Engine,
    now: Instant,
    sent: Vec<u8>,
    told: Vec<String>,
}

impl Line {
    fn opened() -> Self {
        let now = tests_epoch();
        let mut line =
            Self { engine: Engine::new(framing(), now), now, sent: vec![], told: vec![] };
        line.drain();
        line
    }

    /// A line in step that knows its IMEI; the log is empty.
    fn in_step() -> Self {
        let mut line = Self::opened();
        line.modem("\r\nSIMCOM_SIM7600G-H\r\n\r\nOK\r\n");
        line.engine.set_identity(Identity::Imei(IMEI.to_owned()));
        line.sent.clear();
        line.told.clear();
        line
    }

    fn drain(&mut self) {
        while let Some(bytes) = self.engine.poll_transmit() {
            self.sent.extend(bytes);
        }
        while let Some(event) = self.engine.poll_event() {
            self.told.push(words(&event));
        }
    }

    fn send(&mut self, exchange: Exchange) {
        self.engine.submit(exchange, self.now).expect("the engine takes the exchange");
        self.drain();
    }

    fn modem(&mut self, text: &str) {
        self.engine.receive(text.as_bytes(), self.now);
        self.drain();
    }

    /// Lets time pass, timer by timer.
    fn wait(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some(due) = self.engine.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.engine.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn sent(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.sent)).unwrap().replace('\r', "¶")
    }

    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }
}

/// Instants have no literal; all tests count from the same instant.
fn tests_epoch() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a start for a virtual clock")]
    Instant::now()
}

fn words(event: &Event) -> String {
    match event {
        Event::Completed(_, Ok(reply)) => match &reply.result {
            Some(result) => format!("ok {:?} result {result}", reply.lines),
            None => format!("ok {:?}", reply.lines),
        },
        Event::Completed(_, Err(Failure::Refused { code, lines, result })) => {
            format!("refused {code} {lines:?} {result:?}")
        }
        Event::Completed(_, Err(failure)) => format!("failed: {failure}"),
        Event::Urc(urc) => match &urc.data {
            Some(data) => {
                format!("urc {} data {}", urc.line, String::from_utf8_lossy(data).escape_debug())
            }
            None => format!("urc {}", urc.line),
        },
        Event::Desync(cause) => format!("desync {cause:?}"),
        Event::InStep { answer, .. } => format!("in step {answer}"),
        Event::EchoBack => "echo back".to_owned(),
        Event::Mute => "mute".to_owned(),
    }
}

fn at(line: &str) -> Exchange {
    Exchange::new(line, Duration::from_secs(3)).unwrap()
}

fn creg() -> Exchange {
    // 27.007 §7.2: the answer has <n>,<stat>; the URC has <stat> alone.
    at("AT+CREG?").answer(Answer::Matching(|line| line.starts_with("+CREG:") && line.contains(',')))
}

fn topic() -> Exchange {
    at("AT+CMQTTTOPIC=0,5").prompt("a/b/c").answer(Answer::Prefix("+CMQTTTOPIC:")).lane("cmqtt")
}

fn publish() -> Exchange {
    at("AT+CMQTTPUB=0,1,60").result(PUB, Duration::from_secs(65)).lane("cmqtt").irrevocable()
}

fn upload() -> Exchange {
    at("AT+QFUPL=\"k\",5,10").prompt("a\r\nOK").after_connect().answer(Answer::Prefix("+QFUPL:"))
}

/// The modem's answer that proves that it is in step.
const PROOF: &str = "\r\n861234567000003\r\n\r\nOK\r\n";

// --- exchanges that go well ------------------------------------------------------------------------

#[test]
fn opening_asks_for_the_model_and_tells_it() {
    let mut line = Line::opened();
    assert_eq!(line.sent(), "¶AT+CGMM¶");
    line.modem("AT+CGMM\r\r\nSIMCOM_SIM7600G-H\r\n\r\nOK\r\n");
    assert_eq!(line.told(), ["desync Opened", "in step SIMCOM_SIM7600G-H"]);
}

#[test]
fn an_answer_and_a_urc_of_one_prefix_are_told_apart() {
    let mut line = Line::in_step();
    line.modem("\r\n+CREG: 2\r\n");
    line.send(creg());
    line.modem("\r\n+CREG: 5\r\n\r\n+CREG: 1,5\r\n\r\nOK\r\n");
    line.modem("\r\n+CREG: 1,\"CE00\",\"01CEAD8F\"\r\n");
    assert_eq!(
        line.told(),
        [
            "urc +CREG: 2",
            "urc +CREG: 5",
            "ok [\"+CREG: 1,5\"]",
            "urc +CREG: 1,\"CE00\",\"01CEAD8F\""
        ]
    );
}

#[test]
fn a_declared_urc_between_echo_and_a_bare_answer_is_no_answer() {
    let mut line = Line::in_step();
    line.send(at("AT+CGMR").answer(Answer::Bare));
    line.modem("AT+CGMR\r\r\nSMS DONE\r\n\r\n+CGEV: EPS PDN ACT 1\r\n\r\nLE20B04\r\n\r\nOK\r\n");
    assert_eq!(line.told(), ["urc SMS DONE", "urc +CGEV: EPS PDN ACT 1", "ok [\"LE20B04\"]"]);
}

#[test]
fn a_boot_urc_equal_to_an_answer_goes_to_the_command_in_flight_only() {
    let mut line = Line::in_step();
    line.send(at("AT+CPIN?").answer(Answer::Prefix("+CPIN:")));
    line.modem("\r\n+CME ERROR: SIM busy\r\n\r\n+CPIN: READY\r\n");
    assert_eq!(line.told(), ["refused +CME ERROR: SIM busy [] None", "urc +CPIN: READY"]);
}

#[test]
fn the_prompt_needs_nothing_after_it() {
    let mut line = Line::in_step();
    line.send(topic());
    line.sent.clear();
    line.modem("\r\n>");
    assert_eq!(line.sent(), "a/b/c");
    line.modem("\r\nOK\r\n");
    assert_eq!(line.told(), ["ok []"]);
}

#[test]
fn a_result_may_come_before_or_after_ok() {
    for answer in ["\r\n+CMQTTPUB: 0,0\r\n\r\nOK\r\n", "\r\nOK\r\n\r\n+CMQTTPUB: 0,0\r\n"] {
        let mut line = Line::in_step();
        line.send(publish());
        line.modem(answer);
        assert_eq!(line.told(), ["ok [] result +CMQTTPUB: 0,0"], "{answer:?}");
        assert!(line.engine.is_idle());
    }
}

#[test]
fn every_failing_form_of_an_operation_ends_it() {
    let cases = [
        ("\r\nERROR\r\n", "refused ERROR [] None"),
        ("\r\n+CMQTTPUB: 0,14\r\n\r\nERROR\r\n", "refused ERROR [] Some(\"+CMQTTPUB: 0,14\")"),
        ("\r\nOK\r\n\r\n+CMQTTPUB: 0,6\r\n", "ok [] result +CMQTTPUB: 0,6"),
        ("\r\nOK\r\n\r\nERROR\r\n", "refused ERROR [] None"),
    ];
    for (answer, expected) in cases {
        let mut line = Line::in_step();
        line.send(publish());
        line.modem(answer);
        assert_eq!(line.told(), [expected], "{answer:?}");
        assert!(line.engine.is_idle());
    }
}

#[test]
fn a_result_of_the_other_client_is_not_ours() {
    let mut line = Line::in_step();
    line.send(publish());
    line.modem("\r\nOK\r\n\r\n+CMQTTPUB: 1,0\r\n");
    assert_eq!(line.told(), ["urc +CMQTTPUB: 1,0"]);
    assert!(!line.engine.is_idle());
}

#[test]
fn while_a_result_is_out_other_commands_run_but_none_of_its_lane() {
    let mut line = Line::in_step();
    line.send(publish());
    line.modem("\r\nOK\r\n");
    assert!(!line.engine.ready_for(&topic()));
    assert!(line.engine.submit(topic(), line.now).is_err());
    line.send(at("AT+CSQ").answer(Answer::Prefix("+CSQ:")));
    line.modem("\r\n+CSQ: 22,0\r\n\r\n+CMQTTPUB: 0,0\r\n\r\nOK\r\n");
    assert_eq!(line.told(), ["ok [] result +CMQTTPUB: 0,0", "ok [\"+CSQ: 22,0\"]"]);
    assert!(line.engine.ready_for(&topic()));
}

#[test]
fn announced_data_is_cut_by_length_whatever_it_holds() {
    let mut line = Line::in_step();
    line.send(publish());
    line.modem("\r\nOK\r\n\r\n+CMQTTRXPAYLOAD: 0,21\r\n\r\nOK\r\n>+CMQTTPUB: 0,6\r\n\r\n+CMQTTPUB: 0,0\r\n");
    assert_eq!(
        line.told(),
        [
            "urc +CMQTTRXPAYLOAD: 0,21 data \\r\\nOK\\r\\n>+CMQTTPUB: 0,6",
            "ok [] result +CMQTTPUB: 0,0"
        ]
    );
}

// --- each cause of a desync ------------------------------------------------------------------------

const LATE: &str = "failed: no answer in time: the modem still owed its final result code";

#[test]
fn a_late_answer_is_its_own_commands_and_never_the_next_ones() {
    let mut line = Line::in_step();
    line.send(at("AT+CSQ").answer(Answer::Prefix("+CSQ:")));
    line.wait(3 * SEC);
    assert_eq!(line.told(), [""; 0], "it may be slow");
    assert!(line.engine.is_busy());
    assert!(line.sent().ends_with("¶AT+CGSN¶"));
    assert!(!line.engine.ready_for(&creg()), "nothing starts out of step");
    // The late answer, its OK, then the proof.
    line.modem("\r\n+CSQ: 9,99\r\n\r\nOK\r\n");
    assert_eq!(line.told(), ["ok [\"+CSQ: 9,99\"]"]);
    assert!(!line.engine.ready_for(&creg()));
    line.modem(PROOF);
    assert_eq!(line.told(), ["in step 861234567000003"]);
    assert!(!line.engine.is_busy());
    line.send(creg());
    line.modem("\r\n+CREG: 0,1\r\n\r\nOK\r\n");
    assert_eq!(line.told(), ["ok [\"+CREG: 0,1\"]"]);
}

#[test]
fn a_command_is_lost_once_the_question_behind_it_was_answered() {
    let mut line = Line::in_step();
    line.send(at("AT+CSQ").answer(Answer::Prefix("+CSQ:")));
    line.wait(3 * SEC);
    line.modem(PROOF);
    assert_eq!(line.told(), [LATE, "desync Timeout", "in step 861234567000003"]);
}

#[test]
fn a_modem_is_waited_for_as_long_as_its_manual_allows() {
    let start = ResultLine { prefix: "+CMQTTSTART:", ..ResultLine::BLANK };
    for (took, whole) in [(60, true), (119, true), (130, false)] {
        let mut line = Line::in_step();
        let exchange = at("AT+CMQTTSTART").at_most(Duration::from_secs(120));
        line.send(exchange.result(start, Duration::from_secs(125)));
        line.wait(took * SEC);
        line.modem("\r\n+CMQTTSTART: 0\r\n\r\nOK\r\n");
        let questions = line.sent().matches("AT+CGSN").count();
        assert!((8..20).contains(&questions), "{questions}");
        line.modem(&PROOF.repeat(questions));
        line.wait(2 * SEC);
        let told = line.told();
        if whole {
            assert_eq!(told, ["ok [] result +CMQTTSTART: 0", "in step 861234567000003"], "{took}");
        } else {
            assert_eq!(told.first().unwrap(), LATE);
            assert!(told.contains(&"mute".to_owned()), "{told:?}");
        }
    }
}

#[test]
fn whatever_a_modem_prints_is_a_sign_of_life_for_a_while() {
    let mut line = Line::in_step();
    line.send(at("AT+CSQ").answer(Answer::Prefix("+CSQ:")));
    for percent in 0..840 {
        line.wait(SEC);
        line.modem(&format!("\r\n+QIND: \"FOTA\",\"UPDATING\",{percent}\r\n"));
    }
    assert!(!line.told().contains(&"mute".to_owned()));
    assert!(line.sent().len() < 4_000, "it is asked calmly");
    for _ in 0..120 {
        line.wait(SEC);
        line.modem("\r\n+QIND: 1\r\n");
    }
    assert!(line.told().contains(&"mute".to_owned()), "not for ever");
    // A port that may not speak AT is given up sooner.
    let mut line = Line::opened();
    for _ in 0..40 {
        line.wait(SEC);
        line.modem("\r\nboot> \r\n");
    }
    assert!(line.told().contains(&"mute".to_owned()));
}

#[test]
fn timeout_a_bare_ok_proves_nothing() {
    let mut line = Line::in_step();
    line.send(at("AT+CMQTTREL=0"));
    line.wait(3 * SEC);
    line.modem("\r\nOK\r\n\r\nOK\r\n");
    assert!(!line.engine.ready_for(&creg()));
    line.modem("\r\n861234567000011\r\n\r\nOK\r\n");
    assert!(!line.engine.ready_for(&creg()), "another modem's IMEI is no proof");
    line.modem(PROOF);
    assert!(line.engine.ready_for(&creg()));
}

#[test]
fn late_answers_to_every_question_are_awaited() {
    let mut line = Line::in_step();
    line.send(creg());
    line.wait(3 * SEC + 3_500); // three questions are out by now
    assert_eq!(line.sent().matches("AT+CGSN").count(), 3);
    line.modem("\r\n+CREG: 0,1\r\n\r\nOK\r\n");
    assert_eq!(line.told(), ["ok [\"+CREG: 0,1\"]"]);
    line.modem(PROOF);
    line.modem(PROOF);
    assert_eq!(line.told(), [""; 0], "one answer is still to come");
    line.modem(PROOF);
    assert_eq!(line.told(), ["in step 861234567000003"]);
}

#[test]
fn questions_that_were_swallowed_are_given_up_after_a_quiet_second() {
    let mut line = Line::in_step();
    line.send(creg());
    line.wait(3 * SEC + 1_500);
    line.modem(PROOF);
    line.told.clear();
    line.wait(900);
    assert_eq!(line.told(), [""; 0]);
    line.wait(200);
    assert_eq!(line.told(), ["in step 861234567000003"]);
}

#[test]
fn a_prompt_that_comes_late_is_fed_before_the_question() {
    let mut line = Line::in_step();
    line.send(topic());
    line.sent.clear();
    line.wait(3 * SEC);
    assert_eq!(
        line.sent(),
        "\u{1b}¶¶¶¶¶¶AT+CGSN¶",
        "five bytes were announced, and one CR ends the line"
    );
    assert_eq!(
        line.told(),
        ["failed: no answer in time: the modem still owed its prompt", "desync Timeout"]
    );
    line.modem("\r\n>");
    assert!(line.sent().starts_with("\u{1b}¶¶¶¶"), "the data mode that opened late is filled");
    line.modem("\r\nOK\r\n");
    line.modem(PROOF);
    line.wait(SEC);
    assert_eq!(line.told(), ["in step 861234567000003"]);
}

fn connect() -> Exchange {
    let result = ResultLine { prefix: "+CMQTTCONNECT:", first: Some(0), ..ResultLine::BLANK };
    let exchange = Exchange::new("AT+CMQTTCONNECT=0", Duration::from_secs(3)).unwrap();
    exchange.result(result, Duration::from_secs(60)).reason_within(Duration::from_millis(500))
}

#[test]
fn the_reason_of_a_refusal_may_stand_behind_it() {
    let reason = ["refused ERROR [] Some(\"+CMQTTCONNECT: 0,3\")"];
    for (said, rest, told) in [
        ("\r\nERROR\r\n", "\r\n+CMQTTCONNECT: 0,3\r\n", &reason),
        ("\r\n+CMQTTCONNECT: 0,3\r\n\r\nERROR\r\n", "", &reason),
        ("\r\nERROR\r\n", "\r\n+CMQTTCONNECT: 1,3\r\n", &["urc +CMQTTCONNECT: 1,3"]),
        ("\r\nERROR\r\n", "", &["refused ERROR [] None"]),
    ] {
        let mut line = Line::in_step();
        line.send(connect());
        line.modem(said);
        line.wait(100);
        line.modem(rest);
        if told[0].starts_with("urc") || rest.is_empty() {
            line.wait(SEC);
        }
        assert_eq!(line.told().first().map(String::as_str), Some(told[0]), "{said}{rest}");
        assert!(line.engine.is_idle(), "in step, and nothing is awaited");
    }
}

/// The second error may belong to either command.
#[test]
fn an_error_while_a_reason_is_awaited_is_not_swallowed() {
    let mut line = Line::in_step();
    line.send(connect());
    line.modem("\r\nERROR\r\n");
    line.modem("\r\nERROR\r\n");
    assert_eq!(line.told(), ["desync StrayFinal"]);
    line.modem("\r\n+CMQTTCONNECT: 0,3\r\n");
    line.modem(PROOF);
    let told = line.told();
    assert_eq!(told, ["refused ERROR [] Some(\"+CMQTTCONNECT: 0,3\")", "in step 861234567000003"]);
}

fn message() -> Exchange {
    let line = "AT+QMTPUBEX=0,1,1,0,\"t\",5";
    let result = ResultLine { prefix: "+QMTPUBEX:", first: Some(0), ..ResultLine::BLANK };
    let exchange = Exchange::new(line, Duration::from_secs(3)).unwrap();
    exchange.prompt(b"hello".to_vec()).takes_effect().result(result, Duration::from_secs(60))
}

/// Padding would be published.
#[test]
fn a_late_prompt_for_data_that_takes_effect_is_given_that_data() {
    for lost in ["", "\r\nOK\r\n"] {
        let mut line = Line::in_step();
        line.send(message());
        line.sent.clear();
        line.modem(lost);
        line.wait(9 * SEC);
        assert_eq!(line.sent(), "", "nothing that could be taken for the data");
        assert!(line.told().iter().any(|told| told.starts_with("failed: ")));
        line.modem("\r\n>");
        assert_eq!(line.sent(), "hello");
        line.modem("\r\nOK\r\n\r\n+QMTPUBEX: 0,1,0\r\n");
        line.wait(SEC);
        assert_eq!(line.sent(), "¶AT+CGSN¶", "no padding: the data is complete");
        line.modem(PROOF);
        assert_eq!(line.told(), ["urc +QMTPUBEX: 0,1,0", "in step 861234567000003"]);
    }
}

/// The command was lost, or a prompt for data without effect is late again: padding as usual.
#[test]
fn a_prompt_that_stays_out_is_waited_for_and_then_given_up() {
    let mut line = Line::in_step();
    line.send(message());
    line.sent.clear();
    line.wait(13 * SEC);
    assert_eq!(line.sent(), "\u{1b}¶¶¶¶¶¶AT+CGSN¶");
    line.modem(PROOF);
    let told = line.told();
    assert_eq!(told.last().map(String::as_str), Some("in step 861234567000003"));
}

/// The question would be taken for data, or its answer for that of the command.
#[test]
fn what_may_not_be_disturbed_has_longer() {
    let mut line = Line::in_step();
    line.send(at("AT+CMQTTTOPIC=0,5").undisturbed_for(Duration::from_secs(20)).prompt("hello"));
    line.sent.clear();
    line.wait(18 * SEC);
    assert_eq!(line.sent(), "", "nothing is sent before the prompt");
    line.modem("\r\n>");
    assert_eq!(line.sent(), "hello");
    line.sent.clear();
    line.wait(9 * SEC);
    line.modem("\r\nOK\r\n");
    assert_eq!((line.sent().as_str(), line.told()), ("", vec!["ok []".to_owned()]));
}

/// The modem was slow to refuse: it is asked at once, and a later prompt is given nothing.
#[test]
fn a_late_refusal_ends_the_wait_for_a_prompt() {
    for refusal in ["\r\nERROR\r\n", "\r\n+CME ERROR: 3\r\n"] {
        let mut line = Line::in_step();
        line.send(message());
        line.wait(3 * SEC + 200);
        line.sent.clear();
        line.modem(refusal);
        assert_eq!(line.sent(), "¶AT+CGSN¶", "{refusal}");
        line.modem("\r\n> ");
        assert!(!line.sent().contains("hello"), "{refusal}");
        line.modem(PROOF);
        line.modem(PROOF);
        assert_eq!(line.told().last().map(String::as_str), Some("in step 861234567000003"));
    }
}

/// `OK` may come before the prompt, and an error may be the end of the pending operation.
#[test]
fn what_may_not_be_its_refusal_does_not_end_the_wait_for_a_prompt() {
    for is_pending in [false, true] {
        let mut line = Line::in_step();
        if is_pending {
            line.send(publish());
            line.modem("\r\nOK\r\n");
        }
        line.send(message());
        line.modem("\r\nOK\r\n");
        line.sent.clear();
        line.modem(if is_pending { "\r\nERROR\r\n" } else { "\r\nOK\r\n" });
        assert_eq!(line.sent(), "");
        line.modem("\r\n>");
        assert_eq!(line.sent(), "hello");
    }
}

/// A boot ends the wait: a prompt after the boot asks for something else.
#[test]
fn a_boot_drops_what_a_late_prompt_would_be_given() {
    let mut line = Line::in_step();
    line.send(message());
    line.wait(4 * SEC);
    line.sent.clear();
    line.modem("\r\nRDY\r\n\r\n>");
    assert!(!line.sent().contains("hello"));
}

#[test]
fn ok_where_a_prompt_was_due_is_not_taken_for_success() {
    let mut line = Line::in_step();
    line.send(topic());
    line.modem("\r\nOK\r\n");
    assert_eq!(
        line.told(),
        ["desync NoPrompt", "failed: the modem answered OK where a prompt was due"]
    );
}

#[test]
fn a_refused_prompt_command_keeps_the_step() {
    let mut line = Line::in_step();
    line.send(topic());
    line.modem("\r\n+CMQTTTOPIC: 0,11\r\n\r\nERROR\r\n");
    assert_eq!(line.told(), ["refused ERROR [\"+CMQTTTOPIC: 0,11\"] None"]);
    assert!(line.engine.is_idle());
}

#[test]
fn prompt_in_noise_is_no_prompt() {
    let mut line = Line::in_step();
    line.send(topic());
    line.sent.clear();
    line.modem("x>y\r\n+NOTE: a > b\r\n");
    assert_eq!(line.sent(), "", "not the first byte of a line");
    line.modem("\r\n>");
    assert_eq!(line.sent(), "a/b/c");
    line.modem("\r\nOK\r\n");
    line.modem("\r\n>\r\n");
    assert_eq!(line.told().last().unwrap(), "urc >", "no prompt is awaited any more");
}

#[test]
fn an_upload_waits_for_its_connect_and_for_nothing_else() {
    let mut line = Line::in_step();
    line.send(upload());
    line.sent.clear();
    line.modem("AT+QFUPL=\"k\",5,10\r\r\n>\r\nCONNECTED\r\n+CREG: 1\r\nCONN");
    assert_eq!(line.sent(), "", "neither a prompt of another kind nor half a line");
    line.modem("ECT\r\n");
    assert_eq!(line.sent(), "a¶\nOK");
    line.modem("\r\nCONNECT\r\n");
    assert_eq!(line.sent(), "", "the data goes out once");
    line.modem("+QFUPL: 5,1d4f\r\n\r\nOK\r\n");
    let told = ["urc >", "urc CONNECTED", "urc +CREG: 1", "urc CONNECT", "ok [\"+QFUPL: 5,1d4f\"]"];
    assert_eq!(line.told(), told);
    // If no prompt or another kind is awaited, `CONNECT` opens nothing.
    line.modem("\r\nCONNECT\r\n");
    line.send(topic());
    line.sent.clear();
    line.modem("\r\nCONNECT\r\n");
    assert_eq!(line.sent(), "");
    assert_eq!(line.told(), ["urc CONNECT", "urc CONNECT"]);
    line.modem("\r\n>");
    assert_eq!(line.sent(), "a/b/c");
}

#[test]
fn an_upload_that_is_refused_keeps_the_step_and_ok_is_no_connect() {
    let mut line = Line::in_step();
    line.send(upload());
    line.modem("\r\n+CME ERROR: 407\r\n");
    assert_eq!(line.told(), ["refused +CME ERROR: 407 [] None"]);
    line.send(upload());
    line.modem("\r\nOK\r\n");
    let told = ["desync NoPrompt", "failed: the modem answered OK where a prompt was due"];
    assert_eq!(line.told(), told);
}

#[test]
fn a_connect_that_comes_late_is_fed_before_the_question() {
    let mut line = Line::in_step();
    line.send(upload());
    line.sent.clear();
    line.wait(3 * SEC);
    assert_eq!(line.sent(), "\u{1b}¶¶¶¶¶¶AT+CGSN¶");
    line.told.clear();
    line.modem("\r\nCONNECT\r\n");
    assert!(line.sent().starts_with("\u{1b}¶¶¶¶¶"), "the data mode that opened late is filled");
    line.modem("\r\n+QFUPL: 5,0\r\n\r\nOK\r\n");
    line.modem(PROOF);
    line.wait(SEC);
    assert_eq!(line.told(), ["in step 861234567000003"], "the late answer is dropped");
}

/// The data is given to a prompt of its own kind only. Another kind does not end the silence before
/// it: bytes written then would be taken for the data.
#[test]
fn a_prompt_of_another_kind_does_not_break_the_silence() {
    let (mark, connect) = ("\r\n>", "\r\nCONNECT\r\n");
    for (exchange, wrong, right, data) in
        [(message(), connect, mark, "hello"), (upload().takes_effect(), mark, connect, "a¶\nOK")]
    {
        let mut line = Line::in_step();
        line.send(exchange);
        line.sent.clear();
        line.wait(4 * SEC);
        for _ in 0..3 {
            line.modem(wrong);
            assert_eq!(line.sent(), "", "{wrong:?}");
        }
        line.wait(5 * SEC);
        assert_eq!(line.sent(), "", "{wrong:?}");
        line.modem(right);
        assert_eq!(line.sent(), data, "{right:?}");
        line.modem("\r\nOK\r\n");
        line.wait(SEC);
        assert_eq!(line.sent(), "¶AT+CGSN¶", "no padding: the data is complete");
        line.modem(PROOF);
        assert_eq!(line.told().last().unwrap(), "in step 861234567000003");
    }
    // If the right prompt does not come, it is given up as usual.
    let mut line = Line::in_step();
    line.send(message());
    line.sent.clear();
    line.wait(4 * SEC);
    line.modem(connect);
    line.wait(9 * SEC);
    assert_eq!(line.sent(), "\u{1b}¶¶¶¶¶¶AT+CGSN¶");
}

#[test]
fn a_data_mode_of_an_earlier_program_is_no_model() {
    let mut line = Line::opened();
    line.modem("\r\nCONNECT\r\n");
    assert!(line.sent().ends_with("AT+CGMM¶"), "what was asked before became data");
    line.modem("\r\n+QFUPL: 20,0\r\n\r\nOK\r\n");
    line.modem("\r\nEC25\r\n\r\nOK\r\n");
    line.wait(SEC);
    assert_eq!(line.told().last().unwrap(), "in step EC25");
    for _ in 0..1_000 {
        line.engine.doubt(line.now);
        line.modem("\r\nCONNECT\r\n");
    }
    assert!(line.sent().matches("AT+CGMM").count() <= 7);
}

#[test]
fn flood_of_answer_lines_is_cut_off() {
    let mut line = Line::in_step();
    line.send(at("AT+CMGL").answer(Answer::Prefix("+CMGL:")).max_answer(100));
    for _ in 0..20 {
        line.modem("\r\n+CMGL: 1,2,3,4\r\n");
    }
    line.modem("\r\nOK\r\n");
    let told = line.told();
    assert_eq!(told.get(..2).unwrap(), ["failed: the answer grew past its bound", "desync Flood"]);
    assert_eq!(told.len(), 2, "the rest of the answer is no URC: {told:?}");
    line.modem(PROOF);
    assert_eq!(line.told(), ["in step 861234567000003"]);
}

#[test]
fn an_endless_line_is_dropped_and_costs_the_step() {
    let mut line = Line::in_step();
    line.send(creg());
    line.modem(&"A".repeat(100_000));
    assert_eq!(line.told(), ["failed: the answer grew past its bound", "desync Flood"]);
    line.modem("\r\n");
    line.modem(PROOF);
    assert_eq!(line.told(), ["in step 861234567000003"]);
}

#[test]
fn partial_line_at_the_timeout_is_completed_later_and_harms_nobody() {
    let mut line = Line::in_step();
    line.send(creg());
    line.modem("\r\n+CREG: 0");
    line.wait(3 * SEC);
    line.told.clear();
    line.modem(",1\r\n\r\nOK\r\n");
    line.modem(PROOF);
    assert_eq!(line.told(), ["ok [\"+CREG: 0,1\"]", "in step 861234567000003"]);
}

#[test]
fn write_error_fails_the_exchange_and_costs_the_step() {
    let mut line = Line::in_step();
    line.send(topic());
    line.sent.clear();
    line.engine.write_failed(line.now);
    line.drain();
    assert_eq!(
        line.told(),
        ["failed: the port took only part of the command", "desync WriteFailed"]
    );
    assert_eq!(line.sent(), "\u{1b}¶¶¶¶¶¶AT+CGSN¶");
}

#[test]
fn end_of_file_fails_everything_at_once() {
    let mut line = Line::in_step();
    line.send(publish());
    line.modem("\r\nOK\r\n");
    line.send(creg());
    line.engine.close();
    line.drain();
    assert_eq!(line.told(), ["failed: the port closed", "failed: the port closed"]);
    assert!(!line.engine.ready_for(&creg()));
    assert_eq!(line.engine.poll_timeout(), None);
}

#[test]
fn echo_on_is_seen_through_for_commands_and_for_data() {
    let mut line = Line::in_step();
    let exchange = at("AT+CMQTTPAYLOAD=0,6").prompt("OK\r\nhi").lane("cmqtt");
    for echo in ["AT+CMQTTPAYLOAD=0,6\r>", "AT+CMQTTPAYLOAD=0,6\r\r\n>"] {
        line.send(exchange.clone());
        line.modem(echo);
        line.modem("OK\r\nhi");
        assert_eq!(line.told(), [""; 0], "the echo of the data is no answer");
        line.modem("\r\nOK\r\n");
        assert_eq!(line.told(), ["ok []"], "{echo:?}");
    }
    line.send(exchange);
    line.modem("AT+CMQTTPAYLOAD=0,6\r\r\n>\r\n+CMQTTPAYLOAD: 0,11\r\n\r\nERROR\r\n");
    assert_eq!(
        line.told(),
        ["urc +CMQTTPAYLOAD: 0,11", "refused ERROR [] None"],
        "data that is not echoed costs nothing"
    );
}

#[test]
fn an_echo_that_is_back_is_reported_once() {
    let mut line = Line::in_step();
    let ask = |line: &mut Line, echo: &str| {
        line.send(at("AT+CSQ").answer(Answer::Prefix("+CSQ:")));
        line.modem(&format!("{echo}\r\n+CSQ: 20,0\r\n\r\nOK\r\n"));
        line.told()
    };
    let answered = ["ok [\"+CSQ: 20,0\"]"];
    assert_eq!(ask(&mut line, "AT+CSQ\r"), answered);
    assert_eq!(ask(&mut line, ""), answered);
    assert_eq!(ask(&mut line, "AT+CSQ\r"), answered, "a single echo was missing");
    for _ in 0..4 {
        assert_eq!(ask(&mut line, ""), answered);
    }
    assert_eq!(ask(&mut line, "AT+CSQ\r"), ["echo back", answered[0]]);
    assert_eq!(ask(&mut line, "AT+CSQ\r"), answered);
    for _ in 0..4 {
        assert_eq!(ask(&mut line, ""), answered);
    }
    line.modem("\r\nRDY\r\n\r\nSIMCOM_SIM7600G-H\r\n\r\nOK\r\n");
    line.told();
    assert_eq!(ask(&mut line, "AT+CSQ\r"), ["ok [\"+CSQ: 20,0\"]"], "of a boot that was announced");
}

#[test]
fn a_secret_that_comes_back_is_no_urc() {
    let mut line = Line::in_step();
    let exchange = at("AT+CCERTDOWN=\"k.pem\",19").prompt("-BEGIN-\nMIIEvQ==\n-E").secret();
    line.send(exchange);
    line.modem("\r\n>\r\nERROR\r\n-BEGIN-\r\nMIIEvQ==\r\n+CREG: 1\r\n");
    assert_eq!(line.told(), ["refused ERROR [] None", "urc +CREG: 1"], "an echo that comes late");
    let exchange = at("AT+X=\"id\",\"hunter2\"").shown_as("AT+X=\"id\",***");
    line.send(exchange.clone());
    line.modem("=\"id\",\"hunter2\"\r\nXYZW\r\n\r\nOK\r\n");
    assert_eq!(line.told(), ["urc XYZW", "ok []"], "an echo that lost its beginning");
    assert!(!format!("{exchange:?}").contains("hunter2"));
}

#[test]
fn a_stray_ok_costs_the_step() {
    let mut line = Line::in_step();
    line.modem("\r\nOK\r\n");
    assert_eq!(line.told(), ["desync StrayFinal"]);
    line.modem(PROOF);
    assert_eq!(line.told(), ["in step 861234567000003"]);
}

#[test]
fn a_result_that_stays_out_costs_the_step_and_is_no_longer_believed() {
    let mut line = Line::in_step();
    line.send(publish());
    line.modem("\r\nOK\r\n");
    line.wait(65 * SEC);
    assert_eq!(
        line.told(),
        ["failed: no answer in time: the modem still owed its result line", "desync ResultTimeout"]
    );
    line.modem(PROOF);
    line.modem("\r\n+CMQTTPUB: 0,0\r\n");
    assert_eq!(line.told(), ["in step 861234567000003", "urc +CMQTTPUB: 0,0"]);
}

#[test]
fn a_poll_that_waited_for_a_result_in_vain_is_given_up_soon_after() {
    let mut line = Line::in_step();
    line.send(publish().cut_by([ResultLine {
        prefix: "+CMQTTCONNLOST:",
        first: Some(0),
        ..ResultLine::BLANK
    }]));
    line.modem("\r\nOK\r\n");
    line.send(at("AT+CSQ").answer(Answer::Prefix("+CSQ:")));
    line.wait(10 * SEC);
    line.modem("\r\n+CMQTTCONNLOST: 0,1\r\n");
    line.told.clear();
    line.wait(3 * SEC + 3 * SEC + 1);
    line.modem(PROOF);
    assert!(line.told().contains(&"desync Timeout".to_owned()), "not a minute later");
}

#[test]
fn a_boot_ends_everything_at_once_and_the_modem_is_asked_anew() {
    let mut line = Line::in_step();
    line.send(publish());
    line.modem("\r\nOK\r\n");
    line.send(creg());
    line.sent.clear();
    line.modem("\r\nRDY\r\n\r\n+CPIN: READY\r\n");
    let booted = "failed: the modem booted meanwhile";
    assert_eq!(line.told(), [booted, booted, "urc RDY", "desync Booted", "urc +CPIN: READY"]);
    assert_eq!(line.sent(), "¶AT+CGMM¶");
    line.modem("\r\nSIMCOM_SIM8200EA-M2\r\n\r\nOK\r\n");
    assert_eq!(line.told(), [""; 0], "that is another modem's answer");
    line.modem("\r\nSIMCOM_SIM7600G-H\r\n\r\nOK\r\n");
    assert_eq!(line.told(), ["in step SIMCOM_SIM7600G-H"]);
}

#[test]
fn the_end_of_a_call_ends_no_command() {
    let mut line = Line::in_step();
    line.send(publish());
    line.modem("\r\nOK\r\n");
    line.send(at("AT+CSQ").answer(Answer::Prefix("+CSQ:")));
    line.modem(
        "\r\nNO CARRIER\r\n\r\n+CSQ: 20,0\r\n\r\nOK\r\n\r\nNO CARRIER\r\n\r\n+CMQTTPUB: 0,0\r\n",
    );
    let call = "urc NO CARRIER";
    assert_eq!(line.told(), [call, "ok [\"+CSQ: 20,0\"]", call, "ok [] result +CMQTTPUB: 0,0"]);
}

#[test]
fn a_late_answer_to_the_question_itself_is_awaited() {
    let mut line = Line::in_step();
    line.send(at("AT+CGSN").answer(Answer::Bare));
    line.wait(3 * SEC);
    line.told.clear();
    line.modem(PROOF);
    assert_eq!(line.told(), [""; 0], "it may be the answer of the command that timed out");
    line.modem(PROOF);
    assert_eq!(line.told(), ["in step 861234567000003"]);
}

#[test]
fn a_late_answer_to_the_question_is_awaited_however_it_was_asked_for() {
    let names = || Answer::Named(["+CGSN", "+GSN", "+CSQ"].map(str::to_owned).into());
    for (text, answer) in [
        ("at+cgsn", names()),
        ("AT+GSN", names()),
        ("AT+CSQ;+CGSN", names()),
        ("AT+GSN", Answer::Bare),
        ("AT+GSN", Answer::Any),
    ] {
        let mut line = Line::in_step();
        line.send(at(text).answer(answer));
        line.wait(3 * SEC);
        line.told.clear();
        line.modem(PROOF);
        assert_eq!(line.told(), [""; 0], "{text}: it may be that command's");
        assert!(!line.engine.ready_for(&at("AT+CMQTTREL=0")), "{text}: nobody takes the other");
        line.modem(PROOF);
        assert_eq!(line.told(), ["in step 861234567000003"], "{text}");
    }
}

#[test]
fn an_answer_that_never_comes_is_awaited_for_a_quiet_second() {
    let mut line = Line::in_step();
    line.send(at("AT+GSN").answer(Answer::Bare));
    line.wait(3 * SEC);
    line.told.clear();
    line.modem(PROOF);
    line.wait(SEC - 1);
    assert_eq!(line.told(), [""; 0]);
    line.wait(1);
    assert_eq!(line.told(), ["in step 861234567000003"]);
}

#[test]
fn questions_asked_before_a_boot_may_be_answered_after_it() {
    let mut line = Line::opened();
    line.wait(2 * SEC); // three questions are out
    line.modem("\r\nRDY\r\n");
    line.told.clear();
    let model = "\r\nSIMCOM_SIM7600G-H\r\n\r\nOK\r\n";
    line.modem(model);
    assert_eq!(line.told(), [""; 0], "it may be the answer to an earlier question");
    line.modem(&model.repeat(3));
    assert_eq!(line.told(), ["in step SIMCOM_SIM7600G-H"]);
}

#[test]
fn a_lost_connection_cuts_the_wait_for_a_result_short() {
    let lost = ResultLine { prefix: "+CMQTTCONNLOST:", first: Some(0), ..ResultLine::BLANK };
    let mut line = Line::in_step();
    line.send(publish().cut_by([lost]));
    line.modem("\r\nOK\r\n\r\n+CMQTTCONNLOST: 1,1\r\n");
    line.wait(10 * SEC);
    assert_eq!(line.told(), ["urc +CMQTTCONNLOST: 1,1"], "the other client's loss");
    line.modem("\r\n+CMQTTCONNLOST: 0,1\r\n");
    line.wait(3 * SEC);
    let failed = "failed: no answer in time: the modem still owed its result line";
    assert_eq!(line.told(), ["urc +CMQTTCONNLOST: 0,1", failed, "desync ResultTimeout"]);
}

#[test]
fn a_poll_delayed_by_a_pending_result_is_no_timeout() {
    let mut line = Line::in_step();
    line.send(publish());
    line.modem("\r\nOK\r\n");
    line.send(at("AT+CSQ").answer(Answer::Prefix("+CSQ:")));
    line.wait(30 * SEC);
    assert_eq!(line.told(), [""; 0]);
    line.modem("\r\n+CMQTTPUB: 0,0\r\n");
    line.modem("\r\n+CSQ: 20,0\r\n\r\nOK\r\n");
    assert_eq!(line.told(), ["ok [] result +CMQTTPUB: 0,0", "ok [\"+CSQ: 20,0\"]"]);
    // Once the result is in, the poll's own time counts again.
    line.send(publish());
    line.modem("\r\nOK\r\n");
    line.send(at("AT+CSQ").answer(Answer::Prefix("+CSQ:")));
    line.wait(10 * SEC);
    line.modem("\r\n+CMQTTPUB: 0,0\r\n");
    line.told.clear();
    line.wait(3 * SEC);
    line.modem(PROOF);
    assert_eq!(line.told(), [LATE, "desync Timeout", "in step 861234567000003"]);
}

#[test]
fn a_mute_port_is_given_up_after_a_bounded_number_of_questions() {
    let mut line = Line::in_step();
    line.send(creg());
    line.wait(29 * SEC);
    assert_eq!(line.told(), [""; 0], "modems were seen to take 20 s");
    line.wait(5 * SEC);
    assert_eq!(line.told(), [LATE, "desync Timeout", "mute"]);
    assert!(line.sent().matches("AT+CGSN").count() <= 6);
    assert_eq!(line.engine.poll_timeout(), None);
    let mut line = Line::opened();
    line.wait(6 * SEC);
    assert_eq!(line.told().last().unwrap(), "mute");
    let sent = line.sent();
    assert_eq!(sent.matches("AT+CGMM").count(), 6);
    assert!(sent.contains(&"¶".repeat(20)), "it tried to leave a data mode");
}

#[test]
fn a_mute_port_with_a_pending_result_is_waited_for() {
    let mut line = Line::in_step();
    line.send(publish());
    line.modem("\r\nOK\r\n\r\nOK\r\n"); // the stray OK costs the step
    line.wait(30 * SEC);
    line.modem("\r\n+CMQTTPUB: 0,0\r\n");
    assert!(line.told().contains(&"ok [] result +CMQTTPUB: 0,0".to_owned()));
    line.modem(PROOF);
    line.wait(2 * SEC);
    assert_eq!(line.told(), ["in step 861234567000003"]);
}

#[test]
fn a_modem_that_prints_prompts_for_ever_gets_a_bounded_answer() {
    let mut line = Line::opened();
    for _ in 0..1_000 {
        line.modem("\r\n>");
    }
    assert!(line.sent().matches("AT+CGMM").count() <= 6);
}

#[test]
fn half_a_command_of_an_earlier_program_does_not_spoil_the_opening() {
    let mut line = Line::opened();
    // The CR before the question ended the half line; the modem refused it.
    line.modem("\r\nERROR\r\n\r\nSIMCOM_SIM8200EA-M2\r\n\r\nOK\r\n");
    assert_eq!(line.told(), ["desync Opened", "in step SIMCOM_SIM8200EA-M2"]);
}

// --- what may be sent ------------------------------------------------------------------------------

#[test]
fn nothing_is_spliced_into_a_command() {
    let second = Duration::from_secs(1);
    assert!(Exchange::new("AT+X=\"a\r\nAT+CRESET\"", second).is_err());
    assert!(Exchange::new("AT+X=\"a\0\"", second).is_err());
    assert!(Exchange::new("+++", second).is_err());
    assert!(Exchange::new("", second).is_err());
    assert!(Exchange::new("é", second).is_err());
    assert!(Exchange::new(format!("AT{}", "x".repeat(2_000)), second).is_err());
    assert!(crate::quote("a\",\"b").is_err());
    assert!(crate::quote("a\rb").is_err());
    assert_eq!(crate::quote("a|b=c,d").unwrap(), "\"a|b=c,d\"");
}

#[test]
fn debug_output_shows_no_secret() {
    let exchange = at("AT+CPIN=1234").shown_as("AT+CPIN=***").prompt("payload");
    let shown = format!("{exchange:?}");
    assert!(shown.contains("AT+CPIN=***") && !shown.contains("1234") && !shown.contains("payload"));
}

#[test]
fn final_result_codes() {
    assert_eq!(FinalCode::parse("OK"), Some(FinalCode::Ok));
    assert_eq!(FinalCode::parse("+CME ERROR: 14"), Some(FinalCode::Cme("14".to_owned())));
    assert_eq!(FinalCode::parse("+CMS ERROR: "), Some(FinalCode::Cms(String::new())));
    assert!(FinalCode::parse("NO CARRIER").is_some());
    for no_code in ["MODEM ERROR: apple", "UNKNOWN COMMAND", "OKAY", "OK.", "SMS DONE"] {
        assert_eq!(FinalCode::parse(no_code), None, "{no_code}");
    }
    assert_eq!(WaitingFor::Prompt.to_string(), "its prompt");
    assert_ne!(Cause::Timeout, Cause::Flood);
}

mod splits {
    //! The end of a read must not matter.

    use proptest::prelude::*;

    use super::*;

    /// Runs a fixed in-flight exchange over one burst, cut at `cuts`, without stopping in between.
    fn burst(exchange: &Exchange, bytes: &[u8], cuts: &[usize]) -> (Vec<String>, Vec<u8>) {
        let mut line = Line::in_step();
        line.send(exchange.clone());
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        let mut at = 0;
        for end in ends {
            line.engine.receive(&bytes[at..end], line.now);
            line.drain();
            at = end;
        }
        (line.told, line.sent)
    }

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            Just(b"\r\nOK\r\n".to_vec()),
            Just(b"\r\nERROR\r\n".to_vec()),
            Just(b"\r\n>".to_vec()),
            Just(b"\r\nCONNECT\r\n".to_vec()),
            Just(b"\r\n+CREG: 0,1\r\n".to_vec()),
            Just(b"\r\n+CREG: 1\r\n".to_vec()),
            Just(b"\r\n+CMQTTPUB: 0,0\r\n".to_vec()),
            Just(b"\r\n+CMQTTRXPAYLOAD: 0,7\r\n\nOK\r\n>+\r\n".to_vec()),
            Just(b"\r\n+QMTRECV: 0,1,\"t\",6,\"\"\r\nOK\"\"\r\n".to_vec()),
            Just(b"\r\n+QMTRECV: 0,1,\"t\",2,\r\n\"hi\"\r\n".to_vec()),
            Just(b"AT+CMQTTTOPIC=0,5\r".to_vec()),
            Just(b"a/b/c".to_vec()),
            Just(PROOF.as_bytes().to_vec()),
            Just(b"\r\nRDY\r\n".to_vec()),
            Just(b"\r\n+CMQTTRXPAYLOAD: 0,70000\r\n".to_vec()),
            Just(b"\r\n+CMQTTRXPAYLOAD: 0,x\r\n".to_vec()),
            Just(b"\r\n+CMQTTRXPAYLOAD: 0,9\r\nOK\r\n".to_vec()),
            Just(b"\r\n+QMTRECV: 0,1,\"t\",2,\"OK\r\n\r\n".to_vec()),
            Just(b"\r\n+QMTRECV: 0,1,\"t\",\"a\r\nOK\"\r\n".to_vec()),
            Just(b"\r\n+CMT: \"+86\",,\"26/11/29,09:00:00+32\"\r\n".to_vec()),
            Just(b"\r\n+CMT: ,24\r\n".to_vec()),
            Just(b"\r\n+CMGR: \"REC READ\",\"+86\",,\"26/11/29,09:00:00+32\"\r\n".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..40),
        ]
    }

    /// A late prompt causes one more question, which puts off the end of the resynchronisation;
    /// bytes after the prompt bring it near again.
    #[test]
    fn what_comes_behind_a_late_prompt_is_heard_wherever_the_read_ends() {
        let told = |reads: &[&str]| {
            let mut line = Line::in_step();
            for said in [PROOF, ">", PROOF].iter().chain(reads) {
                line.modem(said);
            }
            line.wait(3 * SEC);
            line.modem("\r\n+CREG: 1\r\n");
            line.wait(30 * SEC);
            line.told()
        };
        let whole = told(&["> "]);
        assert_eq!(whole, told(&[">", " "]));
        assert!(whole.iter().any(|event| event.starts_with("in step")), "{whole:?}");
    }

    /// Quotation marks, line ends and final result codes in the data are data.
    #[test]
    fn quoted_data_is_cut_by_its_length() {
        for (said, line_is, data_is) in [
            (
                "+QMTRECV: 0,1,\"a,\"b\",7,\"\"\r\nOK\r\n\"\r\n",
                "+QMTRECV: 0,1,\"a,\"b\",7",
                "\"\r\nOK\r\n",
            ),
            ("+QMTRECV: 0,0,\"t\",0,\"\"\r\n", "+QMTRECV: 0,0,\"t\",0", ""),
            ("+QMTRECV: 0,0,\"t\",2,\r\n\"hi\"\r\n", "+QMTRECV: 0,0,\"t\",2", "hi"),
        ] {
            let mut line = Line::in_step();
            line.engine.receive(said.as_bytes(), line.now);
            let urc = std::iter::from_fn(|| line.engine.poll_event()).collect::<Vec<_>>();
            let wanted =
                crate::Urc { line: line_is.to_owned(), data: Some(data_is.as_bytes().to_vec()) };
            assert_eq!(urc, [Event::Urc(wanted)], "{said:?}");
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            pieces in proptest::collection::vec(piece(), 0..20),
            cuts in proptest::collection::vec(any::<usize>(), 0..30),
            which in 0..6usize,
        ) {
            let bytes: Vec<u8> = pieces.concat();
            let exchange = [publish(), creg(), topic(), connect(), message(), upload()][which].clone();
            prop_assert_eq!(burst(&exchange, &bytes, &[]), burst(&exchange, &bytes, &cuts));
        }

        #[test]
        fn any_bytes_at_any_time_never_panic_and_never_grow(
            pieces in proptest::collection::vec(piece(), 0..20),
            waits in proptest::collection::vec(0u64..70_000, 0..20),
        ) {
            let mut line = Line::in_step();
            for (piece, wait) in pieces.iter().zip(waits) {
                let exchange = [topic(), connect(), message(), upload()][piece.len() % 4].clone();
                if line.engine.ready_for(&exchange) {
                    line.send(exchange);
                }
                line.engine.receive(piece, line.now);
                line.drain();
                line.wait(wait);
            }
            prop_assert!(line.sent.len() < 20 * 2_000);
        }
    }
}

#[test]
fn a_persons_command_takes_its_own_lines_and_no_urc() {
    let names: Arc<[String]> = ["+CSQ", "+CREG", "+CEREG", "+CPIN"].map(str::to_owned).into();
    let answer = Answer::Named(names);
    for (line, belongs) in [
        ("+CSQ: 22,0", true),
        ("+CREG : 0,1", true),
        ("+CREG: 2,1,\"1A2B\",\"01D4E5F6\",7", true),
        ("+CREG: (0-2)", true),
        ("+CREG: 2", false),
        ("+CREG: 1,\"1A2B\",\"01D4E5F6\",7", false),
        ("+CEREG: 5,1A2B,01D4E5F6", false),
        ("+CPIN: READY", true),
        ("+CPIN: SIM PIN", true),
        ("+CPIN: SIM REMOVED", false),
        ("+CPIN: NOT READY", false),
        ("+CSQX: 1", false),
        ("+CMQTTCONNLOST: 0,1", false),
        ("^MODE: 3", false),
        ("SIMCOM_SIM7600E", true),
    ] {
        assert_eq!(answer.takes(line, false), belongs, "{line}");
    }
    assert!(!answer.takes("SMS DONE", true), "a declared URC is nobody's answer");
    let mut line = Line::in_step();
    line.send(at("AT+CREG?;+CPIN?").answer(answer));
    line.modem("\r\n+CREG: 2\r\n\r\n+CREG: 1,2\r\n\r\n+CPIN: SIM REMOVED\r\n\r\nOK\r\n");
    let told = ["urc +CREG: 2", "urc +CPIN: SIM REMOVED", "ok [\"+CREG: 1,2\"]"];
    assert_eq!(line.told(), told);
}

#[test]
fn a_secret_is_hidden_by_its_place() {
    let framing = framing();
    for (line, shown) in [
        (
            r#"+CMQTTCONNECT: 0,"tcp://h:1883",60,1,"a,b","pass,""#,
            r#"+CMQTTCONNECT: 0,"tcp://h:1883",60,1,"a,b",***"#,
        ),
        // Without quotation marks a comma counts: more is hidden, never less.
        ("+CMQTTCONNECT: 0,tcp://h,60,1,a,b,c", "+CMQTTCONNECT: 0,tcp://h,60,1,a,***"),
        (r#"+CMQTTCONNECT: 0,"tcp://h",60,1,"u""#, r#"+CMQTTCONNECT: 0,"tcp://h",60,1,"u""#),
        ("+CMQTTCONNECT: 1", "+CMQTTCONNECT: 1"),
        ("+CMQTTCONNECT: 0,32", "+CMQTTCONNECT: 0,32"),
        ("+CSQ: 1,2,3,4,5,6,7", "+CSQ: 1,2,3,4,5,6,7"),
    ] {
        assert_eq!(framing.shown(line), shown);
    }
}

// --- messages without their length -----------------------------------------------------------------

/// Older firmware prints a message without its length: its end is unknown, so a result that follows
/// at once may be a piece of the message.
#[test]
fn a_result_that_may_be_a_piece_of_a_message_acknowledges_nothing() {
    for message in [
        "\r\n+QMTRECV: 0,1,\"t\",\"one\r\n+CMQTTPUB: 0,0\r\n\"\r\n",
        "\r\n+QMTRECV: 0,1,\"t\",\"one\"\r\n+CMQTTPUB: 0,0\r\nx\"\r\n",
        "\r\n+QMTRECV: 0,1,\"t\",\"one\r\n+CMQTTPUB: 0,0\r\n",
        "\r\n+QMTRECV: 0,1,\"t\",\"one\"\r\n\r\n+CMQTTPUB: 0,0\r\n\r\n+QMTRECV: 0,2,\"t\",\"two\"\r\n",
    ] {
        for split in 1..message.len() {
            let mut line = Line::in_step();
            line.send(publish());
            line.modem("\r\nOK\r\n");
            let (first, second) = message.split_at(split);
            line.modem(first);
            line.wait(20);
            line.modem(second);
            line.wait(70 * SEC);
            assert!(
                !line.told().iter().any(|told| told.starts_with("ok")),
                "{message:?} at {split}"
            );
        }
    }
    // The modem paused before the result: it is the publish's.
    let mut line = Line::in_step();
    line.send(publish());
    line.modem("\r\nOK\r\n");
    line.modem("\r\n+QMTRECV: 0,1,\"t\",\"one\"\r\n");
    line.wait(250);
    line.modem("\r\n+CMQTTPUB: 0,0\r\n");
    assert_eq!(line.told(), ["urc +QMTRECV: 0,1,\"t\",\"one\"", "ok [] result +CMQTTPUB: 0,0"]);
}
