//! SIMCom's own status queries as values: temperature, card number, network mode, supply voltage.

use modem::reply::{Decoder, PinTries, Rat, ReplyError, body, iccid, own_rows, value};
use serde::Serialize;
use serde_json::{Value, json};

use crate::ceng::ceng;
use crate::cmgrmi::cmgrmi;
use crate::cmq::replies as cmq;
use crate::cpsi::cpsi;
use crate::results;

/// The vendor's commands; the standard's are in [`modem::reply::DECODERS`].
pub const DECODERS: &[(&str, Decoder)] = &[
    ("AT+CPSI?", |raw| value(cpsi(&body("AT+CPSI?", raw)?)?)),
    ("AT+CMGRMI", |raw| value(cmgrmi(&body("AT+CMGRMI", raw)?)?)),
    ("AT+CPMUTEMP", |raw| Ok(json!({ "celsius": temperature(&body("AT+CPMUTEMP", raw)?)? }))),
    ("AT+CICCID", |raw| Ok(json!({ "iccid": card(&body("AT+CICCID", raw)?)? }))),
    ("AT+SPIC", |raw| all_tries(&body("AT+SPIC", raw)?)),
    ("AT+CNSMOD?", |raw| value(network_mode(&body("AT+CNSMOD?", raw)?)?)),
    ("AT+CBC", |raw| value(supply(&body("AT+CBC", raw)?)?)),
    ("+CMQTTSTART", |raw| results::service("+CMQTTSTART", raw)),
    ("+CMQTTSTOP", |raw| results::service("+CMQTTSTOP", raw)),
    ("+CMQTTACCQ", |raw| results::client("+CMQTTACCQ", raw)),
    ("+CMQTTREL", |raw| results::client("+CMQTTREL", raw)),
    ("+CMQTTCONNECT", |raw| results::client("+CMQTTCONNECT", raw)),
    ("+CMQTTTOPIC", |raw| results::client("+CMQTTTOPIC", raw)),
    ("+CMQTTPAYLOAD", |raw| results::client("+CMQTTPAYLOAD", raw)),
    ("+CMQTTSUBTOPIC", |raw| results::client("+CMQTTSUBTOPIC", raw)),
    ("+CMQTTDISC", |raw| results::client("+CMQTTDISC", raw)),
    ("+CMQTTSUB", |raw| results::client("+CMQTTSUB", raw)),
    ("+CMQTTUNSUB", |raw| results::client("+CMQTTUNSUB", raw)),
    ("+CMQTTPUB", |raw| results::client("+CMQTTPUB", raw)),
    // SIM7020.
    ("AT+CENG?", |raw| value(ceng(&body("AT+CENG?", raw)?)?)),
    ("AT+CMQNEW", |raw| cmq::decode_client("+CMQNEW", raw)),
    ("AT+CMQNEW?", |raw| cmq::decode_client("+CMQNEW", raw)),
    ("AT+CMQCON?", |raw| cmq::decode_client("+CMQCON", raw)),
    ("AT+CMQTSYNC?", |raw| cmq::decode_setting("+CMQTSYNC", raw)),
    ("AT+CREVHEX?", |raw| cmq::decode_setting("+CREVHEX", raw)),
    ("+CMQPUB", cmq::decode_message),
    ("+CMQDISCON", cmq::decode_loss),
];

/// The coldest and hottest that a working die reports, with room; beyond it the sensor is wrong.
const CELSIUS: std::ops::RangeInclusive<i32> = -60..=150;

/// Reads `+CPMUTEMP: <degrees Celsius>`.
///
/// # Errors
/// [`ReplyError`] if there is no such line or it has an impossible temperature.
pub fn temperature<L: AsRef<str>>(lines: &[L]) -> Result<i32, ReplyError> {
    let command = "AT+CPMUTEMP";
    let rows = own_rows(command, "+CPMUTEMP", lines);
    let args = rows.last().ok_or(ReplyError::Missing { command, wanted: "+CPMUTEMP: line" })?;
    args.text(0)
        .and_then(|text| text.parse().ok())
        .filter(|celsius| CELSIUS.contains(celsius))
        .ok_or_else(|| args.refuse(0, "temp", "a temperature in degrees Celsius"))
}

/// Reads the answer to `AT+CICCID`, whose prefix is `+ICCID`.
///
/// # Errors
/// [`ReplyError`] if no line has a valid card number.
pub fn card<L: AsRef<str>>(lines: &[L]) -> Result<String, ReplyError> {
    iccid("AT+CICCID", &["+ICCID", "+CICCID"], lines)
}

/// Reads `+SPIC: <pin>,<puk>,<pin2>,<puk2>`, the tries that are left for each.
///
/// # Errors
/// [`ReplyError`] if there is no such line or a number is unreadable.
pub fn pin_tries<L: AsRef<str>>(lines: &[L]) -> Result<PinTries, ReplyError> {
    let command = "AT+SPIC";
    let rows = own_rows(command, "+SPIC", lines);
    let args = rows.last().ok_or(ReplyError::Missing { command, wanted: "+SPIC: line" })?;
    // The PIN's counter decides whether the agent tries a PIN; the PUK's counter is for the operator.
    let pin = Some(args.uint(0, "chv1", 99)?);
    Ok(PinTries { pin, puk: args.uint(1, "puk1", 99).ok() })
}

/// Returns all four numbers of that line; the agent has no use for the card's second PIN.
fn all_tries(lines: &[&str]) -> Result<Value, ReplyError> {
    let PinTries { pin, puk } = pin_tries(lines)?;
    let rows = own_rows("AT+SPIC", "+SPIC", lines);
    let second = |at, name| rows.last().and_then(|args| args.uint(at, name, 99).ok());
    let all =
        [("pin1", pin), ("puk1", puk), ("pin2", second(2, "chv2")), ("puk2", second(3, "puk2"))];
    let told = all.into_iter().filter_map(|(key, tries)| Some((key.to_owned(), json!(tries?))));
    Ok(Value::Object(told.collect()))
}

/// The answer to `AT+CNSMOD?`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct NetworkMode {
    /// The setting of unsolicited reports of changes.
    pub n: Option<u32>,
    /// The mode's code.
    pub stat: u32,
    /// The mode's name; absent for codes that no manual lists.
    pub mode: Option<&'static str>,
    /// The radio in the metrics' words; absent without service and for CDMA.
    pub rat: Option<Rat>,
}

/// Reads `+CNSMOD: <n>,<stat>`. The unsolicited `+CNSMOD: <stat>` is skipped.
///
/// # Errors
/// [`ReplyError`] if there is no such line, or if its mode is not a number.
pub fn network_mode<L: AsRef<str>>(lines: &[L]) -> Result<NetworkMode, ReplyError> {
    let command = "AT+CNSMOD?";
    let rows = own_rows(command, "+CNSMOD", lines);
    let args = rows
        .iter()
        .find(|args| args.len() == 2)
        .ok_or(ReplyError::Missing { command, wanted: "+CNSMOD: line with <n>,<stat>" })?;
    let n = args.uint(0, "n", 1).ok();
    let stat = args.uint(1, "stat", 255)?;
    let known = NETWORK_MODES.iter().find(|(code, ..)| *code == stat);
    Ok(NetworkMode {
        n,
        stat,
        mode: known.map(|(_, mode, _)| *mode),
        rat: known.and_then(|(_, _, rat)| *rat),
    })
}

/// SIM7500_SIM7600 manual V3.00 and SIM82XX_SIM83XX V1.02 p.105, `+CNSMOD`.
const NETWORK_MODES: &[(u32, &str, Option<Rat>)] = &[
    (0, "no_service", None),
    (1, "gsm", Some(Rat::Gsm)),
    (2, "gprs", Some(Rat::Gsm)),
    (3, "edge", Some(Rat::Gsm)),
    (4, "wcdma", Some(Rat::Wcdma)),
    (5, "hsdpa", Some(Rat::Wcdma)),
    (6, "hsupa", Some(Rat::Wcdma)),
    (7, "hspa", Some(Rat::Wcdma)),
    (8, "lte", Some(Rat::Lte)),
    (9, "tds-cdma", Some(Rat::Wcdma)),
    (10, "tds-hsdpa", Some(Rat::Wcdma)),
    (11, "tds-hsupa", Some(Rat::Wcdma)),
    (12, "tds-hspa", Some(Rat::Wcdma)),
    (13, "cdma", None),
    (14, "evdo", None),
    (15, "cdma-evdo", None),
    (16, "cdma-lte", None),
    (23, "ehrpd", None),
    (24, "cdma-ehrpd", None),
    (36, "5gnr", Some(Rat::Nr)),
];

/// The answer to `AT+CBC`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Supply {
    /// Volts at the modem's supply pins.
    pub volts: f64,
    /// Charge in percent, if the module measures a battery.
    pub percent: Option<u32>,
}

/// Reads `+CBC: 3.591V`, `+CBC: <percent>,<millivolts>` (SIM7020), or `+CBC: <status>,<percent>,<millivolts>`.
///
/// # Errors
/// [`ReplyError`] if there is no such line or it has an impossible voltage.
pub fn supply<L: AsRef<str>>(lines: &[L]) -> Result<Supply, ReplyError> {
    let command = "AT+CBC";
    let rows = own_rows(command, "+CBC", lines);
    let args = rows.last().ok_or(ReplyError::Missing { command, wanted: "+CBC: line" })?;
    let volts = |at: usize| {
        let text = args.text(at)?.trim_end_matches(['V', 'v']).trim_end_matches(['m', 'M']);
        let number = modem::reply::parse_decimal(text.trim_end())?;
        let volts = if number >= 100.0 { number / 1000.0 } else { number };
        // A module works from about 3.3 to 4.4 V, some boards give it 5 V.
        (0.5..=6.0).contains(&volts).then_some(volts)
    };
    // The voltage is the last of at most three, with the charge before it.
    let at = args.len().saturating_sub(1).min(2);
    let percent = at.checked_sub(1).and_then(|charge| args.uint(charge, "bcl", 100).ok());
    let volts = volts(at).ok_or_else(|| args.refuse(at, "voltage", "a supply voltage"))?;
    Ok(Supply { volts, percent })
}

#[cfg(test)]
mod tests {
    use modem::reply::decoder;
    use proptest::prelude::*;

    use super::*;

    fn decode(command: &str, raw: &str) -> Result<Value, ReplyError> {
        decoder(DECODERS, command).expect("a known command")(raw)
    }

    #[test]
    fn raw_replies_become_json() {
        for (command, raw, wanted) in [
            ("AT+CPMUTEMP", "AT+CPMUTEMP\r\r\n+CPMUTEMP: 29\r\n\r\nOK", json!({"celsius": 29})),
            ("AT+CPMUTEMP", "+CPMUTEMP: -20", json!({"celsius": -20})),
            (
                "AT+CICCID",
                "+ICCID: 8986031876023861093F\r\nOK",
                json!({"iccid": "8986031876023861093"}),
            ),
            ("AT+CNSMOD?", "+CNSMOD: 0,8", json!({"n": 0, "stat": 8, "mode": "lte", "rat": "lte"})),
            (
                "AT+CNSMOD?",
                "+CNSMOD: 36\r\n+CNSMOD: 1,0\r\nOK",
                json!({"n": 1, "stat": 0, "mode": "no_service"}),
            ),
            (
                "AT+SPIC",
                "+SPIC: 2,10,0,10\r\nOK",
                json!({"pin1": 2, "puk1": 10, "pin2": 0, "puk2": 10}),
            ),
            ("AT+SPIC", "+SPIC: 3,10\r\nOK", json!({"pin1": 3, "puk1": 10})),
            ("AT+CNSMOD?", "+CNSMOD: 0,99", json!({"n": 0, "stat": 99})),
            ("AT+CBC", "+CBC: 3.591V\r\nOK", json!({"volts": 3.591})),
            ("AT+CBC", "+CBC: 0,95,4012\r\nOK", json!({"volts": 4.012, "percent": 95})),
            ("AT+CBC", "+CBC: 88,3418\r\nOK", json!({"volts": 3.418, "percent": 88})),
            ("AT+CBC", "+CBC: 0,101,4012", json!({"volts": 4.012})),
            ("AT+CBC", "+CBC: 3791mV", json!({"volts": 3.791})),
            ("AT+SPIC", "+SPIC: 3", json!({"pin1": 3})),
            ("AT+SPIC", "+SPIC: 3,x,2,10", json!({"pin1": 3, "pin2": 2, "puk2": 10})),
            ("AT+CNSMOD?", "+CNSMOD: -,8", json!({"stat": 8, "mode": "lte", "rat": "lte"})),
            ("AT+CREVHEX?", "+CREVHEX: 1\r\nOK", json!({"on": true})),
            ("AT+CMQNEW", "+CMQNEW: 0\r\n\r\nOK", json!({"client": 0})),
            ("+CMQDISCON", "+CMQDISCON: 0", json!({"kind": "connection_lost", "client": 0})),
            (
                "+CMQTTSTART",
                "OK\r\n\r\n+CMQTTSTART: 0\r\n",
                json!({"kind": "result_urc", "err": 0, "meaning": "operation succeeded"}),
            ),
            (
                "+CMQTTCONNECT",
                "+CMQTTCONNECT: 0,32\r\n\r\nERROR\r\n",
                json!({"kind": "result_urc", "client": 0, "err": 32, "meaning": "TLS handshake failed"}),
            ),
            (
                "+CMQTTACCQ",
                "+CMQTTACCQ: 0,19\r\n\r\nERROR",
                json!({"kind": "result_urc", "client": 0, "err": 19, "meaning": "client is used"}),
            ),
            ("+CMQTTPUB", "+CMQTTPUB: 1,99", json!({"kind": "result_urc", "client": 1, "err": 99})),
            (
                "at+cpsi?",
                "+CPSI: NO SERVICE,Online\r\nOK",
                json!({"mode": "NO SERVICE", "oper_mode": "Online"}),
            ),
        ] {
            assert_eq!(decode(command, raw), Ok(wanted), "{command} {raw:?}");
        }
    }

    #[test]
    fn impossible_replies_are_refused() {
        for (command, raw) in [
            ("AT+CPMUTEMP", "+CPMUTEMP: 255"),
            ("AT+CPMUTEMP", "+CPMUTEMP:"),
            ("AT+CPMUTEMP", "OK"),
            ("AT+CICCID", "+ICCID: 123"),
            ("AT+CICCID", "+CME ERROR: SIM not inserted"),
            ("AT+SPIC", "+SPIC: x,10,0,10"),
            ("AT+CNSMOD?", "+CNSMOD: 8"),
            ("AT+CBC", "+CBC: 0.0V"),
            ("AT+CBC", "+CBC: V"),
            ("AT+CBC", "+CBC: 0,95,40120"),
            ("AT+CPSI?", "ERROR"),
            ("+CMQTTSTART", "OK"),
            ("+CMQTTCONNECT", "+CMQTTCONNECT: 0"),
            ("+CMQTTCONNECT", "+CMQTTCONNECT: 2,0"),
            ("+CMQTTCONNECT", "+CMQTTCONNECT: 0,0,0"),
            ("+CMQTTSTART", "+CMQTTSTART: 0,0"),
        ] {
            assert!(decode(command, raw).is_err(), "{command} {raw:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

        #[test]
        fn no_text_makes_a_decoder_panic(text in "\\PC{0,60}") {
            for (command, decoder) in DECODERS {
                let prefix = command.trim_start_matches("AT").trim_end_matches('?');
                let _ = decoder(&text);
                let _ = decoder(&format!("{prefix}: {text}\r\nOK"));
            }
        }
    }
}
