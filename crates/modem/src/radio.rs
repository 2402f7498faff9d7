//! The radio: whether it is on, and the steps of two commands by which it is switched off and on.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use at::Answer;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::chain::Chain;
use crate::end::End;
use crate::port::{At, Kind};
use crate::profile::{self, StepError};
use crate::reply::{self, Functionality};

/// A search that lasts so long may have a radio that somebody switched off meanwhile.
const SEARCH_IS_LONG: Duration = Duration::from_secs(30);

/// How often the radio is looked at while the search goes on.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What is known of the radio of one modem.
#[derive(Default)]
pub(crate) struct Radio {
    /// A step of several commands is under way.
    stepping: watch::Sender<bool>,
    looked: Mutex<Option<Instant>>,
    /// When the last step began.
    stepped: Mutex<Option<Instant>>,
    /// With which card the access point was brought into force last, and when.
    pub(crate) attached: Mutex<Option<(String, Instant)>>,
}

/// A step of several commands, which is finished whatever the modem prints meanwhile; over once it is dropped.
pub(crate) struct Step<'a>(&'a Radio);

impl Radio {
    /// Keeps what the modem prints from ending its service until the step is over.
    pub(crate) fn step(&self) -> Step<'_> {
        *self.stepped.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.stepping.send_replace(true);
        Step(self)
    }

    /// When the last step began.
    pub(crate) fn last_step(&self) -> Option<Instant> {
        *self.stepped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no step is under way.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn at_rest(&self) {
        // The sender lives as long as we do.
        let _ = self.stepping.subscribe().wait_for(|stepping| !stepping).await.is_ok();
    }

    fn is_due(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = looked.is_none_or(|at| at.elapsed() >= LOOK_AGAIN);
        if is_due {
            *looked = Some(Instant::now());
        }
        is_due && !*self.stepping.borrow()
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.0.stepping.send_replace(false);
    }
}

/// Switches the radio on where it is off, before the card is asked: with minimum functionality there is none.
/// A mode of the maker's is left: some are modes of service.
pub(crate) async fn radio_on(radio: &Radio, at: &At) -> Result<(), End> {
    match functionality(at).await? {
        Some(Functionality::RadioOff(level)) => switch_on(at, radio, level).await,
        Some(Functionality::Makers(level)) => {
            tracing::warn!(
                "AT+CFUN? answers {level}, a mode of the modem's maker, such as a factory test; it stays unless no network is found in it"
            );
            Ok(())
        }
        Some(Functionality::Full) | None => Ok(()),
    }
}

/// Looks at the radio again where a network has been searched for long: another program may have switched it off.
pub(crate) async fn mind_radio(
    radio: &Radio,
    at: &At,
    searched_for: Option<Duration>,
) -> Result<(), End> {
    let is_long = searched_for.is_some_and(|time| time >= SEARCH_IS_LONG);
    if !is_long || !radio.is_due() {
        return Ok(());
    }
    match functionality(at).await? {
        Some(Functionality::RadioOff(level) | Functionality::Makers(level)) => {
            switch_on(at, radio, level).await
        }
        Some(Functionality::Full) | None => Ok(()),
    }
}

/// How much is switched on; `None` where the modem does not say.
async fn functionality(at: &At) -> Result<Option<Functionality>, End> {
    let asked = profile::run(at, Kind::Basic, "AT+CFUN?", Answer::Prefix("+CFUN:")).await;
    match asked.and_then(|lines| reply::functionality(&lines).map_err(StepError::from)) {
        Ok(functionality) => Ok(Some(functionality)),
        Err(error) if error.is_gone() || error.is_boot() => Err(error.into()),
        Err(error) => {
            tracing::debug!("the modem does not report whether its radio is on: {}", Chain(&error));
            Ok(None)
        }
    }
}

async fn switch_on(at: &At, radio: &Radio, level: u8) -> Result<(), End> {
    tracing::warn!("AT+CFUN? answers {level}: the radio is off, and is switched on");
    let _step = radio.step();
    match profile::slow(at, "AT+CFUN=1").await {
        Ok(()) => Ok(()),
        Err(error) if error.is_gone() || error.is_boot() => Err(error.into()),
        Err(error) => {
            tracing::warn!("the radio stays off: {}", Chain(&error));
            Ok(())
        }
    }
}
