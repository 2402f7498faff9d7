//! The status poll: signal, serving cell, temperature.

use at::Answer;
use modem::port::{At, Kind};
use modem::profile::{self, Status, StepError, unless_gone};
use modem::reply::{self, Quantity, Rat, Sieve};

use crate::cpsi::{cpsi, signals};
use crate::status::temperature;

/// Polls all three. A module that does not know one of the commands still answers the others.
///
/// # Errors
/// [`StepError`] if the port is gone.
pub(crate) async fn poll(at: &At) -> Result<Status, StepError> {
    let mut status = Status::default();
    serving_cell(at, &mut status).await.or_else(unless_gone)?;
    received_power(at, &mut status).await.or_else(unless_gone)?;
    status.signals.retain(|signal| !signal.is_empty());
    module_temperature(at, &mut status).await.or_else(unless_gone)?;
    Ok(status)
}

async fn serving_cell(at: &At, status: &mut Status) -> Result<(), StepError> {
    let lines = profile::run(at, Kind::Status, "AT+CPSI?", Answer::Prefix("+CPSI:")).await?;
    let cell = cpsi(&lines)?;
    status.signals = signals(&cell);
    status.implausible += cell.implausible;
    Ok(())
}

/// Reads the received power from `AT+CSQ` if the serving cell's line has none (27.007 §8.5). In 5G standalone
/// mode the answer is 99, which means unknown.
async fn received_power(at: &At, status: &mut Status) -> Result<(), StepError> {
    let lines = profile::run(at, Kind::Status, "AT+CSQ", Answer::Prefix("+CSQ:")).await?;
    let Some(rssi_dbm) = reply::csq(&lines)?.rssi_dbm else { return Ok(()) };
    let mut sieve = Sieve::default();
    let power = sieve.keep(Quantity::Rssi, rssi_dbm);
    status.implausible += sieve.implausible();
    // Without a serving cell the power belongs to no radio, and is left out.
    if let Some(signal) = status.signals.iter_mut().find(|signal| signal.rat != Rat::Nr) {
        signal.rssi_dbm = signal.rssi_dbm.or(power);
    }
    Ok(())
}

async fn module_temperature(at: &At, status: &mut Status) -> Result<(), StepError> {
    let lines = profile::run(at, Kind::Status, "AT+CPMUTEMP", Answer::Prefix("+CPMUTEMP:")).await?;
    status.temperature_celsius = Some(f64::from(temperature(&lines)?));
    Ok(())
}
