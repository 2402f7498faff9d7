//! The version and the time of what is made, from git.

use anyhow::Context as _;

use crate::step::Invocation;

/// A release, or a state between two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Release {
    /// Such as `0.1.0`, or `0.1.0-dev.12.gd94df47a0b1c` between two tags.
    pub(super) version: String,
    /// The commit's name, twelve digits; behind it `-modified` if the checkout differs.
    pub(super) commit: String,
    /// The commit's time in seconds since 1970: that of every packed file.
    pub(super) seconds: u64,
}

/// Reads them of the checkout.
///
/// # Errors
/// If this is not a checkout of git.
pub(super) fn of_the_checkout() -> anyhow::Result<Release> {
    let git = |words: &[&str]| -> anyhow::Result<String> {
        let said = Invocation::new("git", words).said()?;
        anyhow::ensure!(said.success, "git {}: {}", words.join(" "), said.errors.trim());
        Ok(said.output.trim().to_owned())
    };
    let mut commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    if !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty() {
        commit.push_str("-modified");
    }
    // Without a tag the count is that of all commits.
    let described =
        git(&["describe", "--tags", "--long", "--match", "v[0-9]*", "--abbrev=12"]).ok();
    let count = git(&["rev-list", "--count", "HEAD"])?;
    let time = git(&["show", "--no-patch", "--format=%ct", "HEAD"])?;
    let version = version(env!("CARGO_PKG_VERSION"), described.as_deref(), &count, &commit);
    Ok(Release { version, commit, seconds: time.parse().context("the commit's time")? })
}

/// Names a version: the tag's own at the tag, else a pre-release of the next one.
fn version(next: &str, described: Option<&str>, count: &str, commit: &str) -> String {
    let is_modified = commit.ends_with("-modified");
    let parts = described.and_then(|text| {
        let (rest, _) = text.rsplit_once("-g")?;
        rest.rsplit_once('-')
    });
    match parts {
        Some((tag, "0")) if !is_modified => tag.trim_start_matches('v').to_owned(),
        Some((_, since)) => format!("{next}-dev.{since}.g{}", commit.replace('-', ".")),
        None => format!("{next}-dev.{count}.g{}", commit.replace('-', ".")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_release_and_all_else_comes_before_the_next() {
        for (described, commit, expected) in [
            (Some("v0.1.0-0-gabc"), "abc", "0.1.0"),
            (Some("v0.1.0-rc.1-0-gabc"), "abc", "0.1.0-rc.1"),
            (Some("v0.1.0-0-gabc"), "abc-modified", "0.2.0-dev.0.gabc.modified"),
            (Some("v0.1.0-7-gabc"), "abc", "0.2.0-dev.7.gabc"),
            (None, "abc", "0.2.0-dev.99.gabc"),
        ] {
            assert_eq!(version("0.2.0", described, "99", commit), expected, "{described:?}");
        }
    }

    #[test]
    fn the_checkout_has_a_version_and_a_time() {
        let release = of_the_checkout().unwrap();
        assert!(release.version.starts_with(env!("CARGO_PKG_VERSION")), "{release:?}");
        assert!(release.seconds > 1_700_000_000 && release.commit.len() >= 12, "{release:?}");
    }
}
