//! `AT+CMGRMI=4`, a SIMCom module's measurements in LTE: the serving cell and the carriers aggregated with it.
//!
//! No manual at hand lists the columns. The columns read here are those on which public reports of a SIM7600
//! and a SIM8300 and the scripts of ROOter for the SIM8200 agree. The others are not read. The command fails
//! without service and takes its time, so the status poll does not send it.

use modem::reply::{
    Args, Carrier, MAX_EARFCN, Quantity, Rat, ReplyError, Role, Sieve, own_rows, parse_decimal,
    parse_uint,
};
use serde::Serialize;

const COMMAND: &str = "AT+CMGRMI";

/// More carriers than any modem aggregates.
const MAX_CARRIERS: usize = 32;

/// The answer to `AT+CMGRMI=4`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cmgrmi {
    /// The serving cell's carrier first, then the others.
    pub carriers: Vec<Component>,
}

/// A carrier.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Component {
    /// The part that all vendors share.
    #[serde(flatten)]
    pub carrier: Carrier,
    /// The width as sent, a code.
    pub bw_raw: Option<u32>,
}

/// Positions of the columns of a line; the line's name is the first column.
struct Columns {
    earfcn: usize,
    band: usize,
    width: usize,
    pci: usize,
    rsrq: usize,
    rsrp: usize,
    rssi: usize,
}

/// `Serving_Cell,<earfcn>,<mcc>,<mnc>,<tac>,…,<cell>,<band>,<dl>,<ul>,…,<pci>,<RSRQ>,<RSRP>,<RSSI>,…`
const SERVING: Columns =
    Columns { earfcn: 1, band: 7, width: 8, pci: 11, rsrq: 12, rsrp: 13, rssi: 14 };

/// `CA_Scell,<earfcn>,<pci>,<band>,<dl>,…,<pci>,<RSRQ>,<RSRP>,<RSSI>,…`
const SECONDARY: Columns =
    Columns { earfcn: 1, band: 3, width: 4, pci: 6, rsrq: 7, rsrp: 8, rssi: 9 };

/// Reads the lines `+CMGRMI: Serving_Cell,…` and `+CMGRMI: CA_Scell,…` of LTE. Neighbours and the shorter line
/// of a serving cell of NR are skipped.
///
/// # Errors
/// [`ReplyError`] if there is no such line.
pub fn cmgrmi<L: AsRef<str>>(lines: &[L]) -> Result<Cmgrmi, ReplyError> {
    let rows = own_rows(COMMAND, "+CMGRMI", lines);
    let read = rows.iter().filter_map(|args| {
        let name = args.text(0)?.to_ascii_uppercase();
        match name.as_str() {
            "SERVING_CELL" if args.len() > SERVING.rsrp => {
                Some(component(args, Role::Pcc, &SERVING))
            }
            "CA_SCELL" => Some(component(args, Role::Scc, &SECONDARY)),
            _ => None,
        }
    });
    let carriers: Vec<_> = read.take(MAX_CARRIERS).collect();
    if carriers.is_empty() {
        return Err(ReplyError::Missing { command: COMMAND, wanted: "line of a carrier of LTE" });
    }
    Ok(Cmgrmi { carriers })
}

fn component(args: &Args<'_>, role: Role, at: &Columns) -> Component {
    let uint = |at: usize, max: u32| {
        let number = args.text(at).and_then(parse_uint)?;
        u32::try_from(number).ok().filter(|number| *number <= max)
    };
    // Levels are in tenths.
    let mut sieve = Sieve::default();
    let mut level = |quantity, at: usize| {
        let raw = args.text(at).and_then(parse_decimal).filter(|raw| *raw != 0.0)?;
        sieve.keep(quantity, raw / 10.0)
    };
    let bw_raw = uint(at.width, 5);
    Component {
        carrier: Carrier {
            role,
            rat: Some(Rat::Lte),
            arfcn: uint(at.earfcn, MAX_EARFCN),
            band: uint(at.band, 256).filter(|band| *band > 0),
            bandwidth_mhz: bw_raw.and_then(width_mhz),
            pci: uint(at.pci, 503),
            rsrp_dbm: level(Quantity::Rsrp, at.rsrp),
            rsrq_db: level(Quantity::Rsrq, at.rsrq),
            rssi_dbm: level(Quantity::Rssi, at.rssi),
        },
        bw_raw,
    }
}

/// The order of 36.331 §6.3.4, `dl-Bandwidth`.
fn width_mhz(code: u32) -> Option<f64> {
    [1.4, 3.0, 5.0, 10.0, 15.0, 20.0].get(usize::try_from(code).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use modem::reply::value;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_serving_cell_and_the_carriers_beside_it() {
        let read = cmgrmi(&[
            "+CMGRMI: Main_Info,4,1,1,0,3,22871,0,2",
            "+CMGRMI: Serving_Cell,375,001,01,17806,2,51830553,1,4,4,17,156,-112,-914,-599,0",
            "+CMGRMI: LTE_Intra_Cell1,156,-112,-914,-599,0",
            "+CMGRMI: LTE_InterFreq1_Cell1,455,-120,-991,-781,0",
            "+CMGRMI: CA_Scell,38100,455,38,5,0,455,-120,-991,-781,0,0,0",
            "+CMGRMI: CA_Scell,4294967295,0,0,9,0,65535,0,0,-32768,0,0,0",
        ]);
        let wanted = json!({"carriers": [
            {"role": "pcc", "rat": "lte", "arfcn": 375, "band": 1, "bandwidth_mhz": 15.0,
             "pci": 156, "rsrp_dbm": -91.4, "rsrq_db": -11.2, "rssi_dbm": -59.9, "bw_raw": 4},
            {"role": "scc", "rat": "lte", "arfcn": 38_100, "band": 38, "bandwidth_mhz": 20.0,
             "pci": 455, "rsrp_dbm": -99.1, "rsrq_db": -12.0, "rssi_dbm": -78.1, "bw_raw": 5},
            {"role": "scc", "rat": "lte"},
        ]});
        assert_eq!(value(read.unwrap()), Ok(wanted));
        for lines in [
            ["+CMGRMI: Main_Info,4,1"],
            ["+CMGRMI: Serving_Cell,001,01,0x1421C5,51576627203,403,504990,-990,-140"],
            ["+CPSI: LTE,Online"],
        ] {
            assert!(cmgrmi(&lines).is_err(), "{lines:?}");
        }
    }
}
