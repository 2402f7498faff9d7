//! Network commands and reports: signal, registration, operator, serving cell and PDP contexts.

use tokio::time::Duration;

use crate::{
    command::{Arg, Command, Form},
    illness::Symptom,
    model::{Dialect, Model},
    network::{Context, Login, Network},
    options::{Access, Registration},
    reply::{Answer, Reply},
    unit::Unit,
};

const OPERATOR: &str = "CHINA MOBILE";
const PLMN: &str = "460-00";

impl Unit {
    /// Answers commands about the network.
    pub(crate) fn network_command(&mut self, command: &Command) -> Option<Answer> {
        let name = command.name.as_str();
        match &command.form {
            Form::Execute => self.network_execute(name),
            Form::Read => self.network_read(name),
            Form::Write(args) => self.network_write(name, args),
            Form::Test => self.network_test(name),
        }
        .map(Answer::from)
    }

    fn network_execute(&self, name: &str) -> Option<Reply> {
        match name {
            "+CSQ" => Some(Reply::line(self.csq_line())),
            "+CGPADDR" => {
                let active = self.network.contexts.iter().filter(|(_, context)| context.active);
                let address = |cid: u32| match cid {
                    1 if self.has_address() => self.identity.address.clone(),
                    _ => "0.0.0.0".to_owned(),
                };
                let line = |(cid, _): (&u32, _)| format!("+CGPADDR: {cid},{}", address(*cid));
                Some(Reply::lines(active.map(line).collect()))
            }
            _ => None,
        }
    }

    fn network_read(&self, name: &str) -> Option<Reply> {
        let network = &self.network;
        let line = match name {
            "+CREG" | "+CGREG" | "+CEREG" | "+C5GREG" => {
                let level = self.report_level(name)?;
                format!("{name}: {level},{}", self.registration_fields(name, level))
            }
            "+COPS" if self.voice_registration().has_service() => {
                format!("+COPS: 0,0,\"{OPERATOR}\",{}", self.access_number())
            }
            "+COPS" => "+COPS: 0".to_owned(),
            "+CPSI" => return Some(Reply::lines(self.cpsi_lines())),
            "+CGDCONT" => {
                // Seen on an A7600, which prints the name as the network granted it (23.003 §9.1.2).
                let operator =
                    if self.options.model.is_a76xx() { ".MNC000.MCC460.GPRS" } else { "" };
                return Some(Reply::lines(network.context_lines(operator)));
            }
            "+CGACT" => {
                let refused = self.registration().has_service() && !self.has_data();
                let line = |(cid, context): (&u32, &Context)| {
                    format!("+CGACT: {cid},{}", u8::from(context.active && !refused))
                };
                return Some(Reply::lines(network.contexts.iter().map(line).collect()));
            }
            "+CGAUTH" => return Some(Reply::lines(self.login_lines())),
            "+CGATT" => format!("+CGATT: {}", u8::from(self.registration().has_service())),
            "+CNMP" => format!("+CNMP: {}", network.mode),
            "+CATR" => format!("+CATR: {}", network.catr),
            "+CNSMOD" => format!("+CNSMOD: {},{}", network.reports.cnsmod, self.system_mode()),
            "+AUTOCSQ" => {
                let (on, change) = network.reports.autocsq;
                format!("+AUTOCSQ: {on},{change}")
            }
            _ => return None,
        };
        Some(Reply::line(line))
    }

    fn network_test(&self, name: &str) -> Option<Reply> {
        let line = match name {
            "+CSQ" => "+CSQ: (0-31,99),(0-7,99)",
            "+CREG" | "+CGREG" | "+CEREG" => return Some(Reply::line(format!("{name}: (0-2)"))),
            "+COPS" => {
                let known = format!("(2,\"{OPERATOR}\",\"CMCC\",\"46000\",7)");
                return Some(Reply::line(format!("+COPS: {known},,(0-4),(0-2)")));
            }
            "+CGACT" => "+CGACT: (0,1)",
            "+CATR" => "+CATR: (0-3)",
            _ => return None,
        };
        Some(Reply::line(line))
    }

    fn network_write(&mut self, name: &str, args: &[Arg]) -> Option<Reply> {
        let first = args.first().and_then(Arg::number);
        if name == "+CGAUTH" {
            return Some(self.set_login(args).map_or_else(Reply::error, |()| Reply::ok()));
        }
        let network = &mut self.network;
        let done = match name {
            "+CREG" | "+CGREG" | "+CEREG" | "+C5GREG" => {
                let level = args.first().and_then(|level| level.within(0..=2));
                set(self.report_level_mut(name)?, level)
            }
            "+CGDCONT" => return Some(network.define(args)),
            "+CGACT" => return Some(network.activate(args)),
            "+CNMP" => {
                let modes = self.options.model.network_modes();
                set(&mut network.mode, first.filter(|mode| modes.contains(mode)))
            }
            "+CATR" => set(&mut network.catr, first.filter(|port| *port <= 3)),
            "+CNSMOD" => set(&mut network.reports.cnsmod, first.filter(|on| *on <= 1)),
            "+COPS" => first == Some(0),
            "+CPSI" => match first {
                Some(0) => set(&mut network.reports.cpsi, Some(None)),
                Some(seconds @ 1..=255) => {
                    let every = Duration::from_secs(seconds.into());
                    set(&mut network.reports.cpsi, Some(Some((every, self.now + every))))
                }
                _ => false,
            },
            "+AUTOCSQ" => {
                let change = args.get(1).map_or(Some(0), |change| change.within(0..=1));
                let on = first.filter(|on| *on <= 1);
                set(&mut network.reports.autocsq, on.zip(change))
            }
            _ => return None,
        };
        Some(if done { Reply::ok() } else { Reply::error() })
    }

    /// Takes `<cid>,<auth>[,<password>[,<user>]]` of SIMCom's LTE modems, with the user first elsewhere (27.007
    /// §10.1.31). The values are kept and shown, and not checked.
    fn set_login(&mut self, args: &[Arg]) -> Option<()> {
        let cid = args.first()?.within(1..=24)?;
        let kind = args.get(1)?.within(0..=3)?;
        let text = |at: usize| args.get(at).map_or("", Arg::value).to_owned();
        let (user, password) = match self.options.model.dialect() {
            Dialect::Cmqtt => (text(3), text(2)),
            Dialect::Cmq | Dialect::Qmt => (text(2), text(3)),
        };
        let context = self.network.contexts.get_mut(&cid)?;
        context.login = (kind != 0).then_some(Login { kind, user, password });
        Some(())
    }

    /// Returns the lines of the logins. A SIM7600 shows the user alone; a SIM7672, a sibling of the A7670,
    /// shows the password too.
    fn login_lines(&self) -> Vec<String> {
        let shows_all =
            self.options.model.is_a76xx() || self.options.model.dialect() == Dialect::Qmt;
        let contexts = self.network.contexts.iter();
        let line = |(cid, context): (&u32, &Context)| match &context.login {
            None => format!("+CGAUTH: {cid},0"),
            Some(Login { kind, user, password }) if shows_all => {
                format!("+CGAUTH: {cid},{kind},\"{user}\",\"{password}\"")
            }
            Some(Login { kind, user, .. }) => format!("+CGAUTH: {cid},{kind},\"{user}\""),
        };
        contexts.map(line).collect()
    }

    /// Returns the `<n>` of a registration command; `None` if the model lacks the command.
    fn report_level(&self, name: &str) -> Option<u32> {
        let reports = &self.network.reports;
        match name {
            "+CREG" => Some(reports.creg),
            "+CGREG" => Some(reports.cgreg),
            "+CEREG" => Some(reports.cereg),
            "+C5GREG" if self.options.model.has_nr() => Some(reports.c5greg),
            _ => None,
        }
    }

    fn report_level_mut(&mut self, name: &str) -> Option<&mut u32> {
        let reports = &mut self.network.reports;
        match name {
            "+CREG" => Some(&mut reports.creg),
            "+CGREG" => Some(&mut reports.cgreg),
            "+CEREG" => Some(&mut reports.cereg),
            "+C5GREG" if self.options.model.has_nr() => Some(&mut reports.c5greg),
            _ => None,
        }
    }

    /// Returns `<stat>` and, at level 2 with service, area, cell and access technology.
    fn registration_fields(&self, name: &str, level: u32) -> String {
        let registration = match name {
            "+CREG" => self.voice_registration(),
            "+CGREG" => self.registration(),
            // A unit that is refused data and has voice reports the refusal in a single domain.
            _ if self.suffers(Symptom::VoiceOnly) => return "0".to_owned(),
            _ => self.registration(),
        };
        let here = match (name, self.network.radio.access) {
            ("+C5GREG", Access::Sa) => true,
            ("+C5GREG", _) => false,
            (_, Access::Sa) => name != "+CEREG",
            _ => true,
        };
        // A domain in which the unit has no service is idle there, not searching.
        if registration.has_service() && !here {
            return "0".to_owned();
        }
        let stat = registration.stat();
        if level == 2 && registration.has_service() {
            let (tac, cell) = (self.identity.tac, self.identity.cell);
            // The slice: its length in octets and its service type.
            let slice = if name == "+C5GREG" { ",1,\"01\"" } else { "" };
            format!("{stat},\"{tac:04X}\",\"{cell:08X}\",{}{slice}", self.access_number())
        } else {
            stat.to_string()
        }
    }

    /// Returns `<AcT>` of `+COPS:`: 7 E-UTRAN, 9 NB-IoT, 11 NR behind a 5G core, 13 EN-DC.
    fn access_number(&self) -> u8 {
        match self.network.radio.access {
            _ if self.options.model == Model::Sim7020 => 9,
            Access::Lte => 7,
            Access::Sa => 11,
            Access::Nsa => 13,
        }
    }

    /// Returns `<stat>` of `+CNSMOD:`.
    fn system_mode(&self) -> u8 {
        match self.network.radio.access {
            _ if !self.registration().has_service() => 0,
            Access::Lte | Access::Nsa => 8,
            Access::Sa => 36,
        }
    }

    fn cpsi_lines(&self) -> Vec<String> {
        if self.settings.cfun == 4 {
            return vec!["+CPSI: NO SERVICE,Low Power Mode".to_owned()];
        }
        if !self.registration().has_service() {
            return vec!["+CPSI: NO SERVICE,Online".to_owned()];
        }
        let (id, signal) = (&self.identity, &self.network.radio.signal);
        let mut levels = (signal.rsrq_tenths, signal.rsrp_tenths, signal.rssi_tenths);
        if self.options.model.is_a76xx() {
            // Report indexes: half dB from -20, dB from -140 and from -110 (A76XX manual V1.09 p.98-99).
            levels = (levels.0 / 5 + 40, levels.1 / 10 + 140, levels.2 / 10 + 110);
        }
        let (rsrq, rsrp, rssi) = levels;
        let lte = format!(
            "+CPSI: LTE,Online,{PLMN},0x{:04X},{},257,EUTRAN-BAND3,1850,5,5,{rsrq},{rsrp},{rssi},{}",
            id.tac, id.cell, signal.rssnr
        );
        let (rsrp, rsrq, snr) =
            (signal.nr_rsrp_tenths, signal.nr_rsrq_tenths, signal.nr_snr_tenths);
        match self.network.radio.access {
            Access::Lte => vec![lte],
            Access::Nsa => {
                let nr = format!("NR5G_NSA,644,NR5G_BAND78,627264,{rsrp},{rsrq},{snr},1,12");
                vec![lte, format!("+CPSI: {nr}")]
            }
            Access::Sa => vec![format!(
                "+CPSI: NR5G_SA,Online,{PLMN},0x{:04X},{},0,NR5G_BAND78,640704,{rsrp},{rsrq},{snr}",
                id.tac, id.cell
            )],
        }
    }

    /// Changes the radio, and reports the changes if reports are on.
    pub(crate) fn set_radio(&mut self, change: impl FnOnce(&mut Network)) {
        let (before, csq) = (self.registration(), self.csq_line());
        change(&mut self.network);
        self.report_registration(before);
        if self.network.reports.autocsq.0 == 1 && self.is_up() && self.csq_line() != csq {
            self.urc(&self.csq_line());
        }
    }

    /// Prints registration URCs if the registration is not `before` any more.
    pub(crate) fn report_registration(&mut self, before: Registration) {
        if self.registration() == before || !self.is_up() {
            return;
        }
        for name in ["+CREG", "+CGREG", "+CEREG", "+C5GREG"] {
            let level = self.report_level(name).unwrap_or(0);
            if level > 0 {
                // The URC has no <n>.
                self.urc(&format!("{name}: {}", self.registration_fields(name, level)));
            }
        }
        if self.network.reports.cnsmod == 1 {
            self.urc(&format!("+CNSMOD: {}", self.system_mode()));
        }
    }

    /// Prints the periodic `+CPSI:`.
    pub(crate) fn periodic_report(&mut self) {
        let Some((every, due)) = self.network.reports.cpsi else { return };
        if due <= self.now {
            self.network.reports.cpsi = Some((every, self.now + every));
            for line in self.cpsi_lines() {
                self.urc(&line);
            }
        }
    }
}

/// Writes `value` to `slot`, and reports whether there was a value.
fn set<T>(slot: &mut T, value: Option<T>) -> bool {
    value.map(|value| *slot = value).is_some()
}
