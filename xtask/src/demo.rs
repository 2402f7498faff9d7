//! `cargo xtask demo`: set-up, build, and `modemfleet demo` in the place of this process.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;
use clap::Args;

use crate::{setup, step};

/// Arguments of `demo`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Arguments of `modemfleet demo`, such as `--seconds 30`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

/// Printed before the first build.
const FIRST_BUILD: &str =
    "the first build takes about two minutes on two cores; later ones take seconds";

/// Becomes the demo: Ctrl-C reaches the demo itself, and its exit code is that of the command.
///
/// # Errors
/// If set-up fails, or cargo cannot be started; on success this does not return.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    setup::build()?;
    if !step::target().join("debug/modemfleet").exists() {
        println!("    {FIRST_BUILD}");
    }
    let error = command(arguments).exec();
    Err(error).context("cannot start cargo")
}

/// Returns the build in the dev profile. It takes less than half the time, and is fast enough for
/// three modems and twenty messages a second. On Unix cargo then becomes the program that it built.
fn command(arguments: &Arguments) -> Command {
    let mut command = step::cargo();
    command.args(["run", "--package", "modemfleet", "--bin", "modemfleet", "--", "demo"]);
    command.args(&arguments.arguments);
    command
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        demo: Arguments,
    }

    #[test]
    fn arguments_are_handed_on_with_and_without_two_dashes() {
        for words in [&["x", "--", "--seconds", "5"][..], &["x", "--seconds", "5"]] {
            let command = command(&Line::parse_from(words).demo);
            let passed: Vec<_> = command.get_args().filter_map(|word| word.to_str()).collect();
            assert_eq!(passed[passed.len() - 4..], ["--", "demo", "--seconds", "5"], "{words:?}");
        }
    }
}
