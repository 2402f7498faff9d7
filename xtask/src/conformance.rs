//! `cargo xtask conformance`: the shared scenarios of all profiles, as a table of model × scenario.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};

use crate::step;

/// The profiles that include the scenarios.
const PROFILES: [&str; 2] = ["profile-simcom", "profile-quectel"];

/// Arguments of `conformance`.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

/// Runs the scenarios and prints the table.
///
/// # Errors
/// If cargo cannot be started, nothing ran, or a scenario failed.
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

/// The results of `cargo test` for each model and scenario.
struct Table {
    models: BTreeSet<String>,
    results: BTreeMap<String, BTreeMap<String, String>>,
    /// Scenarios that a model cannot perform, with the reasons.
    cannot: Vec<String>,
}

impl Table {
    fn read(said: &str) -> Self {
        let mut table =
            Self { models: BTreeSet::new(), results: BTreeMap::new(), cannot: Vec::new() };
        for line in said.lines() {
            let Some((name, result)) =
                line.strip_prefix("test shared::").and_then(|rest| rest.split_once(" ... "))
            else {
                continue;
            };
            let Some((model, scenario)) = name.split_once("::") else { continue };
            table.models.insert(model.to_owned());
            let row = table.results.entry(scenario.to_owned()).or_default();
            let result = match result.trim().strip_prefix("ignored") {
                // No scenario is ignored for another reason.
                Some(reason) => {
                    let reason = reason.trim_start_matches([',', ' ']);
                    table.cannot.push(format!("{model} cannot: {scenario}: {reason}"));
                    "cannot"
                }
                None => result.trim(),
            };
            row.insert(model.to_owned(), result.to_owned());
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
        for reason in &self.cannot {
            text += &format!("{reason}\n");
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

    /// It is shown neither as passed nor as missing.
    #[test]
    fn what_a_model_cannot_do_is_told_with_the_reason() {
        let said = "test shared::sim7020::two ... ignored, it has one client\n";
        let text = Table::read(said).text();
        let wanted = "     sim7020 \ntwo  cannot  \nsim7020 cannot: two: it has one client\n";
        assert_eq!(text, wanted);
    }
}
