//! Exchanges of the `AT+CMQTT…` stack: the parts that its commands and its files share, and the meaning of
//! their ends.

use std::time::Duration;

use at::{Answer, Exchange, Failure, Reply};
use modem::mqtt::{Client, MqttError, ResultCode};
use modem::port::{At, ExchangeError, Kind};
use modem::profile::PATIENCE;

use crate::code::{OK, result_code, without_code};

/// The lane of all CMQTT commands.
pub(crate) const LANE: &str = "cmqtt";

/// The number of tries of a repeatable command if its answer is missing.
const TRIES: u32 = 3;

/// Client indexes of one modem.
pub(crate) const CLIENTS: [Client; 2] = [Client(0), Client(1)];

pub(crate) fn exchange(
    operation: &'static str,
    command: &str,
    timeout: Duration,
) -> Result<Exchange, MqttError> {
    let exchange = Exchange::new(command, timeout)
        .map_err(|source| MqttError::Unsendable { what: operation, source })?;
    Ok(exchange.lane(LANE))
}

/// Runs a command that `OK` ends. An error code comes in a line before `ERROR` (or, oddly, before `OK`).
pub(crate) async fn plain_command(
    at: &At,
    operation: &'static str,
    command: &str,
    prefix: &'static str,
) -> Result<(), MqttError> {
    let exchange = exchange(operation, command, PATIENCE)?.answer(Answer::Prefix(prefix));
    outcome(operation, persist(at, Kind::Setup, exchange).await)
}

/// Runs an exchange that may be repeated: setting a value twice sets it once.
pub(crate) async fn persist(
    at: &At,
    kind: Kind,
    exchange: Exchange,
) -> Result<Reply, ExchangeError> {
    modem::profile::persist(at, kind, exchange, TRIES).await
}

/// Returns the meaning of an exchange's end: the code in its result line, else in its answer, else `OK`.
pub(crate) fn outcome(
    operation: &'static str,
    ended: Result<Reply, ExchangeError>,
) -> Result<(), MqttError> {
    match ended {
        Ok(reply) => match code_in(reply.result.iter().chain(&reply.lines)) {
            Some(OK) | None => Ok(()),
            Some(number) => Err(refused(operation, number)),
        },
        Err(ExchangeError::Failed {
            failure: Failure::Refused { code, lines, result }, ..
        }) => {
            match code_in(result.iter().chain(&lines)) {
                // `ERROR` after a result of 0 is still a refusal, of unknown cause.
                Some(OK) | None => Err(without_code(operation, Some(&code))),
                Some(number) => Err(refused(operation, number)),
            }
        }
        Err(source) => Err(MqttError::Exchange { operation, source }),
    }
}

pub(crate) fn refused(operation: &'static str, number: i32) -> MqttError {
    MqttError::Refused { operation, code: result_code(operation, number) }
}

pub(crate) fn code_of(error: &MqttError) -> Option<i32> {
    match error {
        MqttError::Refused { code: ResultCode { number, .. }, .. } => Some(*number),
        _ => None,
    }
}

/// Returns the last argument of the first line that ends in a number: `+CMQTTPUB: 0,6`, `+CMQTTSTART: 23`.
fn code_in<'a>(mut lines: impl Iterator<Item = &'a String>) -> Option<i32> {
    lines.find_map(|line| {
        let arguments = line.split_once(':')?.1;
        arguments.rsplit(',').next()?.trim().parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_the_last_argument() {
        let code = |line: &str| code_in([line.to_owned()].iter());
        assert_eq!(code("+CMQTTPUB: 0,6"), Some(6));
        assert_eq!(code("+CMQTTSTART: 23"), Some(23));
        assert_eq!(code("+CMQTTSTART:0"), Some(0));
        assert_eq!(code("+CMQTTPUB: 0,"), None);
        assert_eq!(code("noise"), None);
    }

    #[test]
    fn an_error_keeps_its_code_in_every_form() {
        let refused = |lines: &[&str], result: Option<&str>| ExchangeError::Failed {
            command: "AT+X".to_owned(),
            failure: Failure::Refused {
                code: at::FinalCode::Error("ERROR".to_owned()),
                lines: lines.iter().map(|line| (*line).to_owned()).collect(),
                result: result.map(str::to_owned),
            },
        };
        let number = |ended| code_of(&outcome("X", Err(ended)).unwrap_err());
        assert_eq!(number(refused(&["+CMQTTTOPIC: 0,11"], None)), Some(11));
        assert_eq!(number(refused(&[], Some("+CMQTTPUB: 0,14"))), Some(14));
        assert_eq!(number(refused(&[], None)), None);
        let late = Reply { lines: vec![], result: Some("+CMQTTCONNECT: 0,32".to_owned()) };
        assert_eq!(code_of(&outcome("X", Ok(late)).unwrap_err()), Some(32));
        let odd = Reply { lines: vec!["+CMQTTCFG: 0,12".to_owned()], result: None };
        assert_eq!(code_of(&outcome("X", Ok(odd)).unwrap_err()), Some(12));
        assert!(outcome("X", Ok(Reply::default())).is_ok());
    }
}
