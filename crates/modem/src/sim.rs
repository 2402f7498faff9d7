//! The SIM card: its state, and a PIN that is tried at most once.
//!
//! Three wrong tries lock a SIM for good as far as a gateway is concerned. So the try is written down
//! before it is made, and a PIN that was refused, or whose fate is unknown, is not tried again until
//! the PIN or the SIM changes.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use at::{Answer, Exchange};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::port::{At, ExchangeError, Kind};
use crate::profile::{self, PATIENCE, Profile, StepError};
use crate::reply::{self, CmeError, Lock};

/// How long to wait before a SIM that is busy or absent is asked again. During its boot a SIM7600
/// says `SIM busy` for a second or two.
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(1);

/// How often the SIM's state is asked for when the answer stays out.
const TRIES: u32 = 3;

/// How long a SIM may take to verify a PIN: giving up too soon would count as a refusal.
const VERIFICATION: Duration = Duration::from_secs(30);

/// Said of a card whose other tries somebody else has spent.
const LAST_TRY: &str = "the SIM has one try of its PIN left, which the agent does not use: a wrong PIN would lock the SIM; enter \
                        the PIN in a phone or by hand, which restores the other tries";

/// Remembers on disk which PIN was tried on which SIM, and which access point is in force. Nothing that gives a secret
/// away is stored.
#[async_trait]
pub trait PinLedger: Send + Sync {
    /// Whether this PIN was tried on this SIM before and not accepted.
    async fn was_refused(&self, sim: &str, pin: &SecretString) -> io::Result<bool>;
    /// Writes down that this PIN is about to be tried; durable when it returns.
    async fn trying(&self, sim: &str, pin: &SecretString) -> io::Result<()>;
    /// The PIN was accepted.
    async fn accepted(&self, sim: &str) -> io::Result<()>;
    /// Whether this is the access point, login included, with which the modem and card of this name attached last.
    async fn is_attached_with(&self, place: &str, wanted: &SecretString) -> io::Result<bool>;
    /// They attached with it; durable when it returns.
    async fn attached_with(&self, place: &str, wanted: &SecretString) -> io::Result<()>;
}

/// What the SIM lets us do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SimState {
    /// Ready.
    Ready,
    /// Not ready now; ask again. The reason in words.
    Wait(String),
    /// Not ready until somebody does something. The reason in words.
    Blocked(String),
}

/// The unlocking of one SIM, from the modem's boot to its end.
pub struct Unlock<'a> {
    pin: Option<&'a SecretString>,
    ledger: &'a dyn PinLedger,
    /// The card whose PIN was sent and whose answer stayed out.
    unsure: Option<Card>,
}

impl<'a> Unlock<'a> {
    /// Nothing was tried yet since the modem booted.
    pub fn new(pin: Option<&'a SecretString>, ledger: &'a dyn PinLedger) -> Self {
        Self { pin, ledger, unsure: None }
    }

    /// One look at the SIM, with the one try of the PIN where it is due (27.007 §8.3).
    ///
    /// # Errors
    /// [`StepError`] where the modem gave no usable answer.
    pub async fn look(
        &mut self,
        at: &At,
        profile: &dyn Profile,
        imei: &str,
    ) -> Result<SimState, StepError> {
        let blocked = |words: String| Ok(SimState::Blocked(words));
        let lock = lock(at).await?;
        match lock {
            Lock::None | Lock::SimPin2 | Lock::SimPuk2 => {
                if lock != Lock::None {
                    tracing::info!(
                        "the SIM asks for its second PIN or PUK, which data does not need"
                    );
                }
                if let Some(card) = self.unsure.take() {
                    // Ready after our own try, whose answer got lost: it was accepted.
                    card.accepted(self.ledger).await;
                }
                Ok(SimState::Ready)
            }
            Lock::SimPin => match self.pin {
                None => {
                    blocked("the SIM needs a PIN; set `pin: {file: …}` for this modem".to_owned())
                }
                Some(pin) => match card(at, profile, imei).await? {
                    Some(card) => self.try_once(at, profile, card, pin).await,
                    None => Ok(SimState::Wait(
                        "the SIM needs its PIN, but its ICCID cannot be read yet".to_owned(),
                    )),
                },
            },
            Lock::SimPuk => {
                blocked("the SIM is locked and needs its PUK; enter the PUK by hand".to_owned())
            }
            lock => match lock.bond() {
                Some(bond) => blocked(format!(
                    "{bond}; use a SIM that it accepts, or have its seller remove the lock"
                )),
                None => Ok(SimState::Wait("no SIM, or it is not ready yet".to_owned())),
            },
        }
    }

    async fn try_once(
        &mut self,
        at: &At,
        profile: &dyn Profile,
        card: Card,
        pin: &SecretString,
    ) -> Result<SimState, StepError> {
        let unwritable = |error: io::Error| {
            SimState::Blocked(format!(
                "the PIN is not tried, since the try cannot be stored: {error}"
            ))
        };
        match card.was_refused(self.ledger, pin).await {
            Ok(false) => {}
            Ok(true) => {
                let words = "this PIN was refused by this SIM before and is not tried again; correct the PIN or change the SIM";
                return Ok(SimState::Blocked(words.to_owned()));
            }
            Err(error) => return Ok(unwritable(error)),
        }
        if matches!(pin_tries(at, profile).await?, Some(0 | 1)) {
            return Ok(SimState::Blocked(LAST_TRY.to_owned()));
        }
        if let Err(error) = card.trying(self.ledger, pin).await {
            return Ok(unwritable(error));
        }
        let quoted = at::quote(pin.expose_secret())
            .map(Zeroizing::new)
            .map_err(|source| StepError::Unsendable { what: "the PIN", source })?;
        let exchange = Exchange::new(format!("AT+CPIN={}", *quoted), VERIFICATION)
            .map_err(|source| StepError::Unsendable { what: "the PIN", source })?
            .shown_as("AT+CPIN=***");
        // Never repeated, whatever comes of it.
        match at.run(Kind::Basic, exchange).await {
            Ok(_) => {
                card.accepted(self.ledger).await;
                Ok(SimState::Ready)
            }
            Err(error) if error.refusal().is_some() && !lock(at).await?.lets_data_through() => {
                Ok(SimState::Blocked("the SIM refused the PIN; it is not tried again".to_owned()))
            }
            // The SIM's state will tell whether it was accepted; the ledger keeps it from a second try.
            Err(_) => {
                self.unsure = Some(card);
                Ok(SimState::Wait("the PIN was sent, but no answer arrived".to_owned()))
            }
        }
    }
}

/// The names by which the ledger knows a card.
///
/// Most cards tell their ICCID without a PIN. Where one does not, the module stands for it; and since it
/// may tell the next time, a try is written down under a name that covers both ways.
struct Card {
    iccid: Option<String>,
    /// For tries on a card that did not tell its ICCID.
    untold: String,
    /// For every try in this module.
    any: String,
}

impl Card {
    fn new(iccid: Option<String>, imei: &str) -> Self {
        Self { iccid, untold: format!("untold in {imei}"), any: format!("any in {imei}") }
    }

    /// A card that tells its ICCID is judged by it, and by tries on one that did not tell; one that
    /// does not tell may be any that was tried here.
    async fn was_refused(&self, ledger: &dyn PinLedger, pin: &SecretString) -> io::Result<bool> {
        match &self.iccid {
            Some(iccid) => Ok(ledger.was_refused(iccid, pin).await?
                || ledger.was_refused(&self.untold, pin).await?),
            None => ledger.was_refused(&self.any, pin).await,
        }
    }

    async fn trying(&self, ledger: &dyn PinLedger, pin: &SecretString) -> io::Result<()> {
        ledger.trying(self.iccid.as_ref().unwrap_or(&self.untold), pin).await?;
        ledger.trying(&self.any, pin).await
    }

    async fn accepted(&self, ledger: &dyn PinLedger) {
        for name in self.iccid.iter().chain([&self.untold, &self.any]) {
            if let Err(error) = ledger.accepted(name).await {
                tracing::warn!("could not note that the PIN was accepted: {error}");
            }
        }
    }
}

/// The card in the module; `None` where it may tell its ICCID later.
async fn card(at: &At, profile: &dyn Profile, imei: &str) -> Result<Option<Card>, StepError> {
    match profile.iccid(at).await {
        Ok(iccid) => Ok(Some(Card::new(Some(iccid), imei))),
        Err(StepError::Exchange(ExchangeError::Gone)) => {
            Err(StepError::Exchange(ExchangeError::Gone))
        }
        Err(StepError::Exchange(error)) => {
            // 27.007 §9.2: SIM failure, busy. No answer at all may be one later, too.
            let later =
                matches!(profile::cme_code(&error), Some(13 | 14)) || error.refusal().is_none();
            Ok(if later { None } else { Some(Card::new(None, imei)) })
        }
        Err(_) => Ok(None),
    }
}

/// How often the PIN may still be tried; `None` where the card or the modem does not tell. Firmware that lacks its
/// vendor's command may know the standard's (27.007 §8.65).
async fn pin_tries(at: &At, profile: &dyn Profile) -> Result<Option<u32>, StepError> {
    let told = match profile.pin_tries(at).await {
        Err(StepError::Exchange(error)) if error.refusal().is_some() => {
            profile::pin_tries(at).await
        }
        told => told,
    };
    match told {
        Ok(tries) => Ok(tries.pin),
        Err(error) if error.is_gone() || error.is_boot() => Err(error),
        Err(error) => {
            let error = crate::chain::Chain(&error);
            tracing::info!("the number of tries left for the PIN cannot be read: {error}");
            Ok(None)
        }
    }
}

async fn lock(at: &At) -> Result<Lock, StepError> {
    let exchange = command("AT+CPIN?")?.answer(Answer::Prefix("+CPIN:"));
    // One answer that stays out is no reason to begin anew; whether the port is mute the engine finds out.
    match profile::persist(at, Kind::Basic, exchange, TRIES).await {
        Ok(reply) => Ok(reply::pin(&reply.lines)?.lock),
        // Error texts instead of numbers (CMEE 2) and SIM states told by errors both end here.
        Err(error @ ExchangeError::Failed { failure: at::Failure::Refused { .. }, .. }) => {
            tracing::debug!("AT+CPIN? was refused: {}", crate::chain::Chain(&error));
            let code = profile::cme_code(&error);
            Ok(reply::pin_refused(&CmeError { code, text: String::new() }).lock)
        }
        Err(error) => Err(error.into()),
    }
}

fn command(line: &str) -> Result<Exchange, StepError> {
    Exchange::new(line, PATIENCE)
        .map_err(|source| StepError::Unsendable { what: "the PIN", source })
}
