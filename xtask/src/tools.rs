//! Programs from cargo's registry: used if installed, otherwise built.

use std::fmt;
use std::process::Command;

use anyhow::Context as _;

use crate::step::Invocation;

/// A program of the registry, as a command of cargo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tool {
    /// The word behind `cargo`; the package is `cargo-` and this word.
    word: &'static str,
    /// The oldest usable version, and the version that is built if none is installed.
    version: (u64, u64, u64),
    /// Its purpose.
    why: &'static str,
}

const DENY: Tool = Tool {
    word: "deny",
    version: (0, 20, 2),
    why: "holds the dependencies to deny.toml: licences, bans, sources",
};

const DEB: Tool = Tool { word: "deb", version: (3, 8, 0), why: "makes the Debian package" };

/// No test needs it.
const FUZZ: Tool =
    Tool { word: "fuzz", version: (0, 13, 2), why: "builds programs that libFuzzer drives" };

impl Tool {
    /// Builds it.
    ///
    /// # Errors
    /// If the build fails.
    pub(crate) fn provide(self) -> anyhow::Result<()> {
        let installation = self.installation();
        println!("    {installation}");
        installation.run().with_context(|| format!("could not build cargo {}", self.word))
    }

    /// Returns the command that builds it. Without optimisation: it runs for seconds, and would
    /// compile for minutes.
    fn installation(self) -> Invocation {
        let (major, minor, patch) = self.version;
        let package = format!("cargo-{}@{major}.{minor}.{patch}", self.word);
        Invocation::cargo(&["install", "--locked", "--debug", "--quiet", &package])
    }

    fn is_there(self) -> bool {
        let said = Command::new("cargo").args([self.word, "--version"]).output();
        said.is_ok_and(|said| {
            said.status.success() && self.will_do(&String::from_utf8_lossy(&said.stdout))
        })
    }

    /// Reports whether the output of `--version` is new enough: `cargo-deny 0.20.2`, or `3.8.0`
    /// alone.
    fn will_do(self, said: &str) -> bool {
        let number = |text: &str| -> Option<(u64, u64, u64)> {
            let mut parts = text.split(['.', '-', '+']).map(|part| part.parse().ok());
            Some((parts.next()??, parts.next()??, parts.next()??))
        };
        said.split_whitespace().find_map(number).is_some_and(|found| found >= self.version)
    }
}

/// The command and its purpose.
impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cargo {} (built by cargo, minutes): {}", self.word, self.why)
    }
}

/// Returns the missing programs of the test run; that of the Debian package only `with_package`.
pub(crate) fn missing(with_package: bool) -> Vec<Tool> {
    let tools = [Some(DENY), with_package.then_some(DEB)];
    tools.into_iter().flatten().filter(|tool| !tool.is_there()).collect()
}

/// Builds the fuzzer's program if it is missing.
///
/// # Errors
/// If the build fails.
pub(crate) fn fuzz() -> anyhow::Result<()> {
    ensure(FUZZ)
}

/// Builds the program that makes Debian packages if it is missing.
///
/// # Errors
/// If the build fails.
pub(crate) fn package() -> anyhow::Result<()> {
    ensure(DEB)
}

fn ensure(tool: Tool) -> anyhow::Result<()> {
    if tool.is_there() {
        return Ok(());
    }
    println!("    missing: {tool}");
    tool.provide()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_that_is_there_is_judged_by_its_numbers() {
        for (said, enough) in [
            ("cargo-deny 0.20.2\n", true),
            ("cargo-deny 0.20.10", true),
            ("1.0.0", true),
            ("cargo-deny 0.20.1", false),
            ("cargo-deny 0.9.30", false),
            ("cargo-deny", false),
            ("", false),
        ] {
            assert_eq!(DENY.will_do(said), enough, "{said:?}");
        }
    }

    #[test]
    fn what_is_built_is_what_was_tried() {
        let shown = DENY.installation().to_string();
        assert_eq!(shown, "cargo install --locked --debug --quiet cargo-deny@0.20.2");
    }
}
