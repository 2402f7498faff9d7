//! What a SIMCom modem says unasked (manual V3.00 p. 366-367; boot lines from transcripts).

use std::collections::BTreeMap;

use at::Urc;
use modem::mqtt::Client;
use modem::observe::Received;
use modem::profile::{Listener, Notice};

use crate::code::{NO_PING, loss_cause};

/// The longest topic and payload that a stack announces (manual V3.00 p. 367).
const MAX_TOPIC: usize = 1_024;
pub(crate) const MAX_PAYLOAD: usize = 10_240;

/// Lines without a `+` that a unit prints unasked.
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
pub(crate) struct Ears {
    incoming: BTreeMap<u8, Incoming>,
}

/// A message that is still coming in.
#[derive(Debug)]
struct Incoming {
    topic_total: usize,
    payload_total: usize,
    topic: Vec<u8>,
    payload: Vec<u8>,
}

impl Listener for Ears {
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
            "+CMQTTRXSTART" => {
                self.begin(index?, number(1), number(2));
                None
            }
            "+CMQTTRXTOPIC" | "+CMQTTRXPAYLOAD" => {
                let incoming = self.incoming.get_mut(&index?)?;
                let part = if name == "+CMQTTRXTOPIC" {
                    &mut incoming.topic
                } else {
                    &mut incoming.payload
                };
                part.extend(urc.data.unwrap_or_default());
                if incoming.topic.len() > incoming.topic_total
                    || incoming.payload.len() > incoming.payload_total
                {
                    tracing::warn!("a message came down longer than it was announced, and is lost");
                    self.incoming.remove(&index?);
                }
                None
            }
            "+CMQTTRXEND" => self.end(index?),
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

/// `<client>,"<topic>",<length>,"<payload>"`, whose payload was cut by that length (A76xx, "argtopic"). Without
/// the length nothing tells where a payload ends that holds a quotation mark.
fn in_one_line(index: u8, rest: &str, data: Option<Vec<u8>>) -> Option<Notice> {
    let Some(payload) = data else {
        tracing::warn!("a message came down without its length, and is lost");
        return None;
    };
    let (_, rest) = rest.split_once(',')?;
    let (topic, _) = rest.trim().strip_prefix('"')?.rsplit_once("\",")?;
    let message = Received { topic: topic.to_owned(), payload };
    Some(Notice::Message { client: Client(index), message })
}

impl Ears {
    /// A message begins. One that was not ended is dropped: its end will not come any more.
    fn begin(&mut self, index: u8, topic_total: Option<usize>, payload_total: Option<usize>) {
        let (Some(topic_total), Some(payload_total)) = (topic_total, payload_total) else { return };
        if topic_total > MAX_TOPIC || payload_total > MAX_PAYLOAD {
            tracing::warn!(
                topic_total,
                payload_total,
                "the modem announces a message beyond its own limits"
            );
            return;
        }
        let incoming =
            Incoming { topic_total, payload_total, topic: Vec::new(), payload: Vec::new() };
        if self.incoming.insert(index, incoming).is_some() {
            tracing::warn!("a message came down in part and is lost");
        }
    }

    fn end(&mut self, index: u8) -> Option<Notice> {
        let Incoming { topic_total, payload_total, topic, payload } =
            self.incoming.remove(&index)?;
        if topic.len() != topic_total || payload.len() != payload_total {
            tracing::warn!(
                announced = payload_total,
                came = payload.len(),
                "a message came down in part and is lost"
            );
            return None;
        }
        let topic = String::from_utf8_lossy(&topic).into_owned();
        Some(Notice::Message { client: Client(index), message: Received { topic, payload } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(lines: &[(&str, &[u8])]) -> Vec<Notice> {
        let mut ears = Ears::default();
        let urc = |(line, data): &(&str, &[u8])| Urc {
            line: (*line).to_owned(),
            data: Some(data.to_vec()),
        };
        lines.iter().filter_map(|line| ears.hear(urc(line))).collect()
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
        assert_eq!(heard, [message("t", b"ok")]);
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
        assert_eq!(Ears::default().hear(bare), None);
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
