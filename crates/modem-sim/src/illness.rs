//! Illnesses: a modem's symptom and its cure.

mod symptom;
mod time;

use std::{fmt, str::FromStr};

use tokio::time::Duration;

pub use symptom::{Forgery, Symptom};

use time::{Time, time};

/// The cure of an illness; each later cure here, up to [`Self::Power`], works too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cure {
    /// The tty is closed by the process that has it open; seen at ptys only.
    Reopen,
    /// The MQTT service is stopped.
    ServiceRestart,
    /// The radio is switched off and on.
    RadioCycle,
    /// The card's supply is switched off and on: `AT+CFUN=0` and then 1. `AT+CFUN=4` leaves the card its supply.
    CardPower,
    /// The modem boots on command.
    ModemReset,
    /// The USB device is reset: [`crate::Handle::usb_reset`].
    UsbReset,
    /// The modem is without power for a moment.
    Power,
    /// No cure.
    Never,
    /// The illness ends by itself after this time, and nothing ends it before.
    After(Duration),
}

/// A symptom and its cure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Illness {
    /// The symptom.
    pub symptom: Symptom,
    /// The cure.
    pub cure: Cure,
}

/// An illness that begins some time after the modem was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Onset {
    /// The illness.
    pub illness: Illness,
    /// The time of its beginning.
    pub after: Duration,
}

/// The reason why `SYMPTOM=CURE` was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` is not SYMPTOM=CURE[@TIME]: symptoms are {}; cures are {}, and a time such as 40s",
    Symptom::names(),
    names(&CURES)
)]
pub struct IllnessError {
    given: String,
}

const CURES: [(&str, Cure); 8] = [
    ("reopen", Cure::Reopen),
    ("service-restart", Cure::ServiceRestart),
    ("radio-cycle", Cure::RadioCycle),
    ("card-power", Cure::CardPower),
    ("modem-reset", Cure::ModemReset),
    ("usb-reset", Cure::UsbReset),
    ("power", Cure::Power),
    ("never", Cure::Never),
];

fn names<T>(all: &[(&'static str, T)]) -> String {
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

impl Cure {
    fn parse(text: &str) -> Option<Self> {
        let named = CURES.iter().find(|(name, _)| *name == text).map(|(_, cure)| *cure);
        named.or_else(|| time(text).map(Self::After))
    }

    /// Returns the duration of an illness that ends by itself.
    pub(crate) fn time(self) -> Option<Duration> {
        match self {
            Self::After(time) => Some(time),
            _ => None,
        }
    }
}

impl FromStr for Illness {
    type Err = IllnessError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (symptom, cure) = text.split_once('=')?;
            Some(Self { symptom: Symptom::parse(symptom)?, cure: Cure::parse(cure)? })
        };
        read().ok_or_else(|| IllnessError { given: text.to_owned() })
    }
}

impl fmt::Display for Illness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.symptom)?;
        match CURES.iter().find(|(_, known)| *known == self.cure) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", Time(self.cure.time().unwrap_or_default())),
        }
    }
}

impl FromStr for Onset {
    type Err = IllnessError;

    /// Reads `SYMPTOM=CURE` or `SYMPTOM=CURE@TIME`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || IllnessError { given: text.to_owned() };
        let (illness, after) = match text.split_once('@') {
            Some((illness, after)) => (illness, time(after).ok_or_else(refused)?),
            None => (text, Duration::ZERO),
        };
        Ok(Self { illness: illness.parse().map_err(|_| refused())?, after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_illness_is_read_and_refused_by_name() {
        for symptom in Symptom::names().split(", ").filter(|name| !name.contains('<')) {
            let cures = CURES.iter().map(|(name, _)| *name);
            for cure in cures.chain(["40s", "1500ms"]) {
                let text = format!("{symptom}={cure}");
                assert_eq!(text.parse::<Illness>().unwrap().to_string(), text);
            }
        }
        for bad in ["mute", "mute=", "=reopen", "deaf=reopen", "mute=prayer", "mute=5", "mute=s"] {
            let words = bad.parse::<Illness>().unwrap_err().to_string();
            assert!(words.contains(bad) && words.contains("usb-reset"), "{words}");
        }
    }

    #[test]
    fn a_slow_command_has_its_name_and_its_time() {
        for text in ["slow:+COPS:20s=never", "slow:any:250ms=radio-cycle"] {
            assert_eq!(text.parse::<Illness>().unwrap().to_string(), text);
        }
        let minute: Illness = "slow:+CMQTTSTART:1min=2h".parse().unwrap();
        assert_eq!(minute.to_string(), "slow:+CMQTTSTART:60s=7200s");
        for bad in ["slow=never", "slow:+COPS=never", "slow:+NOSUCH:1s=never", "slow:+COPS:1=never"]
        {
            assert!(bad.parse::<Illness>().is_err(), "{bad}");
        }
        let endless = format!("mute={}h", u64::MAX);
        assert!(endless.parse::<Illness>().is_err());
    }

    #[test]
    fn an_onset_may_be_later() {
        let at_once: Onset = "mute=power".parse().unwrap();
        assert_eq!(at_once.after, Duration::ZERO);
        let later: Onset = "update=50s@8s".parse().unwrap();
        assert_eq!(later.after, Duration::from_secs(8));
        assert_eq!(later.illness.to_string(), "update=50s");
        assert!("update=50s@".parse::<Onset>().is_err());
    }

    #[test]
    fn a_stronger_means_cures_too_and_time_heals_what_nothing_else_does() {
        assert!(Cure::RadioCycle < Cure::CardPower && Cure::CardPower < Cure::ModemReset);
        assert!(Cure::Power < Cure::Never && Cure::Power < Cure::After(Duration::ZERO));
    }
}
