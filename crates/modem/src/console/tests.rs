//! Commands that are sent without insistence, their display, and their data.

use super::*;

const TEST: OperationResult =
    OperationResult { prefix: "+XPUB:", is_indexed: true, code_at: 1, ..OperationResult::BLANK };

fn commands() -> Commands {
    let vendors = [
        CommandRule::uses("+XDATA", "is a test").asks(1, 2),
        CommandRule::harms("+XKEY", "is a test").asks_secret(1, 2),
        CommandRule::uses("+XCONN", "is a test").secret_from(2).in_lane("x"),
        CommandRule::uses("+XPUB", "is a test").ends_with(TEST),
        CommandRule::harms("+XCFG", "is a test").but_with(1),
        CommandRule::reads("+XID").answers_as("+ID"),
        CommandRule::unasked("+XLOST"),
        CommandRule::harms("+XFILE", "is a test").answers_secret(),
    ];
    Commands::new(&vendors, Framing::default())
}

fn wish(line: &str) -> Wish {
    Wish { line: Zeroizing::new(line.to_owned()), ..Wish::default() }
}

fn judge(line: &str, context: ConsoleContext) -> Result<Order, Refusal> {
    commands().order(wish(line), context)
}

#[test]
fn what_only_reads_is_sent_anywhere() {
    for line in [
        "AT",
        "at",
        " AT+CSQ ",
        "ATI",
        "ati4",
        "AT+CSQ;+CREG?;+COPS?",
        "AT + CREG ?",
        "AT+CFUN?",
        "AT+CFUN=?",
        "AT+CPIN?",
        "AT+CGPADDR=1",
        "AT+NEVERHEARD?",
        "AT+NEVERHEARD=?",
        "ATS3?",
        "AT&V",
        "AT+XCFG=\"key\"",
    ] {
        let order = judge(line, ConsoleContext::Shared)
            .unwrap_or_else(|refusal| panic!("{line}: {refusal}"));
        assert!(order.is_harmless() && !order.takes_turn, "{line}");
        assert_eq!(order.shown(), line.trim());
    }
}

/// Lines, each with the command that is named as the reason.
const DANGEROUS: &[(&str, &str)] = &[
    ("AT+CFUN=1,1", "AT+CFUN=…"),
    ("AT+CSQ;+CFUN=1,1", "AT+CFUN=…"),
    ("at+csq;+cfun=0", "AT+CFUN=…"),
    ("AT + C F U N = 1", "AT+CFUN=…"),
    ("ATE0+CFUN=1,1", "ATE0"),
    ("ATI+CFUN=1,1", "AT+CFUN=…"),
    ("AT;;;+CPIN=\"1234\"", "AT+CPIN=…"),
    ("AT+CPIN=1234", "AT+CPIN=…"),
    ("AT+CPIN?;+CPIN=1234", "AT+CPIN=…"),
    ("AT+CLCK=\"SC\",1,\"1234\"", "AT+CLCK=…"),
    ("AT+CPWD=\"SC\",\"1234\",\"4321\"", "AT+CPWD=…"),
    ("AT&F", "AT&F"),
    ("ATZ", "ATZ"),
    ("AT&W0", "AT&W0"),
    ("ATE", "ATE"),
    ("ate1", "ATE1"),
    ("ATV0", "ATV0"),
    ("ATQ1", "ATQ1"),
    ("ATS3=10", "ATS3=…"),
    ("ATS3", "ATS3"),
    ("ATI;S4=0", "ATS4=…"),
    ("AT\\Q1", "AT\\Q1"),
    ("AT+IPR=9600", "AT+IPR=…"),
    ("ATD*99#", "ATD*99#"),
    ("ATD112;", "ATD112"),
    ("ATDT123", "ATDT123"),
    ("ATIA", "ATA"),
    ("ATH", "ATH"),
    ("ATO", "ATO"),
    ("AT+CUSD=1,\"*100#\",15", "AT+CUSD=…"),
    ("AT+CMGS=\"+49\"", "AT+CMGS=…"),
    ("AT+CMUX=0", "AT+CMUX=…"),
    ("AT+CGDATA=\"PPP\",1", "AT+CGDATA=…"),
    ("AT+CPOF", "AT+CPOF"),
    ("AT+CPOF=?", "AT+CPOF=?"),
    ("AT+CSIM=14,\"00A40004023F00\"", "AT+CSIM=…"),
    ("AT+NEVERHEARD", "AT+NEVERHEARD"),
    ("AT+NEVERHEARD=1", "AT+NEVERHEARD=…"),
    ("AT+CSQE0", "AT+CSQE0"),
    ("AT^RESET?", "AT^RESET?"),
    ("AT$X=?", "AT$X=?"),
    ("ATZ?", "ATZ?"),
    ("AT+XCFG=\"key\",1", "AT+XCFG=…"),
];

#[test]
fn what_may_harm_needs_insistence_wherever_it_stands() {
    for (line, named) in DANGEROUS {
        for context in [ConsoleContext::Shared, ConsoleContext::Own] {
            match judge(line, context) {
                Err(Refusal::Dangerous { command, why }) => {
                    assert_eq!(command, *named, "{line}");
                    assert!(why.len() > 8, "{line}: a reason is told");
                }
                other => panic!("{line}: {other:?}"),
            }
        }
        let order =
            commands().order(Wish { dangerous: true, ..wish(line) }, ConsoleContext::Shared);
        assert!(order.is_ok_and(|order| order.takes_turn), "{line}");
    }
}

#[test]
fn what_cannot_be_read_in_one_way_needs_insistence_too() {
    for line in ["AT+CSQ+CFUN=1,1", r#"AT+X="a\";+CFUN=1,1"#, "AT+CSQ?+CFUN=1", "AT\u{ff0b}CFUN=1"]
    {
        let refusal = judge(line, ConsoleContext::Own).unwrap_err();
        assert!(matches!(refusal, Refusal::Unreadable(_)) && refusal.is_danger(), "{line}");
        let order =
            commands().order(Wish { dangerous: true, ..wish(line) }, ConsoleContext::Own).unwrap();
        assert_eq!(order.shown(), "AT***", "what is not understood is not shown");
    }
    for line in ["", "+++", "A/", "CSQ", "AT+CSQ\r\nAT+CFUN=1,1", "AT\u{1b}"] {
        let insisting = Wish { dangerous: true, ..wish(line) };
        let refusal = commands().order(insisting, ConsoleContext::Own).unwrap_err();
        assert!(matches!(refusal, Refusal::Line(_)), "{line:?}: {refusal}");
    }
    let long = format!("AT+CSQ{}", ";+CSQ".repeat(400));
    assert!(matches!(judge(&long, ConsoleContext::Own), Err(Refusal::Line(_))));
}

#[test]
fn what_sessions_rest_on_is_daily_use_on_a_port_of_ones_own() {
    for line in ["AT+CGDCONT=1,\"IP\",\"cmnet\"", "AT+CREG=2", "AT+COPS=?", "AT+XPUB=0,1"] {
        assert!(judge(line, ConsoleContext::Own).is_ok(), "{line}");
        let refusal = judge(line, ConsoleContext::Shared).unwrap_err();
        assert!(matches!(refusal, Refusal::Dangerous { .. }), "{line}: {refusal}");
    }
    let long = |context, dangerous| {
        let timeout = Some(Duration::from_secs(60));
        commands().order(Wish { timeout, dangerous, ..wish("AT+CSQ") }, context)
    };
    assert!(long(ConsoleContext::Own, false).is_ok() && long(ConsoleContext::Shared, true).is_ok());
    assert!(long(ConsoleContext::Shared, false).is_err_and(|refusal| refusal.is_danger()));
    for (ms, dangerous, granted) in [(0, true, false), (999, true, false), (1_000, false, true)] {
        let timeout = Some(Duration::from_millis(ms));
        let order =
            commands().order(Wish { timeout, dangerous, ..wish("AT+CGSN") }, ConsoleContext::Own);
        assert_eq!(order.is_ok(), granted, "{ms} ms");
        assert!(granted || matches!(order, Err(Refusal::Hasty)), "{ms} ms");
    }
}

#[test]
fn secrets_are_hidden_by_their_place_and_all_that_is_unknown() {
    for (line, shown) in [
        ("AT+XCONN=0,\"u\",\"pa,ss;\"", "AT+XCONN=0,\"u\",***"),
        ("at+xconn=0,u,a,b;+CSQ", "AT+XCONN=0,u,***;+CSQ"),
        ("AT+XCONN=0,\"u\"", "AT+XCONN=0,\"u\""),
        ("AT+XCONN?", "AT+XCONN?"),
        ("AT+CPIN=\"1234\"", "AT+CPIN=***"),
        ("AT+CLCK=\"SC\",1,\"1234\"", "AT+CLCK=\"SC\",1,***"),
        ("AT+NEVERHEARD=\"1234\"", "AT+NEVERHEARD=***"),
        ("ATD*99***1#", "ATD***"),
        ("ATDT+4912345;+CSQ", "ATD***;+CSQ"),
        ("ATS3=10", "ATS3=***"),
        ("AT+X=\"secret", "AT***"),
    ] {
        assert_eq!(commands().shown(line), shown);
    }
    let order =
        commands().order(Wish { dangerous: true, ..wish("AT+CPIN=1234") }, ConsoleContext::Own);
    assert!(!format!("{order:?}").contains("1234"));
}

#[test]
fn no_log_shows_an_answer_that_is_secret_or_of_a_command_that_nobody_knows() {
    for (line, hidden) in [
        ("AT", false),
        ("AT+CSQ", false),
        ("AT+XFILE=\"key.pem\"", true),
        ("AT+CSQ;+XFILE=\"key.pem\"", true),
        ("AT+NEVERHEARD?", true),
        ("AT+CSQ;+NEVERHEARD?", true),
        ("AT+CSQ+CFUN?", true),
        ("AT+CPIN=\"1234\"", true),
    ] {
        let order =
            commands().order(Wish { dangerous: true, ..wish(line) }, ConsoleContext::Own).unwrap();
        assert_eq!(order.has_secret_answer(), hidden, "{line}");
    }
}

#[test]
fn what_a_modem_only_says_by_itself_is_no_command_and_no_answer() {
    for line in ["AT+XLOST?", "AT+XLOST=?", "AT+XLOST", "AT+CSQ;+XLOST?"] {
        let refusal = judge(line, ConsoleContext::Own).unwrap_err();
        assert!(matches!(refusal, Refusal::Dangerous { .. }), "{line}: {refusal}");
    }
    let parsed = line::commands("AT+CSQ;+XLOST?").unwrap();
    let Answer::Named(names) = commands().answer(&parsed) else { panic!("lines by their names") };
    assert_eq!(*names, ["+CSQ"], "who insists takes nothing from the sessions either");
}

#[test]
fn data_has_the_length_that_its_command_announces() {
    let ask = |line: &str, data: Option<&str>, dangerous| {
        let data = data.map(|data| Zeroizing::new(data.as_bytes().to_vec()));
        commands().order(Wish { data, dangerous, ..wish(line) }, ConsoleContext::Own)
    };
    assert_eq!(commands().data_length("AT+XDATA=0,3"), Some(3));
    assert_eq!(commands().data_length("AT+XDATA=0"), None);
    assert_eq!(commands().data_length("AT+XDATA=0,3;+CSQ"), None);
    let order = ask("AT+XDATA=0,3", Some("abc"), false).unwrap();
    assert_eq!(order.kind, Kind::Prompt);
    assert!(order.exchange.has_prompt());
    assert!(matches!(ask("AT+XDATA=0,3", None, false), Err(Refusal::NoData { length: 3, .. })));
    let wrong = ask("AT+XDATA=0,3", Some("abcd"), true);
    assert!(matches!(wrong, Err(Refusal::DataLength { length: 3, given: 4, .. })));
    for line in ["AT+XDATA=0,x", "AT+XDATA=0,-1", "AT+XDATA=0,99999"] {
        assert!(matches!(ask(line, Some("a"), true), Err(Refusal::Length)), "{line}");
    }
    assert!(matches!(ask("AT+CSQ", Some("a"), true), Err(Refusal::NeedsNoData { .. })));
    assert!(ask("AT+NEVERHEARD=1", Some("a"), true).is_ok(), "who insists may know more");
    assert!(
        commands().has_secret_data("AT+XKEY=1,2") && !commands().has_secret_data("AT+XDATA=0,1")
    );
    let too_much = "x".repeat(MAX_DATA + 1);
    assert!(matches!(ask("AT+NEVERHEARD", Some(&too_much), true), Err(Refusal::Length)));
}

#[test]
fn the_script_of_a_recording_only_reads() {
    for question in crate::script::STANDARD {
        let order = judge(question.command, ConsoleContext::Shared)
            .unwrap_or_else(|refusal| panic!("{}: {refusal}", question.command));
        assert!(order.is_harmless() && !order.takes_turn, "{}", question.command);
        assert_eq!(order.shown(), question.command);
    }
}
