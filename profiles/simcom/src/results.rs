//! The result lines of `AT+CMQTT…` as values, for `profiles decode`: `+CMQTTSTART: 0`, `+CMQTTCONNECT: 0,32`.

use modem::reply::{Args, ReplyError};
use serde_json::{Map, Value, json};

use crate::code;

/// Reads the line of the operation that ends the service's own (`<err>`).
pub(crate) fn service(prefix: &'static str, raw: &str) -> Result<Value, ReplyError> {
    let args = line(prefix, raw, 1)?;
    let err = args.uint(0, "err", u32::from(u16::MAX))?;
    Ok(Value::Object(meaning(err)))
}

/// Reads the line of an operation of one client (`<client>,<err>`).
pub(crate) fn client(prefix: &'static str, raw: &str) -> Result<Value, ReplyError> {
    let args = line(prefix, raw, 2)?;
    let client = args.uint(0, "client_index", 1)?;
    let err = args.uint(1, "err", u32::from(u16::MAX))?;
    let mut object = meaning(err);
    object.insert("client".to_owned(), json!(client));
    Ok(Value::Object(object))
}

/// Returns the last such line: it may be before or after `OK` or `ERROR`. A line with more arguments is another
/// line, such as the answer to `AT+CMQTTCONNECT?`, or two that ran together.
fn line<'a>(prefix: &'static str, raw: &'a str, arguments: usize) -> Result<Args<'a>, ReplyError> {
    let lines = raw.split(['\r', '\n']).filter_map(|line| Args::of_line(prefix, prefix, line));
    let mut lines = lines.filter(|args| args.len() <= arguments);
    lines.next_back().ok_or(ReplyError::Missing { command: prefix, wanted: "line of its own" })
}

fn meaning(err: u32) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("kind".to_owned(), json!("result_urc"));
    object.insert("err".to_owned(), json!(err));
    let known = i32::try_from(err).ok().and_then(code::named);
    object.extend(known.map(|code| ("meaning".to_owned(), json!(code.name))));
    object
}
