//! A modem whose port was closed: detection of a mute device, recovery, and the wait before the
//! next try.

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

/// The interval between looks for a fixed tty that is absent.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// The time after a device appeared during which it may still boot. EC25 hardware design §3.7.1:
/// its ports, USB included, answer 13 s after the power key.
const COMES_UP: Duration = Duration::from_secs(20);

/// Inode, device number and change time (seconds, nanoseconds) of a tty's node.
type Node = (u64, u64, i64, i64);

/// An action that is due this soon is waited for.
const SOON: Duration = Duration::from_secs(5);

pub(crate) const MUTE: &str = "the modem does not answer";
pub(crate) const OVERDUE: &str = "the modem did not come back after its reset";

/// The device of a modem, as its task saw it last.
#[derive(Debug, Default)]
pub(crate) struct Device {
    /// The last tty that was looked for.
    pub(crate) tty: PathBuf,
    /// The ports of the device that did not answer.
    pub(crate) round: Round,
    /// The device's ports at the last look for one of them.
    pub(crate) ports: Option<Ports>,
    /// The time of the next action for a device that is absent after a reset.
    pub(crate) due: Option<Instant>,
}

impl Device {
    /// Waits for `wait` or until the stop. Ends at once if the device was plugged in again, or if
    /// discovery assigned another device.
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

    /// Takes the ladder's actions against trouble at a closed port. Returns the wait before the
    /// port is opened.
    pub(crate) async fn recover(
        &mut self,
        core: &mut Core,
        end: End,
        attempts: &mut Attempts,
    ) -> Result<Duration, End> {
        // A program with an open port may be writing the firmware: nothing is done meanwhile.
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
            // It did not come back from a reset: it is mute now, whatever the cause of the reset.
            End::Overdue => (Cause::Mute, OVERDUE.to_owned()),
            End::Failed(words) => (Cause::Failing, words),
            _ => (Cause::Mute, MUTE.to_owned()),
        };
        // Trouble at a port that answers shows there; opening the port does no harm.
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
                // Another round over its ports would take longer.
                Advice::Wait(until) if !answers && until < Instant::now() + SOON => {
                    core.pause(until.saturating_duration_since(Instant::now())).await?;
                }
                // It may be back at any moment.
                Advice::Wait(_) if core.ladder().is_resetting() => return Ok(LOOK),
                Advice::Act(_) | Advice::Wait(_) => return Ok(attempts.next_wait()),
                // Its absence is state enough to show.
                Advice::Failed(_) if !exists(&self.tty).await => return Ok(Duration::ZERO),
                Advice::Failed(_) => {
                    core.stand(State::Failed, Some(words));
                    self.replugged_within(core, attempts.next_wait()).await?;
                    return Ok(Duration::ZERO);
                }
            }
        }
    }

    /// Notes that the device was plugged out or in, by a reset of ours or by a person.
    pub(crate) fn replugged(&mut self, core: &Core) {
        core.replugged();
        if core.ladder().trouble().is_none() {
            self.due = None;
        }
    }

    /// Waits for `wait`, or until the device is another one, or was plugged in again.
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

    /// Returns the values that change when the device is plugged in again: its node, and the time
    /// since which it is there.
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

/// Reports whether the device came a moment ago: a booting device does not answer, either.
pub(crate) fn may_still_boot(core: &Core) -> bool {
    let patience = core.config.recovery.boot.min(COMES_UP);
    core.config.port.since().is_some_and(|since| since.elapsed() < patience)
}

pub(crate) async fn exists(path: &Path) -> bool {
    let path = path.to_owned();
    // Off the runtime: a path may be on a slow file system.
    tokio::task::spawn_blocking(move || path.exists()).await.unwrap_or(false)
}
