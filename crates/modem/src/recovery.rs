//! The recovery ladder: the actions for each cause, the time for each, and the state after the
//! last.
//!
//! A value without clock and I/O. A task that meets trouble asks it repeatedly until it decides;
//! each case is a line of a table test. docs/recovery.md shows the same table.
//!
//! Only actions have a budget. Attempts (to start the service, to sign in, to open the port, to ask
//! the SIM or the network) cost nothing and never end: `backoff` sets how often they are due at
//! least.

mod cause;

use std::time::Duration;

use tokio::time::Instant;

pub(crate) use self::cause::{Cause, Sign};
use crate::observe::RecoveryAction as Action;

/// The time from the first counted action during which the budget counts.
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

const MINUTE: Duration = Duration::from_secs(60);

/// The time after which a cure counts. If trouble comes back sooner, the ladder goes on above the
/// action that seemed to cure it.
const STABLE: Duration = Duration::from_secs(120);

/// The time for which a port without answers is reopened before its device is reset. A modem that
/// was just plugged in, or that boots, does not answer, either. If the fleet file gives a boot less
/// time, that counts.
const DEAF: Duration = Duration::from_secs(20);

/// The time for which a failed SIM is left alone first: cards answer late after a boot.
const CARD: Duration = Duration::from_secs(30);

/// The least time between two modem resets for trouble of one session.
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The settings of a modem's recovery in the fleet file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The most actions within an hour; a skipped action costs nothing.
    pub budget: u32,
    /// The time without registration after which that is trouble.
    pub registration_lost: Duration,
    /// The time for which the network may refuse data, or the MQTT service fail to start, before
    /// the ladder does more than to try again.
    pub service_lost: Duration,
    /// The longest time from a reset until the modem answers, or is registered again.
    pub boot: Duration,
    /// True if its USB device may be reset.
    pub usb_reset: bool,
    /// The script that switches its power supply off and on.
    pub power_script: Option<String>,
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            budget: 6,
            registration_lost: 5 * MINUTE,
            service_lost: 5 * MINUTE,
            boot: MINUTE,
            usb_reset: true,
            power_script: None,
        }
    }
}

/// The means that are available now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Available {
    /// True if the modem answers commands.
    pub(crate) commands: bool,
    /// True if the radio is ours to switch.
    pub(crate) radio: bool,
    /// True if the fleet file allows a reset of the USB device.
    pub(crate) usb_reset: bool,
    /// True if the fleet file names a script.
    pub(crate) power: bool,
    /// True if another session of the modem fails too, so that the cause is not one broker.
    pub(crate) all_fail: bool,
}

/// The next step. [`Skip`](Self::Skip) and [`NotCured`](Self::NotCured) are news to report; ask
/// again after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Do this action.
    Act(Action),
    /// This action is useless here, or not available.
    Skip(Action),
    /// This action was done, and did not help.
    NotCured(Action),
    /// Nothing is due until then; attempts go on.
    Wait(Instant),
    /// Everything was tried, or the budget is spent. Only attempts until then.
    Failed(Instant),
}

/// The state of the ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing is wrong.
    Calm,
    /// This action was done, and its outcome is open.
    Trying(Action),
    /// Only attempts until then.
    Failed(Instant),
}

/// The actions that can cure a cause, and their times.
struct Course {
    /// Each action, and the least time before it since the trouble began or since the action
    /// before.
    rungs: Vec<(Action, Duration)>,
    /// The time from the last rung until the course starts again: the first time, the second time
    /// and so on. The last entry repeats. If there is none, only attempts follow.
    again: &'static [Duration],
    /// The rung with which the course starts again.
    from: usize,
    /// True if its actions count against the budget.
    costs: bool,
    /// True if the modem counts as failed once everything was tried.
    fails: bool,
}

/// The trouble for which the ladder is climbed.
#[derive(Debug, Clone, Copy)]
struct Climb {
    cause: Cause,
    /// The start of the trouble.
    since: Instant,
    /// The time of the last action, or of the end of the course: rungs count their time from then.
    last: Instant,
    /// The next rung of the course.
    next: usize,
    /// The number of times that the course was complete.
    rounds: usize,
    /// The highest rung that was tried or skipped.
    reached: Option<Action>,
    /// The last action, and the time at which it should have helped.
    trial: Option<(Action, Instant)>,
}

#[derive(Debug, Clone, Copy)]
struct Cure {
    climb: Climb,
    action: Action,
    at: Instant,
}

/// The ladder of one modem.
#[derive(Debug, Clone)]
pub(crate) struct Ladder {
    policy: Recovery,
    /// The time of the first counted action.
    first: Option<Instant>,
    used: u32,
    climb: Option<Climb>,
    /// The climb before the last action was requested.
    before: Option<Climb>,
    failed: Option<Instant>,
    cure: Option<Cure>,
    /// True if the modem identified itself since it was plugged in.
    has_answered: bool,
    /// The time of the last modem reset for trouble of its sessions.
    sessions_reset: Option<Instant>,
}

impl Ladder {
    pub(crate) fn new(policy: &Recovery) -> Self {
        Self {
            policy: policy.clone(),
            first: None,
            used: 0,
            climb: None,
            before: None,
            failed: None,
            cure: None,
            has_answered: false,
            sessions_reset: None,
        }
    }

    /// Returns the next step about `cause`.
    pub(crate) fn next(&mut self, cause: Cause, now: Instant, available: Available) -> Step {
        self.roll(now);
        self.failed = None;
        let mut climb = match self.climb {
            Some(climb) => climb,
            None => self.begin(cause, now),
        };
        if let Some((action, until)) = climb.trial {
            // A modem that boots prints nothing, or nonsense, for a while, and then looks for a
            // network.
            if now < until {
                self.climb = Some(climb);
                return Step::Wait(until);
            }
            climb.trial = None;
            self.climb = Some(climb);
            return Step::NotCured(action);
        }
        if climb.cause != cause {
            climb.turn_to(cause, &self.course(cause), now);
        }
        let step = self.step(&mut climb, now, available);
        self.climb = Some(climb);
        step
    }

    /// Reports whether an available action about `cause` is due.
    pub(crate) fn is_due(&self, cause: Cause, now: Instant, available: Available) -> bool {
        let mut asked = self.clone();
        loop {
            match asked.next(cause, now, available) {
                Step::Act(_) => return true,
                Step::Wait(_) | Step::Failed(_) => return false,
                Step::Skip(_) | Step::NotCured(_) => {}
            }
        }
    }

    fn step(&mut self, climb: &mut Climb, now: Instant, available: Available) -> Step {
        let course = self.course(climb.cause);
        let Some(&(action, after)) = course.rungs.get(climb.next) else {
            return Step::Wait(now + MINUTE);
        };
        let is_again = climb.rounds > 0 && climb.next == course.from;
        let again = course.again.get(climb.rounds.saturating_sub(1)).or(course.again.last());
        let due = match (is_again, again) {
            (false, _) => climb.last + after,
            (true, Some(gap)) => climb.last + *gap,
            // Opening a port once more is an attempt.
            (true, None) => now + MINUTE,
        };
        if now < due {
            return self.wait(due, climb.rounds > 0 && course.fails);
        }
        if action != Action::Resync && !self.has(action, climb.cause, available, now) {
            climb.pass(action, &course, now);
            return Step::Skip(action);
        }
        if action == Action::Resync {
            // The engine asked, again and again, before it called the port mute.
            climb.pass(action, &course, climb.last);
            return Step::NotCured(action);
        }
        self.act(climb, action, &course, now)
    }

    fn act(&mut self, climb: &mut Climb, action: Action, course: &Course, now: Instant) -> Step {
        let costs = course.costs && action > Action::Reopen;
        if costs && self.used >= self.policy.budget {
            return self.wait(self.first.unwrap_or(now) + HOUR, true);
        }
        if costs {
            self.used += 1;
            self.first.get_or_insert(now);
        }
        if climb.cause == Cause::Sessions && action.is_reset() {
            self.sessions_reset = Some(now);
        }
        let patience = if action.is_reset() { self.policy.boot } else { Duration::ZERO };
        self.before = Some(*climb);
        climb.pass(action, course, now);
        climb.trial = Some((action, now + patience));
        Step::Act(action)
    }

    fn wait(&mut self, until: Instant, fails: bool) -> Step {
        if fails {
            self.failed = Some(until);
            return Step::Failed(until);
        }
        Step::Wait(until)
    }

    /// Forgets the counted actions once the hour is over.
    fn roll(&mut self, now: Instant) {
        if self.first.is_some_and(|first| now >= first + HOUR) {
            (self.first, self.used) = (None, 0);
        }
    }

    fn begin(&mut self, cause: Cause, now: Instant) -> Climb {
        let fresh = Climb::new(cause, now);
        let Some(Cure { climb, action, at }) = self.cure.take() else { return fresh };
        if now < at + STABLE {
            // It was not cured, and is the same trouble still.
            return if climb.cause.is_like(cause) { Climb { trial: None, ..climb } } else { fresh };
        }
        if action <= Action::ServiceRestart {
            // A gentle action that helped is not a loop: it costs nothing.
            self.give_back();
        }
        fresh
    }

    fn give_back(&mut self) {
        self.used = self.used.saturating_sub(1);
        if self.used == 0 {
            self.first = None;
        }
    }

    fn has(&self, action: Action, cause: Cause, available: Available, now: Instant) -> bool {
        let is_sessions = cause == Cause::Sessions;
        match action {
            Action::Resync | Action::Reopen => true,
            Action::ServiceRestart => available.commands,
            Action::RadioCycle => available.commands && available.radio,
            Action::ModemReset if is_sessions => {
                let lately = self.sessions_reset.is_some_and(|at| now < at + DAY);
                available.commands && available.radio && available.all_fail && !lately
            }
            // It would take the radio from the program that has it.
            Action::ModemReset => available.commands && available.radio,
            Action::UsbReset => available.usb_reset,
            Action::Power => available.power,
        }
    }

    /// Notes that the requested action was not available after all, and was not done.
    pub(crate) fn unavailable(&mut self) {
        let Some(climb) = &mut self.climb else { return };
        if climb.trial.take().is_some() && climb.cause.costs() {
            self.give_back();
        }
    }

    /// Notes that the requested action cannot be done now and is due again at once: another modem
    /// is being reset, or another program has the device.
    pub(crate) fn postpone(&mut self) {
        let Some(before) = self.before.take() else { return };
        if self.climb.as_ref().is_some_and(|climb| climb.trial.is_some()) {
            self.unavailable();
            self.climb = Some(before);
        }
    }

    /// Notes a modem reset that a person asked for. It counts against the budget, and is cured by
    /// the next identification.
    pub(crate) fn reset_by_hand(&mut self, now: Instant) {
        self.roll(now);
        self.used = self.used.saturating_add(1);
        self.first.get_or_insert(now);
        let climb = self.climb.unwrap_or_else(|| Climb::new(Cause::Failing, now));
        let trial = Some((Action::ModemReset, now + self.policy.boot));
        self.climb = Some(Climb { trial, ..climb });
    }

    /// Notes that the requested action is done: its time to help begins.
    pub(crate) fn done(&mut self, now: Instant) {
        let boot = self.policy.boot;
        if let Some(Climb { trial: Some((action, until)), last, .. }) = &mut self.climb
            && action.is_reset()
        {
            (*until, *last) = (now + boot, now);
        }
    }

    /// Notes that the requested action failed: there is nothing to wait for.
    pub(crate) fn went_wrong(&mut self, now: Instant) {
        if let Some(Climb { trial: Some((_, until)), .. }) = &mut self.climb {
            *until = now;
        }
    }

    /// Handles a sign of life. Returns the action that cured the trouble, if there was one.
    pub(crate) fn shows(&mut self, sign: Sign, now: Instant) -> Option<Action> {
        self.has_answered |= sign == Sign::Identified;
        let climb = self.climb?;
        if !sign.ends(climb.cause) {
            return None;
        }
        self.climb = None;
        self.failed = None;
        let (action, _) = climb.trial?;
        self.cure = Some(Cure { climb, action, at: now });
        Some(action)
    }

    /// Notes that the device was plugged in again: any earlier trouble belongs to a past life of
    /// the modem.
    pub(crate) fn replugged(&mut self) {
        (self.first, self.used) = (None, 0);
        (self.climb, self.failed, self.cure) = (None, None, None);
        self.has_answered = false;
    }

    /// Reports whether the port may go because of our own reset.
    pub(crate) fn is_resetting(&self) -> bool {
        let climb = self.climb.and_then(|climb| climb.trial);
        climb.is_some_and(|(action, _)| action >= Action::ModemReset)
    }

    /// Returns the time at which the last action should have helped.
    pub(crate) fn trial(&self) -> Option<Instant> {
        self.climb?.trial.map(|(_, until)| until)
    }

    /// Returns the trouble for which the ladder is climbed, and its start.
    pub(crate) fn trouble(&self) -> Option<(Cause, Instant)> {
        self.climb.map(|climb| (climb.cause, climb.since))
    }

    /// Returns the state of the ladder.
    pub(crate) fn stage(&self) -> Stage {
        match (self.failed, self.climb.and_then(|climb| climb.trial)) {
            (Some(until), _) => Stage::Failed(until),
            (None, Some((action, _))) => Stage::Trying(action),
            (None, None) => Stage::Calm,
        }
    }

    /// Returns the number of actions within the hour, and the budget.
    pub(crate) fn spent(&self) -> (u32, u32) {
        (self.used, self.policy.budget)
    }

    /// Returns the course for a cause: the table of actions, in their order and time, and of the
    /// repetition.
    fn course(&self, cause: Cause) -> Course {
        use Action::{ModemReset, Power, RadioCycle, Reopen, Resync, ServiceRestart, UsbReset};
        const HOURS: &[Duration] = &[HOUR, Duration::from_secs(6 * 3_600)];
        let policy = &self.policy;
        let (lost, refused) = (policy.registration_lost, policy.service_lost);
        let course = |rungs: &[(Action, Duration)], again| Course {
            rungs: rungs.to_vec(),
            again,
            from: 0,
            costs: cause.costs(),
            fails: !matches!(cause, Cause::Denied | Cause::Sessions | Cause::Failing),
        };
        let now = Duration::ZERO;
        // A modem that never answered may be busy with a command of an earlier run, or boot.
        let deaf = if self.has_answered { DEAF.min(policy.boot) } else { policy.boot };
        match cause {
            Cause::Mute => Course {
                from: 2,
                ..course(
                    &[(Resync, now), (Reopen, now), (UsbReset, deaf), (Power, policy.boot - deaf)],
                    HOURS,
                )
            },
            Cause::Failing => course(&[(Reopen, now)], &[]),
            Cause::Sim => course(
                &[(RadioCycle, CARD), (ModemReset, 2 * MINUTE)],
                const {
                    &[
                        Duration::from_secs(600),
                        Duration::from_secs(1_800),
                        HOUR,
                        Duration::from_secs(6 * 3_600),
                    ]
                },
            ),
            Cause::Unregistered => course(
                &[(RadioCycle, now), (ModemReset, lost), (UsbReset, lost), (Power, lost)],
                HOURS,
            ),
            // A modem keeps a refused SIM refused until its radio was off (24.301 §5.5.1.2.5);
            // stronger actions do not help.
            Cause::Denied => course(&[(RadioCycle, 30 * MINUTE)], HOURS),
            // The SIM may have no data plan, which a reset does not cure either.
            Cause::Service => Course {
                from: 1,
                ..course(
                    &[(ServiceRestart, now), (RadioCycle, refused)],
                    const { &[Duration::from_secs(1_800), HOUR, Duration::from_secs(6 * 3_600)] },
                )
            },
            Cause::Wedged => Course {
                from: 1,
                ..course(
                    &[
                        (ServiceRestart, now),
                        (RadioCycle, refused),
                        (ModemReset, 2 * refused),
                        (UsbReset, 3 * refused),
                        (Power, 3 * refused),
                    ],
                    HOURS,
                )
            },
            Cause::Sessions => course(
                &[(ServiceRestart, now), (ServiceRestart, 5 * MINUTE), (ModemReset, 10 * MINUTE)],
                const { &[Duration::from_secs(1_800), HOUR] },
            ),
        }
    }
}

impl Climb {
    fn new(cause: Cause, now: Instant) -> Self {
        Self { cause, since: now, last: now, next: 0, rounds: 0, reached: None, trial: None }
    }

    /// Notes that this rung was tried or skipped.
    fn pass(&mut self, action: Action, course: &Course, now: Instant) {
        self.reached = self.reached.max(Some(action));
        self.last = now;
        self.next += 1;
        if self.next >= course.rungs.len() {
            self.next = course.from;
            self.rounds += 1;
        }
    }

    /// Changes to another trouble. Actions that were tried for a similar one are not tried again.
    fn turn_to(&mut self, cause: Cause, course: &Course, now: Instant) {
        if !self.cause.is_like(cause) {
            *self = Self::new(cause, now);
            return;
        }
        if matches!(self.cause, Cause::Denied | Cause::Service) {
            // One different answer between refusals resets nothing: the new trouble has to last.
            self.last = now;
        }
        self.cause = cause;
        let above = |rung: &(Action, Duration)| self.reached.is_none_or(|reached| rung.0 > reached);
        match course.rungs.iter().position(above) {
            Some(next) => (self.next, self.rounds) = (next, 0),
            None => (self.next, self.rounds) = (course.from, self.rounds.max(1)),
        }
    }
}

impl Action {
    /// Reports whether the modem may need to boot or register after it. Only one modem of a gateway
    /// at a time does it.
    pub(crate) fn is_reset(self) -> bool {
        self >= Self::RadioCycle
    }
}

#[cfg(test)]
mod tests;
