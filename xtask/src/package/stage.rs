//! What cargo-deb packs that no file of the repository is: made in `target/package/stage`.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use super::changes::Changes;
use super::notices;
use crate::step;

/// A built program.
pub(crate) struct Program {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its target in Rust's words.
    pub(crate) target: &'static str,
    /// What understands it.
    pub(crate) tools: Tools,
}

/// The tools for a kind of machine.
pub(crate) struct Tools {
    /// What runs its programs, where this machine does not by itself.
    runner: Option<&'static str>,
    /// What takes the symbols away.
    strip: &'static str,
}

impl Tools {
    /// For this machine's kind.
    pub(crate) const NATIVE: Self = Self { runner: None, strip: "strip" };
    /// For arm64, on another.
    pub(crate) const ARM64: Self =
        Self { runner: Some("deploy/cross/run"), strip: "aarch64-linux-gnu-strip" };
}

impl Program {
    /// Runs it with these words.
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

/// The folder; crates/modemfleet/Cargo.toml names what is in it.
fn folder() -> PathBuf {
    step::root().join("target/package/stage")
}

/// The program as it is packed.
pub(crate) fn program() -> PathBuf {
    folder().join("modemfleet")
}

/// Makes the folder anew.
///
/// # Errors
/// What the program or a tool said; files that cannot be written.
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
