//! What Quectel's modems answer otherwise than SIMCom's: identification, card, status.

use crate::{
    command::{Command, Form},
    firmware::Firmware,
    options::Access,
    reply::{Answer, Reply},
};

/// Commands of the standard, which both vendors have; all others of SIMCom's are `ERROR` here.
const SHARED: &[&str] = &[
    "", "Q0", "V1", "X4", "&C1", "&D0", "&D1", "&W", "H", "E", "E0", "E1", "Z", "&F", "+CGMM",
    "+GMM", "+CGSN", "+GSN", "+CMEE", "+CFUN", "+CCLK", "+CSCS", "+CPIN", "+CIMI", "+CSQ", "+CREG",
    "+CGREG", "+CEREG", "+C5GREG", "+COPS", "+CGDCONT", "+CGACT", "+CGATT", "+CGPADDR", "+CGAUTH",
    "+CNMI", "+CMGF",
];

impl Firmware {
    /// All commands of a Quectel modem.
    pub(crate) fn quectel(&mut self, port: usize, command: &Command) -> Answer {
        if let Some(reply) = self.quectel_own(command) {
            return reply.into();
        }
        if let Some(answer) = self.ufs_command(command) {
            return answer;
        }
        let answer = if SHARED.contains(&command.name.as_str()) {
            self.standard(port, command)
        } else {
            self.qmt(port, command)
        };
        answer.unwrap_or_else(|| Reply::error().into())
    }

    fn quectel_own(&self, command: &Command) -> Option<Reply> {
        let revision = self.options.model.revision();
        match (command.name.as_str(), &command.form) {
            ("+CGMI" | "+GMI", Form::Execute) => Some(Reply::line("Quectel")),
            ("+CGMR" | "+GMR", Form::Execute) => Some(Reply::line(revision)),
            ("I", Form::Execute) => Some(Reply::lines(vec![
                "Quectel".to_owned(),
                self.options.cgmm().to_owned(),
                format!("Revision: {revision}"),
            ])),
            ("+QCCID", Form::Execute) => {
                Some(Reply::line(format!("+QCCID: {}", self.identity.iccid)))
            }
            ("+QPINC", Form::Read | Form::Write(_)) if self.card_error().is_some() => {
                self.card_error().map(Reply::cme)
            }
            ("+QPINC", Form::Read) => {
                let second = "+QPINC: \"P2\",3,10".to_owned();
                Some(Reply::lines(vec![self.tries_line(), second]))
            }
            ("+QPINC", Form::Write(args)) => {
                (args.first()?.text()? == "SC").then(|| Reply::line(self.tries_line()))
            }
            ("+QENG", Form::Write(args)) => (args.first()?.text()? == "servingcell")
                .then(|| Reply::lines(self.serving_cell_lines())),
            // Those of category 4 aggregate no carriers and do not know the question.
            ("+QCAINFO", Form::Execute) if self.options.model.has_nr() => {
                Some(Reply::lines(self.carrier_lines()))
            }
            ("+QCSQ", Form::Execute) => Some(Reply::lines(self.quality_lines())),
            ("+QNWINFO", Form::Execute) => Some(Reply::lines(self.network_lines())),
            ("+QTEMP", Form::Execute) => {
                let degrees = self.network.radio.signal.temperature;
                Some(Reply::line(match self.options.model.has_nr() {
                    true => format!("+QTEMP: \"modem-ambient-usr\",\"{degrees}\""),
                    false => format!("+QTEMP: {degrees},{degrees},{degrees}"),
                }))
            }
            _ => None,
        }
    }

    fn tries_line(&self) -> String {
        let (pin, puk) = self.sim.tries();
        format!("+QPINC: \"SC\",{pin},{puk}")
    }

    fn serving_cell_lines(&self) -> Vec<String> {
        if !self.registration().has_service() {
            return vec!["+QENG: \"servingcell\",\"SEARCH\"".to_owned()];
        }
        let (id, signal) = (&self.identity, &self.network.radio.signal);
        let (rsrp, rsrq, rssi) =
            (signal.rsrp_tenths / 10, signal.rsrq_tenths / 10, signal.rssi_tenths / 10);
        let lte = format!(
            "\"LTE\",\"FDD\",460,00,{:X},257,1850,3,5,5,{:X},{rsrp},{rsrq},{rssi},12,9,230,-",
            id.cell, id.tac
        );
        let (nr_rsrp, nr_rsrq, nr_sinr) =
            (signal.nr_rsrp_tenths / 10, signal.nr_rsrq_tenths / 10, signal.nr_snr_tenths / 10);
        let state = "+QENG: \"servingcell\",\"NOCONN\"";
        match self.radio() {
            Access::Lte => vec![format!("{state},{lte}")],
            Access::Nsa => vec![
                state.to_owned(),
                format!("+QENG: {lte}"),
                // No blank behind the colon, and another order.
                format!(
                    "+QENG:\"NR5G-NSA\",460,00,644,{nr_rsrp},{nr_sinr},{nr_rsrq},627264,78,12,1"
                ),
            ],
            Access::Sa => vec![format!(
                "{state},\"NR5G-SA\",\"TDD\",460,00,{:09X},644,{:06X},640704,78,12,{nr_rsrp},{nr_rsrq},{nr_sinr},1,-",
                id.cell, id.tac
            )],
        }
    }

    fn carrier_lines(&self) -> Vec<String> {
        if !self.registration().has_service() {
            return Vec::new();
        }
        let signal = &self.network.radio.signal;
        let lte = format!(
            "+QCAINFO: \"PCC\",1850,100,\"LTE BAND 3\",1,257,{},{},{},12",
            signal.rsrp_tenths / 10,
            signal.rsrq_tenths / 10,
            signal.rssi_tenths / 10
        );
        match self.radio() {
            Access::Lte => vec![lte],
            // The shortest form: no state, and no levels.
            Access::Nsa => {
                vec![lte, "+QCAINFO: \"SCC\",627264,12,\"NR5G BAND 78\",644".to_owned()]
            }
            Access::Sa => vec!["+QCAINFO: \"PCC\",640704,12,\"NR5G BAND 78\",644".to_owned()],
        }
    }

    fn quality_lines(&self) -> Vec<String> {
        if !self.registration().has_service() {
            return vec!["+QCSQ: \"NOSERVICE\"".to_owned()];
        }
        let signal = &self.network.radio.signal;
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
        match self.radio() {
            Access::Lte => vec![lte],
            Access::Nsa => vec![lte, nr],
            Access::Sa => vec![nr],
        }
    }

    fn network_lines(&self) -> Vec<String> {
        if !self.registration().has_service() {
            return vec!["+QNWINFO: No Service".to_owned()];
        }
        let lte = "+QNWINFO: \"FDD LTE\",\"46000\",\"LTE BAND 3\",1850".to_owned();
        let nr = |mode| format!("+QNWINFO: \"{mode}\",\"46000\",\"NR5G BAND 78\",627264");
        match self.radio() {
            Access::Lte => vec![lte],
            Access::Nsa => vec![lte, nr("NR5G-NSA")],
            Access::Sa => vec![nr("TDD NR5G")],
        }
    }

    /// What the unit is attached over: one without NR knows LTE only.
    fn radio(&self) -> Access {
        if self.options.model.has_nr() { self.network.radio.access } else { Access::Lte }
    }
}
