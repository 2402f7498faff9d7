//! `cargo xtask conformance`: the shared scenarios of all profiles, as a table of model × scenario.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};

use crate::step;

/// The profiles that take the scenarios in.
const PROFILES: [&str; 2] = ["profile-simcom", "profile-quectel"];

/// Arguments of `conformance`.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

/// Runs the scenarios and prints the table.
///
/// # Errors
/// Where cargo cannot be started, nothing ran, or a scenario failed.
pub(crate) fn run(_: &Arguments) -> anyhow::Result<()> {
    let mut command = step::cargo();
    command.arg("test");
    for profile in PROFILES {
        command.args(["-p", profile]);
    }
    command.args(["--no-fail-fast", "--test", "conformance", "--", "shared::"]);
    let output = command.output().context("cannot start `cargo test`")?;
    let table = Table::read(&String::from_utf8_lossy(&output.stdout));
    ensure!(
        !table.results.is_empty(),
        "no scenario ran: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    print!("{}", table.text());
    ensure!(output.status.success(), "not every scenario passed");
    Ok(())
}

/// What `cargo test` said of each model and scenario.
struct Table {
    models: BTreeSet<String>,
    results: BTreeMap<String, BTreeMap<String, String>>,
}

impl Table {
    fn read(said: &str) -> Self {
        let mut table = Self { models: BTreeSet::new(), results: BTreeMap::new() };
        for line in said.lines() {
            let Some((name, result)) =
                line.strip_prefix("test shared::").and_then(|rest| rest.split_once(" ... "))
            else {
                continue;
            };
            let Some((model, scenario)) = name.split_once("::") else { continue };
            table.models.insert(model.to_owned());
            let row = table.results.entry(scenario.to_owned()).or_default();
            row.insert(model.to_owned(), result.trim().to_owned());
        }
        table
    }

    fn text(&self) -> String {
        let width = self.results.keys().map(String::len).max().unwrap_or(0);
        let mut text = format!("{:width$}", "");
        for model in &self.models {
            text += &format!("  {model:8}");
        }
        text += "\n";
        for (scenario, row) in &self.results {
            text += &format!("{scenario:width$}");
            for model in &self.models {
                text += &format!("  {:8}", row.get(model).map_or("-", String::as_str));
            }
            text += "\n";
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_stands_in_its_place() {
        let said =
            "test shared::ec25::opens ... ok\ntest shared::sim7600::opens ... FAILED\nnoise\n";
        let text = Table::read(said).text();
        assert_eq!(text, "       ec25      sim7600 \nopens  ok        FAILED  \n");
    }
}
