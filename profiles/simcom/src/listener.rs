//! Unsolicited lines of a SIMCom modem (manual V3.00 p. 366-367; boot lines from transcripts).

use std::collections::BTreeMap;

use at::Urc;
use modem::mqtt::{Client, NO_TOPIC, Received};
use modem::profile::{Listener, Notice};

use crate::code::{NO_PING, loss_cause};

/// The longest payload that a stack asks for at a prompt (manual V3.00 p. 357).
pub(crate) const MAX_PAYLOAD: usize = 10_240;

/// The longest topic and payload of a received message. The manual names 1,024 and 10,240 bytes (V3.00 p. 367);
/// a unit that announces more and delivers it is believed.
const LONGEST: usize = 64 * 1024;

const DAMAGED: &str = "a received message is lost: it differs from its announcement";
const IN_PART: &str = "a received message is lost: it is incomplete";
const TOO_LONG: &str = "a received message is lost: it is too long";

/// Lines without a `+` that a unit prints unsolicited.
pub(crate) const BARE_URCS: [&str; 9] = [
    "SMS DONE",
    "PB DONE",
    "NORMAL POWER DOWN",
    "POWER DOWN",
    "UNDER-VOLTAGE",
    "OVER-VOLTAGE",
    "NO CARRIER",
    "BUSY",
    "NO ANSWER",
];

/// Lines that a unit prints once it has booted.
pub(crate) const BOOTS: [&str; 2] = ["RDY", "*ATREADY"];

/// Reads URCs, and puts a message together from its pieces.
#[derive(Debug, Default)]
pub(crate) struct UrcListener {
    incoming: BTreeMap<u8, Incoming>,
}

/// A message that is still coming in.
#[derive(Debug, Default)]
struct Incoming {
    /// True if the message is lost and the loss is reported: its pieces are skipped.
    is_lost: bool,
    topic_total: usize,
    payload_total: usize,
    topic: Vec<u8>,
    payload: Vec<u8>,
}

impl Listener for UrcListener {
    fn hear(&mut self, urc: Urc) -> Option<Notice> {
        let line = urc.line.as_str();
        let Some((name, rest)) = line.split_once(':') else { return bare(line) };
        let numbers: Vec<Option<usize>> =
            rest.split(',').map(|arg| arg.trim().parse().ok()).collect();
        let number = |at: usize| numbers.get(at).copied().flatten();
        let index = number(0).and_then(|index| u8::try_from(index).ok());
        match name {
            "+CMQTTCONNLOST" => {
                let (cause, by_broker) =
                    loss_cause(number(1).and_then(|cause| i32::try_from(cause).ok()));
                Some(Notice::Lost { client: Client(index?), cause, by_broker })
            }
            "+CMQTTPING" => {
                Some(Notice::Lost { client: Client(index?), cause: NO_PING, by_broker: false })
            }
            "+CMQTTRXSTART" => self.begin(index?, number(1), number(2)),
            "+CMQTTRXTOPIC" | "+CMQTTRXPAYLOAD" => {
                self.piece(index?, name == "+CMQTTRXTOPIC", urc.data)
            }
            "+CMQTTRXEND" => self.incoming.remove(&index?)?.end(index?),
            "+CMQTTRECV" => in_one_line(index?, rest, urc.data),
            "+SIMCARD" => Some(Notice::Warning(line.to_owned())),
            "*ATREADY" => Some(Notice::Booted),
            _ => Notice::standard(line),
        }
    }
}

pub(crate) fn bare(line: &str) -> Option<Notice> {
    match line {
        "RDY" => Some(Notice::Booted),
        "+CMQTTNONET" => Some(Notice::ServiceLost),
        "SMS DONE" | "PB DONE" => Some(Notice::BootDone),
        _ if line.contains("VOLTAGE") || line.contains("POWER DOWN") => {
            Some(Notice::Warning(line.to_owned()))
        }
        _ => None,
    }
}

/// Reads `<client>,"<topic>",<length>,"<payload>"`, whose payload was cut by that length (A76xx, "argtopic").
/// Without the length, the end of a payload that holds a quotation mark is unknown.
fn in_one_line(index: u8, rest: &str, data: Option<Vec<u8>>) -> Option<Notice> {
    let Some(payload) = data else { return Some(Notice::Damaged(DAMAGED)) };
    let (_, rest) = rest.split_once(',')?;
    let (topic, _) = rest.trim().strip_prefix('"')?.rsplit_once("\",")?;
    Some(notice(index, Received::in_line(topic, payload)))
}

/// Returns the message, or its loss if it has no topic.
pub(crate) fn notice(index: u8, message: Option<Received>) -> Notice {
    match message {
        Some(message) => Notice::Message { client: Client(index), message },
        None => Notice::Damaged(NO_TOPIC),
    }
}

impl UrcListener {
    /// Begins a message. The rest of the message before it will not come any more.
    fn begin(&mut self, index: u8, topic: Option<usize>, payload: Option<usize>) -> Option<Notice> {
        let is_known = |total: Option<usize>| total.is_some_and(|total| total <= LONGEST);
        let is_lost = !is_known(topic) || !is_known(payload);
        let incoming = Incoming {
            is_lost,
            topic_total: topic.unwrap_or_default(),
            payload_total: payload.unwrap_or_default(),
            ..Incoming::default()
        };
        let before = self.incoming.insert(index, incoming).and_then(|before| before.end(index));
        before.or_else(|| is_lost.then_some(Notice::Damaged(TOO_LONG)))
    }

    /// Adds a piece; a piece without data was damaged. A piece without a beginning belongs to a lost message.
    fn piece(&mut self, index: u8, is_topic: bool, data: Option<Vec<u8>>) -> Option<Notice> {
        let Some(incoming) = self.incoming.get_mut(&index) else {
            self.incoming.insert(index, Incoming::lost());
            return Some(Notice::Damaged(IN_PART));
        };
        if incoming.is_lost {
            return None;
        }
        let (part, total) = if is_topic {
            (&mut incoming.topic, incoming.topic_total)
        } else {
            (&mut incoming.payload, incoming.payload_total)
        };
        match data {
            Some(data) if part.len() + data.len() <= total => {
                part.extend(data);
                None
            }
            Some(_) | None => {
                *incoming = Incoming::lost();
                Some(Notice::Damaged(DAMAGED))
            }
        }
    }
}

impl Incoming {
    /// Returns a message whose loss was reported already.
    fn lost() -> Self {
        Self { is_lost: true, ..Self::default() }
    }

    /// Returns the notice for a message after its last piece.
    fn end(self, index: u8) -> Option<Notice> {
        let Self { is_lost, topic_total, payload_total, topic, payload } = self;
        if is_lost {
            return None;
        }
        if topic.len() != topic_total || payload.len() != payload_total {
            return Some(Notice::Damaged(IN_PART));
        }
        Some(notice(index, Received::in_bytes(topic, payload)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(lines: &[(&str, &[u8])]) -> Vec<Notice> {
        let mut listener = UrcListener::default();
        let urc = |(line, data): &(&str, &[u8])| Urc {
            line: (*line).to_owned(),
            data: Some(data.to_vec()),
        };
        lines.iter().filter_map(|line| listener.hear(urc(line))).collect()
    }

    fn message(topic: &str, payload: &[u8]) -> Notice {
        let message = Received { topic: topic.to_owned(), payload: payload.to_vec() };
        Notice::Message { client: Client(0), message }
    }

    #[test]
    fn a_message_of_two_pieces_and_one_without_payload() {
        // The pieces of a real unit: 1,500 bytes and 20.
        let long = vec![7; 1_520];
        let heard = hear(&[
            ("+CMQTTRXSTART: 0,22,1520", b""),
            ("+CMQTTRXTOPIC: 0,22", b"charger/id001/commands"),
            ("+CMQTTRXPAYLOAD: 0,1500", long.get(..1_500).unwrap()),
            ("+CMQTTRXPAYLOAD: 0,20", long.get(1_500..).unwrap()),
            ("+CMQTTRXEND: 0", b""),
            ("+CMQTTRXSTART: 0,1,0", b""),
            ("+CMQTTRXTOPIC: 0,1", b"t"),
            ("+CMQTTRXEND: 0", b""),
        ]);
        assert_eq!(heard, [message("charger/id001/commands", &long), message("t", b"")]);
    }

    #[test]
    fn a_message_in_part_is_dropped_and_the_next_one_is_whole() {
        let heard = hear(&[
            ("+CMQTTRXSTART: 0,1,9", b""),
            ("+CMQTTRXTOPIC: 0,1", b"t"),
            ("+CMQTTRXPAYLOAD: 0,4", b"half"),
            ("+CMQTTRXSTART: 0,1,2", b""),
            ("+CMQTTRXTOPIC: 0,1", b"t"),
            ("+CMQTTRXPAYLOAD: 0,2", b"ok"),
            ("+CMQTTRXEND: 0", b""),
            ("+CMQTTRXEND: 0", b""),
            ("+CMQTTRXSTART: 0,1,99999999", b""),
            ("+CMQTTRXEND: 0", b""),
        ]);
        let (in_part, too_long) = (Notice::Damaged(IN_PART), Notice::Damaged(TOO_LONG));
        assert_eq!(heard, [in_part, message("t", b"ok"), too_long]);
    }

    #[test]
    fn one_damaged_piece_damages_its_message_once_and_no_other() {
        const START: &str = "+CMQTTRXSTART: 0,1,6";
        let whole = [(START, Some("")), ("+CMQTTRXTOPIC: 0,1", Some("t"))];
        let pieces = [("+CMQTTRXPAYLOAD: 0,3", Some("abc")), ("+CMQTTRXPAYLOAD: 0,3", Some("def"))];
        let end = ("+CMQTTRXEND: 0", Some(""));
        let of = |parts: &[(&str, Option<&str>)]| {
            let mut listener = UrcListener::default();
            let all = parts.iter().chain(&whole).chain(&pieces).chain([&end]);
            let heard = all.filter_map(|(line, data)| {
                let data = data.map(|data| data.as_bytes().to_vec());
                listener.hear(Urc { line: (*line).to_owned(), data })
            });
            heard.collect::<Vec<_>>()
        };
        let ([first, second], [start, topic]) = (pieces, whole);
        let (torn_topic, torn) = ((topic.0, None), (first.0, None));
        let next = || message("t", b"abcdef");
        for (case, parts, how) in [
            ("its topic", vec![start, torn_topic, first, second, end], DAMAGED),
            ("its first piece", vec![start, topic, torn, second, end], DAMAGED),
            ("its last piece, without an end", vec![start, topic, first, torn], DAMAGED),
            ("two pieces", vec![start, topic, torn, torn, end], DAMAGED),
            ("a piece too many", vec![start, topic, first, second, second, end], DAMAGED),
            ("a piece that is missing", vec![start, topic, second, end], IN_PART),
            ("its beginning", vec![topic, first, second, end], IN_PART),
        ] {
            assert_eq!(of(&parts), [Notice::Damaged(how), next()], "{case}");
        }
        // All announced bytes arrived; only the line that ends the message is missing.
        assert_eq!(of(&[start, topic, first, second]), [next(), next()]);
    }

    #[test]
    fn a_topic_that_is_no_text_is_no_topic_and_is_never_made_one() {
        let heard = hear(&[
            ("+CMQTTRXSTART: 0,3,1", b""),
            ("+CMQTTRXTOPIC: 0,3", b"a\xff\xfe"),
            ("+CMQTTRXPAYLOAD: 0,1", b"\xff"),
            ("+CMQTTRXEND: 0", b""),
            ("+CMQTTRXSTART: 0,3,1", b""),
            // The replacement character is text if a broker sent it.
            ("+CMQTTRXTOPIC: 0,3", "\u{fffd}".as_bytes()),
            ("+CMQTTRXPAYLOAD: 0,1", b"\xff"),
            ("+CMQTTRXEND: 0", b""),
            // The engine does not report whether the topic of such a line was valid.
            ("+CMQTTRECV: 0,\"a\u{fffd}\",1,", b"x"),
        ]);
        let damaged = || Notice::Damaged(NO_TOPIC);
        assert_eq!(heard, [damaged(), message("\u{fffd}", b"\xff"), damaged()]);
    }

    /// A message may be longer than the manual's maximum.
    #[test]
    fn a_message_longer_than_the_manual_allows_is_delivered() {
        let long = vec![7; 12_000];
        let heard = hear(&[
            ("+CMQTTRXSTART: 0,1,12000", b""),
            ("+CMQTTRXTOPIC: 0,1", b"t"),
            ("+CMQTTRXPAYLOAD: 0,12000", &long),
            ("+CMQTTRXEND: 0", b""),
        ]);
        assert_eq!(heard, [message("t", &long)]);
    }

    #[test]
    fn a_message_in_one_line_has_its_length_or_is_lost() {
        let heard = hear(&[
            ("+CMQTTRECV: 0,\"t,\"a\",1\",3,", b"\",\""),
            ("+CMQTTRECV: 0,\"t\",0,", b""),
            ("+CMQTTRECV: 0", b"x"),
            ("+CMQTTRECV: 300,\"t\",1,", b"x"),
        ]);
        assert_eq!(heard, [message("t,\"a\",1", b"\",\""), message("t", b"")]);
        let bare = Urc { line: "+CMQTTRECV: 0,\"t\",\"hi\"".to_owned(), data: None };
        assert_eq!(UrcListener::default().hear(bare), Some(Notice::Damaged(DAMAGED)));
    }

    #[test]
    fn losses_boots_and_warnings() {
        let client = Client(1);
        let cause = "the broker closed the connection (cause 1)";
        assert_eq!(
            hear(&[("+CMQTTCONNLOST: 1,1", b"")]),
            [Notice::Lost { client, cause, by_broker: true }]
        );
        assert_eq!(
            hear(&[("RDY", b""), ("+CMQTTNONET", b"")]),
            [Notice::Booted, Notice::ServiceLost]
        );
        assert!(matches!(
            hear(&[("UNDER-VOLTAGE WARNNING", b"")]).as_slice(),
            [Notice::Warning(_)]
        ));
        assert_eq!(hear(&[("+CPIN: SIM REMOVED", b"")]), [Notice::SimLost]);
        assert_eq!(
            hear(&[("+CPIN: READY", b""), ("SMS DONE", b""), ("+CMQTTCONNLOST: x", b"")]),
            [Notice::BootDone]
        );
        assert_eq!(hear(&[("+CMQTTCONNLOST: 300,1", b""), (":", b""), ("", b"")]), []);
    }
}
