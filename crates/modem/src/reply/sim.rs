//! The SIM: `+CPIN?` (27.007 §8.3), `+CIMI` (§5.6) and the card number (ITU-T E.118, TS 31.102 §4.2.1).

use serde::Serialize;

use super::args::after_prefix;
use super::{CmeError, Excerpt, ReplyError, own_rows};

/// The code that the SIM waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lock {
    /// Nothing: it is ready.
    None,
    /// The user's PIN.
    SimPin,
    /// The PUK: the PIN was wrong too often. Never to be tried by a machine.
    SimPuk,
    /// The second PIN.
    SimPin2,
    /// The second PUK.
    SimPuk2,
    /// The lock of this modem to one SIM.
    PhSimPin,
    /// The lock to the first SIM.
    PhFsimPin,
    /// The unblocking key of that lock.
    PhFsimPuk,
    /// The lock to a network.
    PhNetPin,
    /// The unblocking key of that lock.
    PhNetPuk,
    /// The lock to a part of a network.
    PhNetsubPin,
    /// The unblocking key of that lock.
    PhNetsubPuk,
    /// The lock to a service provider.
    PhSpPin,
    /// The unblocking key of that lock.
    PhSpPuk,
    /// The lock to a company.
    PhCorpPin,
    /// The unblocking key of that lock.
    PhCorpPuk,
    /// Not reported: no SIM, a SIM that is starting, a fault.
    Unknown,
}

/// The answer to `AT+CPIN?`, which may be an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pin {
    /// The code that the SIM waits for.
    pub lock: Lock,
    /// True if it is ready; absent if the modem answered with an error.
    pub ready: Option<bool>,
    /// `cme` if the modem answered with an error.
    pub error: Option<&'static str>,
    /// The error's code, even if the modem sent text.
    pub code: Option<u16>,
    /// The error's text: as sent, or the meaning of the code.
    pub text: Option<String>,
    /// False if the error means that there is no SIM; true if it means that there is one.
    pub sim_present: Option<bool>,
}

/// Reads `+CPIN: <code>`, also without the prefix.
///
/// # Errors
/// [`ReplyError`] if there is no such line, or its code is unknown.
pub fn pin<L: AsRef<str>>(lines: &[L]) -> Result<Pin, ReplyError> {
    let command = "AT+CPIN?";
    // Of two lines the later one is the newer state: a `+CPIN: READY` may come during the query.
    let prefixed = lines.iter().rev().find_map(|line| after_prefix("+CPIN", line.as_ref()));
    let text = match prefixed {
        Some(text) => text,
        None => lines
            .iter()
            .map(|line| line.as_ref().trim())
            .find(|line| Lock::from_code(line).is_some())
            .ok_or(ReplyError::Missing { command, wanted: "+CPIN: line" })?,
    };
    let lock = Lock::from_code(text).ok_or_else(|| ReplyError::Argument {
        command,
        argument: "code",
        expected: "READY or the name of a lock",
        got: Excerpt::new(text),
    })?;
    let ready = Some(lock == Lock::None);
    let gone = ["SIM REMOVED", "NOT INSERTED", "SIM NOT INSERTED"]
        .iter()
        .any(|word| text.trim_matches('"').eq_ignore_ascii_case(word));
    let sim_present = gone.then_some(false);
    Ok(Pin { lock, ready, error: None, code: None, text: None, sim_present })
}

/// Returns the state of the SIM for a `+CME ERROR` in answer to `AT+CPIN?`.
pub fn pin_refused(error: &CmeError) -> Pin {
    let sim_present = match error.code {
        Some(10) => Some(false),
        // Locked, wrong or busy, but there.
        Some(5..=7 | 11 | 12 | 14 | 15 | 17 | 18 | 40..=47) => Some(true),
        _ => None,
    };
    let lock = match error.code {
        Some(11) => Lock::SimPin,
        Some(12) => Lock::SimPuk,
        Some(17) => Lock::SimPin2,
        Some(18) => Lock::SimPuk2,
        Some(5) => Lock::PhSimPin,
        Some(6) => Lock::PhFsimPin,
        Some(7) => Lock::PhFsimPuk,
        Some(40) => Lock::PhNetPin,
        Some(41) => Lock::PhNetPuk,
        Some(42) => Lock::PhNetsubPin,
        Some(43) => Lock::PhNetsubPuk,
        Some(44) => Lock::PhSpPin,
        Some(45) => Lock::PhSpPuk,
        Some(46) => Lock::PhCorpPin,
        Some(47) => Lock::PhCorpPuk,
        _ => Lock::Unknown,
    };
    Pin {
        lock,
        ready: None,
        error: Some("cme"),
        code: error.code,
        text: Some(error.text.clone()).filter(|text| !text.is_empty()),
        sim_present,
    }
}

/// The tries left for a card's secrets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PinTries {
    /// The PIN: 3 on a card that never had a wrong try; at 0 it waits for its PUK.
    pub pin: Option<u32>,
    /// The PUK: 10 at first; at 0 the card is lost.
    pub puk: Option<u32>,
}

/// Reads the lines `+CPINR: <code>,<retries>[,<default>]` (27.007 §8.65).
///
/// # Errors
/// [`ReplyError`] if no line is of the PIN or the PUK, or a number is unreadable.
pub fn pin_tries<L: AsRef<str>>(lines: &[L]) -> Result<PinTries, ReplyError> {
    let command = "AT+CPINR";
    let mut tries = PinTries::default();
    for args in own_rows(command, "+CPINR", lines) {
        let of = args.text(0).and_then(Lock::from_code);
        match of {
            Some(Lock::SimPin) => tries.pin = Some(args.uint(1, "retries", 99)?),
            Some(Lock::SimPuk) => tries.puk = Some(args.uint(1, "retries", 99)?),
            _ => {}
        }
    }
    if tries == PinTries::default() {
        return Err(ReplyError::Missing { command, wanted: "+CPINR: line of the PIN" });
    }
    Ok(tries)
}

impl Lock {
    /// Reports whether a modem with this lock has data. The second PIN and its PUK guard fixed
    /// dialling and similar functions (27.007 §8.3, TS 22.101 §A.22): networks do not ask for them.
    pub const fn lets_data_through(self) -> bool {
        matches!(self, Self::None | Self::SimPin2 | Self::SimPuk2)
    }

    /// Returns the binding of a lock that personalises a modem (TS 22.022); `None` for all others.
    pub const fn bond(self) -> Option<&'static str> {
        Some(match self {
            Self::PhSimPin => "the modem is locked to another SIM (PH-SIM PIN)",
            Self::PhFsimPin => {
                "the modem is locked to the first SIM that was inserted (PH-FSIM PIN)"
            }
            Self::PhFsimPuk => {
                "the modem is locked to the first SIM that was inserted, and after wrong codes needs its unblocking key (PH-FSIM PUK)"
            }
            Self::PhNetPin => "the modem is locked to another operator's SIMs (PH-NET PIN)",
            Self::PhNetPuk => {
                "the modem is locked to another operator's SIMs, and after wrong codes needs its unblocking key (PH-NET PUK)"
            }
            Self::PhNetsubPin => {
                "the modem is locked to SIMs of a part of a network (PH-NETSUB PIN)"
            }
            Self::PhNetsubPuk => {
                "the modem is locked to SIMs of a part of a network, and after wrong codes needs its unblocking key (PH-NETSUB PUK)"
            }
            Self::PhSpPin => "the modem is locked to another provider's SIMs (PH-SP PIN)",
            Self::PhSpPuk => {
                "the modem is locked to another provider's SIMs, and after wrong codes needs its unblocking key (PH-SP PUK)"
            }
            Self::PhCorpPin => "the modem is locked to one company's SIMs (PH-CORP PIN)",
            Self::PhCorpPuk => {
                "the modem is locked to one company's SIMs, and after wrong codes needs its unblocking key (PH-CORP PUK)"
            }
            _ => return None,
        })
    }

    fn from_code(code: &str) -> Option<Self> {
        // SIM800 and related models write `PH_SIM PIN`.
        let code = code.trim().trim_matches('"').to_ascii_uppercase().replace('_', "-");
        Some(match code.as_str() {
            "READY" => Self::None,
            "SIM PIN" => Self::SimPin,
            "SIM PUK" => Self::SimPuk,
            "SIM PIN2" => Self::SimPin2,
            "SIM PUK2" => Self::SimPuk2,
            "PH-SIM PIN" => Self::PhSimPin,
            "PH-FSIM PIN" => Self::PhFsimPin,
            "PH-FSIM PUK" => Self::PhFsimPuk,
            "PH-NET PIN" => Self::PhNetPin,
            "PH-NET PUK" => Self::PhNetPuk,
            "PH-NETSUB PIN" => Self::PhNetsubPin,
            "PH-NETSUB PUK" => Self::PhNetsubPuk,
            "PH-SP PIN" => Self::PhSpPin,
            "PH-SP PUK" => Self::PhSpPuk,
            "PH-CORP PIN" => Self::PhCorpPin,
            "PH-CORP PUK" => Self::PhCorpPuk,
            // SIMCom's words for a card that is gone, starting, or does not answer.
            "NOT READY" | "NOT INSERTED" | "SIM NOT INSERTED" | "SIM REMOVED" | "SIM DROP"
            | "SIM BUSY" | "SIM FAILURE" | "SIM FAIL" | "SIM CRASH" => Self::Unknown,
            _ => return None,
        })
    }
}

/// Reads the answer to `AT+CIMI`: up to 15 digits (23.003 §2.2).
///
/// # Errors
/// [`ReplyError`] if there is no such line.
pub fn imsi<L: AsRef<str>>(lines: &[L]) -> Result<String, ReplyError> {
    let digits = |line: &L| {
        let line = line.as_ref().trim();
        let text = after_prefix("+CIMI", line).unwrap_or(line).trim_matches('"').to_owned();
        let fits = (6..=15).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        fits.then_some(text)
    };
    lines
        .iter()
        .find_map(digits)
        .ok_or(ReplyError::Missing { command: "AT+CIMI", wanted: "line of 6 to 15 digits" })
}

/// Reads the card number behind any of `prefixes` (vendors differ: `+ICCID`, `+CCID`, `+CICCID` …),
/// or from a bare line.
///
/// # Errors
/// [`ReplyError`] if there is no such line, or it is not a card number.
pub fn iccid<L: AsRef<str>>(
    command: &'static str,
    prefixes: &[&str],
    lines: &[L],
) -> Result<String, ReplyError> {
    let rows: Vec<_> =
        prefixes.iter().flat_map(|prefix| own_rows(command, prefix, lines)).collect();
    let text = match rows.first() {
        Some(args) => args.text(0).unwrap_or_default(),
        None => lines
            .iter()
            .map(|line| line.as_ref().trim().trim_matches('"'))
            .find(|line| line.len() >= 15 && line.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .ok_or(ReplyError::Missing { command, wanted: "card number" })?,
    };
    iccid_digits(text).ok_or_else(|| ReplyError::Argument {
        command,
        argument: "iccid",
        expected: "19 or 20 digits that begin with 89",
        got: Excerpt::new(text),
    })
}

/// Returns a card number in its printed order. The text may be quoted, padded with `F`, or have its
/// half-bytes swapped as in the file on the card. Some cards have a hexadecimal letter inside; it
/// stays. `None` unless it begins with 89, the industry's number (E.118 §3.1).
pub fn iccid_digits(text: &str) -> Option<String> {
    let text = text.trim().trim_matches('"').to_ascii_uppercase();
    let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hex || !(18..=20).contains(&text.len()) {
        return None;
    }
    // Swapped only if the printed order does not fit: a number may begin 89 and hold 98 too.
    let printed = if text.starts_with("89") { text } else { swap_pairs(&text) };
    let printed = printed.trim_end_matches('F');
    let fits = printed.starts_with("89") && (18..=20).contains(&printed.len());
    fits.then(|| printed.to_owned())
}

fn swap_pairs(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    bytes.chunks(2).flat_map(|pair| pair.iter().rev()).collect()
}
