//! The SIM card: its state, and a PIN that is tried at most once.
//!
//! Three wrong tries lock a SIM, and a gateway cannot unlock it again. So the try is recorded
//! before it is made. A PIN that was refused, or whose fate is unknown, is not tried again until
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

/// The wait before a busy or absent SIM is asked again. During its boot a SIM7600 prints `SIM busy`
/// for a second or two.
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The number of questions for the SIM's state if an answer does not come.
const TRIES: u32 = 3;

/// The time that a SIM may take to verify a PIN: giving up too soon would count as a refusal.
const VERIFICATION: Duration = Duration::from_secs(30);

/// The reason shown for a card whose other tries were spent elsewhere.
const LAST_TRY: &str = "the SIM has one try of its PIN left, which the agent does not use: a wrong PIN would lock the SIM; enter \
                        the PIN in a phone or by hand, which restores the other tries";

/// A record on disk of the PINs that were tried on each SIM, and of the access point that is in
/// force. It stores nothing that reveals a secret.
#[async_trait]
pub trait PinLedger: Send + Sync {
    /// Reports whether this PIN was tried on this SIM before and not accepted.
    async fn was_refused(&self, sim: &str, pin: &SecretString) -> io::Result<bool>;
    /// Records that this PIN is about to be tried; durable when it returns.
    async fn trying(&self, sim: &str, pin: &SecretString) -> io::Result<()>;
    /// Records that the PIN was accepted.
    async fn accepted(&self, sim: &str) -> io::Result<()>;
    /// Reports whether the modem and card of this name attached last with this access point, login
    /// included.
    async fn is_attached_with(&self, place: &str, wanted: &SecretString) -> io::Result<bool>;
    /// Records that they attached with it; durable when it returns.
    async fn attached_with(&self, place: &str, wanted: &SecretString) -> io::Result<()>;
}

/// The readiness of the SIM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SimState {
    /// Ready.
    Ready,
    /// Not ready now; ask again. The reason as text.
    Wait(String),
    /// Not ready until a person does something. The reason as text.
    Blocked(String),
}

/// The unlocking of one SIM, from the modem's boot to its end.
pub struct Unlock<'a> {
    pin: Option<&'a SecretString>,
    ledger: &'a dyn PinLedger,
    /// The card whose PIN was sent without an answer.
    unsure: Option<Card>,
}

impl<'a> Unlock<'a> {
    /// Creates the unlocking for a modem that just booted.
    pub fn new(pin: Option<&'a SecretString>, ledger: &'a dyn PinLedger) -> Self {
        Self { pin, ledger, unsure: None }
    }

    /// Looks at the SIM once, and makes the one try of the PIN if it is due (27.007 §8.3).
    ///
    /// # Errors
    /// [`StepError`] if the modem gave no usable answer.
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
                    // Ready after our own try, whose answer was lost: the PIN was accepted.
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
        // Never repeated, whatever the outcome.
        match at.run(Kind::Basic, exchange).await {
            Ok(_) => {
                card.accepted(self.ledger).await;
                Ok(SimState::Ready)
            }
            Err(error) if error.refusal().is_some() && !lock(at).await?.lets_data_through() => {
                Ok(SimState::Blocked("the SIM refused the PIN; it is not tried again".to_owned()))
            }
            // The SIM's state will show whether it was accepted; the ledger prevents a second try.
            Err(_) => {
                self.unsure = Some(card);
                Ok(SimState::Wait("the PIN was sent, but no answer arrived".to_owned()))
            }
        }
    }
}

/// The names of a card in the ledger.
///
/// Most cards report their ICCID without a PIN. If a card does not, the module's name stands for
/// it. Since it may report its ICCID the next time, a try is recorded under a name that covers both
/// cases.
struct Card {
    iccid: Option<String>,
    /// The name for tries on a card that did not report its ICCID.
    untold: String,
    /// The name for every try in this module.
    any: String,
}

impl Card {
    fn new(iccid: Option<String>, imei: &str) -> Self {
        Self { iccid, untold: format!("untold in {imei}"), any: format!("any in {imei}") }
    }

    /// Reports whether the PIN was refused. A card with an ICCID is judged by tries on it, and by
    /// tries on a card without an ICCID. A card without one may be any card that was tried here.
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

/// Reads the card in the module; `None` if it may report its ICCID later.
async fn card(at: &At, profile: &dyn Profile, imei: &str) -> Result<Option<Card>, StepError> {
    match profile.iccid(at).await {
        Ok(iccid) => Ok(Some(Card::new(Some(iccid), imei))),
        Err(StepError::Exchange(ExchangeError::Gone)) => {
            Err(StepError::Exchange(ExchangeError::Gone))
        }
        Err(StepError::Exchange(error)) => {
            // 27.007 §9.2: SIM failure, busy. A missing answer may come later, too.
            let later =
                matches!(profile::cme_code(&error), Some(13 | 14)) || error.refusal().is_none();
            Ok(if later { None } else { Some(Card::new(None, imei)) })
        }
        Err(_) => Ok(None),
    }
}

/// Reads the tries left for the PIN; `None` if the card or the modem does not report them. Firmware
/// that lacks its vendor's command may have the standard's (27.007 §8.65).
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
    // One missing answer does not require a restart; the engine finds out whether the port is mute.
    match profile::persist(at, Kind::Basic, exchange, TRIES).await {
        Ok(reply) => Ok(reply::pin(&reply.lines)?.lock),
        // Error texts instead of numbers (CMEE 2) and SIM states reported as errors both end here.
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
