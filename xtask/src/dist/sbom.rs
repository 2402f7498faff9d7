//! The bill of materials of the static program: CycloneDX 1.5 as JSON, from cargo's metadata and the lock file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::package::notices::{self, Package};

/// Returns the document.
///
/// # Errors
/// If cargo or the lock file does not say what is linked.
pub(super) fn document(
    root: &Path,
    target: &str,
    features: &[&str],
    version: &str,
    seconds: u64,
) -> anyhow::Result<Vec<u8>> {
    let lock = fs::read_to_string(root.join("Cargo.lock")).context("Cargo.lock")?;
    let packages = notices::linked_into_the_agent(target, features)?;
    let time = jiff::Timestamp::from_second(i64::try_from(seconds)?)?.to_string();
    let document = written(&packages, &checksums(&lock), version, &time);
    Ok(serde_json::to_vec_pretty(&document)?)
}

/// Reads the checksums of the lock file, by name and version.
fn checksums(lock: &str) -> BTreeMap<(&str, &str), &str> {
    let packages = lock.split("[[package]]").skip(1);
    packages
        .filter_map(|package| {
            let value = |key: &str| {
                let line = package.lines().find_map(|line| line.strip_prefix(key))?;
                line.strip_prefix(" = \"")?.strip_suffix('"')
            };
            Some(((value("name")?, value("version")?), value("checksum")?))
        })
        .collect()
}

fn written(
    packages: &[Package],
    checksums: &BTreeMap<(&str, &str), &str>,
    version: &str,
    time: &str,
) -> Value {
    let program = format!("pkg:generic/modemfleet@{version}");
    let purl = |package: &Package| format!("pkg:cargo/{}@{}", package.name, package.version);
    let components: Vec<Value> = packages
        .iter()
        .map(|package| {
            let mut component = json!({
                "type": "library",
                "bom-ref": purl(package),
                "name": package.name,
                "version": package.version,
                "purl": purl(package),
                "scope": "required",
            });
            let Some(fields) = component.as_object_mut() else { return component };
            if let Some(licence) = &package.license {
                // Old manifests write `MIT/Apache-2.0` for a choice.
                let expression = licence.replace('/', " OR ");
                fields.insert("licenses".into(), json!([{ "expression": expression }]));
            }
            if let Some(sum) = checksums.get(&(package.name.as_str(), package.version.as_str())) {
                fields.insert("hashes".into(), json!([{ "alg": "SHA-256", "content": sum }]));
            }
            if let Some(url) = &package.repository {
                let reference = json!([{ "type": "vcs", "url": url }]);
                fields.insert("externalReferences".into(), reference);
            }
            component
        })
        .collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": time,
            "component": {
                "type": "application",
                "bom-ref": program,
                "name": "modemfleet",
                "version": version,
                "licenses": [{ "expression": "MIT OR Apache-2.0" }],
            },
        },
        "components": components,
        "dependencies": [{
            "ref": program,
            "dependsOn": packages.iter().map(purl).collect::<Vec<_>>(),
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dist::building::FEATURES;
    use crate::step;

    #[test]
    fn the_bill_names_what_the_static_program_links_with_licence_and_checksum() {
        let target = "x86_64-unknown-linux-gnu";
        let bill = document(step::root(), target, &FEATURES, "0.1.0", 0).unwrap();
        assert_eq!(bill, document(step::root(), target, &FEATURES, "0.1.0", 0).unwrap());
        let bill: Value = serde_json::from_slice(&bill).unwrap();
        assert_eq!(
            (&bill["bomFormat"], &bill["specVersion"]),
            (&json!("CycloneDX"), &json!("1.5"))
        );
        assert_eq!(bill["metadata"]["timestamp"], "1970-01-01T00:00:00Z");
        let components = bill["components"].as_array().unwrap();
        let named = |name: &str| components.iter().find(|it| it["name"] == name);
        assert!(named("tokio").is_some() && named("rusqlite").is_some());
        assert!(named("tokio-udev").is_none(), "the static program has no libudev");
        assert!(named("proptest").is_none(), "only tests use it");
        for component in components {
            let sum = component["hashes"][0]["content"].as_str().unwrap_or_default();
            assert_eq!(sum.len(), 64, "{component}");
            let licence = component["licenses"][0]["expression"].as_str().unwrap_or_default();
            assert!(!licence.is_empty() && !licence.contains('/'), "{component}");
        }
        assert_eq!(
            bill["dependencies"][0]["dependsOn"].as_array().unwrap().len(),
            components.len()
        );
    }
}
