//! The course of a modem's illnesses: how they begin, what is done about them, and how they end.

use tokio::time::{Duration, Instant};

use crate::{
    firmware::Firmware,
    illness::{Cure, Forgery, Illness, Onset, Symptom},
    later::Later,
    port_state::PortState,
};

/// How long after START or CONNECT was accepted the supply fails: the transmitter draws its full current then.
const BROWN_OUT: Duration = Duration::from_millis(500);

/// How often an update reports how far it is.
const PROGRESS: Duration = Duration::from_secs(1);

/// An illness and when it ends by itself.
#[derive(Debug, Clone, Copy)]
struct Case {
    illness: Illness,
    ends: Option<Instant>,
}

/// The illnesses that a modem has, and those to come.
#[derive(Debug, Default)]
pub(crate) struct Course {
    cases: Vec<Case>,
    coming: Vec<(Instant, Illness)>,
}

impl Course {
    pub(crate) fn new(onsets: &[Onset], now: Instant) -> Self {
        let coming = onsets.iter().map(|onset| (now + onset.after, onset.illness)).collect();
        Self { cases: Vec::new(), coming }
    }

    /// When the next one begins or ends.
    pub(crate) fn next(&self) -> Option<Instant> {
        let begins = self.coming.iter().map(|(begins, _)| *begins);
        begins.chain(self.cases.iter().filter_map(|case| case.ends)).min()
    }

    /// Reports whether one of them waits for this.
    pub(crate) fn waits_for(&self, cure: Cure) -> bool {
        self.cases.iter().any(|case| case.illness.cure == cure)
    }

    fn symptoms(&self) -> impl Iterator<Item = Symptom> {
        self.cases.iter().map(|case| case.illness.symptom)
    }
}

impl Firmware {
    /// Makes it fall ill. Connections that stand go on, unless the card or the radio is gone.
    pub(crate) fn fall_ill(&mut self, illness: Illness) {
        let before = self.registration();
        self.course.cases.retain(|case| case.illness.symptom != illness.symptom);
        let ends = illness.cure.time().map(|time| self.now + time);
        self.course.cases.push(Case { illness, ends });
        self.begin_illness(illness.symptom);
        self.report_registration(before);
    }

    /// Something is done about its illnesses. One that loses its supply in the middle of an update has half a
    /// firmware.
    pub(crate) fn treat(&mut self, cure: Cure) {
        let is_ruined = cure == Cure::Power && self.is_updating();
        self.end_illnesses(|case| case.illness.cure <= cure);
        if is_ruined {
            self.course
                .cases
                .retain(|case| !matches!(case.illness.symptom, Symptom::Update { .. }));
            self.fall_ill(Illness { symptom: Symptom::Mute, cure: Cure::Never });
        }
    }

    /// Ends an illness.
    pub(crate) fn heal(&mut self, symptom: Symptom) {
        let before = self.registration();
        self.end_illnesses(|case| case.illness.symptom == symptom);
        self.report_registration(before);
    }

    /// Begins and ends what is due.
    pub(crate) fn go_through_illnesses(&mut self) {
        let now = self.now;
        let before = self.registration();
        self.end_illnesses(|case| case.ends.is_some_and(|ends| ends <= now));
        self.report_registration(before);
        while let Some(place) = self.course.coming.iter().position(|(begins, _)| *begins <= now) {
            let (_, illness) = self.course.coming.remove(place);
            self.fall_ill(illness);
        }
    }

    fn end_illnesses(&mut self, is_over: impl Fn(&Case) -> bool) {
        let (over, stay): (Vec<Case>, Vec<Case>) =
            self.course.cases.iter().copied().partition(|case| is_over(case));
        self.course.cases = stay;
        for case in over {
            self.end_illness(case.illness.symptom);
        }
    }

    /// Reports whether it suffers from this.
    pub(crate) fn suffers(&self, symptom: Symptom) -> bool {
        self.course.symptoms().any(|known| known == symptom)
    }

    /// Reports whether it writes new firmware.
    pub(crate) fn is_updating(&self) -> bool {
        self.course.symptoms().any(|known| matches!(known, Symptom::Update { .. }))
    }

    /// How long a command takes.
    pub(crate) fn slowness(&self, name: &str) -> Option<Duration> {
        self.course.symptoms().find_map(|symptom| match symptom {
            Symptom::Slow { command, time } if command == name || command == "any" => Some(time),
            _ => None,
        })
    }

    /// What comes while a publish waits.
    pub(crate) fn forgeries(&self) -> Vec<Forgery> {
        let forged = |symptom| match symptom {
            Symptom::Forged(forgery) => Some(forgery),
            _ => None,
        };
        self.course.symptoms().filter_map(forged).collect()
    }

    /// The time after which a connection of this client comes to nothing, where its broker is a black hole; `heeded`
    /// is what the host has set.
    pub(crate) fn black_hole(&self, client: usize, heeded: Duration) -> Option<Duration> {
        self.course.symptoms().find_map(|symptom| match symptom {
            Symptom::BlackHole { client: index, is_heeded } if usize::from(index) == client => {
                Some(if is_heeded { heeded } else { Duration::from_secs(120) })
            }
            _ => None,
        })
    }

    /// Reports whether the broker of this client acknowledges nothing.
    pub(crate) fn is_unacknowledged(&self, client: usize) -> bool {
        let client = u8::try_from(client).unwrap_or(u8::MAX);
        self.suffers(Symptom::NoAcknowledgement { client })
    }

    /// Draws the current of a transmission, under which a weak supply fails.
    pub(crate) fn strain(&mut self, weak: Symptom) {
        if self.suffers(weak) {
            self.agenda.add(self.now + BROWN_OUT, Later::BrownOut);
        }
    }

    fn begin_illness(&mut self, symptom: Symptom) {
        match symptom {
            Symptom::RadioOff => self.switch_radio(4),
            Symptom::SimFailure | Symptom::SimAbsent => self.lose_network(),
            Symptom::LeftClients => self.service.leave_clients(),
            Symptom::Buffered => self.qmt.leave_buffered(),
            Symptom::HexData => self.qmt.leave_hex(),
            Symptom::Forged(Forgery::Text) => self.messages.leave(true),
            Symptom::Forged(Forgery::Pdu) => self.messages.leave(false),
            Symptom::Update { .. } => {
                self.agenda.clear();
                self.forget_sessions();
                self.ports.iter_mut().for_each(PortState::reset);
                self.progress(self.now);
            }
            _ => {}
        }
    }

    fn end_illness(&mut self, symptom: Symptom) {
        match symptom {
            Symptom::RadioOff if self.settings.cfun == 4 => self.switch_radio(1),
            Symptom::SimFailure | Symptom::SimAbsent if self.is_up() => {
                if let Some(state) = self.card_state() {
                    self.urc(&format!("+CPIN: {state}"));
                }
            }
            Symptom::Update { boots } => {
                self.urc("+QIND: \"FOTA\",\"END\",0");
                if boots {
                    self.reset();
                }
            }
            _ => {}
        }
    }

    /// Prints how far the update is that began at `since`; one without an end stays at 99 %.
    pub(crate) fn progress(&mut self, since: Instant) {
        let is_update = |case: &&Case| matches!(case.illness.symptom, Symptom::Update { .. });
        let Some(case) = self.course.cases.iter().find(is_update) else { return };
        let passed = self.now.saturating_duration_since(since).as_secs();
        let whole = case.illness.cure.time().map_or(100, |time| time.as_secs().max(1));
        let percent = (passed.saturating_mul(100) / whole).min(99);
        self.urc(&format!("+QIND: \"FOTA\",\"UPDATING\",{percent}%"));
        self.agenda.add(self.now + PROGRESS, Later::Progress { since });
    }
}
