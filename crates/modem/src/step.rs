//! One step towards service: a command, its time limit, and its failure.

use std::time::Duration;

use at::{Answer, Exchange, Failure, FinalCode, Reply};

use crate::chain::Chain;
use crate::port::{At, ExchangeError, Kind};
use crate::reply::{self, ReplyError};

/// The time for a command that needs no network. Modems answer in milliseconds; 27.007 names no
/// time, and SIMCom's manuals give 9 s for most commands. Giving up sooner does no harm: the engine
/// gets in step before the next command, and a command that may be repeated is.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// The time for a change of functionality before the modem is asked whether it is there (27.007
/// §8.2 names no time; Quectel's manuals give 15 s).
const SWITCH: Duration = Duration::from_secs(15);

/// The maximum times of commands in the manuals. Commands that ask the network take minutes.
const LONGEST: [(&str, Duration); 2] = [
    // u-blox gives 3 minutes: detaching waits for the network.
    ("AT+CFUN=", Duration::from_secs(180)),
    // Quectel EC2x manual §6.1.
    ("AT+COPS", Duration::from_secs(180)),
];

/// Returns the maximum time of this command in the manuals.
fn longest(line: &str) -> Duration {
    let of = LONGEST.iter().find(|(start, _)| line.starts_with(start));
    of.map_or(at::MAXIMUM, |(_, longest)| *longest)
}

/// The time for an answer line without a name. Once the modem is asked for its identity, such a
/// line could be the answer to that.
const BARE: Duration = Duration::from_secs(10);

/// The number of tries of a query or setting that has no answer.
pub(crate) const TRIES: u32 = 3;

/// The reason why a step towards service failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StepError {
    /// The exchange failed.
    #[error("no usable answer")]
    Exchange(#[source] ExchangeError),
    /// The answer could not be read.
    #[error("unreadable answer")]
    Reply(#[source] ReplyError),
    /// A value cannot be sent in a command.
    #[error("{what} cannot be sent to the modem")]
    Unsendable {
        /// The name of the value.
        what: &'static str,
        /// The reason.
        #[source]
        source: at::InvalidLine,
    },
}

impl From<ExchangeError> for StepError {
    fn from(error: ExchangeError) -> Self {
        Self::Exchange(error)
    }
}

impl From<ReplyError> for StepError {
    fn from(error: ReplyError) -> Self {
        Self::Reply(error)
    }
}

impl StepError {
    /// Reports whether the modem booted during the step.
    pub fn is_boot(&self) -> bool {
        matches!(self, Self::Exchange(ExchangeError::Failed { failure: Failure::Booted, .. }))
    }

    /// Reports whether the modem refused the command.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Exchange(error) if error.refusal().is_some())
    }

    /// Reports whether the port itself is gone.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Exchange(ExchangeError::Gone))
    }
}

/// Runs one command with the default patience and returns the lines of its answer.
///
/// # Errors
/// [`StepError`].
pub async fn run(
    at: &At,
    kind: Kind,
    line: &str,
    answer: Answer,
) -> Result<Vec<String>, StepError> {
    let exchange = Exchange::new(line, PATIENCE)
        .map_err(|source| StepError::Unsendable { what: "a command", source })?
        .at_most(longest(line))
        .undisturbed_for(if matches!(answer, Answer::Bare) { BARE } else { PATIENCE })
        .answer(answer);
    Ok(persist(at, kind, exchange, TRIES).await?.lines)
}

/// Runs a command that takes seconds, such as a reset, without a second try.
///
/// # Errors
/// [`StepError`].
pub async fn slow(at: &At, line: &str) -> Result<(), StepError> {
    let exchange = Exchange::new(line, SWITCH)
        .map_err(|source| StepError::Unsendable { what: "a command", source })?
        .at_most(longest(line));
    at.run(Kind::Setup, exchange).await?;
    Ok(())
}

/// Runs an exchange, and again if it has no answer. Only for commands that may be done twice.
///
/// # Errors
/// [`ExchangeError`] of the last try.
pub async fn persist(
    at: &At,
    kind: Kind,
    exchange: Exchange,
    tries: u32,
) -> Result<Reply, ExchangeError> {
    for _ in 1..tries {
        match at.run(kind, exchange.clone()).await {
            Err(ExchangeError::Failed {
                failure: Failure::Timeout(_) | Failure::NoPrompt | Failure::Flood,
                ..
            }) => {}
            ended => return ended,
        }
    }
    at.run(kind, exchange).await
}

/// Reports whether the modem refused a command because it does not know it: without a reason, or as
/// not supported or unknown (27.007 §9.2: 4, 100).
pub(crate) fn is_unknown(error: &StepError) -> bool {
    let StepError::Exchange(error) = error else { return false };
    match error.refusal() {
        Some(Failure::Refused { code: FinalCode::Error(_), .. }) => true,
        _ => matches!(cme_code(error), Some(4 | 100)),
    }
}

/// Turns the failure of one part of a status poll into nothing, so that the part is left out.
///
/// # Errors
/// The error itself, if the port is gone.
pub fn unless_gone(error: StepError) -> Result<(), StepError> {
    if error.is_gone() {
        return Err(error);
    }
    tracing::debug!("ignored in the status: {}", Chain(&error));
    Ok(())
}

/// Returns the code of a `+CME ERROR`, if the modem refused with one.
pub fn cme_code(error: &ExchangeError) -> Option<u16> {
    match error.refusal() {
        Some(Failure::Refused { code: FinalCode::Cme(text), .. }) => {
            reply::CmeError::of_line(&format!("+CME ERROR: {text}")).ok()?.code
        }
        _ => None,
    }
}
