//! `modemfleet profiles lint`: problems in files of models, and conflicts between entries.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use modem::Plugin;
use modem::session::Chain;
use modem::transcript::{Fault, Transcript};
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
  modemfleet profiles lint sim7600.txt     check the form of a transcript, and that it names no unit

Exit codes: 0 valid (there may be remarks), 2 errors, for which the agent would refuse the models.";

/// The most bytes of a transcript that are read.
const LONGEST: u64 = 16 * 1024 * 1024;

/// Checks files of models, as the agent would read them from its folder.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Files to check as a part of the folder; each replaces a file of the same name there. A file
    /// whose name ends in `.txt` is a transcript.
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
    let transcripts = match transcripts(args, &models) {
        Ok(faults) => faults,
        Err((path, error)) => {
            complain(&format!("could not read {}: {error}", path.display()));
            return wrong();
        }
    };
    let printed = if args.json {
        writeln!(io::stdout(), "{:#}", document(&problems, &transcripts, &findings))
    } else {
        tell(&models, &problems, &transcripts, &findings)
    };
    match printed {
        Err(error) => output_failed(&error),
        Ok(()) if problems.is_empty() && transcripts.is_empty() => ExitCode::SUCCESS,
        Ok(()) => wrong(),
    }
}

/// A fault in a transcript.
struct TranscriptFault {
    file: String,
    fault: Fault,
}

/// Reports whether a file is a transcript, by its name.
fn is_transcript(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "txt")
}

/// Returns the faults of the transcripts among the files. A model without an entry is a fault: a
/// transcript proves an entry.
fn transcripts(args: &Args, models: &Models) -> Result<Vec<TranscriptFault>, (PathBuf, io::Error)> {
    let mut all = Vec::new();
    for path in args.files.iter().filter(|file| is_transcript(file)) {
        let text = read_text(path).map_err(|error| (path.clone(), error))?;
        let faults = match Transcript::parse(&text) {
            Err(faults) => faults,
            Ok(transcript) => {
                let unknown = transcript.models.into_iter();
                let unknown = unknown.filter(|model| models.catalog.model(model).is_none());
                let words =
                    |model| format!("no entry has the id {model:?}: add one, or name another");
                unknown.map(|model| Fault { line: 2, words: words(model) }).collect()
            }
        };
        let file = path.display().to_string();
        all.extend(faults.into_iter().map(|fault| TranscriptFault { file: file.clone(), fault }));
    }
    Ok(all)
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

fn read(args: &Args, plugins: &[&Plugin]) -> Result<(Models, Vec<Problems>), ModelsError> {
    let mut models = Models::built_in(plugins)?;
    let mut files = args.models.files()?;
    files.retain(|file| args.files.iter().all(|given| given.file_name() != file.file_name()));
    files.extend(args.files.iter().filter(|file| !is_transcript(file)).cloned());
    files.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    let problems = models.read(&files);
    Ok((models, problems))
}

fn tell(
    models: &Models,
    problems: &[Problems],
    transcripts: &[TranscriptFault],
    findings: &[Finding],
) -> io::Result<()> {
    let styled = io::stderr().is_terminal();
    let mut out = io::stdout().lock();
    for TranscriptFault { file, fault } in transcripts {
        let words = printable(&fault.words);
        writeln!(io::stderr(), "{}:{}: {words}", printable(file), fault.line)?;
    }
    for problems in problems {
        writeln!(io::stderr(), "{}\n", problems.render(styled))?;
    }
    for Finding { kind, model, origin, message } in findings {
        let whose = if model.is_empty() { origin.clone() } else { format!("{model} ({origin})") };
        writeln!(out, "{kind}: {}: {}", printable(&whose), printable(message))?;
    }
    let errors =
        problems.iter().map(Problems::len).sum::<usize>().saturating_add(transcripts.len());
    let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    writeln!(
        out,
        "{}, {}, {}",
        count(models.catalog.models().count(), "model"),
        count(errors, "error"),
        count(findings.len(), "remark")
    )
}

fn document(problems: &[Problems], transcripts: &[TranscriptFault], findings: &[Finding]) -> Value {
    let mut all = listed_problems(problems);
    all.extend(transcripts.iter().map(|TranscriptFault { file, fault }| {
        json!({ "severity": "error", "file": file, "line": fault.line, "message": fault.words })
    }));
    json!({ "ok": all.is_empty(), "problems": all, "remarks": findings })
}
