//! The metrics' page: a section for each family, with its users.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::values::{cell, list, text};
use crate::dashboards;
use crate::step::root;

/// The file of rules and alerts.
const RULES: &str = "deploy/prometheus/modemfleet.rules.yml";

/// Returns the generated part of the page.
///
/// # Errors
/// If the rules cannot be read, or use an unknown family.
pub(super) fn page(families: &Value) -> anyhow::Result<String> {
    let families = families.as_array().context("the list of families is not a list")?;
    let rules =
        fs::read_to_string(root().join(RULES)).with_context(|| format!("cannot read {RULES}"))?;
    let uses = uses(families, &rules)?;
    let mut page = String::from("| family | type | unit | meaning |\n|---|---|---|---|\n");
    for family in families {
        let name = text(family, "name");
        let row = [
            format!("[`{name}`](#{name})"),
            text(family, "type").to_owned(),
            unit(family).to_owned(),
            cell(text(family, "help")),
        ];
        page += &format!("| {} |\n", row.join(" | "));
    }
    for family in families {
        page += &section(family, uses.get(text(family, "name")));
    }
    Ok(page)
}

fn unit(family: &Value) -> &str {
    family.get("unit").and_then(Value::as_str).unwrap_or("–")
}

fn section(family: &Value, uses: Option<&BTreeSet<String>>) -> String {
    let (name, kind) = (text(family, "name"), text(family, "type"));
    let mut section = format!("\n## {name}\n\n{} A {kind}", text(family, "help"));
    if let Some(unit) = family.get("unit").and_then(Value::as_str) {
        section += &format!(" in {unit}");
    }
    section += ".";
    let bounds: Vec<String> = list(family, "buckets").iter().map(Value::to_string).collect();
    if !bounds.is_empty() {
        section += &format!(" Its buckets end at {}.", bounds.join(", "));
    }
    section += "\n";
    let labels = list(family, "labels");
    if !labels.is_empty() {
        section += "\n| label | values |\n|---|---|\n";
    }
    for label in labels {
        let words: Vec<String> = list(label, "values")
            .iter()
            .filter_map(Value::as_str)
            .map(|word| format!("`{word}`"))
            .collect();
        let values =
            if words.is_empty() { text(label, "about").to_owned() } else { words.join(", ") };
        section += &format!("| `{}` | {} |\n", text(label, "name"), cell(&values));
    }
    if let Some(uses) = uses {
        let uses: Vec<&str> = uses.iter().map(String::as_str).collect();
        section += &format!("\nUsed by {}.\n", uses.join("; "));
    }
    section
}

/// Returns the users of each family: alerts, also through recorded series, and panels.
fn uses(families: &[Value], rules: &str) -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let names: BTreeSet<&str> = families.iter().map(|family| text(family, "name")).collect();
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut note = |expr: &str,
                    recorded: &BTreeMap<String, BTreeSet<String>>,
                    user: String|
     -> anyhow::Result<()> {
        for family in used(expr, &names, recorded)? {
            uses.entry(family).or_default().insert(user.clone());
        }
        Ok(())
    };
    let rules: Value =
        serde_yaml::from_str(rules).with_context(|| format!("{RULES} is not YAML"))?;
    let mut recorded: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // A rule uses only series that were recorded above it.
    for rule in list(&rules, "groups").iter().flat_map(|group| list(group, "rules")) {
        let (record, alert, expr) = (text(rule, "record"), text(rule, "alert"), text(rule, "expr"));
        if record.is_empty() {
            let link = format!("alert [{alert}](runbooks.md#{})", alert.to_lowercase());
            note(expr, &recorded, link)?;
        } else {
            recorded.insert(record.to_owned(), used(expr, &names, &recorded)?);
        }
    }
    for (dashboard, panel, expr) in dashboards::expressions() {
        note(expr, &recorded, format!("panel “{panel}” of {dashboard}"))?;
    }
    Ok(uses)
}

/// Returns the families in an expression.
///
/// # Errors
/// If a name of ours in it is not a family.
fn used(
    expr: &str,
    names: &BTreeSet<&str>,
    recorded: &BTreeMap<String, BTreeSet<String>>,
) -> anyhow::Result<BTreeSet<String>> {
    let is_inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    let mut found = BTreeSet::new();
    for word in expr.split(|c| !is_inside(c)) {
        if let Some(below) = recorded.get(word) {
            found.extend(below.iter().cloned());
        } else if word.starts_with("modemfleet_") {
            let ends = ["", "_bucket", "_sum", "_count"];
            let family = ends
                .iter()
                .filter_map(|end| word.strip_suffix(end))
                .find(|name| names.contains(name));
            ensure!(family.is_some(), "{word} is used in `{expr}`, and there is no such family");
            found.extend(family.map(str::to_owned));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_family_is_found_in_what_a_rule_recorded_and_a_stranger_is_refused() {
        let families =
            [json!({ "name": "modemfleet_a_seconds" }), json!({ "name": "modemfleet_b" })];
        let rules = "groups: [{ rules: [
            { record: 'x:a', expr: 'rate(modemfleet_a_seconds_bucket[1m])' },
            { alert: Slow, expr: 'x:a > 1 and modemfleet_b == 0' }] }]";
        let names: BTreeSet<&str> = families.iter().map(|family| text(family, "name")).collect();
        let rule = |expr| used(expr, &names, &BTreeMap::new());
        assert!(rule("modemfleet_c > 1").is_err());
        assert_eq!(rule("modemfleet_a_seconds_sum + up").unwrap().len(), 1);
        // The dashboards use other families than these two.
        assert!(uses(&families, rules).is_err());
    }

    #[test]
    fn a_section_tells_labels_and_users() {
        let family = json!({ "name": "m", "type": "gauge", "help": "What it is.", "unit": "dBm",
            "labels": [{ "name": "rat", "values": ["lte", "nr"] }, { "name": "modem", "about": "its name" }] });
        let section = section(&family, Some(&BTreeSet::from(["alert A".to_owned()])));
        for part in [
            "## m\n",
            "A gauge in dBm.",
            "| `rat` | `lte`, `nr` |",
            "| `modem` | its name |",
            "Used by alert A.",
        ] {
            assert!(section.contains(part), "{part} is not in {section}");
        }
    }
}
