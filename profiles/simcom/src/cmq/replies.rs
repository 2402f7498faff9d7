//! The lines of `AT+CMQ…` as values (SIM7020 manual V1.05 ch. 11).

use modem::reply::{Args, ReplyError};
use serde_json::{Value, json};

use super::hex;

/// A received message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Incoming {
    pub(super) client: u8,
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    qos: u8,
    retain: bool,
    dup: bool,
}

/// Reads `+CMQPUB: <id>,"<topic>",<qos>,<retained>,<dup>,<length>,"<digits>"`. The line is read from its end,
/// since quotation marks and commas in a topic are not escaped. A line whose length does not fit is not a
/// message.
pub(super) fn message(line: &str) -> Option<Incoming> {
    let (client, rest) = line.strip_prefix("+CMQPUB:")?.split_once(',')?;
    let rest = rest.trim().strip_prefix('"')?.strip_suffix('"')?;
    let (head, digits) = rest.rsplit_once('"')?;
    let mut fields = head.trim_end().strip_suffix(',')?.rsplitn(5, ',').map(str::trim);
    let length: usize = fields.next()?.parse().ok()?;
    let (dup, retain, qos) = (fields.next()?, fields.next()?, fields.next()?);
    let topic = fields.next()?.strip_suffix('"')?.to_owned();
    if length != digits.len() {
        return None;
    }
    Some(Incoming {
        client: client.trim().parse().ok()?,
        topic,
        payload: hex::bytes(digits)?,
        qos: qos.parse().ok().filter(|qos| *qos <= 2)?,
        retain: flag(retain)?,
        dup: flag(dup)?,
    })
}

fn flag(text: &str) -> Option<bool> {
    match text {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

/// Returns the client of `+CMQNEW: <id>`.
pub(super) fn created(line: &str) -> Option<u8> {
    line.strip_prefix("+CMQNEW:")?.trim().parse().ok()
}

/// Reports whether `+CMQNEW: <id>,<used>,<server>` shows a free client.
pub(super) fn is_free(line: &str) -> bool {
    let used = line.strip_prefix("+CMQNEW:").and_then(|rest| rest.split(',').nth(1));
    used.is_some_and(|used| used.trim() == "0")
}

/// Reports whether the answer to a query of a setting is 1.
pub(super) fn is_on(line: &str) -> bool {
    line.split_once(':').is_some_and(|(_, told)| told.trim() == "1")
}

/// Returns the last line with this name: an answer or unsolicited, with `OK` and echo around it or not.
fn last<'a>(prefix: &'static str, raw: &'a str) -> Result<&'a str, ReplyError> {
    let lines = raw.split(['\r', '\n']).map(str::trim);
    let mut own =
        lines.filter(|line| line.strip_prefix(prefix).is_some_and(|r| r.starts_with(':')));
    own.next_back().ok_or(ReplyError::Missing { command: prefix, wanted: "line of its own" })
}

fn args<'a>(prefix: &'static str, raw: &'a str) -> Result<Args<'a>, ReplyError> {
    let line = last(prefix, raw)?;
    Args::of_line(prefix, prefix, line)
        .ok_or(ReplyError::Missing { command: prefix, wanted: "line of its own" })
}

/// Decodes `+CMQPUB` for `profiles decode`; a payload that is text is shown as text.
pub(crate) fn decode_message(raw: &str) -> Result<Value, ReplyError> {
    let line = last("+CMQPUB", raw)?;
    let message = message(line).ok_or(ReplyError::Argument {
        command: "+CMQPUB",
        argument: "message",
        expected: "as many hexadecimal digits as its length says",
        got: modem::reply::Excerpt::new(line),
    })?;
    let Incoming { client, topic, payload, qos, retain, dup } = message;
    let mut value = json!({
        "kind": "message", "client": client, "topic": topic, "qos": qos, "retain": retain, "dup": dup,
        "bytes": payload.len(), "payload_hex": hex::digits(&payload),
    });
    if let (Ok(text), Some(object)) = (String::from_utf8(payload), value.as_object_mut()) {
        object.insert("payload_text".to_owned(), json!(text));
    }
    Ok(value)
}

/// Decodes `+CMQDISCON: <id>`.
pub(crate) fn decode_loss(raw: &str) -> Result<Value, ReplyError> {
    let client = args("+CMQDISCON", raw)?.uint(0, "mqtt_id", 0)?;
    Ok(json!({ "kind": "connection_lost", "client": client }))
}

/// Decodes `+CMQNEW: <id>` or `+CMQNEW: <id>,<used>,<server>`, and the same forms of `+CMQCON`.
pub(crate) fn decode_client(prefix: &'static str, raw: &str) -> Result<Value, ReplyError> {
    let args = args(prefix, raw)?;
    let mut value = json!({ "client": args.uint(0, "mqtt_id", 0)? });
    if args.len() > 1
        && let Some(object) = value.as_object_mut()
    {
        let word = if prefix == "+CMQNEW" { "used" } else { "connected" };
        object.insert(word.to_owned(), json!(args.uint(1, "state", 1)? == 1));
        let server = args.text(2).filter(|server| *server != "null");
        object.extend(server.map(|server| ("server".to_owned(), json!(server))));
    }
    Ok(value)
}

/// Decodes `+CMQTSYNC: <n>` and `+CREVHEX: <n>`.
pub(crate) fn decode_setting(prefix: &'static str, raw: &str) -> Result<Value, ReplyError> {
    Ok(json!({ "on": args(prefix, raw)?.uint(0, "n", 1)? == 1 }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_topic_may_hold_commas_and_marks_and_a_payload_anything() {
        let line = "+CMQPUB: 0,\"a,\"b\",c\",1,1,0,8,\"0D0A4F4B\"";
        let heard = message(line).unwrap();
        assert_eq!((heard.topic.as_str(), heard.payload.as_slice()), ("a,\"b\",c", &b"\r\nOK"[..]));
        assert_eq!((heard.client, heard.qos, heard.retain, heard.dup), (0, 1, true, false));
        let empty = message("+CMQPUB: 0,\"t\",0,0,0,0,\"\"").unwrap();
        assert_eq!(empty.payload, b"");
        for torn in [
            "+CMQPUB: 0,\"t\",0,0,0,4,\"4F\"",
            "+CMQPUB: 0,\"t\",0,0,0,3,\"4F4\"",
            "+CMQPUB: 0,\"t\",0,0,0,2,\"hi\"",
            "+CMQPUB: 0,\"t\",0,0,0,2,4F",
            "+CMQPUB: 0,\"t\",3,0,0,2,\"4F\"",
            "+CMQPUB: 0,\"t\",0,0,2,\"4F\"",
            "+CMQPUB: 300,\"t\",0,0,0,2,\"4F\"",
            "+CMQPUB: 0,\"t",
            "+CMQPUB:",
            "",
        ] {
            assert_eq!(message(torn), None, "{torn}");
        }
    }

    #[test]
    fn clients_and_settings() {
        assert_eq!(created("+CMQNEW: 0"), Some(0));
        assert_eq!(created("+CMQNEW: 0,1,\"h\""), None);
        assert!(is_free("+CMQNEW: 0,0,null"));
        assert!(!is_free("+CMQNEW: 0,1,\"h\"") && !is_free("+CMQNEW: 0"));
        assert!(is_on("+CMQTSYNC: 1") && !is_on("+CMQTSYNC: 0") && !is_on("+CREVHEX: 11"));
        let used = decode_client("+CMQNEW", "+CMQNEW: 0,1,\"h\"\r\n\r\nOK").unwrap();
        assert_eq!(used, json!({ "client": 0, "used": true, "server": "h" }));
        let free = decode_client("+CMQCON", "AT+CMQCON?\r\r\n+CMQCON: 0,0,null\r\nOK").unwrap();
        assert_eq!(free, json!({ "client": 0, "connected": false }));
        assert_eq!(decode_setting("+CREVHEX", "+CREVHEX: 1").unwrap(), json!({ "on": true }));
        assert!(decode_setting("+CREVHEX", "+CREVHEX: 2").is_err());
        assert!(decode_loss("+CMQDISCON: 1").is_err());
        assert!(decode_message("+CMQPUB: 0,\"t\",0,0,0,2,\"hi\"").is_err());
        let told = decode_message("+CMQPUB: 0,\"t\",0,0,0,4,\"4F4E\"").unwrap();
        assert_eq!(told["payload_text"], json!("ON"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

        #[test]
        fn no_line_makes_a_reader_panic(text in "\\PC{0,60}") {
            let _ = message(&format!("+CMQPUB: {text}"));
            let _ = message(&format!("+CMQPUB: 0,\"t\",0,0,0,{text}\""));
            let _ = decode_client("+CMQNEW", &format!("+CMQNEW: {text}"));
        }
    }
}
