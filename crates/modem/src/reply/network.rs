//! `+COPS?`, the selected operator: 27.007 §7.3.

use serde::Serialize;

use super::args::name;
use super::signal::Act;
use super::{ReplyError, own_rows, parse_uint};

/// The answer to `AT+COPS?`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Operator {
    /// The mode of selection: 0 automatic, 1 manual, 2 deregistered, 3 format only, 4 manual, else
    /// automatic.
    pub mode: Option<u32>,
    /// The format of `operator`: 0 long name, 1 short name, 2 the digits of country and network.
    pub format: Option<u32>,
    /// The operator's name or its digits. A name is in letters even if the modem's character set
    /// sends it in hexadecimal digits.
    pub operator: Option<String>,
    /// Mobile country code, three digits; known in format 2.
    pub mcc: Option<String>,
    /// Mobile network code, two or three digits as sent; known in format 2.
    pub mnc: Option<String>,
    /// Access technology.
    #[serde(flatten)]
    pub act: Option<Act>,
}

/// Reads `+COPS: <mode>[,<format>,<oper>[,<AcT>]]`.
///
/// # Errors
/// [`ReplyError`] if there is no such line, or if its mode is not a number, as in the list that `AT+COPS=?` returns.
pub fn operator<L: AsRef<str>>(lines: &[L]) -> Result<Operator, ReplyError> {
    let rows = own_rows("AT+COPS?", "+COPS", lines);
    let args =
        rows.last().ok_or(ReplyError::Missing { command: "AT+COPS?", wanted: "+COPS: line" })?;
    let mode = args.text(0).map(|_| args.uint(0, "mode", u32::MAX)).transpose()?;
    // Format 255 with an empty name is "none" for some modems.
    let format = args.text(1).and_then(parse_uint).and_then(|format| u32::try_from(format).ok());
    let operator = args.text(2).map(|text| from_hex(text).unwrap_or_else(|| name(text)));
    let digits = operator.as_deref().filter(|_| format == Some(2)).and_then(split_plmn);
    let act = args.text(3).and_then(parse_uint).and_then(|code| u32::try_from(code).ok());
    let (mcc, mnc) = digits.map(|(mcc, mnc)| (mcc.to_owned(), mnc.to_owned())).unzip();
    Ok(Operator {
        mode: mode.filter(|mode| *mode <= 4),
        format: format.filter(|format| *format <= 2),
        operator,
        mcc,
        mnc,
        act: act.and_then(Act::from_code),
    })
}

/// Reads a name in hexadecimal digits, as UTF-16 or as ASCII. A modem writes it so if another
/// program left it in the character set `UCS2` or `HEX` (27.007 §5.5; SIMCom modules switch to it
/// for a USSD answer). `None` if the text is not such a name: eight digits at least, since a
/// network's number has six at most.
fn from_hex(text: &str) -> Option<String> {
    if text.len() < 8 || !text.len().is_multiple_of(2) {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    let bytes = text.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>()?;
    // A name in other letters than Latin has a byte beyond ASCII.
    let text = if bytes.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        String::from_utf8(bytes).ok()?
    } else {
        let units = bytes.chunks(2).map(|unit| Some(u16::from_be_bytes(unit.try_into().ok()?)));
        String::from_utf16(&units.collect::<Option<Vec<u16>>>()?).ok()?
    };
    let text = text.trim_matches(['\0', '\u{ffff}', ' ']);
    let readable = |c: char| c.is_alphanumeric() || c.is_ascii_punctuation() || c == ' ';
    (!text.is_empty() && text.chars().all(readable)).then(|| name(text))
}

/// Splits five or six digits into country and network; the network's leading zeros count.
fn split_plmn(text: &str) -> Option<(&str, &str)> {
    let fits = (5..=6).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if fits { text.split_at_checked(3) } else { None }
}
