//! `modemfleet man` and `modemfleet completions`: manual pages and shell completions, which
//! packages install.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

use crate::end::output_failed;

/// Writes the manual pages.
#[derive(Debug, clap::Args)]
pub struct Man {
    /// Write a page for each command into this folder [default: print the main page].
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

/// Prints a completion script.
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes the manual pages of `program`.
pub fn man(args: &Man, program: Command) -> ExitCode {
    ended(match &args.dir {
        Some(dir) => fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(program, dir)),
        None => clap_mangen::Man::new(program).render(&mut io::stdout().lock()),
    })
}

/// Prints a completion script for `program`.
pub fn completions(args: &Completions, program: &mut Command) -> ExitCode {
    // Into memory first, since the library panics on a write error.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, program, "modemfleet", &mut script);
    ended(io::stdout().lock().write_all(&script))
}

fn ended(done: io::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output_failed(&error),
    }
}
