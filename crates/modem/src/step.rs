//! One step towards service: a command, how long it may take, and how it fails.

use std::time::Duration;

use at::{Answer, Exchange, Failure, FinalCode, Reply};

use crate::chain::Chain;
use crate::port::{At, ExchangeError, Kind};
use crate::reply::{self, ReplyError};

/// How long a command that needs no network may take. Modems answer in milliseconds; 27.007 names no
/// time, and SIMCom's manuals give 9 s for most. Giving up sooner does no harm: the engine gets in step
/// before the next command, and what may be repeated is.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// How long a change of functionality may take before the modem is asked whether it is there (27.007 §8.2 names no
/// time; Quectel's manuals give 15 s).
const SWITCH: Duration = Duration::from_secs(15);

/// The longest that commands may take by the manuals. Those that ask the network take minutes.
const LONGEST: [(&str, Duration); 2] = [
    // u-blox gives 3 minutes: detaching waits for the network.
    ("AT+CFUN=", Duration::from_secs(180)),
    // Quectel EC2x manual §6.1.
    ("AT+COPS", Duration::from_secs(180)),
];

/// The longest that this command may take by the manuals.
fn longest(line: &str) -> Duration {
    let of = LONGEST.iter().find(|(start, _)| line.starts_with(start));
    of.map_or(at::MAXIMUM, |(_, longest)| *longest)
}

/// How long a line without a name is waited for: once the modem was asked who it is, it could be the answer to that.
const BARE: Duration = Duration::from_secs(10);

/// How often a query or setting is tried when its answer stays out.
pub(crate) const TRIES: u32 = 3;

/// Why a step towards service failed.
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
        /// Which value.
        what: &'static str,
        /// Why.
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
    /// Whether the modem booted under it.
    pub fn is_boot(&self) -> bool {
        matches!(self, Self::Exchange(ExchangeError::Failed { failure: Failure::Booted, .. }))
    }

    /// Reports whether the modem said no.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Exchange(error) if error.refusal().is_some())
    }

    /// Whether the port itself is gone.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Exchange(ExchangeError::Gone))
    }
}

/// Runs one command with the default patience and gives the lines of its answer.
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

/// Runs once a command that takes seconds, such as a reset.
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

/// Runs an exchange, and again where its answer stays out. Only for what may be done twice.
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

/// Whether the modem refused a command as one that it does not know: without a reason, or as not supported or unknown
/// (27.007 §9.2: 4, 100).
pub(crate) fn is_unknown(error: &StepError) -> bool {
    let StepError::Exchange(error) = error else { return false };
    match error.refusal() {
        Some(Failure::Refused { code: FinalCode::Error(_), .. }) => true,
        _ => matches!(cme_code(error), Some(4 | 100)),
    }
}

/// For the parts of a status poll: what is not to be had is left out; a port that is gone ends the poll.
///
/// # Errors
/// The error itself, where the port is gone.
pub fn unless_gone(error: StepError) -> Result<(), StepError> {
    if error.is_gone() {
        return Err(error);
    }
    tracing::debug!("ignored in the status: {}", Chain(&error));
    Ok(())
}

/// The code of a `+CME ERROR`, where that is how the modem refused.
pub fn cme_code(error: &ExchangeError) -> Option<u16> {
    match error.refusal() {
        Some(Failure::Refused { code: FinalCode::Cme(text), .. }) => {
            reply::CmeError::of_line(&format!("+CME ERROR: {text}")).ok()?.code
        }
        _ => None,
    }
}
