//! `modemfleet check`: checks a fleet file and shows the places of its errors.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use modem::Plugin;
use modem::session::Chain;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::reload::{self, ReloadError};
use agent::reload::Plan;
use api::client::{Target, converse};
use api::reload::Line;
use fleet::models::Folder;
use fleet::{Ability, Context, Fleet, Loaded, Problem, Problems, Secrets};

const EXAMPLES: &str = "Examples:
  modemfleet check fleet.yaml                 check the file, and print each error with its place
  modemfleet check --all-gateways fleet.yaml  check the file for each gateway that it lists
  modemfleet check --diff fleet.yaml          also print the changes that a reload would make
  modemfleet check --diff old.yaml new.yaml   print the changes between two files

Exit codes: 0 valid, 1 the agent gave no answer, 2 errors in the file, 3 no agent runs to compare with.";

/// The time after which `--all-gateways` checks no further gateway. A file may name 1,000 gateways,
/// and a file of 1 MiB may take a second for each.
const LONGEST: Duration = Duration::from_secs(300);

/// The same limit once a gateway refused the file: more gateways cannot change the verdict.
const LONGEST_REFUSED: Duration = Duration::from_secs(2);

/// Checks a fleet.yaml as `run` and `reload` do, and the secrets it refers to.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The file to check.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// With --diff: compare FILE with this file instead of the running agent, and check it too.
    #[arg(value_name = "NEW", requires = "diff")]
    pub new: Option<PathBuf>,
    /// Print the changes that a reload of FILE would make in the running agent; with two files,
    /// the changes from FILE to NEW.
    #[arg(long)]
    pub diff: bool,
    /// Print one JSON object on standard output.
    #[arg(long)]
    pub json: bool,
    /// Do not read the secrets, for a check on another machine than the gateway.
    #[arg(long)]
    pub without_secrets: bool,
    /// The gateway to check the file for [default: the host name].
    #[arg(long, value_name = "NAME", env = fleet::GATEWAY)]
    pub gateway: Option<String>,
    /// Check the file for each gateway that it lists, and for one name that fits each pattern.
    /// Secrets are not read, since they are on their gateways. The check stops after 5 minutes, or
    /// after 2 s if the file has errors, and then prints how many gateways were checked.
    #[arg(long, conflicts_with = "diff")]
    pub all_gateways: bool,
    /// The models; a faulty file of models refuses the fleet file too.
    #[command(flatten)]
    pub models: Folder,
    /// The agent to compare with; by default the agent of FILE.
    #[command(flatten)]
    pub target: Target,
}

/// The result of the check.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// The file may be used; there may be warnings. Exit code 0.
    Good,
    /// The file is refused. Exit code 2.
    Wrong,
    /// The file may be used, but there was nothing to compare it with. The exit code is by the
    /// contract.
    NoDiff(ExitCode),
}

/// Checks the file and prints the problems on `stderr` (in colours if `styled`) and the verdict on
/// `stdout`. With `--json` everything is one object on `stdout`.
///
/// # Errors
/// Only errors of the two outputs.
pub fn run(
    args: &Args,
    plugins: &[&Plugin],
    styled: bool,
    stdout: &mut impl Write,
    stderr: &mut impl Write,
) -> io::Result<Verdict> {
    let error = match args.models.load(plugins) {
        Ok(models) => {
            return run_fleet(args, &Ability::all(&models.catalog), styled, stdout, stderr);
        }
        Err(error) => error,
    };
    // The problems of the fleet file are printed anyway.
    let (_, problems) = load(args, &[], args.new.as_ref().unwrap_or(&args.file));
    if args.json {
        let mut report = report(None, &problems);
        if let Some(object) = report.as_object_mut() {
            object.insert("models".to_owned(), error.to_json());
        }
        writeln!(stdout, "{report}")?;
    } else {
        tell(args, styled, None, &problems, stdout, stderr)?;
        writeln!(stderr, "{}", Chain(&error))?;
    }
    Ok(Verdict::Wrong)
}

fn run_fleet(
    args: &Args,
    abilities: &[Ability],
    styled: bool,
    stdout: &mut impl Write,
    stderr: &mut impl Write,
) -> io::Result<Verdict> {
    if args.all_gateways {
        let names = fleet::gateways(&args.file);
        // The problems of a file without gateways are printed below.
        if !names.is_empty() {
            return all_gateways(args, abilities, names, styled, stdout, stderr);
        }
    }
    let old = match &args.new {
        None => None,
        Some(_) => {
            let (old, problems) = load(args, abilities, &args.file);
            if old.is_none() {
                tell(args, styled, None, &problems, stdout, stderr)?;
                return Ok(Verdict::Wrong);
            }
            old
        }
    };
    let file = args.new.as_ref().unwrap_or(&args.file);
    let (fleet, problems) = load(args, abilities, file);
    let diff = match fleet.as_ref().filter(|_| args.diff) {
        None => None,
        Some(fleet) => match diff(args, old.as_ref(), fleet, file)? {
            Ok(lines) => Some(lines),
            Err(error) => {
                tell(args, styled, Some(fleet), &problems, stdout, stderr)?;
                writeln!(stderr, "nothing to compare the file with: {}", Chain(&error))?;
                return Ok(Verdict::NoDiff(error.code()));
            }
        },
    };
    if let (Some(lines), true, Some(fleet)) = (&diff, args.json, &fleet) {
        let mut report = report(Some(fleet), &problems);
        if let Some(object) = report.as_object_mut() {
            object.insert("plan".to_owned(), json!(lines));
        }
        writeln!(stdout, "{report}")?;
        return Ok(Verdict::Good);
    }
    tell(args, styled, fleet.as_ref(), &problems, stdout, stderr)?;
    if let Some(lines) = diff {
        reload::print(stdout, &lines, false)?;
    }
    Ok(if fleet.is_some() { Verdict::Good } else { Verdict::Wrong })
}

/// Checks for each gateway in turn. A problem of several gateways is printed once, with the first
/// of them.
fn all_gateways(
    args: &Args,
    abilities: &[Ability],
    names: Vec<String>,
    styled: bool,
    stdout: &mut impl Write,
    stderr: &mut impl Write,
) -> io::Result<Verdict> {
    let (mut told, mut reports, mut good) = (Vec::new(), Vec::new(), true);
    let (began, count, mut judged) = (Instant::now(), names.len(), 0);
    for name in names {
        let longest = if good { LONGEST } else { LONGEST_REFUSED };
        if began.elapsed() > longest {
            break;
        }
        judged += 1;
        let context = Context::named(&args.file, Secrets::Skip, Some(name.clone()));
        let context = Context { abilities: abilities.to_vec(), ..context };
        let (fleet, problems) = split(fleet::load_in(&args.file, &context));
        good &= fleet.is_some();
        if args.json {
            let mut report = report(fleet.as_ref(), &problems);
            if let Some(object) = report.as_object_mut() {
                object.insert("gateway".to_owned(), name.into());
            }
            reports.push(report);
            continue;
        }
        let news = problems.without(&told);
        if !news.is_empty() {
            writeln!(stderr, "{}", news.render(styled))?;
        }
        told.extend(news.iter().cloned());
        match &fleet {
            Some(fleet) => writeln!(stdout, "{name}: {}", summary(problems.file(), fleet))?,
            None => writeln!(stdout, "{name}: {}: refused", problems.file())?,
        }
    }
    let left = count - judged;
    good &= left == 0;
    if args.json {
        let file = args.file.display().to_string();
        let report = json!({ "file": file, "ok": good, "gateways": reports, "not_judged": left });
        writeln!(stdout, "{report}")?;
    } else if left > 0 {
        let took = began.elapsed().as_secs();
        writeln!(
            stderr,
            "stopped after {took} s: {judged} of {count} gateways are checked; `--gateway NAME` checks one"
        )?;
    }
    Ok(if good { Verdict::Good } else { Verdict::Wrong })
}

fn load(args: &Args, abilities: &[Ability], file: &Path) -> (Option<Fleet>, Problems) {
    let skip = args.without_secrets || args.all_gateways;
    let secrets = if skip { Secrets::Skip } else { Secrets::Read };
    let context = Context::named(file, secrets, args.gateway.clone());
    split(fleet::load_in(file, &Context { abilities: abilities.to_vec(), ..context }))
}

fn split(loaded: Result<Loaded, Problems>) -> (Option<Fleet>, Problems) {
    match loaded {
        Ok(loaded) => (Some(loaded.fleet), loaded.warnings),
        Err(problems) => (None, problems),
    }
}

fn tell(
    args: &Args,
    styled: bool,
    fleet: Option<&Fleet>,
    problems: &Problems,
    stdout: &mut impl Write,
    stderr: &mut impl Write,
) -> io::Result<()> {
    if args.json {
        return writeln!(stdout, "{}", report(fleet, problems));
    }
    if !problems.is_empty() {
        writeln!(stderr, "{}", problems.render(styled))?;
    }
    if let Some(fleet) = fleet {
        writeln!(stdout, "{}", summary(problems.file(), fleet))?;
    }
    Ok(())
}

/// Returns the changes from the old file, or from the running agent, to the new file.
fn diff(
    args: &Args,
    old: Option<&Fleet>,
    new: &Fleet,
    file: &Path,
) -> io::Result<Result<Vec<Line>, ReloadError>> {
    if let Some(old) = old {
        return Ok(Ok(Plan::new(old, new, |_| false).lines()));
    }
    let text = std::fs::read(file)?;
    let is_told = args.target.config.is_some() || args.target.url.is_some();
    let config = if is_told { args.target.config.clone() } else { Some(file.to_owned()) };
    let target = Target { config, ..args.target.clone() };
    converse(async {
        let mut client = target.client()?;
        reload::plan_of(&mut client, file, text).await
    })
}

fn summary(file: &str, fleet: &Fleet) -> String {
    format!("{file}: ok ({})", counts(fleet))
}

/// Returns a summary such as `2 modems, 3 sessions, 1 route`.
pub(super) fn counts(fleet: &Fleet) -> String {
    let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    format!(
        "{}, {}, {}",
        count(fleet.modems.len(), "modem"),
        count(fleet.sessions().count(), "session"),
        count(fleet.routes().len(), "route"),
    )
}

fn report(fleet: Option<&Fleet>, problems: &Problems) -> Value {
    let list: Vec<Value> = problems.iter().map(Problem::to_json).collect();
    let mut report = json!({ "file": problems.file(), "ok": fleet.is_some(), "problems": list });
    if let (Some(fleet), Some(report)) = (fleet, report.as_object_mut()) {
        report.insert("modems".to_owned(), fleet.modems.len().into());
        report.insert("sessions".to_owned(), fleet.sessions().count().into());
        report.insert("routes".to_owned(), fleet.routes().len().into());
    }
    report
}
