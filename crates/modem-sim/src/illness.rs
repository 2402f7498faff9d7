//! Illnesses: a modem that does not work until something is done about it, and nothing less.

use std::{fmt, str::FromStr};

/// What is wrong with a modem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symptom {
    /// It takes what is written and answers nothing.
    Mute,
    /// Its MQTT service starts, and CONNECT fails with code 9, "network not opened".
    Service,
    /// It finds no network.
    Registration,
}

/// What cures it; so does everything that comes after it here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cure {
    /// The tty is closed by whoever has it open; seen at ptys only.
    Reopen,
    /// The MQTT service is stopped.
    ServiceRestart,
    /// The radio is switched off and on.
    RadioCycle,
    /// The modem is told to boot.
    ModemReset,
    /// The USB device is reset: [`crate::Handle::usb_reset`].
    UsbReset,
    /// It is without power for a moment.
    Power,
    /// Nothing does.
    Never,
}

/// A symptom and its cure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Illness {
    /// What is wrong.
    pub symptom: Symptom,
    /// What cures it.
    pub cure: Cure,
}

/// Why `SYMPTOM=CURE` was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` is not SYMPTOM=CURE: symptoms are {}; cures are {}",
    names(&SYMPTOMS),
    names(&CURES)
)]
pub struct IllnessError {
    given: String,
}

const SYMPTOMS: [(&str, Symptom); 3] = [
    ("mute", Symptom::Mute),
    ("service", Symptom::Service),
    ("registration", Symptom::Registration),
];

const CURES: [(&str, Cure); 7] = [
    ("reopen", Cure::Reopen),
    ("service-restart", Cure::ServiceRestart),
    ("radio-cycle", Cure::RadioCycle),
    ("modem-reset", Cure::ModemReset),
    ("usb-reset", Cure::UsbReset),
    ("power", Cure::Power),
    ("never", Cure::Never),
];

fn names<T>(all: &[(&str, T)]) -> String {
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

fn of_name<T: Copy>(all: &[(&str, T)], name: &str) -> Option<T> {
    all.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

impl FromStr for Illness {
    type Err = IllnessError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (symptom, cure) = text.split_once('=')?;
            Some(Self { symptom: of_name(&SYMPTOMS, symptom)?, cure: of_name(&CURES, cure)? })
        };
        read().ok_or_else(|| IllnessError { given: text.to_owned() })
    }
}

impl fmt::Display for Illness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let symptom = SYMPTOMS.iter().find(|(_, known)| *known == self.symptom);
        let cure = CURES.iter().find(|(_, known)| *known == self.cure);
        let name = |found: Option<&str>| found.unwrap_or_default().to_owned();
        write!(f, "{}={}", name(symptom.map(|(n, _)| *n)), name(cure.map(|(n, _)| *n)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_illness_is_read_and_refused_by_name() {
        for (symptom, _) in SYMPTOMS {
            for (cure, _) in CURES {
                let text = format!("{symptom}={cure}");
                assert_eq!(text.parse::<Illness>().unwrap().to_string(), text);
            }
        }
        for bad in ["mute", "mute=", "=reopen", "deaf=reopen", "mute=prayer"] {
            let words = bad.parse::<Illness>().unwrap_err().to_string();
            assert!(words.contains(bad) && words.contains("usb-reset"), "{words}");
        }
    }
}
