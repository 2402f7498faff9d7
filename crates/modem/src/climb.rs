//! What is done on each rung of the ladder, and what it is told in return.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use crate::chain::Chain;
use crate::end::End;
use crate::environment::PrivilegedError;
use crate::holder::{self, Busy};
use crate::modem::Core;
use crate::observe::{RecoveryAction as Action, RecoveryCause, RecoveryOutcome};
use crate::port::At;
use crate::profile::{self, Profile, StepError};
use crate::recovery::{Available, Cause, Ladder, Sign, Stage, Step};
use crate::snapshot::State;

/// What the ladder says is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    Act(Action),
    /// Nothing but attempts until then.
    Wait(Instant),
    /// Everything was tried: nothing but attempts until then.
    Failed(Instant),
}

/// What became of an action that others are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beyond {
    /// It was done.
    Done,
    /// It is not to be had, or went wrong.
    Not,
    /// It is due again later.
    Later,
}

impl Core {
    pub(crate) fn ladder(&self) -> std::sync::MutexGuard<'_, Ladder> {
        self.ladder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn available(&self, commands: bool) -> Available {
        let policy = &self.config.recovery;
        Available {
            commands,
            radio: self.config.radio_is_ours,
            usb_reset: policy.usb_reset,
            power: policy.power_script.is_some(),
            all_fail: self.failing.is_plural(),
        }
    }

    /// Reports whether the service is to be started again for sessions that fail.
    pub(crate) fn is_restart_due(&self) -> bool {
        let available = self.available(true);
        self.vitals.update().is_none()
            && self.ladder().is_due(Cause::Sessions, Instant::now(), available)
    }

    /// Asks the ladder about `cause` until it says what to do; what is news meanwhile is counted.
    pub(crate) fn advice(&self, cause: Cause, commands: bool) -> Advice {
        if let Some((until, _)) = self.vitals.update() {
            // Its flash may be half written.
            return Advice::Wait(until);
        }
        let available = self.available(commands);
        loop {
            let step = self.ladder().next(cause, Instant::now(), available);
            match step {
                Step::Skip(action) => self.observer.recovery(action, RecoveryOutcome::Skipped),
                Step::NotCured(action) => {
                    tracing::warn!(action = action.as_str(), "that did not bring the modem back");
                    self.observer.recovery(action, RecoveryOutcome::Failed);
                    self.end_turn();
                }
                Step::Act(action) => {
                    let (spent, budget) = self.ladder().spent();
                    let cause = cause.word().as_str();
                    tracing::warn!(
                        action = action.as_str(),
                        cause,
                        "recovery: {spent} of {budget} actions within an hour"
                    );
                    return Advice::Act(action);
                }
                Step::Wait(until) => return Advice::Wait(until),
                Step::Failed(until) => {
                    self.end_turn();
                    return Advice::Failed(until);
                }
            }
        }
    }

    /// Takes in a sign of life.
    pub(crate) fn shows(&self, sign: Sign) {
        let before = self.ladder().stage();
        let cured = self.ladder().shows(sign, Instant::now());
        if let Some(action) = cured {
            tracing::info!(action = action.as_str(), "the modem is back");
            self.observer.recovery(action, RecoveryOutcome::Cured);
            self.end_turn();
        }
        let is_over = self.ladder().stage() == Stage::Calm;
        if sign == Sign::Service && is_over && before != Stage::Calm {
            self.stand(State::Serving, None);
        }
    }

    /// Somebody plugged the modem out or in.
    pub(crate) fn replugged(&self) {
        if !self.ladder().is_resetting() {
            self.ladder().replugged();
        }
        self.vitals.replugged();
    }

    /// Takes the turn to reset, unless another modem of the gateway has it: then the action is due again later.
    fn takes_turn(&self, action: Action) -> bool {
        // What is done by others takes its time, too.
        let doing = if action >= Action::UsbReset { OTHERS } else { Duration::ZERO };
        let turn = self.env.turns.try_take(doing + self.config.recovery.boot);
        let has = turn.is_some();
        if has {
            *self.turn.lock().unwrap_or_else(PoisonError::into_inner) = turn;
        } else {
            tracing::info!(action = action.as_str(), "put off: another modem is being reset");
            self.ladder().postpone();
        }
        has
    }

    fn end_turn(&self) {
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Does about trouble at a port that answers what the ladder says. Afterwards attempts go on.
    pub(crate) async fn climb(
        &self,
        at: &At,
        profile: &dyn Profile,
        cause: Cause,
        words: &str,
    ) -> Result<(), End> {
        loop {
            let action = match self.advice(cause, true) {
                Advice::Act(action) => action,
                Advice::Failed(_) => {
                    self.stand(State::Failed, Some(words.to_owned()));
                    return Ok(());
                }
                Advice::Wait(_) => return Ok(()),
            };
            self.stand(State::Recovering, Some(words.to_owned()));
            self.vitals.interfering();
            let done = match action {
                Action::ServiceRestart => return Ok(()),
                Action::RadioCycle => {
                    if !self.takes_turn(action) {
                        return Ok(());
                    }
                    let _step = self.radio.step();
                    // A card is powered anew by minimum functionality alone.
                    if cause == Cause::Sim {
                        profile::card_cycle(at).await
                    } else {
                        profile::radio_cycle(at).await
                    }
                }
                Action::ModemReset => {
                    let tty = self.snapshot.borrow().tty.clone().unwrap_or_default();
                    if let Some(busy) = self.held(&tty).await {
                        self.refuse(action, &busy);
                        return Ok(());
                    }
                    if !self.takes_turn(action) {
                        return Ok(());
                    }
                    self.reset(at, profile).await?
                }
                action => return Err(End::Beyond(action, words.to_owned())),
            };
            match done {
                Ok(()) => {
                    self.ladder().done(Instant::now());
                    return Ok(());
                }
                Err(error) if error.is_gone() || error.is_boot() => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(action = action.as_str(), "{}", Chain(&error));
                    self.ladder().went_wrong(Instant::now());
                }
            }
        }
    }

    /// Has the modem boot. One that does ends the stay; one that does not is still here after its time.
    async fn reset(&self, at: &At, profile: &dyn Profile) -> Result<Result<(), StepError>, End> {
        if let Err(error) = profile.reset(at).await {
            return Ok(Err(error));
        }
        self.pause(self.config.recovery.boot).await?;
        tracing::warn!("the modem took its reset and did not boot");
        Ok(Ok(()))
    }

    /// Has somebody with more rights reset the device or its supply.
    pub(crate) async fn beyond(&self, action: Action, tty: &Path) -> Result<Beyond, End> {
        if let Some(busy) = self.held(tty).await {
            self.refuse(action, &busy);
            return Ok(Beyond::Later);
        }
        if !self.takes_turn(action) {
            return Ok(Beyond::Later);
        }
        let policy = &self.config.recovery;
        let means = &self.env.privileged;
        let done = async {
            match (action, &policy.power_script) {
                (Action::Power, Some(script)) => means.power(script).await,
                (Action::UsbReset, _) => means.usb_reset(tty).await,
                _ => Err(PrivilegedError::Unavailable { reason: "there is no script".to_owned() }),
            }
        };
        // What was asked for may still be done after a stop: nobody is left whom that concerns.
        let done = tokio::select! {
            done = done => done,
            () = self.env.stop.cancelled() => return Err(End::Stopped),
        };
        match done {
            Ok(()) => {
                self.ladder().done(Instant::now());
                return Ok(Beyond::Done);
            }
            Err(PrivilegedError::Busy { reason }) => {
                tracing::warn!(action = action.as_str(), "not done: {reason}");
                self.ladder().postpone();
                self.end_turn();
                return Ok(Beyond::Later);
            }
            Err(error @ PrivilegedError::Unavailable { .. }) => {
                tracing::warn!(action = action.as_str(), "{}", Chain(&error));
                self.ladder().unavailable();
                self.observer.recovery(action, RecoveryOutcome::Skipped);
            }
            Err(error @ PrivilegedError::Failed { .. }) => {
                tracing::warn!(action = action.as_str(), "{}", Chain(&error));
                self.ladder().went_wrong(Instant::now());
            }
        }
        self.end_turn();
        Ok(Beyond::Not)
    }

    /// Another program that has a node of the device open. It may be writing the modem's firmware: the
    /// device is neither reset nor cut from its supply meanwhile.
    pub(crate) async fn held(&self, tty: &Path) -> Option<Busy> {
        let tty = tty.to_owned();
        // It walks through /proc, on a thread of its own.
        let found = tokio::task::spawn_blocking(move || {
            let of_uart = || Some(Busy { tty: tty.clone(), holder: Some(holder::stranger(&tty)?) });
            holder::stranger_of_device(&tty).or_else(of_uart)
        });
        found.await.ok().flatten()
    }

    /// Does not do what was due, since another program has the device.
    pub(crate) fn refuse(&self, action: Action, busy: &Busy) {
        tracing::warn!(action = action.as_str(), "not done: {busy}");
        self.ladder().postpone();
    }

    /// Shows a modem that is being brought back, or that nothing brought back, as such: a step on its way to
    /// service is news only once it is over.
    pub(crate) fn stand(&self, state: State, reason: Option<String>) {
        let on_its_way = matches!(state, State::Identifying | State::Searching | State::Serving);
        let stage = self.ladder().stage();
        let (state, reason) = match stage {
            Stage::Trying(action) if on_its_way => {
                let words = format!("being brought back by {}", action.as_str());
                (State::Recovering, Some(with(words, reason)))
            }
            // It starts, and is refused, or goes again.
            Stage::Calm if on_its_way && self.is_service_in_trouble() => {
                (State::Recovering, reason)
            }
            // A service that starts may still have no network: only a sign of life ends a failure.
            Stage::Failed(until) => (State::Failed, Some(with(waits_for(until), reason))),
            _ => (state, reason),
        };
        let reason = match self.vitals.update() {
            Some((_, line)) => Some(with(updates_firmware(&line), reason)),
            None => reason,
        };
        self.update(|s| (s.state, s.reason, s.present) = (state, reason, true));
    }

    fn is_service_in_trouble(&self) -> bool {
        let trouble = self.ladder().trouble();
        trouble.is_some_and(|(cause, _)| matches!(cause, Cause::Service | Cause::Wedged))
    }

    /// What is wrong with the modem now.
    pub(crate) fn causes(&self) -> BTreeSet<RecoveryCause> {
        let trouble = self.ladder().trouble().map(|(cause, _)| cause.word());
        let update = self.vitals.update().map(|_| RecoveryCause::Update);
        let boots = self.vitals.is_in_boot_loop().then_some(RecoveryCause::BootLoop);
        let flaps = self.flaps().is_flapping(Instant::now()).then_some(RecoveryCause::Flapping);
        [trouble, update, boots, flaps].into_iter().flatten().collect()
    }
}

/// A modem that writes its firmware, in words.
pub(crate) fn updates_firmware(line: &str) -> String {
    format!("the modem updates its firmware ({line}); nothing is reset meanwhile")
}

/// What is done from outside takes no longer; a turn that outlasts it ends by itself.
const OTHERS: Duration = Duration::from_secs(90);

/// What a modem waits for that everything was tried for.
fn waits_for(until: Instant) -> String {
    let minutes = until.saturating_duration_since(Instant::now()).as_secs().div_ceil(60);
    format!(
        "everything that may be done now was done; more is done in {minutes} min, until then it is tried at least every \
         two minutes, and at once if it is plugged in anew"
    )
}

fn with(words: String, reason: Option<String>) -> String {
    match reason {
        Some(reason) => format!("{words}; {reason}"),
        None => words,
    }
}
