//! Quectel's own status queries as values: signal, network, temperature, card number.

use std::collections::BTreeMap;

use modem::reply::{
    Args, Decoder, MAX_NR_ARFCN, PinTries, Quantity, Rat, ReplyError, Sieve, Signal, body, iccid,
    own_rows, parse_decimal, value,
};
use serde::Serialize;
use serde_json::json;

use crate::qcainfo::qcainfo;
use crate::qeng::qeng;
use crate::words::{cut, radio};

/// The vendor's commands; the standard's are in [`modem::reply::DECODERS`].
pub const DECODERS: &[(&str, Decoder)] = &[
    ("AT+QENG=\"servingcell\"", |raw| value(qeng(&body("AT+QENG=\"servingcell\"", raw)?)?)),
    ("AT+QCAINFO", |raw| value(qcainfo(&body("AT+QCAINFO", raw)?)?)),
    ("AT+QCSQ", |raw| value(one_or_rows(qcsq(&body("AT+QCSQ", raw)?)?))),
    ("AT+QNWINFO", |raw| value(one_or_rows(qnwinfo(&body("AT+QNWINFO", raw)?)?))),
    ("AT+QTEMP", |raw| Ok(json!({ "celsius": qtemp(&body("AT+QTEMP", raw)?)? }))),
    ("AT+QPINC=\"SC\"", |raw| {
        let mut tries = value(pin_tries(&body("AT+QPINC=\"SC\"", raw)?)?)?;
        if let Some(tries) = tries.as_object_mut() {
            tries.insert("facility".to_owned(), json!("SC"));
        }
        Ok(tries)
    }),
    ("AT+QCCID", |raw| Ok(json!({ "iccid": card(&body("AT+QCCID", raw)?)? }))),
];

/// The coldest and hottest that a working die reports, with room; beyond it the sensor is wrong.
const CELSIUS: std::ops::RangeInclusive<f64> = -60.0..=150.0;

/// Names of the sensors in a line without names (`+QTEMP: 30,28,25`).
const UNNAMED: [&str; 3] = ["pmic", "xo", "pa"];

/// More sensors than any module has.
const MAX_SENSORS: usize = 32;

/// A line of `AT+QCSQ`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Qcsq {
    /// The radio: `lte`, `nr`, `cat-m` …; `none` without service.
    pub rat: &'static str,
    /// Received power over the whole channel, dBm.
    pub rssi_dbm: Option<f64>,
    /// Reference signal received power, dBm.
    pub rsrp_dbm: Option<f64>,
    /// WCDMA received code power, dBm.
    pub rscp_dbm: Option<f64>,
    /// WCDMA Ec/Io, dB.
    pub ecio_db: Option<f64>,
    /// SINR as sent.
    pub sinr_raw: Option<f64>,
    /// SINR, dB.
    pub sinr_db: Option<f64>,
    /// Reference signal received quality, dB.
    pub rsrq_db: Option<f64>,
    /// The number of levels that were impossible and left out.
    #[serde(skip)]
    pub implausible: u32,
}

/// A single row as itself, or several rows as `rows`.
#[derive(Serialize)]
#[serde(untagged)]
enum OneOrRows<T> {
    One(T),
    Rows { rows: Vec<T> },
}

fn one_or_rows<T>(mut rows: Vec<T>) -> OneOrRows<T> {
    match rows.pop() {
        Some(one) if rows.is_empty() => OneOrRows::One(one),
        last => {
            rows.extend(last);
            OneOrRows::Rows { rows }
        }
    }
}

/// Reads `+QCSQ: <mode>[,<levels>]`, a row for each radio. A row of an unknown mode is skipped.
///
/// # Errors
/// [`ReplyError`] if there is no such line, or none with a known mode.
pub fn qcsq<L: AsRef<str>>(lines: &[L]) -> Result<Vec<Qcsq>, ReplyError> {
    let command = "AT+QCSQ";
    let rows = own_rows(command, "+QCSQ", lines);
    if rows.is_empty() {
        return Err(ReplyError::Missing { command, wanted: "+QCSQ: line" });
    }
    readable(rows.iter().map(qcsq_row))
}

/// Returns the readable rows.
///
/// # Errors
/// The error of the last row, if no row is readable.
fn readable<T>(rows: impl Iterator<Item = Result<T, ReplyError>>) -> Result<Vec<T>, ReplyError> {
    let mut found = Vec::new();
    let mut refused = None;
    for row in rows {
        match row {
            Ok(row) => found.push(row),
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}

fn qcsq_row(args: &Args<'_>) -> Result<Qcsq, ReplyError> {
    let refuse = || args.refuse(0, "sysmode", "a radio's name");
    let (rat, word) = args.text(0).and_then(radio).ok_or_else(refuse)?;
    let mut sieve = Sieve::default();
    let level = |sieve: &mut Sieve, quantity, at: usize| {
        args.text(at).and_then(parse_decimal).and_then(|raw| sieve.keep(quantity, raw))
    };
    let raw =
        |at: usize| args.text(at).and_then(parse_decimal).filter(|raw| !Sieve::is_sentinel(*raw));
    let mut row = Qcsq {
        rat: word,
        rssi_dbm: None,
        rsrp_dbm: None,
        rscp_dbm: None,
        ecio_db: None,
        sinr_raw: None,
        sinr_db: None,
        rsrq_db: None,
        implausible: 0,
    };
    match rat {
        None => {}
        Some(Rat::Gsm) => row.rssi_dbm = level(&mut sieve, Quantity::Rssi, 1),
        Some(Rat::Wcdma) => {
            row.rssi_dbm = level(&mut sieve, Quantity::Rssi, 1);
            row.rscp_dbm = level(&mut sieve, Quantity::Rsrp, 2);
            row.ecio_db = raw(3).filter(|ecio| (-40.0..=0.0).contains(ecio));
        }
        // The SINR of NR is in dB. If a module prints four levels, the first is the power of the channel.
        Some(Rat::Nr) => {
            let four = (1..=4).all(|at| args.text(at).and_then(parse_decimal).is_some());
            let at = usize::from(four);
            row.rssi_dbm = four.then(|| level(&mut sieve, Quantity::Rssi, 1)).flatten();
            row.rsrp_dbm = level(&mut sieve, Quantity::Rsrp, at + 1);
            row.sinr_raw = raw(at + 2);
            row.sinr_db = level(&mut sieve, Quantity::Sinr, at + 2);
            row.rsrq_db = level(&mut sieve, Quantity::Rsrq, at + 3);
        }
        // A code 0…250 in fifths of a dB from -20 dB.
        Some(Rat::Lte | Rat::CatM | Rat::NbIot) => {
            row.rssi_dbm = level(&mut sieve, Quantity::Rssi, 1);
            row.rsrp_dbm = level(&mut sieve, Quantity::Rsrp, 2);
            row.sinr_raw = raw(3);
            row.sinr_db =
                raw(3).filter(|code| (0.0..=250.0).contains(code)).map(|code| (code - 100.0) / 5.0);
            row.rsrq_db = level(&mut sieve, Quantity::Rsrq, 4);
        }
    }
    row.implausible = sieve.implausible();
    Ok(row)
}

impl Qcsq {
    /// Returns the levels; `None` without service.
    pub fn signal(&self) -> Option<Signal> {
        let rat = match self.rat {
            "gsm" => Rat::Gsm,
            "wcdma" => Rat::Wcdma,
            "lte" => Rat::Lte,
            "cat-m" => Rat::CatM,
            "nb-iot" => Rat::NbIot,
            "nr" => Rat::Nr,
            _ => return None,
        };
        Some(Signal {
            rat,
            rssi_dbm: self.rssi_dbm,
            rsrp_dbm: self.rsrp_dbm,
            rsrq_db: self.rsrq_db,
            sinr_db: self.sinr_db,
        })
    }
}

/// A line of `AT+QNWINFO`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NetworkInfo {
    /// The access technology in the vendor's words.
    pub act_text: String,
    /// The network's number.
    pub operator: Option<String>,
    /// The band in the vendor's words.
    pub band_text: Option<String>,
    /// The channel's number.
    pub channel: Option<u32>,
    /// `2g`, `3g`, `4g` or `5g`; absent without service, and if there are two.
    pub generation: Option<&'static str>,
}

/// Reads `+QNWINFO: <act>,<operator>,<band>,<channel>`; in EN-DC there are two lines.
///
/// # Errors
/// [`ReplyError`] if there is no such line.
pub fn qnwinfo<L: AsRef<str>>(lines: &[L]) -> Result<Vec<NetworkInfo>, ReplyError> {
    let command = "AT+QNWINFO";
    let rows = own_rows(command, "+QNWINFO", lines);
    if rows.is_empty() {
        return Err(ReplyError::Missing { command, wanted: "+QNWINFO: line" });
    }
    // With two technologies the generation is ambiguous.
    let single = rows.len() == 1;
    readable(rows.iter().map(|args| {
        let act = args.text(0).ok_or_else(|| args.refuse(0, "act", "a technology's name"))?;
        let number = |text: &&str| {
            (5..=6).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        Ok(NetworkInfo {
            act_text: cut(act),
            operator: args.text(1).filter(number).map(str::to_owned),
            band_text: args.text(2).map(cut),
            channel: args.uint(3, "channel", MAX_NR_ARFCN).ok(),
            generation: generation(act).filter(|_| single),
        })
    }))
}

fn generation(act: &str) -> Option<&'static str> {
    let act = act.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| act.contains(word));
    if has(&["NR5G", "5G"]) {
        Some("5g")
    } else if has(&["LTE", "EMTC", "CAT-M", "CAT-NB", "NBIOT"]) {
        Some("4g")
    } else if has(&["WCDMA", "HSPA", "HSDPA", "HSUPA", "TDSCDMA"]) {
        Some("3g")
    } else if has(&["GSM", "GPRS", "EDGE"]) {
        Some("2g")
    } else {
        None
    }
}

/// Reads `+QTEMP: "<sensor>","<degrees>"` lines, or a single line of three degrees without names.
///
/// # Errors
/// [`ReplyError`] if no line holds a possible temperature.
pub fn qtemp<L: AsRef<str>>(lines: &[L]) -> Result<BTreeMap<String, f64>, ReplyError> {
    let command = "AT+QTEMP";
    let mut celsius = BTreeMap::new();
    let possible = |text: &str| parse_decimal(text).filter(|degrees| CELSIUS.contains(degrees));
    for args in own_rows(command, "+QTEMP", lines).iter().take(MAX_SENSORS) {
        let Some(first) = args.text(0) else { continue };
        if parse_decimal(first).is_some() {
            for (at, name) in UNNAMED.iter().enumerate() {
                let degrees = args.text(at).and_then(possible);
                celsius.extend(degrees.map(|degrees| ((*name).to_owned(), degrees)));
            }
        } else if let Some(degrees) = args.text(1).and_then(possible) {
            celsius.insert(cut(first), degrees);
        }
    }
    if celsius.is_empty() {
        return Err(ReplyError::Missing { command, wanted: "+QTEMP: line with a temperature" });
    }
    Ok(celsius)
}

/// Reads the answer to `AT+QCCID`.
///
/// # Errors
/// [`ReplyError`] if no line has a valid card number.
pub fn card<L: AsRef<str>>(lines: &[L]) -> Result<String, ReplyError> {
    iccid("AT+QCCID", &["+QCCID"], lines)
}

/// Reads `+QPINC: "SC",<pin>,<puk>`, the tries that are left for each.
///
/// # Errors
/// [`ReplyError`] if there is no such line or a number is unreadable.
pub fn pin_tries<L: AsRef<str>>(lines: &[L]) -> Result<PinTries, ReplyError> {
    let command = "AT+QPINC=\"SC\"";
    let rows = own_rows(command, "+QPINC", lines);
    let own = rows.iter().find(|args| args.text(0) == Some("SC"));
    let args = own.ok_or(ReplyError::Missing { command, wanted: "+QPINC: line of the card" })?;
    // The PIN's counter decides whether the agent tries a PIN; the PUK's counter is for the operator.
    let pin = Some(args.uint(1, "PIN_counter", 99)?);
    Ok(PinTries { pin, puk: args.uint(2, "PUK_counter", 99).ok() })
}

#[cfg(test)]
mod tests {
    use modem::reply::decoder;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn decode(command: &str, raw: &str) -> Result<Value, ReplyError> {
        decoder(DECODERS, command).expect("a known command")(raw)
    }

    #[test]
    fn raw_replies_become_json() {
        for (command, raw, wanted) in [
            (
                "AT+QPINC=\"SC\"",
                "+QPINC: \"P2\",3,10\r\n+QPINC: \"SC\",1,10\r\nOK",
                json!({"facility": "SC", "pin": 1, "puk": 10}),
            ),
            (
                "AT+QCSQ",
                "+QCSQ: \"LTE\",-52,-81,195,-10\r\n\r\nOK",
                json!({"rat": "lte", "rssi_dbm": -52.0, "rsrp_dbm": -81.0, "sinr_raw": 195.0,
                    "sinr_db": 19.0, "rsrq_db": -10.0}),
            ),
            (
                "AT+QCSQ",
                "+QCSQ: \"NR5G\",-90,12,-11",
                json!({"rat": "nr", "rsrp_dbm": -90.0, "sinr_raw": 12.0, "sinr_db": 12.0, "rsrq_db": -11.0}),
            ),
            ("AT+QCSQ", "+QCSQ: \"NOSERVICE\"", json!({"rat": "none"})),
            (
                "AT+QCSQ",
                "+QCSQ: \"CAT-NB1\",-62,-92,93,-14",
                json!({"rat": "nb-iot", "rssi_dbm": -62.0, "rsrp_dbm": -92.0, "sinr_raw": 93.0,
                    "sinr_db": -1.4, "rsrq_db": -14.0}),
            ),
            // An unknown row does not affect the other; a form of NR with four levels has the channel's power
            // first.
            (
                "AT+QCSQ",
                "+QCSQ: \"FOO\",-1\r\n+QCSQ: \"GSM\",-71",
                json!({"rat": "gsm", "rssi_dbm": -71.0}),
            ),
            (
                "AT+QCSQ",
                "+QCSQ: \"NR5G-SA\",-51,-80,2,-11",
                json!({"rat": "nr", "rssi_dbm": -51.0, "rsrp_dbm": -80.0, "sinr_raw": 2.0,
                    "sinr_db": 2.0, "rsrq_db": -11.0}),
            ),
            (
                "AT+QCSQ",
                "+QCSQ: \"NR5G\",-85,12,-11,-",
                json!({"rat": "nr", "rsrp_dbm": -85.0, "sinr_raw": 12.0, "sinr_db": 12.0, "rsrq_db": -11.0}),
            ),
            ("AT+QCSQ", "+QCSQ: \"GSM\",125", json!({"rat": "gsm"})),
            (
                "AT+QNWINFO",
                "+QNWINFO: \"FDD LTE\",\"00101\",\"LTE BAND 3\",1650+QNWINFO: \"-\",,",
                json!({"act_text": "FDD LTE", "operator": "00101", "band_text": "LTE BAND 3", "channel": 1650}),
            ),
            ("AT+QTEMP", "+QTEMP: 38,255,255", json!({"celsius": {"pmic": 38.0}})),
            ("AT+QPINC=\"SC\"", "+QPINC: \"SC\",3,-", json!({"facility": "SC", "pin": 3})),
            (
                "AT+QCSQ",
                "+QCSQ: \"LTE\",-32768,-300,-,-10",
                json!({"rat": "lte", "rsrq_db": -10.0}),
            ),
            (
                "AT+QNWINFO",
                "+QNWINFO: \"FDD LTE\",46001,\"LTE BAND 3\",1650\r\n+QNWINFO: \"NR5G-NSA\",\"46001\",\"NR N78\",627264\r\nOK",
                json!({"rows": [
                    {"act_text": "FDD LTE", "operator": "46001", "band_text": "LTE BAND 3", "channel": 1650},
                    {"act_text": "NR5G-NSA", "operator": "46001", "band_text": "NR N78", "channel": 627264},
                ]}),
            ),
            ("AT+QNWINFO", "+QNWINFO: No Service", json!({"act_text": "No Service"})),
            (
                "AT+QTEMP",
                "+QTEMP: 30,28,25",
                json!({"celsius": {"pmic": 30.0, "xo": 28.0, "pa": 25.0}}),
            ),
            (
                "AT+QTEMP",
                "+QTEMP: \"soc\",\"36\"\r\n+QTEMP: \"off\",\"-273\"",
                json!({"celsius": {"soc": 36.0}}),
            ),
            ("AT+QCCID", "+QCCID: 8986031876023861093F", json!({"iccid": "8986031876023861093"})),
        ] {
            assert_eq!(decode(command, raw), Ok(wanted), "{command} {raw:?}");
        }
    }

    #[test]
    fn impossible_replies_are_refused() {
        for (command, raw) in [
            ("AT+QCSQ", "OK"),
            ("AT+QCSQ", "+QCSQ: \"FOO\",-1"),
            ("AT+QNWINFO", "+QNWINFO:"),
            ("AT+QTEMP", "+QTEMP: \"soc\",\"255\""),
            ("AT+QCCID", "+QCCID: 12"),
            ("AT+QENG=\"servingcell\"", "ERROR"),
        ] {
            assert!(decode(command, raw).is_err(), "{command} {raw:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

        #[test]
        fn no_text_makes_a_decoder_panic(text in "\\PC{0,60}") {
            for (command, decoder) in DECODERS {
                let prefix = command.trim_start_matches("AT").split('=').next().unwrap();
                let _ = decoder(&text);
                let _ = decoder(&format!("{prefix}: {text}\r\nOK"));
            }
        }
    }
}
