//! Unsolicited lines of a SIM7020 (SIM7020 manual V1.05 §11.2.6, §11.2.7, §21.5).

use at::Urc;
use modem::mqtt::Client;
use modem::mqtt::Received;
use modem::profile::{Listener, Notice};

use super::replies::{self, Incoming};
use crate::listener::{bare, notice};

const NO_MESSAGE: &str = "a received message is lost: it cannot be read";

/// Lines without a `+` that a unit prints once it has booted; `RDY` comes with a fixed baud rate only.
pub(crate) const BOOTS: [&str; 2] = ["RDY", "*MATREADY"];

/// Reads URCs. It holds no state, since each message is a single line.
#[derive(Debug)]
pub(crate) struct UrcListener;

impl Listener for UrcListener {
    fn hear(&mut self, urc: Urc) -> Option<Notice> {
        let line = urc.line.as_str();
        let Some((name, rest)) = line.split_once(':') else { return bare(line) };
        match name {
            "+CMQPUB" => {
                let Some(Incoming { client, topic, payload, .. }) = replies::message(line) else {
                    return Some(Notice::Damaged(NO_MESSAGE));
                };
                Some(notice(client, Received::in_line(&topic, payload)))
            }
            // The line has no cause; the manual's guess is the broker. The loss counts against a message only
            // under the same rule as all losses by a broker: while registered, again and again, with others
            // acknowledged in between.
            "+CMQDISCON" => {
                let cause = "the connection ended; the modem gives no cause, and its manual suspects the broker";
                let client = Client(rest.trim().parse().ok()?);
                Some(Notice::Lost { client, cause, by_broker: true })
            }
            "*MATREADY" => Some(Notice::Booted),
            _ => Notice::standard(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use modem::mqtt::NO_TOPIC;

    use super::*;

    fn hear(line: &str) -> Option<Notice> {
        UrcListener.hear(Urc { line: line.to_owned(), data: None })
    }

    #[test]
    fn a_message_a_loss_a_boot_and_a_card_that_went() {
        let message = Received { topic: "led_set".to_owned(), payload: b"ON".to_vec() };
        let heard = hear("+CMQPUB: 0,\"led_set\",0,0,0,4,\"4F4E\"");
        assert_eq!(heard, Some(Notice::Message { client: Client(0), message }));
        let lost = hear("+CMQDISCON: 0");
        assert!(matches!(lost, Some(Notice::Lost { client: Client(0), by_broker: true, .. })));
        let bad = hear("+CMQPUB: 0,\"led_\u{fffd}\",0,0,0,4,\"4F4E\"");
        assert_eq!(bad, Some(Notice::Damaged(NO_TOPIC)));
        let bad = hear("+CMQPUB: 0,\"led_set\",0,0,0,6,\"4F4E\"");
        assert_eq!(bad, Some(Notice::Damaged(NO_MESSAGE)));
        for boot in ["RDY", "*MATREADY: 1"] {
            assert_eq!(hear(boot), Some(Notice::Booted), "{boot}");
        }
        assert_eq!(hear("+CPIN: NOT READY"), Some(Notice::SimLost));
        assert!(matches!(hear("+CEREG: 5"), Some(Notice::Registration(_))));
        assert!(matches!(hear("UNDER-VOLTAGE WARNNING"), Some(Notice::Warning(_))));
        for nothing in ["+CPIN: READY", "+CFUN: 1", "SMS Ready", "+CMQDISCON:", "+CMQDISCON: 300"] {
            assert_eq!(hear(nothing), None, "{nothing}");
        }
    }
}
