//! Quectel's answers that differ from SIMCom's: identification, card, status.

use crate::{
    command::{Command, Form},
    options::Access,
    reply::Reply,
    unit::Unit,
};

/// Commands of the standard, which both vendors have; all others of SIMCom's are `ERROR` here.
pub(crate) const SHARED: &[&str] = &[
    "", "Q0", "V1", "X4", "&C1", "&D0", "&D1", "&W", "H", "E", "E0", "E1", "Z", "&F", "+CGMM",
    "+GMM", "+CGSN", "+GSN", "+CMEE", "+CFUN", "+CCLK", "+CSCS", "+CPIN", "+CIMI", "+CSQ", "+CREG",
    "+CGREG", "+CEREG", "+C5GREG", "+COPS", "+CGDCONT", "+CGACT", "+CGATT", "+CGPADDR", "+CGAUTH",
    "+CNMI", "+CMGF",
];

/// Returns Quectel's answers that differ from the standard.
pub(crate) fn own(unit: &Unit, command: &Command) -> Option<Reply> {
    let revision = unit.options.model.revision();
    match (command.name.as_str(), &command.form) {
        ("+CGMI" | "+GMI", Form::Execute) => Some(Reply::line("Quectel")),
        ("+CGMR" | "+GMR", Form::Execute) => Some(Reply::line(revision)),
        ("I", Form::Execute) => Some(Reply::lines(vec![
            "Quectel".to_owned(),
            unit.options.cgmm().to_owned(),
            format!("Revision: {revision}"),
        ])),
        ("+QCCID", Form::Execute) => Some(Reply::line(format!("+QCCID: {}", unit.identity.iccid))),
        ("+QPINC", Form::Read | Form::Write(_)) if unit.card_error().is_some() => {
            unit.card_error().map(Reply::cme)
        }
        ("+QPINC", Form::Read) => {
            let second = "+QPINC: \"P2\",3,10".to_owned();
            Some(Reply::lines(vec![tries_line(unit), second]))
        }
        ("+QPINC", Form::Write(args)) => {
            (args.first()?.text()? == "SC").then(|| Reply::line(tries_line(unit)))
        }
        ("+QENG", Form::Write(args)) => {
            (args.first()?.text()? == "servingcell").then(|| Reply::lines(serving_cell_lines(unit)))
        }
        // Modems of category 4 aggregate no carriers and do not know the query.
        ("+QCAINFO", Form::Execute) if unit.options.model.has_nr() => {
            Some(Reply::lines(carrier_lines(unit)))
        }
        ("+QCSQ", Form::Execute) => Some(Reply::lines(quality_lines(unit))),
        ("+QNWINFO", Form::Execute) => Some(Reply::lines(network_lines(unit))),
        ("+QTEMP", Form::Execute) => {
            let degrees = unit.network.radio.signal.temperature;
            Some(Reply::line(match unit.options.model.has_nr() {
                true => format!("+QTEMP: \"modem-ambient-usr\",\"{degrees}\""),
                false => format!("+QTEMP: {degrees},{degrees},{degrees}"),
            }))
        }
        _ => None,
    }
}

fn tries_line(unit: &Unit) -> String {
    let (pin, puk) = unit.sim.tries();
    format!("+QPINC: \"SC\",{pin},{puk}")
}

fn serving_cell_lines(unit: &Unit) -> Vec<String> {
    if !unit.registration().has_service() {
        return vec!["+QENG: \"servingcell\",\"SEARCH\"".to_owned()];
    }
    let (id, signal) = (&unit.identity, &unit.network.radio.signal);
    let (rsrp, rsrq, rssi) =
        (signal.rsrp_tenths / 10, signal.rsrq_tenths / 10, signal.rssi_tenths / 10);
    let lte = format!(
        "\"LTE\",\"FDD\",460,00,{:X},257,1850,3,5,5,{:X},{rsrp},{rsrq},{rssi},12,9,230,-",
        id.cell, id.tac
    );
    let (nr_rsrp, nr_rsrq, nr_sinr) =
        (signal.nr_rsrp_tenths / 10, signal.nr_rsrq_tenths / 10, signal.nr_snr_tenths / 10);
    let state = "+QENG: \"servingcell\",\"NOCONN\"";
    match radio(unit) {
        Access::Lte => vec![format!("{state},{lte}")],
        Access::Nsa => vec![
            state.to_owned(),
            format!("+QENG: {lte}"),
            // No blank after the colon, and another order.
            format!("+QENG:\"NR5G-NSA\",460,00,644,{nr_rsrp},{nr_sinr},{nr_rsrq},627264,78,12,1"),
        ],
        Access::Sa => vec![format!(
            "{state},\"NR5G-SA\",\"TDD\",460,00,{:09X},644,{:06X},640704,78,12,{nr_rsrp},{nr_rsrq},{nr_sinr},1,-",
            id.cell, id.tac
        )],
    }
}

fn carrier_lines(unit: &Unit) -> Vec<String> {
    if !unit.registration().has_service() {
        return Vec::new();
    }
    let signal = &unit.network.radio.signal;
    let lte = format!(
        "+QCAINFO: \"PCC\",1850,100,\"LTE BAND 3\",1,257,{},{},{},12",
        signal.rsrp_tenths / 10,
        signal.rsrq_tenths / 10,
        signal.rssi_tenths / 10
    );
    match radio(unit) {
        Access::Lte => vec![lte],
        // The shortest form: no state, and no levels.
        Access::Nsa => {
            vec![lte, "+QCAINFO: \"SCC\",627264,12,\"NR5G BAND 78\",644".to_owned()]
        }
        Access::Sa => vec!["+QCAINFO: \"PCC\",640704,12,\"NR5G BAND 78\",644".to_owned()],
    }
}

fn quality_lines(unit: &Unit) -> Vec<String> {
    if !unit.registration().has_service() {
        return vec!["+QCSQ: \"NOSERVICE\"".to_owned()];
    }
    let signal = &unit.network.radio.signal;
    let lte = format!(
        "+QCSQ: \"LTE\",{},{},160,{}",
        signal.rssi_tenths / 10,
        signal.rsrp_tenths / 10,
        signal.rsrq_tenths / 10
    );
    let nr = format!(
        "+QCSQ: \"NR5G\",{},{},{}",
        signal.nr_rsrp_tenths / 10,
        signal.nr_snr_tenths / 10,
        signal.nr_rsrq_tenths / 10
    );
    match radio(unit) {
        Access::Lte => vec![lte],
        Access::Nsa => vec![lte, nr],
        Access::Sa => vec![nr],
    }
}

fn network_lines(unit: &Unit) -> Vec<String> {
    if !unit.registration().has_service() {
        return vec!["+QNWINFO: No Service".to_owned()];
    }
    let lte = "+QNWINFO: \"FDD LTE\",\"46000\",\"LTE BAND 3\",1850".to_owned();
    let nr = |mode| format!("+QNWINFO: \"{mode}\",\"46000\",\"NR5G BAND 78\",627264");
    match radio(unit) {
        Access::Lte => vec![lte],
        Access::Nsa => vec![lte, nr("NR5G-NSA")],
        Access::Sa => vec![nr("TDD NR5G")],
    }
}

/// Returns the unit's radio access: a unit without NR has LTE only.
fn radio(unit: &Unit) -> Access {
    if unit.options.model.has_nr() { unit.network.radio.access } else { Access::Lte }
}
