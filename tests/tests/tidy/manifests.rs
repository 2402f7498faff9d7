//! Every member of the workspace takes its lints, edition, licence and versions from the root.

use crate::tree::{TextFile, text_files};
use crate::{Breach, verdict};

/// The keys of `[package]` that a member takes from the workspace.
const INHERITED: &[&str] = &["version", "edition", "rust-version", "license", "publish"];

/// Returns the lines of a section, without comments and blank lines.
fn section<'a>(manifest: &'a str, name: &str) -> Vec<&'a str> {
    let header = format!("[{name}]");
    let lines = manifest.lines().map(str::trim);
    lines
        .skip_while(|line| *line != header)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

/// Returns a line without the spaces around its `=`.
fn dense(line: &str) -> String {
    line.split_once('=').map_or_else(
        || line.to_owned(),
        |(key, value)| format!("{}={}", key.trim_end(), value.trim_start()),
    )
}

fn breaches(path: &str, manifest: &str) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let package = section(manifest, "package");
    for key in INHERITED {
        let wanted = format!("{key}.workspace=true");
        if !package.iter().any(|line| dense(line) == wanted) {
            breaches.push(format!(
                "{path}: [package] has its own `{key}`: write `{key}.workspace = true`"
            ));
        }
    }
    if !section(manifest, "lints").iter().any(|line| dense(line) == "workspace=true") {
        breaches.push(format!(
            "{path}: the lints do not hold here: write `[lints]`, `workspace = true`"
        ));
    }
    for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
        for line in section(manifest, kind) {
            // Further lines of a list of features name no dependency.
            let entry = line.split_once('=').map(|(name, _)| name.trim_end());
            if let Some(name) = entry
                && !line.contains("workspace = true")
            {
                breaches.push(format!(
                    "{path}: `{name}` in [{kind}] does not come from the workspace: move its version to the root's Cargo.toml"
                ));
            }
        }
    }
    breaches
}

#[test]
fn members_inherit_from_the_workspace() -> anyhow::Result<()> {
    let files = text_files()?;
    // The example of a third party is its own workspace.
    let is_member = |file: &&TextFile| {
        file.path.ends_with("/Cargo.toml") && !file.text.lines().any(|line| line == "[workspace]")
    };
    let members: Vec<_> = files.iter().filter(is_member).collect();
    assert!(members.len() >= 8, "only {} manifests found", members.len());
    let found: Vec<_> = members.iter().flat_map(|file| breaches(&file.path, &file.text)).collect();
    verdict(&found);
    Ok(())
}

#[test]
fn a_member_of_its_own_mind_is_seen() {
    let good = "[package]\nname = \"x\"\nversion.workspace = true\nedition.workspace = true\n\
        rust-version.workspace = true\nlicense.workspace = true\npublish.workspace = true\n\
        [lints]\nworkspace = true\n[dependencies]\n# why\nserde.workspace = true\n\
        tokio = { workspace = true, features = [\"sync\"] }\n";
    assert_eq!(breaches("x/Cargo.toml", good), Vec::<String>::new());
    let cases = [
        (good.replace("edition.workspace = true", "edition = \"2021\""), "`edition`"),
        (good.replace("license.workspace = true\n", ""), "`license`"),
        (good.replace("[lints]\nworkspace = true\n", ""), "lints do not hold"),
        (good.replace("serde.workspace = true", "serde = \"1\""), "`serde` in [dependencies]"),
    ];
    for (bad, expected) in cases {
        let found = breaches("x/Cargo.toml", &bad);
        assert!(matches!(&found[..], [one] if one.contains(expected)), "{expected}: {found:?}");
    }
}
