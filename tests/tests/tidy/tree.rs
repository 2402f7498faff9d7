//! The files of the repository: those that git tracks or would track.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use anyhow::Context as _;

/// A text file of the repository.
#[derive(Debug)]
pub(crate) struct TextFile {
    /// Its path below the root, with `/` between the parts.
    pub(crate) path: String,
    /// Its content.
    pub(crate) text: String,
}

/// Returns the root of the repository.
pub(crate) fn root() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

/// Returns all text files: valid UTF-8 without a zero byte.
///
/// # Errors
/// If a file cannot be read.
pub(crate) fn text_files() -> anyhow::Result<Vec<TextFile>> {
    let mut files = Vec::new();
    for path in paths()? {
        let bytes = fs::read(root().join(&path)).with_context(|| format!("cannot read {path}"))?;
        if let Ok(text) = String::from_utf8(bytes)
            && !text.contains('\0')
        {
            files.push(TextFile { path, text });
        }
    }
    anyhow::ensure!(
        files.len() > 20,
        "only {} text files found: is this the repository?",
        files.len()
    );
    Ok(files)
}

/// Returns the files that git tracks or would track; without git, all files except build output.
fn paths() -> anyhow::Result<Vec<String>> {
    let mut paths = match from_git() {
        Some(paths) => paths,
        None => walk(root()).context("cannot list the files of the repository")?,
    };
    // git also lists files that were deleted without a commit.
    paths.retain(|path| root().join(path).is_file());
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// `None` outside a checkout: a source archive has no `.git`, and git refuses folders of other
/// users.
fn from_git() -> Option<Vec<String>> {
    if !root().join(".git").exists() {
        return None;
    }
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .ok()?;
    let names = String::from_utf8(listed.stdout).ok()?;
    listed.status.success().then(|| names.split_terminator('\0').map(str::to_owned).collect())
}

fn walk(top: &Path) -> io::Result<Vec<String>> {
    let mut open: Vec<PathBuf> = vec![top.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_name() == ".git" || entry.file_name() == "target" {
                continue;
            }
            if entry.file_type()?.is_dir() {
                open.push(path);
            } else if let Some(name) = path.strip_prefix(top).ok().and_then(Path::to_str) {
                found.push(name.to_owned());
            }
        }
    }
    Ok(found)
}

#[test]
fn a_source_archive_has_the_same_files() -> anyhow::Result<()> {
    let here = file!().replace('\\', "/");
    assert!(walk(root())?.contains(&here), "{here} is not found");
    assert!(paths()?.contains(&here), "{here} is not listed");
    Ok(())
}
