//! What a Quectel modem says unasked.

use at::Urc;
use modem::mqtt::Client;
use modem::observe::Received;
use modem::profile::{Listener, Notice};

/// The longest payload that is believed of a received message.
pub(crate) const MAX_RECEIVED: usize = 10_240;

/// Lines without a `+` that a unit prints unasked.
pub(crate) const BARE_URCS: [&str; 5] =
    ["NORMAL POWER DOWN", "POWERED DOWN", "NO CARRIER", "BUSY", "NO ANSWER"];

/// Lines that a unit prints once it has booted.
pub(crate) const BOOTS: [&str; 1] = ["RDY"];

/// Reads URCs. It holds no state: a message comes in one piece.
#[derive(Debug)]
pub(crate) struct Ears;

impl Listener for Ears {
    fn hear(&mut self, urc: Urc) -> Option<Notice> {
        let Urc { line, data } = urc;
        let Some((name, rest)) = line.split_once(':') else { return bare(&line) };
        match name {
            "+QMTRECV" => message(rest, data),
            "+QMTSTAT" => lost(rest),
            "+QIURC" if rest.contains("\"pdpdeact\",1") => Some(Notice::ServiceLost),
            "+QIND" if rest.contains("vbatt") => Some(Notice::Warning(line)),
            _ => Notice::standard(&line),
        }
    }
}

fn bare(line: &str) -> Option<Notice> {
    match line {
        "RDY" => Some(Notice::Booted),
        _ if line.contains("POWER") => Some(Notice::Warning(line.to_owned())),
        _ => None,
    }
}

fn client(argument: &str) -> Option<Client> {
    argument.trim().parse().ok().map(Client)
}

/// `<client>,<msgid>,"<topic>",<length>` and the payload that was cut by that length.
fn message(rest: &str, data: Option<Vec<u8>>) -> Option<Notice> {
    let Some(payload) = data else {
        tracing::warn!("a message came down without its length, and is lost");
        return None;
    };
    let (index, rest) = rest.split_once(',')?;
    let (_, rest) = rest.split_once(',')?;
    let (topic, _) = rest.trim().strip_prefix('"')?.rsplit_once("\",")?;
    let message = Received { topic: topic.to_owned(), payload };
    Some(Notice::Message { client: client(index)?, message })
}

/// `<client>,<cause>`. Causes 5 and 8 are ends that we asked for.
fn lost(rest: &str) -> Option<Notice> {
    let (index, cause) = rest.split_once(',')?;
    let (cause, by_broker) = match cause.trim() {
        "1" => ("the broker closed or reset the connection (cause 1)", true),
        "2" => ("the broker did not answer the modem's keep-alive (cause 2)", false),
        "3" => ("CONNECT could not be sent (cause 3)", false),
        "4" => ("the broker did not answer CONNECT (cause 4)", false),
        "5" | "8" => return None,
        "6" => ("packets could not be sent (cause 6)", false),
        "7" => ("the network closed (cause 7)", false),
        _ => ("the connection was lost for a cause that no manual names", false),
    };
    Some(Notice::Lost { client: client(index)?, cause, by_broker })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(line: &str, data: Option<&[u8]>) -> Option<Notice> {
        Ears.hear(Urc { line: line.to_owned(), data: data.map(<[u8]>::to_vec) })
    }

    #[test]
    fn a_message_keeps_quotes_and_commas() {
        let heard = hear("+QMTRECV: 3,0,\"a,\"b\",c\",4", Some(b"\",5\""));
        let message = Received { topic: "a,\"b\",c".to_owned(), payload: b"\",5\"".to_vec() };
        assert_eq!(heard, Some(Notice::Message { client: Client(3), message }));
        for torn in ["+QMTRECV: 0", "+QMTRECV: 0,1", "+QMTRECV: x,1,\"t\",1", "+QMTRECV:"] {
            assert_eq!(hear(torn, Some(b"x")), None, "{torn}");
        }
        assert_eq!(hear("+QMTRECV: 0,1", None), None);
    }

    #[test]
    fn losses_boots_and_ends_that_were_asked_for() {
        let Some(Notice::Lost { client, by_broker, .. }) = hear("+QMTSTAT: 2,1", None) else {
            panic!("no loss")
        };
        assert_eq!((client, by_broker), (Client(2), true));
        assert!(matches!(hear("+QMTSTAT: 0,2", None), Some(Notice::Lost { by_broker: false, .. })));
        for nothing in
            ["+QMTSTAT: 0,5", "+QMTSTAT: 0,8", "+QMTSTAT: 300,1", "+QMTSTAT:", "+CPIN: READY"]
        {
            assert_eq!(hear(nothing, None), None, "{nothing}");
        }
        assert_eq!(hear("RDY", None), Some(Notice::Booted));
        assert_eq!(hear("+QIURC: \"pdpdeact\",1", None), Some(Notice::ServiceLost));
        assert_eq!(hear("+CPIN: NOT READY", None), Some(Notice::SimLost));
    }
}
