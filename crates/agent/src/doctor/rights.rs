//! Rights of other users to the files of queue and inbox.

use std::path::PathBuf;

use super::Finding;
use fleet::private::Openings;

/// Observed rights of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// The folder in the fleet file.
    pub path: PathBuf,
    /// Rights of other users in it.
    pub openings: Openings,
}

impl Rights {
    /// Returns the finding on the rights; none if all is as it should be.
    pub fn finding(&self) -> Option<Finding> {
        let (check, path) = ("rights", self.path.display());
        if let Some(mode) = self.openings.is_writable() {
            return Some(Finding::warn(
                check,
                format!(
                    "other users can write to {path} (mode {mode:04o}): they can remove or replace its files"
                ),
                format!("`chmod go-w {path}`"),
            ));
        }
        let Some(first) = self.openings.files.first() else {
            let mode = self.openings.folder?;
            let words = format!(
                "other users can list {path} (mode {mode:04o}), but read no file of the agent in it"
            );
            return Some(Finding::ok(check, words));
        };
        let first = first.display();
        let more = match self.openings.files.len() {
            1 => String::new(),
            count => format!(" and {} more in its folder", count - 1),
        };
        Some(Finding::warn(
            check,
            format!("other users have access to {first}{more}, which holds messages in clear text"),
            format!("restart the agent, which corrects the modes, or `chmod -R go= {path}`"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::doctor::Level;

    #[test]
    fn what_is_open_to_others_is_told_with_its_cure() {
        let of = |folder, files: &[&str]| {
            let files = files.iter().map(PathBuf::from).collect();
            Rights { path: "/q".into(), openings: Openings { folder, files } }.finding()
        };
        assert_eq!(of(None, &[]), None);
        let found = of(Some(0o755), &[]).unwrap();
        assert_eq!(found.level, Level::Ok);
        assert!(found.message.contains("list /q (mode 0755)"), "{found:?}");
        for (found, message, advice) in [
            (of(Some(0o1777), &["/q/queue.db"]), "write to /q (mode 1777)", "chmod go-w /q"),
            (
                of(None, &["/q/queue.db"]),
                "access to /q/queue.db, which holds messages",
                "chmod -R go= /q",
            ),
            (of(Some(0o755), &["/q/a", "/q/b", "/q/c"]), "/q/a and 2 more in its folder", "start"),
        ] {
            let found = found.unwrap();
            assert_eq!(found.level, Level::Warn);
            assert!(found.message.contains(message), "{found:?}");
            assert!(found.advice.as_deref().unwrap().contains(advice), "{found:?}");
        }
    }
}
