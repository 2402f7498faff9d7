//! Basic commands: echo, identification, error format, functionality, clock and supply.

use crate::{
    command::{Arg, Command, Form},
    firmware::Firmware,
    illness::{Cure, Symptom},
    reply::{Answer, Reply},
};

impl Firmware {
    /// Answers commands that need neither SIM nor network.
    pub(crate) fn basic(&mut self, port: usize, command: &Command) -> Option<Answer> {
        match &command.form {
            Form::Execute => self.basic_execute(port, &command.name),
            Form::Read => self.basic_read(&command.name).map(Answer::from),
            Form::Test => test_form(&command.name).map(Answer::from),
            Form::Write(args) if command.name == "+CCLK" => {
                let [time] = args.as_slice() else { return None };
                self.unit.clock.set(time.text()?, self.unit.now)?;
                Some(Reply::ok().into())
            }
            Form::Write(args) if command.name == "+CGATT" => {
                Some(self.attach_or_detach(args.first().and_then(Arg::number)).into())
            }
            Form::Write(args) => {
                let numbers: Option<Vec<u32>> = args.iter().map(|arg| arg.number()).collect();
                self.basic_write(&command.name, &numbers?)
            }
        }
    }

    fn basic_execute(&mut self, port: usize, name: &str) -> Option<Answer> {
        let reply = match name {
            "" | "Q0" | "V1" | "X4" | "&C1" | "&D0" | "&D1" | "&W" | "H" => Reply::ok(),
            "E" | "E0" | "E1" => {
                self.unit.set_echo(port, name == "E1");
                Reply::ok()
            }
            "Z" | "&F" => {
                self.unit.set_echo(port, true);
                Reply::ok()
            }
            "I" | "+SIMCOMATI" => Reply::lines(self.about(name == "+SIMCOMATI")),
            "&V" => Reply::lines(self.dump()),
            "+CGMI" | "+GMI" => Reply::line(self.unit.options.model.maker()),
            "+CGMM" | "+GMM" => Reply::line(self.unit.options.cgmm()),
            "+CGMR" | "+GMR" => {
                Reply::line(format!("+CGMR: {}", self.unit.options.model.revision()))
            }
            "+CGSN" | "+GSN" => Reply::line(self.unit.identity.imei.as_str()),
            "+GCAP" => Reply::line("+GCAP: +CGSM"),
            "+CPMUTEMP" => {
                Reply::line(format!("+CPMUTEMP: {}", self.unit.network.radio.signal.temperature))
            }
            "+CBC" => Reply::line("+CBC: 3.791V"),
            "+CRESET" => return Some(Answer::Reboot),
            _ => return None,
        };
        Some(reply.into())
    }

    fn basic_read(&self, name: &str) -> Option<Reply> {
        Some(Reply::line(match name {
            "+CMEE" => format!("+CMEE: {}", self.unit.settings.cmee),
            "+CFUN" => format!("+CFUN: {}", self.unit.settings.cfun),
            "+CCLK" => format!("+CCLK: \"{}\"", self.unit.clock.text(self.unit.now)),
            "+CPMVT" => "+CPMVT: 1,3400,4300".to_owned(),
            "+CSCS" => "+CSCS: \"IRA\"".to_owned(),
            _ => return None,
        }))
    }

    fn basic_write(&mut self, name: &str, args: &[u32]) -> Option<Answer> {
        let reply = match (name, args) {
            ("+CMEE", [mode @ 0..=2]) => {
                self.unit.settings.cmee = u8::try_from(*mode).unwrap_or(2);
                Reply::ok()
            }
            // Only 6, which restarts, leaves 7 (SIM7600 manual p.55).
            ("+CFUN", [6] | [1, 1]) => return Some(Answer::Reboot),
            ("+CFUN", [mode @ (0 | 1 | 4 | 5 | 7)] | [mode @ (0 | 1 | 4 | 5 | 7), 0]) => {
                let after = self.set_functionality(*mode);
                Reply { after, ..Reply::ok() }
            }
            _ => return None,
        };
        Some(reply.into())
    }

    /// Sets the functionality, and returns the lines that follow `OK`.
    fn set_functionality(&mut self, mode: u32) -> Vec<String> {
        let was = self.unit.settings.cfun;
        if was == 7 {
            return Vec::new();
        }
        let before = self.unit.registration();
        self.switch_radio(mode);
        match (was, mode) {
            // Only 0 turns the card's supply off.
            (0, 1) => self.treat(Cure::CardPower),
            (4.., 1) => self.treat(Cure::RadioCycle),
            _ => {}
        }
        self.unit.report_registration(before);
        let prints = mode != was && self.unit.suffers(Symptom::KeepsFlightMode);
        let line = match mode {
            1 => self.unit.card_state().map(|state| format!("+CPIN: {state}")),
            _ => Some("+CPIN: NOT READY".to_owned()),
        };
        line.filter(|_| prints).into_iter().collect()
    }

    /// Returns the answer to `ATI`; `AT+SIMCOMATI` has two lines more.
    fn about(&self, long: bool) -> Vec<String> {
        let mut lines = vec![
            format!("Manufacturer: {}", self.unit.options.model.maker()),
            format!("Model: {}", self.unit.options.cgmm()),
            format!("Revision: {}", self.unit.options.model.revision()),
        ];
        lines.extend(long.then(|| "QCN: ".to_owned()));
        lines.push(format!("IMEI: {}", self.unit.identity.imei));
        lines.extend(long.then(|| "MEID: ".to_owned()));
        lines.push("+GCAP: +CGSM".to_owned());
        lines
    }

    fn dump(&self) -> Vec<String> {
        vec![
            "&C: 2; &D: 0; &E: 1; &F: 0; &S: 0; &W: 0; L: 0; M: 0; Q: 0; V: 1; X: 1; Z: 0;"
                .to_owned(),
            "S3: 13; S4: 10; S5: 8; +ICF: 3,3; +IFC: 0,0; +IPR: 115200;".to_owned(),
            format!("+CMEE: {}; +CFUN: {};", self.unit.settings.cmee, self.unit.settings.cfun),
            self.unit.network.dump(),
        ]
    }
}

fn test_form(name: &str) -> Option<Reply> {
    Some(match name {
        "+CMEE" => Reply::line("+CMEE: (0-2)"),
        "+CFUN" => Reply::line("+CFUN: (0-1,4-7),(0-1)"),
        "+CGMI" | "+CGMM" | "+CGMR" | "+CGSN" | "+CPMUTEMP" | "+CRESET" => Reply::ok(),
        _ => return None,
    })
}
