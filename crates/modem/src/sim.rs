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

use crate::port::{At, ExchangeError, Kind};
use crate::profile::{PATIENCE, Profile, StepError};
use crate::reply::{self, Lock};

/// How long to wait before a SIM that is busy or absent is asked again. During its boot a SIM7600
/// says `SIM busy` for a second or two.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Remembers on disk which PIN was tried on which SIM. Nothing that gives the PIN away is stored.
#[async_trait]
pub trait PinLedger: Send + Sync {
    /// Whether this PIN was tried on this SIM before and not accepted.
    async fn was_refused(&self, sim: &str, pin: &SecretString) -> io::Result<bool>;
    /// Writes down that this PIN is about to be tried; durable when it returns.
    async fn trying(&self, sim: &str, pin: &SecretString) -> io::Result<()>;
    /// The PIN was accepted.
    async fn accepted(&self, sim: &str) -> io::Result<()>;
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

/// One look at the SIM, with the one try of the PIN where it is due (27.007 §8.3).
///
/// # Errors
/// [`StepError`] where the modem gave no usable answer.
pub async fn unlock(
    at: &At,
    profile: &dyn Profile,
    imei: &str,
    pin: Option<&SecretString>,
    ledger: &dyn PinLedger,
) -> Result<SimState, StepError> {
    let lock = lock(at).await?;
    match (&lock, pin) {
        (Lock::None, _) => Ok(SimState::Ready),
        (Lock::SimPin, None) => Ok(SimState::Blocked(
            "the SIM wants a PIN; give `pin: {file: …}` for this modem".to_owned(),
        )),
        (Lock::SimPin, Some(pin)) => {
            // The ICCID is readable without the PIN on most cards; where it is not, the module stands
            // for its card.
            let sim = profile.iccid(at).await.unwrap_or_else(|_| format!("imei:{imei}"));
            try_once(at, &sim, pin, ledger).await
        }
        (Lock::SimPuk, _) => Ok(SimState::Blocked(
            "the SIM is locked and wants its PUK; enter it by hand".to_owned(),
        )),
        (Lock::Unknown, _) => Ok(SimState::Wait("no SIM, or it is not ready yet".to_owned())),
        (other, _) => {
            Ok(SimState::Blocked(format!("the SIM asks for {other:?}; enter it by hand")))
        }
    }
}

/// How long to wait after [`SimState::Wait`].
pub fn ask_again() -> Duration {
    ASK_AGAIN
}

async fn lock(at: &At) -> Result<Lock, StepError> {
    let exchange = command("AT+CPIN?")?.answer(Answer::Prefix("+CPIN:"));
    match at.run(Kind::Basic, exchange).await {
        Ok(reply) => Ok(reply::pin(&reply.lines)?.lock),
        // Error texts instead of numbers (CMEE 2) and SIM states told by errors both end here.
        Err(error @ ExchangeError::Failed { failure: at::Failure::Refused { .. }, .. }) => {
            tracing::debug!("AT+CPIN? was refused: {}", crate::session::Chain(&error));
            Ok(Lock::Unknown)
        }
        Err(error) => Err(error.into()),
    }
}

async fn try_once(
    at: &At,
    sim: &str,
    pin: &SecretString,
    ledger: &dyn PinLedger,
) -> Result<SimState, StepError> {
    let unwritable = |error: io::Error| {
        SimState::Blocked(format!(
            "the PIN is not tried, since the try cannot be written down: {error}"
        ))
    };
    match ledger.was_refused(sim, pin).await {
        Ok(false) => {}
        Ok(true) => {
            let words = "this PIN was refused by this SIM before and is not tried again; correct the PIN or change the SIM";
            return Ok(SimState::Blocked(words.to_owned()));
        }
        Err(error) => return Ok(unwritable(error)),
    }
    if let Err(error) = ledger.trying(sim, pin).await {
        return Ok(unwritable(error));
    }
    let quoted = at::quote(pin.expose_secret())
        .map_err(|source| StepError::Unsendable { what: "the PIN", source })?;
    let exchange = command(&format!("AT+CPIN={quoted}"))?.shown_as("AT+CPIN=***");
    let outcome = at.run(Kind::Basic, exchange).await;
    // Whatever the answer was, the SIM's state decides: a lost answer is no refusal.
    if outcome.is_err() && lock(at).await? != Lock::None {
        return Ok(SimState::Blocked("the SIM refused the PIN; it is not tried again".to_owned()));
    }
    if let Err(error) = ledger.accepted(sim).await {
        tracing::warn!("could not note that the PIN was accepted: {error}");
    }
    Ok(SimState::Ready)
}

fn command(line: &str) -> Result<Exchange, StepError> {
    Exchange::new(line, PATIENCE)
        .map_err(|source| StepError::Unsendable { what: "the PIN", source })
}
