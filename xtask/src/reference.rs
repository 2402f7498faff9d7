//! `cargo xtask reference`: docs/fleet-yaml.md and docs/metrics.md, made from the program's own
//! descriptions.
//!
//! `modemfleet schema` prints the keys of a fleet file, `modemfleet schema --metrics` the families
//! of `/metrics`. The text above the mark of a page is written by hand.

mod fleet;
mod metrics;
mod values;

use std::fs;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::step::{self, root};

/// The mark at which the generated part of a page begins.
const MARK: &str = "<!-- the rest is made by `cargo xtask reference` -->\n";

/// Arguments of `reference`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Change nothing; fail if a page is out of date.
    #[arg(long)]
    check: bool,
}

/// Writes the pages, or checks them.
///
/// # Errors
/// If the program cannot be built or run, a file cannot be read or written, or a page is out of
/// date.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let pages = [
        ("docs/fleet-yaml.md", fleet::page(&told(&["schema"])?)?),
        ("docs/metrics.md", metrics::page(&told(&["schema", "--metrics"])?)?),
    ];
    for (name, made) in pages {
        let path = root().join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
        let wanted = with_made(&text, &made).with_context(|| format!("{name} has no mark"))?;
        if arguments.check {
            ensure!(wanted == text, "{name} is old: run `cargo xtask reference`");
        } else {
            fs::write(&path, wanted).with_context(|| format!("cannot write {name}"))?;
        }
    }
    Ok(())
}

/// Returns the page with `made` below its mark; `None` if it has no mark.
fn with_made(page: &str, made: &str) -> Option<String> {
    let (by_hand, _) = page.split_once(MARK)?;
    Some(format!("{by_hand}{MARK}\n{}\n", made.trim()))
}

/// Returns the JSON that the program of this source prints.
fn told(arguments: &[&str]) -> anyhow::Result<Value> {
    let mut command = step::cargo();
    command.args(["run", "--quiet", "--package", "modemfleet", "--bin", "modemfleet", "--"]);
    let output = command.args(arguments).output().context("cannot start cargo")?;
    ensure!(
        output.status.success(),
        "`modemfleet {}` failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("the output of modemfleet is not JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_by_hand_stays_and_the_rest_is_made_anew() {
        let page = format!("# By hand\n\n{MARK}\nold\n");
        let wanted = with_made(&page, "new\n\n").unwrap();
        assert_eq!(wanted, format!("# By hand\n\n{MARK}\nnew\n"));
        assert_eq!(with_made(&wanted, "new").as_deref(), Some(wanted.as_str()));
        assert_eq!(with_made("no mark", "new"), None);
    }
}
