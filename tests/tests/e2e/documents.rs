//! The documents against the program: their fleet files, metrics, and the manual pages that units
//! name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Lab, modemfleet, run, until};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use serde_json::Value as Json;
use serde_yaml::{Mapping, Value};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns all Markdown pages of the repository's own folders.
fn pages() -> Vec<PathBuf> {
    let mut open = ["docs", "deploy", "profiles"].map(|folder| root().join(folder)).to_vec();
    let mut pages = vec![root().join("README.md")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

/// Returns the YAML in the code blocks of a page, and the files that a shell is made to write.
fn yaml_of(page: &str) -> Vec<String> {
    let (mut found, mut block) = (Vec::new(), None);
    for event in Parser::new(page) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
                block = Some((language.into_string(), String::new()));
            }
            Event::Text(text) => {
                if let Some((_, block)) = &mut block {
                    block.push_str(&text);
                }
            }
            Event::End(TagEnd::CodeBlock) => match block.take() {
                Some((language, text)) if language == "yaml" => found.push(text),
                Some((_, text)) => {
                    let written = text.split("<<'EOF'\n").skip(1);
                    found.extend(
                        written.filter_map(|text| Some(text.split_once("EOF")?.0.to_owned())),
                    );
                }
                None => {}
            },
            _ => {}
        }
    }
    found
}

/// Completes a piece of a fleet file with the entries that it refers to; `None` for other YAML.
fn whole(piece: &str, keys: &BTreeSet<String>) -> Option<Mapping> {
    let mut file: Mapping = serde_yaml::from_str(piece).ok()?;
    let is_fleet = file.keys().all(|key| key.as_str().is_some_and(|key| keys.contains(key)));
    if !is_fleet || file.is_empty() {
        return None;
    }
    // Sessions that routes name.
    let mut paths = BTreeSet::new();
    for route in file.get("routes").and_then(Value::as_sequence).into_iter().flatten() {
        paths.extend(
            route["to"]
                .as_sequence()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned),
        );
    }
    let modems = file.entry("modems".into()).or_insert_with(|| Mapping::new().into());
    let modems = modems.as_mapping_mut()?;
    for path in paths {
        let (modem, session) = path.split_once('/')?;
        if modems.contains_key(modem) {
            continue;
        }
        let text = format!(
            "{{ match: {{ model: {modem} }}, sessions: {{ {session}: {{ broker: lab }} }} }}"
        );
        modems.insert(modem.into(), serde_yaml::from_str(&text).unwrap());
    }
    if modems.is_empty() {
        modems.insert(
            "north".into(),
            serde_yaml::from_str("{ match: { port: /dev/ttyS9 } }").unwrap(),
        );
    }
    // The keys that a modem must have.
    for (_, modem) in modems.iter_mut() {
        let here = || serde_yaml::from_str("{ port: /dev/ttyS9 }").unwrap();
        modem.as_mapping_mut()?.entry("match".into()).or_insert_with(here);
    }
    // Brokers that sessions name.
    let mut named = BTreeSet::new();
    for (_, modem) in modems.iter() {
        for (_, session) in modem.get("sessions").and_then(Value::as_mapping).into_iter().flatten()
        {
            named.extend(session["broker"].as_str().map(str::to_owned));
        }
    }
    let brokers = file.entry("brokers".into()).or_insert_with(|| Mapping::new().into());
    for broker in named {
        let lab = || serde_yaml::from_str("{ url: 'mqtt://broker.example.com' }").unwrap();
        brokers.as_mapping_mut()?.entry(broker.into()).or_insert_with(lab);
    }
    Some(file)
}

#[test]
fn every_fleet_file_of_the_documents_is_accepted() {
    let schema: Json =
        serde_json::from_slice(&run(Command::new(modemfleet()).arg("schema"), b"").stdout).unwrap();
    let keys: BTreeSet<String> =
        schema["properties"].as_object().unwrap().keys().cloned().collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fleet.yaml");
    let mut checked = BTreeMap::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for piece in yaml_of(&text) {
            let Some(whole) = whole(&piece, &keys) else { continue };
            fs::write(&file, serde_yaml::to_string(&whole).unwrap()).unwrap();
            let all =
                if whole.contains_key("gateways") { "--all-gateways" } else { "--without-secrets" };
            let output = run(Command::new(modemfleet()).arg("check").arg(all).arg(&file), b"");
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{}:\n{piece}\n{told}", page.display());
            *checked.entry(page.file_name().unwrap().to_owned()).or_insert(0) += 1;
        }
    }
    let all: usize = checked.values().sum();
    assert!(all >= 20 && checked.len() >= 8, "only these were found: {checked:?}");
}

#[test]
fn a_wrong_piece_of_a_fleet_file_would_be_seen() {
    let keys = BTreeSet::from(["queue", "modems", "brokers", "routes"].map(str::to_owned));
    assert_eq!(
        yaml_of("```yaml\na: 1\n```\n```console\n$ cat > f <<'EOF'\nb: 2\nEOF\n$ x\n```\n"),
        ["a: 1\n", "b: 2\n"]
    );
    assert!(whole("apiVersion: v1", &keys).is_none() && whole("models: []", &keys).is_none());
    let file = whole("routes: [{ topic: '#', to: [a/b] }]", &keys).unwrap();
    assert_eq!(file["modems"]["a"]["sessions"]["b"]["broker"], "lab");
    assert_eq!(file["brokers"]["lab"]["url"], "mqtt://broker.example.com");
}

#[test]
fn a_scrape_holds_what_the_reference_lists() {
    let told = run(Command::new(modemfleet()).args(["schema", "--metrics"]), b"").stdout;
    let families: Vec<Json> = serde_json::from_slice(&told).unwrap();
    let family = |name: &str| families.iter().find(|family| family["name"] == name);
    let lab = Lab::new(1);
    let agent = lab.start();
    agent.publish("topic=t", b"x");
    lab.subscriber.wait(1);
    until("a signal", || agent.scrape().find("modemfleet_signal_rsrp_dbm", &[]).next().map(drop));
    let page = agent.http.get("/metrics").text();
    let mut seen = BTreeSet::new();
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let family = family(name).unwrap_or_else(|| panic!("{name} is scraped and not listed"));
        assert_eq!(family["type"], kind, "{name}");
        seen.insert(name.to_owned());
    }
    assert!(seen.len() >= 40, "{} families", seen.len());
    for series in e2e::Scrape::parse(&page).unwrap().samples {
        let ends = ["", "_bucket", "_sum", "_count"];
        let names = ends.iter().filter_map(|end| series.name.strip_suffix(end));
        let family = names.filter_map(family).next().unwrap();
        let labels = family["labels"].as_array().unwrap();
        let listed: BTreeSet<&str> =
            labels.iter().filter_map(|label| label["name"].as_str()).collect();
        let carried: BTreeSet<&str> =
            series.labels.keys().map(String::as_str).filter(|name| *name != "le").collect();
        assert_eq!(carried, listed, "{}", series.name);
        for label in labels.iter().filter(|label| label["values"].is_array()) {
            let value = Json::from(series.labels[label["name"].as_str().unwrap()].clone());
            let values = label["values"].as_array().unwrap();
            assert!(values.contains(&value), "{} {value}", series.name);
        }
    }
}

#[test]
fn units_name_manual_pages_that_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(Command::new(modemfleet()).args(["man", "--dir"]).arg(folder.path()), b"");
    assert!(output.status.success());
    let mut named = 0;
    for unit in fs::read_dir(root().join("deploy/systemd")).unwrap() {
        let path = unit.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        for uris in text.lines().filter_map(|line| line.strip_prefix("Documentation=")) {
            for uri in uris.split_whitespace() {
                let page = uri.strip_prefix("man:").and_then(|page| page.strip_suffix("(1)"));
                let page = page.unwrap_or_else(|| panic!("{}: {uri}", path.display()));
                assert!(
                    folder.path().join(format!("{page}.1")).is_file(),
                    "{}: {uri}",
                    path.display()
                );
                named += 1;
            }
        }
    }
    assert!(named >= 4, "only {named} units name a manual page");
}

/// Returns the calls of the program in a page, inline or in code blocks, without pipes and
/// redirections.
fn calls_of(page: &str) -> Vec<Vec<String>> {
    let (mut found, mut in_block) = (Vec::new(), false);
    for event in Parser::new_ext(page, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => in_block = true,
            Event::End(TagEnd::CodeBlock) => in_block = false,
            Event::Text(text) if in_block => found.extend(text.lines().filter_map(call)),
            Event::Code(text) => found.extend(call(&text)),
            _ => {}
        }
    }
    found
}

/// Returns the words behind the program's name, if a line calls it.
fn call(line: &str) -> Option<Vec<String>> {
    let ends = |word: &&str| !["#", "|", ">", "<", "&", "&&", ";", "…", "\\"].contains(word);
    // A prompt may be a number sign.
    let words: Vec<&str> = line.split_whitespace().skip_while(|word| *word == "#").collect();
    // `sudo -u modemfleet modemfleet doctor`
    let words: Vec<&str> = words.into_iter().take_while(ends).collect();
    let at = words.iter().rposition(|word| *word == "modemfleet")?;
    let words: Vec<String> = words.get(at + 1..)?.iter().map(|word| (*word).to_owned()).collect();
    let is_command = words.first()?.chars().all(|c| c.is_ascii_lowercase());
    is_command.then_some(words)
}

#[test]
fn every_call_of_the_documents_is_one_that_the_program_knows() {
    let help = |words: &[&str]| {
        let output = run(Command::new(modemfleet()).args(words).arg("--help"), b"");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let mut helps: BTreeMap<Vec<String>, String> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut checked = 0;
    for page in pages() {
        for words in calls_of(&fs::read_to_string(&page).unwrap()) {
            let has_more = ["profiles", "queue", "route", "sign"].contains(&&*words[0]);
            let command: Vec<String> =
                words.iter().take(if has_more { 2 } else { 1 }).cloned().collect();
            if !helps.contains_key(&command) {
                let text = help(&command.iter().map(String::as_str).collect::<Vec<_>>());
                helps.insert(command.clone(), text.unwrap_or_default());
            }
            let help = &helps[&command];
            let is_option = |word: &&String| word.starts_with("--") && word.len() > 2;
            let options = words.iter().filter(is_option).map(|word| {
                let name = word.split('=').next().unwrap_or_default();
                name.trim_end_matches(|c: char| !c.is_ascii_lowercase()).to_owned()
            });
            let known: BTreeSet<&str> = help.split([' ', ',', '\n', '[', '|', '<']).collect();
            let unknown: Vec<String> =
                options.filter(|option| !known.contains(&**option)).collect();
            if help.is_empty() || !unknown.is_empty() {
                wrong.push(format!(
                    "{}: modemfleet {}: {unknown:?}",
                    page.display(),
                    words.join(" ")
                ));
            }
            checked += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checked >= 80, "only {checked} calls");
}

#[test]
fn calls_are_seen_in_code_and_nowhere_else() {
    let page = "modemfleet on one modem, `modemfleet at M`, `--dangerous`\n\n```console\n\
        $ sudo modemfleet queue stat --dir D   # modemfleet x\n# modemfleet run --config F | cat --help\n```\n\n\
        | a |\n|---|\n| `modemfleet scan` |\n";
    let calls: Vec<String> = calls_of(page).iter().map(|words| words.join(" ")).collect();
    assert_eq!(calls, ["at M", "queue stat --dir D", "run --config F", "scan"]);
}

/// Collects each key with a default that is a value: its path in a fleet file, and that value.
fn defaults(place: &str, schema: &Json, found: &mut Vec<(String, String)>) {
    let keys = schema["properties"].as_object();
    for (key, value) in keys.into_iter().flatten() {
        let path = format!("{place}/{key}");
        if value.get("default").is_some() {
            let default = value["x-modemfleet"]["default"].as_str().unwrap().to_owned();
            found.push((path.clone(), default));
        }
        defaults(&path, value, found);
        defaults(&format!("{path}/*"), &value["additionalProperties"], found);
        defaults(&format!("{path}/*"), &value["items"], found);
        for choice in value["anyOf"].as_array().into_iter().flatten() {
            defaults(&path, choice, found);
        }
    }
}

/// A fleet file that contains every mapping.
const ALL_MAPPINGS: &str = "
gateway: gw
http: {}
inbox: {}
queue: {}
recovery: {}
hand_in: { mqtt: { listen: '127.0.0.1:1883' } }
brokers:
  lab: { url: 'mqtts://h', tls: { insecure: true } }
  ali: { provider: aliyun, region: cn-shanghai }
modems:
  m:
    match: { model: sim7600, port: /dev/ttyAMA0 }
    apn: { name: internet }
    budget: { bytes: 1GB }
    recovery: {}
    telemetry: { status: none }
    sessions:
      s: { broker: lab, tls: {}, will: { topic: t, payload: p }, subscribe: [{ filter: f }] }
      c: { broker: ali, product_key: a1mQpKOF9hp, device_name: d, device_secret: { env: SECRET } }
routes:
  - { topic: '#', to: [m/s], batch: { format: lines } }
";

/// Returns `file` with `value` at a path; `*` is the entry that may have such a key.
fn with_value(file: &Value, place: &str, value: &str) -> Value {
    let mut file = file.clone();
    let mut at = &mut file;
    let is_aliyun = ["aliauth", "securemode", "signmethod"].iter().any(|key| place.ends_with(key));
    for (key, above) in place.split('/').skip(1).zip(place.split('/')) {
        at = match (key, above) {
            ("*", "subscribe" | "routes") => &mut at[0],
            ("*", "brokers") => &mut at["lab"],
            ("*", "sessions") => &mut at[if is_aliyun { "c" } else { "s" }],
            ("*", _) => &mut at["m"],
            (key, _) => &mut at[key],
        };
    }
    *at = serde_yaml::from_str(value).unwrap();
    file
}

#[test]
fn the_defaults_that_the_reference_tells_are_those_of_the_program() {
    let schema = run(Command::new(modemfleet()).arg("schema"), b"").stdout;
    let mut told = Vec::new();
    defaults("", &serde_json::from_slice(&schema).unwrap(), &mut told);
    let file: Value = serde_yaml::from_str(ALL_MAPPINGS).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (before, after) = (folder.path().join("before.yaml"), folder.path().join("after.yaml"));
    let diff = |old: &Value, new: &Value| -> Vec<String> {
        fs::write(&before, serde_yaml::to_string(old).unwrap()).unwrap();
        fs::write(&after, serde_yaml::to_string(new).unwrap()).unwrap();
        let mut check = Command::new(modemfleet());
        check.env("SECRET", "secret").args(["check", "--diff"]).args([&before, &after]);
        let output = run(&mut check, b"");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        said.lines().filter(|line| line.starts_with(['+', '-', '~'])).map(str::to_owned).collect()
    };
    let mut wrong = Vec::new();
    // Without `insecure` a certificate file must exist.
    for (place, default) in told.iter().filter(|(place, _)| !place.ends_with("/insecure")) {
        // The interval has a meaning only with `fsync: interval`.
        let has_interval = place == "/queue/fsync_interval";
        let old = if has_interval { &with_value(&file, "/queue/fsync", "interval") } else { &file };
        let changes = diff(old, &with_value(old, place, default));
        if !changes.is_empty() {
            wrong.push(format!("{place}: {default}: {changes:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(told.len() >= 30, "only {} defaults: {told:?}", told.len());
    // Another value counts as a change.
    let other = with_value(&file, "/modems/*/poll", "11s");
    assert_eq!(diff(&file, &other).len(), 3, "a modem with two sessions begins anew");
}
