//! `AT+CENG?`, the serving cell of a SIM7020 (SIM7020 manual V1.05 §5.2.6). The SIM7020 has no `AT+CPSI?`. Its
//! `AT+CSQ` uses a scale of its own (§3.2.16), so `AT+CSQ` is not read.

use modem::reply::{
    Args, MAX_EARFCN, Quantity, Rat, ReplyError, Sieve, Signal, is_area, is_cell, own_rows,
    parse_decimal, parse_hex,
};
use serde::Serialize;

const COMMAND: &str = "AT+CENG?";

/// The positions of the arguments.
mod place {
    pub(super) const EARFCN: usize = 0;
    pub(super) const PCI: usize = 2;
    pub(super) const CELL: usize = 3;
    pub(super) const RSRP: usize = 4;
    pub(super) const RSRQ: usize = 5;
    pub(super) const RSSI: usize = 6;
    pub(super) const SNR: usize = 7;
    pub(super) const BAND: usize = 8;
    pub(super) const TAC: usize = 9;
    pub(super) const ECL: usize = 10;
    pub(super) const POWER: usize = 11;
}

/// The serving cell as reported. Levels are present only while the modem sends nothing (§5.2.6: RRC idle).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ceng {
    /// Always NB-IoT.
    pub rat: Rat,
    /// Channel number.
    pub earfcn: Option<u32>,
    /// Physical cell identity.
    pub pci: Option<u32>,
    /// Cell identity, 28 bits.
    pub cell_id: Option<u64>,
    /// Tracking area.
    pub tac: Option<u32>,
    /// Band number.
    pub band: Option<u32>,
    /// Reference signal received power, dBm.
    pub rsrp_dbm: Option<f64>,
    /// Reference signal received quality, dB.
    pub rsrq_db: Option<f64>,
    /// Received power over the whole channel, dBm.
    pub rssi_dbm: Option<f64>,
    /// Signal to noise, dB.
    pub sinr_db: Option<f64>,
    /// Coverage enhancement level, 0 to 2: how often each packet is repeated.
    pub coverage_level: Option<u32>,
    /// Transmit power, dBm.
    pub tx_power_dbm: Option<f64>,
    /// The number of values that were impossible and left out.
    #[serde(skip)]
    pub implausible: u32,
}

impl Ceng {
    /// Returns the levels in the form of the metrics.
    pub fn signal(&self) -> Signal {
        Signal {
            rssi_dbm: self.rssi_dbm,
            rsrp_dbm: self.rsrp_dbm,
            rsrq_db: self.rsrq_db,
            sinr_db: self.sinr_db,
            ..Signal::unknown(self.rat)
        }
    }
}

/// Reads the serving cell's line. Lines of neighbours, which have four arguments, are skipped.
///
/// # Errors
/// [`ReplyError`] if no line has a cell and its area in their places: then nothing shows that the levels are in
/// theirs.
pub fn ceng<L: AsRef<str>>(lines: &[L]) -> Result<Ceng, ReplyError> {
    let rows = own_rows(COMMAND, "+CENG", lines);
    let args = rows
        .iter()
        .find(|args| args.len() > place::TAC)
        .ok_or(ReplyError::Missing { command: COMMAND, wanted: "+CENG: line of a serving cell" })?;
    let cell_id = identity(args, place::CELL, "sc_cellid")?;
    let tac = identity(args, place::TAC, "sc_tac")?;
    let cell_id = Some(cell_id).filter(|number| *number <= 0xfff_ffff && is_cell(*number));
    let tac = u16::try_from(tac).ok().filter(|number| is_area(u64::from(*number)));
    let mut sieve = Sieve::default();
    let mut level = |at, quantity| {
        let text = args.text(at)?;
        match parse_decimal(text) {
            Some(value) => sieve.keep(quantity, value),
            None => {
                sieve.count();
                None
            }
        }
    };
    let rsrp_dbm = level(place::RSRP, Quantity::Rsrp);
    let rsrq_db = level(place::RSRQ, Quantity::Rsrq);
    let rssi_dbm = level(place::RSSI, Quantity::Rssi);
    let sinr_db = level(place::SNR, Quantity::Sinr);
    let mut number = |at, range: std::ops::RangeInclusive<f64>| {
        let value = parse_decimal(args.text(at)?).filter(|value| range.contains(value));
        if value.is_none() {
            sieve.count();
        }
        value
    };
    // In tenths of a dBm, from the lowest power of a transmitter to the highest that any class allows.
    let tx_power_dbm = number(place::POWER, -600.0..=300.0).map(|tenths| tenths / 10.0);
    let small = |at, name, most| args.uint(at, name, most).ok();
    Ok(Ceng {
        rat: Rat::NbIot,
        earfcn: small(place::EARFCN, "sc_earfcn", MAX_EARFCN),
        pci: small(place::PCI, "sc_pci", 503),
        cell_id,
        tac: tac.map(u32::from),
        band: small(place::BAND, "sc_band", 256),
        rsrp_dbm,
        rsrq_db,
        rssi_dbm,
        sinr_db,
        coverage_level: small(place::ECL, "sc_ecl", 2),
        tx_power_dbm,
        implausible: sieve.implausible(),
    })
}

/// Reads a number in hexadecimal digits between quotation marks.
fn identity(args: &Args<'_>, at: usize, name: &'static str) -> Result<u64, ReplyError> {
    args.arg(at)
        .filter(|arg| arg.quoted)
        .and_then(|arg| parse_hex(arg.text))
        .ok_or_else(|| args.refuse(at, name, "hexadecimal digits between quotation marks"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_serving_cell_and_none_of_its_neighbours() {
        let cell = ceng(&[
            "+CENG: 3738,2,28,\"0A4B0C\",-78,-9,-69,12,8,\"5A1E\",0,-60,-78",
            "+CENG: 3740,2,29,-91",
        ])
        .unwrap();
        assert_eq!((cell.earfcn, cell.pci, cell.band), (Some(3_738), Some(28), Some(8)));
        assert_eq!((cell.cell_id, cell.tac), (Some(0x000a_4b0c), Some(0x5a1e)));
        assert_eq!((cell.rsrp_dbm, cell.rsrq_db), (Some(-78.0), Some(-9.0)));
        assert_eq!((cell.rssi_dbm, cell.sinr_db), (Some(-69.0), Some(12.0)));
        assert_eq!((cell.coverage_level, cell.tx_power_dbm), (Some(0), Some(-6.0)));
        assert_eq!(cell.implausible, 0);
        assert_eq!(cell.signal().rat.as_str(), "nbiot");
    }

    /// The modem knows no levels while it sends.
    #[test]
    fn what_is_not_told_is_left_out_and_what_cannot_be_is_counted() {
        let busy = ceng(&["+CENG: 3738,2,28,\"0A4B0C\",,,,,8,\"5A1E\",0,,"]).unwrap();
        assert!(busy.signal().is_empty() && busy.tx_power_dbm.is_none());
        assert_eq!(busy.implausible, 0);
        let odd =
            ceng(&["+CENG: 3738,2,28,\"0A4B0C\",-7800,x,-32768,255,8,\"5A1E\",7,999"]).unwrap();
        assert!(odd.signal().is_empty());
        // Power, quality and transmit power; modems print -32768 and 255 for "unknown".
        assert_eq!(odd.implausible, 3);
        assert_eq!(odd.coverage_level, None);
    }

    #[test]
    fn an_identity_that_cannot_be_costs_only_itself() {
        for (cell, tac) in [("0A4B0C", "1005A1E"), ("1000000A", "FFFE"), ("FFFFFFFF", "5a1e")] {
            let line = format!("+CENG: 3738,2,28,\"{cell}\",-78,-9,-69,12,8,\"{tac}\"");
            let read = ceng(&[line]).unwrap();
            assert_eq!(read.cell_id, Some(0x000a_4b0c).filter(|_| cell == "0A4B0C"), "{cell}");
            assert_eq!(read.tac, Some(0x5a1e).filter(|_| tac == "5a1e"), "{tac}");
            assert_eq!((read.rsrp_dbm, read.sinr_db), (Some(-78.0), Some(12.0)));
        }
    }

    #[test]
    fn a_line_in_another_order_is_not_read() {
        for line in [
            "+CENG: 3738,2,28,-78",
            "+CENG: 3738,2,28,1002,-78,-9,-69,12,8,\"5A1E\"",
            "+CENG: 3738,2,28,\"0A4B0C\",-78,-9,-69,12,\"5A1E\",8",
            "+CENG: 0,0,0,0,100,100,2,2,0,0,1,1,1,1",
            "OK",
        ] {
            assert!(ceng(&[line]).is_err(), "{line}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}") {
            let _ = ceng(&[format!("+CENG: {text}")]);
            let _ = ceng(&[format!("+CENG: 1,2,3,\"A\",{text},\"B\"")]);
        }
    }
}
