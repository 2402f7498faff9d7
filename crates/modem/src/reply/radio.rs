//! `+CSQ` and `+CESQ`: 27.007 §8.5 and §8.69.

use serde::Serialize;

use super::signal::{Rat, Sieve, Signal};
use super::{Args, ReplyError, own_rows, parse_uint};

/// The answer to `AT+CSQ`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Csq {
    /// The index as sent: 0…31, 99 unknown, 100…199 for TD-SCDMA.
    pub rssi_raw: u32,
    /// Channel bit error rate class 0…7, 99 unknown; some firmware leaves it out.
    pub ber_raw: Option<u32>,
    /// Received signal strength, dBm.
    pub rssi_dbm: Option<f64>,
    /// Received code power, dBm; only in TD-SCDMA.
    pub rscp_dbm: Option<f64>,
}

/// Reads `+CSQ: <rssi>[,<ber>]`; the last such line counts.
///
/// # Errors
/// [`ReplyError`] if there is none, or if its strength is not a number up to 255.
pub fn csq<L: AsRef<str>>(lines: &[L]) -> Result<Csq, ReplyError> {
    let rows = own_rows("AT+CSQ", "+CSQ", lines);
    let args =
        rows.last().ok_or(ReplyError::Missing { command: "AT+CSQ", wanted: "+CSQ: line" })?;
    let rssi_raw = args.uint(0, "rssi", 255)?;
    let ber_raw = index(args, 1);
    // 27.007 §8.5: -113 dBm or less, then steps of 2 dB.
    let rssi_dbm = (rssi_raw <= 31).then(|| f64::from(rssi_raw).mul_add(2.0, -113.0));
    // SIM7500_SIM7600 manual V3.00 p.65: 100…191 is RSCP from -116 dBm in steps of 1 dB. It is not
    // the power of the whole channel, so it is not an RSSI.
    let rscp_dbm = (100..=191).contains(&rssi_raw).then(|| f64::from(rssi_raw) - 216.0);
    Ok(Csq { rssi_raw, ber_raw, rssi_dbm, rscp_dbm })
}

/// The answer to `AT+CESQ`: report indexes, and the levels for which they stand.
///
/// A level is the lower edge of its bin, so index 0 ("below the scale") is one step under it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cesq {
    /// GSM strength index 0…63, 99 unknown.
    pub rxlev: Option<u32>,
    /// Channel bit error rate class 0…7, 99 unknown.
    pub ber: Option<u32>,
    /// UTRA code power index 0…96, 255 unknown.
    pub rscp: Option<u32>,
    /// UTRA quality index 0…49, 255 unknown.
    pub ecn0: Option<u32>,
    /// LTE quality index 0…34, 255 unknown.
    pub rsrq: Option<u32>,
    /// LTE power index 0…97, 255 unknown.
    pub rsrp: Option<u32>,
    /// GSM received strength, dBm.
    pub rssi_dbm: Option<f64>,
    /// UTRA received code power, dBm.
    pub rscp_dbm: Option<f64>,
    /// UTRA Ec/Io, dB.
    pub ecio_db: Option<f64>,
    /// LTE reference signal quality, dB.
    pub rsrq_db: Option<f64>,
    /// LTE reference signal power, dBm.
    pub rsrp_dbm: Option<f64>,
    /// NR synchronisation signal quality, dB.
    pub ss_rsrq_db: Option<f64>,
    /// NR synchronisation signal power, dBm.
    pub ss_rsrp_dbm: Option<f64>,
    /// NR synchronisation signal to noise and interference, dB.
    pub ss_sinr_db: Option<f64>,
}

impl Cesq {
    /// Returns the levels by radio; a radio without any is left out.
    ///
    /// GSM's index counts only when no newer radio answers: modems fill it in LTE too.
    pub fn signals(&self) -> Vec<Signal> {
        let lte =
            Signal { rsrp_dbm: self.rsrp_dbm, rsrq_db: self.rsrq_db, ..Signal::unknown(Rat::Lte) };
        let nr = Signal {
            rsrp_dbm: self.ss_rsrp_dbm,
            rsrq_db: self.ss_rsrq_db,
            sinr_db: self.ss_sinr_db,
            ..Signal::unknown(Rat::Nr)
        };
        // By definition Ec/Io is RSCP over RSSI (25.215 §5.1.2).
        let rssi_dbm = self.rscp_dbm.zip(self.ecio_db).map(|(rscp, ecio)| rscp - ecio);
        let wcdma = Signal { rssi_dbm, ..Signal::unknown(Rat::Wcdma) };
        let mut signals = Vec::new();
        // Index 0 is an edge below the range, so a value that the sieve removes here is not a fault
        // to count.
        let kept = [wcdma, lte, nr].map(|signal| signal.plausible(&mut Sieve::default()));
        signals.extend(kept.into_iter().filter(|signal| !signal.is_empty()));
        if signals.is_empty() && self.rssi_dbm.is_some() {
            signals.push(Signal { rssi_dbm: self.rssi_dbm, ..Signal::unknown(Rat::Gsm) });
        }
        signals
    }
}

/// Reads `+CESQ:` with six arguments (before Release 15) or nine (with NR). An argument that is not
/// a number up to 255 is left out.
///
/// # Errors
/// [`ReplyError`] if there is no such line, or if none of its arguments is such a number.
pub fn cesq<L: AsRef<str>>(lines: &[L]) -> Result<Cesq, ReplyError> {
    let rows = own_rows("AT+CESQ", "+CESQ", lines);
    let args =
        rows.last().ok_or(ReplyError::Missing { command: "AT+CESQ", wanted: "+CESQ: line" })?;
    let [rxlev, ber, rscp, ecn0, rsrq, rsrp, ss_rsrq, ss_rsrp, ss_sinr] =
        [0, 1, 2, 3, 4, 5, 6, 7, 8].map(|at| index(args, at));
    if [rxlev, ber, rscp, ecn0, rsrq, rsrp].iter().all(Option::is_none) {
        return Err(args.refuse(0, "rxlev", "a report index"));
    }
    Ok(Cesq {
        rxlev,
        ber,
        rscp,
        ecn0,
        rsrq,
        rsrp,
        rssi_dbm: level(rxlev, 63, 1.0, -111.0),
        rscp_dbm: level(rscp, 96, 1.0, -121.0),
        ecio_db: level(ecn0, 49, 0.5, -24.5),
        rsrq_db: level(rsrq, 34, 0.5, -20.0),
        rsrp_dbm: level(rsrp, 97, 1.0, -141.0),
        ss_rsrq_db: level(ss_rsrq, 126, 0.5, -43.5),
        ss_rsrp_dbm: level(ss_rsrp, 126, 1.0, -157.0),
        ss_sinr_db: level(ss_sinr, 127, 0.5, -23.5),
    })
}

/// Parses a report index, which has eight bits.
fn index(args: &Args<'_>, at: usize) -> Option<u32> {
    let number = args.text(at).and_then(parse_uint)?;
    u8::try_from(number).ok().map(u32::from)
}

/// Returns the lower edge of bin `index`; `None` beyond the scale's last bin, such as for 99 and
/// 255.
fn level(index: Option<u32>, last: u32, step: f64, base: f64) -> Option<f64> {
    index.filter(|index| *index <= last).map(|index| f64::from(index).mul_add(step, base))
}
