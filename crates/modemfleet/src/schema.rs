//! `modemfleet schema`: a schema with which editors check a fleet file, and a reference of
//! `/metrics`.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::end::output_failed;
use agent::metrics::families;

const EXAMPLES: &str = "Examples:
  modemfleet schema > fleet.schema.json
  modemfleet schema --metrics | jq -r '.[].name'

An editor uses the schema if the fleet file begins with \
`# yaml-language-server: $schema=fleet.schema.json`.
The schema has keys, types and words; `modemfleet check` also checks all other rules.";

/// Prints the JSON Schema (draft 2020-12) of the fleet file.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Print the metric families of /metrics and their labels instead.
    #[arg(long)]
    metrics: bool,
}

/// Prints the schema.
pub fn run(args: &Args) -> ExitCode {
    let wanted = if args.metrics { families::reference() } else { fleet::schema() };
    match writeln!(io::stdout(), "{wanted:#}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output_failed(&error),
    }
}
