//! The newest release in CHANGELOG.md, and its form for Debian's tools.

use std::fs;

use anyhow::Context as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::step;

/// The maintainer of the package's list of changes; the same as in crates/modemfleet/Cargo.toml.
const MAINTAINER: &str = "modemfleet contributors <contributors@modemfleet.invalid>";

/// A release.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Changes {
    /// The version, such as `0.1.0`.
    pub(crate) version: String,
    day: Date,
}

impl Changes {
    /// Returns midnight of its day in UTC, in seconds since 1970: the time of the package's files.
    pub(crate) fn seconds(&self) -> anyhow::Result<i64> {
        Ok(self.day.to_zoned_datetime(TimeZone::UTC)?.timestamp().as_second())
    }

    /// Returns it in the format of deb-changelog(5). The changes themselves are in CHANGELOG.md,
    /// which is packed beside it.
    pub(crate) fn debian(&self) -> String {
        let version = &self.version;
        let day = self.day.strftime("%a, %d %b %Y 00:00:00 +0000");
        format!(
            "modemfleet ({version}-1) unstable; urgency=medium\n\n  \
             * Release {version}: what is new is in changelog.gz beside this file.\n\n \
             -- {MAINTAINER}  {day}\n"
        )
    }
}

/// Reads the first heading of a release: `## 0.1.0 (2026-11-25)`.
///
/// # Errors
/// If there is none, or it names another version than the workspace.
pub(crate) fn of_the_newest_release() -> anyhow::Result<Changes> {
    let text = fs::read_to_string(step::root().join("CHANGELOG.md")).context("CHANGELOG.md")?;
    let changes =
        newest(&text).context("CHANGELOG.md has no heading like `## 0.1.0 (2026-11-25)`")?;
    let built = env!("CARGO_PKG_VERSION");
    anyhow::ensure!(
        changes.version == built,
        "CHANGELOG.md begins with {}, and Cargo.toml says {built}: write what {built} changes",
        changes.version
    );
    Ok(changes)
}

fn newest(text: &str) -> Option<Changes> {
    let mut headings = text.lines().filter_map(|line| line.strip_prefix("## "));
    // Unreleased changes come first.
    let heading = headings.find(|heading| *heading != "Next")?;
    let (version, day) = heading.strip_suffix(')')?.split_once(" (")?;
    Some(Changes { version: version.to_owned(), day: day.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_heading_is_the_newest_release() {
        let text = "# Changes\n\nWords.\n\n## Next\n\n* b\n\n## 0.2.0 (2024-02-29)\n\n* a\n\n## 0.1.0 (2023-01-01)\n";
        let changes = newest(text).unwrap();
        assert_eq!(changes.version, "0.2.0");
        assert_eq!(changes.seconds().unwrap(), 1_709_164_800);
        let debian = changes.debian();
        assert!(debian.starts_with("modemfleet (0.2.0-1) "), "{debian}");
        assert!(debian.ends_with(">  Thu, 29 Feb 2024 00:00:00 +0000\n"), "{debian}");
        for wrong in ["", "## Unreleased", "## 0.1.0", "## 0.1.0 (2024-13-01)", "## 0.1.0 (today)"]
        {
            assert_eq!(newest(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_list_of_changes_is_of_the_version_that_is_built() {
        assert!(of_the_newest_release().is_ok(), "{:?}", of_the_newest_release());
    }
}
