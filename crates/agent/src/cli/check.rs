//! `modemfleet check`: is this file good, and if not, where.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::config::{self, Fleet, Problems, Secrets};

/// Checks a fleet.yaml as `run` and `reload` do, and the secrets it refers to.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file to check.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print one JSON object on standard output.
    #[arg(long)]
    pub json: bool,
    /// Do not read the secrets: for a check on another machine than the gateway.
    #[arg(long)]
    pub without_secrets: bool,
}

/// What the check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The file may be used; there may be warnings. Exit code 0.
    Good,
    /// The file is refused. Exit code 2.
    Wrong,
}

/// Checks and prints: the problems on `stderr` (in colours where `styled`), the verdict on
/// `stdout`. With `--json` everything is one object on `stdout`.
///
/// # Errors
/// Only those of the two outputs.
pub fn run(
    args: &Args,
    styled: bool,
    stdout: &mut impl Write,
    stderr: &mut impl Write,
) -> io::Result<Verdict> {
    let secrets = if args.without_secrets { Secrets::Skip } else { Secrets::Read };
    let (fleet, problems) = match config::load_with(&args.file, secrets) {
        Ok(loaded) => (Some(loaded.fleet), loaded.warnings),
        Err(problems) => (None, problems),
    };
    if args.json {
        writeln!(stdout, "{}", report(fleet.as_ref(), &problems))?;
    } else {
        if !problems.is_empty() {
            writeln!(stderr, "{}", problems.render(styled))?;
        }
        if let Some(fleet) = &fleet {
            writeln!(stdout, "{}", summary(problems.file(), fleet))?;
        }
    }
    Ok(if fleet.is_some() { Verdict::Good } else { Verdict::Wrong })
}

fn summary(file: &str, fleet: &Fleet) -> String {
    let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    format!(
        "{file}: ok ({}, {}, {})",
        count(fleet.modems.len(), "modem"),
        count(fleet.sessions().count(), "session"),
        count(fleet.routes().len(), "route"),
    )
}

fn report(fleet: Option<&Fleet>, problems: &Problems) -> Value {
    let list: Vec<Value> = problems
        .iter()
        .map(|problem| {
            json!({
                "severity": problem.severity.word(),
                "line": problem.line,
                "column": problem.column,
                "path": problem.path,
                "message": problem.message,
                "help": problem.help,
            })
        })
        .collect();
    let mut report = json!({ "file": problems.file(), "ok": fleet.is_some(), "problems": list });
    if let (Some(fleet), Some(report)) = (fleet, report.as_object_mut()) {
        report.insert("modems".to_owned(), fleet.modems.len().into());
        report.insert("sessions".to_owned(), fleet.sessions().count().into());
        report.insert("routes".to_owned(), fleet.routes().len().into());
    }
    report
}
