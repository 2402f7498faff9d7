//! `modemfleet profiles lint`: problems in files of models, and conflicts between entries.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use modem::Plugin;
use modem::session::Chain;
use serde_json::{Value, json};

use crate::end::{code_of, output_failed, wrong};
use fleet::Problems;
use fleet::models::lint::{self, Finding};
use fleet::models::{Folder, Models, ModelsError, listed_problems};
use fleet::printable::complain;
use fleet::printable::printable;

const EXAMPLES: &str = "Examples:
  modemfleet profiles lint                 check the models of this build and of the folder
  modemfleet profiles lint acme.yaml       check acme.yaml as a part of the folder

Exit codes: 0 valid (there may be remarks), 2 errors, for which the agent would refuse the models.";

/// Checks files of models, as the agent would read them from its folder.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Files to check as a part of the folder; each replaces a file of the same name there.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// The models.
    #[command(flatten)]
    models: Folder,
}

/// Runs the checks, prints the problems and returns the exit code.
pub(super) fn run(args: &Args, plugins: &[&Plugin]) -> ExitCode {
    let (models, problems) = match read(args, plugins) {
        Ok(read) => read,
        Err(error) => {
            complain(&Chain(&error).to_string());
            return code_of(&error);
        }
    };
    let findings = lint::lint(&models);
    let printed = if args.json {
        writeln!(io::stdout(), "{:#}", document(&problems, &findings))
    } else {
        tell(&models, &problems, &findings)
    };
    match printed {
        Err(error) => output_failed(&error),
        Ok(()) if problems.is_empty() => ExitCode::SUCCESS,
        Ok(()) => wrong(),
    }
}

fn read(args: &Args, plugins: &[&Plugin]) -> Result<(Models, Vec<Problems>), ModelsError> {
    let mut models = Models::built_in(plugins)?;
    let mut files = args.models.files()?;
    files.retain(|file| args.files.iter().all(|given| given.file_name() != file.file_name()));
    files.extend(args.files.iter().cloned());
    files.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    let problems = models.read(&files);
    Ok((models, problems))
}

fn tell(models: &Models, problems: &[Problems], findings: &[Finding]) -> io::Result<()> {
    let styled = io::stderr().is_terminal();
    let mut out = io::stdout().lock();
    for problems in problems {
        writeln!(io::stderr(), "{}\n", problems.render(styled))?;
    }
    for Finding { kind, model, origin, message } in findings {
        let whose = if model.is_empty() { origin.clone() } else { format!("{model} ({origin})") };
        writeln!(out, "{kind}: {}: {}", printable(&whose), printable(message))?;
    }
    let errors: usize = problems.iter().map(Problems::len).sum();
    let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    writeln!(
        out,
        "{}, {}, {}",
        count(models.catalog.models().count(), "model"),
        count(errors, "error"),
        count(findings.len(), "remark")
    )
}

fn document(problems: &[Problems], findings: &[Finding]) -> Value {
    json!({ "ok": problems.is_empty(), "problems": listed_problems(problems), "remarks": findings })
}
