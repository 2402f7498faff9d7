//! Effects of illnesses: when they begin, when they are treated, and when they end.

use tokio::time::{Duration, Instant};

use crate::{
    firmware::Firmware,
    illness::{Cure, Forgery, Illness, Symptom},
    later::Later,
    port_state::PortState,
};

/// The interval of an update's reports of progress.
const PROGRESS: Duration = Duration::from_secs(1);

impl Firmware {
    /// Makes the modem fall ill. Open connections stay, unless the card or the radio is gone.
    pub(crate) fn fall_ill(&mut self, illness: Illness) {
        let before = self.unit.registration();
        self.unit.course.begin(illness, self.unit.now);
        self.begin_illness(illness.symptom);
        self.unit.report_registration(before);
    }

    /// Treats the modem's illnesses. A modem that loses its supply during an update has half a firmware.
    pub(crate) fn treat(&mut self, cure: Cure) {
        let is_ruined = cure == Cure::Power && self.unit.course.is_updating();
        let over = self.unit.course.end(|illness, _| illness.cure <= cure);
        self.end_illnesses(over);
        if is_ruined {
            self.unit.course.forget_update();
            self.fall_ill(Illness { symptom: Symptom::Mute, cure: Cure::Never });
        }
    }

    /// Ends an illness.
    pub(crate) fn heal(&mut self, symptom: Symptom) {
        let before = self.unit.registration();
        let over = self.unit.course.end(|illness, _| illness.symptom == symptom);
        self.end_illnesses(over);
        self.unit.report_registration(before);
    }

    /// Begins and ends the illnesses that are due.
    pub(crate) fn go_through_illnesses(&mut self) {
        let now = self.unit.now;
        let before = self.unit.registration();
        let over = self.unit.course.end(|_, ends| ends.is_some_and(|ends| ends <= now));
        self.end_illnesses(over);
        self.unit.report_registration(before);
        while let Some(illness) = self.unit.course.due(now) {
            self.fall_ill(illness);
        }
    }

    fn end_illnesses(&mut self, over: Vec<Symptom>) {
        for symptom in over {
            self.end_illness(symptom);
        }
    }

    fn begin_illness(&mut self, symptom: Symptom) {
        match symptom {
            Symptom::RadioOff => self.switch_radio(4),
            Symptom::SimFailure | Symptom::SimAbsent => self.lose_network(),
            Symptom::LeftClients | Symptom::Buffered | Symptom::HexData => {
                self.stack.leave(symptom)
            }
            Symptom::Forged(Forgery::Text) => self.unit.messages.leave(true),
            Symptom::Forged(Forgery::Pdu) => self.unit.messages.leave(false),
            Symptom::Update { .. } => {
                self.unit.agenda.clear();
                self.forget_sessions();
                self.unit.ports.iter_mut().for_each(PortState::reset);
                self.progress(self.unit.now);
            }
            _ => {}
        }
    }

    fn end_illness(&mut self, symptom: Symptom) {
        match symptom {
            Symptom::RadioOff if self.unit.settings.cfun == 4 => self.switch_radio(1),
            Symptom::SimFailure | Symptom::SimAbsent if self.unit.is_up() => {
                if let Some(state) = self.unit.card_state() {
                    self.unit.urc(&format!("+CPIN: {state}"));
                }
            }
            Symptom::Update { boots } => {
                self.unit.urc("+QIND: \"FOTA\",\"END\",0");
                if boots {
                    self.reset();
                }
            }
            _ => {}
        }
    }

    /// Prints the progress of the update that began at `since`; an update without an end stays at 99 %.
    pub(crate) fn progress(&mut self, since: Instant) {
        let Some(update) = self.unit.course.update() else { return };
        let passed = self.unit.now.saturating_duration_since(since).as_secs();
        let whole = update.cure.time().map_or(100, |time| time.as_secs().max(1));
        let percent = (passed.saturating_mul(100) / whole).min(99);
        self.unit.urc(&format!("+QIND: \"FOTA\",\"UPDATING\",{percent}%"));
        self.unit.agenda.add(self.unit.now + PROGRESS, Later::Progress { since });
    }
}
