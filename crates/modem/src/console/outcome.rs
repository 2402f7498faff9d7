//! One command run on a port, and its outcome.

use std::time::Duration;

use at::{Failure, FinalCode, Reply};
use serde::{Deserialize, Serialize};

use super::{Commands, OperationResult, Order};
use crate::port::{At, ExchangeError};

/// The longest wait of a command for its turn: a publish of a session, and one more.
const TURN: Duration = Duration::from_secs(30);

/// The outcome of a command, as a person may see it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// The lines of its answer in their order, except for the code and the result.
    pub lines: Vec<String>,
    /// The final result code, if one came.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<String>,
    /// The line that ended the operation, if `OK` is only its acceptance.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result: Option<String>,
    /// The reason why the answer is missing or incomplete, as text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<String>,
    /// True if it succeeded: `OK`, and a result of 0 if there is a result.
    pub ok: bool,
}

impl Outcome {
    fn failed(words: impl Into<String>) -> Self {
        Self { failure: Some(words.into()), ..Self::default() }
    }
}

impl Commands {
    /// Runs an order as one more user of the port. It waits for its turn, and never comes between
    /// exchanges that belong together.
    ///
    /// # Cancel safety
    /// An order that is dropped before its turn is withdrawn. After that the port finishes it, so
    /// that the modem is never left at a prompt.
    pub async fn run(&self, at: &At, order: Order) -> Outcome {
        let Order { exchange, kind, takes_turn, result, .. } = order;
        let Some(limit) = exchange.longest().checked_add(TURN) else {
            return Outcome::failed("the wait is too long");
        };
        let run = async {
            let _turn = if takes_turn { Some(at.sequence().await?) } else { None };
            at.run(kind, exchange).await
        };
        match tokio::time::timeout(limit, run).await {
            Ok(Ok(reply)) => self.replied(reply, result.as_ref()),
            Ok(Err(error)) => self.failed(error),
            Err(_) => Outcome::failed(
                "its turn did not come: the port is busy, or the modem does not answer",
            ),
        }
    }

    fn replied(&self, reply: Reply, result: Option<&OperationResult>) -> Outcome {
        let line = reply.result.as_deref();
        let ok = match (result, line) {
            (Some(result), Some(line)) => is_success(line, result),
            _ => true,
        };
        Outcome {
            ok,
            code: Some(FinalCode::Ok.to_string()),
            result: line.map(|line| self.shown_answer(line)),
            lines: self.all_shown(&reply.lines),
            failure: None,
        }
    }

    fn failed(&self, error: ExchangeError) -> Outcome {
        match error {
            ExchangeError::Gone => Outcome::failed("the port closed before the answer"),
            ExchangeError::Failed { failure: Failure::Refused { code, lines, result }, .. } => {
                Outcome {
                    lines: self.all_shown(&lines),
                    code: Some(code.to_string()),
                    result: result.map(|line| self.shown_answer(&line)),
                    failure: None,
                    ok: false,
                }
            }
            ExchangeError::Failed { failure: Failure::NoPrompt, .. } => Outcome {
                code: Some(FinalCode::Ok.to_string()),
                ..Outcome::failed("the modem did not ask for the data, so they were not sent")
            },
            ExchangeError::Failed { failure, .. } => Outcome::failed(failure.to_string()),
        }
    }

    fn all_shown(&self, lines: &[String]) -> Vec<String> {
        lines.iter().map(|line| self.shown_answer(line)).collect()
    }
}

/// Reports whether a result is a success: the operation went well, and the broker did not refuse in
/// it.
fn is_success(line: &str, result: &OperationResult) -> bool {
    let agrees = |(at, most)| code(line, at).is_none_or(|answer| answer <= most);
    code(line, result.code_at) == Some(0) && result.answer.is_none_or(agrees)
}

/// Returns the number at this place of a line's arguments.
fn code(line: &str, at: usize) -> Option<u32> {
    let (_, arguments) = line.split_once(':')?;
    arguments.split(',').nth(at)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_that_was_answered_with_a_refusal_is_no_success() {
        let connect =
            OperationResult { code_at: 1, answer: Some((2, 0)), ..OperationResult::BLANK };
        let subscribe =
            OperationResult { code_at: 2, answer: Some((3, 2)), ..OperationResult::BLANK };
        for (line, result, good) in [
            ("+QMTCONN: 0,0", connect, true),
            ("+QMTCONN: 0,0,0", connect, true),
            ("+QMTCONN: 0,0,5", connect, false),
            ("+QMTCONN: 0,2", connect, false),
            ("+QMTSUB: 0,1,0,2", subscribe, true),
            ("+QMTSUB: 0,1,0,128", subscribe, false),
            ("+QMTSUB: 0,1,-1", subscribe, false),
        ] {
            assert_eq!(is_success(line, &result), good, "{line}");
        }
    }
}
