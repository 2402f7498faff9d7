//! The table of keys against the check and the plan of a reload: each default, each example and each effect.

use agent::reload::plan::{Plan, Step};
use fleet::{Declared, Effect, Fleet};
use serde_yaml::Value;

use super::*;

/// A file without the keys that exclude others in `every-key.yaml`.
const OTHER: &str = "
queue: {}
brokers:
  lab: { url: 'mqtts://b.example.com', username: gw, tls: { ca: /etc/modemfleet/ca.pem } }
  spare: { url: 'mqtt://spare.example.com' }
  ali: { provider: aliyun, region: cn-shanghai, tls: { ca: /etc/modemfleet/ca.pem } }
modems:
  north:
    match: { imei: '861234567000000' }
    budget: { bytes: 2GB }
    telemetry: {}
    sessions:
      cloud:
        broker: ali
        product_key: a1mQpKOF9hp
        device_name: '7600'
        device_secret: { file: secrets/north }
        securemode: 2
      lab: { broker: lab, tls: { insecure: false, cert: /cert.pem, key: /key.pem } }
  south:
    match: { port: /dev/ttyS1 }
    sessions: { spare: { broker: lab } }
routes: [{ topic: '#', to: [north/lab] }]
";

/// Keys whose example changes nothing by itself: a provider comes with other keys, and `gateways` chooses entries.
const SILENT: [&str; 2] = ["provider", "gateways"];

/// `insecure: true` of a broker is refused beside `ca`; the same table of a session is tried.
const BESIDE_CA: &str = "brokers.*.tls.insecure";

/// Mappings of names, whose entries are compared one by one.
const ENTRIES: [&str; 4] = ["brokers", "modems", "modems.*.sessions", "routes"];

fn bases() -> [Value; 2] {
    let every = fs::read_to_string(fixture("every-key.yaml")).unwrap();
    [serde_yaml::from_str(&every).unwrap(), serde_yaml::from_str(OTHER).unwrap()]
}

fn checked(file: &Value) -> Option<Fleet> {
    parse(&serde_yaml::to_string(file).unwrap()).ok().map(|loaded| loaded.fleet)
}

/// The mappings at a path, in which `*` stands for each entry.
fn mappings<'a>(at: &'a mut Value, path: &[&str], found: &mut dyn FnMut(&'a mut Value)) {
    let Some((first, rest)) = path.split_first() else {
        return if at.is_mapping() {
            found(at)
        };
    };
    match (at, *first) {
        (Value::Sequence(items), "*") => items.iter_mut().for_each(|at| mappings(at, rest, found)),
        (Value::Mapping(map), "*") => map.values_mut().for_each(|at| mappings(at, rest, found)),
        (Value::Mapping(map), key) => {
            if let Some(at) = map.get_mut(key) {
                mappings(at, rest, found);
            }
        }
        _ => {}
    }
}

/// The file once for each mapping that may have the key, with another value of the key or without the key.
fn changed(file: &Value, path: &str, value: Option<&str>) -> Vec<Value> {
    let (above, key) = path.rsplit_once('.').unwrap_or(("", path));
    let above: Vec<&str> = above.split('.').filter(|part| !part.is_empty()).collect();
    let mut count = 0;
    mappings(&mut file.clone(), &above, &mut |_| count += 1);
    let change = |wanted: usize| {
        let (mut file, mut at) = (file.clone(), 0);
        mappings(&mut file, &above, &mut |place| {
            if at == wanted {
                let map = place.as_mapping_mut().unwrap();
                match value {
                    Some(text) => drop(map.insert(key.into(), serde_yaml::from_str(text).unwrap())),
                    None => drop(map.remove(key)),
                }
            }
            at += 1;
        });
        file
    };
    (0..count).map(change).collect()
}

/// The greatest effect of a plan, if it changes something.
fn effect(plan: &Plan) -> Option<Effect> {
    let ends = |step: &Step| step.ends() || step.begins();
    let of = |found: bool, effect: Effect| found.then_some(effect);
    of(plan.settings.iter().any(|setting| setting.at_restart.is_some()), Effect::Agent)
        .or(of(plan.modems.iter().any(|(_, step)| ends(step)), Effect::Modem))
        .or(of(plan.sessions.iter().any(|(_, step)| ends(step)), Effect::Session))
        .or(of(!plan.is_empty(), Effect::Live))
}

/// True if a line of the plan names the key.
fn names(plan: &Plan, path: &str) -> bool {
    let key = path.rsplit('.').next().unwrap_or_default();
    let notes: Vec<String> = plan.lines().into_iter().map(|line| line.note).collect();
    notes.iter().any(|note| note.split([',', ';']).any(|name| name.trim() == key))
}

#[test]
fn each_example_is_taken_and_has_the_effect_of_the_table() {
    let mut wrong = Vec::new();
    for Declared { path, effect: declared, example } in fleet::keys() {
        if path == BESIDE_CA {
            continue;
        }
        if example.is_empty() {
            let is_entry = ENTRIES.contains(&path.as_str());
            wrong.extend((!is_entry).then(|| format!("{path} has no example")));
            continue;
        }
        let mut found = Vec::new();
        for base in bases() {
            let old = checked(&base).unwrap();
            let news = changed(&base, &path, Some(example)).into_iter();
            let news = news.filter_map(|file| checked(&file));
            for plan in news.map(|new| Plan::new(&old, &new, |_| false)) {
                let (is_named, of_entry) = (names(&plan, &path), path.matches('*').count() == 1);
                let is_key = of_entry && path.matches('.').count() == 2 && !path.ends_with("topic");
                if is_key && !path.starts_with("brokers") && !plan.is_empty() && !is_named {
                    wrong.push(format!("{path} is not named: {:?}", plan.lines()));
                }
                found.push(effect(&plan));
            }
        }
        let is_silent = SILENT.iter().any(|key| path.ends_with(key));
        match found.iter().flatten().max() {
            None if found.is_empty() => wrong.push(format!("{path}: {example} is refused")),
            None if is_silent => {}
            greatest if greatest == Some(&declared) => {}
            other => wrong.push(format!("{path}: {example}: {other:?}, and not {declared:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The defaults of a mapping of the schema and of those below, by the paths of their keys.
fn defaults(path: &str, schema: &serde_json::Value, found: &mut Vec<(String, String)>) {
    for (key, value) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        if value.get("default").is_some() {
            let text = value["x-modemfleet"]["default"].as_str().unwrap().to_owned();
            found.push((path.clone(), text));
        }
        defaults(&path, value, found);
        defaults(&format!("{path}.*"), &value["additionalProperties"], found);
        defaults(&format!("{path}.*"), &value["items"], found);
        for choice in value["anyOf"].as_array().into_iter().flatten() {
            defaults(&path, choice, found);
        }
    }
}

#[test]
fn each_default_is_the_value_of_a_file_without_the_key() {
    let mut all = Vec::new();
    defaults("", &fleet::schema(), &mut all);
    assert!(all.len() >= 40, "only {} defaults: {all:?}", all.len());
    for (path, default) in all {
        let mut compared = 0;
        for base in bases() {
            let without = changed(&base, &path, None);
            for (without, with) in without.iter().zip(changed(&base, &path, Some(&default))) {
                if let (Some(without), Some(with)) = (checked(without), checked(&with)) {
                    assert_eq!(without, with, "{path}: {default}");
                    compared += 1;
                }
            }
        }
        assert!(compared > 0, "{path}: {default} is refused");
    }
}
