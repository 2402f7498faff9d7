//! `AT+QENG="servingcell"`: LTE, NR standalone, EN-DC in three lines, WCDMA, GSM.

use modem::reply::{
    Args, MAX_EARFCN, MAX_NR_ARFCN, Quantity, Rat, ReplyError, Sieve, Signal, is_area, is_cell,
    own_rows, parse_decimal, parse_hex, parse_uint,
};
use serde::Serialize;

use crate::words::{cut, radio};

const COMMAND: &str = "AT+QENG=\"servingcell\"";

/// The answer to `AT+QENG="servingcell"`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Qeng {
    /// `SEARCH`, `LIMSRV`, `NOCONN`, `CONNECT`.
    pub ue_state: Option<String>,
    /// The radio on which the modem is registered, in the metrics' words; in EN-DC the anchor's radio.
    pub rat: Option<Rat>,
    /// The LTE cell, also of category M and NB-IoT.
    pub lte: Option<Cell>,
    /// The NR cell, alone or beside LTE.
    pub nr: Option<Cell>,
    /// The WCDMA cell.
    pub wcdma: Option<Cell>,
    /// The GSM cell.
    pub gsm: Option<Cell>,
    /// The radio of `lte`: LTE, category M or NB-IoT.
    #[serde(skip)]
    pub lte_rat: Option<Rat>,
    /// The number of levels that were impossible and left out.
    #[serde(skip)]
    pub implausible: u32,
}

/// A cell as reported. Levels are in dBm and dB.
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
/// [`ReplyError`] if there is no `+QENG:` line of a serving cell.
pub fn qeng<L: AsRef<str>>(lines: &[L]) -> Result<Qeng, ReplyError> {
    let mut qeng = Qeng::default();
    let mut sieve = Sieve::default();
    let mut known = false;
    for args in own_rows(COMMAND, "+QENG", lines) {
        let mut fields = Fields { args: &args, at: 0 };
        if fields.text(0).is_some_and(|word| word.eq_ignore_ascii_case("servingcell")) {
            known = true;
            // The state may be missing; the radio's name is next then.
            let state = args.text(1).filter(|word| radio(word).is_none());
            qeng.ue_state = state.map(cut).or(qeng.ue_state.take());
            fields.at = 1 + usize::from(state.is_some() || args.text(1).is_none());
        }
        known |= take_cell(&mut qeng, fields, &mut sieve);
    }
    if !known {
        return Err(ReplyError::Missing {
            command: COMMAND,
            wanted: "+QENG: line of a serving cell",
        });
    }
    let others = [(&qeng.nr, Rat::Nr), (&qeng.wcdma, Rat::Wcdma), (&qeng.gsm, Rat::Gsm)];
    let other = others.into_iter().find(|(cell, _)| cell.is_some()).map(|(_, rat)| rat);
    qeng.rat = qeng.lte_rat.or(other);
    qeng.implausible = sieve.implausible();
    Ok(qeng)
}

/// Takes the cell of a line at its radio's name, and reports whether the line names a radio.
fn take_cell(qeng: &mut Qeng, mut fields: Fields<'_, '_>, sieve: &mut Sieve) -> bool {
    let Some(word) = fields.text(0) else { return false };
    let Some((Some(rat), _)) = radio(word) else { return false };
    fields.at += 1;
    match rat {
        Rat::Lte | Rat::CatM | Rat::NbIot => {
            if let Some(cell) = lte(fields, sieve) {
                (qeng.lte, qeng.lte_rat) = (Some(cell), Some(rat));
            }
        }
        Rat::Nr if word.eq_ignore_ascii_case("NR5G-NSA") => {
            qeng.nr = beside_lte(fields, sieve).or(qeng.nr.take());
        }
        Rat::Nr => qeng.nr = standalone(fields, sieve).or(qeng.nr.take()),
        // TD-SCDMA has other columns.
        Rat::Wcdma if !word.eq_ignore_ascii_case("WCDMA") => {}
        Rat::Wcdma => qeng.wcdma = wcdma(fields, sieve).or(qeng.wcdma.take()),
        Rat::Gsm => qeng.gsm = gsm(fields, sieve).or(qeng.gsm.take()),
    }
    true
}

/// The arguments of a line, starting at its cell.
#[derive(Clone, Copy)]
struct Fields<'a, 't> {
    args: &'a Args<'t>,
    at: usize,
}

impl<'t> Fields<'_, 't> {
    fn text(&self, at: usize) -> Option<&'t str> {
        self.args.text(self.at + at)
    }

    /// Reads a channel's number; the outer `None` stands for an impossible number, as between two cells.
    fn arfcn(&self, at: usize, max: u32) -> Option<Option<u32>> {
        let channel = self.uint(at, max);
        (self.text(at).is_none() || channel.is_some()).then_some(channel)
    }

    fn uint(&self, at: usize, max: u32) -> Option<u32> {
        let number = self.text(at).and_then(parse_uint)?;
        u32::try_from(number).ok().filter(|number| *number <= max)
    }

    /// Reads an area or a cell of so many bits, as sent and as a number.
    fn hex(&self, at: usize, bits: u32, is_known: fn(u64) -> bool) -> Option<(String, u64)> {
        let text = self.text(at)?;
        let number = parse_hex(text).filter(|number| *number < 1 << bits && is_known(*number))?;
        Some((text.to_owned(), number))
    }

    fn level(&self, sieve: &mut Sieve, quantity: Quantity, at: usize) -> Option<f64> {
        sieve.keep(quantity, self.text(at).and_then(parse_decimal)?)
    }

    fn raw(&self, at: usize) -> Option<i64> {
        let number: i64 = self.text(at)?.parse().ok()?;
        (-1_000..=1_000).contains(&number).then_some(number)
    }

    /// Reads country and network; `None` if the line names none, as between two cells.
    fn plmn(&self, at: usize) -> Option<(String, String)> {
        let digits = |text: &str, lengths: std::ops::RangeInclusive<usize>| {
            lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        let mcc = self.text(at).filter(|mcc| digits(mcc, 3..=3) && *mcc != "000")?;
        let mnc = self.text(at + 1).filter(|mnc| digits(mnc, 1..=3))?;
        Some((mcc.to_owned(), format!("{mnc:0>2}")))
    }
}

fn identity(fields: Fields<'_, '_>, plmn: usize, cell: usize, bits: u32) -> Cell {
    let (mcc, mnc) = fields.plmn(plmn).unzip();
    let (cell_id_hex, cell_id) = fields.hex(cell, bits, is_cell).unzip();
    Cell { mcc, mnc, cell_id_hex, cell_id, ..Cell::default() }
}

impl Cell {
    /// Returns the cell if its network or its strength is known.
    fn if_known(self) -> Option<Self> {
        let levels = [self.rsrp_dbm, self.rscp_dbm, self.rssi_dbm];
        (self.mcc.is_some() || levels.iter().any(Option::is_some)).then_some(self)
    }
}

/// Reads `<duplex>,<mcc>,<mnc>,<cell>,<pci>,<earfcn>,<band>,<ul>,<dl>,<tac>,<RSRP>,<RSRQ>,<RSSI>,<SINR>…`
fn lte(fields: Fields<'_, '_>, sieve: &mut Sieve) -> Option<Cell> {
    let earfcn = fields.arfcn(5, MAX_EARFCN)?;
    let (tac_hex, tac) = fields.hex(9, 16, is_area).unzip();
    Cell {
        duplex: fields.text(0).map(cut),
        pci: fields.uint(4, 503),
        earfcn,
        band: fields.uint(6, 256).filter(|band| *band > 0),
        tac_hex,
        tac,
        rsrp_dbm: fields.level(sieve, Quantity::Rsrp, 10),
        rsrq_db: fields.level(sieve, Quantity::Rsrq, 11),
        rssi_dbm: fields.level(sieve, Quantity::Rssi, 12),
        sinr_raw: fields.raw(13),
        ..identity(fields, 1, 3, 28)
    }
    .if_known()
}

/// Reads `<duplex>,<mcc>,<mnc>,<cell>,<pci>,<tac>,<arfcn>,<band>,<bandwidth>,<RSRP>,<RSRQ>,<SINR>,<scs>…`
fn standalone(fields: Fields<'_, '_>, sieve: &mut Sieve) -> Option<Cell> {
    let arfcn = fields.arfcn(6, MAX_NR_ARFCN)?;
    let (tac_hex, tac) = fields.hex(5, 24, is_area).unzip();
    Cell {
        mode: Some("sa"),
        duplex: fields.text(0).map(cut),
        pci: fields.uint(4, 1_007),
        tac_hex,
        tac,
        arfcn,
        band: fields.uint(7, 1_024).filter(|band| *band > 0),
        bandwidth_raw: fields.uint(8, 255),
        rsrp_dbm: fields.level(sieve, Quantity::Rsrp, 9),
        rsrq_db: fields.level(sieve, Quantity::Rsrq, 10),
        sinr_raw: fields.raw(11),
        scs_raw: fields.uint(12, 4),
        ..identity(fields, 1, 3, 36)
    }
    .if_known()
}

/// Reads `<mcc>,<mnc>,<pci>,<RSRP>,<SINR>,<RSRQ>[,<arfcn>,<band>[,<bandwidth>,<scs>]]`, in another order. The
/// oldest firmware ends after the levels. A line with an impossible channel is garbage.
fn beside_lte(fields: Fields<'_, '_>, sieve: &mut Sieve) -> Option<Cell> {
    let (mcc, mnc) = fields.plmn(0).unzip();
    let arfcn = fields.arfcn(6, MAX_NR_ARFCN)?;
    Cell {
        mode: Some("nsa"),
        mcc,
        mnc,
        pci: fields.uint(2, 1_007),
        rsrp_dbm: fields.level(sieve, Quantity::Rsrp, 3),
        sinr_raw: fields.raw(4),
        rsrq_db: fields.level(sieve, Quantity::Rsrq, 5),
        arfcn,
        band: fields.uint(7, 1_024).filter(|band| *band > 0),
        bandwidth_raw: fields.uint(8, 255),
        scs_raw: fields.uint(9, 4),
        ..Cell::default()
    }
    .if_known()
}

/// Reads `<mcc>,<mnc>,<lac>,<cell>,<uarfcn>,<psc>,<rac>,<RSCP>,<Ec/Io>…`
fn wcdma(fields: Fields<'_, '_>, sieve: &mut Sieve) -> Option<Cell> {
    Cell {
        lac: fields.hex(2, 16, is_area).map(|(_, lac)| lac),
        uarfcn: fields.uint(4, 16_383),
        rscp_dbm: fields.level(sieve, Quantity::Rsrp, 7),
        ecio_db: fields.text(8).and_then(parse_decimal).filter(|ecio| (-40.0..=0.0).contains(ecio)),
        ..identity(fields, 0, 3, 28)
    }
    .if_known()
}

/// Reads `<mcc>,<mnc>,<lac>,<cell>,<bsic>,<arfcn>,<band>,<rxlev>…`
fn gsm(fields: Fields<'_, '_>, sieve: &mut Sieve) -> Option<Cell> {
    Cell {
        lac: fields.hex(2, 16, is_area).map(|(_, lac)| lac),
        arfcn: fields.uint(5, 1_023),
        rssi_dbm: fields.level(sieve, Quantity::Rssi, 7),
        ..identity(fields, 0, 3, 16)
    }
    .if_known()
}

/// Returns the levels of each radio. `nr_sinr_in_db` means that this firmware's SINR of NR is in dB. LTE's SINR
/// comes from `AT+QCSQ`, whose unit is known.
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
    let anchor = qeng.lte_rat.unwrap_or(Rat::Lte);
    let others = [(&qeng.lte, anchor), (&qeng.wcdma, Rat::Wcdma), (&qeng.gsm, Rat::Gsm)];
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

    /// Forms of public reports, with other numbers.
    #[test]
    fn each_radio_is_named_for_what_it_is() {
        for (rest, rat, rsrp) in [
            (
                "\"NOCONN\",\"LTE\",\"FDD\",001,01,1A2B3C,87,2050,4,3,3,5B10,-88,-11,-62,11,41",
                Rat::Lte,
                -88.0,
            ),
            // BG96, BG95, BG77 and a satellite's cell.
            (
                "\"CONNECT\",\"CAT-M\",\"FDD\",001,01,2FAA03,87,6200,20,3,3,2AFB,-105,-11,-76,10,-",
                Rat::CatM,
                -105.0,
            ),
            (
                "\"NOCONN\",\"eMTC\",\"FDD\",001,010,B0DD81,52,5110,12,3,3,5003,-88,-11,-62,11,41",
                Rat::CatM,
                -88.0,
            ),
            (
                "\"NOCONN\",\"CAT-M1\",\"FDD\",001,01,B0DD81,52,5110,12,3,3,5003,-88,-11,-62",
                Rat::CatM,
                -88.0,
            ),
            (
                "\"NOCONN\",\"CAT-NB\",\"FDD\",001,01,DDA145,80,2506,5,0,0,69C9,-84,-17,-67,8,44",
                Rat::NbIot,
                -84.0,
            ),
            (
                "\"NOCONN\",\"NBIoT\",\"FDD\",001,01,DDA145,80,2506,5,0,0,69C9,-84,-17,-67",
                Rat::NbIot,
                -84.0,
            ),
            (
                "\"LIMSRV\",\"NTN NBIoT\",\"FDD\",901,98,DC379,9,7685,23,0,0,7D9,-123,-14,-108,85,",
                Rat::NbIot,
                -123.0,
            ),
            // The state may be missing, and the letters small.
            ("\"LTE\",\"FDD\",001,01,1A2B3C,87,2050,4,3,3,5b10,-88,-11,-62,11,41", Rat::Lte, -88.0),
            (
                "\"noconn\",\"lte\",\"fdd\",001,01,1a2b3c,87,2050,4,3,3,5b10,-88,-11,-62,11,41",
                Rat::Lte,
                -88.0,
            ),
            // A unit that knows its strength and not yet its network.
            ("\"LIMSRV\",\"LTE\",\"FDD\",-,-,-,87,2050,4,3,3,-,-119,-18,-,-,-", Rat::Lte, -119.0),
            (
                "\"LIMSRV\",\"LTE\",\"FDD\",001,01,FFFFFFF,87,-,0,3,3,FFFE,-119,-18,-,-,-",
                Rat::Lte,
                -119.0,
            ),
            (
                "\"NOCONN\",\"NR5G-SA\",\"TDD\", 001,01,A0117F003,287,1000D7,504990,41,12,-99,-13,0,1,20",
                Rat::Nr,
                -99.0,
            ),
            (
                "\"LIMSRV\",\"NR5G-SA\",\"TDD\",001,01,000000E00,0,1,641280,78,3,-95,-12,-3276,1,-",
                Rat::Nr,
                -95.0,
            ),
        ] {
            let read = qeng(&[format!("+QENG: \"servingcell\",{rest}")]).unwrap();
            assert_eq!(read.rat, Some(rat), "{rest}");
            assert_eq!(read.implausible, 0, "{rest}");
            let [signal] = signals(&read, true).try_into().unwrap();
            assert_eq!((signal.rat, signal.rsrp_dbm), (rat, Some(rsrp)), "{rest}");
            let cell = read.lte.or(read.nr).unwrap();
            assert_eq!(cell.tac_hex.is_none(), cell.tac.is_none());
            assert_ne!(cell.cell_id, Some(0xFFF_FFFF));
            assert_ne!(cell.band, Some(0));
        }
    }

    #[test]
    fn older_radios_are_named_too() {
        for (rest, rat, rscp, rssi) in [
            (
                "\"NOCONN\",\"WCDMA\",001,01,75,6FE0090,10736,58,0,-78,-3,-,-,-,-,-",
                Rat::Wcdma,
                Some(-78.0),
                None,
            ),
            ("\"LIMSRV\",\"WCDMA\",-,-,-,-,10736,58,-,-106,-13", Rat::Wcdma, Some(-106.0), None),
            (
                "\"LIMSRV\",\"GSM\",001,01,5504,2B55,52,123,0,-67,5,14,64",
                Rat::Gsm,
                None,
                Some(-67.0),
            ),
        ] {
            let read = qeng(&[format!("+QENG: \"servingcell\",{rest}")]).unwrap();
            assert_eq!(read.rat, Some(rat), "{rest}");
            let cell = read.wcdma.or(read.gsm).unwrap();
            assert_eq!((cell.rscp_dbm, cell.rssi_dbm), (rscp, rssi), "{rest}");
        }
    }

    /// A cell without any known value is left out.
    #[test]
    fn nothing_is_made_of_nothing() {
        for rest in [
            "\"SEARCH\"",
            "\"LIMSRV\",\"LTE\"",
            "\"LIMSRV\",\"LTE\",\"FDD\",-,-,-,-,-,-,-,-,-,-,-,-,-,-",
            "\"NOCONN\",\"TDSCDMA\",001,01,1234,5678,10,20,30,-80",
            "\"NOCONN\",\"6G\",\"TDD\",001,01,1A2B3C,87,2050,4",
            "",
        ] {
            let read = qeng(&[format!("+QENG: \"servingcell\",{rest}")]).unwrap();
            let cells = [&read.lte, &read.nr, &read.wcdma, &read.gsm];
            assert!(cells.iter().all(|cell| cell.is_none()) && read.rat.is_none(), "{rest}");
        }
        assert!(qeng(&["+QENG: \"NR5G-NSA\","]).unwrap().nr.is_none());
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
