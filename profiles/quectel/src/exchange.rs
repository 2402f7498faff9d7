//! Exchanges of the MQTT stack: the parts that its commands, its settings and its files share.

use std::time::Duration;

use at::{Exchange, Failure};
use modem::mqtt::MqttError;
use modem::port::{At, ExchangeError, Kind};
use modem::profile::{self, PATIENCE};

use crate::code::without_code;

/// All QMT commands share a lane. No transcript proves that clients may overlap.
pub(crate) const LANE: &str = "qmt";

/// The stack's name in errors.
pub(crate) const STACK: &str = "QMT";

/// The number of tries of a setting if its answer is missing.
pub(crate) const TRIES: u32 = 3;

pub(crate) fn exchange(
    operation: &'static str,
    command: &str,
    timeout: Duration,
) -> Result<Exchange, MqttError> {
    let exchange = Exchange::new(command, timeout)
        .map_err(|source| MqttError::Unsendable { what: operation, source })?;
    Ok(exchange.lane(LANE))
}

/// Runs a command that `OK` ends and that can be repeated.
pub(crate) async fn set(at: &At, operation: &'static str, command: &str) -> Result<(), MqttError> {
    let exchange = exchange(operation, command, PATIENCE)?;
    match profile::persist(at, Kind::Setup, exchange, TRIES).await {
        Ok(_) => Ok(()),
        Err(error) => Err(failed(operation, error)),
    }
}

pub(crate) fn failed(operation: &'static str, error: ExchangeError) -> MqttError {
    match error {
        ExchangeError::Failed { failure: Failure::Refused { code, .. }, .. } => {
            without_code(operation, Some(&code))
        }
        source => MqttError::Exchange { operation, source },
    }
}
