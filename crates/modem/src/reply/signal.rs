//! Radio access technologies and signal levels, with the ranges that a level can have.

use std::ops::RangeInclusive;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// The highest E-UTRA channel number (36.101 §5.7.3); firmware sends 4294967295 between two cells.
pub const MAX_EARFCN: u32 = 262_143;

/// The highest NR channel number (38.104 §5.4.2.1).
pub const MAX_NR_ARFCN: u32 = 3_279_165;

/// A radio access technology in the words of the metrics' label `rat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rat {
    /// GSM, GPRS, EDGE.
    Gsm,
    /// UMTS, HSPA, TD-SCDMA.
    Wcdma,
    /// E-UTRA.
    Lte,
    /// New Radio, standalone or beside LTE.
    Nr,
    /// Narrow-band IoT.
    NbIot,
    /// LTE category M.
    CatM,
}

impl Rat {
    /// All technologies.
    pub const ALL: [Self; 6] =
        [Self::Gsm, Self::Wcdma, Self::Lte, Self::Nr, Self::NbIot, Self::CatM];

    /// Returns the label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gsm => "gsm",
            Self::Wcdma => "wcdma",
            Self::Lte => "lte",
            Self::Nr => "nr",
            Self::NbIot => "nbiot",
            Self::CatM => "catm",
        }
    }
}

/// The access technology that `+COPS` and the registration replies report (27.007 §7.3, `AcT`).
///
/// Serializes as two keys: `act`, the technology, and `rat`, the metrics' word if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Act(u8);

impl Act {
    /// Returns the technology for a code; `None` for codes that the standard does not have.
    pub fn from_code(code: u32) -> Option<Self> {
        u8::try_from(code).ok().filter(|code| *code <= 13).map(Self)
    }

    /// Returns the code, 0 to 13.
    pub const fn code(self) -> u8 {
        self.0
    }

    /// Returns the technology's short name.
    pub const fn as_str(self) -> &'static str {
        match self.0 {
            0 => "gsm",
            1 => "gsm-compact",
            2 => "umts",
            3 => "edge",
            4 => "hsdpa",
            5 => "hsupa",
            6 => "hspa",
            7 => "lte",
            8 => "ec-gsm-iot",
            9 => "nb-iot",
            10 => "lte-5gcn",
            11 => "5gnr",
            12 => "ng-ran",
            _ => "en-dc",
        }
    }

    /// Returns the radio in the metrics' words. Code 8 has no radio: it is EC-GSM-IoT in the
    /// standard and CDMA/HDR in SIMCom's manuals.
    pub const fn rat(self) -> Option<Rat> {
        match self.0 {
            0 | 1 | 3 => Some(Rat::Gsm),
            2 | 4 | 5 | 6 => Some(Rat::Wcdma),
            7 | 10 | 13 => Some(Rat::Lte), // EN-DC: the anchor is what the modem is registered on.
            9 => Some(Rat::NbIot),
            11 | 12 => Some(Rat::Nr),
            _ => None,
        }
    }
}

impl Serialize for Act {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("act", self.as_str())?;
        if let Some(rat) = self.rat() {
            map.serialize_entry("rat", &rat)?;
        }
        map.end()
    }
}

/// A kind of level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quantity {
    /// Received power over the whole channel, dBm.
    Rssi,
    /// Reference signal (or common pilot) power, dBm.
    Rsrp,
    /// Reference signal quality, dB.
    Rsrq,
    /// Signal to noise and interference, dB.
    Sinr,
}

impl Quantity {
    /// Returns the range that a receiver can report, in dBm or dB. It is the widest reporting range
    /// of TS 36.133 §9.1 and TS 38.133 §10.1; RSRP -156…-31, RSRQ -43…20 and SINR -23…40 are NR's.
    /// RSSI has the standards' -110…-25 with room for receivers that are better or saturated.
    pub const fn range(self) -> RangeInclusive<f64> {
        match self {
            Self::Rssi => -120.0..=-20.0,
            Self::Rsrp => -156.0..=-31.0,
            Self::Rsrq => -43.5..=20.0,
            Self::Sinr => -23.5..=40.0,
        }
    }
}

/// Lets only possible levels through and counts the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sieve {
    implausible: u32,
}

impl Sieve {
    /// Returns `value` if it lies in the range of `quantity`; otherwise it is counted and left out.
    /// A sentinel ([`Sieve::is_sentinel`]) is left out without being counted.
    pub fn keep(&mut self, quantity: Quantity, value: f64) -> Option<f64> {
        if Self::is_sentinel(value) {
            return None;
        }
        let fits = quantity.range().contains(&value);
        if !fits {
            self.count();
        }
        fits.then_some(value)
    }

    /// Counts a value that has no possible reading at all.
    pub fn count(&mut self) {
        self.implausible = self.implausible.saturating_add(1);
    }

    /// Returns the number of values left out so far.
    pub const fn implausible(self) -> u32 {
        self.implausible
    }

    /// Reports whether a level in dBm or dB is a number that modems send for "not measured". These
    /// are -32768 (also in tenths, and cut to a whole number: `…,-95,-12,-3276` of an RM500Q in
    /// limited service), an unsigned -1, and the 99 and 255 of the 27.007 report indexes. For
    /// levels only: a raw field of 99 tenths is a good signal to noise ratio.
    pub fn is_sentinel(value: f64) -> bool {
        [-32768.0, -3276.8, -3276.0, 32767.0, 65535.0, 4_294_967_295.0, 99.0, 255.0]
            .contains(&value)
    }
}

/// The levels of one radio, without unknown levels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Signal {
    /// The radio.
    pub rat: Rat,
    /// Received power over the whole channel, dBm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rssi_dbm: Option<f64>,
    /// Reference signal received power, dBm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rsrp_dbm: Option<f64>,
    /// Reference signal received quality, dB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rsrq_db: Option<f64>,
    /// Signal to interference and noise ratio, dB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sinr_db: Option<f64>,
}

impl Signal {
    /// Creates the signal of a radio without known levels.
    pub const fn unknown(rat: Rat) -> Self {
        Self { rat, rssi_dbm: None, rsrp_dbm: None, rsrq_db: None, sinr_db: None }
    }

    /// Removes values that no receiver can report; `sieve` counts them.
    #[must_use]
    pub fn plausible(self, sieve: &mut Sieve) -> Self {
        let mut keep = |quantity, value: Option<f64>| value.and_then(|v| sieve.keep(quantity, v));
        Self {
            rat: self.rat,
            rssi_dbm: keep(Quantity::Rssi, self.rssi_dbm),
            rsrp_dbm: keep(Quantity::Rsrp, self.rsrp_dbm),
            rsrq_db: keep(Quantity::Rsrq, self.rsrq_db),
            sinr_db: keep(Quantity::Sinr, self.sinr_db),
        }
    }

    /// Reports whether no level is known.
    pub const fn is_empty(&self) -> bool {
        self.rssi_dbm.is_none()
            && self.rsrp_dbm.is_none()
            && self.rsrq_db.is_none()
            && self.sinr_db.is_none()
    }
}
