//! A model that claims a transcript has one, and transcripts have the format in CONTRIBUTING.md.

use std::collections::BTreeSet;

use anyhow::Context as _;
use serde_yaml::Value;

use crate::tree::{TextFile, text_files};
use crate::{Breach, verdict};

/// The marks of lines in a transcript: sent, received, unsolicited, a pause, a comment.
const BEGINNINGS: &[char] = &['>', '<', '!', '~', '#'];

/// The number of digits that identify a modem (IMEI), a subscriber (IMSI) or a card (ICCID).
const IDENTITY_DIGITS: std::ops::RangeInclusive<usize> = 15..=20;

/// The replacement for the end of an identity in a transcript.
const BLANKED: &str = "000000";

/// Reports whether no claim of a model's entry rests on a real unit. Such a model is marked as not
/// verified, and a transcript made from a manual would hide that.
fn claims_no_transcript(model: &Value) -> bool {
    let evidence = model.get("evidence").and_then(Value::as_mapping);
    evidence.is_some_and(|claims| {
        claims.values().all(|basis| matches!(basis.as_str(), Some("manual" | "inferred")))
    })
}

/// Returns the ids of the models in a `models.yaml`, and whether each needs a transcript.
fn models(yaml: &str) -> anyhow::Result<Vec<(String, bool)>> {
    let file: Value = serde_yaml::from_str(yaml).context("is no YAML")?;
    let models = file.get("models").and_then(Value::as_sequence).context("has no list `models`")?;
    models
        .iter()
        .map(|model| {
            let id = model.get("id").and_then(Value::as_str)?;
            Some((id.to_owned(), !claims_no_transcript(model)))
        })
        .collect::<Option<Vec<_>>>()
        .context("has a model without `id`")
}

/// Returns the models that a transcript's header names: `# models: a, b` among its first comments.
fn named(text: &str) -> Vec<&str> {
    text.lines()
        .take_while(|line| line.starts_with('#'))
        .filter_map(|line| line.strip_prefix("# models:"))
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .collect()
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Compares the models of a profile with its transcripts, and returns the breaches.
fn unproven(path: &str, yaml: &str, transcripts: &[&TextFile]) -> Vec<Breach> {
    let models = match models(yaml) {
        Ok(models) => models,
        Err(why) => return vec![format!("{path}: {why:#}: see the other profiles' files")],
    };
    let mut breaches = Vec::new();
    for (model, _) in models.iter().filter(|(_, needs)| *needs) {
        let told = |file: &&&TextFile| {
            file_name(&file.path).starts_with(model.as_str())
                || named(&file.text).contains(&model.as_str())
        };
        if transcripts.iter().find(told).is_none() {
            breaches.push(format!(
                "{path}: no transcript tells of {model}: add transcripts/{model}-….txt, or `# models: {model}` to the head of one"
            ));
        }
    }
    let known: BTreeSet<&str> = models.iter().map(|(id, _)| id.as_str()).collect();
    for file in transcripts {
        for name in named(&file.text).into_iter().filter(|name| !known.contains(name)) {
            breaches.push(format!(
                "{}: tells of {name:?}, which {path} does not list: correct one of them",
                file.path
            ));
        }
    }
    breaches
}

fn malformed(path: &str, text: &str) -> Vec<Breach> {
    let mut breaches = Vec::new();
    if !text.starts_with("# source: ") {
        breaches.push(format!("{path}:1: does not say where it is from: begin with `# source: …`"));
    }
    for (number, line) in (1..).zip(text.lines()) {
        let mut letters = line.chars();
        let begins = letters.next().is_none_or(|first| BEGINNINGS.contains(&first));
        if !begins || letters.next().is_some_and(|second| second != ' ') {
            breaches.push(format!(
                "{path}:{number}: begins with none of `> `, `< `, `! `, `~ `, `# `: say who spoke"
            ));
        }
        if names_an_identity(line) {
            breaches.push(format!("{path}:{number}: names a modem, a card or a subscriber: end the number with {BLANKED}"));
        }
    }
    breaches
}

fn names_an_identity(line: &str) -> bool {
    let numbers = line.split(|letter: char| !letter.is_ascii_digit());
    numbers
        .filter(|number| IDENTITY_DIGITS.contains(&number.len()))
        .any(|number| !number.ends_with(BLANKED))
}

/// Returns the transcripts in a profile's folder.
fn transcripts_of<'a>(files: &'a [TextFile], profile: &str) -> Vec<&'a TextFile> {
    let folder = format!("{profile}/transcripts/");
    files
        .iter()
        .filter(|file| file.path.starts_with(&folder) && !file.path.ends_with(".md"))
        .collect()
}

#[test]
fn every_model_is_proven_by_a_transcript() -> anyhow::Result<()> {
    let files = text_files()?;
    let profiles = files.iter().filter_map(|file| {
        let profile = file.path.strip_suffix("/models.yaml")?;
        profile.starts_with("profiles/").then_some((profile, file))
    });
    let mut found = Vec::new();
    let mut seen = 0;
    for (profile, file) in profiles {
        seen += 1;
        found.extend(unproven(&file.path, &file.text, &transcripts_of(&files, profile)));
    }
    assert!(seen > 0, "no profiles/*/models.yaml found");
    verdict(&found);
    Ok(())
}

#[test]
fn transcripts_have_a_source_and_say_who_spoke() -> anyhow::Result<()> {
    let files = text_files()?;
    let transcripts = files.iter().filter(|file| {
        file.path.starts_with("profiles/")
            && file.path.contains("/transcripts/")
            && !file.path.ends_with(".md")
    });
    let found: Vec<_> = transcripts.flat_map(|file| malformed(&file.path, &file.text)).collect();
    verdict(&found);
    Ok(())
}

#[test]
fn a_model_without_transcript_is_seen() {
    let file = |path: &str, text: &str| TextFile { path: path.to_owned(), text: text.to_owned() };
    let yaml = "models:\n  - id: sim1\n  - id: sim2\n";
    let by_name = file("profiles/x/transcripts/sim1-boot.txt", "# source: a\n");
    let by_head = file("profiles/x/transcripts/start.txt", "# source: a\n# models: sim1, sim2\n");
    let stranger = file("profiles/x/transcripts/sim2.txt", "# source: a\n# models: sim9\n");
    assert_eq!(unproven("m", yaml, &[&by_head]), Vec::<String>::new());
    let found = unproven("m", yaml, &[&by_name]);
    assert!(
        matches!(&found[..], [one] if one.contains("no transcript tells of sim2")),
        "{found:?}"
    );
    let manual = "models:\n  - { id: sim1, evidence: { mqtt: manual, status: inferred } }\n";
    assert_eq!(unproven("m", manual, &[]), Vec::<String>::new());
    let claimed = "models:\n  - { id: sim1, evidence: { mqtt: manual, status: transcript } }\n";
    assert_eq!(unproven("m", claimed, &[]).len(), 1, "it claims one");
    let found = unproven("m", yaml, &[&by_name, &stranger]);
    assert!(matches!(&found[..], [one] if one.contains("\"sim9\"")), "{found:?}");
    for broken in ["models: [", "list: []", "models:\n  - manufacturer: x\n"] {
        assert_eq!(unproven("m", broken, &[]).len(), 1, "{broken}");
    }
}

#[test]
fn a_bad_transcript_is_seen() {
    let good = "# source: our own\n\n> AT+CGSN\n< 861234567000000\n<\n! +CMQTTNONET\n~ 1.2s\n";
    assert_eq!(malformed("t", good), Vec::<String>::new());
    assert_eq!(malformed("t", "# a comment\n> AT\n").len(), 1, "no source");
    assert_eq!(malformed("t", "# source: x\nOK\n").len(), 1, "nobody spoke");
    assert_eq!(malformed("t", "# source: x\n>AT\n").len(), 1, "no blank");
    for number in ["861234567123456", "89860012345678901234", "460001234567890"] {
        assert_eq!(malformed("t", &format!("# source: x\n< {number}\n")).len(), 1, "{number}");
    }
}
