//! Raw replies to JSON, by command: the output of `profiles decode` for the standard's own
//! commands.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    CmeError, CmsError, Domain, Registration, ReplyError, body, cesq, clock, context_addresses,
    contexts, contexts_active, contexts_dynamic, csq, iccid, imsi, manufacturer, model, operator,
    pin, pin_refused, revision, serial, solicited, unsolicited,
};

/// Turns the raw text of a reply (echo, blank lines, URCs and final result code included) into JSON.
pub type Decoder = fn(&str) -> Result<Value, ReplyError>;

/// The standard's commands and unsolicited lines, in the spelling of the command line.
pub const DECODERS: &[(&str, Decoder)] = &[
    ("AT+CSQ", |raw| value(csq(&body("AT+CSQ", raw)?)?)),
    ("AT+CESQ", |raw| value(cesq(&body("AT+CESQ", raw)?)?)),
    ("AT+CREG?", |raw| answer(Domain::Cs, raw)),
    ("AT+CGREG?", |raw| answer(Domain::Ps, raw)),
    ("AT+CEREG?", |raw| answer(Domain::Eps, raw)),
    ("AT+C5GREG?", |raw| answer(Domain::FiveGs, raw)),
    ("+CREG", |raw| urc(Domain::Cs, raw)),
    ("+CGREG", |raw| urc(Domain::Ps, raw)),
    ("+CEREG", |raw| urc(Domain::Eps, raw)),
    ("+C5GREG", |raw| urc(Domain::FiveGs, raw)),
    ("AT+COPS?", |raw| value(operator(&body("AT+COPS?", raw)?)?)),
    ("AT+CPIN?", pin_value),
    ("+CPIN", pin_urc),
    ("AT+CGDCONT?", |raw| list(contexts(&body("AT+CGDCONT?", raw)?)?)),
    ("AT+CGACT?", |raw| list(contexts_active(&body("AT+CGACT?", raw)?)?)),
    ("AT+CGPADDR", |raw| one_or_list(&context_addresses(&body("AT+CGPADDR", raw)?)?)),
    ("AT+CGCONTRDP", |raw| one_or_list(&contexts_dynamic(&body("AT+CGCONTRDP", raw)?)?)),
    ("AT+CCLK?", |raw| value(clock(&body("AT+CCLK?", raw)?)?)),
    ("AT+CGSN", serial_value),
    ("AT+GSN", serial_value),
    ("AT+CIMI", |raw| Ok(json!({ "imsi": imsi(&body("AT+CIMI", raw)?)? }))),
    ("AT+CCID", |raw| card("AT+CCID", raw)),
    ("AT+ICCID", |raw| card("AT+ICCID", raw)),
    ("AT+CGMI", manufacturer_value),
    ("AT+GMI", manufacturer_value),
    ("AT+CGMM", |raw| value(model(&body("AT+CGMM", raw)?)?)),
    ("AT+GMM", |raw| value(model(&body("AT+GMM", raw)?)?)),
    ("AT+CGMR", revision_value),
    ("AT+GMR", revision_value),
    ("+CME ERROR", cme_value),
    ("+CMS ERROR", cms_value),
];

/// Returns the decoder of `command` in a table. Case and spaces around it do not count, and neither
/// does the text after an equals sign, unless the table has just that. So `AT+CGPADDR=1` is decoded
/// as `AT+CGPADDR`.
pub fn decoder(table: &[(&str, Decoder)], command: &str) -> Option<Decoder> {
    let (whole, name) = (command.trim(), command.split('=').next().unwrap_or_default().trim());
    let find = |wanted: &str| table.iter().find(|(known, _)| known.eq_ignore_ascii_case(wanted));
    find(whole).or_else(|| find(name)).map(|(_, decoder)| *decoder)
}

/// Returns a reply as JSON without unknown values. Our types have string keys and finite numbers
/// only, so this does not fail. An empty object stands for a failure.
pub fn value(reply: impl Serialize) -> Result<Value, ReplyError> {
    let mut value = serde_json::to_value(reply).unwrap_or_else(|_| Value::Object(Map::new()));
    drop_unknown(&mut value);
    Ok(value)
}

/// Removes every key whose value is null. The depth is that of our types, which no modem chooses.
fn drop_unknown(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, value| !value.is_null());
            object.values_mut().for_each(drop_unknown);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_unknown),
        _ => {}
    }
}

fn list(rows: impl Serialize) -> Result<Value, ReplyError> {
    Ok(json!({ "contexts": value(rows)? }))
}

fn answer(domain: Domain, raw: &str) -> Result<Value, ReplyError> {
    registration("response", &solicited(domain, &body(domain.query(), raw)?)?)
}

fn urc(domain: Domain, raw: &str) -> Result<Value, ReplyError> {
    let lines = body(domain.prefix(), raw)?;
    let line = lines
        .iter()
        .find(|line| super::args::after_prefix(domain.prefix(), line).is_some())
        .ok_or(ReplyError::Missing { command: domain.prefix(), wanted: "line of its own" })?;
    registration("urc", &unsolicited(domain, line)?)
}

fn registration(kind: &str, registration: &Registration) -> Result<Value, ReplyError> {
    let mut object = value(registration)?;
    if let Some(object) = object.as_object_mut() {
        object.insert("kind".to_owned(), json!(kind));
    }
    Ok(object)
}

/// Returns the state of the SIM. An error is an answer here: a modem without a SIM reports one.
fn pin_value(raw: &str) -> Result<Value, ReplyError> {
    match body("AT+CPIN?", raw) {
        Ok(lines) => value(pin(&lines)?),
        Err(ReplyError::Refused { command, result }) => match CmeError::of_line(result.as_str()) {
            Ok(error) => value(pin_refused(&error)),
            Err(_) => Err(ReplyError::Refused { command, result }),
        },
        Err(error) => Err(error),
    }
}

fn pin_urc(raw: &str) -> Result<Value, ReplyError> {
    let mut object = value(pin(&body("+CPIN", raw)?)?)?;
    if let Some(object) = object.as_object_mut() {
        object.insert("kind".to_owned(), json!("urc"));
    }
    Ok(object)
}

/// Returns one context as an object of its own, and several as a list.
fn one_or_list<T: Serialize>(rows: &[T]) -> Result<Value, ReplyError> {
    match rows {
        [row] => value(row),
        rows => list(rows),
    }
}

fn serial_value(raw: &str) -> Result<Value, ReplyError> {
    let serial = serial(&body("AT+CGSN", raw)?)?;
    let mut object = value(&serial)?;
    if let (Some(object), Some(imei)) = (object.as_object_mut(), &serial.imei) {
        object.insert("luhn_ok".to_owned(), json!(imei.luhn_ok()));
    }
    Ok(object)
}

fn card(command: &'static str, raw: &str) -> Result<Value, ReplyError> {
    Ok(json!({ "iccid": iccid(command, &["+CCID", "+ICCID"], &body(command, raw)?)? }))
}

fn manufacturer_value(raw: &str) -> Result<Value, ReplyError> {
    Ok(json!({ "manufacturer": manufacturer(&body("AT+CGMI", raw)?)? }))
}

fn revision_value(raw: &str) -> Result<Value, ReplyError> {
    Ok(json!({ "revision": revision(&body("AT+CGMR", raw)?)? }))
}

fn cme_value(raw: &str) -> Result<Value, ReplyError> {
    let error = CmeError::of_line(error_line(raw, "+CME ERROR"))?;
    Ok(final_error("cme", error.code, &error.text))
}

fn cms_value(raw: &str) -> Result<Value, ReplyError> {
    let error = CmsError::of_line(error_line(raw, "+CMS ERROR"))?;
    Ok(final_error("cms", error.code, &error.text))
}

fn error_line<'a>(raw: &'a str, prefix: &str) -> &'a str {
    raw.split(['\r', '\n']).map(str::trim).find(|line| line.starts_with(prefix)).unwrap_or_default()
}

fn final_error(kind: &str, code: Option<u16>, text: &str) -> Value {
    let mut object = json!({ "final": true, "error": kind });
    if let Some(object) = object.as_object_mut() {
        object.extend(code.map(|code| ("code".to_owned(), json!(code))));
        let text = Some(text).filter(|text| !text.is_empty());
        object.extend(text.map(|text| ("text".to_owned(), json!(text))));
    }
    object
}
