//! Packet data contexts, `+CGDCONT?`, `+CGACT?` and `+CGPADDR`: 27.007 §10.1.1, §10.1.10, §10.1.14.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use super::args::name;
use super::{Args, ReplyError, own_rows, parse_uint};

/// The largest context number that a reply may name; SIMCom's go up to 179.
const MAX_CID: u32 = 255;

/// What a context carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PdpType {
    /// IPv4 only.
    #[default]
    Ipv4,
    /// IPv6 only.
    Ipv6,
    /// Both.
    Ipv4v6,
    /// Point-to-point protocol.
    Ppp,
    /// Data without an address, in LTE and NR.
    #[serde(rename = "non-ip")]
    NonIp,
}

impl PdpType {
    /// The word that commands and replies use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4 => "IP",
            Self::Ipv6 => "IPV6",
            Self::Ipv4v6 => "IPV4V6",
            Self::Ppp => "PPP",
            Self::NonIp => "Non-IP",
        }
    }

    /// The type for such a word, in whatever case; `None` for types that no modem of today has.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Ipv4, Self::Ipv6, Self::Ipv4v6, Self::Ppp, Self::NonIp]
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(word))
    }
}

/// One context definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Context {
    /// Its number.
    pub cid: u32,
    /// What it carries; `None` for a type that is not known here.
    pub pdp_type: Option<PdpType>,
    /// Its access point name; `None` where it is empty.
    pub apn: Option<String>,
}

/// Reads the lines `+CGDCONT: <cid>,<type>,<apn>,…`; no line at all is an empty list.
///
/// # Errors
/// [`ReplyError`] where a line's context number is unreadable, or nothing but foreign text came.
pub fn contexts<L: AsRef<str>>(lines: &[L]) -> Result<Vec<Context>, ReplyError> {
    list("AT+CGDCONT?", "+CGDCONT", lines, |args| {
        Ok(Context {
            cid: args.uint(0, "cid", MAX_CID)?,
            pdp_type: args.text(1).and_then(PdpType::from_word),
            apn: args.text(2).map(name),
        })
    })
}

/// Whether one context is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Activation {
    /// Its number.
    pub cid: u32,
    /// Whether it is active.
    pub active: bool,
}

/// Reads the lines `+CGACT: <cid>,<state>`; no line at all is an empty list.
///
/// # Errors
/// [`ReplyError`] where a line is unreadable, or nothing but foreign text came.
pub fn contexts_active<L: AsRef<str>>(lines: &[L]) -> Result<Vec<Activation>, ReplyError> {
    list("AT+CGACT?", "+CGACT", lines, |args| {
        let cid = args.uint(0, "cid", MAX_CID)?;
        Ok(Activation { cid, active: args.uint(1, "state", 1)? == 1 })
    })
}

/// The addresses of one context; an all-zero address is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PdpAddress {
    /// Its number.
    pub cid: u32,
    /// The first address that is set.
    pub address: Option<IpAddr>,
    /// The second one of a context with two families.
    pub address_2: Option<IpAddr>,
}

/// Reads the lines `+CGPADDR: <cid>[,<address>[,<address>]]`, quoted or not.
///
/// # Errors
/// [`ReplyError`] where a line's number or address is unreadable, or nothing but foreign text came.
pub fn context_addresses<L: AsRef<str>>(lines: &[L]) -> Result<Vec<PdpAddress>, ReplyError> {
    list("AT+CGPADDR", "+CGPADDR", lines, |args| {
        let cid = args.uint(0, "cid", MAX_CID)?;
        let mut set = Vec::new();
        for index in 1..args.len().min(3) {
            let Some(text) = args.text(index) else { continue };
            let address = parse_address(text)
                .ok_or_else(|| args.refuse(index, "PDP_addr", "an IP address"))?;
            set.extend(Some(address).filter(|address| !address.is_unspecified()));
        }
        Ok(PdpAddress { cid, address: set.first().copied(), address_2: set.get(1).copied() })
    })
}

/// An address in the usual notations, or IPv6 as sixteen decimals with dots (27.007 §10.1.0).
fn parse_address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let octets = text
        .split('.')
        .take(17)
        .map(|part| parse_uint(part).and_then(|octet| u8::try_from(octet).ok()))
        .collect::<Option<Vec<u8>>>()?;
    if let Ok(octets) = <[u8; 4]>::try_from(octets.as_slice()) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(octets).ok().map(|octets| Ipv6Addr::from(octets).into())
}

/// All rows of a list answer. An empty answer is a list with nothing in it, but an answer of only
/// other lines is none: it is somebody else's.
fn list<L: AsRef<str>, T>(
    command: &'static str,
    prefix: &'static str,
    lines: &[L],
    row: impl Fn(&Args<'_>) -> Result<T, ReplyError>,
) -> Result<Vec<T>, ReplyError> {
    let rows = own_rows(command, prefix, lines);
    if rows.is_empty() && !lines.is_empty() {
        return Err(ReplyError::Missing { command, wanted: "line of its own" });
    }
    // A bare `+CGDCONT:` stands for "none defined".
    rows.iter().filter(|args| !args.is_empty()).map(row).collect()
}
