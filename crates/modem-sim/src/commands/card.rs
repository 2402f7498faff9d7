//! Commands of the SIM card.

use crate::{
    command::{Command, Form},
    reply::{Answer, Cme, Reply},
    unit::Unit,
};

impl Unit {
    /// Answers commands of the SIM card.
    pub(crate) fn sim_command(&mut self, command: &Command) -> Option<Answer> {
        const OF_THE_CARD: [&str; 5] = ["+CPIN", "+SPIC", "+CIMI", "+CICCID", "+ICCID"];
        if let Some(error) = self.card_error()
            && OF_THE_CARD.contains(&command.name.as_str())
        {
            return Some(Reply::cme(error).into());
        }
        let reply = match (command.name.as_str(), &command.form) {
            ("+CPIN", Form::Read) => {
                Reply::line(format!("+CPIN: {}", self.card_state().unwrap_or("NOT READY")))
            }
            ("+CPIN", Form::Test) => Reply::ok(),
            ("+CPIN", Form::Write(args)) => {
                let before = self.registration();
                let result = match args.as_slice() {
                    [pin] => self.sim.enter_pin(pin.value()),
                    [puk, pin] => self.sim.enter_puk(puk.value(), pin.value()),
                    _ => return Some(Reply::error().into()),
                };
                let answer = after_pin(result, self.options.model.boot_urcs());
                self.report_registration(before);
                return Some(answer);
            }
            ("+SPIC", Form::Execute) => {
                let (pin, puk) = self.sim.tries();
                Reply::line(format!("+SPIC: {pin},{puk},0,10"))
            }
            ("+CIMI", Form::Execute) => self.with_card(|unit| unit.identity.imsi.clone()),
            // The prefix of the answer differs from the command's name (SIM7600 manual p.57).
            ("+CICCID" | "+ICCID", Form::Execute) => {
                Reply::line(format!("+ICCID: {}", self.identity.iccid))
            }
            _ => return None,
        };
        Some(reply.into())
    }

    fn with_card(&self, line: impl FnOnce(&Self) -> String) -> Reply {
        if self.sim.is_open() { Reply::line(line(self)) } else { Reply::cme(self.sim.locked()) }
    }
}

fn after_pin(result: Result<(), Cme>, booted: &[&str]) -> Answer {
    match result {
        Ok(()) => {
            let after = ["+CPIN: READY"].iter().chain(booted).map(|line| (*line).to_owned());
            Reply { after: after.collect(), ..Reply::ok() }.into()
        }
        Err(cme) => Reply::cme(cme).into(),
    }
}
