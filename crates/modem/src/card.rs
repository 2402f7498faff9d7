//! The SIM card: the one that the fleet file names, and unlocked.

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

/// A SIM that waits for somebody is looked at this often: it may be changed, or unlocked by hand.
const BLOCKED: Duration = Duration::from_secs(20);

/// A card is asked for each second for so long, since a modem that boots finds it late.
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

/// Where the fleet file names a card, it must be that one, before a PIN is spent on it or anything
/// is published by it. `Ok(Err)` where the card does not tell yet, and must.
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

/// Reports whether the card that is in is the one that the fleet file names.
fn must_be_card(core: &Core, iccid: String) -> Result<(), End> {
    tell_card(core, Card::Iccid(iccid.clone()));
    core.must_be("iccid", core.config.iccid.as_deref(), |wanted| wanted == iccid, &iccid)?;
    sim_known(core, iccid);
    Ok(())
}

/// Looks whether the card is still the one that the fleet file names: not each modem reports a change.
pub(crate) async fn same_card(core: &Core, at: &At, known: &Known) -> Result<(), End> {
    if core.config.iccid.is_none() {
        return Ok(());
    }
    match known.profile.iccid(at).await {
        Ok(iccid) => must_be_card(core, iccid),
        Err(error) => unless_ended(error).map(|_: Option<()>| ()),
    }
}

/// Tells discovery which card is in: another entry of the fleet file may want it.
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
