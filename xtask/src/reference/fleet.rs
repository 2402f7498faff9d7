//! The fleet file's page: a section for each mapping, a row for each key.

use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value};

use super::values::{cell, list, text};

/// Examples, by their section. A test checks them, as it does all fleet files of the documents.
const EXAMPLES: &[(&str, &str)] = &[
    (
        "http",
        "http:\n  listen: 0.0.0.0:9810\n  hosts: [ gw.example.com ]\n  token: { credential: api-token }\n  publish_token: { credential: publish-token }\n  socket: /run/modemfleet/api.sock",
    ),
    (
        "queue",
        "queue: { path: /var/lib/modemfleet/queue, max_bytes: 256MiB, max_age: 7d, when_full: reject }",
    ),
    (
        "hand_in.mqtt",
        "hand_in:\n  mqtt:\n    listen: 0.0.0.0:1883\n    users: { plc: { credential: plc }, meter: { credential: meter } }",
    ),
    (
        "brokers.NAME",
        "brokers:\n  lab: { url: \"mqtt://broker.example.com:1883\", username: gw, password: { credential: broker-password } }\n  safe: { url: \"mqtts://broker.example.com\", tls: { ca: /etc/modemfleet/ca.pem } }\n  ali: { provider: aliyun, region: cn-shanghai }",
    ),
    (
        "modems.NAME.match",
        "modems:\n  north: { match: { imei: \"861234567000000\" } }     # this modem, wherever it is plugged in\n  south: { match: { usb_path: 1-1.2 } }             # whatever is plugged in there\n  east: { match: { model: sim7600, iccid: \"8986001234567890123\" } }   # both must hold",
    ),
    (
        "modems.NAME.apn",
        "modems:\n  north:\n    match: { model: sim7600 }\n    apn: { name: private.example, user: gw, password: { credential: apn }, auth: pap, type: ipv4v6 }",
    ),
    (
        "modems.NAME.sessions.NAME",
        "brokers:\n  lab: { url: \"mqtt://broker.example.com\" }\nmodems:\n  north:\n    match: { model: sim7600 }\n    sessions:\n      lab:\n        broker: lab\n        keep_alive: 5m\n        clean_session: false\n        will: { topic: gateways/gw-01/north, payload: gone, qos: 1 }\n        subscribe: [{ filter: \"commands/#\", qos: 1 }]",
    ),
    (
        "routes[]",
        "brokers:\n  lab: { url: \"mqtt://broker.example.com\" }\nmodems:\n  north: { match: { usb_path: 1-1.1 }, sessions: { lab: { broker: lab } } }\n  south: { match: { usb_path: 1-1.2 }, sessions: { lab: { broker: lab } } }\nroutes:\n  - { topic: \"alarms/#\", to: [north/lab, south/lab], policy: all }         # a copy each\n  - { topic: \"meters/#\", to: [north/lab, south/lab], policy: spread }      # half of the topics each\n  - { topic: \"#\", to: [north/lab, south/lab], publish_as: \"site-7/${topic}\" }",
    ),
];

/// Returns the generated part of the page.
///
/// # Errors
/// If the schema holds an unknown part, or an example has no section.
pub(super) fn page(schema: &Value) -> anyhow::Result<String> {
    let mut pages = Sections::default();
    pages.mapping("", "", schema)?;
    let secret = schema.pointer("/$defs/secret").context("the schema has no secret")?;
    pages.mapping("SECRET", text(secret, "description"), secret)?;
    for (place, _) in EXAMPLES {
        ensure!(pages.seen.iter().any(|seen| seen == place), "no section {place} for its example");
    }
    Ok(pages.text)
}

#[derive(Default)]
struct Sections {
    text: String,
    seen: Vec<String>,
}

impl Sections {
    /// Adds the section of a mapping, and behind it those of the mappings below it.
    fn mapping(&mut self, place: &str, about: &str, schema: &Value) -> anyhow::Result<()> {
        let keys = schema.get("properties").and_then(Value::as_object);
        let keys = keys.with_context(|| format!("`{place}` has no keys"))?;
        self.seen.push(place.to_owned());
        self.text += &format!("\n## {}\n\n", title(place));
        if !about.is_empty() {
            self.text += &format!("{about}\n\n");
        }
        self.text +=
            "| key | value | default | example | a change | meaning |\n|---|---|---|---|---|---|\n";
        let needed = list(schema, "required");
        let is_needed = |key: &str| needed.iter().any(|name| name == key);
        // Required keys come first.
        let (first, then): (Vec<_>, Vec<_>) = keys.iter().partition(|(key, _)| is_needed(key));
        for (key, value) in first.iter().chain(&then) {
            self.text += &format!("| `{key}` | {} |\n", row(&below(place, key), value)?);
        }
        if let Some((_, example)) = EXAMPLES.iter().find(|(at, _)| *at == place) {
            self.text += &format!("\n```yaml\n{example}\n```\n");
        }
        for (key, value) in keys {
            self.inner(&below(place, key), value)?;
        }
        Ok(())
    }

    /// Adds the sections of the mappings in a value.
    fn inner(&mut self, place: &str, value: &Value) -> anyhow::Result<()> {
        if let Some((place, mapping)) = mapping_in(place, value) {
            self.mapping(&place, fact(value, "meaning"), mapping)?;
        }
        Ok(())
    }
}

/// Returns the mapping that a value is or holds, and its place.
fn mapping_in<'a>(place: &str, value: &'a Value) -> Option<(String, &'a Value)> {
    let has_keys = |value: &Value| value.get("properties").is_some();
    if has_keys(value) {
        return Some((place.to_owned(), value));
    }
    if let Some(each) = value.get("additionalProperties").filter(|each| has_keys(each)) {
        return Some((format!("{place}.NAME"), each));
    }
    if let Some(each) = value.get("items").filter(|each| has_keys(each)) {
        return Some((format!("{place}[]"), each));
    }
    let choices = list(value, "anyOf");
    choices.iter().find(|choice| has_keys(choice)).map(|choice| (place.to_owned(), choice))
}

fn below(place: &str, key: &str) -> String {
    if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") }
}

/// Returns the heading of a section.
fn title(place: &str) -> &str {
    match place {
        "" => "The file",
        "SECRET" => "A secret",
        place => place,
    }
}

/// Returns the anchor of a heading, as GitHub makes it.
fn anchor(title: &str) -> String {
    let kept = title.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

/// Returns the cells of a key behind its name.
fn row(place: &str, value: &Value) -> anyhow::Result<String> {
    let about = fact(value, "meaning");
    ensure!(!about.is_empty(), "`{place}` has no meaning: write it in crates/fleet/src/keys.rs");
    let kind = kind(place, value).with_context(|| format!("of `{place}`"))?;
    let unit = match fact(value, "unit") {
        "" => String::new(),
        unit => format!(" ({unit})"),
    };
    let needs = match fact(value, "needs") {
        "" => String::new(),
        key => format!(" Needs `{key}`."),
    };
    let example = match fact(value, "example") {
        "" => "–".to_owned(),
        example => format!("`{}`", cell(example)),
    };
    let default = match fact(value, "default") {
        "" => "–",
        default => default,
    };
    let effect = match fact(value, "effect") {
        "" => "–",
        effect => effect,
    };
    let default = cell(default);
    Ok(format!("{kind}{unit} | {default} | {example} | {effect} | {}{needs}", cell(about)))
}

/// Returns a fact of a key that the schema has besides those of JSON Schema.
fn fact<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get("x-modemfleet").map_or("", |facts| text(facts, name))
}

/// Describes the kind of a value.
fn kind(place: &str, value: &Value) -> anyhow::Result<String> {
    let link = |words: &str, place: &str| format!("[{words}](#{})", anchor(title(place)));
    if value.get("$ref").is_some() {
        return Ok(link("secret", "SECRET"));
    }
    if let Some((inner, _)) = mapping_in(place, value) {
        let words = match inner.strip_prefix(place) {
            Some(".NAME") => "mapping of names",
            Some("[]") => "list",
            _ if value.get("properties").is_none() => "text, or a mapping",
            _ => "mapping",
        };
        return Ok(link(words, &inner));
    }
    if let Some(words) = value.get("enum").and_then(Value::as_array) {
        return Ok(choice(words));
    }
    match text(value, "title") {
        "file" => return Ok(format!("file, or {}", link("secret", "SECRET"))),
        "" => {}
        title => return Ok(title.to_owned()),
    }
    Ok(match value.get("type") {
        Some(Value::String(word)) if word == "boolean" => "`true`, `false`".to_owned(),
        Some(Value::String(word)) if word == "string" => "text".to_owned(),
        Some(Value::Array(_)) => "text".to_owned(),
        Some(Value::String(word)) if word == "array" => "list of texts".to_owned(),
        Some(Value::String(word)) if word == "object" => named(value, &link("secret", "SECRET"))?,
        _ => bail!("the schema says {value}, for which there is no word"),
    })
}

/// Describes a mapping of names to single values.
fn named(value: &Value, secret: &str) -> anyhow::Result<String> {
    let each = value.get("additionalProperties").and_then(Value::as_object);
    let each: &Map<String, Value> = each.context("a mapping without keys and names")?;
    let what = if each.contains_key("$ref") { secret } else { "text" };
    Ok(format!("mapping of names to {what}"))
}

/// Lists the words, or the range of numbers if there are many.
fn choice(words: &[Value]) -> String {
    let shown = |word: &Value| {
        format!("`{}`", word.as_str().map_or_else(|| word.to_string(), str::to_owned))
    };
    match words {
        [first, _, _, .., last] if first.is_number() => {
            format!("{first} to {last}")
        }
        words => words.iter().map(shown).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_told_in_words() {
        let secret = json!({ "$ref": "#/$defs/secret" });
        let keys = json!({ "type": "object", "properties": {} });
        for (value, wanted) in [
            (json!({ "type": "boolean" }), "`true`, `false`"),
            (json!({ "enum": ["a", "b"] }), "`a`, `b`"),
            (json!({ "enum": [0, 1, 2] }), "`0`, `1`, `2`"),
            (json!({ "enum": [1, 2, 3, 4] }), "1 to 4"),
            (json!({ "title": "time", "type": "string", "pattern": "x" }), "time"),
            (secret.clone(), "[secret](#a-secret)"),
            (
                json!({ "type": "object", "additionalProperties": secret }),
                "mapping of names to [secret](#a-secret)",
            ),
            (keys.clone(), "[mapping](#ab)"),
            (
                json!({ "type": "object", "additionalProperties": keys }),
                "[mapping of names](#abname)",
            ),
            (json!({ "type": "array", "items": keys }), "[list](#ab)"),
            (json!({ "anyOf": [{ "type": "string" }, keys] }), "[text, or a mapping](#ab)"),
        ] {
            assert_eq!(kind("a.b", &value).unwrap(), wanted, "{value}");
        }
        assert!(kind("a", &json!(true)).is_err());
    }

    #[test]
    fn a_key_without_a_word_about_it_is_refused() {
        assert!(row("a", &json!({ "type": "boolean" })).is_err());
        let facts = json!({ "meaning": "True.", "default": "false", "effect": "applies at once" });
        let row = row("a", &json!({ "type": "boolean", "x-modemfleet": facts })).unwrap();
        assert_eq!(row, "`true`, `false` | false | – | applies at once | True.");
    }
}
