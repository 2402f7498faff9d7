//! Tests of announced data: its damage, and the lines that are believed after it.

use proptest::prelude::*;

use super::*;

/// Lines that would end, begin or break something if they were believed.
const HOSTILE: &str = "\r\n+CMQTTPUB: 0,0\r\n\r\nRDY\r\n\r\nOK\r\n\r\n>\r\n861234567000003\r\n\r\nOK\r\n\r\n+CMQTTCONNLOST: 0,1\r\n";

/// A line in step on which a publish waits for its result.
fn publishing() -> Line {
    let mut line = Line::in_step();
    line.send(publish());
    line.modem("\r\nOK\r\n");
    line.sent.clear();
    line
}

/// Reports whether anything in the log says that the publish ended or that the modem booted.
fn credits(told: &[String]) -> bool {
    // A message that arrived whole may hold such lines.
    let urc_of_boot = |told: &str| told.contains("RDY") && !told.contains(" data ");
    told.iter().any(|told| told.starts_with("ok") || told.contains("boot") || urc_of_boot(told))
}

#[test]
fn what_was_announced_and_does_not_end_as_it_must_is_damaged() {
    for (case, said) in [
        ("three bytes lost", "+CMQTTRXPAYLOAD: 0,10\r\n0123456\r\n\r\n"),
        ("ten bytes lost", "+CMQTTRXPAYLOAD: 0,20\r\n0123456789\r\n\r\n+CMQTTRXE"),
        ("a byte too many", "+CMQTTRXPAYLOAD: 0,4\r\n01234\r\n"),
        ("LF alone", "+CMQTTRXPAYLOAD: 0,4\r\n0123\n\n"),
        ("CR alone", "+CMQTTRXPAYLOAD: 0,4\r\n0123\r+"),
        ("a quoted byte lost", "+QMTRECV: 0,1,\"t\",5,\"0123\"\r\n"),
        ("a quoted byte too many", "+QMTRECV: 0,1,\"t\",5,\"012345\"\r\n"),
        ("a topic like a length", "+QMTRECV: 0,1,\"t\",1,\"x\"\",4,\"0123\"\r\n"),
    ] {
        let mut line = publishing();
        line.modem(&format!("\r\n{said}"));
        let told = line.told();
        let [damaged, desync] = told.as_slice() else { panic!("{case}: {told:?}") };
        assert!(damaged.starts_with("urc +") && !damaged.contains("data"), "{case}: {damaged}");
        assert_eq!(desync, "desync TornData", "{case}");
    }
}

#[test]
fn after_damage_only_messages_are_believed_until_the_modem_is_in_step() {
    let mut line = publishing();
    line.modem("\r\n+CMQTTRXPAYLOAD: 0,10\r\n0123456\r\n\r\n+CMQTTRXEND: 0\r\n");
    assert_eq!(
        line.told(),
        ["urc +CMQTTRXPAYLOAD: 0,10", "desync TornData", "urc +CMQTTRXEND: 0"],
        "of the next line nothing is lost"
    );
    line.modem(HOSTILE);
    assert_eq!(line.told(), [""; 0], "it looks like the answer too, but the modem is not quiet");
    line.modem(
        "\r\n+CMQTTRXSTART: 0,1,4\r\n\r\n+CMQTTRXPAYLOAD: 0,4\r\nnext\r\n\r\n+CMQTTRXEND: 0\r\n",
    );
    let next =
        ["urc +CMQTTRXSTART: 0,1,4", "urc +CMQTTRXPAYLOAD: 0,4 data next", "urc +CMQTTRXEND: 0"];
    assert_eq!(line.told(), next);
    line.modem(PROOF);
    line.wait(SEC);
    assert_eq!(line.told(), ["in step 861234567000003"]);
    // Its result arrived while nothing was believed: soon the publish counts as unknown.
    line.wait(3 * SEC);
    assert_eq!(
        line.told(),
        ["failed: no answer in time: the modem still owed its result line", "desync ResultTimeout"]
    );
}

#[test]
fn a_result_that_comes_once_the_step_is_back_counts() {
    let mut line = publishing();
    line.modem("\r\n+CMQTTRXPAYLOAD: 0,10\r\n0123456\r\n\r\n+CMQTTRXEND: 0\r\n");
    line.modem(PROOF);
    line.wait(SEC);
    line.told.clear();
    line.modem("\r\n+CMQTTPUB: 0,0\r\n");
    assert_eq!(line.told(), ["ok [] result +CMQTTPUB: 0,0"]);
}

#[test]
fn the_exchange_in_flight_fails_with_damaged_data() {
    let mut line = Line::in_step();
    line.send(publish());
    line.modem("\r\n+CMQTTRXPAYLOAD: 0,10\r\n0123456\r\n\r\n\r\n+CMQTTPUB: 0,0\r\n\r\nOK\r\n");
    let told = line.told();
    assert!(told[1].starts_with("failed: no answer in time"), "{told:?}");
    assert!(!credits(&told), "{told:?}");
}

#[test]
fn more_than_any_manual_names_is_delivered_if_it_is_whole() {
    let mut line = publishing();
    let data = format!("{HOSTILE}{}", "B".repeat(60_000));
    line.modem(&format!(
        "\r\n+CMQTTRXPAYLOAD: 0,{}\r\n{data}\r\n\r\n+CMQTTPUB: 0,0\r\n",
        data.len()
    ));
    let told = line.told();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("data") && told[1] == "ok [] result +CMQTTPUB: 0,0");
}

#[test]
fn seventy_thousand_bytes_are_counted_and_not_kept() {
    let mut line = publishing();
    let data = format!("{}{HOSTILE}", "B".repeat(70_000 - HOSTILE.len()));
    line.modem(&format!("\r\n+CMQTTRXPAYLOAD: 0,70000\r\n{data}\r\n"));
    assert_eq!(line.told(), ["urc +CMQTTRXPAYLOAD: 0,70000", "desync TornData"]);
    line.modem("\r\n+CMQTTRXEND: 0\r\n\r\n+CMQTTPUB: 0,0\r\n");
    assert_eq!(
        line.told(),
        ["urc +CMQTTRXEND: 0", "ok [] result +CMQTTPUB: 0,0"],
        "it ended as announced"
    );
}

#[test]
fn a_length_that_is_none_is_skipped_until_the_modem_pauses() {
    for header in [
        "+CMQTTRXPAYLOAD: 0,4294967295\r\n",
        "+CMQTTRXPAYLOAD: 0,99999999999999999999999\r\n",
        "+CMQTTRXPAYLOAD: 0,-5\r\n",
        "+CMQTTRXPAYLOAD: 0,12a\r\n",
        "+CMQTTRXPAYLOAD: 0,\r\n",
        "+CMQTTRXPAYLOAD: 0\r\n",
        "+QMTRECV: 0,1,\"t\",99999999999999999999999,\"",
        "+QMTRECV: 0,1,\"t\",2000000,\"",
    ] {
        let mut line = publishing();
        line.modem(&format!("\r\n{header}"));
        for _ in 0..20 {
            line.modem(HOSTILE);
            line.wait(1_900);
        }
        assert_eq!(line.told(), [""; 0], "{header}");
        line.wait(200);
        let told = line.told();
        assert!(
            told[0].starts_with("urc +") && told[1..] == ["desync TornData"],
            "{header} {told:?}"
        );
        // A pause ends the doubt: the modem is believed at once.
        line.modem("\r\n+CMQTTPUB: 0,0\r\n");
        line.modem(PROOF);
        assert_eq!(
            line.told(),
            ["ok [] result +CMQTTPUB: 0,0", "in step 861234567000003"],
            "{header}"
        );
    }
}

#[test]
fn announced_bytes_that_stop_half_way_are_given_up_after_two_seconds() {
    let mut line = publishing();
    line.modem(&format!("\r\n+CMQTTRXPAYLOAD: 0,1500\r\n{HOSTILE}"));
    line.wait(1_900);
    line.modem("\r\n+CMQTTPUB: 0,0\r\n");
    line.wait(1_900);
    assert_eq!(line.told(), [""; 0]);
    line.wait(200);
    assert_eq!(line.told(), ["urc +CMQTTRXPAYLOAD: 0,1500", "desync TornData"]);
    line.modem(PROOF);
    assert_eq!(line.told(), ["in step 861234567000003"]);
    line.modem("\r\n+CMQTTPUB: 0,0\r\n");
    assert_eq!(line.told(), ["ok [] result +CMQTTPUB: 0,0"]);
}

#[test]
fn data_whose_end_stays_out_is_damaged() {
    let mut line = Line::in_step();
    line.modem("\r\n+CMQTTRXPAYLOAD: 0,4\r\n0123");
    assert_eq!(line.told(), [""; 0]);
    line.wait(2 * SEC);
    assert_eq!(line.told(), ["urc +CMQTTRXPAYLOAD: 0,4", "desync TornData"]);
}

/// A modem that prints a line each second never pauses, and must be heard again.
#[test]
fn chatter_does_not_pass_for_data_all_day() {
    let mut line = Line::in_step();
    line.modem("\r\n+CMQTTRXPAYLOAD: 0,x\r\n");
    let mut seconds = 0;
    while line.told.is_empty() {
        line.modem("\r\n+CSQ: 20,0\r\n");
        line.wait(SEC);
        seconds += 1;
        assert!(seconds < 100, "it is deaf still");
    }
    assert!(seconds > 80, "a slow line takes 68 s for 64 KiB");
    line.modem(HOSTILE);
    assert!(!credits(&line.told()), "bytes still came, so they may have been of the data");
}

#[test]
fn a_boot_after_half_a_message_is_seen() {
    let mut line = publishing();
    line.modem("\r\n+CMQTTRXPAYLOAD: 0,1500\r\nhalf");
    line.wait(5 * SEC);
    line.told.clear();
    line.modem("\r\nRDY\r\n");
    assert!(line.told().iter().any(|told| told == "urc RDY"));
}

/// A damaged piece whose end swallows the header of the next piece leaves that piece's bytes
/// without a header.
#[test]
fn bytes_of_a_piece_whose_header_was_lost_are_credited_to_nothing() {
    let mut line = publishing();
    let piece = |text: &str| format!("\r\n+CMQTTRXPAYLOAD: 0,{}\r\n{text}\r\n", text.len());
    let lost = piece(&"a".repeat(200)).replacen(&"a".repeat(10), "", 1);
    line.modem(&format!("{lost}{}\r\n+CMQTTRXEND: 0\r\n", piece(HOSTILE)));
    let told = line.told();
    assert!(!credits(&told), "{told:?}");
    assert_eq!(told, ["urc +CMQTTRXPAYLOAD: 0,200", "desync TornData", "urc +CMQTTRXEND: 0"]);
}

#[test]
fn questions_of_an_earlier_stay_on_the_port_are_awaited() {
    let mut before = Line::opened();
    before.wait(2_500);
    assert_eq!(before.engine.open_questions(), 3);
    before.engine.close();
    let open = before.engine.open_questions();
    assert_eq!(open, 3, "the end of the port answers none");
    let mut line = Line::opened();
    line.engine.expect_answers(open);
    for _ in 0..3 {
        line.modem("\r\nEC25\r\n\r\nOK\r\n");
        assert!(!line.engine.ready_for(&creg()));
    }
    line.modem("\r\nEC25\r\n\r\nOK\r\n");
    assert!(line.engine.ready_for(&creg()) && line.engine.open_questions() == 0);
    // A modem that has forgotten the questions is asked nothing more.
    let mut line = Line::opened();
    line.engine.expect_answers(u32::MAX);
    line.modem("\r\nEC25\r\n\r\nOK\r\n");
    line.wait(SEC);
    assert!(line.engine.ready_for(&creg()));
    line.send(at("AT+CGMM").answer(Answer::Bare));
    assert_eq!(line.engine.open_questions(), 1);
}

proptest! {
    /// Whatever is announced, and however it is cut or loses bytes, no line within is credited.
    #[test]
    fn no_byte_between_announcement_and_end_is_credited(
        before in 0..300usize,
        after in 0..300usize,
        announced in 0..800usize,
        missing in 0..30usize,
        quoted in any::<bool>(),
        cuts in proptest::collection::vec(any::<usize>(), 0..8),
    ) {
        let data = format!("{}{HOSTILE}{}", "x".repeat(before), "y".repeat(after));
        let header = if quoted {
            format!("\r\n+QMTRECV: 0,1,\"t\",{},\"", data.len() + announced)
        } else {
            format!("\r\n+CMQTTRXPAYLOAD: 0,{}\r\n", data.len() + announced)
        };
        let end = if quoted { "\"\r\n" } else { "\r\n" };
        let bytes = format!("{header}{}{end}", &data[missing.min(before)..]).into_bytes();
        let mut line = publishing();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        let mut at = 0;
        for end in ends {
            line.engine.receive(&bytes[at..end], line.now);
            line.drain();
            at = end;
        }
        prop_assert!(!credits(&line.told));
        line.wait(2 * SEC);
        prop_assert!(!credits(&line.told));
    }
}
