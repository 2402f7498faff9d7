//! One case per rule of the reply parsers.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn decode(command: &str, raw: &str) -> Result<Value, ReplyError> {
    decoder(DECODERS, command).expect("a known command")(raw)
}

fn json_of(command: &str, raw: &str) -> Value {
    decode(command, raw).unwrap_or_else(|error| panic!("{raw:?}: {error}"))
}

/// Checks that every key of `wanted` is in the JSON with that value; `null` means absent.
#[track_caller]
fn check(command: &str, raw: &str, wanted: Value) {
    let got = json_of(command, raw);
    for (key, value) in wanted.as_object().expect("an object") {
        let found = got.get(key).unwrap_or(&Value::Null);
        assert_eq!(found, value, "{command} {raw:?}: {key} in {got}");
        assert!(!value.is_null() || got.get(key).is_none(), "{key} is null instead of absent");
    }
}

fn texts(line: &str) -> Vec<String> {
    let args = Args::of_text("test", line);
    (0..args.len()).map(|at| args.arg(at).map_or("", |arg| arg.text).to_owned()).collect()
}

#[test]
fn arguments_are_split_as_real_modems_write_them() {
    for (line, wanted) in [
        ("a,\"b,c\",,d", vec!["a", "b,c", "", "d"]),
        ("  1 ,\t\"x\" , 3 ", vec!["1", "x", "3"]),
        ("0,0,\"TELE2,0", vec!["0", "0", "TELE2", "0"]),
        ("0,0,TELE2\",0", vec!["0", "0", "TELE2", "0"]),
        ("\"a\"b\",1", vec!["a\"b", "1"]),
        ("\"\",1", vec!["", "1"]),
        ("1,", vec!["1", ""]),
        ("", vec![""]),
    ] {
        assert_eq!(texts(line), wanted, "{line:?}");
    }
    assert_eq!(texts(&",".repeat(10_000)).len(), 64);
}

#[test]
fn a_prefix_needs_its_colon_but_no_space() {
    let takes = |line| Args::of_line("test", "+CREG", line).is_some();
    assert!(takes("+CREG:1"));
    assert!(takes(" +CREG : 1"));
    assert!(!takes("+CREG 1"));
    assert!(!takes("+CREGX: 1"));
    assert!(!takes("+CGREG: 1"));
}

#[test]
fn numbers_are_digits_and_nothing_else() {
    assert_eq!(parse_uint("007"), Some(7));
    assert_eq!(parse_hex("0x765D"), Some(0x765D));
    assert_eq!(parse_hex("00D30173"), Some(13_828_467));
    assert_eq!(parse_decimal("-12.5"), Some(-12.5));
    for text in ["", "+1", "-1", " 1", "1e3", "99999999999999999999", "0x"] {
        assert_eq!(parse_uint(text), None, "{text:?}");
    }
    for text in ["", "-", ".", "1.", ".5", "nan", "inf", "1e3", "--1"] {
        assert_eq!(parse_decimal(text), None, "{text:?}");
    }
    for text in ["", "0x", "+1", "xyz", "11112222333344445"] {
        assert_eq!(parse_hex(text), None, "{text:?}");
    }
}

#[test]
fn the_body_is_what_stands_before_the_final_result() {
    let raw = "AT+CSQ\r\r\n\r\n+CSQ: 1,2\r\n\r\nOK\r\n+CSQ: 9,9\r\n";
    assert_eq!(body("AT+CSQ", raw), Ok(vec!["+CSQ: 1,2"]));
    let refused = body("AT+CSQ", "AT+CSQ\r\n+CME ERROR: 14\r\n").expect_err("refused");
    assert!(matches!(refused, ReplyError::Refused { .. }), "{refused:?}");
    assert!(body("AT+CSQ", "ERROR").is_err());
    let other_echo = "at+cmee=1\r\nat\r\nAT+CSQ\r\nline\r\nOK";
    assert_eq!(body("AT+CSQ", other_echo), Ok(vec!["line"]));
}

#[test]
fn errors_name_the_argument_and_cut_the_text() {
    let error = csq(&[format!("+CSQ: {},0", "x".repeat(500))]).expect_err("no number");
    let shown = error.to_string();
    assert!(shown.contains("AT+CSQ") && shown.contains("rssi"), "{shown}");
    assert!(shown.contains(&"x".repeat(40)) && !shown.contains(&"x".repeat(41)), "{shown}");
    let escape = csq(&["+CSQ: \u{1b}[2J,0"]).expect_err("no number").to_string();
    assert!(!escape.contains('\u{1b}'), "{escape:?}");
}

#[test]
fn answers_and_urcs_of_registration_are_told_apart() {
    for (line, solicited) in [
        ("+CREG: 0,1", true),
        ("+CREG: 2,1", true),
        ("+CREG: 2,1,0001,0010", true),
        ("+CREG:002,001,\"18d8\",\"ffff\"", true),
        ("+CGREG:002,0011,\"0f0d\",\"14c3\"", true),
        ("+CEREG: 2,10,\"8d83\",\"671f98a\",7", true),
        ("+CEREG: 1, 2, 0001, 00000100, 7", true),
        ("+C5GREG: 2,1,1F00,79D903,11,6,ABCDEF", true),
        ("+CREG: 5", false),
        ("+CREG: 2,,", false),
        ("+CREG: 1,\"0001\",\"0010\",0", false),
        ("+CREG: 1,0001,0010", false),
        ("+CREG: 1,84CD,00D30156", false),
        ("+CGREG: 11,\"B092\",\"00000697\",3,\"00\"", false),
        ("+CEREG: 11, 78FE, 20 ,14419E ,7", false),
        ("+C5GREG: 1,1F00,79D903,11,6,ABCDEF", false),
        ("+CSQ: 1,1", false),
        ("OK", false),
    ] {
        assert_eq!(is_solicited(line), solicited, "{line}");
    }
}

#[test]
fn a_urc_inside_an_answer_is_not_the_answer() {
    let reply = solicited(Domain::Cs, &["+CREG: 2", "+CREG: 2,1,\"CE00\",\"01CEAD8F\",7"]);
    let reply = reply.expect("the second line");
    assert_eq!(reply.stat, Stat::Home);
    assert_eq!((reply.lac_or_tac, reply.ci), (Some(0xCE00), Some(0x01CE_AD8F)));
    assert_eq!(reply.act.and_then(Act::rat), Some(Rat::Lte));
    assert!(solicited(Domain::Cs, &["+CREG: 2"]).is_err());
    assert!(solicited(Domain::Cs, &["+CGREG: 0,1"]).is_err());
}

#[test]
fn registration_keeps_what_is_readable() {
    check(
        "AT+CREG?",
        "+CREG: 2,1,XXXX,00FF",
        json!({"stat": 1, "lac_raw": "XXXX", "ci_raw": "00FF"}),
    );
    check("AT+CREG?", "+CREG: 2,1,  0 5, 2715", json!({"lac_or_tac": null, "ci": 10005}));
    check("AT+CEREG?", "+CEREG: 2,1, 1F00, 20 ,79D903 ,7", json!({"ci": 0x79_D903, "act": "lte"}));
    check("AT+CREG?", "+CREG: 1,2", json!({"state": "searching", "act": null, "rat": null}));
    check("+CREG", "+CREG: 2,5,\"0502\",\"0404736D\"", json!({"stat": 5, "kind": "urc"}));
    check("+CREG", "+CREG: 2,1,000B,2816, B, C2816", json!({"ci": 0x2816, "act": null}));
    let nr = "+C5GREG: 2,1,\"60AA00\",\"939204254\",11,1,\"01\"";
    check("AT+C5GREG?", nr, json!({"ci": 0x9_3920_4254_u64, "act": "5gnr", "rat": "nr"}));
    check(
        "AT+CEREG?",
        "+CEREG: 2,1,\"4D07\",\"FFFFFFFF\",7",
        json!({"lac_or_tac": 0x4D07, "ci": null, "ci_raw": "FFFFFFFF", "act": "lte"}),
    );
    check(
        "AT+C5GREG?",
        "+C5GREG: 2,1,\"1000000\",\"FFFFFFFFF\",11",
        json!({"lac_or_tac": null, "lac_raw": "1000000", "ci": 0xF_FFFF_FFFF_u64}),
    );
    check("+CREG", "+CREG: 1,\"1\",\"1000000000\"", json!({"stat": 1, "ci": null}));
    assert!(decode("AT+CREG?", "+CREG: 0,12\r\nOK").is_err());
    assert!(decode("+CREG", "+CREG: 12").is_err());
}

#[test]
fn every_state_has_its_code() {
    for code in 0..=11_u8 {
        let stat = Stat::from_code(u32::from(code)).expect("a state");
        assert_eq!(stat.code(), code);
        assert_eq!(stat.is_registered(), [1, 5, 9, 10].contains(&code), "{stat:?}");
        assert_eq!(stat.is_roaming(), [5, 7, 10].contains(&code), "{stat:?}");
    }
    assert_eq!(Stat::from_code(12), None);
}

#[test]
fn csq_scales_and_unknowns() {
    check("AT+CSQ", "+CSQ: 0,0", json!({"rssi_dbm": -113.0}));
    check("AT+CSQ", "+CSQ: 31,99", json!({"rssi_dbm": -51.0, "ber_raw": 99}));
    check("AT+CSQ", "+CSQ: 32,99", json!({"rssi_dbm": null}));
    check("AT+CSQ", "+CSQ: 99,99", json!({"rssi_dbm": null, "rssi_raw": 99}));
    check("AT+CSQ", "+CSQ: 100,0", json!({"rssi_dbm": null, "rscp_dbm": -116.0}));
    check("AT+CSQ", "+CSQ: 191,0", json!({"rscp_dbm": -25.0}));
    check("AT+CSQ", "+CSQ: 199,0", json!({"rscp_dbm": null}));
    check("AT+CSQ", "+CSQ: 18\r\nOK", json!({"rssi_dbm": -77.0, "ber_raw": null}));
    assert!(decode("AT+CSQ", "+CSQ: ,99\r\nOK").is_err());
    assert!(decode("AT+CSQ", "\r\nOK\r\n").is_err());
}

#[test]
fn cesq_has_six_or_nine_fields() {
    check("AT+CESQ", "+CESQ: 99,99,255,255,20,80", json!({"rsrq_db": -10.0, "rsrp_dbm": -61.0}));
    let nr = "+CESQ: 99,99,255,255,255,255,65,70,77";
    check("AT+CESQ", nr, json!({"rsrp_dbm": null, "ss_rsrp_dbm": -87.0, "ss_sinr_db": 15.0}));
    let short = json!({"rxlev": 99, "rsrq_db": -10.0, "rsrp": null, "rsrp_dbm": null});
    check("AT+CESQ", "+CESQ: 99,99,255,255,20", short);
    let damaged = json!({"rxlev": null, "rscp": null, "rsrp_dbm": -61.0, "ss_rsrp_dbm": -87.0});
    check("AT+CESQ", "+CESQ: x,99,999,255,20,80,-,70,\0", damaged);
    assert!(decode("AT+CESQ", "+CESQ: x,,256,-,,").is_err());
    let lte = cesq(&["+CESQ: 27,99,255,255,16,44,255,255,255"]).expect("nine fields");
    let signals = lte.signals();
    assert_eq!(signals.len(), 1, "GSM's index beside LTE is no GSM signal: {signals:?}");
    assert_eq!(signals[0].rat, Rat::Lte);
    assert_eq!(cesq(&["+CESQ: 63,0,255,255,255,255"]).expect("six").signals()[0].rat, Rat::Gsm);
}

#[test]
fn operators() {
    let numeric = "+COPS: 0,2,\"310260\",7";
    check("AT+COPS?", numeric, json!({"mcc": "310", "mnc": "260", "rat": "lte"}));
    check("AT+COPS?", "+COPS: 0,2,\"46001\",11", json!({"mcc": "460", "mnc": "01", "rat": "nr"}));
    check("AT+COPS?", "+COPS: 0,0,\"A, B\",13", json!({"operator": "A, B", "mcc": null}));
    check("AT+COPS?", "+COPS: 0", json!({"mode": 0, "operator": null, "act": null}));
    check("AT+COPS?", "+COPS: 0,255,\"\"", json!({"format": null, "operator": null}));
    let broken = "AT+COPS=3,0;+COPS?\r\r\n+COPS: 0,0,\"Mobile Field\r\r\n\",7\r\n\r\nOK\r\n";
    check("AT+COPS?", broken, json!({"operator": "Mobile Field", "act": "lte"}));
    let broken = "+COPS: 0,0,\"Mobile\r\nField\",7\r\n\r\nOK\r\n";
    check("AT+COPS?", broken, json!({"operator": "Mobile Field", "act": "lte"}));
    // A line break after a stray quotation mark ends the line.
    check("AT+COPS?", "+COPS: 0,0,\"TELE2,0\r\nOK\r\n", json!({"operator": "TELE2", "act": "gsm"}));
    let digits = "+COPS: 0,2,\"003000300031003000310030\",7";
    check("AT+COPS?", digits, json!({"operator": "001010", "mcc": "001", "mnc": "010"}));
    check("AT+COPS?", "+COPS: 7,2,\"00101\",7", json!({"mode": null, "mnc": "01", "act": "lte"}));
    check("AT+COPS?", "+COPS: ,2,\"00101\"", json!({"mode": null, "mcc": "001"}));
    check("AT+COPS?", "+COPS: 0,0,\"X\",8", json!({"act": "ec-gsm-iot", "rat": null}));
    assert!(decode("AT+COPS?", "+COPS: (1,\"a\",\"b\",\"46000\",7)\r\nOK").is_err());
}

/// A name in the character set that another program left (TinyGSM issue 493 for `HEX`; lower case
/// by HL8518).
#[test]
fn a_name_in_hexadecimal_digits_is_read() {
    for (text, name) in [
        ("00460049004500430044 ", "FIECD"),
        ("004d0065006700610046006f006e", "MegaFon"),
        ("4E2D56FD79FB52A8", "中国移动"),
        ("041C0422042100200052", "МТС R"),
        ("4649454C44204D4F42494C45", "FIELD MOBILE"),
        ("5450204669656C64", "TP Field"),
        ("00410042", "AB"),
        // These are plain names.
        ("CAFE", "CAFE"),
        ("0041", "0041"),
        ("310260", "310260"),
        ("00000000", "00000000"),
        ("D8000041", "D8000041"),
        ("FACE 2000", "FACE 2000"),
        ("0041004", "0041004"),
    ] {
        let line = format!("+COPS: 0,0,\"{text}\",7");
        check("AT+COPS?", &line, json!({"operator": name, "act": "lte"}));
    }
}

#[test]
fn sim_states() {
    check("AT+CPIN?", "+CPIN: READY\r\n\r\nOK", json!({"lock": "none", "ready": true}));
    check("AT+CPIN?", "   SIM PUK", json!({"lock": "sim-puk", "ready": false}));
    check("AT+CPIN?", "+CPIN: PH-NET PIN", json!({"lock": "ph-net-pin"}));
    check("AT+CPIN?", "+CPIN: PH_SIM PIN", json!({"lock": "ph-sim-pin"}));
    check("AT+CPIN?", "+CPIN: SIM PIN\r\n+CPIN: READY\r\nOK", json!({"lock": "none"}));
    check("AT+CPIN?", "+CPIN: SIM REMOVED", json!({"sim_present": false, "lock": "unknown"}));
    check("AT+CPIN?", "+CME ERROR: 10", json!({"sim_present": false, "code": 10, "ready": null}));
    check("AT+CPIN?", "+CME ERROR: SIM busy", json!({"sim_present": true, "code": 14}));
    check("AT+CPIN?", "+CME ERROR: 12", json!({"lock": "sim-puk"}));
    check("AT+CPIN?", "+CME ERROR: 100", json!({"lock": "unknown", "sim_present": null}));
    for raw in ["ERROR", "OK", "+CPIN: GARBAGE\r\nOK", "+CSQ: 1,1\r\nOK"] {
        assert!(decode("AT+CPIN?", raw).is_err(), "{raw:?}");
    }
}

#[test]
fn context_lists() {
    let two =
        "+CGDCONT: 1,\"IP\",\"ctlte\",\"0.0.0.0\",0,0,0,0\r\n+CGDCONT: 2,\"IPV4V6\",,\"\"\r\nOK";
    let wanted = json!([
        {"cid": 1, "pdp_type": "ipv4", "apn": "ctlte"}, {"cid": 2, "pdp_type": "ipv4v6"}
    ]);
    check("AT+CGDCONT?", two, json!({"contexts": wanted}));
    check(
        "AT+CGDCONT?",
        "+CGDCONT: 3,\"X25\",\"a\"",
        json!({"contexts": [{"cid": 3, "apn": "a"}]}),
    );
    check("AT+CGDCONT?", "OK", json!({"contexts": []}));
    check("AT+CGDCONT?", "+CGDCONT:\r\nOK", json!({"contexts": []}));
    check(
        "AT+CGACT?",
        "+CGACT: 4,1\r\n\r\n+CGACT: 5,0",
        json!({"contexts": [
        {"cid": 4, "active": true}, {"cid": 5, "active": false}]}),
    );
    assert!(decode("AT+CGACT?", "+CGACT: 4,2").is_err());
    assert!(decode("AT+CGACT?", "SMS DONE\r\nOK").is_err());
    assert!(decode("AT+CGDCONT?", "+CGDCONT: ,\"IP\"").is_err());
    let damaged = "+CGDCONT: ,\"IP\"\r\n+CGDCONT: 1,\"IPV4\",\"a\"+CGDCONT: 2,\"NONIP\",\"b\"";
    let wanted = json!([
        {"cid": 1, "pdp_type": "ipv4", "apn": "a"}, {"cid": 2, "pdp_type": "non-ip", "apn": "b"}
    ]);
    check("AT+CGDCONT?", damaged, json!({"contexts": wanted}));
    let wanted = json!([{"cid": 5, "active": true}]);
    check("AT+CGACT?", "+CGACT: 4,2\r\n+CGACT: 5,1", json!({"contexts": wanted}));
}

#[test]
fn context_addresses_of_both_families() {
    check(
        "AT+CGPADDR",
        "+CGPADDR: 1, \"10.36.130.148\"",
        json!({"cid": 1, "address": "10.36.130.148"}),
    );
    check("AT+CGPADDR", "+CGPADDR: 1,0.0.0.0", json!({"cid": 1, "address": null}));
    check("AT+CGPADDR", "+CGPADDR: 1", json!({"cid": 1, "address": null}));
    let dual = "+CGPADDR: 2,0.0.0.0,254.128.0.0.0.0.0.0.0.0.0.0.0.0.0.1";
    check("AT+CGPADDR", dual, json!({"address": "fe80::1", "address_2": null}));
    let many = "+CGPADDR: 1,10.0.0.1\r\n+CGPADDR: 2,0.0.0.0\r\nOK";
    check("AT+CGPADDR", many, json!({"contexts": [{"cid": 1, "address": "10.0.0.1"}, {"cid": 2}]}));
    for (rest, first, second) in [
        // 17 octets, which are not an address, beside a valid one.
        ("\"10.36.130.148\",\"0.0.0.0.0.0.0.0.0.0.0.0.1.2.3.4.5\"", Some("10.36.130.148"), None),
        ("\"0.0.0.0.0.0.0.0.0.0.0.0.1.2.3.4.5\",\"10.36.130.148\"", Some("10.36.130.148"), None),
        ("10.0.0.256", None, None),
        (
            "\"10.36.130.148,32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.1\"",
            Some("10.36.130.148"),
            Some("2001:db8::1"),
        ),
        ("\"0.0.0.0,0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0\"", None, None),
        ("\"2001:DB8:0:0:0:0:0:1\",\"10.36.130.148\"", Some("2001:db8::1"), Some("10.36.130.148")),
        ("\"10.36.130.148.255.255.255.252\"", Some("10.36.130.148"), None),
        ("-,\"\"", None, None),
    ] {
        let line = format!("+CGPADDR: 1,{rest}\r\nOK");
        check("AT+CGPADDR", &line, json!({"cid": 1, "address": first, "address_2": second}));
    }
}

#[test]
fn what_the_network_gave_a_context() {
    for (rest, wanted) in [
        (
            "5,\"net.mnc001.mcc001.gprs\",\"10.1.2.3.255.255.255.252\",\"10.1.2.1\",\"10.9.9.1\",\"10.9.9.2\",\"0.0.0.0\",\"0.0.0.0\",0",
            json!({"bearer_id": 5, "local_address": "10.1.2.3", "subnet": "255.255.255.252",
                "gateway_address": "10.1.2.1", "dns_primary_address": "10.9.9.1",
                "dns_secondary_address": "10.9.9.2"}),
        ),
        (
            "5,\"net\",\"10.1.2.3\",\"255.255.255.0\",\"10.1.2.1\",\"10.9.9.1\"",
            json!({"local_address": "10.1.2.3", "subnet": "255.255.255.0",
                "gateway_address": "10.1.2.1", "dns_primary_address": "10.9.9.1",
                "dns_secondary_address": null}),
        ),
        (
            "5,ims,10.1.2.3,,,,10.9.9.1,10.9.9.2",
            json!({"apn": "ims", "local_address": "10.1.2.3", "gateway_address": null}),
        ),
        // An impossible address leaves the others.
        (
            "5,\"net\",\"10.1.2.999\",\"10.1.2.1\",\"0.0.0.0\",\"10.9.9.2\"",
            json!({"local_address": null, "gateway_address": "10.1.2.1",
                "dns_primary_address": null, "dns_secondary_address": "10.9.9.2"}),
        ),
        // RM520N: both families in one line (iamromulan/quectel-rgmii-toolkit).
        (
            "0,\"net\",\"10.1.2.3\",\"32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.7\", \"254.128.0.0.0.0.0.0.0.0.0.0.0.0.0.1\",\"10.9.9.1\",\"10.9.9.2\"",
            json!({"local_address": "10.1.2.3", "local_address_2": "2001:db8::7",
                "gateway_address": "fe80::1", "dns_primary_address": "10.9.9.1",
                "dns_secondary_address": "10.9.9.2"}),
        ),
        (
            "0,\"net\",\"2001:DB8::7\",\"FE80::1\",\"2001:DB8::53\"",
            json!({"local_address": "2001:db8::7", "local_address_2": null,
                "gateway_address": "fe80::1", "dns_primary_address": "2001:db8::53"}),
        ),
        ("x,,,,", json!({"cid": 1, "bearer_id": null, "apn": null})),
    ] {
        check("AT+CGCONTRDP", &format!("+CGCONTRDP: 1,{rest}\r\nOK"), wanted);
    }
    let two = "+CGCONTRDP: 1,5,\"a\",\"10.1.2.3\"\r\n+CGCONTRDP: x\r\n+CGCONTRDP: 2,6,\"b\"";
    let wanted = json!([
        {"cid": 1, "bearer_id": 5, "apn": "a", "local_address": "10.1.2.3"},
        {"cid": 2, "bearer_id": 6, "apn": "b"},
    ]);
    check("AT+CGCONTRDP", two, json!({"contexts": wanted}));
    assert!(decode("AT+CGCONTRDP", "+CGCONTRDP: x").is_err());
}

#[test]
fn clocks() {
    let east = "+CCLK: \"18/11/28,12:30:35+32\"";
    check(
        "AT+CCLK?",
        east,
        json!({"iso8601": "2018-11-28T12:30:35+08", "utc_offset_minutes": 480}),
    );
    let quarter = "+CCLK: 17/07/26,11:42:15-01";
    check("AT+CCLK?", quarter, json!({"iso8601": "2017-07-26T11:42:15-00:15"}));
    let local = "+CCLK: \"24/02/29,00:00:00\"";
    check("AT+CCLK?", local, json!({"iso8601": "2024-02-29T00:00:00", "utc_offset_minutes": null}));
    check("AT+CCLK?", "+CCLK: \"80/01/06,07:09:04\"", json!({"iso8601": null, "clock_set": false}));
    for raw in ["23/02/29,00:00:00", "24/13/01,00:00:00", "24/01/01,24:00:00", "24/01/01", ""] {
        assert!(decode("AT+CCLK?", &format!("+CCLK: \"{raw}\"")).is_err(), "{raw}");
    }
}

#[test]
fn identification_texts() {
    let echo = "AT+CGMM\r\r\nSIMCOM_SIM7600G-H\r\n\r\nOK\r\n";
    check("AT+CGMM", echo, json!({"model": "SIMCOM_SIM7600G-H", "normalised": "SIM7600G-H"}));
    check("AT+CGMM", "\"E2\"", json!({"model": "\"E2\"", "normalised": "E2"}));
    check("AT+CGMM", "+CGMM: \"A7670E\"\r\nOK", json!({"normalised": "A7670E"}));
    let chatter = "*ATREADY: 1\r\n+CPIN: READY\r\nSMS DONE\r\nSIM8200EA-M2\r\nOK";
    check("AT+CGMM", chatter, json!({"model": "SIM8200EA-M2"}));
    check("AT+CGMR", "+CGMR: LE11B01SIM7600C", json!({"revision": "LE11B01SIM7600C"}));
    check("AT+GMR", "Revision:1529B01SIM7000G\r\nOK", json!({"revision": "1529B01SIM7000G"}));
    check("AT+CGMR", "V 08.62\n24-07-09\nRM-520\n", json!({"revision": "V 08.62 24-07-09 RM-520"}));
    check("AT+CGMI", "SIMCOM INCORPORATED\r\nOK", json!({"manufacturer": "SIMCOM INCORPORATED"}));
    assert!(decode("AT+CGMM", "+CSQ: 1,1\r\nOK").is_err());
    assert!(decode("AT+CGMM", "ERROR").is_err());
}

#[test]
fn serial_numbers() {
    check("AT+CGSN", "490154203237518\r\nOK", json!({"imei": "490154203237518", "luhn_ok": true}));
    check("AT+CGSN", "490154203237519\r\nOK", json!({"imei": "490154203237519", "luhn_ok": false}));
    check("AT+CGSN", "NORMAL POWER\r\n490154203237518", json!({"imei": "490154203237518"}));
    let comma = "000125491259519,PH2155R3TR";
    check("AT+CGSN", comma, json!({"imei": "000125491259519", "raw": comma}));
    check("AT+CGSN", "+CGSN: \"490154203237518\"", json!({"imei": "490154203237518"}));
    check("AT+CGSN", "0x3B0C4B98", json!({"imei": null, "raw": "0x3B0C4B98", "luhn_ok": null}));
    assert!(decode("AT+CGSN", "not a number").is_err());
    assert!(decode("AT+CGSN", "SIM7600").is_err());
}

#[test]
fn subscriber_and_card_numbers() {
    check("AT+CIMI", "\r\n460001234567890\r\n\r\nOK", json!({"imsi": "460001234567890"}));
    assert!(decode("AT+CIMI", "4600012345678901\r\nOK").is_err());
    for (text, digits) in [
        ("89860318760238610932", Some("89860318760238610932")),
        ("8944200053671052499", Some("8944200053671052499")),
        ("8944200053671052499F", Some("8944200053671052499")),
        ("\"984402003576012594F9\"", Some("8944200053671052499")),
        ("898602c0123456789012", Some("898602C0123456789012")),
        ("0044200053671052499", None),
        ("982314203264096", None),
        ("89860318760238610932123", None),
        ("8986031876023861093Z", None),
    ] {
        assert_eq!(iccid_digits(text).as_deref(), digits, "{text}");
    }
    check("AT+CCID", "+CCID: \"89860318760238610932\"", json!({"iccid": "89860318760238610932"}));
}

#[test]
fn error_codes_by_number_and_by_text() {
    check("+CME ERROR", "+CME ERROR: 14", json!({"code": 14, "text": "SIM busy", "error": "cme"}));
    for text in ["SIM not inserted", "sim not inserted", "SIMNOTINSERTED", "10"] {
        let error = CmeError::of_line(&format!("+CME ERROR: {text}")).expect("an error");
        assert_eq!(error.code, Some(10), "{text}");
    }
    let unknown = CmeError::of_line("+CME ERROR: raspberry").expect("an error");
    assert_eq!((unknown.code, unknown.text.as_str()), (None, "raspberry"));
    let empty = CmeError::of_line("+CME ERROR: ").expect("an error");
    assert_eq!((empty.code, empty.text.as_str()), (None, ""));
    assert_eq!(CmeError::of_line("+CME ERROR: 70000").expect("an error").code, None);
    assert!(CmeError::of_line("ERROR").is_err());
    check("+CMS ERROR", "+CMS ERROR: 310", json!({"code": 310, "text": "SIM not inserted"}));
    assert_eq!(cme_meaning(30), Some("No network service"));
    assert_eq!(cms_meaning(30), None);
}

#[test]
fn impossible_levels_are_left_out_and_counted() {
    let mut sieve = Sieve::default();
    let signal = Signal {
        rssi_dbm: Some(-32768.0),
        rsrp_dbm: Some(-10.0),
        rsrq_db: Some(-9.5),
        sinr_db: Some(99.0),
        ..Signal::unknown(Rat::Lte)
    };
    let kept = signal.plausible(&mut sieve);
    assert_eq!(kept, Signal { rsrq_db: Some(-9.5), ..Signal::unknown(Rat::Lte) });
    assert_eq!(sieve.implausible(), 1, "a sentinel is no fault");
    assert_eq!(serde_json::to_value(kept).expect("JSON"), json!({"rat": "lte", "rsrq_db": -9.5}));
    assert_eq!(sieve.keep(Quantity::Sinr, f64::NAN), None);
}

#[test]
fn radio_words_agree_with_the_json() {
    for rat in [Rat::Gsm, Rat::Wcdma, Rat::Lte, Rat::Nr, Rat::NbIot, Rat::CatM] {
        assert_eq!(serde_json::to_value(rat).expect("JSON"), json!(rat.as_str()));
    }
    for code in 0..=13 {
        assert_eq!(Act::from_code(code).map(Act::code).map(u32::from), Some(code));
    }
    assert_eq!(Act::from_code(14), None);
}

#[test]
fn tries_of_a_card_are_read() {
    let lines = ["+CPINR: SIM PIN,2,3", "+CPINR: SIM PUK,10,10", "+CPINR: SIM PIN2,3,3"];
    assert_eq!(pin_tries(&lines), Ok(PinTries { pin: Some(2), puk: Some(10) }));
    assert_eq!(pin_tries(&lines[1..]), Ok(PinTries { pin: None, puk: Some(10) }));
    for bad in ["+CPINR: SIM PIN,", "+CPINR: SIM PIN,x", "+CPINR: SIM PIN2,3", "+CPIN: READY", ""] {
        assert!(pin_tries(&[bad]).is_err(), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn no_text_makes_a_decoder_panic(raw in "\\PC{0,80}", tail in "[-+0-9A-Fx.,\" :/]{0,60}") {
        for (command, decoder) in DECODERS {
            let prefix = command.trim_start_matches("AT").trim_end_matches('?');
            for text in [raw.clone(), format!("{prefix}: {tail}"), format!("{prefix}:{raw}\r\n{tail}\r\nOK")] {
                let _ = decoder(&text);
            }
        }
        let _ = is_solicited(&raw);
    }

    #[test]
    fn quoted_arguments_come_back(args in proptest::collection::vec("[a-z ,.]{0,12}", 1..8)) {
        let line = args.iter().map(|arg| format!("\"{arg}\"")).collect::<Vec<_>>().join(",");
        let wanted: Vec<_> = args.iter().map(|arg| arg.trim().to_owned()).collect();
        prop_assert_eq!(texts(&line), wanted);
    }
}
