//! The actions of the recovery ladder, and the outcomes reported to it.

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

/// The ladder's decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    Act(Action),
    /// Only attempts until then.
    Wait(Instant),
    /// Everything was tried: only attempts until then.
    Failed(Instant),
}

/// The outcome of an action that takes more rights than the agent has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beyond {
    /// It was done.
    Done,
    /// It is not available, or it failed.
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

/// Reports whether the service is due for a restart because of sessions that fail.
pub(crate) fn is_restart_due(core: &Core) -> bool {
    let available = available(core, true);
    core.vitals.update().is_none()
        && core.ladder().is_due(Cause::Sessions, Instant::now(), available)
}

/// Asks the ladder about `cause` until it decides, and counts the outcomes that it reports on the
/// way.
pub(crate) fn advice(core: &Core, cause: Cause, commands: bool) -> Advice {
    if let Some((until, _)) = core.vitals.update() {
        // The modem's flash may be half written.
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

/// Takes the turn to reset. If another modem of the gateway has it, the action is due again later.
fn takes_turn(core: &Core, action: Action) -> bool {
    // An action by a privileged process takes its time, too.
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

/// Takes the ladder's actions against trouble at a port that answers. Attempts go on afterwards.
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
                // Only minimum functionality restarts the card.
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

/// Resets the modem. A boot ends the stay; a modem without one is still here after its time.
async fn reset(core: &Core, at: &At, profile: &dyn Profile) -> Result<Result<(), StepError>, End> {
    if let Err(error) = profile.reset(at).await {
        return Ok(Err(error));
    }
    core.pause(core.config.recovery.boot).await?;
    tracing::warn!("the modem accepted its reset but did not boot");
    Ok(Ok(()))
}

/// Has a privileged process reset the device or its power supply.
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
    // After a stop the action may still be done, and its outcome concerns no task any more.
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

/// Finds another program that has a node of the device open. The program may be writing the modem's
/// firmware, so meanwhile the device is neither reset nor cut from its supply.
pub(crate) async fn held(tty: &Path) -> Option<Busy> {
    let tty = tty.to_owned();
    // The search walks through /proc, so it has a thread of its own.
    let found = tokio::task::spawn_blocking(move || {
        let of_uart = || Some(Busy { tty: tty.clone(), holder: Some(holder::stranger(&tty)?) });
        holder::stranger_of_device(&tty).or_else(of_uart)
    });
    found.await.ok().flatten()
}

/// Postpones the action that was due, since another program has the device open.
pub(crate) fn refuse(core: &Core, action: Action, busy: &Busy) {
    tracing::warn!(action = action.as_str(), "skipped: {busy}");
    core.ladder().postpone();
}

/// The longest time for a privileged action. A turn that takes longer ends by itself.
const OTHERS: Duration = Duration::from_secs(90);
