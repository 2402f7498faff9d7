//! The radio: its state, and the steps of two commands that switch it off and on.

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

/// The length of a search after which another program may have switched the radio off meanwhile.
const SEARCH_IS_LONG: Duration = Duration::from_secs(30);

/// The interval between looks at the radio while the search goes on.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The state of the radio of one modem, as far as it is known.
#[derive(Default)]
pub(crate) struct Radio {
    /// True while a step of several commands is under way.
    stepping: watch::Sender<bool>,
    looked: Mutex<Option<Instant>>,
    /// The start of the last step.
    stepped: Mutex<Option<Instant>>,
    /// The card with which the access point last came into force, and the time of that.
    pub(crate) attached: Mutex<Option<(String, Instant)>>,
}

/// A step of several commands, which is finished whatever the modem prints meanwhile. It ends when
/// dropped.
pub(crate) struct Step<'a>(&'a Radio);

impl Radio {
    /// Begins a step: until its end, lines that the modem prints do not end its service.
    pub(crate) fn step(&self) -> Step<'_> {
        *self.stepped.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.stepping.send_replace(true);
        Step(self)
    }

    /// Returns the start of the last step.
    pub(crate) fn last_step(&self) -> Option<Instant> {
        *self.stepped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no step is under way.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn at_rest(&self) {
        // The sender lives as long as this value.
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

/// Switches the radio on if it is off, before the card is asked: with minimum functionality there
/// is no card. A maker's mode is left alone, since it may be a mode for repairs.
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

/// Looks at the radio again after a long search for a network: another program may have switched it
/// off.
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

/// Reads the functionality level; `None` if the modem does not report it.
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
