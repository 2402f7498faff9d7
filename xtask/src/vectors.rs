//! `cargo xtask vectors`: modems' replies with their meaning, one JSON object a line, put through
//! `modemfleet profiles decode`. It prints the pass rate by command, and the faults of each
//! failure.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::step::{Invocation, target};

/// Keys of an expectation that are notes for its reader.
const PROSE: [&str; 3] = ["note", "convention", "order"];

/// The difference up to which two numbers are equal.
const NEARLY: f64 = 1e-6;

/// The exit code of `profiles decode` for an unknown command.
const UNKNOWN: i32 = 2;

/// Arguments of `vectors`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Files of lines `{"cmd": …, "input": …, "expect": {…}}`. A key that is null is expected to be
    /// absent, `{"error": true}` a refusal; `note`, `…_note`, `convention` and `order` are not
    /// compared.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Read replies as those of this model only; without it, each command as that of the first
    /// vendor that knows it.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
}

/// A reply and its meaning.
#[derive(Debug, Deserialize)]
struct Vector {
    cmd: String,
    input: String,
    expect: Map<String, Value>,
    #[serde(default)]
    source: String,
}

/// The results of a command's vectors.
#[derive(Debug, Default)]
struct Score {
    passed: usize,
    /// The faults of the failed ones.
    failures: Vec<String>,
    /// The number of vectors that no profile reads.
    unknown: usize,
}

/// Reads the files, runs each line and prints the table.
///
/// # Errors
/// If a file has another format, a binary cannot be built or started, or a vector failed.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut vectors = Vec::new();
    for file in &arguments.files {
        vectors.extend(read(file)?);
    }
    Invocation::cargo(&["build", "--quiet", "--package", "modemfleet", "--bin", "modemfleet"])
        .run()?;
    let binary = target().join("debug/modemfleet");
    let models = match &arguments.model {
        Some(model) => vec![model.clone()],
        None => one_of_each_vendor(&binary)?,
    };
    let mut scores: BTreeMap<String, Score> = BTreeMap::new();
    let mut speakers = HashMap::new();
    for vector in &vectors {
        let score = scores.entry(vector.cmd.clone()).or_default();
        judge(&binary, &models, &mut speakers, vector, score)?;
    }
    print!("{}", report(&scores));
    let failed: usize = scores.values().map(|score| score.failures.len()).sum();
    ensure!(failed == 0, "{failed} of the decoded vectors have another meaning");
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Vec<Vector>> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            serde_json::from_str(line)
                .with_context(|| format!("{}:{number} is not a vector", file.display()))
        })
        .collect()
}

/// Returns the first model of each maker: all models of a maker share its replies.
fn one_of_each_vendor(binary: &Path) -> anyhow::Result<Vec<String>> {
    let output = Command::new(binary).args(["profiles", "list", "--json"]).output()?;
    let listed: Value = serde_json::from_slice(&output.stdout).context("profiles list --json")?;
    let (mut makers, mut models) = (Vec::new(), Vec::new());
    for model in listed.get("models").and_then(Value::as_array).map_or(&[][..], Vec::as_slice) {
        let text = |key: &str| model.get(key).and_then(Value::as_str).unwrap_or_default();
        if !makers.contains(&text("manufacturer")) {
            makers.push(text("manufacturer"));
            models.push(text("id").to_owned());
        }
    }
    ensure!(!models.is_empty(), "no model is listed");
    Ok(models)
}

/// The result of `profiles decode` for a reply.
enum Decoded {
    Meaning(Value),
    Refused(String),
    Unknown,
}

fn judge(
    binary: &Path,
    models: &[String],
    speakers: &mut HashMap<String, String>,
    vector: &Vector,
    score: &mut Score,
) -> anyhow::Result<()> {
    let known = speakers.get(&vector.cmd).cloned();
    let asked = known.as_ref().map_or(models, std::slice::from_ref);
    for model in asked {
        let told = decode(binary, model, vector)?;
        if matches!(told, Decoded::Unknown) {
            continue;
        }
        speakers.insert(vector.cmd.clone(), model.clone());
        match wrong(vector, &told) {
            None => score.passed += 1,
            Some(why) => score.failures.push(why),
        }
        return Ok(());
    }
    score.unknown += 1;
    Ok(())
}

fn decode(binary: &Path, model: &str, vector: &Vector) -> anyhow::Result<Decoded> {
    let mut child = Command::new(binary)
        .args(["profiles", "decode", "--model", model, "--command", &vector.cmd])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that rejects the command does not read the reply.
        let _ = stdin.write_all(vector.input.as_bytes());
    }
    let output = child.wait_with_output()?;
    let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok(match output.status.code() {
        Some(0) => Decoded::Meaning(serde_json::from_slice(&output.stdout)?),
        Some(1) => Decoded::Refused(error),
        Some(UNKNOWN) => Decoded::Unknown,
        _ => bail!("profiles decode ended with {}: {error}", output.status),
    })
}

/// Returns the differences from the vector's expectation; `None` if there are none.
fn wrong(vector: &Vector, told: &Decoded) -> Option<String> {
    let refusal = vector.expect.get("error") == Some(&Value::Bool(true));
    let mut why = Vec::new();
    match told {
        Decoded::Refused(_) if refusal => {}
        Decoded::Refused(error) => why.push(format!("refused: {error}")),
        Decoded::Meaning(meaning) if refusal => why.push(format!("not refused, but {meaning}")),
        Decoded::Meaning(meaning) => {
            differences("", &Value::Object(vector.expect.clone()), meaning, &mut why);
        }
        Decoded::Unknown => {}
    }
    if why.is_empty() {
        return None;
    }
    let mut text = format!("{:?}", vector.input);
    if !vector.source.is_empty() {
        let _ = write!(text, "\n    from {}", vector.source);
    }
    for line in why {
        let _ = write!(text, "\n    {line}");
    }
    Some(text)
}

/// Collects the expected parts that a meaning does not have.
fn differences(path: &str, wanted: &Value, got: &Value, why: &mut Vec<String>) {
    match (wanted, got) {
        (Value::Object(wanted), Value::Object(got)) => {
            for (key, value) in wanted {
                if !PROSE.contains(&key.as_str()) && !key.ends_with("_note") {
                    let found = got.get(key).unwrap_or(&Value::Null);
                    differences(&format!("{path}.{key}"), value, found, why);
                }
            }
        }
        (Value::Array(wanted), Value::Array(got)) if wanted.len() == got.len() => {
            for (at, (wanted, got)) in wanted.iter().zip(got).enumerate() {
                differences(&format!("{path}[{at}]"), wanted, got, why);
            }
        }
        _ => {
            let numbers = wanted.as_f64().zip(got.as_f64());
            let same = numbers.map_or(wanted == got, |(a, b)| (a - b).abs() < NEARLY);
            if !same {
                why.push(format!("{path}: expected {wanted}, got {got}"));
            }
        }
    }
}

/// Returns the table by command, then the failures.
fn report(scores: &BTreeMap<String, Score>) -> String {
    let mut text = String::new();
    let width = scores.keys().map(String::len).max().unwrap_or(0);
    let (mut passed, mut read, mut unknown) = (0, 0, Vec::new());
    for (command, score) in scores {
        let all = score.passed + score.failures.len();
        (passed, read) = (passed + score.passed, read + all);
        if score.unknown > 0 {
            unknown.push(format!("{command} ({})", score.unknown));
        }
        if all > 0 {
            let mark = if score.failures.is_empty() { "" } else { "  <-" };
            let _ = writeln!(text, "{command:width$}  {:>3} of {all:>3}{mark}", score.passed);
        }
    }
    let _ = writeln!(text, "{:width$}  {passed:>3} of {read:>3}", "all that are read");
    if !unknown.is_empty() {
        let _ = writeln!(text, "\nread by no profile: {}", unknown.join(", "));
    }
    for (command, score) in scores {
        for failure in &score.failures {
            let _ = writeln!(text, "\n{command}: {failure}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vector(expect: Value) -> Vector {
        let line = json!({"cmd": "AT+X", "input": "+X: 1", "expect": expect});
        serde_json::from_value(line).unwrap()
    }

    #[test]
    fn only_what_is_expected_counts_and_null_means_absent() {
        let told = Decoded::Meaning(json!({"a": 1.0, "b": {"c": [1, "x"]}, "more": 7}));
        for expect in [
            json!({"a": 1}),
            json!({"gone": null, "b": {"c": [1, "x"], "note": "words"}}),
            json!({"x_note": 1, "order": "words"}),
        ] {
            assert_eq!(wrong(&vector(expect.clone()), &told), None, "{expect}");
        }
        for (expect, why) in [
            (json!({"a": 1.1}), ".a: expected 1.1, got 1.0"),
            (json!({"more": null}), ".more: expected null, got 7"),
            (json!({"b": {"c": [1]}}), ".b.c: expected [1], got [1,\"x\"]"),
            (json!({"b": {"c": [1, "y"]}}), ".b.c[1]: expected \"y\""),
            (json!({"error": true}), "not refused"),
        ] {
            let found = wrong(&vector(expect), &told).unwrap();
            assert!(found.contains(why), "{why}: {found}");
        }
    }

    #[test]
    fn a_refusal_is_right_where_one_is_expected() {
        let told = Decoded::Refused("no line".to_owned());
        assert_eq!(wrong(&vector(json!({"error": true})), &told), None);
        assert!(wrong(&vector(json!({"error": "cme"})), &told).unwrap().contains("no line"));
    }

    #[test]
    fn the_table_names_what_nobody_reads() {
        let score = |passed, failures: &[&str], unknown| Score {
            passed,
            failures: failures.iter().map(|&why| why.to_owned()).collect(),
            unknown,
        };
        let scores = BTreeMap::from([
            ("AT+A".to_owned(), score(2, &["\"x\"\n    .a: b"], 0)),
            ("AT+B".to_owned(), score(0, &[], 3)),
        ]);
        let text = report(&scores);
        assert!(text.contains("AT+A    2 of   3  <-\n"), "{text}");
        assert!(text.contains("read by no profile: AT+B (3)"), "{text}");
        assert!(text.contains("AT+A: \"x\"\n    .a: b"), "{text}");
    }
}
