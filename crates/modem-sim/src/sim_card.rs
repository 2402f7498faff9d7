//! The SIM card: its PIN and the tries left, which outlive every loss of power.

use crate::{
    options::{PIN_TRIES, PUK},
    reply::Cme,
};

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

    /// Returns the tries left for PIN and PUK.
    pub(crate) fn tries(&self) -> (u8, u8) {
        (self.pin_tries, self.puk_tries)
    }

    /// Makes the card ask for its PIN again.
    pub(crate) fn power_off(&mut self) {
        self.open = self.pin.is_none();
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Returns the state in `+CPIN:`.
    pub(crate) fn state(&self) -> &'static str {
        match (self.open, self.pin_tries) {
            (true, _) => "READY",
            (false, 0) => "SIM PUK",
            (false, _) => "SIM PIN",
        }
    }

    /// Returns the error of a command that needs the card.
    pub(crate) fn locked(&self) -> Cme {
        if self.pin_tries == 0 { Cme::SimPukRequired } else { Cme::SimPinRequired }
    }

    pub(crate) fn enter_pin(&mut self, pin: &str) -> Result<(), Cme> {
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

    pub(crate) fn enter_puk(&mut self, puk: &str, new_pin: &str) -> Result<(), Cme> {
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
