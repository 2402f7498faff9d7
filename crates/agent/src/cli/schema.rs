//! `modemfleet schema`: what an editor needs to check a fleet file while it is written.

use std::io::{self, Write};
use std::process::ExitCode;

use super::output_failed;
use crate::config;

const EXAMPLES: &str = "Examples:
  modemfleet schema > fleet.schema.json
  then begin the fleet file with: # yaml-language-server: $schema=fleet.schema.json

The schema knows keys, types and words. `modemfleet check` knows all the rest.";

/// Prints the JSON Schema (draft 2020-12) of the fleet file.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {}

/// Prints the schema.
pub fn run(_: &Args) -> ExitCode {
    match writeln!(io::stdout(), "{:#}", config::schema()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output_failed(&error),
    }
}
