//! `cargo xtask fuzz`: coverage-guided fuzzing of code that reads from outside, a target at a time.
//!
//! cargo-fuzz makes the programs with the repository's toolchain, without a sanitizer. The code is
//! safe Rust, and AddressSanitizer would need a nightly toolchain and halve the speed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::step::{Invocation, root, target};
use crate::tools;

/// A target's name, and its limits for libFuzzer.
#[derive(Debug, Clone, Copy)]
struct Target {
    name: &'static str,
    /// The longest input, in bytes.
    max_len: u32,
    /// Seconds after which an input counts as hanging. The machine may be busy with other work.
    timeout: u32,
    /// The most memory of the program, in MiB; its own is about 50.
    memory: u32,
}

const TARGETS: &[Target] = &[
    Target { name: "api", max_len: 2 * 1024, timeout: 30, memory: 512 },
    Target { name: "engine", max_len: 2 * 1024, timeout: 10, memory: 512 },
    Target { name: "fleet", max_len: 16 * 1024, timeout: 20, memory: 512 },
    Target { name: "inbox", max_len: 512, timeout: 30, memory: 512 },
    Target { name: "listener", max_len: 4 * 1024, timeout: 30, memory: 512 },
    Target { name: "overlay", max_len: 16 * 1024, timeout: 20, memory: 512 },
    Target { name: "queue", max_len: 512, timeout: 30, memory: 512 },
    Target { name: "replies", max_len: 4 * 1024, timeout: 10, memory: 512 },
];

/// Arguments of `fuzz`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The target to fuzz; all of them, one after another, if none is named.
    #[arg(value_name = "TARGET")]
    target: Option<String>,
    /// The duration of each run, in minutes.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    minutes: u32,
    /// Run nothing, and put into fuzz/corpus the fewest inputs with all coverage reached so far.
    #[arg(long)]
    merge: bool,
}

/// The outcome of a run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    executions: u64,
    per_second: u64,
    edges: u64,
    /// Files of inputs that are findings.
    findings: Vec<String>,
}

impl Outcome {
    /// Reads the log of libFuzzer.
    fn of(log: &str) -> Self {
        let mut outcome = Self::default();
        for line in log.lines() {
            let number_after = |words: &str| -> Option<u64> {
                let rest = line.split_once(words)?.1.trim_start();
                rest.split(' ').next()?.parse().ok()
            };
            let set = |place: &mut u64, words| {
                if let Some(number) = number_after(words) {
                    *place = number;
                }
            };
            set(&mut outcome.edges, " cov: ");
            set(&mut outcome.executions, "stat::number_of_executed_units:");
            set(&mut outcome.per_second, "stat::average_exec_per_sec:");
            if let Some((_, file)) = line.split_once("Test unit written to ") {
                outcome.findings.push(file.trim().to_owned());
            }
        }
        outcome
    }
}

/// Builds the programs and runs them.
///
/// # Errors
/// If a target does not exist, a build fails, or there is a finding.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let chosen = chosen(arguments.target.as_deref())?;
    tools::fuzz()?;
    build()?;
    let mut rows = vec![row(["target", "executions", "exec/s", "edges", "findings"])];
    let mut findings = Vec::new();
    for target in chosen {
        let log = match arguments.merge {
            true => merge(target)?,
            false => fuzz(target, arguments.minutes)?,
        };
        let outcome = Outcome::of(&log);
        let numbers =
            [outcome.executions, outcome.per_second, outcome.edges].map(|n| n.to_string());
        let found = outcome.findings.len().to_string();
        let [executions, per_second, edges] = &numbers;
        rows.push(row([target.name, executions, per_second, edges, &found]));
        findings.extend(outcome.findings.into_iter().map(|file| (target, file)));
    }
    println!("{}", rows.join("\n"));
    if findings.is_empty() {
        return Ok(());
    }
    for (target, file) in &findings {
        let program = program(target)?;
        println!("to run it again: {} {file}", program.display());
    }
    bail!("{} findings; `cargo test -p fuzzed` replays them too", findings.len())
}

fn chosen(name: Option<&str>) -> anyhow::Result<Vec<&'static Target>> {
    let chosen: Vec<_> =
        TARGETS.iter().filter(|target| name.is_none_or(|name| name == target.name)).collect();
    if chosen.is_empty() {
        let known: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        bail!("there is no target {:?}; there are {}", name.unwrap_or_default(), known.join(", "));
    }
    Ok(chosen)
}

fn row(cells: [&str; 5]) -> String {
    let [first, rest @ ..] = cells;
    rest.iter().fold(format!("{first:<10}"), |row, cell| format!("{row} {cell:>12}"))
}

/// Returns the folder of programs, logs, and the growing corpora.
fn folder() -> PathBuf {
    target().join("fuzz")
}

fn build() -> anyhow::Result<()> {
    // The workspace of the programs has its own lock file. With this copy the shipped versions are
    // fuzzed.
    fs::copy(root().join("Cargo.lock"), root().join("fuzz/Cargo.lock"))
        .context("cannot write fuzz/Cargo.lock")?;
    let place = folder();
    let place = place.to_str().context("the target folder's name is not UTF-8")?;
    // One unit for each crate would double the build time and hardly speed the programs up.
    let units = ["--codegen-units", "16"];
    let build = ["fuzz", "build", "--fuzz-dir", "fuzz", "--sanitizer", "none"];
    let arguments = [&build[..], &units, &["--target-dir", place]].concat();
    Invocation::cargo(&arguments).run()
}

/// Returns the program of a target.
fn program(target: &Target) -> anyhow::Result<PathBuf> {
    let said = Invocation::new("rustc", &["-vV"]).said()?;
    let host = said.output.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("`rustc -vV` names no host")?;
    Ok(folder().join(host).join("release").join(target.name))
}

/// Runs a target, and returns its log. New inputs are kept in the target folder.
fn fuzz(target: &Target, minutes: u32) -> anyhow::Result<String> {
    let (grown, kept) = corpora(target)?;
    let crashes = root().join("fuzz/crashes").join(target.name);
    fs::create_dir_all(&crashes)?;
    let mut command = command(target)?;
    command
        .arg(format!("-max_total_time={}", u64::from(minutes) * 60))
        .arg(format!("-artifact_prefix={}/", crashes.display()))
        .arg("-print_final_stats=1")
        .args([grown, kept]);
    let words = root().join("fuzz/dictionaries").join(target.name);
    if words.exists() {
        command.arg(format!("-dict={}", words.display()));
    }
    let log = logged(target, &mut command)?;
    // An empty folder is removed; the others hold past findings.
    drop(fs::remove_dir(crashes));
    Ok(log)
}

/// Puts into fuzz/corpus the fewest inputs that reach everything that both corpora reach.
fn merge(target: &Target) -> anyhow::Result<String> {
    let (grown, kept) = corpora(target)?;
    let merged = folder().join("merged").join(target.name);
    drop(fs::remove_dir_all(&merged));
    fs::create_dir_all(&merged)?;
    let mut command = command(target)?;
    command.arg("-merge=1").arg(&merged).args([&kept, &grown]);
    let log = logged(target, &mut command)?;
    anyhow::ensure!(fs::read_dir(&merged)?.next().is_some(), "the merge left nothing:\n{log}");
    fs::remove_dir_all(&kept)?;
    fs::create_dir_all(&kept)?;
    for entry in fs::read_dir(&merged)? {
        let entry = entry?;
        fs::copy(entry.path(), kept.join(entry.file_name()))?;
    }
    Ok(log)
}

/// Returns the corpus that a run adds to, and the committed corpus.
fn corpora(target: &Target) -> anyhow::Result<(PathBuf, PathBuf)> {
    let grown = folder().join("corpus").join(target.name);
    fs::create_dir_all(&grown)?;
    Ok((grown, root().join("fuzz/corpus").join(target.name)))
}

fn command(target: &Target) -> anyhow::Result<Command> {
    let mut command = Command::new(program(target)?);
    command
        .arg(format!("-max_len={}", target.max_len))
        .arg(format!("-timeout={}", target.timeout))
        .arg(format!("-rss_limit_mb={}", target.memory))
        .current_dir(root());
    Ok(command)
}

/// Runs a target with its output in a file, and returns the output.
///
/// # Errors
/// If it cannot be started, or fails without a finding, such as for a wrong option or dictionary.
fn logged(target: &Target, command: &mut Command) -> anyhow::Result<String> {
    let path = folder().join(format!("{}.log", target.name));
    let log =
        fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    println!("==> {}: {}", target.name, shown(&path));
    let status = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).status();
    let status = status.with_context(|| format!("cannot start the program of {}", target.name))?;
    let log = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
    let is_well = status.success() || !Outcome::of(&log).findings.is_empty();
    anyhow::ensure!(is_well, "{} ended with {status}: see {}", target.name, shown(&path));
    Ok(log)
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "#2\tINITED cov: 10 ft: 12 corp: 1/1b exec/s: 0 rss: 40Mb\n\
        #65536\tpulse  cov: 812 ft: 1999 corp: 80/12Kb lim: 4096 exec/s: 3276 rss: 61Mb\n\
        Test unit written to fuzz/crashes/fleet/crash-0a1b\n\
        stat::number_of_executed_units: 70123\n\
        stat::average_exec_per_sec:     3339\n";

    #[test]
    fn the_log_tells_what_a_run_came_to() {
        let findings = vec!["fuzz/crashes/fleet/crash-0a1b".to_owned()];
        let wanted = Outcome { executions: 70_123, per_second: 3339, edges: 812, findings };
        assert_eq!(Outcome::of(LOG), wanted);
        assert_eq!(Outcome::of("no such file"), Outcome::default());
    }

    #[test]
    fn a_target_is_chosen_by_its_name() {
        assert_eq!(chosen(None).unwrap().len(), TARGETS.len());
        assert_eq!(chosen(Some("queue")).unwrap()[0].name, "queue");
        let error = chosen(Some("quue")).unwrap_err().to_string();
        assert!(error.contains("quue") && error.contains("queue"), "{error}");
    }

    #[test]
    fn every_program_has_its_limits_here() {
        let mut programs: Vec<String> = fs::read_dir(root().join("fuzz/fuzz_targets"))
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        programs.sort();
        let known: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        assert_eq!(programs, known);
    }
}
