//! The words about a recording: its source, its evidence and the next steps.

use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use modem::Catalog;
use modem::catalog::{Basis, Evidence};
use modem::recording::{Published, Recording};
use modem::script::{Question, STANDARD};

use fleet::printable::printable;

/// Returns today's date in UTC.
fn today() -> String {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    now.get(..10).unwrap_or(&now).to_owned()
}

/// Returns the origin of a recording, for the first line of its transcript.
pub(super) fn source(recording: &Recording, on: &str) -> String {
    let firmware = recording.firmware.as_deref().unwrap_or("unknown");
    let text =
        format!("own recording, {}, {} on {on}, firmware {firmware}", today(), recording.cgmm);
    // A line of the modem must not make lines of the file.
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Returns the port in words: the USB interface, if there is one. Its path names nothing.
pub(super) fn place(tty: &Path) -> String {
    match discovery::usb_tty(tty) {
        Ok(Some(usb)) => format!("USB {}, interface {}", usb.usb_id, usb.interface),
        _ => "a tty that is not on USB".to_owned(),
    }
}

/// Returns the name of the file without its ending: the model's id and the date.
pub(super) fn file_name(recording: &Recording) -> String {
    let model = recording.transcript.models.first().map_or("modem", String::as_str);
    format!("{model}-{}", today())
}

/// Prints the outcome, the evidence and the next steps; returns true if the recording is whole.
/// They go to standard error if the transcript has standard output.
pub(super) fn print(
    recording: &Recording,
    catalog: &Catalog,
    path: Option<&Path>,
    asked: bool,
) -> io::Result<bool> {
    let words = words(recording, catalog, path);
    match path {
        Some(_) => write!(io::stdout(), "{words}")?,
        None => write!(io::stderr(), "{words}")?,
    }
    let is_published = matches!(recording.published, Published::Acknowledged);
    Ok(recording.cut.is_none() && (is_published || !asked))
}

fn words(recording: &Recording, catalog: &Catalog, path: Option<&Path>) -> String {
    let mut lines = Vec::new();
    let file = path.map_or_else(|| "the transcript".to_owned(), |path| path.display().to_string());
    if let Some(path) = path {
        lines.push(format!("written: {}", printable(&path.display().to_string())));
    }
    if let Some(cut) = &recording.cut {
        lines.push(format!("it ends early: {}", printable(cut)));
    }
    lines.push(match &recording.published {
        Published::Acknowledged => "publish: acknowledged by the broker".to_owned(),
        Published::Failed(failure) => format!("publish: failed: {}", printable(failure)),
        Published::NotReached => "publish: not reached".to_owned(),
        Published::NotAsked => "publish: none; `--broker HOST:PORT` records one".to_owned(),
        Published::NoDialect => {
            "publish: none, since the dialect of this modem is not known; `--model MODEL` tries a known one".to_owned()
        }
    });
    let models = recording.transcript.models.join(", ");
    lines.push(String::new());
    match (recording.evidence(catalog), &recording.model) {
        (Some(evidence), Some(model)) => {
            lines.push(format!("In models.yaml, at `id: {}`:", model.id));
            lines.push(format!("    evidence: {}", evidence_line(&evidence)));
        }
        _ => {
            let like = recording.profile.map_or("MODEL", |_| "the model of --model");
            lines.push(format!("{} has no entry. `modemfleet profiles explain` proposes one; a file in models.d needs:", printable(&recording.cgmm)));
            lines.push("models:".to_owned());
            lines.push(format!(
                "  - {{ like: {like}, id: {models}, cgmm: [{:?}] }}",
                printable(&recording.cgmm)
            ));
        }
    }
    lines.push(String::new());
    lines.push("Next:".to_owned());
    lines.push(format!(
        "1. Read {} for names that no table knows. Cell and operator stay in it.",
        printable(&file)
    ));
    lines.push("2. Name the board in its first line, such as `on a USB carrier board`.".to_owned());
    lines.push("3. `modemfleet profiles lint FILE` finds no fault in it.".to_owned());
    lines.push("4. Put it into profiles/VENDOR/transcripts/, the evidence into models.yaml, and open a pull request.".to_owned());
    lines.push(String::new());
    lines.join("\n")
}

/// Prints the commands of the script with their reasons.
pub(super) fn script(catalog: &Catalog) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let standard = ("every modem", STANDARD);
    for (whose, questions) in std::iter::once(standard).chain(catalog.vendors_scripts()) {
        writeln!(out, "{whose}:")?;
        for Question { command, reason } in questions {
            writeln!(out, "  {command:<24}  {reason}")?;
        }
    }
    Ok(())
}

/// Returns the value of `evidence` as `models.yaml` has it.
fn evidence_line(evidence: &Evidence) -> String {
    let Evidence { identification, mqtt, status, tls } = *evidence;
    let mut all = vec![
        format!("identification: {}", basis(identification)),
        format!("mqtt: {}", basis(mqtt)),
        format!("status: {}", basis(status)),
    ];
    all.extend(tls.map(|tls| format!("tls: {}", basis(tls))));
    format!("{{ {} }}", all.join(", "))
}

fn basis(basis: Basis) -> &'static str {
    match basis {
        Basis::Manual => "manual",
        Basis::Transcript => "transcript",
        Basis::Hardware => "hardware",
        Basis::Inferred => "inferred",
    }
}
