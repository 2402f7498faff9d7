//! The JSON Schema of the file, from the table of its keys.

use std::time::Duration;

use modem::serial::RATES;
use serde_json::{Map, Value, json};

use super::choices::{QOS, words};
use super::key::Leaf::{
    self, Boolean, Digits, Form, Name, Number, Qos, Rate, Size, Text, Time, Word,
};
use super::key::{Default, Effect, Key, Keys, Shape};
use super::keys::{FLEET, NAME, SECRET};
use super::words::{shown_size, shown_time};

/// A longer bound is not shown.
const LONG: Duration = Duration::from_secs(365 * 86_400);

/// The schema's dialect.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The JSON Schema (draft 2020-12) of fleet.yaml, for editors and other checks.
///
/// It contains the keys, their types and their words. Rules that depend on other keys or on this machine
/// (references, client ids, secrets) only [`load`](super::load) knows.
pub fn schema() -> Value {
    let mut root = object(&FLEET);
    if let Some(root) = root.as_object_mut() {
        root.insert("$schema".to_owned(), json!(DRAFT));
        root.insert("title".to_owned(), json!("modemfleet: fleet.yaml"));
        let about = "A fleet of cellular modems, each with MQTT sessions of its own.";
        root.insert("description".to_owned(), json!(about));
        // A place for YAML anchors, at the top only.
        root.insert("patternProperties".to_owned(), json!({ "^x-": true }));
        let modems = root.get_mut("properties").and_then(|all| all.get_mut("modems"));
        if let Some(modems) = modems.and_then(Value::as_object_mut) {
            modems.insert("minProperties".to_owned(), json!(1));
        }
        root.insert("$defs".to_owned(), json!({ "secret": secret() }));
    }
    root
}

/// The schema of a value.
fn of_shape(shape: &Shape) -> Value {
    match shape {
        Shape::Scalar(leaf) => of_leaf(leaf),
        Shape::Secret => json!({ "$ref": "#/$defs/secret" }),
        Shape::File => json!({
            "title": "file",
            "anyOf": [{ "type": "string", "pattern": "^[^\n]+$" }, { "$ref": "#/$defs/secret" }],
        }),
        Shape::Map(keys) => object(keys),
        Shape::ScalarOr(keys) => json!({ "anyOf": [of_leaf(&Text), object(keys)] }),
        Shape::Named(each) => json!({
            "type": "object",
            "propertyNames": { "pattern": NAME },
            "additionalProperties": of_shape(each),
        }),
        Shape::List(each) => json!({ "type": "array", "items": of_shape(each) }),
    }
}

fn object(keys: &Keys) -> Value {
    let mut properties = Map::new();
    for key in keys.keys {
        let mut value = of_shape(&key.shape);
        if let Some(value) = value.as_object_mut() {
            value.extend(facts(keys, key));
        }
        properties.insert(key.name.to_owned(), value);
    }
    let mut object =
        json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if let Some(object) = object.as_object_mut() {
        let required: Vec<&str> =
            keys.keys.iter().filter(|key| key.is_required()).map(|key| key.name).collect();
        if !required.is_empty() {
            object.insert("required".to_owned(), json!(required));
        }
        if !keys.any_of.is_empty() {
            let any: Vec<_> = keys.any_of.iter().map(|key| json!({ "required": [key] })).collect();
            object.insert("anyOf".to_owned(), json!(any));
        }
    }
    object
}

/// The facts of a key: for people in `description`, one by one in `x-modemfleet`.
fn facts(keys: &Keys, key: &Key) -> Map<String, Value> {
    let effect = keys.effect(key).map_or("", Effect::words);
    let default = match key.default {
        Default::Needed => "needed",
        Default::Value(text) | Default::Words(text) => text,
    };
    let needs = key.needs.map_or("", |(other, _)| other);
    let about = [
        (" Unit: ", key.unit, "."),
        (" Needs `", needs, "`."),
        (" Default: ", if key.is_required() { "" } else { default }, "."),
        (" A change ", effect, "."),
    ];
    let about = about.into_iter().filter(|(_, fact, _)| !fact.is_empty());
    let about = about.map(|(before, fact, after)| format!("{before}{fact}{after}"));
    let all = [
        ("meaning", key.text),
        ("default", default),
        ("unit", key.unit),
        ("needs", needs),
        ("example", key.example),
        ("effect", effect),
    ];
    let all = all.into_iter().filter(|(_, fact)| !fact.is_empty());
    let all: Map<String, Value> = all.map(|(name, fact)| (name.to_owned(), json!(fact))).collect();
    let mut facts = Map::new();
    facts.insert(
        "description".to_owned(),
        json!(about.fold(key.text.to_owned(), |all, it| all + &it)),
    );
    facts.insert("x-modemfleet".to_owned(), json!(all));
    if let Default::Value(text) = key.default {
        facts.insert("default".to_owned(), value(text));
    }
    if !key.example.is_empty() {
        facts.insert("examples".to_owned(), json!([value(key.example)]));
    }
    facts
}

/// The value that a text of YAML stands for.
fn value(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|_not_yaml| json!(text))
}

fn secret() -> Value {
    let mut secret = object(&SECRET);
    if let Some(secret) = secret.as_object_mut() {
        let about = "The place of a secret: exactly one of these keys. The secret itself is never in this file.";
        secret.insert("description".to_owned(), json!(about));
        secret.insert("minProperties".to_owned(), json!(1));
        secret.insert("maxProperties".to_owned(), json!(1));
    }
    secret
}

fn of_leaf(leaf: &Leaf) -> Value {
    match leaf {
        Text => json!({ "type": ["string", "number", "boolean"] }),
        Form(title, pattern) => json!({ "title": title, "type": "string", "pattern": pattern }),
        Name => json!({ "title": "name", "type": ["string", "integer"], "pattern": NAME }),
        Digits(pattern) => {
            json!({ "title": "number", "type": ["string", "integer"], "pattern": pattern })
        }
        Number(min, max) => {
            let title = range(&min.to_string(), &max.to_string(), *max == u64::MAX);
            let mut number = json!({ "title": title, "type": ["string", "integer"], "pattern": "^[0-9]+$", "minimum": min });
            if let Some(number) = number.as_object_mut().filter(|_| *max < u64::MAX) {
                number.insert("maximum".to_owned(), json!(max));
            }
            number
        }
        Boolean => json!({ "type": "boolean" }),
        Qos => json!({ "enum": words(&QOS).iter().map(|word| number(word)).collect::<Vec<_>>() }),
        Rate => json!({ "enum": RATES }),
        Time(min, max) => {
            let title = range(&shown_time(*min), &shown_time(*max), *max > LONG);
            json!({ "title": format!("time, {title}"), "type": "string", "pattern": "^[0-9].*[A-Za-zµ]$" })
        }
        Size(min, max) => {
            let title = range(&shown_size(*min), &shown_size(*max), *max == u64::MAX);
            json!({ "title": format!("size, {title}"), "type": ["string", "integer"], "pattern": "^[0-9]" })
        }
        Word(words) => json!({ "enum": words() }),
    }
}

fn range(min: &str, max: &str, is_open: bool) -> String {
    if is_open { format!("at least {min}") } else { format!("{min} to {max}") }
}

/// A word as YAML reads it without quotes.
fn number(word: &str) -> Value {
    word.parse::<u64>().map_or_else(|_| json!(word), |number| json!(number))
}

#[cfg(test)]
mod tests {
    use super::super::keys::{SESSION, SUBSCRIBE};
    use super::super::shape;
    use super::*;
    use crate::aliyun::Method;

    #[test]
    fn every_key_is_described_in_sentences() {
        for key in shape::all() {
            assert!(key.text.ends_with('.'), "{}", key.name);
        }
    }

    #[test]
    fn the_words_are_those_of_the_check() {
        let session = object(&SESSION);
        assert_eq!(session["properties"]["signmethod"]["enum"], json!(Method::WORDS));
        let subscribe = object(&SUBSCRIBE);
        assert_eq!(subscribe["properties"]["qos"]["enum"], json!([0, 1, 2]));
    }
}
