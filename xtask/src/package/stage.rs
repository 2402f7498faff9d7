//! The packed files that are not in the repository, made in `target/package/stage`.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use super::changes::Changes;
use super::notices;
use crate::step;

/// A built program.
pub(crate) struct Program {
    /// Its path.
    pub(crate) path: PathBuf,
    /// Its target, by Rust's name.
    pub(crate) target: &'static str,
    /// The tools for its machine.
    pub(crate) tools: Tools,
}

/// The tools for a kind of machine.
pub(crate) struct Tools {
    /// The program that runs its programs, if this machine cannot run them.
    runner: Option<&'static str>,
    /// The program that removes symbols.
    strip: &'static str,
}

impl Tools {
    /// The tools for this machine's kind.
    pub(crate) const NATIVE: Self = Self { runner: None, strip: "strip" };
    /// The tools for arm64, on another machine.
    pub(crate) const ARM64: Self =
        Self { runner: Some("deploy/cross/run"), strip: "aarch64-linux-gnu-strip" };
}

impl Program {
    /// Returns a command that runs it with these arguments.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = match self.tools.runner {
            Some(runner) => {
                let mut command = Command::new(step::root().join(runner));
                command.arg(&self.path);
                command
            }
            None => Command::new(&self.path),
        };
        command.args(words).stdin(Stdio::null());
        command
    }
}

/// Returns the folder; crates/modemfleet/Cargo.toml names its files.
pub(crate) fn folder() -> PathBuf {
    step::root().join("target/package/stage")
}

/// Returns the path of the program as it is packed.
pub(crate) fn program() -> PathBuf {
    folder().join("modemfleet")
}

/// Empties the folder and fills it again.
///
/// # Errors
/// If the program or a tool fails, or a file cannot be written.
pub(crate) fn fill(program: &Program, changes: &Changes) -> anyhow::Result<()> {
    let stage = folder();
    if stage.exists() {
        fs::remove_dir_all(&stage).with_context(|| format!("cannot empty {}", stage.display()))?;
    }
    let man = stage.join("man");
    fs::create_dir_all(&man)?;
    let mut strip = Command::new(program.tools.strip);
    succeed(strip.arg("--strip-all").arg("-o").arg(self::program()).arg(&program.path))?;
    succeed(program.command(&["man", "--dir"]).arg(&man))?;
    for shell in ["bash", "zsh", "fish"] {
        let script = stage.join(format!("modemfleet.{shell}"));
        succeed(program.command(&["completions", shell]).stdout(File::create(script)?))?;
    }
    let schema = File::create(stage.join("fleet.schema.json"))?;
    succeed(program.command(&["schema"]).stdout(schema))?;
    fs::write(stage.join("changelog"), changes.debian())?;
    let page = stage.join("third-party-notices");
    fs::write(&page, notices::of_the_agent(program.target)?)?;
    succeed(Command::new("gzip").args(["-9", "--no-name"]).arg(&page))
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    anyhow::ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
