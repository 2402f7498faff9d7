//! `+CREG`, `+CGREG`, `+CEREG` and `+C5GREG`: 27.007 §7.2, §10.1.20, §10.1.22 and §10.1.47.

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::signal::Act;
use super::{Args, Excerpt, ReplyError, parse_hex, parse_uint};

/// The largest `<n>` of any of the four commands.
const MAX_N: u64 = 6;

/// 23.003 §19.4.2.3 and §28.6: a tracking area of 5G has 24 bits, older areas have 16.
const AREA_BITS: u32 = 24;

/// 38.413 §9.3.1.7: an NR cell has 36 bits, older cells have 28 at most. The line may leave out the
/// radio, so it need not show the kind of cell.
const CELL_BITS: u32 = 36;

/// An unsigned -1 of 32 and of 28 bits, which modems send for "no cell".
const NO_CELL: [u64; 2] = [0xFFFF_FFFF, 0xFFF_FFFF];

/// Numbers of an unknown area (23.003 §4.1, §19.4.2.3 and §28.6), and an unsigned -1, which modems
/// send.
const NO_AREA: [u64; 5] = [0, 0xFFFE, 0xFFFF, 0xFF_FFFE, 0xFF_FFFF];

/// Returns false for the numbers of an unknown area.
pub fn is_area(number: u64) -> bool {
    !NO_AREA.contains(&number)
}

/// Returns false for the numbers of an unknown cell.
pub fn is_cell(number: u64) -> bool {
    !NO_CELL.contains(&number)
}

/// The domain of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Domain {
    /// Circuit switched, `+CREG`.
    #[serde(rename = "+CREG")]
    Cs,
    /// Packet switched in GSM and UMTS, `+CGREG`.
    #[serde(rename = "+CGREG")]
    Ps,
    /// LTE, `+CEREG`.
    #[serde(rename = "+CEREG")]
    Eps,
    /// 5G core, `+C5GREG`.
    #[serde(rename = "+C5GREG")]
    FiveGs,
}

impl Domain {
    /// All four, in the order of their age.
    pub const ALL: [Self; 4] = [Self::Cs, Self::Ps, Self::Eps, Self::FiveGs];

    /// Returns the beginning of its lines, without the colon.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Cs => "+CREG",
            Self::Ps => "+CGREG",
            Self::Eps => "+CEREG",
            Self::FiveGs => "+C5GREG",
        }
    }

    /// Reports whether a modem that is registered there may send data. The circuit-switched domain
    /// only has speech: a SIM without a data plan is registered there too.
    pub const fn carries_data(self) -> bool {
        !matches!(self, Self::Cs)
    }

    /// Returns the query.
    pub const fn query(self) -> &'static str {
        match self {
            Self::Cs => "AT+CREG?",
            Self::Ps => "AT+CGREG?",
            Self::Eps => "AT+CEREG?",
            Self::FiveGs => "AT+C5GREG?",
        }
    }
}

/// The registration's state (27.007 §7.2, `stat`). Serializes as `stat` and `state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stat {
    /// 0: idle, not looking for a network.
    NotRegistered,
    /// 1: at home.
    Home,
    /// 2: looking for a network.
    Searching,
    /// 3: refused by the network.
    Denied,
    /// 4: for example out of coverage.
    Unknown,
    /// 5: in a foreign network.
    Roaming,
    /// 6: at home, short messages only.
    HomeSmsOnly,
    /// 7: roaming, short messages only.
    RoamingSmsOnly,
    /// 8: emergency services only.
    Emergency,
    /// 9: at home, circuit-switched fall-back not preferred.
    HomeCsfbNotPreferred,
    /// 10: roaming, circuit-switched fall-back not preferred.
    RoamingCsfbNotPreferred,
    /// 11: attached for access to restricted local operator services.
    AttachedRlos,
}

impl Stat {
    const ALL: [Self; 12] = [
        Self::NotRegistered,
        Self::Home,
        Self::Searching,
        Self::Denied,
        Self::Unknown,
        Self::Roaming,
        Self::HomeSmsOnly,
        Self::RoamingSmsOnly,
        Self::Emergency,
        Self::HomeCsfbNotPreferred,
        Self::RoamingCsfbNotPreferred,
        Self::AttachedRlos,
    ];

    /// Returns the state for a code, 0 to 11.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }

    /// Returns the code.
    pub fn code(self) -> u8 {
        (0..).zip(Self::ALL).find(|(_, stat)| *stat == self).map_or(4, |(code, _)| code)
    }

    /// Returns the state's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotRegistered => "not_registered",
            Self::Home => "home",
            Self::Searching => "searching",
            Self::Denied => "denied",
            Self::Unknown => "unknown",
            Self::Roaming => "roaming",
            Self::HomeSmsOnly => "home_sms_only",
            Self::RoamingSmsOnly => "roaming_sms_only",
            Self::Emergency => "emergency",
            Self::HomeCsfbNotPreferred => "home_csfb_not_preferred",
            Self::RoamingCsfbNotPreferred => "roaming_csfb_not_preferred",
            Self::AttachedRlos => "attached_rlos",
        }
    }

    /// Returns the end of a sentence about a modem that has no data.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::NotRegistered => "not registered in a network, and not searching for one",
            Self::Home | Self::HomeCsfbNotPreferred => "registered at home",
            Self::Searching => "not registered in a network: searching",
            Self::Denied => "the network denies data to this SIM or this modem",
            Self::Unknown => "not registered in a network: out of coverage",
            Self::Roaming | Self::RoamingCsfbNotPreferred => "registered in a foreign network",
            Self::HomeSmsOnly | Self::RoamingSmsOnly => "registered for short messages only",
            Self::Emergency => "registered for emergency calls only",
            Self::AttachedRlos => "registered for local services of the operator only",
        }
    }

    /// Returns how informative the state is for a modem that has no data in two domains: the
    /// greater state counts. A refusal is the network's own answer, and explains the search in the
    /// other domain, so it comes before the search.
    pub const fn weight(self) -> u8 {
        match self {
            Self::NotRegistered => 0,
            Self::Unknown => 1,
            Self::Searching => 2,
            Self::HomeSmsOnly | Self::RoamingSmsOnly | Self::Emergency | Self::AttachedRlos => 3,
            Self::Denied => 4,
            _ => 5,
        }
    }

    /// Reports whether data can flow: at home or roaming, with or without preference for voice
    /// fall-back.
    pub const fn is_registered(self) -> bool {
        matches!(self, Self::Home | Self::HomeCsfbNotPreferred) || self.is_roaming_for_data()
    }

    /// Reports whether it is registered in a foreign network, to any degree.
    pub const fn is_roaming(self) -> bool {
        self.is_roaming_for_data() || matches!(self, Self::RoamingSmsOnly)
    }

    const fn is_roaming_for_data(self) -> bool {
        matches!(self, Self::Roaming | Self::RoamingCsfbNotPreferred)
    }
}

impl Serialize for Stat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("stat", &self.code())?;
        map.serialize_entry("state", self.as_str())?;
        map.end()
    }
}

/// A registration as one line reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Registration {
    /// Its domain.
    pub domain: Domain,
    /// Its state.
    #[serde(flatten)]
    pub stat: Stat,
    /// Location area (CS), routing area's location part (PS) or tracking area (EPS, 5GS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lac_or_tac: Option<u32>,
    /// Cell identity: 16 to 28 bits, 36 in 5G.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci: Option<u64>,
    /// Access technology.
    #[serde(flatten)]
    pub act: Option<Act>,
    /// The area as sent, if it is not a hexadecimal number or is unknown; cut to 40 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lac_raw: Option<String>,
    /// The cell as sent, if it or the area is not such a number; cut to 40 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci_raw: Option<String>,
    /// True if the modem is registered for speech but not for data. One line alone does not show
    /// that.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub voice_only: bool,
}

impl Registration {
    /// Returns the reason why there is no data.
    pub fn in_words(&self) -> String {
        let voice = if self.voice_only { "; it is registered for voice only" } else { "" };
        format!("{} ({}){voice}", self.stat.in_words(), self.stat.as_str())
    }
}

/// Reads the answer to a query, `+CREG: <n>,<stat>[,…]`, from the lines of the reply. An
/// unsolicited line among them is skipped.
///
/// # Errors
/// [`ReplyError`] if no line is such an answer or its state is unknown.
pub fn solicited<L: AsRef<str>>(domain: Domain, lines: &[L]) -> Result<Registration, ReplyError> {
    let line = lines
        .iter()
        .map(AsRef::as_ref)
        .find(|line| Args::of_line(domain.query(), domain.prefix(), line).is_some_and(has_n))
        .ok_or(ReplyError::Missing { command: domain.query(), wanted: "line with <n>,<stat>" })?;
    parse(domain, line, 1)
}

/// Reads an unsolicited line, `+CREG: <stat>[,…]`. Some modems send `<n>` all the same; such a line
/// is read with it.
///
/// # Errors
/// [`ReplyError`] if the line is not of this domain or its state is unknown.
pub fn unsolicited(domain: Domain, line: &str) -> Result<Registration, ReplyError> {
    parse(domain, line, usize::from(is_solicited(line)))
}

/// Reports whether a registration line has the form of an answer to a query, not of a URC. `+CREG:
/// 2,1` is an answer, since a URC with a second argument has a third. A bare second argument of one
/// or two digits is a state, since areas are quoted or of four digits. It is ambiguous only for
/// modems that print an area below 0x12 without leading zeros.
pub fn is_solicited(line: &str) -> bool {
    Domain::ALL
        .into_iter()
        .find_map(|domain| Args::of_line(domain.query(), domain.prefix(), line))
        .is_some_and(has_n)
}

fn has_n(args: Args<'_>) -> bool {
    let Some(second) = args.arg(1).filter(|arg| !arg.quoted) else { return false };
    let first = args.text(0).and_then(parse_uint);
    let state = parse_uint(second.text).filter(|stat| *stat <= 11);
    if state.is_none() || first.is_none_or(|n| n > MAX_N) {
        return false;
    }
    // `002,0011,"0f0d"`: a padded state shows by the quoted area behind it. Without quotes four
    // digits are an area: `1,0001,0010`.
    let area_follows = args.arg(2).is_some_and(|arg| arg.quoted);
    second.text.len() <= 3 || area_follows || args.len() == 2
}

fn parse(domain: Domain, line: &str, at: usize) -> Result<Registration, ReplyError> {
    let args = Args::of_line(domain.query(), domain.prefix(), line)
        .ok_or(ReplyError::Missing { command: domain.query(), wanted: "registration line" })?;
    let stat = args.uint(at, "stat", 11)?;
    let stat = Stat::from_code(stat).ok_or_else(|| args.refuse(at, "stat", "0 to 11"))?;
    let cell = at + 2 + usize::from(has_rac_before_cell(domain, &args, at));
    let (lac_or_tac, lac_raw) = hex_or_raw(args.text(at + 1), AREA_BITS, is_area);
    let (ci, unreadable_ci) = hex_or_raw(args.text(cell), CELL_BITS, is_cell);
    // Next to an area that is not a number, a cell that looks like one is kept as sent, too.
    let ci_raw = unreadable_ci.or_else(|| lac_raw.as_ref().and(args.text(cell)).map(cut));
    let act = args.text(cell + 1).and_then(parse_uint).and_then(|code| u32::try_from(code).ok());
    Ok(Registration {
        domain,
        stat,
        lac_or_tac: lac_or_tac.and_then(|area| u32::try_from(area).ok()),
        ci,
        act: act.and_then(Act::from_code),
        lac_raw,
        ci_raw,
        voice_only: false,
    })
}

/// Reports whether a routing area code (two digits) stands between the tracking area and the cell,
/// as in early LTE modems. Then the place of the access technology has more than two digits.
fn has_rac_before_cell(domain: Domain, args: &Args<'_>, at: usize) -> bool {
    let len = |index| args.text(index).map_or(0, str::len);
    domain == Domain::Eps && len(at + 2) <= 2 && len(at + 3) > 2
}

/// Returns a known number of at most `bits` bits, else the text as sent: the state must survive an
/// unreadable area.
fn hex_or_raw(
    text: Option<&str>,
    bits: u32,
    is_known: fn(u64) -> bool,
) -> (Option<u64>, Option<String>) {
    let Some(text) = text else { return (None, None) };
    match parse_hex(text).filter(|number| *number < 1 << bits && is_known(*number)) {
        Some(number) => (Some(number), None),
        None => (None, Some(cut(text))),
    }
}

fn cut(text: &str) -> String {
    Excerpt::new(text).as_str().to_owned()
}
