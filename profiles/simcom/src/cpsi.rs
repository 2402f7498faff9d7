//! `AT+CPSI?`, the serving cell: four line formats, three scales, and the garbage between cells.
//!
//! Sources: SIM7500_SIM7600 AT manual V3.00, SIM82XX_SIM83XX V1.02 p.102-104, A76XX V1.09 p.98-99, SIM7070
//! V1.05, and logs of firmware that departs from its manual.

use std::ops::RangeInclusive;

use modem::reply::{
    Args, Excerpt, MAX_EARFCN, MAX_NR_ARFCN, Quantity, Rat, ReplyError, Sieve, Signal, is_area,
    is_cell, own_rows, parse_decimal, parse_hex, parse_uint,
};
use serde::Serialize;

const COMMAND: &str = "AT+CPSI?";

/// The report indexes of the A76xx for "unknown".
const INDEX_UNKNOWN: [f64; 2] = [99.0, 255.0];

/// The report indexes that stand for a level (36.133 §9.1.4 and §9.1.7). The index of RSSI is in no standard:
/// dBm + 110, up to the strongest level that a receiver reports.
const INDEX_RSRP: RangeInclusive<f64> = 0.0..=97.0;
const INDEX_RSRQ: RangeInclusive<f64> = 0.0..=34.0;
const INDEX_RSSI: RangeInclusive<f64> = 0.0..=90.0;

/// The answer to `AT+CPSI?`: one cell, or an LTE anchor with the NR cell beside it (EN-DC).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cpsi {
    /// The system as the modem names it, `EN-DC` for LTE with NR; absent for an NR cell without its anchor.
    pub mode: Option<String>,
    /// `Online`, `Low Power Mode`, `Offline` ….
    pub oper_mode: Option<String>,
    /// The radio in the metrics' words; absent without service.
    pub rat: Option<Rat>,
    /// The cell, if there is only a single cell.
    #[serde(flatten)]
    pub cell: Option<Cell>,
    /// The LTE anchor of EN-DC.
    pub lte: Option<Cell>,
    /// The NR cell of EN-DC.
    pub nr: Option<NrCell>,
    /// False if an LTE line was garbage and no good line came.
    pub lte_valid: Option<bool>,
    /// The number of levels that were impossible and left out.
    #[serde(skip)]
    pub implausible: u32,
}

/// A cell as reported. Levels are in dBm and dB, whatever their scale in the line.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cell {
    /// Mobile country code, three digits.
    pub mcc: Option<String>,
    /// Mobile network code, two or three digits.
    pub mnc: Option<String>,
    /// Tracking area, in LTE and NR.
    pub tac: Option<u32>,
    /// Location area, in GSM and WCDMA.
    pub lac: Option<u32>,
    /// Cell identity; up to 36 bits.
    pub cell_id: Option<u64>,
    /// Physical cell identity, in LTE and NR.
    pub pci: Option<u32>,
    /// Primary scrambling code, in WCDMA.
    pub psc: Option<u32>,
    /// Band number, in LTE and NR.
    pub band: Option<u32>,
    /// Band as the modem writes it, in GSM and WCDMA.
    pub band_text: Option<String>,
    /// LTE channel number.
    pub earfcn: Option<u32>,
    /// WCDMA channel number.
    pub uarfcn: Option<u32>,
    /// GSM or NR channel number.
    pub arfcn: Option<u32>,
    /// Reference signal received quality, dB.
    pub rsrq_db: Option<f64>,
    /// Reference signal received power, dBm.
    pub rsrp_dbm: Option<f64>,
    /// Received power over the whole channel, dBm.
    pub rssi_dbm: Option<f64>,
    /// WCDMA received code power, dBm.
    pub rscp_dbm: Option<f64>,
    /// WCDMA Ec/Io, dB.
    pub ecio_db: Option<f64>,
    /// LTE `RSSNR` as sent: its unit differs by firmware and is not known (0 to 30 in the manuals).
    pub sinr_raw: Option<i64>,
    /// Signal to noise, dB; present if the unit is known (CAT-M, NB-IoT).
    pub sinr_db: Option<f64>,
    /// NR `SNR` as sent, if its unit is unknown.
    pub snr_raw: Option<i64>,
    /// NR signal to noise, dB.
    pub snr_db: Option<f64>,
    /// The scale of the levels in the line.
    pub scale: Option<Scale>,
}

/// The NR cell beside an LTE anchor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NrCell {
    /// Always `nsa`.
    pub mode: &'static str,
    /// The cell's values.
    #[serde(flatten)]
    pub cell: Cell,
    /// Subcarrier spacing as sent: 0…3 for 15, 30, 60, 120 kHz.
    pub scs_raw: Option<u32>,
    /// Bandwidth as sent; the manual's list of meanings is a misprint.
    pub bw_raw: Option<u32>,
}

/// The scale in which a firmware writes levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Tenths of dBm and dB (SIM7500, SIM7600, SIM82xx).
    Tenths,
    /// The report indexes of 36.133 (A76xx).
    ReportIndex,
    /// dBm and dB (SIM7070 and the oldest SIM82xx).
    Whole,
}

/// Reads the answer to `AT+CPSI?`. Of several lines for the same radio the last good line counts: with
/// `AT+CPSI=<s>` on, the same line also comes unsolicited, and can come twice.
///
/// # Errors
/// [`ReplyError`] if there is no `+CPSI:` line that names a system.
pub fn cpsi<L: AsRef<str>>(lines: &[L]) -> Result<Cpsi, ReplyError> {
    let rows = own_rows(COMMAND, "+CPSI", lines);
    if rows.is_empty() {
        return Err(ReplyError::Missing { command: COMMAND, wanted: "+CPSI: line" });
    }
    let mut seen = Seen::default();
    let named = rows.iter().filter(|args| args.text(0).is_some());
    let count = named.map(|args| seen.take(args)).count();
    match rows.last() {
        Some(args) if count == 0 => Err(args.refuse(0, "System Mode", "a system's name")),
        _ => Ok(seen.finish()),
    }
}

/// Returns the levels of each radio, none if its line has none. All have passed the ranges of [`Quantity`]
/// already.
pub fn signals(cpsi: &Cpsi) -> Vec<Signal> {
    let of = |rat: Rat, cell: &Cell| Signal {
        rat,
        rssi_dbm: cell.rssi_dbm,
        rsrp_dbm: cell.rsrp_dbm,
        rsrq_db: cell.rsrq_db,
        sinr_db: cell.sinr_db.or(cell.snr_db),
    };
    let single = cpsi.rat.zip(cpsi.cell.as_ref()).map(|(rat, cell)| of(rat, cell));
    let lte = cpsi.lte.as_ref().map(|cell| of(Rat::Lte, cell));
    let nr = cpsi.nr.as_ref().map(|nr| of(Rat::Nr, &nr.cell));
    [single, lte, nr].into_iter().flatten().collect()
}

/// A line that names a cell, or none.
struct Row {
    mode: String,
    oper_mode: Option<String>,
    rat: Option<Rat>,
    cell: Option<Cell>,
}

/// The content of the lines so far.
#[derive(Default)]
struct Seen {
    /// The last line with a cell.
    serving: Option<Row>,
    /// The last line without a cell: no service, a system not known here, a change of cell.
    idle: Option<Row>,
    /// The last LTE line with a cell, the anchor of `nr`.
    lte: Option<Cell>,
    nr: Option<NrCell>,
    lte_garbage: bool,
    sieve: Sieve,
}

impl Seen {
    fn take(&mut self, args: &Args<'_>) {
        let mode = args.text(0).unwrap_or_default();
        let words = mode.to_ascii_uppercase().replace(['-', '_'], " ");
        if words == "NO SERVICE" {
            // Earlier lines are obsolete.
            (self.serving, self.lte, self.nr) = (None, None, None);
        }
        // `NR5G` without an operation mode after it is the secondary cell's line, in old firmware.
        let secondary =
            words == "NR5G NSA" || (words == "NR5G" && args.text(1).is_some_and(is_uint));
        if secondary {
            self.nr = nsa_cell(args, &mut self.sieve).or(self.nr.take());
            return;
        }
        let rat = rat_of(&words);
        let cell = rat.and_then(|rat| serving_cell(rat, args, &mut self.sieve));
        if rat == Some(Rat::Lte) {
            self.lte_garbage |= cell.is_none();
            self.lte = cell.clone().or(self.lte.take());
        }
        let found = cell.is_some();
        let oper_mode = args.text(1).map(cut);
        let row = Row { mode: cut(mode), oper_mode, rat: rat.filter(|_| found), cell };
        *(if found { &mut self.serving } else { &mut self.idle }) = Some(row);
    }

    fn finish(self) -> Cpsi {
        let lte_valid = (self.lte_garbage && self.lte.is_none()).then_some(false);
        let implausible = self.sieve.implausible();
        let none = Row { mode: String::new(), oper_mode: None, rat: None, cell: None };
        let row = self.serving.or(self.idle).unwrap_or(none);
        let mut cpsi = Cpsi {
            mode: Some(row.mode).filter(|mode| !mode.is_empty()),
            oper_mode: row.oper_mode,
            rat: row.rat,
            cell: row.cell,
            lte: None,
            nr: None,
            lte_valid,
            implausible,
        };
        let Some(nr) = self.nr else { return cpsi };
        cpsi.nr = Some(nr);
        match self.lte {
            Some(lte) => {
                (cpsi.mode, cpsi.rat) = (Some("EN-DC".to_owned()), Some(Rat::Lte));
                (cpsi.cell, cpsi.lte) = (None, Some(lte));
            }
            // The anchor's line was lost or garbage: only NR is known.
            None => cpsi.rat = cpsi.rat.or(Some(Rat::Nr)),
        }
        cpsi
    }
}

/// Returns the radio for a system's name in capitals, with spaces for its hyphens and underscores.
fn rat_of(words: &str) -> Option<Rat> {
    match words {
        "LTE" => Some(Rat::Lte),
        "LTE CAT M1" | "LTE CAT M" | "LTE M1" | "CAT M1" | "EMTC" => Some(Rat::CatM),
        "LTE NB IOT" | "LTE CAT NB" | "LTE NB1" | "NB IOT" | "NBIOT" => Some(Rat::NbIot),
        "NR5G SA" | "NR5G" => Some(Rat::Nr),
        // TDS-CDMA has other columns, so it stays a mode without a cell, as CDMA and EVDO do.
        "WCDMA" => Some(Rat::Wcdma),
        "GSM" => Some(Rat::Gsm),
        _ => None,
    }
}

/// Reads the cell of a line that has its network or a level; `None` if the line has neither or is between two
/// cells.
fn serving_cell(rat: Rat, args: &Args<'_>, sieve: &mut Sieve) -> Option<Cell> {
    let (mcc, mnc) = args.text(2).and_then(plmn).unzip();
    // 23.003: an area has 16 bits, in NR 24; a cell has 16 in GSM, 28 in UTRAN and E-UTRAN, 36 in NR. A larger
    // number is an overflow.
    let (area_bits, bits) = match rat {
        Rat::Gsm => (16, 16),
        Rat::Wcdma | Rat::Lte | Rat::CatM | Rat::NbIot => (16, 28),
        Rat::Nr => (24, 36),
    };
    let area = args.text(3).and_then(parse_hex);
    let area = area.filter(|area| *area < 1 << area_bits && is_area(*area));
    let area = area.and_then(|area| u32::try_from(area).ok());
    let cell_id = args.text(4).and_then(parse_uint);
    let cell_id = cell_id.filter(|id| *id < 1 << bits && is_cell(*id));
    let cell = Cell { mcc, mnc, cell_id, ..Cell::default() };
    let cell = match rat {
        Rat::Lte | Rat::CatM | Rat::NbIot => lte_cell(rat, args, Cell { tac: area, ..cell }, sieve),
        Rat::Nr => sa_cell(args, Cell { tac: area, ..cell }, sieve),
        Rat::Wcdma => Some(wcdma_cell(args, Cell { lac: area, ..cell }, sieve)),
        Rat::Gsm => Some(gsm_cell(args, Cell { lac: area, ..cell }, sieve)),
    };
    cell.filter(|cell| {
        let levels = [cell.rsrp_dbm, cell.rscp_dbm, cell.rssi_dbm];
        cell.mcc.is_some() || levels.iter().any(Option::is_some)
    })
}

/// Reads `LTE,<op>,<mcc>-<mnc>,<tac>,<cell>,<pci>,<band>,<earfcn>,<dl>,<ul>,<RSRQ>,<RSRP>,<RSSI>,<RSSNR>`
fn lte_cell(rat: Rat, args: &Args<'_>, cell: Cell, sieve: &mut Sieve) -> Option<Cell> {
    let earfcn = arfcn(args, 7, MAX_EARFCN)?;
    let [mut rsrq, mut rsrp, rssi] = [10, 11, 12].map(|at| measured(args, at));
    // Seen on a unit (`…,-930,-110,-640,5`): power before quality.
    if !order_fits(rsrp, rsrq) && order_fits(rsrq, rsrp) {
        (rsrp, rsrq) = (rsrq, rsrp);
    }
    // Between two cells all levels are 0, which is impossible on every scale.
    if [rsrq, rsrp, rssi].iter().all(|level| *level == Some(0.0)) {
        return None;
    }
    let scale = lte_scale(rsrq, rsrp);
    if scale.is_none() && rsrp.is_some_and(|rsrp| !INDEX_UNKNOWN.contains(&rsrp)) {
        // A power that fits no scale is counted, and the other levels have no unit either.
        sieve.count();
    }
    let mut level = |quantity, raw: Option<f64>| match scale? {
        Scale::ReportIndex => indexed(quantity, raw?, sieve),
        scale => sieve.keep(quantity, scaled(scale, raw?)),
    };
    let ratio = args.text(13).and_then(parse_decimal);
    Some(Cell {
        pci: uint(args, 5).filter(|pci| *pci <= 503),
        band: args.text(6).and_then(trailing_number),
        earfcn,
        rsrq_db: level(Quantity::Rsrq, rsrq),
        rsrp_dbm: level(Quantity::Rsrp, rsrp),
        rssi_dbm: level(Quantity::Rssi, rssi),
        // SIM7070 manual: a code 0…25 for 2 × code − 20 dB. The other manuals give no unit, so the value is
        // kept raw.
        sinr_db: ratio
            .filter(|code| rat != Rat::Lte && (0.0..=25.0).contains(code))
            .map(|code| code.mul_add(2.0, -20.0)),
        sinr_raw: raw_number(args, 13).filter(|_| rat == Rat::Lte),
        scale,
        ..cell
    })
}

/// Returns the scale that makes RSRP possible. The three do not overlap: -1560…-310 in tenths, -156…-31 in dBm,
/// 0…97 as an index. So the firmware need not be known.
fn lte_scale(rsrq: Option<f64>, rsrp: Option<f64>) -> Option<Scale> {
    let rsrp = rsrp?;
    let range = Quantity::Rsrp.range();
    if INDEX_RSRP.contains(&rsrp) && rsrq.is_none_or(|rsrq| (0.0..=255.0).contains(&rsrq)) {
        Some(Scale::ReportIndex)
    } else if range.contains(&rsrp) {
        Some(Scale::Whole)
    } else if range.contains(&(rsrp / 10.0)) {
        Some(Scale::Tenths)
    } else {
        None
    }
}

/// Converts a raw level to dBm or dB.
fn scaled(scale: Scale, raw: f64) -> f64 {
    if scale == Scale::Tenths { raw / 10.0 } else { raw }
}

/// Converts a report index to dBm or dB (A76XX manual V1.09 p.98-99). An index that stands for no level is
/// counted, and the index for "unknown" is left out.
fn indexed(quantity: Quantity, index: f64, sieve: &mut Sieve) -> Option<f64> {
    let (range, level) = match quantity {
        Quantity::Rsrp => (INDEX_RSRP, index - 140.0),
        Quantity::Rsrq => (INDEX_RSRQ, (index - 40.0) / 2.0),
        Quantity::Rssi => (INDEX_RSSI, index - 110.0),
        Quantity::Sinr => return None,
    };
    if INDEX_UNKNOWN.contains(&index) {
        return None;
    }
    if !range.contains(&index) || index.fract() != 0.0 {
        sieve.count();
        return None;
    }
    sieve.keep(quantity, level)
}

/// Reads `NR5G_SA,<op>,<mcc>-<mnc>,<tac>,<cell>,<pci>,<band>,<arfcn>,<RSRP>,<RSRQ>,<SNR>`; the oldest firmware
/// has no band.
fn sa_cell(args: &Args<'_>, cell: Cell, sieve: &mut Sieve) -> Option<Cell> {
    let (band, columns) = if has_no_band(args, 6) {
        (None, NrColumns { arfcn: 6, rsrp: 7, rsrq: 8, snr: 9 })
    } else {
        let band = args.text(6).and_then(trailing_number);
        (band, NrColumns { arfcn: 7, rsrp: 8, rsrq: 9, snr: 10 })
    };
    nr_levels(Cell { pci: nr_pci(args, 5), band, ..cell }, args, columns, sieve)
}

/// Reads `NR5G_NSA,<pci>,<band>,<arfcn>,<RSRP>,<RSRQ>,<SNR>[,<scs>,<bw>]`; the oldest firmware has no band, and
/// RSRQ before RSRP.
fn nsa_cell(args: &Args<'_>, sieve: &mut Sieve) -> Option<NrCell> {
    let (band, columns) = if has_no_band(args, 2) {
        (None, NrColumns { arfcn: 2, rsrq: 3, rsrp: 4, snr: 5 })
    } else {
        let band = args.text(2).and_then(trailing_number);
        (band, NrColumns { arfcn: 3, rsrp: 4, rsrq: 5, snr: 6 })
    };
    let cell = Cell { pci: nr_pci(args, 1), band, ..Cell::default() };
    let cell = nr_levels(cell, args, columns, sieve)?;
    if cell.arfcn.is_none() && cell.rsrp_dbm.is_none() {
        return None;
    }
    let (scs_raw, bw_raw) = (uint(args, 7).filter(|scs| *scs <= 4), uint(args, 8));
    Some(NrCell { mode: "nsa", cell, scs_raw, bw_raw })
}

/// Recognises a channel in the place of newer firmware's band: a number, with no number after it.
fn has_no_band(args: &Args<'_>, band: usize) -> bool {
    args.text(band).is_some_and(is_uint) && !args.text(band + 1).is_some_and(is_uint)
}

/// Positions of the levels in an NR line.
struct NrColumns {
    arfcn: usize,
    rsrp: usize,
    rsrq: usize,
    snr: usize,
}

fn nr_levels(cell: Cell, args: &Args<'_>, at: NrColumns, sieve: &mut Sieve) -> Option<Cell> {
    let arfcn = arfcn(args, at.arfcn, MAX_NR_ARFCN)?;
    if arfcn == Some(0) {
        return None;
    }
    let (mut rsrp, mut rsrq) = (measured(args, at.rsrp), measured(args, at.rsrq));
    // Firmware differs in the order, too. The order is known only if exactly one of the two makes both levels
    // possible.
    if !order_fits(rsrp, rsrq) && order_fits(rsrq, rsrp) {
        (rsrp, rsrq) = (rsrq, rsrp);
    }
    let range = Quantity::Rsrp.range();
    let scale = match rsrp {
        Some(rsrp) if range.contains(&rsrp) => Some(Scale::Whole),
        Some(rsrp) if range.contains(&(rsrp / 10.0)) => Some(Scale::Tenths),
        Some(_) => {
            sieve.count();
            None
        }
        None => None,
    };
    let mut level = |quantity, raw: Option<f64>| sieve.keep(quantity, scaled(scale?, raw?));
    let (rsrp_dbm, rsrq_db) = (level(Quantity::Rsrp, rsrp), level(Quantity::Rsrq, rsrq));
    let snr_db = snr_db(scale, args, at.snr, sieve);
    let snr_raw = raw_number(args, at.snr).filter(|_| snr_db.is_none());
    Some(Cell { arfcn, rsrp_dbm, rsrq_db, snr_db, snr_raw, scale, ..cell })
}

/// Reports whether these two can be power and quality on the same scale; false unless both are present.
fn order_fits(rsrp: Option<f64>, rsrq: Option<f64>) -> bool {
    let Some((rsrp, rsrq)) = rsrp.zip(rsrq) else { return false };
    let possible = |scale| {
        Quantity::Rsrp.range().contains(&(rsrp / scale))
            && Quantity::Rsrq.range().contains(&(rsrq / scale))
    };
    possible(1.0) || possible(10.0)
}

/// Reads the signal to noise ratio. Its scale differs by firmware, independently of the powers' scale: the
/// SIM82XX manual has tenths, -230…400, and some firmware sends whole dB (`…,-800,-110,14`).
///
/// A fraction means dB, and so do powers in whole units. A number beyond -23…40 can only be tenths, beside
/// whole powers too (`NR5G,257,629952,-11,-92,153` in the SIM8200's manual). A number in between is -2.3…4.0 dB
/// or -23…40 dB. Nothing in the line decides, so it is left out.
fn snr_db(scale: Option<Scale>, args: &Args<'_>, at: usize, sieve: &mut Sieve) -> Option<f64> {
    let raw = measured(args, at)?;
    let possible = Quantity::Sinr.range().contains(&raw);
    if args.text(at)?.contains('.') || (scale? == Scale::Whole && possible) {
        return sieve.keep(Quantity::Sinr, raw);
    }
    // 0 is 0 on either scale.
    if raw != 0.0 && possible {
        return None;
    }
    sieve.keep(Quantity::Sinr, raw / 10.0)
}

/// Reads `WCDMA,<op>,<mcc>-<mnc>,<lac>,<cell>,<band>,<psc>,<uarfcn>,<ssc>,<Ec/Io>,<RSCP>,<qual>,<RxLev>,<tx>`
fn wcdma_cell(args: &Args<'_>, cell: Cell, sieve: &mut Sieve) -> Cell {
    // SIM7600 prints the two without their minus sign, A7909 with it; neither is ever positive.
    let level = |at| measured(args, at).map(|raw| -raw.abs());
    let ecio_db = level(9).filter(|ecio| *ecio >= -25.0);
    // The ranges of 25.133 §9.1.1: RSCP -120…-25 dBm.
    let rscp_dbm = level(10).filter(|rscp| (-120.0..=-25.0).contains(rscp));
    // By definition Ec/Io is RSCP over RSSI (25.215 §5.1.2).
    let rssi = rscp_dbm.zip(ecio_db).map(|(rscp, ecio)| rscp - ecio);
    Cell {
        band_text: args.text(5).map(cut),
        psc: uint(args, 6).filter(|psc| *psc <= 511),
        uarfcn: uint(args, 7).filter(|uarfcn| *uarfcn <= 16_383),
        ecio_db,
        rscp_dbm,
        rssi_dbm: rssi.and_then(|rssi| sieve.keep(Quantity::Rssi, rssi)),
        ..cell
    }
}

/// Reads `GSM,<op>,<mcc>-<mnc>,<lac>,<cell>,<arfcn> <band>,<RxLev>,<track LO>,<C1-C2>`
fn gsm_cell(args: &Args<'_>, cell: Cell, sieve: &mut Sieve) -> Cell {
    let channel = args.text(5).unwrap_or_default();
    let (arfcn, band) = channel.split_once(' ').unwrap_or((channel, ""));
    // A7670 prints an index, and no manual known to us gives its unit. `AT+CSQ` has the power there.
    let rssi = measured(args, 6).filter(|level| *level < 0.0);
    Cell {
        // 45.005 §2: ten bits.
        arfcn: parse_uint(arfcn)
            .and_then(|arfcn| u32::try_from(arfcn).ok())
            .filter(|n| *n <= 1_023),
        band_text: Some(cut(band.trim())).filter(|band| !band.is_empty()),
        rssi_dbm: rssi.and_then(|rssi| sieve.keep(Quantity::Rssi, rssi)),
        ..cell
    }
}

/// Splits `460-01` into `460` and `01`.
fn plmn(text: &str) -> Option<(String, String)> {
    let (mcc, mnc) = text.split_once('-')?;
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let fits = mcc.len() == 3 && (1..=3).contains(&mnc.len()) && digits(mcc) && digits(mnc);
    // 000 is not a country: the cell is not known yet.
    (fits && mcc != "000").then(|| (mcc.to_owned(), format!("{mnc:0>2}")))
}

/// Reads a channel's number; the outer `None` stands for an impossible number, as between two cells.
fn arfcn(args: &Args<'_>, at: usize, max: u32) -> Option<Option<u32>> {
    let channel = uint(args, at).filter(|channel| *channel <= max);
    (args.text(at).is_none() || channel.is_some()).then_some(channel)
}

/// Reads the number of `EUTRAN-BAND3`, `LTE BAND 2` or `NR5G_BAND78`; band 0 gives `None`.
fn trailing_number(text: &str) -> Option<u32> {
    let start = text.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let number = parse_uint(text.get(start..)?)?;
    u32::try_from(number).ok().filter(|band| (1..=1024).contains(band))
}

fn nr_pci(args: &Args<'_>, at: usize) -> Option<u32> {
    uint(args, at).filter(|pci| *pci <= 1007)
}

fn uint(args: &Args<'_>, at: usize) -> Option<u32> {
    args.text(at).and_then(parse_uint).and_then(|number| u32::try_from(number).ok())
}

/// Reads a level as sent, except the two numbers that stand for "no measurement" on every scale.
fn measured(args: &Args<'_>, at: usize) -> Option<f64> {
    let raw = args.text(at).and_then(parse_decimal)?;
    (![-32_768.0, 4_294_967_295.0].contains(&raw)).then_some(raw)
}

/// Reads a whole number as sent, with the same exceptions.
fn raw_number(args: &Args<'_>, at: usize) -> Option<i64> {
    measured(args, at)?;
    args.text(at)?.parse().ok()
}

fn is_uint(text: &str) -> bool {
    parse_uint(text).is_some()
}

fn cut(text: &str) -> String {
    Excerpt::new(text).as_str().to_owned()
}

#[cfg(test)]
mod tests {
    use modem::reply::value;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const LTE: &str =
        "+CPSI: LTE,Online,460-11,0x5A1E,187214780,257,EUTRAN-BAND3,1850,5,5,-94,-850,-545,15";
    const NSA: &str = "+CPSI: NR5G_NSA,644,NR5G_BAND78,627264,-960,-120,95,1,12";
    const WCDMA: &str =
        "+CPSI: WCDMA,Online,505-01,0x0152,14302219,WCDMA 850,214,4436,0,12.5,83,23,36,500";

    fn read(lines: &[&str]) -> Cpsi {
        cpsi(lines).unwrap_or_else(|error| panic!("{lines:?}: {error}"))
    }

    /// Checks that the JSON of `lines` is exactly `wanted`.
    #[track_caller]
    fn check(lines: &[&str], wanted: Value) {
        assert_eq!(value(read(lines)), Ok(wanted));
    }

    fn lte_with(levels: &str) -> String {
        format!("+CPSI: LTE,Online,460-11,0x1,2,3,EUTRAN-BAND3,1850,5,5,{levels}")
    }

    fn sa_with(levels: &str) -> String {
        format!("+CPSI: NR5G_SA,Online,242-12,0x765D,4955280,0,NR5G_BAND78,640704,{levels}")
    }

    #[test]
    fn lte_in_tenths() {
        check(
            &[LTE],
            json!({
                "mode": "LTE", "oper_mode": "Online", "rat": "lte", "mcc": "460", "mnc": "11",
                "tac": 0x5A1E, "cell_id": 187_214_780, "pci": 257, "band": 3, "earfcn": 1850,
                "rsrq_db": -9.4, "rsrp_dbm": -85.0, "rssi_dbm": -54.5, "sinr_raw": 15,
                "scale": "tenths",
            }),
        );
    }

    #[test]
    fn the_scale_follows_from_the_power() {
        for (levels, scale, rsrq, rsrp, rssi) in [
            ("-178,-1185,-789,7", Scale::Tenths, Some(-17.8), Some(-118.5), Some(-78.9)),
            ("19,53,52,3", Scale::ReportIndex, Some(-10.5), Some(-87.0), Some(-58.0)),
            ("21,67,255,19", Scale::ReportIndex, Some(-9.5), Some(-73.0), None),
            ("255,67,52,19", Scale::ReportIndex, None, Some(-73.0), Some(-58.0)),
            ("0,0,1,3", Scale::ReportIndex, Some(-20.0), Some(-140.0), Some(-109.0)),
            ("34,97,90,3", Scale::ReportIndex, Some(-3.0), Some(-43.0), Some(-20.0)),
            ("-16,-97,-67,0", Scale::Whole, Some(-16.0), Some(-97.0), Some(-67.0)),
            // Power and quality in the other order.
            ("-940,-120,-650,5", Scale::Tenths, Some(-12.0), Some(-94.0), Some(-65.0)),
        ] {
            let cell = read(&[&lte_with(levels)]).cell.expect("a cell");
            assert_eq!(cell.scale, Some(scale), "{levels}");
            let found = (cell.rsrq_db, cell.rsrp_dbm, cell.rssi_dbm);
            assert_eq!(found, (rsrq, rsrp, rssi), "{levels}");
        }
    }

    #[test]
    fn levels_that_are_none_are_left_out() {
        for (levels, implausible) in [
            ("-32768,-32768,-32768,0", 0),
            ("-94,-5000,-545,1", 1),
            ("-900,-850,-5,1", 2),
            (",,,", 0),
        ] {
            let cpsi = read(&[&lte_with(levels)]);
            assert_eq!(cpsi.implausible, implausible, "{levels}");
            let cell = cpsi.cell.expect("a cell");
            assert_eq!((cell.rsrq_db, cell.rssi_dbm), (None, None), "{levels}");
        }
        let sentinel = lte_with("-94,-850,-545,-32768");
        assert_eq!(read(&[&sentinel]).cell.expect("a cell").sinr_raw, None);
    }

    #[test]
    fn an_index_that_stands_for_no_level_is_counted_and_left_out() {
        for (levels, rsrq, rsrp, rssi, implausible) in [
            ("35,53,52,3", None, Some(-87.0), Some(-58.0), 1),
            ("19,53,91,3", Some(-10.5), Some(-87.0), None, 1),
            ("19,53,-58,3", Some(-10.5), Some(-87.0), None, 1),
            ("19.5,53,52,3", None, Some(-87.0), Some(-58.0), 1),
            ("255,53,255,3", None, Some(-87.0), None, 0),
            // A power that fits no scale leaves the others without a unit.
            ("19,98,52,3", None, None, None, 1),
            ("-10,53,52,3", None, None, None, 1),
            ("19,255,52,3", None, None, None, 0),
        ] {
            let cpsi = read(&[&lte_with(levels)]);
            assert_eq!(cpsi.implausible, implausible, "{levels}");
            let cell = cpsi.cell.expect("a cell");
            let found = (cell.rsrq_db, cell.rsrp_dbm, cell.rssi_dbm);
            assert_eq!(found, (rsrq, rsrp, rssi), "{levels}");
        }
    }

    #[test]
    fn areas_and_cells_beyond_their_bits_are_left_out() {
        for (line, tac, lac, cell_id) in [
            (LTE.replace("0x5A1E", "0x5A1E5"), None, None, Some(187_214_780)),
            (LTE.replace("187214780", "268435456"), Some(0x5A1E), None, None),
            (
                sa_with("-770,-110,290").replace("0x765D", "0x1765D"),
                Some(0x1765D),
                None,
                Some(4_955_280),
            ),
            (WCDMA.replace("0x0152", "0xFFFFFF"), None, None, Some(14_302_219)),
        ] {
            let cell = read(&[&line]).cell.expect("a cell");
            assert_eq!((cell.tac, cell.lac, cell.cell_id), (tac, lac, cell_id), "{line}");
        }
    }

    /// An A7670 in GSM: the level is positive there, an index whose unit no manual known to us gives.
    #[test]
    fn a_positive_level_of_gsm_is_left_out() {
        let gsm = read(&["+CPSI: GSM,Online,222-01,0x46C2,43674,1021 PGSM 900,25,0,15-15"]);
        assert_eq!(gsm.implausible, 0, "it is an index, and no fault");
        assert_eq!(signals(&gsm), [Signal::unknown(Rat::Gsm)]);
        let cell = gsm.cell.expect("a cell");
        assert_eq!((cell.arfcn, cell.rssi_dbm, cell.cell_id), (Some(1021), None, Some(43_674)));
    }

    #[test]
    fn cat_m_has_whole_units_and_a_coded_ratio() {
        for (code, sinr) in
            [("0", Some(-20.0)), ("7", Some(-6.0)), ("25", Some(30.0)), ("26", None), ("-1", None)]
        {
            let line = format!(
                "+CPSI: LTE CAT-M1,Online,001-01,0x1234,12345,123,EUTRAN-BAND20,6200,3,3,-16,-97,-67,{code}"
            );
            let cpsi = read(&[&line]);
            assert_eq!(cpsi.rat, Some(Rat::CatM));
            let cell = cpsi.cell.expect("a cell");
            assert_eq!((cell.sinr_db, cell.sinr_raw), (sinr, None), "{code}");
        }
    }

    #[test]
    fn en_dc_has_an_anchor_and_an_nr_cell() {
        let cpsi = read(&[LTE, NSA]);
        let value = value(&cpsi).expect("JSON");
        assert_eq!(value["mode"], "EN-DC");
        assert_eq!(value["lte"]["rsrp_dbm"], -85.0);
        assert_eq!(value.get("rsrp_dbm"), None);
        let nr = json!({
            "mode": "nsa", "pci": 644, "band": 78, "arfcn": 627_264, "rsrp_dbm": -96.0,
            "rsrq_db": -12.0, "snr_db": 9.5, "scale": "tenths", "scs_raw": 1, "bw_raw": 12,
        });
        assert_eq!(value["nr"], nr);
        let signals = signals(&cpsi);
        assert_eq!(signals.iter().map(|s| s.rat).collect::<Vec<_>>(), [Rat::Lte, Rat::Nr]);
        assert_eq!(signals[1].sinr_db, Some(9.5));
    }

    #[test]
    fn the_oldest_nr_line_has_its_levels_the_other_way_round() {
        for mode in ["NR5G", "NR5G_NSA"] {
            let line = format!("+CPSI: {mode},58,643296,-12,-86,8.5");
            let nr = json!({
                "mode": "nsa", "pci": 58, "arfcn": 643_296, "rsrq_db": -12.0, "rsrp_dbm": -86.0,
                "snr_db": 8.5, "scale": "whole",
            });
            check(&[&line], json!({"rat": "nr", "nr": nr}));
        }
    }

    /// A SIM8200 without the band's column (its manual §4.2.14), and similar forms.
    #[test]
    fn an_nr_cell_needs_no_band() {
        for (rest, band, rsrp, snr) in [
            ("NR5G,Online,001-01,0x2D18,50896642,257,629952,-92,-11,15", None, -92.0, Some(15.0)),
            (
                "NR5G_SA,Online,001-01,0x2D18,50896642,257,629952,-920,-110,150",
                None,
                -92.0,
                Some(15.0),
            ),
            (
                "NR5G-SA,Online,001-01,0x2D18,50896642,257,NR5G_BAND78,629952,-92,-11,15",
                Some(78),
                -92.0,
                Some(15.0),
            ),
            (
                "NR5G_SA,Online,001-01,0x2D18,50896642,257,78,629952,-920,-110,150",
                Some(78),
                -92.0,
                Some(15.0),
            ),
            (
                "NR5G_SA,Online,001-01,0x2D18,50896642,257,,629952,-920,-110,150",
                None,
                -92.0,
                Some(15.0),
            ),
            (
                "nr5g_sa,online,001-01,0x2d18,50896642,257,nr5g_band78,629952,-920,-110,-",
                Some(78),
                -92.0,
                None,
            ),
            // Whole powers beside a ratio in tenths, as in the manual.
            ("NR5G,Online,001-01,0x2D18,50896642,257,629952,-11,-92,153", None, -92.0, Some(15.3)),
        ] {
            let cpsi = read(&[&format!("+CPSI: {rest}")]);
            assert_eq!((cpsi.rat, cpsi.implausible), (Some(Rat::Nr), 0), "{rest}");
            let cell = cpsi.cell.expect("a cell");
            assert_eq!((cell.band, cell.arfcn), (band, Some(629_952)), "{rest}");
            assert_eq!((cell.rsrp_dbm, cell.rsrq_db), (Some(rsrp), Some(-11.0)), "{rest}");
            assert_eq!((cell.snr_db, cell.pci), (snr, Some(257)), "{rest}");
        }
        let beside = read(&["+CPSI: NR5G,257,629952,-11,-92,153"]).nr.expect("a cell").cell;
        assert_eq!((beside.rsrp_dbm, beside.snr_db), (Some(-92.0), Some(15.3)));
        let bare_band = read(&["+CPSI: NR5G_NSA,257,78,629952,-920,-110,150"]).nr.expect("a cell");
        assert_eq!((bare_band.cell.band, bare_band.cell.arfcn), (Some(78), Some(629_952)));
    }

    #[test]
    fn what_is_not_known_of_a_cell_leaves_the_rest() {
        for (rest, mnc, tac, rsrp) in [
            (
                "001-01,0x5A1E,187214780,257,EUTRAN-BAND3,1850,5,5,-94,-850,-545,15",
                Some("01"),
                Some(0x5A1E),
                Some(-85.0),
            ),
            (
                "001-1,0x5a1e,187214780,257,EUTRAN-BAND3,1850,5,5,-94,-850,-545,15",
                Some("01"),
                Some(0x5A1E),
                Some(-85.0),
            ),
            (
                "---,0xFFFE,268435455,257,EUTRAN-BAND3,1850,5,5,-94,-850,-545,15",
                None,
                None,
                Some(-85.0),
            ),
            (",,,,EUTRAN-BAND3,1850,,,-94,-850,,", None, None, Some(-85.0)),
            (
                "001-01,0x5A1E,187214780,257,LTE BAND 255X,-,5,5,-94,-850,-545,15,77",
                Some("01"),
                Some(0x5A1E),
                Some(-85.0),
            ),
            ("001-01,0x5A1E,187214780", Some("01"), Some(0x5A1E), None),
            ("001-01,FFFF,187214780,257,EUTRAN-BAND3,1850,5,5,,,,", Some("01"), None, None),
        ] {
            let cpsi = read(&[&format!("+CPSI: LTE,Online,{rest}")]);
            assert_eq!((cpsi.rat, cpsi.lte_valid), (Some(Rat::Lte), None), "{rest}");
            let cell = cpsi.cell.expect("a cell");
            assert_eq!((cell.mnc.as_deref(), cell.tac, cell.rsrp_dbm), (mnc, tac, rsrp), "{rest}");
            assert_ne!(cell.cell_id, Some(0xFFF_FFFF), "{rest}");
        }
        // A line without anything known has no cell.
        for rest in [
            "LTE,Online",
            "LTE,Online,---,,,,,,,,,,,",
            "GSM,Online,00101 0x25b1,22273,124 EGSM 900,-77,0",
        ] {
            assert_eq!(read(&[&format!("+CPSI: {rest}")]).cell, None, "{rest}");
        }
        // A line without a system does not affect the others.
        assert_eq!(read(&["+CPSI: ,", LTE]).cell, read(&[LTE]).cell);
        let joined = format!("{LTE}{NSA}");
        assert_eq!(read(&[&joined]), read(&[LTE, NSA]));
        assert_eq!(read(&[&format!("\0{LTE}\0")]), read(&[LTE]));
        for (name, rat) in
            [("LTE-NB-IOT", Rat::NbIot), ("lte cat-m1", Rat::CatM), ("CAT-M1", Rat::CatM)]
        {
            assert_eq!(read(&[&LTE.replace("LTE,", &format!("{name},"))]).rat, Some(rat), "{name}");
        }
    }

    #[test]
    fn the_order_of_nrs_levels_is_what_makes_both_possible() {
        for (levels, rsrp, rsrq) in [
            ("-850,-110,95", Some(-85.0), Some(-11.0)),
            ("-110,-850,95", Some(-85.0), Some(-11.0)),
            ("-85,-11,9.5", Some(-85.0), Some(-11.0)),
            ("-11,-85,9.5", Some(-85.0), Some(-11.0)),
            // If both orders are possible, the manual's order counts.
            ("-350,-330,95", Some(-35.0), Some(-33.0)),
            // If neither is possible, the impossible level is left out.
            ("-850,5000,95", Some(-85.0), None),
            ("-850,-32768,95", Some(-85.0), None),
        ] {
            let line = format!("+CPSI: NR5G_NSA,644,NR5G_BAND78,627264,{levels},1,12");
            let cell = read(&[&line]).nr.expect("a cell").cell;
            assert_eq!((cell.rsrp_dbm, cell.rsrq_db), (rsrp, rsrq), "{levels}");
        }
    }

    #[test]
    fn the_ratio_of_nr_is_given_only_where_its_scale_shows() {
        for (levels, db, raw) in [
            ("-770,-110,290", Some(29.0), None),
            ("-770,-110,99", Some(9.9), None),
            ("-770,-110,-230", Some(-23.0), None),
            ("-800,-110,14", None, Some(14)),
            ("-800,-110,0", Some(0.0), None),
            ("-800,-110,-32768", None, None),
            ("-800,-110,8.5", Some(8.5), None),
            ("-80,-11,14", Some(14.0), None),
            ("-800,-110,5000", None, Some(5000)),
        ] {
            let cell = read(&[&sa_with(levels)]).cell.expect("a cell");
            assert_eq!((cell.snr_db, cell.snr_raw), (db, raw), "{levels}");
        }
    }

    #[test]
    fn wcdma_and_gsm() {
        let cell = read(&[WCDMA]).cell.expect("a cell");
        assert_eq!((cell.lac, cell.psc, cell.uarfcn), (Some(0x152), Some(214), Some(4436)));
        assert_eq!((cell.rscp_dbm, cell.rssi_dbm), (Some(-83.0), Some(-70.5)));
        let overflow = "+CPSI: WCDMA,Online,252-02,0x2612,-294967296,WCDMA IMT 2000,437,10687,0,-3,-32768,-32768,-83,-15";
        let cell = read(&[overflow]).cell.expect("a cell");
        assert_eq!((cell.cell_id, cell.rscp_dbm, cell.rssi_dbm), (None, None, None));
        let wide = WCDMA.replace("14302219", "4294967295");
        assert_eq!(read(&[&wide]).cell.expect("a cell").cell_id, None);
        let gsm = read(&["+CPSI: GSM,Online,460-00,0x182d,12401,27 EGSM 900,-64,2110,42-42"]);
        let cell = gsm.cell.expect("a cell");
        assert_eq!((cell.arfcn, cell.band_text.as_deref()), (Some(27), Some("EGSM 900")));
        assert_eq!(cell.rssi_dbm, Some(-64.0));
    }

    #[test]
    fn a_cell_change_yields_no_values() {
        let garbage =
            "+CPSI: LTE,Online,250-20,0x4D07,200468789,0,EUTRAN-BAND0,4294967295,0,0,0,0,0,0";
        let wanted = json!({"mode": "LTE", "oper_mode": "Online", "lte_valid": false});
        check(&[garbage], wanted.clone());
        check(&[&lte_with("0,0,0,0")], wanted);
        assert_eq!(read(&[garbage, WCDMA]).lte_valid, Some(false));
        assert_eq!(read(&[LTE, garbage]).cell, read(&[LTE]).cell);
        assert_eq!(read(&[garbage, NSA]).rat, Some(Rat::Nr));
        assert_eq!(read(&[LTE, NSA, garbage]).lte, read(&[LTE]).cell);
        let channel = LTE.replace(",1850,", ",4294967295,");
        assert_eq!(read(&[&channel]).cell, None);
    }

    #[test]
    fn the_last_good_line_wins() {
        let newer = LTE.replace(",1850,", ",3400,");
        assert_eq!(read(&[LTE, WCDMA, &newer]).cell.expect("a cell").earfcn, Some(3400));
        assert_eq!(read(&[LTE, NSA, &newer]).lte.expect("an anchor").earfcn, Some(3400));
        let gone = read(&[LTE, NSA, "+CPSI: NO SERVICE,Online"]);
        assert_eq!(
            (gone.mode.as_deref(), &gone.nr, &gone.cell),
            (Some("NO SERVICE"), &None, &None)
        );
    }

    #[test]
    fn systems_without_a_cell_keep_their_name_only() {
        check(&["+CPSI: NO SERVICE,Online"], json!({"mode": "NO SERVICE", "oper_mode": "Online"}));
        check(
            &["+CPSI: NOT LTE,Online,0,0,-16,-97,-67,7"],
            json!({"mode": "NOT LTE", "oper_mode": "Online"}),
        );
        assert!(signals(&read(&["+CPSI: NO SERVICE,Low Power Mode"])).is_empty());
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        assert!(cpsi::<&str>(&[]).is_err());
        assert!(cpsi(&["+CSQ: 1,1"]).is_err());
        assert!(cpsi(&["+CPSI:"]).is_err());
        assert!(cpsi(&["+CPSI: ,Online"]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

        #[test]
        fn no_text_makes_it_panic_and_no_level_is_impossible(
            head in "(LTE|NR5G|NR5G_SA|NR5G_NSA|WCDMA|GSM|LTE CAT-M1|\\PC{0,9}),?(Online,460-11,0x1,2)?",
            tail in "(,(-?[0-9]{1,5}|NR5G_BAND78|[-+.0-9xF]{0,6}|\\PC{0,5})){0,14}",
        ) {
            let line = format!("+CPSI: {head}{tail}");
            if let Ok(cpsi) = cpsi(&[line, NSA.to_owned()]) {
                for signal in signals(&cpsi) {
                    prop_assert_eq!(signal, signal.plausible(&mut Sieve::default()));
                }
            }
        }
    }
}
