//! The course of a modem's illnesses: the current and the future illnesses.

use tokio::time::{Duration, Instant};

use crate::illness::{Cure, Forgery, Illness, Onset, Symptom};

/// An illness, and its end if it ends by itself.
#[derive(Debug, Clone, Copy)]
struct Case {
    illness: Illness,
    ends: Option<Instant>,
}

/// The current and the future illnesses of a modem.
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

    /// Returns the time when the next illness begins or ends.
    pub(crate) fn next(&self) -> Option<Instant> {
        let begins = self.coming.iter().map(|(begins, _)| *begins);
        begins.chain(self.cases.iter().filter_map(|case| case.ends)).min()
    }

    /// Reports whether an illness waits for this cure.
    pub(crate) fn waits_for(&self, cure: Cure) -> bool {
        self.cases.iter().any(|case| case.illness.cure == cure)
    }

    /// Begins an illness, which replaces an illness with the same symptom.
    pub(crate) fn begin(&mut self, illness: Illness, now: Instant) {
        self.cases.retain(|case| case.illness.symptom != illness.symptom);
        let ends = illness.cure.time().map(|time| now + time);
        self.cases.push(Case { illness, ends });
    }

    /// Ends the illnesses that are over; returns their symptoms.
    pub(crate) fn end(
        &mut self,
        is_over: impl Fn(&Illness, Option<Instant>) -> bool,
    ) -> Vec<Symptom> {
        let over = self.cases.extract_if(.., |case| is_over(&case.illness, case.ends));
        over.map(|case| case.illness.symptom).collect()
    }

    /// Takes the next illness that is due to begin.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Illness> {
        let place = self.coming.iter().position(|(begins, _)| *begins <= now)?;
        Some(self.coming.remove(place).1)
    }

    /// Returns the update under way.
    pub(crate) fn update(&self) -> Option<Illness> {
        let mut illnesses = self.cases.iter().map(|case| case.illness);
        illnesses.find(|illness| matches!(illness.symptom, Symptom::Update { .. }))
    }

    /// Forgets the update under way: the update does not end.
    pub(crate) fn forget_update(&mut self) {
        self.cases.retain(|case| !matches!(case.illness.symptom, Symptom::Update { .. }));
    }

    fn symptoms(&self) -> impl Iterator<Item = Symptom> {
        self.cases.iter().map(|case| case.illness.symptom)
    }

    /// Reports whether the modem has this symptom.
    pub(crate) fn suffers(&self, symptom: Symptom) -> bool {
        self.symptoms().any(|known| known == symptom)
    }

    /// Reports whether the modem is writing new firmware.
    pub(crate) fn is_updating(&self) -> bool {
        self.symptoms().any(|known| matches!(known, Symptom::Update { .. }))
    }

    /// Returns the duration of a slow command.
    pub(crate) fn slowness(&self, name: &str) -> Option<Duration> {
        self.symptoms().find_map(|symptom| match symptom {
            Symptom::Slow { command, time } if command == name || command == "any" => Some(time),
            _ => None,
        })
    }

    /// Returns the forgeries that arrive while a publish waits.
    pub(crate) fn forgeries(&self) -> Vec<Forgery> {
        let forged = |symptom| match symptom {
            Symptom::Forged(forgery) => Some(forgery),
            _ => None,
        };
        self.symptoms().filter_map(forged).collect()
    }

    /// Returns the time after which a connection of this client fails, if its broker is a black hole; `heeded`
    /// is the host's setting.
    pub(crate) fn black_hole(&self, client: usize, heeded: Duration) -> Option<Duration> {
        self.symptoms().find_map(|symptom| match symptom {
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
}
