//! `modemfleet queue fsck`: checks the file for damage, and repairs it.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use modem::session::Chain;
use queue::{Inspector, OpenError, Salvage};
use serde_json::{Value, json};

use super::error::QueueError;
use super::place::{Place, folder};
use agent::messages::backlog::BacklogError;
use fleet::printable::complain;

pub(super) fn run(place: &Place, repair: bool, json: bool) -> Result<ExitCode, QueueError> {
    let config = match &place.dir {
        Some(dir) => queue::Config::new(dir),
        None => place.of_fleet()?.ok_or(QueueError::Usage(
            "fsck reads the queue's folder: give it with `--dir`, or the fleet file with `--config`",
        ))?,
    };
    let config = folder(config)?;
    let problems = problems(&config.dir)?;
    let sound = problems.is_empty();
    let repaired = if repair && !sound { Some(queue::repair(&config.dir)?) } else { None };
    let mut out = io::stdout();
    if json {
        let repaired = repaired.as_ref().map(salvage_json);
        let value = json!({ "sound": sound, "problems": problems, "repaired": repaired });
        writeln!(out, "{value:#}")?;
    } else {
        match problems.len() {
            0 => writeln!(out, "the queue in {} is sound", config.dir.display())?,
            _ => problems.iter().try_for_each(|line| writeln!(out, "{}", line.trim()))?,
        }
        if let Some(Salvage { saved, lost, kept }) = &repaired {
            let kept = kept.display();
            writeln!(
                out,
                "saved {saved} messages, lost {lost}; the damaged file is kept in {kept}"
            )?;
        } else if !sound {
            complain("a start of the agent saves the readable messages, and so does `--repair`");
        }
    }
    Ok(if sound || repaired.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn salvage_json(salvage: &Salvage) -> Value {
    json!({ "saved": salvage.saved, "lost": salvage.lost, "kept": salvage.kept.display().to_string() })
}

/// Returns the problems of the file; damage that stops the check is a problem, not an error.
fn problems(dir: &Path) -> Result<Vec<String>, QueueError> {
    let damage = |error: &dyn std::error::Error| vec![Chain(error).to_string()];
    let inspector = match Inspector::open(dir) {
        Ok(inspector) => inspector,
        Err(error @ OpenError::Store { source: queue::StoreError::Corrupt(_), .. }) => {
            return Ok(damage(&error));
        }
        Err(error) => return Err(error.into()),
    };
    match inspector.check() {
        Ok(problems) => Ok(problems),
        Err(error @ queue::StoreError::Corrupt(_)) => Ok(damage(&error)),
        Err(error) => Err(BacklogError::Store(error).into()),
    }
}
