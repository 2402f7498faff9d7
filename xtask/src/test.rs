//! `cargo xtask test`: all checks before a change is accepted, step by step.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};

use crate::field;
use crate::setup::{self, Part};
use crate::step::{Invocation, Stopwatch, target};

/// Arguments of `test`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Run only this step; may be given more than once.
    #[arg(long, value_name = "STEP")]
    only: Vec<Step>,
    /// Run the cases of this folder too, as the step `field`: it holds `field` and `cases`, and
    /// perhaps `usbfield` and `usb`. Those of more than a minute run in `cargo xtask bench field`.
    #[arg(long, value_name = "DIR")]
    field: Option<PathBuf>,
    /// Run format, lints, unit tests and the rules of the repository: less than two minutes once all
    /// is built.
    #[arg(long, conflicts_with_all = ["only", "field"])]
    quick: bool,
    /// Leave out these parts of the tests, and install nothing for them.
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    without: Vec<Part>,
}

/// The steps of `--quick`.
const QUICK: [Step; 3] = [Step::Fmt, Step::Clippy, Step::Tests];

/// The steps in running order: the fastest to fail comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Checks for the programs and libraries of build and tests, and installs missing ones.
    Setup,
    /// Checks the format of the code.
    Fmt,
    /// Checks the spelling, if `typos` is installed.
    Spelling,
    /// Checks the dependencies by deny.toml: licences, bans, sources. Advisories need the network
    /// and a database that changes daily: `cargo deny check advisories` is for people and for
    /// releases.
    Deny,
    /// Checks Grafana's dashboards against the list of their panels.
    Dashboards,
    /// Checks the README's table of models against the profiles' data.
    Models,
    /// Runs the lints, which must be silent.
    Clippy,
    /// Builds the binaries, which the end-to-end tests start.
    Build,
    /// Checks the references in docs against the program's own descriptions.
    Reference,
    /// Builds and tests the example of a profile outside of this repository.
    Example,
    /// Runs unit, integration and end-to-end tests.
    Tests,
    /// Runs the cases of the folder that `--field` names. No other test runs beside them, since
    /// they are timed.
    Field,
    /// Tests the examples in the documentation.
    Doctests,
    /// Builds the documentation, whose links must be valid.
    Doc,
}

impl Step {
    /// Returns its name on the command line.
    fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Fmt => "fmt",
            Self::Spelling => "spelling",
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

    /// Returns the arguments of `--only` that run it alone.
    fn arguments(self, field: Option<&Path>) -> String {
        match field {
            Some(folder) if self == Self::Field => format!("field --field {}", folder.display()),
            _ => self.name().to_owned(),
        }
    }

    /// Returns the commands of the step; none if this program does the step itself.
    fn commands(self, quick: bool, without: &[Part]) -> Vec<Invocation> {
        let command = match self {
            Self::Setup | Self::Field => return Vec::new(),
            Self::Fmt => Invocation::cargo(&["fmt", "--all", "--", "--check"]),
            Self::Spelling => {
                let spelling = Invocation::new("typos", &["--format", "brief"]);
                let is_there = Invocation::new("typos", &["--version"]).succeeds();
                return is_there.then_some(spelling).into_iter().collect();
            }
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
                let nextest = Invocation::cargo(&["nextest", "--version"]).succeeds();
                return tests(nextest, quick, &setup::left_out(without));
            }
            Self::Doctests => Invocation::cargo(&["test", "--workspace", "--doc"]),
            Self::Doc => Invocation::cargo(&["doc", "--workspace", "--no-deps"])
                .env("RUSTDOCFLAGS", "-D warnings"),
        };
        vec![command]
    }

    fn perform(self, field: Option<&Path>, arguments: &Arguments) -> anyhow::Result<()> {
        let commands = self.commands(arguments.quick, &arguments.without);
        if commands.is_empty() {
            println!("==> {}", self.name());
        }
        for command in &commands {
            println!("==> {}: {command}", self.name());
            command.run()?;
        }
        match self {
            Self::Setup => setup::tests(&arguments.without),
            Self::Field => cases(field.context(NO_FIELD)?),
            _ => Ok(()),
        }
    }
}

/// Returns the test run. nextest gives each test its own process and a time limit; cargo's own
/// runner is always installed. Both continue after a failure, so one run shows all failures.
fn tests(nextest: bool, quick: bool, left_out: &[Part]) -> Vec<Invocation> {
    if !left_out.is_empty() && !quick {
        let words: Vec<_> = left_out.iter().map(|part| part.word()).collect();
        println!("    not tested here: {}", words.join(", "));
    }
    let starts: Vec<&str> = left_out.iter().flat_map(|part| part.tests()).copied().collect();
    // Quick runs name the packages of the full run: with fewer packages, shared dependencies would
    // get other features and be built again.
    let (filter, skip) = (filter(&starts), skip(&starts));
    let skip: Vec<&str> = skip.iter().map(String::as_str).collect();
    let words: Vec<Vec<&str>> = match (nextest, quick) {
        (true, false) if starts.is_empty() => vec![vec!["nextest", "run", "--workspace"]],
        (true, false) => vec![vec!["nextest", "run", "--workspace", "-E", &filter]],
        (true, true) => {
            vec![vec![
                "nextest",
                "run",
                "--workspace",
                "-E",
                "kind(lib) or kind(bin) or binary(tidy)",
            ]]
        }
        (false, false) => {
            let all = ["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"];
            return vec![Invocation::cargo(&[&all, &skip[..]].concat())];
        }
        (false, true) => vec![
            vec!["test", "--workspace", "--lib", "--bins"],
            vec!["test", "--workspace", "--test", "tidy"],
        ],
    };
    words
        .iter()
        .map(|words| Invocation::cargo(&[words, &["--no-fail-fast"][..]].concat()))
        .collect()
}

/// The expression of nextest for all tests but those that start so.
fn filter(starts: &[&str]) -> String {
    let tests: Vec<_> = starts.iter().map(|start| format!("test(/^{start}/)")).collect();
    format!("not (package(e2e) & ({}))", tests.join(" | "))
}

/// The arguments of cargo's own runner for all tests but those that start so.
fn skip(starts: &[&str]) -> Vec<String> {
    if starts.is_empty() {
        return Vec::new();
    }
    let skipped = starts.iter().flat_map(|start| ["--skip".to_owned(), (*start).to_owned()]);
    ["--".to_owned()].into_iter().chain(skipped).collect()
}

/// Runs the field cases against the debug build of the step `build`. A release build would take
/// longer than the cases. They judge seconds of a modem's time, and not the program's speed.
fn cases(folder: &Path) -> anyhow::Result<()> {
    // With the same arguments as in that step, so that nothing is built again.
    Invocation::cargo(&["build", "--quiet", "--workspace", "--bins"]).run()?;
    field::run(folder, &target().join("debug/modemfleet"), field::A_MINUTE)
}

/// The error of the step `field` without its folder.
const NO_FIELD: &str = "the step `field` runs the cases of a folder: --only field --field DIR";

/// Returns all steps; that of the field cases only with their folder.
fn all(field: Option<&Path>) -> impl Iterator<Item = Step> {
    let is_there = move |step: &Step| *step != Step::Field || field.is_some();
    Step::value_variants().iter().copied().filter(is_there)
}

/// Returns the requested steps, each once and in running order; all steps if none was named.
///
/// # Errors
/// If the step `field` was named without a folder.
fn selected(only: &[Step], field: Option<&Path>) -> anyhow::Result<Vec<Step>> {
    ensure!(field.is_some() || !only.contains(&Step::Field), NO_FIELD);
    Ok(all(field).filter(|step| only.is_empty() || only.contains(step)).collect())
}

/// Runs the steps up to the first that fails.
///
/// # Errors
/// That of the failed step, after a line with the command for just that step.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let total = Stopwatch::start();
    let field = arguments.field.as_deref();
    let only = if arguments.quick { &QUICK[..] } else { &arguments.only };
    let steps = selected(only, field)?;
    for step in &steps {
        let watch = Stopwatch::start();
        if let Err(failure) = step.perform(field, arguments) {
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
        let shown = |nextest| tests(nextest, false, &[])[0].to_string();
        assert!(shown(true).starts_with("cargo nextest run --workspace"));
        let plain = shown(false);
        assert!(plain.starts_with("cargo test --workspace --lib --bins --tests"), "{plain}");
    }

    #[test]
    fn parts_are_left_out_by_the_names_of_their_tests() {
        let shown = |nextest| tests(nextest, false, &[Part::Mock, Part::Guest])[0].to_string();
        let filter = "'not (package(e2e) & (test(/^mock::/) | test(/^all_that_is_ignored_here_/) | test(/^power::/)))'";
        assert!(shown(true).contains(filter), "{}", shown(true));
        assert!(
            shown(false)
                .ends_with("-- --skip mock:: --skip all_that_is_ignored_here_ --skip power::")
        );
    }

    #[test]
    fn a_quick_run_leaves_out_what_starts_the_product() {
        assert_eq!(selected(&QUICK, None).unwrap(), QUICK);
        let shown =
            |nextest| tests(nextest, true, &[]).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(
            shown(true)[0].contains("'kind(lib) or kind(bin) or binary(tidy)'"),
            "{:?}",
            shown(true)
        );
        let [units, tidy] = &shown(false)[..] else { panic!("{:?}", shown(false)) };
        assert!(units.contains("--lib --bins") && !units.contains("--tests"), "{units}");
        assert!(tidy.contains("--test tidy"), "{tidy}");
    }
}
