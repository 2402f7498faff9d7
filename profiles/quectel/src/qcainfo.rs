//! `AT+QCAINFO`, carrier aggregation: a line for the primary carrier, and a line for each secondary carrier.
//!
//! Lines of LTE and of NR differ, and firmware differs in the arguments that it leaves out. Sources: reports of
//! EP06, RM500U, RM520N and RM551E units (4IceG/luci-app-3ginfo-lite issues 47, 48, 56 and 111,
//! iamromulan/quectel-rgmii-toolkit issues 132, 141, 142 and 162, vjt/quectel-5g-tools), and the forms of the
//! RG5xx manual as cited in QuecManager.

use modem::reply::{
    Args, Carrier, MAX_EARFCN, MAX_NR_ARFCN, Quantity, Rat, ReplyError, Role, Sieve, own_rows,
    parse_decimal, parse_uint,
};
use serde::Serialize;

const COMMAND: &str = "AT+QCAINFO";

/// More carriers than any modem aggregates.
const MAX_CARRIERS: usize = 32;

/// The answer to `AT+QCAINFO`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Qcainfo {
    /// The carriers in the order of their lines, the primary carrier first.
    pub carriers: Vec<Component>,
    /// Number of levels that were impossible and left out.
    #[serde(skip)]
    pub implausible: u32,
}

/// A line of the answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Component {
    /// The part that all vendors share.
    #[serde(flatten)]
    pub carrier: Carrier,
    /// The width as sent: resource blocks of LTE, a code of NR.
    pub bw_raw: Option<u32>,
    /// Its state as sent. Of a secondary carrier: 0 not configured, 1 configured, 2 active. Of the primary
    /// carrier: 1 registered.
    pub state: Option<u32>,
    /// 1 if it is configured for sending.
    pub ul_configured: Option<u32>,
    /// The band in which it sends, if firmware names it by a word.
    pub ul_band: Option<String>,
    /// The width in which it sends as sent, a code.
    pub ul_bw_raw: Option<u32>,
    /// The channel on which it sends, of LTE.
    pub ul_earfcn: Option<u32>,
    /// The channel on which it sends, of NR.
    pub ul_arfcn: Option<u32>,
    /// Signal to noise as sent: whole dB of LTE. For NR, a firmware sends hundredths, and no manual says so.
    pub rssnr: Option<i64>,
}

/// Reads the lines `+QCAINFO: "PCC"|"SCC",<channel>,<width>,<band>,…`; no line means no carrier.
///
/// # Errors
/// [`ReplyError`] if only foreign text came, or if no line names a part.
pub fn qcainfo<L: AsRef<str>>(lines: &[L]) -> Result<Qcainfo, ReplyError> {
    let rows = own_rows(COMMAND, "+QCAINFO", lines);
    let mut sieve = Sieve::default();
    let read = rows.iter().filter_map(|args| component(args, &mut sieve));
    let carriers: Vec<_> = read.take(MAX_CARRIERS).collect();
    if carriers.is_empty() && !lines.is_empty() {
        return Err(ReplyError::Missing { command: COMMAND, wanted: "line of a PCC or an SCC" });
    }
    Ok(Qcainfo { carriers, implausible: sieve.implausible() })
}

/// Positions of the columns after the band.
struct Columns {
    state: Option<usize>,
    pci: usize,
    rsrp: usize,
    rsrq: usize,
    rssi: Option<usize>,
    rssnr: usize,
    /// The first of three columns of the uplink.
    uplink: Option<usize>,
}

impl Columns {
    /// Returns the positions for a line. NR's shortest lines have the cell first, and then levels. All others
    /// have a state and the cell. Then follow either levels and the uplink, or the uplink and levels without
    /// RSSI. The number of arguments decides, and in lines of another length the argument itself.
    fn of(args: &Args<'_>, rat: Option<Rat>, role: Role) -> Self {
        let number = |at| args.text(at).and_then(parse_decimal);
        let is_uint = |at| args.text(at).and_then(parse_uint).is_some();
        if rat == Some(Rat::Nr) && args.len() <= 8 && !is_uint(5) {
            let (state, rssi, uplink) = (None, None, None);
            return Self { state, pci: 4, rsrp: 5, rsrq: 6, rssi, rssnr: 7, uplink };
        }
        let levels_first = match args.len() {
            10 => true,
            9 | 11 | 12 => number(6).is_some_and(|level| level < 0.0),
            _ => role == Role::Pcc || number(6).is_none_or(|level| level < 0.0),
        };
        let state = Some(4);
        if levels_first {
            let (rssi, uplink) = (Some(8), Some(10));
            return Self { state, pci: 5, rsrp: 6, rsrq: 7, rssi, rssnr: 9, uplink };
        }
        Self { state, pci: 5, rsrp: 9, rsrq: 10, rssi: None, rssnr: 11, uplink: Some(6) }
    }
}

fn component(args: &Args<'_>, sieve: &mut Sieve) -> Option<Component> {
    let role = match args.text(0)?.to_ascii_uppercase().as_str() {
        "PCC" => Role::Pcc,
        "SCC" => Role::Scc,
        _ => return None,
    };
    let band = args.text(3).unwrap_or_default().to_ascii_uppercase();
    let rat = match () {
        () if band.contains("NR") => Some(Rat::Nr),
        () if band.contains("LTE") => Some(Rat::Lte),
        () => None,
    };
    let at = Columns::of(args, rat, role);
    let (max_channel, max_pci) =
        if rat == Some(Rat::Nr) { (MAX_NR_ARFCN, 1_007) } else { (MAX_EARFCN, 503) };
    let uint = |at: usize, max: u32| {
        let number = args.text(at).and_then(parse_uint)?;
        u32::try_from(number).ok().filter(|number| *number <= max)
    };
    // An inactive carrier has a level of 0.
    let mut level = |quantity, at: usize| {
        let raw = args.text(at).and_then(parse_decimal).filter(|raw| *raw != 0.0)?;
        sieve.keep(quantity, raw)
    };
    let (rsrp_dbm, rsrq_db) = (level(Quantity::Rsrp, at.rsrp), level(Quantity::Rsrq, at.rsrq));
    let rssi_dbm = at.rssi.and_then(|at| level(Quantity::Rssi, at));
    let bw_raw = uint(2, 255);
    let uplink = |place: usize| at.uplink.map(|at| at + place);
    let ul_channel = uplink(2).and_then(|at| uint(at, max_channel));
    Some(Component {
        carrier: Carrier {
            role,
            rat,
            arfcn: uint(1, max_channel),
            band: number_behind(&band),
            bandwidth_mhz: rat.zip(bw_raw).and_then(|(rat, raw)| width_mhz(rat, raw)),
            pci: uint(at.pci, max_pci),
            rsrp_dbm,
            rsrq_db,
            rssi_dbm,
        },
        bw_raw,
        state: at.state.and_then(|at| uint(at, 255).or_else(|| state(args.text(at)?))),
        ul_configured: uplink(0).and_then(|at| uint(at, 1)),
        ul_band: uplink(1)
            .and_then(|at| args.text(at))
            .filter(|text| is_band(text))
            .map(str::to_owned),
        ul_bw_raw: uplink(1).and_then(|at| uint(at, 255)),
        ul_earfcn: ul_channel.filter(|_| rat != Some(Rat::Nr)),
        ul_arfcn: ul_channel.filter(|_| rat == Some(Rat::Nr)),
        rssnr: args.text(at.rssnr).and_then(|text| text.parse().ok()).filter(|raw| *raw != -32_768),
    })
}

/// Returns the state of a secondary carrier for the word of the oldest firmware.
fn state(word: &str) -> Option<u32> {
    match word.to_ascii_uppercase().as_str() {
        "DECONFIGURED" => Some(0),
        "CONFIGURED" | "DEACTIVATED" | "INACTIVE" => Some(1),
        "ACTIVATED" | "ACTIVE" => Some(2),
        _ => None,
    }
}

/// Returns the number of `LTE BAND 3` or `NR5G BAND 78`; `None` for 0.
fn number_behind(band: &str) -> Option<u32> {
    let start = band.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let number = parse_uint(band.get(start..)?)?;
    u32::try_from(number).ok().filter(|number| (1..=1_024).contains(number))
}

/// Reports whether a text is a band such as `B20` or `n78`.
fn is_band(text: &str) -> bool {
    let number = text.strip_prefix(['B', 'b', 'N', 'n']).and_then(parse_uint);
    number.is_some_and(|number| number <= 1_024)
}

/// Returns the width: of LTE by its resource blocks (36.101 §5.6), of NR by the code of Quectel's manual. The
/// codes follow the order of the widths in 38.101-1 §5.3.5.
fn width_mhz(rat: Rat, raw: u32) -> Option<f64> {
    const BLOCKS: [(u32, f64); 6] =
        [(6, 1.4), (15, 3.0), (25, 5.0), (50, 10.0), (75, 15.0), (100, 20.0)];
    const CODES: [f64; 15] = [
        5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0, 200.0, 400.0,
    ];
    match rat {
        Rat::Nr => CODES.get(usize::try_from(raw).ok()?).copied(),
        _ => BLOCKS.iter().find(|(blocks, _)| *blocks == raw).map(|(_, width)| *width),
    }
}

#[cfg(test)]
mod tests {
    use modem::reply::value;
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(lines: &[&str], wanted: Value) {
        let read = value(qcainfo(lines).unwrap()).unwrap();
        assert_eq!(read["carriers"], wanted, "{lines:?}");
    }

    #[test]
    fn lines_of_lte() {
        check(
            &[
                "+QCAINFO: \"PCC\",300,75,\"LTE BAND 1\",1,81,-99,-14,-67,-4",
                "+QCAINFO: \"SCC\",1400,100,\"LTE BAND 3\",2,82,-95,-18,-68,-10,0,-,-",
                "+QCAINFO: \"SCC\",1500,50,\"LTE BAND 7\",2,83,1,B20,6200",
                "+QCAINFO: \"SCC\",1500,50,\"LTE BAND 7\",2,83,1,B20,6200,-96,-12,-5",
            ],
            json!([
                {"role": "pcc", "rat": "lte", "arfcn": 300, "band": 1, "bandwidth_mhz": 15.0,
                 "pci": 81, "rsrp_dbm": -99.0, "rsrq_db": -14.0, "rssi_dbm": -67.0, "bw_raw": 75,
                 "state": 1, "rssnr": -4},
                {"role": "scc", "rat": "lte", "arfcn": 1400, "band": 3, "bandwidth_mhz": 20.0,
                 "pci": 82, "rsrp_dbm": -95.0, "rsrq_db": -18.0, "rssi_dbm": -68.0, "bw_raw": 100,
                 "state": 2, "rssnr": -10, "ul_configured": 0},
                {"role": "scc", "rat": "lte", "arfcn": 1500, "band": 7, "bandwidth_mhz": 10.0,
                 "pci": 83, "bw_raw": 50, "state": 2, "ul_configured": 1, "ul_band": "B20",
                 "ul_earfcn": 6200},
                {"role": "scc", "rat": "lte", "arfcn": 1500, "band": 7, "bandwidth_mhz": 10.0,
                 "pci": 83, "rsrp_dbm": -96.0, "rsrq_db": -12.0, "bw_raw": 50, "state": 2,
                 "rssnr": -5, "ul_configured": 1, "ul_band": "B20", "ul_earfcn": 6200},
            ]),
        );
        // EP06: small letters, ten arguments for both. Older firmware has a word for the state.
        check(
            &[
                "+QCAINFO: \"pcc\",3350,100,\"LTE BAND 7\",1,20,-86,-12,-56,15",
                "+QCAINFO: \"scc\",1650,100,\"LTE BAND 3\",1,21,-81,-13,-59,0",
                "DL",
                "+QCAINFO: \"SCC\",6300,50,\"LTE BAND 20\",\"DECONFIGURED\",0",
                "+QCAINFO: \"PCC\",1350,25,\"LTEBAND3\",,135,-100,-12,-72,5",
            ],
            json!([
                {"role": "pcc", "rat": "lte", "arfcn": 3350, "band": 7, "bandwidth_mhz": 20.0,
                 "pci": 20, "rsrp_dbm": -86.0, "rsrq_db": -12.0, "rssi_dbm": -56.0, "bw_raw": 100,
                 "state": 1, "rssnr": 15},
                {"role": "scc", "rat": "lte", "arfcn": 1650, "band": 3, "bandwidth_mhz": 20.0,
                 "pci": 21, "rsrp_dbm": -81.0, "rsrq_db": -13.0, "rssi_dbm": -59.0, "bw_raw": 100,
                 "state": 1, "rssnr": 0},
                {"role": "scc", "rat": "lte", "arfcn": 6300, "band": 20, "bandwidth_mhz": 10.0,
                 "pci": 0, "bw_raw": 50, "state": 0},
                {"role": "pcc", "rat": "lte", "arfcn": 1350, "band": 3, "bandwidth_mhz": 5.0,
                 "pci": 135, "rsrp_dbm": -100.0, "rsrq_db": -12.0, "rssi_dbm": -72.0, "bw_raw": 25,
                 "rssnr": 5},
            ]),
        );
    }

    #[test]
    fn lines_of_nr() {
        check(
            &[
                "+QCAINFO: \"PCC\",501390,12,\"NR5G BAND 41\",153,-79,-11,2582",
                // Without a line break (RM551E), an inactive carrier, and a carrier without levels.
                "+QCAINFO: \"SCC\",126270,2,\"NR5G BAND 71\",1,93,0,-,-+QCAINFO: \"SCC\",521310,11,\"NR5G BAND 41\",1,153,0,-,-,-76,-11,427",
                "+QCAINFO: \"SCC\",393850,3,\"NR5G BAND 25\",1,354,1,3,378000",
                "+QCAINFO: \"SCC\",393850,3,\"NR5G BAND 25\",1,696,0,-,-,0,0,-32768",
                "+QCAINFO: \"SCC\",648768,10,\"NR5G BAND 78\",920",
                // In a long line without its cell, the state is not taken for the cell.
                "+QCAINFO: \"SCC\",648768,10,\"NR5G BAND 78\",2,-,0,-,-",
            ],
            json!([
                {"role": "pcc", "rat": "nr", "arfcn": 501_390, "band": 41, "bandwidth_mhz": 100.0,
                 "pci": 153, "rsrp_dbm": -79.0, "rsrq_db": -11.0, "bw_raw": 12, "rssnr": 2582},
                {"role": "scc", "rat": "nr", "arfcn": 126_270, "band": 71, "bandwidth_mhz": 15.0,
                 "pci": 93, "bw_raw": 2, "state": 1, "ul_configured": 0},
                {"role": "scc", "rat": "nr", "arfcn": 521_310, "band": 41, "bandwidth_mhz": 90.0,
                 "pci": 153, "rsrp_dbm": -76.0, "rsrq_db": -11.0, "bw_raw": 11, "state": 1,
                 "ul_configured": 0, "rssnr": 427},
                {"role": "scc", "rat": "nr", "arfcn": 393_850, "band": 25, "bandwidth_mhz": 20.0,
                 "pci": 354, "bw_raw": 3, "state": 1, "ul_configured": 1, "ul_bw_raw": 3,
                 "ul_arfcn": 378_000},
                {"role": "scc", "rat": "nr", "arfcn": 393_850, "band": 25, "bandwidth_mhz": 20.0,
                 "pci": 696, "bw_raw": 3, "state": 1, "ul_configured": 0},
                {"role": "scc", "rat": "nr", "arfcn": 648_768, "band": 78, "bandwidth_mhz": 80.0,
                 "pci": 920, "bw_raw": 10},
                {"role": "scc", "rat": "nr", "arfcn": 648_768, "band": 78, "bandwidth_mhz": 80.0,
                 "bw_raw": 10, "state": 2, "ul_configured": 0},
            ]),
        );
    }

    #[test]
    fn what_cannot_be_is_left_out_and_the_rest_kept() {
        let faulty = qcainfo(&[
            "+QCAINFO: \"PCC\",9999999,12,\"NR5G BAND 41\",153,-11,-11,2549",
            "+QCAINFO: \"TCC\",501390,12,\"NR5G BAND 41\",153",
            "+QCAINFO: \"SCC\",-,-,\"-\",-,-",
        ])
        .unwrap();
        assert_eq!(faulty.implausible, 1, "a power of -11 dBm");
        let [pcc, scc] = faulty.carriers.try_into().unwrap();
        assert_eq!((pcc.carrier.arfcn, pcc.carrier.rsrp_dbm), (None, None));
        assert_eq!((pcc.carrier.pci, pcc.carrier.rsrq_db), (Some(153), Some(-11.0)));
        assert_eq!((scc.carrier.rat, scc.carrier.band, scc.carrier.pci), (None, None, None));
        assert_eq!(qcainfo::<&str>(&[]).unwrap(), Qcainfo::default());
        for lines in [["+QCAINFO:"], ["+QCAINFO: 0"], ["+CSQ: 1,1"]] {
            assert!(qcainfo(&lines).is_err(), "{lines:?}");
        }
        let many = "+QCAINFO: \"SCC\",1,6,\"LTE BAND 1\",2,3".repeat(1_000);
        assert_eq!(qcainfo(&[many]).unwrap().carriers.len(), MAX_CARRIERS);
    }
}
