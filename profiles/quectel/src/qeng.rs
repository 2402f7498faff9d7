//! `AT+QENG="servingcell"`: LTE, NR standalone, EN-DC in three lines, WCDMA, GSM.

use modem::reply::{
    Arg, Args, Quantity, Rat, ReplyError, Sieve, Signal, own_rows, parse_decimal, parse_hex,
    parse_uint,
};
use serde::Serialize;

use crate::status::cut;

const COMMAND: &str = "AT+QENG=\"servingcell\"";

/// 36.101 §5.7.3 and 38.104 §5.4.2.1.
const MAX_EARFCN: u32 = 262_143;
const MAX_NR_ARFCN: u32 = 3_279_165;

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Qeng {
    /// `SEARCH`, `LIMSRV`, `NOCONN`, `CONNECT`.
    pub ue_state: Option<String>,
    /// The radio that the modem is registered on, in the metrics' words; in EN-DC the anchor's.
    pub rat: Option<Rat>,
    /// The LTE cell.
    pub lte: Option<Cell>,
    /// The NR cell, alone or beside LTE.
    pub nr: Option<Cell>,
    /// The WCDMA cell.
    pub wcdma: Option<Cell>,
    /// The GSM cell.
    pub gsm: Option<Cell>,
    /// How many levels were impossible and left out.
    #[serde(skip)]
    pub implausible: u32,
}

/// What was reported of one cell. Levels are in dBm and dB.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cell {
    /// `sa` or `nsa`, of NR.
    pub mode: Option<&'static str>,
    /// `FDD` or `TDD`.
    pub duplex: Option<String>,
    /// Mobile country code, three digits.
    pub mcc: Option<String>,
    /// Mobile network code, two or three digits.
    pub mnc: Option<String>,
    /// Cell identity as sent, hexadecimal.
    pub cell_id_hex: Option<String>,
    /// Cell identity; up to 28 bits in LTE, 36 in NR.
    pub cell_id: Option<u64>,
    /// Physical cell identity.
    pub pci: Option<u32>,
    /// Tracking area as sent, hexadecimal.
    pub tac_hex: Option<String>,
    /// Tracking area.
    pub tac: Option<u64>,
    /// Location area, in GSM and WCDMA.
    pub lac: Option<u64>,
    /// LTE channel number.
    pub earfcn: Option<u32>,
    /// GSM or NR channel number.
    pub arfcn: Option<u32>,
    /// WCDMA channel number.
    pub uarfcn: Option<u32>,
    /// Band number, in LTE and NR.
    pub band: Option<u32>,
    /// Bandwidth as sent, a code.
    pub bandwidth_raw: Option<u32>,
    /// Subcarrier spacing as sent, a code.
    pub scs_raw: Option<u32>,
    /// Reference signal received power, dBm.
    pub rsrp_dbm: Option<f64>,
    /// Reference signal received quality, dB.
    pub rsrq_db: Option<f64>,
    /// Received power over the whole channel, dBm.
    pub rssi_dbm: Option<f64>,
    /// WCDMA received code power, dBm.
    pub rscp_dbm: Option<f64>,
    /// WCDMA Ec/Io, dB.
    pub ecio_db: Option<f64>,
    /// SINR as sent: firmware differs in its unit.
    pub sinr_raw: Option<i64>,
}

/// Reads the lines of the answer.
///
/// # Errors
/// [`ReplyError`] where there is no `+QENG:` line of a serving cell.
pub fn qeng<L: AsRef<str>>(lines: &[L]) -> Result<Qeng, ReplyError> {
    let mut qeng = Qeng::default();
    let mut sieve = Sieve::default();
    let mut known = false;
    for args in own_rows(COMMAND, "+QENG", lines) {
        let mut fields = Fields { args: &args, at: 0 };
        if fields.word() == Some("servingcell") {
            known = true;
            qeng.ue_state = args.text(1).map(cut);
            fields.at = 2;
        }
        known |= take_cell(&mut qeng, fields, &mut sieve);
    }
    if !known {
        return Err(ReplyError::Missing {
            command: COMMAND,
            wanted: "+QENG: line of a serving cell",
        });
    }
    let anchor = [
        (&qeng.lte, Rat::Lte),
        (&qeng.nr, Rat::Nr),
        (&qeng.wcdma, Rat::Wcdma),
        (&qeng.gsm, Rat::Gsm),
    ];
    qeng.rat = anchor.into_iter().find(|(cell, _)| cell.is_some()).map(|(_, rat)| rat);
    qeng.implausible = sieve.implausible();
    Ok(qeng)
}

/// Takes the cell of a line whose radio's name is next; whether it names one.
fn take_cell(qeng: &mut Qeng, mut fields: Fields<'_, '_>, sieve: &mut Sieve) -> bool {
    let Some(radio) = fields.word() else { return false };
    fields.at += 1;
    match radio {
        "LTE" | "CAT-M" | "CAT-NB" | "eMTC" | "NBIoT" => {
            qeng.lte = lte(fields, sieve).or(qeng.lte.take())
        }
        "NR5G-SA" => qeng.nr = standalone(fields, sieve).or(qeng.nr.take()),
        "NR5G-NSA" => qeng.nr = beside_lte(fields, sieve).or(qeng.nr.take()),
        "WCDMA" => qeng.wcdma = wcdma(fields, sieve).or(qeng.wcdma.take()),
        "GSM" => qeng.gsm = gsm(fields, sieve).or(qeng.gsm.take()),
        _ => return false,
    }
    true
}

/// The arguments of a line from its cell on.
#[derive(Clone, Copy)]
struct Fields<'a, 't> {
    args: &'a Args<'t>,
    at: usize,
}

impl<'t> Fields<'_, 't> {
    fn word(&self) -> Option<&'t str> {
        self.text(0)
    }

    fn text(&self, at: usize) -> Option<&'t str> {
        let Arg { text, .. } = self.args.arg(self.at + at)?;
        (!text.is_empty() && text != "-").then_some(text)
    }

    fn uint(&self, at: usize, max: u32) -> Option<u32> {
        let number = self.text(at).and_then(parse_uint)?;
        u32::try_from(number).ok().filter(|number| *number <= max)
    }

    fn hex(&self, at: usize, bits: u32) -> Option<(String, u64)> {
        let text = self.text(at)?;
        parse_hex(text).filter(|number| *number < 1 << bits).map(|number| (text.to_owned(), number))
    }

    fn level(&self, sieve: &mut Sieve, quantity: Quantity, at: usize) -> Option<f64> {
        sieve.keep(quantity, self.text(at).and_then(parse_decimal)?)
    }

    fn raw(&self, at: usize) -> Option<i64> {
        let number: i64 = self.text(at)?.parse().ok()?;
        (-1_000..=1_000).contains(&number).then_some(number)
    }

    /// Country and network; `None` where the line names none, as between two cells.
    fn plmn(&self, at: usize) -> Option<(String, String)> {
        let digits = |text: &str, lengths: std::ops::RangeInclusive<usize>| {
            lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        let mcc = self.text(at).filter(|mcc| digits(mcc, 3..=3) && *mcc != "000")?;
        let mnc = self.text(at + 1).filter(|mnc| digits(mnc, 1..=3))?;
        Some((mcc.to_owned(), format!("{mnc:0>2}")))
    }
}

fn identity(fields: Fields<'_, '_>, plmn: usize, cell: usize, bits: u32) -> Option<Cell> {
    let (mcc, mnc) = fields.plmn(plmn)?;
    let (cell_id_hex, cell_id) = fields.hex(cell, bits).unzip();
    Some(Cell { mcc: Some(mcc), mnc: Some(mnc), cell_id_hex, cell_id, ..Cell::default() })
}

/// `<duplex>,<mcc>,<mnc>,<cell>,<pci>,<earfcn>,<band>,<ul>,<dl>,<tac>,<RSRP>,<RSRQ>,<RSSI>,<SINR>…`
fn lte(fields: Fields<'_, '_>, sieve: &mut Sieve) -> Option<Cell> {
    let earfcn = fields.uint(5, MAX_EARFCN)?;
    let (tac_hex, tac) = fields.hex(9, 16).unzip();
    Some(Cell {
        duplex: fields.text(0).map(cut),
        pci: fields.uint(4, 503),
        earfcn: Some(earfcn),
        band: fields.uint(6, 256),
        tac_hex,
        tac,
        rsrp_dbm: fields.level(sieve, Quantity::Rsrp, 10),
        rsrq_db: fields.level(sieve, Quantity::Rsrq, 11),
        rssi_dbm: fields.level(sieve, Quantity::Rssi, 12),
        sinr_raw: fields.raw(13),
        ..identity(fields, 1, 3, 28)?
    })
}

/// `<duplex>,<mcc>,<mnc>,<cell>,<pci>,<tac>,<arfcn>,<band>,<bandwidth>,<RSRP>,<RSRQ>,<SINR>,<scs>…`
fn standalone(fields: Fields<'_, '_>, sieve: &mut Sieve) -> Option<Cell> {
    let arfcn = fields.uint(6, MAX_NR_ARFCN)?;
    let (tac_hex, tac) = fields.hex(5, 24).unzip();
    Some(Cell {
        mode: Some("sa"),
        duplex: fields.text(0).map(cut),
        pci: fields.uint(4, 1_007),
        tac_hex,
        tac,
        arfcn: Some(arfcn),
        band: fields.uint(7, 1_024),
        bandwidth_raw: fields.uint(8, 255),
        rsrp_dbm: fields.level(sieve, Quantity::Rsrp, 9),
        rsrq_db: fields.level(sieve, Quantity::Rsrq, 10),
        sinr_raw: fields.raw(11),
        scs_raw: fields.uint(12, 4),
        ..identity(fields, 1, 3, 36)?
    })
}

/// `<mcc>,<mnc>,<pci>,<RSRP>,<SINR>,<RSRQ>[,<arfcn>,<band>[,<bandwidth>,<scs>]]`: another order. The
/// oldest firmware ends after the levels; a channel that is there and impossible is garbage.
fn beside_lte(fields: Fields<'_, '_>, sieve: &mut Sieve) -> Option<Cell> {
    let (mcc, mnc) = fields.plmn(0)?;
    let arfcn = fields.uint(6, MAX_NR_ARFCN);
    if fields.text(6).is_some() && arfcn.is_none() {
        return None;
    }
    Some(Cell {
        mode: Some("nsa"),
        mcc: Some(mcc),
        mnc: Some(mnc),
        pci: fields.uint(2, 1_007),
        rsrp_dbm: fields.level(sieve, Quantity::Rsrp, 3),
        sinr_raw: fields.raw(4),
        rsrq_db: fields.level(sieve, Quantity::Rsrq, 5),
        arfcn,
        band: fields.uint(7, 1_024),
        bandwidth_raw: fields.uint(8, 255),
        scs_raw: fields.uint(9, 4),
        ..Cell::default()
    })
}

/// `<mcc>,<mnc>,<lac>,<cell>,<uarfcn>,<psc>,<rac>,<RSCP>,<Ec/Io>…`
fn wcdma(fields: Fields<'_, '_>, sieve: &mut Sieve) -> Option<Cell> {
    Some(Cell {
        lac: fields.hex(2, 16).map(|(_, lac)| lac),
        uarfcn: fields.uint(4, 16_383),
        rscp_dbm: fields.level(sieve, Quantity::Rsrp, 7),
        ecio_db: fields.text(8).and_then(parse_decimal).filter(|ecio| (-40.0..=0.0).contains(ecio)),
        ..identity(fields, 0, 3, 28)?
    })
}

/// `<mcc>,<mnc>,<lac>,<cell>,<bsic>,<arfcn>,<band>,<rxlev>…`
fn gsm(fields: Fields<'_, '_>, sieve: &mut Sieve) -> Option<Cell> {
    Some(Cell {
        lac: fields.hex(2, 16).map(|(_, lac)| lac),
        arfcn: fields.uint(5, 1_023),
        rssi_dbm: fields.level(sieve, Quantity::Rssi, 7),
        ..identity(fields, 0, 3, 16)?
    })
}

/// The levels of each radio. `nr_sinr_in_db` tells that this firmware's SINR of NR is in dB; LTE's comes
/// from `AT+QCSQ`, whose unit is known.
pub fn signals(qeng: &Qeng, nr_sinr_in_db: bool) -> Vec<Signal> {
    let of = |rat, cell: &Cell| Signal {
        rssi_dbm: cell.rssi_dbm,
        rsrp_dbm: cell.rsrp_dbm,
        rsrq_db: cell.rsrq_db,
        ..Signal::unknown(rat)
    };
    let sinr = |cell: &Cell| {
        let raw = cell.sinr_raw.and_then(|raw| i32::try_from(raw).ok()).map(f64::from)?;
        (nr_sinr_in_db && Quantity::Sinr.range().contains(&raw)).then_some(raw)
    };
    let nr = qeng.nr.as_ref().map(|cell| Signal { sinr_db: sinr(cell), ..of(Rat::Nr, cell) });
    let others = [(&qeng.lte, Rat::Lte), (&qeng.wcdma, Rat::Wcdma), (&qeng.gsm, Rat::Gsm)];
    let others = others.into_iter().filter_map(|(cell, rat)| Some(of(rat, cell.as_ref()?)));
    others.chain(nr).filter(|signal| !signal.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endc_has_an_order_of_its_own() {
        let read = qeng(&[
            "+QENG: \"servingcell\",\"NOCONN\"",
            "+QENG: \"LTE\",\"FDD\",460,01,5F1EA15,12,1650,3,5,5,DE10,-100,-12,-68,11,3,200,-",
            "+QENG:\"NR5G-NSA\",460,01,747,-71,13,-11,627264,78,12,1",
        ])
        .unwrap();
        assert_eq!((read.ue_state.as_deref(), read.rat), (Some("NOCONN"), Some(Rat::Lte)));
        let nr = read.nr.as_ref().unwrap();
        assert_eq!((nr.rsrp_dbm, nr.sinr_raw, nr.rsrq_db), (Some(-71.0), Some(13), Some(-11.0)));
        assert_eq!((nr.arfcn, nr.band, nr.pci), (Some(627_264), Some(78), Some(747)));
        let sinr = |known| signals(&read, known).last().unwrap().sinr_db;
        assert_eq!((sinr(true), sinr(false)), (Some(13.0), None));
    }

    #[test]
    fn an_nr_line_without_a_channel_is_whole_and_one_with_an_impossible_one_is_garbage() {
        let nr = |line: &str| qeng(&["+QENG: \"servingcell\",\"NOCONN\"", line]).unwrap().nr;
        let short = nr("+QENG: \"NR5G-NSA\",460,01,747,-71,13,-11").unwrap();
        assert_eq!((short.rsrp_dbm, short.rsrq_db, short.arfcn), (Some(-71.0), Some(-11.0), None));
        assert_eq!(nr("+QENG: \"NR5G-NSA\",460,01,0,0,0,0,4294967295,0"), None);
    }

    #[test]
    fn what_is_not_plausible_is_left_out_and_counted() {
        let read = qeng(&["+QENG: \"servingcell\",\"NOCONN\",\"NR5G-SA\",\"TDD\",310,260,939204254,2000,60AA00,126490,71,1,-300,-32768,-,0,-"]).unwrap();
        let nr = read.nr.unwrap();
        assert_eq!((nr.cell_id, nr.pci), (Some(39_613_121_108), None));
        assert_eq!((nr.rsrp_dbm, nr.rsrq_db, nr.sinr_raw), (None, None, None));
        assert_eq!(read.implausible, 1);
        let between = qeng(&[
            "+QENG: \"servingcell\",\"SEARCH\"",
            "+QENG: \"servingcell\",\"LIMSRV\",\"LTE\",\"FDD\",0,0,0,0,4294967295",
        ])
        .unwrap();
        assert_eq!((between.lte, between.ue_state.as_deref()), (None, Some("LIMSRV")));
        assert!(qeng(&["+QENG: \"neighbourcell intra\",\"LTE\",275,280"]).is_err());
        assert!(qeng::<&str>(&[]).is_err());
    }
}
