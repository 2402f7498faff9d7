//! The JSON Schema of the file: the keys of [`super::shape`] and the words of [`super::choices`], with
//! what each key is for.
//!
//! It is made by a walk over the same shapes that the check walks over, so that both know the same
//! keys; a test holds that every one of them is described here. The typed reading has no types to
//! derive a schema from: to it, every value is text.

mod facts;

use std::time::Duration;

use modem::serial::RATES;
use serde_json::{Map, Value, json};

use super::choices::{QOS, words};
use super::shape::{self, Keys, Shape};
use facts::Leaf::{
    self, Boolean, Digits, Form, Inner, Name, Number, Qos, Rate, Size, Text, Time, Word,
};
use facts::{NAME, facts};

/// The schema's dialect.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The JSON Schema (draft 2020-12) of fleet.yaml, for editors and other checks.
///
/// It knows the keys, their types and their words. What depends on other keys or on this machine
/// (references, client ids, secrets) only [`load`](super::load) knows.
pub fn schema() -> Value {
    let mut root = of_shape(&shape::FLEET, None);
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

/// What stands under a key; `leaf` where it is a single value.
fn of_shape(shape: &Shape, leaf: Option<&Leaf>) -> Value {
    match shape {
        Shape::Scalar => of_leaf(leaf.unwrap_or(&Text)),
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
            "additionalProperties": of_shape(each, None),
        }),
        Shape::List(each) => json!({ "type": "array", "items": of_shape(each, None) }),
    }
}

fn object(keys: &Keys) -> Value {
    let facts = facts(keys);
    let mut properties = Map::new();
    for (key, shape) in keys.keys {
        let fact = facts.iter().find(|fact| fact.key == *key);
        let mut value = of_shape(shape, fact.map(|fact| &fact.leaf));
        if let (Some(fact), Some(value)) = (fact, value.as_object_mut()) {
            value.insert("description".to_owned(), json!(fact.text));
        }
        properties.insert((*key).to_owned(), value);
    }
    let required: Vec<&str> =
        facts.iter().filter(|fact| fact.is_required).map(|fact| fact.key).collect();
    let mut object =
        json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if let Some(object) = object.as_object_mut() {
        if !required.is_empty() {
            object.insert("required".to_owned(), json!(required));
        }
        if keys.of == shape::BROKER.of {
            let either = json!([{ "required": ["url"] }, { "required": ["provider"] }]);
            object.insert("anyOf".to_owned(), either);
        }
        if keys.of == shape::MATCH.of {
            object.insert("minProperties".to_owned(), json!(1));
        }
    }
    object
}

fn secret() -> Value {
    let mut secret = object(&shape::SECRET);
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
        Inner => json!(true),
    }
}

/// A word as YAML reads it without quotes.
fn number(word: &str) -> Value {
    word.parse::<u64>().map_or_else(|_| json!(word), |number| json!(number))
}

#[cfg(test)]
mod tests {
    use super::facts::ALL;
    use super::*;
    use crate::aliyun::Method;

    /// Every key that may stand in a mapping is described, as what it is; nothing else is.
    fn described(keys: &Keys) {
        let carried: Vec<&str> = keys.keys.iter().map(|(key, _)| *key).collect();
        let mut known: Vec<&str> = facts(keys).iter().map(|fact| fact.key).collect();
        known.sort_unstable();
        let mut sorted = carried.clone();
        sorted.sort_unstable();
        assert_eq!(known, sorted, "{}", keys.of);

        for fact in facts(keys) {
            let (_, shape) = keys.keys.iter().find(|(key, _)| *key == fact.key).unwrap();
            let (is_inner, is_scalar) =
                (matches!(fact.leaf, Inner), matches!(shape, Shape::Scalar));
            assert_ne!(is_inner, is_scalar, "{} of {}", fact.key, keys.of);
            assert!(fact.text.ends_with('.'), "{} of {}", fact.key, keys.of);
        }

        let object = object(keys);
        let properties = object["properties"].as_object().unwrap();
        let mut listed: Vec<&str> = properties.keys().map(String::as_str).collect();
        listed.sort_unstable();
        assert_eq!(listed, sorted, "{}", keys.of);
        assert_eq!(object["additionalProperties"], json!(false), "{}", keys.of);
    }

    /// All mappings below a shape, with their own among them.
    fn walk(shape: &Shape, visit: &mut impl FnMut(&Keys)) {
        match shape {
            Shape::Map(keys) | Shape::ScalarOr(keys) => {
                visit(keys);
                for (_, below) in keys.keys {
                    walk(below, visit);
                }
            }
            Shape::Named(each) | Shape::List(each) => walk(each, visit),
            Shape::Secret | Shape::File => visit(&shape::SECRET),
            Shape::Scalar => {}
        }
    }

    #[test]
    fn the_schema_has_the_keys_of_the_check_at_every_level() {
        let mut seen = Vec::new();
        walk(&shape::FLEET, &mut |keys| {
            described(keys);
            seen.push(keys.of);
        });
        seen.sort_unstable();
        seen.dedup();
        // The file itself stands in no table of its own.
        assert_eq!(seen.len(), ALL.len() + 1, "{seen:?}");
    }

    #[test]
    fn the_words_are_those_of_the_check() {
        let session = object(&shape::SESSION);
        assert_eq!(session["properties"]["signmethod"]["enum"], json!(Method::WORDS));
        let subscribe = object(&shape::SUBSCRIBE);
        assert_eq!(subscribe["properties"]["qos"]["enum"], json!([0, 1, 2]));
    }
}
