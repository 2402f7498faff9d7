//! The recovery ladder: which means is due, how many there may be, and when to give up.
//!
//! A value without clock and I/O. Whoever meets trouble asks it again and again until it says what to
//! do; each case is a line of a table test.

use std::time::Duration;

use tokio::time::Instant;

use crate::observe::RecoveryAction as Action;

/// The budget counts actions within so long from the first of them.
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// Trouble that comes back sooner was not cured: the ladder goes on above what seemed to cure it.
const STABLE: Duration = Duration::from_secs(120);

/// What the fleet file says of a modem's recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The most actions within an hour; what is skipped costs nothing.
    pub budget: u32,
    /// How long a modem may be without registration before that is trouble.
    pub registration_lost: Duration,
    /// How long it may take from a reset until it answers, or is registered again.
    pub boot: Duration,
    /// Whether its USB device may be reset.
    pub usb_reset: bool,
    /// The script that switches its supply off and on.
    pub power_script: Option<String>,
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            budget: 6,
            registration_lost: Duration::from_secs(300),
            boot: Duration::from_secs(60),
            usb_reset: true,
            power_script: None,
        }
    }
}

/// What is wrong. Nothing else climbs: a broker that refuses while the modem is registered is a matter
/// of patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The port answers nothing.
    Mute,
    /// The port answers, and a step to service fails: worth a fresh start and no more.
    Failing,
    /// The modem's MQTT service has no network, or does not start, while the modem is registered.
    Service,
    /// Not registered for too long.
    Unregistered,
}

/// What shows that a modem is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It said who it is.
    Identified,
    /// It is registered.
    Registered,
    /// Its MQTT service reached a network.
    Service,
}

/// Which means are to be had now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Available {
    /// Commands are answered.
    pub(crate) commands: bool,
    /// The fleet file allows a reset of the USB device.
    pub(crate) usb_reset: bool,
    /// The fleet file names a script.
    pub(crate) power: bool,
}

/// What to do next. After [`Skip`](Self::Skip) and [`NotCured`](Self::NotCured), which are news to be told,
/// ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Do this.
    Act(Action),
    /// This is of no use here, or not to be had.
    Skip(Action),
    /// This was done, and did not help.
    NotCured(Action),
    /// The last reset may still help until then.
    Wait(Instant),
    /// Nothing is left until then.
    Failed(Instant),
}

/// Where the ladder stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing is wrong.
    Calm,
    /// This was done, and its outcome is open.
    Trying(Action),
    /// Given up until then.
    Failed(Instant),
}

/// The trouble that the ladder is climbed for.
#[derive(Debug, Clone, Copy)]
struct Climb {
    cause: Cause,
    /// The highest rung that was tried or skipped.
    reached: Option<Action>,
    /// What was done last and when it should have helped.
    trial: Option<(Action, Instant)>,
}

#[derive(Debug, Clone, Copy)]
struct Cure {
    cause: Cause,
    action: Action,
    at: Instant,
}

/// The ladder of one modem.
#[derive(Debug)]
pub(crate) struct Ladder {
    budget: u32,
    boot: Duration,
    /// When the first of the counted actions was done.
    first: Option<Instant>,
    used: u32,
    climb: Option<Climb>,
    failed: Option<Instant>,
    cure: Option<Cure>,
}

impl Ladder {
    pub(crate) fn new(policy: &Recovery) -> Self {
        Self {
            budget: policy.budget,
            boot: policy.boot,
            first: None,
            used: 0,
            climb: None,
            failed: None,
            cure: None,
        }
    }

    /// What to do about `cause`.
    pub(crate) fn next(&mut self, cause: Cause, now: Instant, available: Available) -> Step {
        self.roll(now);
        if let Some(until) = self.failed {
            return Step::Failed(until);
        }
        let mut climb = match self.climb {
            Some(climb) => climb,
            None => self.begin(cause, now),
        };
        if let Some((action, until)) = climb.trial {
            // A modem that boots says nothing, or nonsense, for a while, and then looks for a network. One
            // that is registered and has no service has booted.
            if now < until && cause != Cause::Service {
                return Step::Wait(until);
            }
            climb.trial = None;
            self.climb = Some(climb);
            return Step::NotCured(action);
        }
        if !climb.cause.is_like(cause) {
            climb = Climb { cause, reached: None, trial: None };
        }
        climb.cause = cause;
        self.climb = Some(climb);
        self.step(climb, now, available)
    }

    fn step(&mut self, climb: Climb, now: Instant, available: Available) -> Step {
        let above = |rung: &&Action| climb.reached.is_none_or(|reached| **rung > reached);
        let next = climb.cause.rungs().iter().find(above).copied();
        match next {
            // The engine has asked, again and again, before it called the port mute.
            Some(Action::Resync) => {
                self.reach(Action::Resync);
                Step::NotCured(Action::Resync)
            }
            Some(action) if !available.has(action) => {
                self.reach(action);
                Step::Skip(action)
            }
            Some(action) => self.act(action, now),
            // Opening a port once more harms nobody.
            None if matches!(climb.cause, Cause::Mute | Cause::Failing) => {
                self.act(Action::Reopen, now)
            }
            None => self.fail(now),
        }
    }

    fn act(&mut self, action: Action, now: Instant) -> Step {
        if self.used >= self.budget {
            return self.fail(now);
        }
        self.used += 1;
        self.first.get_or_insert(now);
        self.reach(action);
        let patience = if action.is_reset() { self.boot } else { Duration::ZERO };
        if let Some(climb) = &mut self.climb {
            climb.trial = Some((action, now + patience));
        }
        Step::Act(action)
    }

    fn reach(&mut self, action: Action) {
        if let Some(climb) = &mut self.climb {
            climb.reached = climb.reached.max(Some(action));
        }
    }

    fn fail(&mut self, now: Instant) -> Step {
        let until = self.first.unwrap_or(now) + HOUR;
        self.failed = Some(until);
        Step::Failed(until)
    }

    /// The hour is over: all of it is forgotten.
    fn roll(&mut self, now: Instant) {
        let over = self.first.is_some_and(|first| now >= first + HOUR);
        if over || self.failed.is_some_and(|until| now >= until) {
            (self.first, self.used) = (None, 0);
            if self.failed.take().is_some() {
                self.climb = None;
            }
        }
    }

    fn begin(&mut self, cause: Cause, now: Instant) -> Climb {
        let mut reached = None;
        if let Some(Cure { cause: cured, action, at }) = self.cure.take() {
            if now < at + STABLE {
                reached = cured.is_like(cause).then_some(action);
            } else if action <= Action::ServiceRestart {
                // What is gentle and did help is no loop: it costs nothing.
                self.used = self.used.saturating_sub(1);
                if self.used == 0 {
                    self.first = None;
                }
            }
        }
        Climb { cause, reached, trial: None }
    }

    /// The action that was asked for is not to be had after all, and was not done.
    pub(crate) fn unavailable(&mut self) {
        if let Some(climb) = &mut self.climb
            && climb.trial.take().is_some()
        {
            self.used = self.used.saturating_sub(1);
            if self.used == 0 {
                self.first = None;
            }
        }
    }

    /// The action that was asked for is done: its time to help begins.
    pub(crate) fn done(&mut self, now: Instant) {
        if let Some(Climb { trial: Some((action, until)), .. }) = &mut self.climb
            && action.is_reset()
        {
            *until = now + self.boot;
        }
    }

    /// The action that was asked for went wrong: there is nothing to wait for.
    pub(crate) fn went_wrong(&mut self, now: Instant) {
        if let Some(Climb { trial: Some((_, until)), .. }) = &mut self.climb {
            *until = now;
        }
    }

    /// Takes in a sign of life; what cured it, where that was one of ours.
    pub(crate) fn shows(&mut self, sign: Sign, now: Instant) -> Option<Action> {
        let climb = self.climb?;
        if !sign.ends(climb.cause) {
            return None;
        }
        self.climb = None;
        self.failed = None;
        let (action, _) = climb.trial?;
        self.cure = Some(Cure { cause: climb.cause, action, at: now });
        Some(action)
    }

    /// Somebody plugged it in anew: whatever was wrong, it is another life of the modem.
    pub(crate) fn replugged(&mut self) {
        (self.first, self.used) = (None, 0);
        (self.climb, self.failed, self.cure) = (None, None, None);
    }

    /// The port may go by our own doing.
    pub(crate) fn is_resetting(&self) -> bool {
        let climb = self.climb.and_then(|climb| climb.trial);
        climb.is_some_and(|(action, _)| action >= Action::ModemReset)
    }

    /// The trouble whose last remedy should have helped by now, and when that is or was.
    pub(crate) fn trial(&self) -> Option<(Cause, Instant)> {
        let climb = self.climb?;
        climb.trial.map(|(_, until)| (climb.cause, until))
    }

    /// Where it stands.
    pub(crate) fn stage(&self) -> Stage {
        match (self.failed, self.climb.and_then(|climb| climb.trial)) {
            (Some(until), _) => Stage::Failed(until),
            (None, Some((action, _))) => Stage::Trying(action),
            (None, None) => Stage::Calm,
        }
    }

    /// Actions done within the hour, and how many there may be.
    pub(crate) fn spent(&self) -> (u32, u32) {
        (self.used, self.budget)
    }
}

impl Cause {
    /// The rungs that may help, the lowest first.
    fn rungs(self) -> &'static [Action] {
        let all: &'static [Action] = const { &Action::ALL };
        let from = match self {
            Self::Failing => return const { &[Action::Reopen] },
            Self::Mute => Action::Resync,
            Self::Service => Action::ServiceRestart,
            Self::Unregistered => Action::RadioCycle,
        };
        let start = all.iter().position(|rung| *rung == from).unwrap_or_default();
        all.get(start..).unwrap_or_default()
    }

    /// Whether what was tried for the one was tried for the other.
    fn is_like(self, other: Self) -> bool {
        let heard = |cause| matches!(cause, Self::Service | Self::Unregistered);
        self == other || (heard(self) && heard(other))
    }
}

impl Sign {
    fn ends(self, cause: Cause) -> bool {
        match self {
            Self::Identified => matches!(cause, Cause::Mute | Cause::Failing),
            Self::Registered => cause == Cause::Unregistered,
            Self::Service => true,
        }
    }
}

impl Action {
    /// Whether the modem may need to boot or to register after it. One modem of a gateway at a time.
    pub(crate) fn is_reset(self) -> bool {
        self >= Self::RadioCycle
    }
}

impl Available {
    fn has(self, action: Action) -> bool {
        match action {
            Action::Resync | Action::Reopen => true,
            Action::ServiceRestart | Action::RadioCycle | Action::ModemReset => self.commands,
            Action::UsbReset => self.usb_reset,
            Action::Power => self.power,
        }
    }
}

#[cfg(test)]
mod tests;
