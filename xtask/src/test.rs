//! `cargo xtask test`: all that must hold before a change is accepted, step by step.

use clap::{Args, ValueEnum};

use crate::setup;
use crate::step::{Invocation, Stopwatch};

/// What to run.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Run only this step; may be given more than once.
    #[arg(long, value_name = "STEP")]
    only: Vec<Step>,
}

/// The steps, in the order in which they run: what fails fastest comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Programs and libraries that build and tests need are there, or get installed.
    Setup,
    /// The code is formatted.
    Fmt,
    /// The dependencies keep to deny.toml: licences, bans, sources. Advisories need the network, and a database that
    /// changes from day to day: `cargo deny check advisories` is for people and for releases.
    Deny,
    /// Grafana's dashboards are what the list of their panels says.
    Dashboards,
    /// The README's table of models is what the profiles say.
    Models,
    /// The lints are silent.
    Clippy,
    /// The binaries are built: the end-to-end tests start them.
    Build,
    /// The references in docs are what the program says of itself.
    Reference,
    /// The example of a profile outside of this repository is built and tested.
    Example,
    /// Unit, integration and end-to-end tests.
    Tests,
    /// The examples in the documentation.
    Doctests,
    /// The documentation builds and its links lead somewhere.
    Doc,
}

impl Step {
    /// The word for it on the command line.
    fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Fmt => "fmt",
            Self::Deny => "deny",
            Self::Dashboards => "dashboards",
            Self::Models => "models",
            Self::Clippy => "clippy",
            Self::Build => "build",
            Self::Reference => "reference",
            Self::Example => "example",
            Self::Tests => "tests",
            Self::Doctests => "doctests",
            Self::Doc => "doc",
        }
    }

    /// The command of the step; none for what this program does itself.
    fn command(self) -> Option<Invocation> {
        Some(match self {
            Self::Setup => return None,
            Self::Fmt => Invocation::cargo(&["fmt", "--all", "--", "--check"]),
            Self::Deny => Invocation::cargo(&[
                "deny",
                "--locked",
                "--log-level",
                "error",
                "check",
                "bans",
                "licenses",
                "sources",
            ]),
            Self::Dashboards => Invocation::cargo(&["xtask", "dashboards", "--check"]),
            Self::Models => Invocation::cargo(&["xtask", "models", "--check"]),
            Self::Clippy => Invocation::cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ]),
            Self::Build => Invocation::cargo(&["build", "--workspace", "--bins"]),
            Self::Reference => Invocation::cargo(&["xtask", "reference", "--check"]),
            Self::Example => Invocation::cargo(&["xtask", "example"]),
            Self::Tests => tests(Invocation::cargo(&["nextest", "--version"]).succeeds()),
            Self::Doctests => Invocation::cargo(&["test", "--workspace", "--doc"]),
            Self::Doc => Invocation::cargo(&["doc", "--workspace", "--no-deps"])
                .env("RUSTDOCFLAGS", "-D warnings"),
        })
    }

    fn perform(self) -> anyhow::Result<()> {
        let command = self.command();
        match &command {
            Some(command) => println!("==> {}: {command}", self.name()),
            None => println!("==> {}", self.name()),
        }
        command.map_or_else(setup::run, |command| command.run())
    }
}

/// The test run. nextest gives each test its process and a time limit; cargo's own runner is what
/// everyone has. Both go on after a failure: one run shows all that is broken.
fn tests(nextest: bool) -> Invocation {
    if nextest {
        Invocation::cargo(&["nextest", "run", "--workspace", "--no-fail-fast"])
    } else {
        Invocation::cargo(&["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"])
    }
}

/// The steps that were asked for, each once and in running order; all of them where none was named.
fn selected(only: &[Step]) -> Vec<Step> {
    let asked = |step: &Step| only.is_empty() || only.contains(step);
    Step::value_variants().iter().copied().filter(asked).collect()
}

/// Runs the steps up to the first that fails.
///
/// # Errors
/// What the failed step says, after a line that says how to run just that step.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let total = Stopwatch::start();
    let steps = selected(&arguments.only);
    for step in &steps {
        let watch = Stopwatch::start();
        if let Err(failure) = step.perform() {
            println!("<== {}: FAILED after {}", step.name(), watch.shown());
            println!("    just this step: cargo xtask test --only {}", step.name());
            return Err(failure);
        }
        println!("<== {}: ok, {}", step.name(), watch.shown());
    }
    println!(
        "all ok: {} of {} steps, {}",
        steps.len(),
        Step::value_variants().len(),
        total.shown()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_run_once_and_in_their_order_whatever_the_order_asked() {
        assert_eq!(selected(&[Step::Doc, Step::Fmt, Step::Doc]), [Step::Fmt, Step::Doc]);
        assert_eq!(selected(&[]), Step::value_variants());
    }

    #[test]
    fn the_hint_names_a_step_that_the_command_line_takes() {
        for step in Step::value_variants() {
            assert_eq!(Step::from_str(step.name(), false), Ok(*step));
        }
    }

    #[test]
    fn without_nextest_cargo_runs_the_same_tests() {
        assert!(tests(true).to_string().starts_with("cargo nextest run --workspace"));
        let plain = tests(false).to_string();
        assert!(plain.starts_with("cargo test --workspace --lib --bins --tests"), "{plain}");
    }
}
