//! Unsolicited lines of a Quectel modem.

use at::Urc;
use modem::mqtt::{Client, NO_TOPIC, Received};
use modem::profile::{Listener, Notice};

use crate::code::loss_cause;

/// Lines without a `+` that a unit prints unsolicited.
pub(crate) const BARE_URCS: [&str; 5] =
    ["NORMAL POWER DOWN", "POWERED DOWN", "NO CARRIER", "BUSY", "NO ANSWER"];

/// Lines that a unit prints once it has booted.
pub(crate) const BOOTS: [&str; 1] = ["RDY"];

/// Reads URCs. It holds no state, since each message is a single piece.
#[derive(Debug)]
pub(crate) struct UrcListener;

impl Listener for UrcListener {
    fn hear(&mut self, urc: Urc) -> Option<Notice> {
        let Urc { line, data } = urc;
        let Some((name, rest)) = line.split_once(':') else { return bare(&line) };
        match name {
            "+QMTRECV" => message(rest, data),
            "+QMTSTAT" => lost(rest),
            "+QIURC" if rest.contains("\"pdpdeact\",1") => Some(Notice::ServiceLost),
            "+QIND" if matches!(rest.trim(), "SMS DONE" | "PB DONE") => Some(Notice::BootDone),
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

/// Reads `<client>,<msgid>,"<topic>",<length>` and the payload that was cut by that length. Without the length
/// the payload is in the line. With `<client>,<slot>` alone the modem keeps the message.
fn message(rest: &str, data: Option<Vec<u8>>) -> Option<Notice> {
    let (index, rest) = rest.split_once(',')?;
    let client = client(index)?;
    if let Ok(slot) = rest.trim().parse()
        && data.is_none()
    {
        return Some(Notice::Pending { client, slot });
    }
    let (_, rest) = rest.split_once(',')?;
    let quoted = rest.trim().strip_prefix('"')?;
    let (topic, payload) = match data {
        Some(payload) => (quoted.rsplit_once("\",")?.0, payload),
        None => match bare_message(quoted) {
            Some(message) => message,
            None => return Some(Notice::Damaged(LOST)),
        },
    };
    Some(match Received::in_line(topic, payload) {
        Some(message) => Notice::Message { client, message },
        None => Notice::Damaged(NO_TOPIC),
    })
}

/// The length was wrong, or the end is unknown for want of a length.
const LOST: &str = "a received message is lost: it differs from its announcement, or has no length";

/// Returns the topic and the payload of `<topic>","<payload>"`. The topic is taken to hold no quotation mark,
/// as no filter of ours does. A payload that is not text did not arrive as it was sent. A payload that
/// continues in another line does not end with the mark.
fn bare_message(quoted: &str) -> Option<(&str, Vec<u8>)> {
    let (topic, payload) = quoted.strip_suffix('"')?.split_once("\",\"")?;
    (!payload.contains('\u{fffd}')).then(|| (topic, payload.as_bytes().to_vec()))
}

/// Reads `<client>,<cause>`.
fn lost(rest: &str) -> Option<Notice> {
    let (index, cause) = rest.split_once(',')?;
    let (cause, by_broker) = loss_cause(cause.trim().parse().ok())?;
    Some(Notice::Lost { client: client(index)?, cause, by_broker })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(line: &str, data: Option<&[u8]>) -> Option<Notice> {
        UrcListener.hear(Urc { line: line.to_owned(), data: data.map(<[u8]>::to_vec) })
    }

    /// The engine puts U+FFFD into a line for bytes that are not UTF-8.
    #[test]
    fn a_topic_that_is_no_text_is_no_topic() {
        let damaged = Some(Notice::Damaged(NO_TOPIC));
        assert_eq!(hear("+QMTRECV: 3,0,\"a\u{fffd}\",4", Some(b"\xff\xfe\0\x01")), damaged);
        assert_eq!(hear("+QMTRECV: 3,0,\"\u{fffd}/b\",\"text\"", None), damaged);
    }

    #[test]
    fn a_message_keeps_quotes_and_commas() {
        let heard = hear("+QMTRECV: 3,0,\"a,\"b\",c\",4", Some(b"\",5\""));
        let message = Received { topic: "a,\"b\",c".to_owned(), payload: b"\",5\"".to_vec() };
        assert_eq!(heard, Some(Notice::Message { client: Client(3), message }));
        for torn in ["+QMTRECV: 0", "+QMTRECV: 0,1", "+QMTRECV: x,1,\"t\",1", "+QMTRECV:"] {
            assert_eq!(hear(torn, Some(b"x")), None, "{torn}");
        }
    }

    #[test]
    fn a_message_without_its_length_is_taken_where_its_end_is_known() {
        for (line, topic, payload) in [
            ("+QMTRECV: 0,1,\"topic\",\"payload\"", "topic", "payload"),
            ("+QMTRECV: 0,0,\"t\",\"{\"a\":\"b\",\"c\":1}\"", "t", "{\"a\":\"b\",\"c\":1}"),
            ("+QMTRECV: 0,0,\"t\",\"\"", "t", ""),
        ] {
            let (topic, payload) = (topic.to_owned(), payload.as_bytes().to_vec());
            let message = Received { topic, payload };
            let client = Client(0);
            assert_eq!(hear(line, None), Some(Notice::Message { client, message }), "{line}");
        }
        for damaged in [
            "+QMTRECV: 0,1,\"t\",5",
            "+QMTRECV: 0,1,\"topic\",\"{",
            "+QMTRECV: 0,1,\"topic\",bare",
            "+QMTRECV: 0,1,\"topic\",23",
            "+QMTRECV: 0,1,\"topic\"",
            "+QMTRECV: 0,1,\"topic\",\"\u{fffd}\"",
        ] {
            assert_eq!(hear(damaged, None), Some(Notice::Damaged(LOST)), "{damaged}");
        }
    }

    #[test]
    fn a_message_that_the_modem_keeps_is_told_with_its_place() {
        let kept = Some(Notice::Pending { client: Client(1), slot: 4 });
        assert_eq!(hear("+QMTRECV: 1,4", None), kept);
        for nothing in ["+QMTRECV: 1,-1", "+QMTRECV: 1,300", "+QMTRECV: 1,", "+QMTRECV: x,1"] {
            assert_eq!(hear(nothing, None), None, "{nothing}");
        }
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
