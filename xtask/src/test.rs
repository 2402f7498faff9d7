//! `cargo xtask test`: all that must hold before a change is accepted, step by step.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};

use crate::step::{Invocation, Stopwatch, target};
use crate::{field, setup};

/// What to run.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Run only this step; may be given more than once.
    #[arg(long, value_name = "STEP")]
    only: Vec<Step>,
    /// Run the cases of this folder too, as the step `field`: it holds `field` and `cases`, and perhaps `usbfield` and
    /// `usb`. Those of more than a minute run in `cargo xtask bench field`.
    #[arg(long, value_name = "DIR")]
    field: Option<PathBuf>,
    /// Run format, lints, the tests of all packages but the end-to-end ones, and the rules of the repository: what is run
    /// again and again while something is changed.
    #[arg(long, conflicts_with_all = ["only", "field"])]
    quick: bool,
}

/// The steps of `--quick`.
const QUICK: [Step; 3] = [Step::Fmt, Step::Clippy, Step::Tests];

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
    /// The cases of the folder that `--field` names, with no other test beside them: they are timed.
    Field,
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
            Self::Field => "field",
            Self::Doctests => "doctests",
            Self::Doc => "doc",
        }
    }

    /// The arguments of `--only` that run it alone.
    fn arguments(self, field: Option<&Path>) -> String {
        match field {
            Some(folder) if self == Self::Field => format!("field --field {}", folder.display()),
            _ => self.name().to_owned(),
        }
    }

    /// The commands of the step; none for what this program does itself.
    fn commands(self, quick: bool) -> Vec<Invocation> {
        let command = match self {
            Self::Setup | Self::Field => return Vec::new(),
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
            Self::Tests => {
                return tests(Invocation::cargo(&["nextest", "--version"]).succeeds(), quick);
            }
            Self::Doctests => Invocation::cargo(&["test", "--workspace", "--doc"]),
            Self::Doc => Invocation::cargo(&["doc", "--workspace", "--no-deps"])
                .env("RUSTDOCFLAGS", "-D warnings"),
        };
        vec![command]
    }

    fn perform(self, field: Option<&Path>, quick: bool) -> anyhow::Result<()> {
        let commands = self.commands(quick);
        if commands.is_empty() {
            println!("==> {}", self.name());
        }
        for command in &commands {
            println!("==> {}: {command}", self.name());
            command.run()?;
        }
        match self {
            Self::Setup => setup::run(),
            Self::Field => cases(field.context(NO_FIELD)?),
            _ => Ok(()),
        }
    }
}

/// The test run. nextest gives each test its process and a time limit; cargo's own runner is what
/// everyone has. Both go on after a failure: one run shows all that is broken.
fn tests(nextest: bool, quick: bool) -> Vec<Invocation> {
    let words: &[&[&str]] = match (nextest, quick) {
        (true, false) => &[&["nextest", "run", "--workspace"]],
        // Named are the packages of the full run: with fewer of them the features of what they share would be others, and
        // all would be built again.
        (true, true) => {
            &[&["nextest", "run", "--workspace", "-E", "not package(e2e) or binary(tidy)"]]
        }
        (false, false) => &[&["test", "--workspace", "--lib", "--bins", "--tests"]],
        (false, true) => &[
            &["test", "--workspace", "--exclude", "e2e", "--lib", "--bins", "--tests"],
            &["test", "--workspace", "--test", "tidy"],
        ],
    };
    words.iter().map(|&words| Invocation::cargo(&[words, &["--no-fail-fast"]].concat())).collect()
}

/// Runs the field cases against the debug build that the step `build` has made. A release build would take longer
/// than they do, and they judge seconds of a modem's time, none of the program's.
fn cases(folder: &Path) -> anyhow::Result<()> {
    // As that step does it, so that nothing is built where it ran.
    Invocation::cargo(&["build", "--quiet", "--workspace", "--bins"]).run()?;
    field::run(folder, &target().join("debug/modemfleet"), field::A_MINUTE)
}

/// The error of the step `field` without its folder.
const NO_FIELD: &str = "the step `field` runs the cases of a folder: --only field --field DIR";

/// All steps; that of the field cases only with their folder.
fn all(field: Option<&Path>) -> impl Iterator<Item = Step> {
    let is_there = move |step: &Step| *step != Step::Field || field.is_some();
    Step::value_variants().iter().copied().filter(is_there)
}

/// The steps that were asked for, each once and in running order; all of them where none was named.
///
/// # Errors
/// The step `field` was named, and no folder.
fn selected(only: &[Step], field: Option<&Path>) -> anyhow::Result<Vec<Step>> {
    ensure!(field.is_some() || !only.contains(&Step::Field), NO_FIELD);
    Ok(all(field).filter(|step| only.is_empty() || only.contains(step)).collect())
}

/// Runs the steps up to the first that fails.
///
/// # Errors
/// What the failed step says, after a line that says how to run just that step.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let total = Stopwatch::start();
    let field = arguments.field.as_deref();
    let only = if arguments.quick { &QUICK[..] } else { &arguments.only };
    let steps = selected(only, field)?;
    for step in &steps {
        let watch = Stopwatch::start();
        if let Err(failure) = step.perform(field, arguments.quick) {
            println!("<== {}: FAILED after {}", step.name(), watch.shown());
            println!("    just this step: cargo xtask test --only {}", step.arguments(field));
            return Err(failure);
        }
        println!("<== {}: ok, {}", step.name(), watch.shown());
    }
    println!("all ok: {} of {} steps, {}", steps.len(), all(field).count(), total.shown());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_run_once_and_in_their_order_whatever_the_order_asked() {
        let asked = [Step::Doc, Step::Fmt, Step::Doc];
        assert_eq!(selected(&asked, None).unwrap(), [Step::Fmt, Step::Doc]);
        let folder = Some(Path::new("/x"));
        assert_eq!(selected(&[], folder).unwrap(), Step::value_variants());
    }

    #[test]
    fn field_cases_run_where_their_folder_is_named_and_after_all_other_tests() {
        let without = selected(&[], None).unwrap();
        assert!(!without.contains(&Step::Field));
        assert_eq!(without.len() + 1, Step::value_variants().len());
        let failure = selected(&[Step::Field], None).unwrap_err().to_string();
        assert!(failure.contains("--field DIR"), "{failure}");
        let folder = Some(Path::new("/x"));
        assert_eq!(selected(&[Step::Field], folder).unwrap(), [Step::Field]);
        let all = selected(&[], folder).unwrap();
        assert!(all.windows(2).any(|two| two == [Step::Tests, Step::Field]), "{all:?}");
        assert_eq!(Step::Field.arguments(folder), "field --field /x");
    }

    #[test]
    fn the_hint_names_a_step_that_the_command_line_takes() {
        for step in Step::value_variants() {
            assert_eq!(Step::from_str(step.name(), false), Ok(*step));
        }
    }

    #[test]
    fn without_nextest_cargo_runs_the_same_tests() {
        let shown = |nextest| tests(nextest, false)[0].to_string();
        assert!(shown(true).starts_with("cargo nextest run --workspace"));
        let plain = shown(false);
        assert!(plain.starts_with("cargo test --workspace --lib --bins --tests"), "{plain}");
    }

    #[test]
    fn a_quick_run_leaves_out_what_starts_the_product() {
        assert_eq!(selected(&QUICK, None).unwrap(), QUICK);
        let shown =
            |nextest| tests(nextest, true).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(shown(true)[0].contains("'not package(e2e) or binary(tidy)'"), "{:?}", shown(true));
        let [units, tidy] = &shown(false)[..] else { panic!("{:?}", shown(false)) };
        assert!(units.contains("--exclude e2e"), "{units}");
        assert!(tidy.contains("--test tidy"), "{tidy}");
    }
}
