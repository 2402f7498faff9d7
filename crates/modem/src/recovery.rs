//! The recovery ladder: which means is due for which cause, how long each is given, and what happens after the last.
//!
//! A value without clock and I/O. Whoever meets trouble asks it again and again until it says what to
//! do; each case is a line of a table test. docs/recovery.md shows the same table.
//!
//! Only actions have a budget. Attempts (to start the service, to sign in, to open the port, to ask the SIM or the
//! network) cost nothing and never end: `backoff` says how often they are due at least.

mod cause;

use std::time::Duration;

use tokio::time::Instant;

pub(crate) use self::cause::{Cause, Sign};
use crate::observe::RecoveryAction as Action;

/// The budget counts actions within so long from the first of them.
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

const MINUTE: Duration = Duration::from_secs(60);

/// Trouble that comes back sooner was not cured: the ladder goes on above what seemed to cure it.
const STABLE: Duration = Duration::from_secs(120);

/// A port that answers nothing is opened again for so long before its device is reset. A modem that was just
/// plugged in, or that boots, answers nothing either; the time that the fleet file gives a boot counts if shorter.
const DEAF: Duration = Duration::from_secs(20);

/// A SIM that failed is left alone for so long first: cards answer late after a boot.
const CARD: Duration = Duration::from_secs(30);

/// Trouble of one session leads to a modem reset once in so long at most.
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// What the fleet file says of a modem's recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The most actions within an hour; what is skipped costs nothing.
    pub budget: u32,
    /// How long a modem may be without registration before that is trouble.
    pub registration_lost: Duration,
    /// How long the network may refuse data, or the modem's MQTT service fail to start, before more is done than to
    /// try again.
    pub service_lost: Duration,
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
            registration_lost: 5 * MINUTE,
            service_lost: 5 * MINUTE,
            boot: MINUTE,
            usb_reset: true,
            power_script: None,
        }
    }
}

/// Which means are to be had now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Available {
    /// Commands are answered.
    pub(crate) commands: bool,
    /// The radio is ours to switch.
    pub(crate) radio: bool,
    /// The fleet file allows a reset of the USB device.
    pub(crate) usb_reset: bool,
    /// The fleet file names a script.
    pub(crate) power: bool,
    /// Another session of the modem fails too, so that it is not one broker's fault.
    pub(crate) all_fail: bool,
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
    /// Nothing is due until then; attempts go on.
    Wait(Instant),
    /// Everything was tried, or the budget is spent. Until then there are attempts only.
    Failed(Instant),
}

/// Where the ladder stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing is wrong.
    Calm,
    /// This was done, and its outcome is open.
    Trying(Action),
    /// Nothing but attempts until then.
    Failed(Instant),
}

/// What can cure a cause, and in which time.
struct Course {
    /// What is done, and how long the trouble must have lasted before, since it began or since the action before.
    rungs: Vec<(Action, Duration)>,
    /// After the last rung, how long until the course is taken again: the first time, the second time and so on. The
    /// last one repeats. Where there is none, attempts are all that follows.
    again: &'static [Duration],
    /// The rung with which it begins again.
    from: usize,
    /// Whether its actions count against the budget.
    costs: bool,
    /// Whether the modem counts as failed once everything was tried.
    fails: bool,
}

/// The trouble that the ladder is climbed for.
#[derive(Debug, Clone, Copy)]
struct Climb {
    cause: Cause,
    /// When it began.
    since: Instant,
    /// When the last action was done, or the course was through: rungs count their time from then.
    last: Instant,
    /// The next rung of the course.
    next: usize,
    /// How often the course was through.
    rounds: usize,
    /// The highest rung that was tried or skipped.
    reached: Option<Action>,
    /// What was done last and when it should have helped.
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
    /// When the first of the counted actions was done.
    first: Option<Instant>,
    used: u32,
    climb: Option<Climb>,
    /// As it was before the last action was asked for.
    before: Option<Climb>,
    failed: Option<Instant>,
    cure: Option<Cure>,
    /// The modem identified itself since it was plugged in.
    has_answered: bool,
    /// When the modem was reset for trouble of its sessions.
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

    /// What to do about `cause`.
    pub(crate) fn next(&mut self, cause: Cause, now: Instant, available: Available) -> Step {
        self.roll(now);
        self.failed = None;
        let mut climb = match self.climb {
            Some(climb) => climb,
            None => self.begin(cause, now),
        };
        if let Some((action, until)) = climb.trial {
            // A modem that boots says nothing, or nonsense, for a while, and then looks for a network.
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

    /// Reports whether something is due about `cause` that is to be had.
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

    /// The hour is over: its actions are forgotten.
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
            // What is gentle and did help is no loop: it costs nothing.
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
            // It takes the radio from who has it.
            Action::ModemReset => available.commands && available.radio,
            Action::UsbReset => available.usb_reset,
            Action::Power => available.power,
        }
    }

    /// The action that was asked for is not to be had after all, and was not done.
    pub(crate) fn unavailable(&mut self) {
        let Some(climb) = &mut self.climb else { return };
        if climb.trial.take().is_some() && climb.cause.costs() {
            self.give_back();
        }
    }

    /// The action that was asked for cannot be done now, and is due again at once: another modem is being reset, or
    /// another program has the device.
    pub(crate) fn postpone(&mut self) {
        let Some(before) = self.before.take() else { return };
        if self.climb.as_ref().is_some_and(|climb| climb.trial.is_some()) {
            self.unavailable();
            self.climb = Some(before);
        }
    }

    /// The action that was asked for is done: its time to help begins.
    pub(crate) fn done(&mut self, now: Instant) {
        let boot = self.policy.boot;
        if let Some(Climb { trial: Some((action, until)), last, .. }) = &mut self.climb
            && action.is_reset()
        {
            (*until, *last) = (now + boot, now);
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

    /// The device was plugged in anew: whatever was wrong, it is another life of the modem.
    pub(crate) fn replugged(&mut self) {
        (self.first, self.used) = (None, 0);
        (self.climb, self.failed, self.cure) = (None, None, None);
        self.has_answered = false;
    }

    /// The port may go by our own doing.
    pub(crate) fn is_resetting(&self) -> bool {
        let climb = self.climb.and_then(|climb| climb.trial);
        climb.is_some_and(|(action, _)| action >= Action::ModemReset)
    }

    /// When the last remedy should have helped.
    pub(crate) fn trial(&self) -> Option<Instant> {
        self.climb?.trial.map(|(_, until)| until)
    }

    /// The trouble that it is climbed for, and since when it lasts.
    pub(crate) fn trouble(&self) -> Option<(Cause, Instant)> {
        self.climb.map(|climb| (climb.cause, climb.since))
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
        (self.used, self.policy.budget)
    }

    /// The table of causes: what can cure each, in which order and time, and what happens after the last.
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
        // One that never answered may be busy with what an earlier run asked, or boot.
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
            // A modem keeps a refused SIM refused until its radio was off (24.301 §5.5.1.2.5); more cures nothing.
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

    /// This rung was tried or skipped.
    fn pass(&mut self, action: Action, course: &Course, now: Instant) {
        self.reached = self.reached.max(Some(action));
        self.last = now;
        self.next += 1;
        if self.next >= course.rungs.len() {
            self.next = course.from;
            self.rounds += 1;
        }
    }

    /// The trouble is another one now. What was tried for one that is like it need not be tried again.
    fn turn_to(&mut self, cause: Cause, course: &Course, now: Instant) {
        if !self.cause.is_like(cause) {
            *self = Self::new(cause, now);
            return;
        }
        if matches!(self.cause, Cause::Denied | Cause::Service) {
            // A single word to another effect between refusals resets nothing: the new trouble has to last.
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
    /// Whether the modem may need to boot or to register after it. One modem of a gateway at a time.
    pub(crate) fn is_reset(self) -> bool {
        self >= Self::RadioCycle
    }
}

#[cfg(test)]
mod tests;
