//! Programs that cargo brings: looked for, and built from the registry where they are not there.

use std::process::Command;

use anyhow::Context as _;

use crate::step::Invocation;

/// A program of the registry, as a command of cargo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tool {
    /// What follows `cargo`; the package is `cargo-` and this.
    word: &'static str,
    /// The oldest version that will do, and the one that is built where there is none.
    version: (u64, u64, u64),
    /// What for.
    why: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool {
        word: "deny",
        version: (0, 20, 2),
        why: "holds the dependencies to deny.toml: licences, bans, sources",
    },
    Tool { word: "deb", version: (3, 8, 0), why: "makes the Debian package" },
];

/// Not among the others: no test needs it.
const FUZZ: Tool =
    Tool { word: "fuzz", version: (0, 13, 2), why: "builds programs that libFuzzer drives" };

impl Tool {
    /// Builds it where it is not there.
    fn provide(self) -> anyhow::Result<()> {
        if self.is_there() {
            return Ok(());
        }
        let installation = self.installation();
        println!("    missing: cargo {}: {}", self.word, self.why);
        println!("    {installation}");
        installation.run().with_context(|| format!("cargo {} is not available", self.word))
    }

    /// How to build it. Without optimisation: it runs for seconds and would compile for minutes.
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

    /// Whether what `--version` prints is new enough: `cargo-deny 0.20.2`, or `3.8.0` alone.
    fn will_do(self, said: &str) -> bool {
        let number = |text: &str| -> Option<(u64, u64, u64)> {
            let mut parts = text.split(['.', '-', '+']).map(|part| part.parse().ok());
            Some((parts.next()??, parts.next()??, parts.next()??))
        };
        said.split_whitespace().find_map(number).is_some_and(|found| found >= self.version)
    }
}

/// Sees to it that each is there.
///
/// # Errors
/// What the build of one said.
pub(crate) fn run() -> anyhow::Result<()> {
    TOOLS.iter().try_for_each(|tool| tool.provide())
}

/// Sees to it that the fuzzer's is there.
///
/// # Errors
/// Output of its build.
pub(crate) fn fuzz() -> anyhow::Result<()> {
    FUZZ.provide()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENY: Tool = TOOLS[0];

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
