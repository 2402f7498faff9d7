//! Text that no file of the repository may contain: traces of one machine, and remains of a merge.

use crate::tree::text_files;
use crate::{Breach, verdict};

/// Folders of a developer's machine, in two pieces, since this file is searched as well.
const MACHINE_FOLDERS: &[[&str; 2]] = &[["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"]];

/// Hosts of package registries, in two pieces. A build takes them from the user's own settings.
const REGISTRY_HOSTS: &[[&str; 2]] = &[
    ["crates", ".io"],
    ["pypi", ".org"],
    ["pythonhosted", ".org"],
    ["npmjs", ".org"],
    ["proxy.golang", ".org"],
];

/// First characters of the lines that an unfinished merge leaves. The middle line is not among
/// them, since it also underlines a heading.
const MERGE_MARKERS: &[char] = &['<', '|', '>'];

fn breaches(path: &str, text: &str) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let mut breach = |what: String| breaches.push(format!("{path}:{number}: {what}"));
        for folder in MACHINE_FOLDERS.iter().map(|pieces| pieces.concat()) {
            if begins_a_path(line, &folder) {
                breach(format!(
                    "names {folder}, a folder of one machine: use a relative or an example path"
                ));
            }
        }
        // The lock file is cargo's own, and names the source of each crate.
        for host in REGISTRY_HOSTS.iter().map(|pieces| pieces.concat()) {
            if path != "Cargo.lock" && line.contains(&host) {
                breach(format!(
                    "names the registry {host}: name the project or its documentation instead"
                ));
            }
        }
        if MERGE_MARKERS.iter().any(|marker| is_merge_marker(line, *marker)) {
            breach("holds a merge marker: finish the merge".to_owned());
        }
        if path.ends_with(".cargo/config.toml") && line.contains("replace-with") {
            breach("replaces a source: that belongs to the user's own settings".to_owned());
        }
    }
    breaches
}

/// Reports whether `folder` is the beginning of a path in `line`, and not its middle.
fn begins_a_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        before.is_none_or(|last| !last.is_alphanumeric() && !"._-}~*)".contains(last))
    })
}

fn is_merge_marker(line: &str, marker: char) -> bool {
    let rest = line.trim_start_matches(marker);
    line.len() - rest.len() == 7 && (rest.is_empty() || rest.starts_with(' '))
}

#[test]
fn no_file_tells_of_a_machine_a_registry_or_a_merge() -> anyhow::Result<()> {
    let files = text_files()?;
    let found: Vec<_> = files.iter().flat_map(|file| breaches(&file.path, &file.text)).collect();
    verdict(&found);
    Ok(())
}

#[test]
fn traces_are_seen_with_file_and_line() {
    let count = |text: &str| breaches("docs/a.md", text).len();
    for folder in MACHINE_FOLDERS {
        assert_eq!(count(&format!("cd {}x", folder.concat())), 1, "{folder:?}");
        assert_eq!(count(&format!("\"{}x\"", folder.concat())), 1, "{folder:?}");
        assert_eq!(count(&format!("https://example.com{}x", folder.concat())), 0, "{folder:?}");
    }
    for host in REGISTRY_HOSTS {
        assert_eq!(count(&format!("see https://{}/x", host.concat())), 1, "{host:?}");
        assert!(breaches("Cargo.lock", &host.concat()).is_empty(), "{host:?}");
    }
    for marker in MERGE_MARKERS {
        let marker = marker.to_string().repeat(7);
        let found = breaches("docs/a.md", &format!("one\n{marker} theirs\n"));
        assert!(matches!(&found[..], [one] if one.starts_with("docs/a.md:2: ")), "{found:?}");
    }
    assert_eq!(count("Heading\n=======\n<<<<<<<<\n"), 0);
    assert_eq!(breaches(".cargo/config.toml", "replace-with = \"mirror\"").len(), 1);
}
