//! Packet data contexts, `+CGDCONT?`, `+CGACT?`, `+CGPADDR` and `+CGCONTRDP`: 27.007 §10.1.1, §10.1.10, §10.1.14
//! and §10.1.23. Of several contexts the readable ones are kept.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;
use zeroize::Zeroizing;

use super::args::name;
use super::{Args, ReplyError, own_rows, parse_uint};

/// The largest context number that a reply may name; SIMCom's go up to 179.
const MAX_CID: u32 = 255;

/// The payload of a context.
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
    /// Returns the word that commands and replies use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4 => "IP",
            Self::Ipv6 => "IPV6",
            Self::Ipv4v6 => "IPV4V6",
            Self::Ppp => "PPP",
            Self::NonIp => "Non-IP",
        }
    }

    /// Returns the type for such a word, in any case; `None` for types that no modem of today has.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Ipv4, Self::Ipv6, Self::Ipv4v6, Self::Ppp, Self::NonIp]
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(word))
    }
}

/// Returns the type of a definition; some firmware has words of its own.
fn pdp_type(word: &str) -> Option<PdpType> {
    match word.to_ascii_uppercase().as_str() {
        "IPV4" => Some(PdpType::Ipv4),
        "NONIP" | "NON IP" => Some(PdpType::NonIp),
        _ => PdpType::from_word(word),
    }
}

/// One context definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Context {
    /// Its number.
    pub cid: u32,
    /// Its payload; `None` for an unknown type.
    pub pdp_type: Option<PdpType>,
    /// Its access point name; `None` if it is empty.
    pub apn: Option<String>,
}

/// Reads the lines `+CGDCONT: <cid>,<type>,<apn>,…`; no line at all is an empty list.
///
/// # Errors
/// [`ReplyError`] if no line has a readable context number, or only foreign text came.
pub fn contexts<L: AsRef<str>>(lines: &[L]) -> Result<Vec<Context>, ReplyError> {
    list("AT+CGDCONT?", "+CGDCONT", lines, |args| {
        Ok(Context {
            cid: args.uint(0, "cid", MAX_CID)?,
            pdp_type: args.text(1).and_then(pdp_type),
            apn: args.text(2).map(name),
        })
    })
}

/// The login of one context, as far as the modem shows it. No `Debug`: it may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct ContextLogin {
    /// Its number.
    pub cid: u32,
    /// Its protocol: 0 none, 1 PAP, 2 CHAP; some modems have more.
    pub protocol: u8,
    /// User and password in the modem's order, as far as they are shown.
    pub texts: Vec<Zeroizing<String>>,
}

/// Reads the lines `+CGAUTH: <cid>,<protocol>[,<text>[,<text>]]` (27.007 §10.1.31); no line at all
/// is an empty list.
///
/// # Errors
/// [`ReplyError`] if a line's numbers are unreadable, or only foreign text came.
pub fn context_logins<L: AsRef<str>>(lines: &[L]) -> Result<Vec<ContextLogin>, ReplyError> {
    list("AT+CGAUTH?", "+CGAUTH", lines, |args| {
        let protocol = args.uint(1, "auth_prot", 255)?;
        let texts = (2..args.len()).filter_map(|index| args.text(index));
        Ok(ContextLogin {
            cid: args.uint(0, "cid", MAX_CID)?,
            protocol: u8::try_from(protocol).unwrap_or(u8::MAX),
            texts: texts.map(|text| Zeroizing::new(text.to_owned())).collect(),
        })
    })
}

/// The activation of one context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Activation {
    /// Its number.
    pub cid: u32,
    /// True if it is active.
    pub active: bool,
}

/// Reads the lines `+CGACT: <cid>,<state>`; no line at all is an empty list.
///
/// # Errors
/// [`ReplyError`] if no line is readable, or only foreign text came.
pub fn contexts_active<L: AsRef<str>>(lines: &[L]) -> Result<Vec<Activation>, ReplyError> {
    list("AT+CGACT?", "+CGACT", lines, |args| {
        let cid = args.uint(0, "cid", MAX_CID)?;
        Ok(Activation { cid, active: args.uint(1, "state", 1)? == 1 })
    })
}

/// The addresses of one context; an all-zero address counts as none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PdpAddress {
    /// Its number.
    pub cid: u32,
    /// The first address that is set.
    pub address: Option<IpAddr>,
    /// The second address of a context with two families.
    pub address_2: Option<IpAddr>,
}

/// Reads the lines `+CGPADDR: <cid>[,<address>[,<address>]]`, quoted or not.
///
/// # Errors
/// [`ReplyError`] if no line has a readable number, or only foreign text came.
pub fn context_addresses<L: AsRef<str>>(lines: &[L]) -> Result<Vec<PdpAddress>, ReplyError> {
    list("AT+CGPADDR", "+CGPADDR", lines, |args| {
        let cid = args.uint(0, "cid", MAX_CID)?;
        // EC200U and RM500U put both between one pair of quotes.
        let texts = (1..args.len().min(3)).filter_map(|at| args.text(at));
        let mut set = texts.flat_map(|text| text.split(',')).filter_map(address);
        Ok(PdpAddress { cid, address: set.next(), address_2: set.next() })
    })
}

/// Parameters that the network gave a context.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Dynamic {
    /// Its number.
    pub cid: u32,
    /// The bearer's number in the network.
    pub bearer_id: Option<u32>,
    /// Its access point name, often followed by that of the network.
    pub apn: Option<String>,
    /// The modem's address.
    pub local_address: Option<IpAddr>,
    /// The modem's address of the other family, if one line has both.
    pub local_address_2: Option<IpAddr>,
    /// The local network's mask.
    pub subnet: Option<IpAddr>,
    /// The gateway.
    pub gateway_address: Option<IpAddr>,
    /// The first name server.
    pub dns_primary_address: Option<IpAddr>,
    /// The second name server.
    pub dns_secondary_address: Option<IpAddr>,
}

/// Reads the lines `+CGCONTRDP: <cid>,<bearer>,<apn>,<address and mask>,<gateway>,<dns>,<dns>`.
/// Before release 10 the mask was an argument of its own, and Quectel's 5G modules put the address
/// of the other family there.
///
/// # Errors
/// [`ReplyError`] if no line has a readable number, or only foreign text came.
pub fn contexts_dynamic<L: AsRef<str>>(lines: &[L]) -> Result<Vec<Dynamic>, ReplyError> {
    list("AT+CGCONTRDP", "+CGCONTRDP", lines, |args| {
        let mut context = Dynamic {
            cid: args.uint(0, "cid", MAX_CID)?,
            bearer_id: args.uint(1, "bearer_id", 255).ok(),
            apn: args.text(2).map(name),
            ..Dynamic::default()
        };
        let (local, mask) = args.text(3).map_or((None, None), address_and_mask);
        (context.local_address, context.subnet) = (local, mask);
        let mut next = 4;
        if let Some(second) = args.text(4).and_then(parse_address) {
            let of_other_family = local.is_some_and(|own| own.is_ipv4() != second.is_ipv4());
            if of_other_family {
                context.local_address_2 = Some(second);
                next = 5;
            } else if mask.is_none() && is_mask(second) {
                context.subnet = Some(second);
                next = 5;
            }
        }
        let given = |at| args.text(at).and_then(address);
        context.gateway_address = given(next);
        context.dns_primary_address = given(next + 1);
        context.dns_secondary_address = given(next + 2);
        Ok(context)
    })
}

/// Reports whether an address is a mask: ones, then zeros. A gateway of IPv4 never begins with all
/// ones.
fn is_mask(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let bits = u32::from(address);
            bits.leading_ones() >= 8 && bits.leading_ones() + bits.trailing_zeros() == 32
        }
        IpAddr::V6(address) => {
            let bits = u128::from(address);
            bits.leading_ones() >= 16 && bits.leading_ones() + bits.trailing_zeros() == 128
        }
    }
}

/// Parses an address; all zeros count as none.
fn address(text: &str) -> Option<IpAddr> {
    address_and_mask(text).0
}

/// Parses an address, and the mask behind it that newer firmware writes together with it.
fn address_and_mask(text: &str) -> (Option<IpAddr>, Option<IpAddr>) {
    let text = text.trim();
    let set = |address: IpAddr| Some(address).filter(|address| !address.is_unspecified());
    if let Some(address) = parse_address(text) {
        return (set(address), None);
    }
    // `10.1.2.3/30`: the length of the network's part.
    if let Some((text, _)) = text.split_once('/') {
        return (parse_address(text).and_then(set), None);
    }
    // As many octets of mask as of address, all joined by dots.
    let dots: Vec<_> = text.match_indices('.').map(|(at, _)| at).take(32).collect();
    let middle = dots.get(dots.len() / 2).and_then(|at| text.split_at_checked(*at));
    let Some((own, mask)) = middle.filter(|_| [7, 31].contains(&dots.len())) else {
        return (None, None);
    };
    let mask = parse_address(mask.trim_start_matches('.')).filter(|mask| is_mask(*mask));
    (parse_address(own).and_then(set), mask)
}

/// Parses an address in the usual notations, or IPv6 as sixteen decimals with dots (27.007
/// §10.1.0).
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

/// Reads all rows of a list answer. An empty answer is an empty list. An answer with only foreign
/// lines belongs to another command.
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
    let mut found = Vec::new();
    let mut refused = None;
    for args in rows.iter().filter(|args| !args.is_empty()) {
        match row(args) {
            Ok(one) => found.push(one),
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}
