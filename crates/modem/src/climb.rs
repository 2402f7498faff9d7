//! What is done on each rung of the ladder, and what it is told in return.

use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use crate::chain::Chain;
use crate::core::Core;
use crate::end::End;
use crate::environment::PrivilegedError;
use crate::holder::{self, Busy};
use crate::observe::{RecoveryAction as Action, RecoveryOutcome};
use crate::port::At;
use crate::profile::{self, Profile, StepError};
use crate::recovery::{Available, Cause, Step};
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

fn available(core: &Core, commands: bool) -> Available {
    let policy = &core.config.recovery;
    Available {
        commands,
        radio: core.config.radio_is_ours,
        usb_reset: policy.usb_reset,
        power: policy.power_script.is_some(),
        all_fail: core.failing.is_plural(),
    }
}

/// Reports whether the service is to be started again for sessions that fail.
pub(crate) fn is_restart_due(core: &Core) -> bool {
    let available = available(core, true);
    core.vitals.update().is_none()
        && core.ladder().is_due(Cause::Sessions, Instant::now(), available)
}

/// Asks the ladder about `cause` until it says what to do; what is news meanwhile is counted.
pub(crate) fn advice(core: &Core, cause: Cause, commands: bool) -> Advice {
    if let Some((until, _)) = core.vitals.update() {
        // Its flash may be half written.
        return Advice::Wait(until);
    }
    let available = available(core, commands);
    loop {
        let step = core.ladder().next(cause, Instant::now(), available);
        match step {
            Step::Skip(action) => core.observer.recovery(action, RecoveryOutcome::Skipped),
            Step::NotCured(action) => {
                tracing::warn!(
                    action = action.as_str(),
                    "this action did not bring the modem back"
                );
                core.observer.recovery(action, RecoveryOutcome::Failed);
                core.end_turn();
            }
            Step::Act(action) => {
                let (spent, budget) = core.ladder().spent();
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
                core.end_turn();
                return Advice::Failed(until);
            }
        }
    }
}

/// Takes the turn to reset, unless another modem of the gateway has it: then the action is due again later.
fn takes_turn(core: &Core, action: Action) -> bool {
    // What is done by others takes its time, too.
    let doing = if action >= Action::UsbReset { OTHERS } else { Duration::ZERO };
    let turn = core.env.turns.try_take(doing + core.config.recovery.boot);
    let has = turn.is_some();
    if has {
        *core.turn.lock().unwrap_or_else(PoisonError::into_inner) = turn;
    } else {
        tracing::info!(action = action.as_str(), "delayed: another modem is being reset");
        core.ladder().postpone();
    }
    has
}

/// Does about trouble at a port that answers what the ladder says. Afterwards attempts go on.
pub(crate) async fn climb(
    core: &Core,
    at: &At,
    profile: &dyn Profile,
    cause: Cause,
    words: &str,
) -> Result<(), End> {
    loop {
        let action = match advice(core, cause, true) {
            Advice::Act(action) => action,
            Advice::Failed(_) => {
                core.stand(State::Failed, Some(words.to_owned()));
                return Ok(());
            }
            Advice::Wait(_) => return Ok(()),
        };
        core.stand(State::Recovering, Some(words.to_owned()));
        core.vitals.interfering();
        let done = match action {
            Action::ServiceRestart => return Ok(()),
            Action::RadioCycle => {
                if !takes_turn(core, action) {
                    return Ok(());
                }
                let _step = core.radio.step();
                // A card is powered anew by minimum functionality alone.
                if cause == Cause::Sim {
                    profile::card_cycle(at).await
                } else {
                    profile::radio_cycle(at).await
                }
            }
            Action::ModemReset => {
                let tty = core.snapshot.borrow().tty.clone().unwrap_or_default();
                if let Some(busy) = held(&tty).await {
                    refuse(core, action, &busy);
                    return Ok(());
                }
                if !takes_turn(core, action) {
                    return Ok(());
                }
                reset(core, at, profile).await?
            }
            action => return Err(End::Beyond(action, words.to_owned())),
        };
        match done {
            Ok(()) => {
                core.ladder().done(Instant::now());
                return Ok(());
            }
            Err(error) if error.is_gone() || error.is_boot() => return Err(error.into()),
            Err(error) => {
                tracing::warn!(action = action.as_str(), "{}", Chain(&error));
                core.ladder().went_wrong(Instant::now());
            }
        }
    }
}

/// Has the modem boot. One that does ends the stay; one that does not is still here after its time.
async fn reset(core: &Core, at: &At, profile: &dyn Profile) -> Result<Result<(), StepError>, End> {
    if let Err(error) = profile.reset(at).await {
        return Ok(Err(error));
    }
    core.pause(core.config.recovery.boot).await?;
    tracing::warn!("the modem accepted its reset but did not boot");
    Ok(Ok(()))
}

/// Has somebody with more rights reset the device or its supply.
pub(crate) async fn beyond(core: &Core, action: Action, tty: &Path) -> Result<Beyond, End> {
    if let Some(busy) = held(tty).await {
        refuse(core, action, &busy);
        return Ok(Beyond::Later);
    }
    if !takes_turn(core, action) {
        return Ok(Beyond::Later);
    }
    let policy = &core.config.recovery;
    let means = &core.env.privileged;
    let done = async {
        match (action, &policy.power_script) {
            (Action::Power, Some(script)) => means.power(script).await,
            (Action::UsbReset, _) => means.usb_reset(tty).await,
            _ => Err(PrivilegedError::Unavailable {
                reason: "the fleet file has no script".to_owned(),
            }),
        }
    };
    // What was asked for may still be done after a stop: nobody is left whom that concerns.
    let done = tokio::select! {
        done = done => done,
        () = core.env.stop.cancelled() => return Err(End::Stopped),
    };
    match done {
        Ok(()) => {
            core.ladder().done(Instant::now());
            return Ok(Beyond::Done);
        }
        Err(PrivilegedError::Busy { reason }) => {
            tracing::warn!(action = action.as_str(), "skipped: {reason}");
            core.ladder().postpone();
            core.end_turn();
            return Ok(Beyond::Later);
        }
        Err(error @ PrivilegedError::Unavailable { .. }) => {
            tracing::warn!(action = action.as_str(), "{}", Chain(&error));
            core.ladder().unavailable();
            core.observer.recovery(action, RecoveryOutcome::Skipped);
        }
        Err(error @ PrivilegedError::Failed { .. }) => {
            tracing::warn!(action = action.as_str(), "{}", Chain(&error));
            core.ladder().went_wrong(Instant::now());
        }
    }
    core.end_turn();
    Ok(Beyond::Not)
}

/// Another program that has a node of the device open. It may be writing the modem's firmware: the
/// device is neither reset nor cut from its supply meanwhile.
pub(crate) async fn held(tty: &Path) -> Option<Busy> {
    let tty = tty.to_owned();
    // It walks through /proc, on a thread of its own.
    let found = tokio::task::spawn_blocking(move || {
        let of_uart = || Some(Busy { tty: tty.clone(), holder: Some(holder::stranger(&tty)?) });
        holder::stranger_of_device(&tty).or_else(of_uart)
    });
    found.await.ok().flatten()
}

/// Does not do what was due, since another program has the device.
pub(crate) fn refuse(core: &Core, action: Action, busy: &Busy) {
    tracing::warn!(action = action.as_str(), "skipped: {busy}");
    core.ladder().postpone();
}

/// What is done from outside takes no longer; a turn that outlasts it ends by itself.
const OTHERS: Duration = Duration::from_secs(90);
