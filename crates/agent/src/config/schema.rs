//! The JSON Schema of the file: the keys of [`super::shape`] and the words of [`super::build`], with
//! what each key is for.
//!
//! It is made by a walk over the same shapes that the check walks over, so that both know the same
//! keys; a test holds that every one of them is described here. The typed reading has no types to
//! derive a schema from: to it, every value is text.

use std::time::Duration;

use queue::MAX_PRIORITY;
use serde_json::{Map, Value, json};

use super::build::{FSYNC, PDP_TYPES, PROVIDERS, QOS, ROAMING, WHEN_FULL};
use super::shape::{self, Keys, Shape};
use super::{BatchFormat, Policy};
use crate::aliyun::Method;

/// The schema's dialect.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// What a single value is.
enum Leaf {
    /// Any text; a number or a boolean counts as the text that is written.
    Text,
    /// Text of this form.
    Form(&'static str),
    /// Digits, of which YAML may make a number.
    Digits(&'static str),
    /// A whole number of these.
    Number(u8, u8),
    /// `true` or `false`.
    Boolean,
    /// 0, 1 or 2.
    Qos,
    /// A number and its unit.
    Time,
    /// Bytes, with or without a unit.
    Size,
    /// One of these words.
    Word(fn() -> Vec<&'static str>),
    /// Nothing: a mapping or a list stands there.
    Inner,
}

/// What is said of one key.
struct Fact {
    key: &'static str,
    leaf: Leaf,
    is_required: bool,
    text: &'static str,
}

const fn may(key: &'static str, leaf: Leaf, text: &'static str) -> Fact {
    Fact { key, leaf, is_required: false, text }
}

const fn must(key: &'static str, leaf: Leaf, text: &'static str) -> Fact {
    Fact { key, leaf, is_required: true, text }
}

use Leaf::{Boolean, Digits, Form, Inner, Number, Qos, Size, Text, Time, Word};

/// A share of a budget.
const PERCENT: &str = "^([1-9][0-9]?|100)%$";

/// A name of the fleet.
const NAME: &str = "^[A-Za-z0-9_-]{1,32}$";

/// What a list below the file's own chooses.
const GATEWAYS: &str =
    "Which of the file's gateways have it, by names or patterns with `*` and `?`. Default: all.";

static FLEET: &[Fact] = &[
    may("gateway", Digits(NAME), "The gateway's name. Default: the first label of the host name."),
    may(
        "gateways",
        Inner,
        "The gateways that this file serves, by names or patterns with `*` and `?`. Default: any.",
    ),
    may("shutdown_grace", Time, "How long an orderly end may take. Default: 10s."),
    may("http", Inner, "The HTTP listener: metrics, health, API."),
    may("queue", Inner, "The durable store of messages that are on their way."),
    may("hand_in", Inner, "Ways in for local applications beside HTTP."),
    may("recovery", Inner, "Who resets USB devices and runs power scripts for the agent."),
    may("brokers", Inner, "The MQTT brokers, by names that the sessions refer to."),
    must("modems", Inner, "The modems, by names of your choice."),
    may(
        "routes",
        Inner,
        "Which sessions carry which topics; the first match wins. Default: `#` over all sessions in file order.",
    ),
];

static HTTP: &[Fact] = &[
    may(
        "listen",
        Form("^.+:[0-9]{1,5}$"),
        "ADDRESS:PORT. Beyond loopback it needs a `token`. Default: 127.0.0.1:9810.",
    ),
    may("token", Inner, "What callers of the API must show as `Authorization: Bearer …`."),
    may(
        "socket",
        Form(".+"),
        "The path of a unix socket for the API; who may open it needs no token.",
    ),
];

static HAND_IN: &[Fact] =
    &[may("mqtt", Inner, "A listener for MQTT 3.1, 3.1.1 and 5 clients; it is no broker.")];

static MQTT_LISTENER: &[Fact] = &[
    must(
        "listen",
        Form("^.+:[0-9]{1,5}$"),
        "ADDRESS:PORT, such as 127.0.0.1:1883. Beyond loopback it needs `users`.",
    ),
    may("users", Inner, "Who may connect: names with their passwords. Default: everyone."),
];

static QUEUE: &[Fact] = &[
    may("path", Form(".+"), "Its folder. Default: /var/lib/modemfleet/queue."),
    may("max_bytes", Size, "The most bytes of messages, at least 1MiB. Default: 64MiB."),
    may("max_messages", Digits("^[1-9][0-9]*$"), "The most messages. Default: as many as fit."),
    may(
        "max_age",
        Time,
        "How old a message may become before it is dropped, at least 1m. Default: as old as it likes.",
    ),
    may(
        "when_full",
        Word(|| words(&WHEN_FULL)),
        "What happens to a message that no longer fits: `reject` refuses it, `drop_oldest` deletes what was acknowledged, `drop_newest` drops it and says so. Default: reject.",
    ),
    may(
        "fsync",
        Word(|| words(&FSYNC)),
        "What a power loss takes: `always` nothing that was answered, `interval` what was answered since the last interval, `off` whatever the system had not written, and the file may be torn. A killed agent loses nothing under any of them. Default: always.",
    ),
    may("fsync_interval", Time, "How often `fsync: interval` syncs, 10ms to 10m. Default: 1s."),
];

static BROKER: &[Fact] = &[
    may(
        "url",
        Form("^mqtts?://[^@/]+/?$"),
        "mqtt://HOST:PORT, or mqtts://HOST:PORT for TLS; the port's default is 1883, for TLS 8883.",
    ),
    may("username", Text, "The user name of its sessions."),
    may("password", Inner, "The password of that user."),
    may(
        "provider",
        Word(|| PROVIDERS.map(|(word, _)| word).to_vec()),
        "A cloud: of aliyun addresses and signatures are computed, of aws the rules are known.",
    ),
    may("region", Text, "The cloud's region, such as cn-shanghai."),
    may("instance_id", Text, "The id of an enterprise instance; it replaces the region."),
    may(
        "tls",
        Inner,
        "TLS, for mqtts, aws and securemode 2; what a session's own `tls` says comes first.",
    ),
];

static TLS: &[Fact] = &[
    may(
        "ca",
        Inner,
        "A file with the certificate of the authority that signed the broker's, in PEM.",
    ),
    may("cert", Inner, "A file with the client's certificate, in PEM; with `key`."),
    may("key", Inner, "A file with its private key, in PEM, not encrypted."),
    may(
        "insecure",
        Boolean,
        "Take any certificate: whoever is on the way can read and change everything. Default: false.",
    ),
];

static MODEM: &[Fact] = &[
    may("gateways", Inner, GATEWAYS),
    must("match", Inner, "Which device it is: all keys that are given must hold."),
    may(
        "apn",
        Inner,
        "The access point: its name, or a mapping. Default: the modem's own setting.",
    ),
    may(
        "pin",
        Inner,
        "The SIM's PIN, 4 to 8 digits. It is tried once for each SIM, never again after a refusal.",
    ),
    may(
        "roaming",
        Word(|| words(&ROAMING)),
        "Whether the modem may serve in a foreign network. Default: deny.",
    ),
    may(
        "poll",
        Time,
        "The time between two readings of signal and registration, 1s to 1h. Default: 10s.",
    ),
    may(
        "budget",
        Inner,
        "How many bytes its SIM may carry in a month. Default: as many as it likes.",
    ),
    may("recovery", Inner, "What may be done to bring it back when it stops answering."),
    may("telemetry", Inner, "What it tells of itself by one of its sessions. Default: nothing."),
    may("sessions", Inner, "Its MQTT sessions, by names of your choice."),
];

static TELEMETRY: &[Fact] = &[
    may(
        "topic",
        Text,
        "Where its state is published as JSON, with ${gateway}, ${modem}, ${session} and the session's vars. Default: modemfleet/${gateway}/${modem}/state.",
    ),
    may("every", Time, "The time from one to the next, 1s to 1d. Default: 60s."),
    may("qos", Qos, "Quality of service. Default: 1."),
    may("retain", Boolean, "Whether the broker keeps the state. Default: true."),
    may("session", Digits(NAME), "Which of its sessions carries it. Default: the first."),
    may(
        "status",
        Text,
        "Where `online` stands, retained, and by the session's will `offline`; `none`: nowhere. Default: `status` in the place of the topic's last level.",
    ),
];

static BUDGET: &[Fact] = &[
    must("bytes", Size, "The bytes of a month, in both directions, as estimated; at least 1kB."),
    may(
        "reset_day",
        Number(1, 31),
        "The day of the month on which the count begins anew; the last day where the month is shorter. Default: 1.",
    ),
    may(
        "time_zone",
        Form("^[A-Za-z]"),
        "Where that day begins, such as Asia/Shanghai. Default: UTC.",
    ),
    may("warn", Form(PERCENT), "From here on it shows: log, status, metrics. Default: 80%."),
    may("shed", Inner, "From where on messages of a low priority wait. Default: they do not."),
    may(
        "stop",
        Form("^(([1-9][0-9]?|100)%|never)$"),
        "From here on messages take another path or wait; `never`: they do not. Default: 100%.",
    ),
    may(
        "urgent",
        Number(0, MAX_PRIORITY),
        "Messages of at least this priority pass even then. Default: none.",
    ),
];

static SHED: &[Fact] = &[
    must("at", Form(PERCENT), "From here on."),
    must(
        "below_priority",
        Number(1, MAX_PRIORITY),
        "Messages below this priority wait; the default of a message is 4.",
    ),
];

static RECOVERY: &[Fact] = &[
    may(
        "budget",
        Digits("^[0-9]+$"),
        "The most actions of recovery within an hour, 1 to 60; then it is given up until the hour is over. Default: 6.",
    ),
    may(
        "registration_lost",
        Time,
        "How long it may be without registration before its radio is switched off and on, 1s to 1h. Default: 5m.",
    ),
    may(
        "boot",
        Time,
        "How long it may take from a reset until it answers or is registered, 1s to 10m. Default: 60s.",
    ),
    may(
        "usb_reset",
        Boolean,
        "Whether its USB device may be reset, where modemfleet-recover is installed. Default: true.",
    ),
    may(
        "power_script",
        Digits("^[A-Za-z0-9_-]{1,32}$"),
        "The name of a script in /etc/modemfleet/power.d that takes its supply away and gives it back. Default: none.",
    ),
];

static PRIVILEGED: &[Fact] = &[may(
    "socket",
    Form(".+"),
    "The unix socket of `modemfleet recover`. Default: /run/modemfleet-recover.sock.",
)];

static MATCH: &[Fact] = &[
    may("imei", Digits("^[0-9]{15}$"), "The device's IMEI, 15 digits."),
    may("iccid", Digits("^[0-9A-Za-z]{18,22}$"), "The number that is printed on the SIM."),
    may(
        "usb_path",
        Form(r"^[0-9]+-[0-9]+(\.[0-9]+)*$"),
        "Where it is plugged in, such as 1-1.2: bus and ports.",
    ),
    may("port", Form("^/"), "The tty of the AT port, such as /dev/ttyUSB2."),
    may("model", Text, "The beginning of what AT+CGMM answers, without `SIMCOM_`."),
];

static APN: &[Fact] = &[
    must("name", Text, "The access point's name."),
    may("user", Text, "The user, where the network asks for one."),
    may("password", Inner, "The password of that user."),
    may("type", Word(|| words(&PDP_TYPES)), "The kind of addresses. Default: ip."),
];

static SESSION: &[Fact] = &[
    may("gateways", Inner, GATEWAYS),
    must("broker", Digits(NAME), "A name among `brokers`."),
    may(
        "client_id",
        Text,
        "The MQTT client id. Default: GATEWAY-MODEM-SESSION; for Alibaba Cloud the device name.",
    ),
    may(
        "keep_alive",
        Time,
        "Whole seconds, 1s to 18h; 30s to 20m for Alibaba Cloud. Default: 60s.",
    ),
    may(
        "reconnect_max",
        Time,
        "The longest wait before a reconnect, 1s to 1h; the first is about 1s. Default: 60s.",
    ),
    may(
        "clean_session",
        Boolean,
        "Whether the broker forgets the session at its end. Default: true.",
    ),
    may("will", Inner, "What the broker publishes when the session is lost."),
    may("subscribe", Inner, "What is subscribed."),
    may("vars", Inner, "Variables for the `publish_as` of routes, by name."),
    may("product_key", Text, "Alibaba Cloud: the product's key."),
    may("device_name", Text, "Alibaba Cloud: the device's name."),
    may("device_secret", Inner, "Alibaba Cloud: the device's secret."),
    may("securemode", Digits("^[23]$"), "Alibaba Cloud: 2, TLS, or 3, plain TCP. Default: 3."),
    may(
        "signmethod",
        Word(|| Method::WORDS.to_vec()),
        "Alibaba Cloud: how it signs. Default: hmacsha1.",
    ),
    may(
        "timestamp",
        Digits("^[0-9]+$"),
        "Alibaba Cloud: milliseconds since 1970, signed as well. Default: none.",
    ),
    may(
        "host",
        Text,
        "Alibaba Cloud: HOST or HOST:PORT instead of what follows from product key and region.",
    ),
    may(
        "instance_id",
        Text,
        "Alibaba Cloud: the id of an enterprise instance; it replaces the region.",
    ),
    may(
        "aliauth",
        Boolean,
        "Alibaba Cloud: whether the modem signs, with the device's secret in it. Default: false, the agent does.",
    ),
    may("tls", Inner, "TLS of this session; what it does not say its broker's `tls` says."),
];

static WILL: &[Fact] = &[
    must("topic", Text, "The topic, without wildcards."),
    must("payload", Text, "The payload, 1 to 1,024 bytes."),
    may("qos", Qos, "Quality of service. Default: 1."),
    may("retain", Boolean, "Whether the broker keeps it for later subscribers. Default: false."),
];

static SUBSCRIBE: &[Fact] = &[
    must("filter", Text, "The topic filter."),
    may("qos", Qos, "The highest quality of service asked for. Default: 1."),
];

static ROUTE: &[Fact] = &[
    may("gateways", Inner, GATEWAYS),
    must("topic", Text, "The topics it takes, as an MQTT filter."),
    must("to", Inner, "The sessions, as MODEM/SESSION, the preferred one first."),
    may(
        "policy",
        Word(|| Policy::ALL.map(|(word, _)| word).to_vec()),
        "How the sessions share the work: failover (the first that can), spread (by topic), all (a copy to each). Default: failover.",
    ),
    may(
        "publish_as",
        Text,
        "The topic to publish on instead, with ${topic}, ${modem}, ${session}, ${gateway}, ${id} and the sessions' vars.",
    ),
    may(
        "hold_down",
        Time,
        "A path that came back is preferred again after it held for so long. Default: 5s.",
    ),
    may(
        "fail_back",
        Boolean,
        "Whether a preferred path that came back is used again. Default: true.",
    ),
    may(
        "stall",
        Time,
        "A message without a result for so long goes to the next path as well, 1s to 10m. Default: 15s.",
    ),
    may("name", Digits(NAME), "What people call it; `route test` shows it."),
    may("batch", Inner, "Several messages of one topic as one publish. Default: each by itself."),
];

static BATCH: &[Fact] = &[
    must(
        "format",
        Word(|| words(&BatchFormat::ALL)),
        "What a batch looks like: json_array (payloads that are JSON), lines (payloads without line feeds).",
    ),
    may("max_messages", Digits("^[1-9][0-9]*$"), "The most messages, 2 to 256. Default: 100."),
    may(
        "max_bytes",
        Size,
        "The most bytes, 128 to 10240; never more than the modem takes. Default: 10240.",
    ),
    may("max_delay", Time, "How long a message waits for others, 10ms to 4m. Default: 1s."),
    may(
        "ids",
        Boolean,
        "Whether each message carries its id, by which a receiver knows duplicates. Default: false.",
    ),
];

static SECRET: &[Fact] = &[
    may("file", Form(".+"), "A file that holds the secret and nothing else."),
    may("env", Form("^[A-Za-z0-9_]+$"), "An environment variable of the agent."),
    may(
        "credential",
        Form("^[A-Za-z0-9_@:-][A-Za-z0-9_.@:-]*$"),
        "A systemd credential, as `LoadCredential=` names it.",
    ),
];

/// What is said of each mapping's keys.
static ALL: [(&Keys, &[Fact]); 20] = [
    (&shape::HTTP, HTTP),
    (&shape::HAND_IN, HAND_IN),
    (&shape::MQTT_LISTENER, MQTT_LISTENER),
    (&shape::QUEUE, QUEUE),
    (&shape::BROKER, BROKER),
    (&shape::TLS, TLS),
    (&shape::MODEM, MODEM),
    (&shape::BUDGET, BUDGET),
    (&shape::SHED, SHED),
    (&shape::RECOVERY, RECOVERY),
    (&shape::PRIVILEGED, PRIVILEGED),
    (&shape::TELEMETRY, TELEMETRY),
    (&shape::MATCH, MATCH),
    (&shape::APN, APN),
    (&shape::SESSION, SESSION),
    (&shape::WILL, WILL),
    (&shape::SUBSCRIBE, SUBSCRIBE),
    (&shape::ROUTE, ROUTE),
    (&shape::BATCH, BATCH),
    (&shape::SECRET, SECRET),
];

/// The facts of a mapping; the whole file's where it is none of those inside.
fn facts(keys: &Keys) -> &'static [Fact] {
    ALL.iter().find(|(known, _)| known.of == keys.of).map_or(FLEET, |(_, facts)| facts)
}

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
        Digits(pattern) => json!({ "type": ["string", "integer"], "pattern": pattern }),
        Number(min, max) => json!({ "enum": (*min..=*max).collect::<Vec<_>>() }),
        Boolean => json!({ "type": "boolean" }),
        Qos => json!({ "enum": words(&QOS).iter().map(|word| number(word)).collect::<Vec<_>>() }),
        Time => {
            let example = humantime::format_duration(Duration::from_secs(90)).to_string();
            json!({ "type": "string", "pattern": "^[0-9].*[A-Za-zµ]$", "examples": ["10s", example] })
        }
        Size => {
            json!({ "type": ["string", "integer"], "pattern": "^[0-9]", "examples": ["64MiB"] })
        }
        Word(words) => json!({ "enum": words() }),
        Inner => json!(true),
    }
}

fn words<T>(table: &[(&'static str, T)]) -> Vec<&'static str> {
    table.iter().map(|(word, _)| *word).collect()
}

/// A word as YAML reads it without quotes.
fn number(word: &str) -> Value {
    word.parse::<u64>().map_or_else(|_| json!(word), |number| json!(number))
}

#[cfg(test)]
mod tests {
    use super::*;

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
