//! A modem whose port was closed: whether its device is mute, what is done about it, and how long it is left alone.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Attempts;
use crate::climb::{Advice, Beyond, advice, beyond, held, refuse};
use crate::core::Core;
use crate::end::End;
use crate::location::Round;
use crate::observe::RecoveryAction;
use crate::place::Ports;
use crate::recovery::Cause;
use crate::snapshot::State;

/// A fixed tty that is not there is looked for this often.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// So long after a device came it may still boot (EC25 hardware design §3.7.1: its ports answer 13 s after
/// the power key, the USB ones too).
const COMES_UP: Duration = Duration::from_secs(20);

/// Inode, device number and time of making of a tty's node.
type Node = (u64, u64, i64, i64);

/// What is due so soon is waited for.
const SOON: Duration = Duration::from_secs(5);

pub(crate) const MUTE: &str = "the modem does not answer";
pub(crate) const OVERDUE: &str = "the modem did not come back after its reset";

/// The device of a modem, as its task saw it last.
#[derive(Debug, Default)]
pub(crate) struct Device {
    /// The tty that was looked for last.
    pub(crate) tty: PathBuf,
    /// Which of the device's ports did not answer.
    pub(crate) round: Round,
    /// The device's ports when one of them was looked for last.
    pub(crate) ports: Option<Ports>,
    /// When more is due for a device that is absent after a reset.
    pub(crate) due: Option<Instant>,
}

impl Device {
    /// Waits so long, or until told to stop. What was plugged in anew, or given by discovery, is served at once.
    pub(crate) async fn rest(&mut self, core: &mut Core, wait: Duration) {
        let (ports, stop) = (self.ports.take(), core.env.stop.clone());
        // All arms are cancel safe, and none awaits in its body.
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = core.config.port.replaced(ports) => {}
            () = stop.cancelled() => {}
        }
    }

    /// Reports whether no port of the device answers, now that this one was left.
    pub(crate) fn sum_up(&mut self, core: &Core, end: &End) -> bool {
        let port = &core.config.port;
        let ports = port.ports();
        match end {
            End::Mute | End::Foreign(_) if ports.is_some() || !port.is_found() => {
                return self.round.silent(&self.tty, ports.as_ref());
            }
            End::Unopened(_) => self.round.held(&self.tty, ports.as_ref()),
            _ => self.round.clear(),
        }
        false
    }

    /// Does about trouble at a closed port what the ladder says; how long to wait before it is opened.
    pub(crate) async fn recover(
        &mut self,
        core: &mut Core,
        end: End,
        attempts: &mut Attempts,
    ) -> Result<Duration, End> {
        // Whoever has one of its ports open may be writing its firmware: nothing is done meanwhile.
        if let Some(busy) = held(&self.tty).await {
            if let End::Beyond(action, _) = &end {
                refuse(core, *action, &busy);
            }
            core.stand(State::Recovering, Some(busy.to_string()));
            return Ok(attempts.next_wait());
        }
        let (cause, words) = match end {
            End::Beyond(action, words) => {
                match beyond(core, action, &self.tty).await? {
                    Beyond::Done => return Ok(Duration::ZERO),
                    Beyond::Later => return Ok(attempts.next_wait()),
                    Beyond::Not => {}
                }
                let trouble = core.ladder().trouble();
                (trouble.map_or(Cause::Wedged, |(cause, _)| cause), words)
            }
            // It did not come back from a reset: whatever that was for, it is mute now.
            End::Overdue => (Cause::Mute, OVERDUE.to_owned()),
            End::Failed(words) => (Cause::Failing, words),
            _ => (Cause::Mute, MUTE.to_owned()),
        };
        // What fails on a port that answers is seen there; opening it harms nobody.
        let answers = !matches!(cause, Cause::Mute | Cause::Failing);
        self.due = None;
        loop {
            let advice = advice(core, cause, false);
            if let Advice::Wait(until) | Advice::Failed(until) = advice
                && !answers
            {
                // A device that is absent is looked at then, too.
                self.due = Some(until);
            }
            match advice {
                Advice::Act(action) if action > RecoveryAction::Reopen => {
                    match beyond(core, action, &self.tty).await? {
                        Beyond::Done => return Ok(Duration::ZERO),
                        Beyond::Later => return Ok(attempts.next_wait()),
                        Beyond::Not => {}
                    }
                }
                Advice::Wait(_) | Advice::Failed(_) if answers => return Ok(Duration::ZERO),
                // One more round over its ports would take longer.
                Advice::Wait(until) if !answers && until < Instant::now() + SOON => {
                    core.pause(until.saturating_duration_since(Instant::now())).await?;
                }
                // It may be back at any moment.
                Advice::Wait(_) if core.ladder().is_resetting() => return Ok(LOOK),
                Advice::Act(_) | Advice::Wait(_) => return Ok(attempts.next_wait()),
                // It is absent, and that is what there is to be seen.
                Advice::Failed(_) if !exists(&self.tty).await => return Ok(Duration::ZERO),
                Advice::Failed(_) => {
                    core.stand(State::Failed, Some(words));
                    self.replugged_within(core, attempts.next_wait()).await?;
                    return Ok(Duration::ZERO);
                }
            }
        }
    }

    /// The device was plugged out or in, by us or by somebody else.
    pub(crate) fn replugged(&mut self, core: &Core) {
        core.replugged();
        if core.ladder().trouble().is_none() {
            self.due = None;
        }
    }

    /// Waits for so long, or until the device is another one, or the same one plugged in anew.
    async fn replugged_within(&mut self, core: &mut Core, wait: Duration) -> Result<(), End> {
        let stop = core.env.stop.clone();
        let until = Instant::now() + wait;
        let was = self.identity(core).await;
        while Instant::now() < until {
            // All arms are cancel safe, and none awaits in its body.
            tokio::select! {
                () = core.config.port.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
                () = tokio::time::sleep_until(until) => {}
                () = stop.cancelled() => return Err(End::Stopped),
            }
            if self.identity(core).await != was {
                self.replugged(core);
                break;
            }
        }
        Ok(())
    }

    /// What is another one once the device was plugged in anew: its node, and since when it is there.
    async fn identity(&self, core: &Core) -> (Option<Node>, Option<Instant>) {
        let place = core.config.port.place(0);
        let since = place.as_ref().and_then(|place| place.since);
        let path = place.map_or_else(|| self.tty.clone(), |place| place.tty);
        let node = tokio::task::spawn_blocking(move || {
            let of = std::fs::metadata(path).ok()?;
            Some((of.ino(), of.rdev(), of.ctime(), of.ctime_nsec()))
        });
        (node.await.ok().flatten(), since)
    }
}

/// Reports whether the device came a moment ago: one that boots answers nothing, either.
pub(crate) fn may_still_boot(core: &Core) -> bool {
    let patience = core.config.recovery.boot.min(COMES_UP);
    core.config.port.since().is_some_and(|since| since.elapsed() < patience)
}

pub(crate) async fn exists(path: &Path) -> bool {
    let path = path.to_owned();
    // Off the runtime: a path may lie on anything.
    tokio::task::spawn_blocking(move || path.exists()).await.unwrap_or(false)
}
