//! `cargo xtask models`: the README's table of models, made from the `models.yaml` of the profiles.

use std::fs;

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::step::root;

/// The marks around the table in the README.
const MARKS: (&str, &str) =
    ("<!-- models: made by `cargo xtask models` -->\n", "<!-- /models -->\n");

/// Arguments of `models`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Change nothing; fail if the table differs from the profiles' data.
    #[arg(long)]
    check: bool,
}

#[derive(Deserialize)]
struct File {
    models: Vec<Model>,
}

/// The parts of a model's entry that the table shows.
#[derive(Deserialize)]
struct Model {
    cgmm: Vec<String>,
    evidence: Evidence,
}

#[derive(Deserialize)]
struct Evidence {
    identification: String,
    mqtt: String,
    status: String,
    tls: Option<String>,
}

/// Writes the table, or checks it.
///
/// # Errors
/// If a file cannot be read or written, or the table differs in a check.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let path = root().join("README.md");
    let text = fs::read_to_string(&path).context("cannot read README.md")?;
    let (before, rest) =
        text.split_once(MARKS.0).context("README.md has no mark where the models begin")?;
    let (_, after) =
        rest.split_once(MARKS.1).context("README.md has no mark where the models end")?;
    let wanted = format!("{before}{}{}{}{after}", MARKS.0, table()?, MARKS.1);
    if arguments.check {
        ensure!(wanted == text, "README.md's table of models is old: run `cargo xtask models`");
        return Ok(());
    }
    fs::write(&path, wanted).context("cannot write README.md")
}

fn table() -> anyhow::Result<String> {
    let mut table =
        "| model | identification | MQTT dialogue | signal and network | TLS |\n|---|---|---|---|---|\n"
            .to_owned();
    let mut folders: Vec<_> = fs::read_dir(root().join("profiles"))?.collect::<Result<_, _>>()?;
    folders.sort_by_key(fs::DirEntry::path);
    for folder in folders {
        let path = folder.path().join("models.yaml");
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let file: File = serde_yaml::from_str(&text)
            .with_context(|| format!("cannot read {}", path.display()))?;
        for Model { cgmm, evidence } in file.models {
            let Evidence { identification, mqtt, status, tls } = evidence;
            let tls = tls.map_or(Ok("refused".to_owned()), |basis| words(&basis))?;
            let row =
                [cgmm.join(", "), words(&identification)?, words(&mqtt)?, words(&status)?, tls];
            table += &format!("| {} |\n", row.join(" | "));
        }
    }
    Ok(table)
}

/// Returns the basis of a claim in the README's words.
fn words(basis: &str) -> anyhow::Result<String> {
    Ok(match basis {
        "manual" => "manual only",
        "transcript" => "transcripts of real units",
        "hardware" => "our own runs on hardware",
        "inferred" => "inferred from a sibling, not verified",
        other => anyhow::bail!("models.yaml says {other:?}, which is not a basis of a claim"),
    }
    .to_owned())
}
