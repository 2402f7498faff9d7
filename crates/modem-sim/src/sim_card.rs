//! The SIM card: its PIN, the tries left, which outlive every loss of power.

use crate::{
    command::{Command, Form},
    firmware::Firmware,
    illness::Symptom,
    options::PUK,
    reply::{Answer, Cme, Reply},
};

pub(crate) const PIN_TRIES: u8 = 3;
const PUK_TRIES: u8 = 10;

/// A SIM card.
#[derive(Debug)]
pub(crate) struct SimCard {
    pin: Option<String>,
    pin_tries: u8,
    puk_tries: u8,
    open: bool,
}

impl SimCard {
    pub(crate) fn new(pin: Option<String>, pin_tries: u8) -> Self {
        let pin_tries = pin_tries.min(PIN_TRIES);
        Self { open: pin.is_none(), pin, pin_tries, puk_tries: PUK_TRIES }
    }

    /// How often PIN and PUK may still be tried.
    pub(crate) fn tries(&self) -> (u8, u8) {
        (self.pin_tries, self.puk_tries)
    }

    /// The card asks for its PIN again.
    pub(crate) fn power_off(&mut self) {
        self.open = self.pin.is_none();
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// What `+CPIN:` says.
    pub(crate) fn state(&self) -> &'static str {
        match (self.open, self.pin_tries) {
            (true, _) => "READY",
            (false, 0) => "SIM PUK",
            (false, _) => "SIM PIN",
        }
    }

    /// The error of a command that needs the card.
    fn locked(&self) -> Cme {
        if self.pin_tries == 0 { Cme::SimPukRequired } else { Cme::SimPinRequired }
    }

    fn enter_pin(&mut self, pin: &str) -> Result<(), Cme> {
        if self.open {
            return Err(Cme::NotAllowed);
        }
        if self.pin_tries == 0 {
            return Err(Cme::SimPukRequired);
        }
        if self.pin.as_deref() == Some(pin) {
            self.pin_tries = PIN_TRIES;
            self.open = true;
            return Ok(());
        }
        self.pin_tries -= 1;
        Err(if self.pin_tries == 0 { Cme::SimPukRequired } else { Cme::IncorrectPassword })
    }

    fn enter_puk(&mut self, puk: &str, new_pin: &str) -> Result<(), Cme> {
        if self.open || self.pin_tries > 0 {
            return Err(Cme::NotAllowed);
        }
        if self.puk_tries == 0 || puk != PUK {
            self.puk_tries = self.puk_tries.saturating_sub(1);
            return Err(Cme::IncorrectPassword);
        }
        self.pin = Some(new_pin.to_owned());
        (self.pin_tries, self.puk_tries, self.open) = (PIN_TRIES, PUK_TRIES, true);
        Ok(())
    }
}

impl Firmware {
    /// Commands of the SIM card.
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
            // The prefix of the answer is not the command's name (SIM7600 manual p.57).
            ("+CICCID" | "+ICCID", Form::Execute) => {
                Reply::line(format!("+ICCID: {}", self.identity.iccid))
            }
            _ => return None,
        };
        Some(reply.into())
    }

    /// Why nothing is to be had of the card, whatever its PIN.
    pub(crate) fn card_error(&self) -> Option<Cme> {
        if !self.options.card || self.suffers(Symptom::SimAbsent) {
            Some(Cme::SimNotInserted)
        } else {
            self.suffers(Symptom::SimFailure).then_some(Cme::SimFailure)
        }
    }

    /// What `+CPIN:` says; `None` where the card says nothing.
    pub(crate) fn card_state(&self) -> Option<&'static str> {
        if self.card_error().is_some() {
            None
        } else if self.sim.is_open() && self.suffers(Symptom::SimPin2) {
            Some("SIM PIN2")
        } else {
            Some(self.sim.state())
        }
    }

    /// Reports whether there is a card that asks for nothing.
    pub(crate) fn has_open_card(&self) -> bool {
        self.card_error().is_none() && self.sim.is_open()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_wrong_pins_ask_for_the_puk_even_after_a_loss_of_power() {
        let mut card = SimCard::new(Some("1234".into()), PIN_TRIES);
        assert_eq!(card.state(), "SIM PIN");
        assert_eq!(card.enter_pin("0000"), Err(Cme::IncorrectPassword));
        card.power_off();
        assert_eq!(card.enter_pin("1111"), Err(Cme::IncorrectPassword));
        assert_eq!(card.enter_pin("2222"), Err(Cme::SimPukRequired));
        assert_eq!(card.state(), "SIM PUK");
        assert_eq!(card.enter_pin("1234"), Err(Cme::SimPukRequired));
        assert_eq!(card.enter_puk("00000000", "4321"), Err(Cme::IncorrectPassword));
        assert_eq!(card.enter_puk(PUK, "4321"), Ok(()));
        card.power_off();
        assert_eq!(card.enter_pin("4321"), Ok(()));
        assert_eq!(card.state(), "READY");
    }
}
