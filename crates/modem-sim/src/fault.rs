//! Faults by name, each with a probability, and the dice that decide them.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    str::FromStr,
};

/// A fault. All but `split` and `lost-bytes` are decided once for each command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A command is swallowed: neither carried out nor answered.
    Silence,
    /// An answer is late, by [`crate::Options::late`]; later output waits for it.
    Late,
    /// Noise comes before an answer. Noise contains no letter, digit, `+` or `>`, so that it cannot be taken
    /// for a result or a prompt.
    Garbage,
    /// A URC is inside an answer: before its first line or before its final result.
    Urc,
    /// The prompt comes late; the modem takes data from the command on.
    LatePrompt,
    /// No prompt and no reply; the modem stays in command mode.
    NoPrompt,
    /// The modem reboots by itself: boot lines, all state gone.
    Reset,
    /// The tty vanishes and comes back after [`crate::Options::unplugged`]. If the tty is not our own, only the
    /// power fails.
    Unplug,
    /// The result of an operation comes before its `OK`.
    ResultFirst,
    /// `OK` comes before the result, also on models with the other order.
    OkFirst,
    /// The connections to the broker drop.
    Lost,
    /// A publish is refused; nothing reaches the broker.
    PubError,
    /// Output is written in small pieces.
    Split,
    /// A received message loses a byte, or three in a row, as on a serial line without flow control. Two, the
    /// length of a line end, could not be noticed.
    LostBytes,
}

/// The reason why `NAME=PROBABILITY` was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// There is no `=`.
    #[error("`{0}` is not NAME=PROBABILITY")]
    NoProbability(String),
    /// The name is unknown.
    #[error("`{name}` is not a fault; known are {}", Fault::names())]
    UnknownName {
        /// The given name.
        name: String,
    },
    /// The probability is not a number from 0 to 1.
    #[error("`{0}` is not a probability from 0 to 1")]
    BadProbability(String),
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 14] = [
        Self::Silence,
        Self::Late,
        Self::Garbage,
        Self::Urc,
        Self::LatePrompt,
        Self::NoPrompt,
        Self::Reset,
        Self::Unplug,
        Self::ResultFirst,
        Self::OkFirst,
        Self::Lost,
        Self::PubError,
        Self::Split,
        Self::LostBytes,
    ];

    /// Returns the name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Silence => "silence",
            Self::Late => "late",
            Self::Garbage => "garbage",
            Self::Urc => "urc",
            Self::LatePrompt => "late-prompt",
            Self::NoPrompt => "no-prompt",
            Self::Reset => "reset",
            Self::Unplug => "unplug",
            Self::ResultFirst => "result-first",
            Self::OkFirst => "ok-first",
            Self::Lost => "lost",
            Self::PubError => "pub-error",
            Self::Split => "split",
            Self::LostBytes => "lost-bytes",
        }
    }

    fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|fault| fault.name() == text)
            .ok_or_else(|| FaultError::UnknownName { name: text.to_owned() })
    }
}

/// A `NAME=PROBABILITY`, as on the command line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FaultRate {
    /// The fault.
    pub fault: Fault,
    /// The probability, from 0 (never) to 1 (always).
    pub probability: f64,
}

impl FromStr for FaultRate {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) =
            text.split_once('=').ok_or_else(|| FaultError::NoProbability(text.to_owned()))?;
        let fault = name.trim().parse()?;
        match value.trim().parse::<f64>() {
            Ok(probability) if (0.0..=1.0).contains(&probability) => {
                Ok(Self { fault, probability })
            }
            _ => Err(FaultError::BadProbability(value.to_owned())),
        }
    }
}

/// The probability of each fault. A fault that is not named never happens.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults(BTreeMap<Fault, f64>);

impl Faults {
    /// Returns no faults.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Sets the probability of `fault`. A value outside 0 to 1 is clamped; NaN means never.
    pub fn set(&mut self, fault: Fault, probability: f64) {
        let probability = if probability.is_nan() { 0.0 } else { probability.clamp(0.0, 1.0) };
        self.0.insert(fault, probability);
    }

    /// Returns the same faults with this fault added.
    #[must_use]
    pub fn with(mut self, fault: Fault, probability: f64) -> Self {
        self.set(fault, probability);
        self
    }

    /// Returns the probability of `fault`.
    #[must_use]
    pub fn probability(&self, fault: Fault) -> f64 {
        self.0.get(&fault).copied().unwrap_or(0.0)
    }
}

impl FromIterator<FaultRate> for Faults {
    fn from_iter<I: IntoIterator<Item = FaultRate>>(rates: I) -> Self {
        let mut faults = Self::none();
        for rate in rates {
            faults.set(rate.fault, rate.probability);
        }
        faults
    }
}

/// Unplugs at a given step: a command, or the data that follows a prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pulls {
    stays: VecDeque<u64>,
    steps: u64,
}

impl Pulls {
    /// Returns unplugs at the step of each stay in turn; after these the modem stays.
    pub(crate) fn new(stays: &[u64]) -> Self {
        Self { stays: stays.iter().copied().collect(), steps: 0 }
    }

    /// Counts a step, and reports whether the modem is unplugged during this step.
    pub(crate) fn step(&mut self) -> bool {
        self.steps += 1;
        let is_now = self.stays.front() == Some(&self.steps);
        if is_now {
            self.steps = 0;
            self.stays.pop_front();
        }
        is_now
    }
}

/// The dice: faults, and the noise that some of them need, the same for the same seed.
#[derive(Debug)]
pub(crate) struct Dice {
    pub(crate) faults: Faults,
    rng: fastrand::Rng,
}

impl Dice {
    pub(crate) fn new(faults: Faults, seed: u64) -> Self {
        Self { faults, rng: fastrand::Rng::with_seed(seed) }
    }

    /// Reports whether `fault` happens now. A fault that is off takes no number, so that turning a fault on
    /// changes the course of the others as little as possible.
    pub(crate) fn roll(&mut self, fault: Fault) -> bool {
        let probability = self.faults.probability(fault);
        probability > 0.0 && self.rng.f64() < probability
    }

    /// Returns one of two values at random.
    pub(crate) fn coin(&mut self) -> bool {
        self.rng.bool()
    }

    /// Returns a number from 0 up to and without `end`, and 0 if `end` is 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { self.rng.usize(..end) }
    }

    /// Returns the noise before an answer, if any.
    pub(crate) fn garbage(&mut self) -> Vec<u8> {
        if self.roll(Fault::Garbage) { self.noise() } else { Vec::new() }
    }

    /// Removes some of the bytes from `start` on, if the fault happens.
    pub(crate) fn lose_bytes(&mut self, bytes: &mut Vec<u8>, start: usize) {
        let length = bytes.len().saturating_sub(start);
        if length == 0 || !self.roll(Fault::LostBytes) {
            return;
        }
        let count = if length >= 3 && self.coin() { 3 } else { 1 };
        let first = start + self.below(length - count + 1);
        bytes.drain(first..first + count);
    }

    /// Returns 1 to 40 bytes of line noise, sometimes with line ends.
    pub(crate) fn noise(&mut self) -> Vec<u8> {
        const MARKS: &[u8] = b"~^#{}|\\\x00\x7f";
        let length = 1 + self.rng.usize(..32);
        let mut noise: Vec<u8> = (0..length)
            .map(|_| {
                let mark = self.rng.usize(..MARKS.len());
                let high = self.rng.u8(0x80..);
                if self.rng.bool() { high } else { MARKS.get(mark).copied().unwrap_or(high) }
            })
            .collect();
        if self.rng.bool() {
            noise.splice(0..0, *b"\r\n");
            noise.extend_from_slice(b"\r\n");
        }
        noise
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_refused_by_name() {
        let rate: FaultRate = "late-prompt=0.25".parse().unwrap();
        assert_eq!((rate.fault, rate.probability), (Fault::LatePrompt, 0.25));
        for fault in Fault::ALL {
            assert_eq!(fault.name().parse(), Ok(fault));
        }
        let unknown = "lates=0.1".parse::<FaultRate>().unwrap_err().to_string();
        assert!(unknown.contains("`lates`") && unknown.contains("late-prompt"), "{unknown}");
        assert!(unknown.contains("split"), "{unknown}");
        for bad in ["late", "late=", "late=2", "late=-0.1", "late=NaN", "=1"] {
            assert!(bad.parse::<FaultRate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn each_stay_ends_at_its_own_step() {
        let mut pulls = Pulls::new(&[1, 3, 2]);
        let course: Vec<bool> = (0..9).map(|_| pulls.step()).collect();
        let at = |step| course.get(step) == Some(&true);
        assert!(at(0) && at(3) && at(5), "{course:?}");
        assert_eq!(course.iter().filter(|pulled| **pulled).count(), 3);
    }

    #[test]
    fn noise_can_be_taken_for_nothing_else() {
        let mut dice = Dice::new(Faults::none(), 7);
        for _ in 0..2_000 {
            let noise = dice.noise();
            assert!(!noise.iter().any(|b| b.is_ascii_alphanumeric() || b"+>".contains(b)));
        }
    }

    #[test]
    fn dice_repeat_for_a_seed_and_keep_the_rate() {
        let course = |seed| {
            let mut dice = Dice::new(Faults::none().with(Fault::Late, 0.05), seed);
            (0..10_000).map(|_| dice.roll(Fault::Late)).collect::<Vec<_>>()
        };
        assert_eq!(course(1), course(1));
        assert_ne!(course(1), course(2));
        let hits = course(1).into_iter().filter(|hit| *hit).count();
        assert!((400..600).contains(&hits), "{hits}");
    }
}
