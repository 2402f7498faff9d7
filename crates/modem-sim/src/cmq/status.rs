//! What the SIM7020 answers otherwise than SIMCom's LTE modems: identification, card, serving cell.

use crate::{
    command::{Command, Form},
    firmware::Firmware,
    reply::{Answer, Reply},
};

/// Commands of the standard; all others of SIMCom's LTE modems are `ERROR` here.
const SHARED: &[&str] = &[
    "", "Q0", "V1", "X4", "&C1", "&D0", "&D1", "&W", "H", "E", "E0", "E1", "Z", "&F", "+CGMM",
    "+GMM", "+CGSN", "+GSN", "+CMEE", "+CFUN", "+CCLK", "+CSCS", "+CPIN", "+CIMI", "+CSQ", "+CREG",
    "+CGREG", "+CEREG", "+COPS", "+CGDCONT", "+CGACT", "+CGATT", "+CGPADDR", "+CRESET", "+CNMI",
    "+CMGF",
];

impl Firmware {
    /// All commands of a SIM7020.
    pub(crate) fn sim7020(&mut self, port: usize, command: &Command) -> Answer {
        if let Some(reply) = self.sim7020_own(command) {
            return reply.into();
        }
        let answer = if SHARED.contains(&command.name.as_str()) {
            self.standard(port, command)
        } else {
            self.cmq_command(port, command)
        };
        answer.unwrap_or_else(|| Reply::error().into())
    }

    fn sim7020_own(&self, command: &Command) -> Option<Reply> {
        let revision = self.options.model.revision();
        match (command.name.as_str(), &command.form) {
            ("+CGMI" | "+GMI", Form::Execute) => Some(Reply::line("SIMCOM_Ltd")),
            ("+CGMR" | "+GMR", Form::Execute) => Some(Reply::line(revision)),
            ("I", Form::Execute) => {
                Some(Reply::line(format!("{} R{revision}", self.options.cgmm())))
            }
            ("+CBC", Form::Execute) => Some(Reply::line("+CBC: 88,3418")),
            ("+CCID" | "+ICCID" | "+CPINR", Form::Execute) if self.card_error().is_some() => {
                self.card_error().map(Reply::cme)
            }
            ("+CCID" | "+ICCID", Form::Execute) => Some(Reply::line(self.identity.iccid.as_str())),
            ("+CPINR", Form::Execute) => {
                let (pin, puk) = self.sim.tries();
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
            // 1 tells of data on its way instead of cells; nobody needs it here.
            ("+CENG", Form::Write(args)) => {
                args.first()?.within(0..=0)?;
                Some(Reply::ok())
            }
            ("+CENG", Form::Read) => Some(Reply::lines(self.cells())),
            _ => None,
        }
    }

    /// The serving cell and a neighbour; nothing without service. The manual has levels only while nothing is sent,
    /// which the simulated unit always manages to ask for.
    fn cells(&self) -> Vec<String> {
        if !self.registration().has_service() {
            return Vec::new();
        }
        let (id, signal) = (&self.identity, &self.network.radio.signal);
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
}
