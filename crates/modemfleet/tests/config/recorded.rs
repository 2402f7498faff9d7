//! The recorded messages about hundreds of faulty files: a change of the check shows its effect on
//! users.

use super::*;

/// The values that replace a correct value.
const WRONG: [&str; 7] = ["x y", "-1", "[a]", "{ a: b }", "~", "", "\"\""];

/// Returns the lines of a file with every key on its own line.
fn whole() -> Vec<String> {
    let text = fs::read_to_string(fixture("every-key.yaml")).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '-']).len()
}

/// Returns the file with one line, and the lines below its key, replaced. If the line begins an
/// item of a list, the item keeps its dash.
fn changed(whole: &[String], at: usize, line: Option<&str>) -> String {
    let depth = indent(&whole[at]);
    let below = whole[at + 1..].iter().take_while(|line| indent(line) > depth).count();
    let rest = whole[at + 1 + below..].iter().map(String::as_str);
    let all = whole[..at].iter().map(String::as_str).chain(line).chain(rest);
    all.map(|line| format!("{line}\n")).collect()
}

/// Returns each change of a line: the new text, and the file.
fn changes(whole: &[String], at: usize) -> Vec<(String, String)> {
    let line = &whole[at];
    let (key, misspelt) = match line.split_once(':') {
        Some((key, _)) => (format!("{key}: "), Some(line.replacen(':', "x:", 1))),
        None => (line[..indent(line)].to_owned(), None),
    };
    let wrong = WRONG.map(|value| format!("{key}{value}"));
    // The first key of an item has the dash; without it the item would join the one before.
    let out = (!line.trim_start().starts_with("- ")).then(|| ("out".to_owned(), None));
    let lines = wrong.into_iter().map(|line| (line.trim().to_owned(), Some(line)));
    let misspelt = misspelt.map(|line| (line.trim().to_owned(), Some(line)));
    lines
        .chain(out)
        .chain(misspelt)
        .map(|(name, line)| (name, changed(whole, at, line.as_deref())))
        .collect()
}

fn told(text: &str, context: &Context) -> String {
    let checked = fleet::parse("fleet.yaml", text.as_bytes().to_vec(), context);
    let problems = checked.map_or_else(|problems| problems, |loaded| loaded.warnings);
    let one = |p: &fleet::Problem| {
        let help = p.help.as_ref().map(|help| format!(" / {help}")).unwrap_or_default();
        let (line, column, word) = (p.line, p.column, p.severity.word());
        format!("    {line}:{column} {word} {}: {}{help}\n", p.path, p.message)
    };
    problems.iter().map(one).collect()
}

#[test]
fn what_is_said_of_each_wrong_line_is_what_was_recorded() {
    let (whole, context) = (whole(), context());
    let mut all = format!("as it is\n{}", told(&changed(&whole, whole.len() - 1, None), &context));
    for (at, line) in whole.iter().enumerate() {
        all += &format!("{} {}\n", at + 1, line.trim());
        for (name, text) in changes(&whole, at) {
            all += &format!("  {name}\n{}", told(&text, &context));
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/faults.txt");
    if std::env::var_os("MODEMFLEET_RECORD").is_some() {
        fs::write(&path, &all).unwrap();
    }
    let recorded = fs::read_to_string(&path).unwrap();
    let differs =
        all.lines().zip(recorded.lines()).enumerate().find(|(_, (now, then))| now != then);
    assert_eq!(differs, None, "MODEMFLEET_RECORD=1 records it anew");
    assert_eq!(all.lines().count(), recorded.lines().count());
}

#[test]
fn the_recorded_file_has_every_key() {
    fn keys(schema: &serde_json::Value, all: &mut Vec<String>) {
        if let Some(properties) = schema.get("properties").and_then(|all| all.as_object()) {
            all.extend(properties.keys().cloned());
        }
        match schema {
            serde_json::Value::Object(map) => map.values().for_each(|below| keys(below, all)),
            serde_json::Value::Array(list) => list.iter().for_each(|below| keys(below, all)),
            _ => {}
        }
    }
    let mut all = Vec::new();
    keys(&fleet::schema(), &mut all);
    let text = whole().join("\n");
    // `gateway` cannot stand beside `gateways`.
    let lacks = |key: &&String| *key != "gateway" && !text.contains(&format!("{key}:"));
    assert_eq!(all.iter().filter(lacks).collect::<Vec<_>>(), Vec::<&String>::new());
}
