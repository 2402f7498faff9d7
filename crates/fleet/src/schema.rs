//! The JSON Schema of the file, from the table of its keys.

use std::time::Duration;

use modem::serial::RATES;
use serde_json::{Map, Value, json};

use super::choices::{QOS, words};
use super::key::Leaf::{
    self, Boolean, Digits, Form, Name, Number, Qos, Rate, Size, Text, Time, Word,
};
use super::key::{Keys, Shape};
use super::keys::{BROKER, FLEET, MATCH, NAME, SECRET};

/// The schema's dialect.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The JSON Schema (draft 2020-12) of fleet.yaml, for editors and other checks.
///
/// It knows the keys, their types and their words. What depends on other keys or on this machine
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

/// What stands under a key.
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
            value.insert("description".to_owned(), json!(key.text));
        }
        properties.insert(key.name.to_owned(), value);
    }
    let required: Vec<&str> =
        keys.keys.iter().filter(|key| key.is_required).map(|key| key.name).collect();
    let mut object =
        json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if let Some(object) = object.as_object_mut() {
        if !required.is_empty() {
            object.insert("required".to_owned(), json!(required));
        }
        if keys.of == BROKER.of {
            let either = json!([{ "required": ["url"] }, { "required": ["provider"] }]);
            object.insert("anyOf".to_owned(), either);
        }
        if keys.of == MATCH.of {
            object.insert("minProperties".to_owned(), json!(1));
        }
    }
    object
}

fn secret() -> Value {
    let mut secret = object(&SECRET);
    if let Some(secret) = secret.as_object_mut() {
        let about = "Where a secret lies: exactly one of the keys. It never stands in this file.";
        secret.insert("description".to_owned(), json!(about));
        secret.insert("minProperties".to_owned(), json!(1));
        secret.insert("maxProperties".to_owned(), json!(1));
    }
    secret
}

fn of_leaf(leaf: &Leaf) -> Value {
    match leaf {
        Text => json!({ "type": ["string", "number", "boolean"] }),
        Form(pattern) => json!({ "type": "string", "pattern": pattern }),
        Name => json!({ "title": "name", "type": ["string", "integer"], "pattern": NAME }),
        Digits(pattern) => {
            json!({ "title": "number", "type": ["string", "integer"], "pattern": pattern })
        }
        Number(min, max) => json!({ "enum": (*min..=*max).collect::<Vec<_>>() }),
        Boolean => json!({ "type": "boolean" }),
        Qos => json!({ "enum": words(&QOS).iter().map(|word| number(word)).collect::<Vec<_>>() }),
        Rate => json!({ "enum": RATES }),
        Time => {
            let example = humantime::format_duration(Duration::from_secs(90)).to_string();
            let examples = ["10s", &example];
            json!({ "title": "time", "type": "string", "pattern": "^[0-9].*[A-Za-zµ]$", "examples": examples })
        }
        Size => {
            json!({ "title": "size", "type": ["string", "integer"], "pattern": "^[0-9]", "examples": ["64MiB"] })
        }
        Word(words) => json!({ "enum": words() }),
    }
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
