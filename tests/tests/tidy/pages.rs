//! The pages that people read first, and the script that CI runs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::Context as _;

use crate::tree::{root, text_files};
use crate::verdict;

/// The command for newcomers and for CI.
const THE_COMMAND: &str = "cargo xtask test";

/// The most lines of a page that is meant to be read in one go.
const PAGE_CEILINGS: &[(&str, usize)] = &[("CONTRIBUTING.md", 140), ("ARCHITECTURE.md", 240)];

/// The argument with the folder of field cases, which CI adds if there is one. It changes no other
/// step.
const ITS_ARGUMENTS: &str = " \"${arguments[@]}\"";

/// Returns the last command of a script, without `exec` and without that argument.
fn last_command(script: &str) -> &str {
    let mut lines =
        script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let last = lines.next_back().unwrap_or_default();
    let last = last.strip_prefix("exec ").unwrap_or(last);
    last.strip_suffix(ITS_ARGUMENTS).unwrap_or(last)
}

#[test]
fn ci_runs_what_people_run() -> anyhow::Result<()> {
    let path = root().join(".ci/run");
    let script = fs::read_to_string(&path).context(".ci/run cannot be read: restore it")?;
    assert_eq!(last_command(&script), THE_COMMAND, ".ci/run has to end with `{THE_COMMAND}`");
    let added: Vec<_> = script.lines().filter(|line| line.contains("arguments+=")).collect();
    assert!(
        added.iter().all(|line| line.trim().starts_with("arguments+=(--field ")),
        ".ci/run adds more than --field: {added:?}"
    );
    let mode = fs::metadata(&path)?.permissions().mode();
    assert_eq!(mode & 0o111, 0o111, ".ci/run is no program: chmod +x .ci/run");
    Ok(())
}

#[test]
fn the_readme_says_how_to_test() -> anyhow::Result<()> {
    for page in ["README.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(root().join(page))
            .with_context(|| format!("{page} cannot be read: write it"))?;
        assert!(
            text.contains(THE_COMMAND),
            "{page} does not name `{THE_COMMAND}`: say how to test"
        );
    }
    Ok(())
}

#[test]
fn pages_fit_one_reading() -> anyhow::Result<()> {
    let files = text_files()?;
    let mut found = Vec::new();
    for (page, ceiling) in PAGE_CEILINGS {
        let lines = files
            .iter()
            .find(|file| file.path == *page)
            .map_or(0, |file| file.text.lines().count());
        if lines > *ceiling {
            found.push(format!(
                "{page}: {lines} lines, {ceiling} are allowed: move details to where they apply"
            ));
        }
    }
    verdict(&found);
    Ok(())
}

#[test]
fn both_licences_are_here() -> anyhow::Result<()> {
    for (file, words) in [
        ("LICENSE-MIT", "Permission is hereby granted, free of charge"),
        ("LICENSE-APACHE", "Version 2.0, January 2004"),
    ] {
        let text = fs::read_to_string(root().join(file))
            .with_context(|| format!("{file} is gone: restore it"))?;
        assert!(text.contains(words), "{file} is not the licence it is called: restore it");
    }
    Ok(())
}

#[test]
fn another_ci_command_is_seen() {
    assert_eq!(last_command("#!/usr/bin/env bash\nset -e\nexec cargo xtask test\n"), THE_COMMAND);
    let with_cases = "arguments=()\nexec cargo xtask test \"${arguments[@]}\"\n";
    assert_eq!(last_command(with_cases), THE_COMMAND);
    assert_ne!(last_command("cargo xtask test --only fmt\n"), THE_COMMAND);
    assert_ne!(last_command("cargo xtask test\ncargo fmt\n"), THE_COMMAND);
    assert_ne!(last_command("# cargo xtask test\n"), THE_COMMAND);
}
