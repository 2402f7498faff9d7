//! The receipt of a message, as the queue knows it.

use api::messages::{By, Receipt, Standing};
use queue::{State, Trace};

/// The receipt of a message. `given` is the session that had it before the queue was asked: a message
/// that was only leased ahead still waits.
pub fn of(trace: &Trace, given: Option<&str>) -> Receipt {
    let at = humantime::format_rfc3339_millis(trace.at).to_string();
    let standing = match (&trace.state, given) {
        (State::Leased, Some(path)) => Standing::Given { appended: at, path: path.to_owned() },
        (State::Waiting | State::Leased, _) => Standing::Waiting { appended: at },
        (State::Acknowledged { path }, _) => {
            let by = if trace.qos == 0 { By::Modem } else { By::Broker };
            Standing::Acknowledged { at, path: path.to_string(), by }
        }
        (State::DeadLetter { reason, words }, _) => {
            Standing::DeadLetter { at, reason: reason.clone(), words: words.clone() }
        }
        (State::Dropped { reason }, _) => {
            Standing::Dropped { at, reason: reason.as_str().to_owned() }
        }
    };
    Receipt { id: trace.id.to_string(), qos: trace.qos, standing }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use queue::{MessageId, Reason};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn each_state_reads_as_it_was_written() {
        let id = MessageId::nil();
        let cases: [(State, u8, Option<&str>, Value); 8] = [
            (State::Waiting, 1, None, json!({ "state": "waiting", "appended": AT })),
            // The session gave it back between the two questions.
            (State::Waiting, 1, Some("m0/s"), json!({ "state": "waiting", "appended": AT })),
            (State::Leased, 1, None, json!({ "state": "waiting", "appended": AT })),
            (
                State::Leased,
                2,
                Some("m0/s"),
                json!({ "state": "given", "appended": AT, "path": "m0/s" }),
            ),
            (
                State::Acknowledged { path: "m0/s".into() },
                1,
                // Its note may outlive the commit for a moment.
                Some("m0/s"),
                json!({ "state": "acknowledged", "at": AT, "path": "m0/s", "by": "broker" }),
            ),
            (
                State::Acknowledged { path: "m0/s".into() },
                0,
                None,
                json!({ "state": "acknowledged", "at": AT, "path": "m0/s", "by": "modem" }),
            ),
            (
                State::DeadLetter { reason: "poison".to_owned(), words: "why".to_owned() },
                1,
                None,
                json!({ "state": "dead_letter", "at": AT, "reason": "poison", "words": "why" }),
            ),
            (
                State::Dropped { reason: Reason::Age },
                1,
                None,
                json!({ "state": "dropped", "at": AT, "reason": "age" }),
            ),
        ];
        for (state, qos, given, mut expected) in cases {
            let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
            let receipt = of(&Trace { id, qos, state, at }, given);
            expected["id"] = json!(id.to_string());
            expected["qos"] = json!(qos);
            let written = serde_json::to_value(&receipt).unwrap();
            assert_eq!(written, expected);
            assert_eq!(serde_json::from_value::<Receipt>(written).unwrap(), receipt);
        }
    }

    const AT: &str = "1970-01-01T00:00:01.500Z";
}
