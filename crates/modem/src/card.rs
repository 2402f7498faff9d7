//! The SIM card: it must be the one in the fleet file, and is unlocked.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Attempts;
use crate::chain::Chain;
use crate::climb::climb;
use crate::core::Core;
use crate::end::{End, unless_ended};
use crate::known::Known;
use crate::location::Card;
use crate::port::At;
use crate::recovery::{Cause, Sign};
use crate::sim::{self, SimState};
use crate::snapshot::State;

/// The interval between looks at a SIM that waits for a person, who may change or unlock it by
/// hand.
const BLOCKED: Duration = Duration::from_secs(20);

/// The time for which a card is asked for each second, since a booting modem finds its card late.
const CARD_COMES: Duration = Duration::from_secs(10);

pub(crate) async fn unlock(core: &Core, at: &At, known: &Known) -> Result<(), End> {
    let mut sim = sim::Unlock::new(core.config.pin.as_ref(), core.env.ledger.as_ref());
    let (since, mut attempts, mut told) = (Instant::now(), Attempts::default(), String::new());
    loop {
        let state = match card(core, at, known).await? {
            Ok(()) => sim.look(at, known.profile, &known.imei).await?,
            Err(unread) => SimState::Wait(unread),
        };
        let (waits, reason) = match state {
            SimState::Ready => {
                core.shows(Sign::Card);
                return Ok(());
            }
            SimState::Wait(reason) => (true, reason),
            SimState::Blocked(reason) => (false, reason),
        };
        if told != reason {
            tracing::warn!("{reason}");
            told.clone_from(&reason);
        }
        core.stand(State::Sim, Some(reason.clone()));
        let wait = match (waits, since.elapsed() < CARD_COMES) {
            (true, true) => sim::ASK_AGAIN,
            (true, false) => {
                climb(core, at, known.profile, Cause::Sim, &reason).await?;
                attempts.next_wait()
            }
            (false, _) => BLOCKED,
        };
        core.pause(wait).await?;
    }
}

/// Checks that the card is the one in the fleet file, before a PIN is spent on it or anything is
/// published through it. Returns `Ok(Err)` if the ICCID is needed and cannot be read yet.
async fn card(core: &Core, at: &At, known: &Known) -> Result<Result<(), String>, End> {
    if core.config.iccid.is_none() && !core.config.sim_first {
        return Ok(Ok(()));
    }
    match known.profile.iccid(at).await {
        Ok(iccid) => must_be_card(core, iccid).map(Ok),
        Err(error) if error.is_gone() || error.is_boot() => Err(error.into()),
        Err(error) if core.config.iccid.is_none() => {
            tracing::warn!("the SIM's ICCID cannot be read: {}", Chain(&error));
            Ok(Ok(()))
        }
        Err(error) => {
            tell_card(core, Card::Unread);
            Ok(Err(format!("the SIM's ICCID cannot be read: {}", Chain(&error))))
        }
    }
}

/// Reports whether the inserted card is the one that the fleet file names.
fn must_be_card(core: &Core, iccid: String) -> Result<(), End> {
    tell_card(core, Card::Iccid(iccid.clone()));
    core.must_be("iccid", core.config.iccid.as_deref(), |wanted| wanted == iccid, &iccid)?;
    sim_known(core, iccid);
    Ok(())
}

/// Checks that the card is still the one in the fleet file: not each modem reports a change.
pub(crate) async fn same_card(core: &Core, at: &At, known: &Known) -> Result<(), End> {
    if core.config.iccid.is_none() {
        return Ok(());
    }
    match known.profile.iccid(at).await {
        Ok(iccid) => must_be_card(core, iccid),
        Err(error) => unless_ended(error).map(|_: Option<()>| ()),
    }
}

/// Reports the inserted card to discovery: another entry of the fleet file may want it.
pub(crate) fn tell_card(core: &Core, card: Card) {
    let identified = core.snapshot.borrow().identified.clone();
    if let Some(is) = identified {
        core.config.port.tell(&is.model, &is.imei, Some(card));
    }
}

pub(crate) fn sim_known(core: &Core, iccid: String) {
    core.observer.sim(Some(&iccid));
    core.update(|s| {
        if let Some(identified) = &mut s.identified {
            identified.iccid = Some(iccid);
        }
    });
}
