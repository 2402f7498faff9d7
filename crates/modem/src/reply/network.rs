//! `+COPS?`, the operator that is selected: 27.007 §7.3.

use serde::Serialize;

use super::args::name;
use super::signal::Act;
use super::{ReplyError, own_rows, parse_uint};

/// The answer to `AT+COPS?`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Operator {
    /// How it was chosen: 0 automatic, 1 manual, 2 deregistered, 3 format only, 4 manual, else automatic.
    pub mode: u32,
    /// What `operator` is: 0 long name, 1 short name, 2 the digits of country and network.
    pub format: Option<u32>,
    /// The operator's name or digits as sent.
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
/// [`ReplyError`] where there is no such line or its mode is no number up to 4.
pub fn operator<L: AsRef<str>>(lines: &[L]) -> Result<Operator, ReplyError> {
    let rows = own_rows("AT+COPS?", "+COPS", lines);
    let args =
        rows.last().ok_or(ReplyError::Missing { command: "AT+COPS?", wanted: "+COPS: line" })?;
    let mode = args.uint(0, "mode", 4)?;
    // Format 255 with an empty name is what some modems say for "none".
    let format = args.text(1).and_then(parse_uint).and_then(|format| u32::try_from(format).ok());
    let operator = args.text(2);
    let digits = operator.filter(|_| format == Some(2)).and_then(split_plmn);
    let act = args.text(3).and_then(parse_uint).and_then(|code| u32::try_from(code).ok());
    Ok(Operator {
        mode,
        format: format.filter(|format| *format <= 2),
        operator: operator.map(name),
        mcc: digits.map(|(mcc, _)| mcc.to_owned()),
        mnc: digits.map(|(_, mnc)| mnc.to_owned()),
        act: act.and_then(Act::from_code),
    })
}

/// Splits five or six digits into country and network; the network's leading zeros count.
fn split_plmn(text: &str) -> Option<(&str, &str)> {
    let fits = (5..=6).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if fits { text.split_at_checked(3) } else { None }
}
