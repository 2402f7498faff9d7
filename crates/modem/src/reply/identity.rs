//! The identity of the modem: `+CGMI`, `+CGMM`, `+CGMR`, `+CGSN` and their V.250 forms (27.007 §5.1
//! to §5.4).

use serde::{Serialize, Serializer};

use super::args::after_prefix;
use super::{Excerpt, ReplyError};

/// The longest identification text that is kept, in characters; V.250 §6.1.3 allows 2048.
const MAX_TEXT: usize = 256;

/// The model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Model {
    /// As sent, without the prefix: `SIMCOM_SIM7600G-H`.
    #[serde(rename = "model")]
    pub raw: String,
    /// Without quotes and manufacturer: `SIM7600G-H`. Model patterns are compared with this.
    pub normalised: String,
}

/// Reads the answer to `AT+CGMM`, with or without `+CGMM:`.
///
/// # Errors
/// [`ReplyError::Missing`] if there is no such line.
pub fn model<L: AsRef<str>>(lines: &[L]) -> Result<Model, ReplyError> {
    let raw = text_answer("AT+CGMM", &["+CGMM", "+GMM", "Model"], 1, lines)?;
    let bare = raw.trim_matches('"').trim();
    let maker = "SIMCOM_";
    let normalised = match bare.split_at_checked(maker.len()) {
        Some((head, model)) if head.eq_ignore_ascii_case(maker) => model,
        _ => bare,
    };
    Ok(Model { normalised: normalised.to_owned(), raw })
}

/// Reads the answer to `AT+CGMI`, with or without `+CGMI:`.
///
/// # Errors
/// [`ReplyError::Missing`] if there is no such line.
pub fn manufacturer<L: AsRef<str>>(lines: &[L]) -> Result<String, ReplyError> {
    text_answer("AT+CGMI", &["+CGMI", "+GMI", "Manufacturer"], 1, lines)
}

/// Reads the answer to `AT+CGMR`, with or without `+CGMR:` or `Revision:`. The lines of a longer
/// answer are joined with spaces.
///
/// # Errors
/// [`ReplyError::Missing`] if there is no such line.
pub fn revision<L: AsRef<str>>(lines: &[L]) -> Result<String, ReplyError> {
    text_answer("AT+CGMR", &["+CGMR", "+GMR", "Revision"], 8, lines)
}

/// Reads free text. A line with the command's own prefix is the answer. Without one, the answer is
/// the first `max_lines` lines that are not URCs.
fn text_answer<L: AsRef<str>>(
    command: &'static str,
    prefixes: &[&str],
    max_lines: usize,
    lines: &[L],
) -> Result<String, ReplyError> {
    let lines = || lines.iter().map(|line| line.as_ref().trim());
    let own = |line| prefixes.iter().find_map(|prefix| after_prefix(prefix, line));
    let text = match lines().find_map(own) {
        Some(text) => text.to_owned(),
        None => {
            let bare = lines().filter(|line| !line.is_empty() && !is_chatter(line));
            bare.take(max_lines).collect::<Vec<_>>().join(" ")
        }
    };
    let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect();
    if text.is_empty() {
        return Err(ReplyError::Missing { command, wanted: "text" });
    }
    Ok(text)
}

/// Reports whether modems send such a line by themselves; no identification looks like it.
fn is_chatter(line: &str) -> bool {
    let word_then_colon = |marks: &[char]| {
        line.strip_prefix(marks)
            .and_then(|rest| rest.split_once(':'))
            .is_some_and(|(word, _)| word.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    };
    word_then_colon(&['+', '*', '^', '$', '#', '%'])
        || line == "+CMQTTNONET"
        || ["RDY", "SMS DONE", "PB DONE", "Call Ready", "SMS Ready", "RING"].contains(&line)
}

/// An IMEI of 15 digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Imei {
    digits: String,
    luhn_ok: bool,
}

impl Imei {
    /// Reads the IMEI in `text`, which must be its 15 digits. A wrong check digit (23.003 annex B)
    /// is only noted: development boards and rebadged modems have one.
    pub fn new(text: &str) -> Option<Self> {
        let fits = text.len() == 15 && text.bytes().all(|byte| byte.is_ascii_digit());
        fits.then(|| Self { digits: text.to_owned(), luhn_ok: luhn_ok(text) })
    }

    /// Returns the digits.
    pub fn as_str(&self) -> &str {
        &self.digits
    }

    /// Reports whether the check digit is right.
    pub const fn luhn_ok(&self) -> bool {
        self.luhn_ok
    }
}

impl Serialize for Imei {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.digits)
    }
}

fn luhn_ok(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .map(|byte| u32::from(byte.saturating_sub(b'0')))
        .zip([1_u32, 2].into_iter().cycle())
        .map(|(digit, weight)| (digit * weight) / 10 + (digit * weight) % 10)
        .sum();
    sum.is_multiple_of(10)
}

/// The answer to `AT+CGSN`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Serial {
    /// The IMEI; absent if the modem has another serial number, such as a CDMA ESN.
    pub imei: Option<Imei>,
    /// The answer as sent, without the prefix.
    pub raw: String,
}

/// Reads the answer to `AT+CGSN`: an IMEI alone, quoted, with a prefix, or before a comma.
///
/// # Errors
/// [`ReplyError`] if there is no such line, or it is not a serial number at all.
pub fn serial<L: AsRef<str>>(lines: &[L]) -> Result<Serial, ReplyError> {
    let command = "AT+CGSN";
    // A line that is an IMEI is the answer, with any text around it.
    let imei_line =
        lines.iter().map(|line| line.as_ref().trim()).find(|line| Imei::new(line).is_some());
    let raw = match imei_line {
        Some(line) => line.to_owned(),
        None => text_answer(command, &["+CGSN", "+GSN", "IMEI"], 1, lines)?,
    };
    let first = raw.split(',').next().unwrap_or_default().trim().trim_matches('"');
    let imei = Imei::new(first);
    // A number of some kind: no spaces, and digits in it. A sentence or a stray word is neither.
    let number = first.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && (8..=20).contains(&first.len())
        && first.bytes().filter(u8::is_ascii_digit).count() >= 4;
    if imei.is_none() && !number {
        return Err(ReplyError::Argument {
            command,
            argument: "sn",
            expected: "an IMEI or another serial number",
            got: Excerpt::new(&raw),
        });
    }
    Ok(Serial { imei, raw })
}
