//! The SIM7020's answers that differ from SIMCom's LTE modems: identification, card, serving cell.

use crate::{
    command::{Command, Form},
    reply::Reply,
    unit::Unit,
};

/// Commands of the standard; all others of SIMCom's LTE modems are `ERROR` here.
pub(super) const SHARED: &[&str] = &[
    "", "Q0", "V1", "X4", "&C1", "&D0", "&D1", "&W", "H", "E", "E0", "E1", "Z", "&F", "+CGMM",
    "+GMM", "+CGSN", "+GSN", "+CMEE", "+CFUN", "+CCLK", "+CSCS", "+CPIN", "+CIMI", "+CSQ", "+CREG",
    "+CGREG", "+CEREG", "+COPS", "+CGDCONT", "+CGACT", "+CGATT", "+CGPADDR", "+CRESET", "+CNMI",
    "+CMGF",
];

/// Returns a SIM7020's answers that differ from the standard.
pub(super) fn own(unit: &Unit, command: &Command) -> Option<Reply> {
    let revision = unit.options.model.revision();
    match (command.name.as_str(), &command.form) {
        ("+CGMI" | "+GMI", Form::Execute) => Some(Reply::line("SIMCOM_Ltd")),
        ("+CGMR" | "+GMR", Form::Execute) => Some(Reply::line(revision)),
        ("I", Form::Execute) => Some(Reply::line(format!("{} R{revision}", unit.options.cgmm()))),
        ("+CBC", Form::Execute) => Some(Reply::line("+CBC: 88,3418")),
        ("+CCID" | "+ICCID" | "+CPINR", Form::Execute) if unit.card_error().is_some() => {
            unit.card_error().map(Reply::cme)
        }
        ("+CCID" | "+ICCID", Form::Execute) => Some(Reply::line(unit.identity.iccid.as_str())),
        ("+CPINR", Form::Execute) => {
            let (pin, puk) = unit.sim.tries();
            Some(Reply::lines(vec![
                format!("+CPINR: \"SIM PIN\",{pin},3"),
                format!("+CPINR: \"SIM PUK\",{puk},10"),
                "+CPINR: \"SIM PIN2\",3,3".to_owned(),
                "+CPINR: \"SIM PUK2\",10,10".to_owned(),
            ]))
        }
        // <cid>,<auth>,<user>,<password>: none or PAP.
        ("+CGAUTH", Form::Write(args)) => {
            args.first()?.within(0..=10)?;
            args.get(1)?.within(0..=1)?;
            Some(Reply::ok())
        }
        // 1 would print data under way instead of cells; no test needs it.
        ("+CENG", Form::Write(args)) => {
            args.first()?.within(0..=0)?;
            Some(Reply::ok())
        }
        ("+CENG", Form::Read) => Some(Reply::lines(cells(unit))),
        _ => None,
    }
}

/// Returns the serving cell and a neighbour; nothing without service. The manual has levels only while nothing
/// is sent, and the simulated unit is always in that state.
fn cells(unit: &Unit) -> Vec<String> {
    if !unit.registration().has_service() {
        return Vec::new();
    }
    let (id, signal) = (&unit.identity, &unit.network.radio.signal);
    let (rsrp, rsrq, rssi) =
        (signal.rsrp_tenths / 10, signal.rsrq_tenths / 10, signal.rssi_tenths / 10);
    vec![
        format!(
            "+CENG: 3738,2,28,\"{:X}\",{rsrp},{rsrq},{rssi},{},8,\"{:04X}\",0,-60,{rsrp}",
            id.cell, signal.rssnr, id.tac
        ),
        format!("+CENG: 3740,2,29,{}", rsrp - 13),
    ]
}
