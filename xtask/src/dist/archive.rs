//! Archives that depend on nothing but their content: entries by path, one time, root's files.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use flate2::{Compression, GzBuilder};
use tar::{EntryType, Header};

/// An owner: user and group, by number.
pub(super) type Owner = (u64, u64);

const ROOT: Owner = (0, 0);

/// A file or a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// Its content; `None` for a folder.
    content: Option<Vec<u8>>,
    mode: u32,
    owner: Owner,
}

/// The content of an archive, by path. A folder is in it before its files.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    entries: BTreeMap<String, Entry>,
}

impl Tree {
    /// Adds a file of root's, and the folders above it.
    pub(super) fn file(&mut self, path: &str, mode: u32, content: Vec<u8>) {
        self.folders_above(path);
        let entry = Entry { content: Some(content), mode, owner: ROOT };
        self.entries.insert(path.to_owned(), entry);
    }

    /// Adds a file as it is on this machine's disk.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn copy(&mut self, path: &str, mode: u32, from: &Path) -> anyhow::Result<()> {
        self.file(path, mode, fs::read(from).with_context(|| from.display().to_string())?);
        Ok(())
    }

    /// Adds all files of a folder below `path`.
    ///
    /// # Errors
    /// If one cannot be read.
    pub(super) fn copy_all(&mut self, path: &str, mode: u32, from: &Path) -> anyhow::Result<()> {
        let folder = fs::read_dir(from).with_context(|| from.display().to_string())?;
        for entry in folder {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_file() {
                self.copy(&format!("{path}/{name}"), mode, &entry.path())?;
            }
        }
        Ok(())
    }

    /// Adds an empty folder.
    pub(super) fn folder(&mut self, path: &str, mode: u32, owner: Owner) {
        self.folders_above(path);
        self.entries.insert(path.to_owned(), Entry { content: None, mode, owner });
    }

    fn folders_above(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            let Some(folder) = path.get(..at).filter(|folder| !folder.is_empty()) else { continue };
            let made = Entry { content: None, mode: 0o755, owner: ROOT };
            self.entries.entry(folder.to_owned()).or_insert(made);
        }
    }

    /// Returns the sum of the files' sizes in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.entries.values().filter_map(|entry| entry.content.as_ref()).map(Vec::len).sum()
    }

    /// Writes it as tar, each path behind `prefix`.
    ///
    /// # Errors
    /// If a path is too long for the format.
    pub(super) fn tar(&self, prefix: &str, seconds: u64) -> anyhow::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            let mut header = Header::new_gnu();
            let content = entry.content.as_deref().unwrap_or_default();
            let (kind, end) = if entry.content.is_some() {
                (EntryType::Regular, "")
            } else {
                (EntryType::Directory, "/")
            };
            header.set_entry_type(kind);
            header.set_mode(entry.mode);
            header.set_uid(entry.owner.0);
            header.set_gid(entry.owner.1);
            header.set_mtime(seconds);
            header.set_size(u64::try_from(content.len())?);
            let path = format!("{prefix}{path}{end}");
            archive.append_data(&mut header, &path, content).with_context(|| path.clone())?;
        }
        Ok(archive.into_inner()?)
    }

    /// Writes it as compressed tar.
    ///
    /// # Errors
    /// As [`Self::tar`].
    pub(super) fn tar_gz(&self, prefix: &str, seconds: u64) -> anyhow::Result<Vec<u8>> {
        gzip(&self.tar(prefix, seconds)?)
    }
}

/// Compresses without a name, a time or the system's kind.
pub(super) fn gzip(content: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut packed =
        GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
    packed.write_all(content)?;
    Ok(packed.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Line = (String, u32, (u64, u64), u64);

    fn lines(tar: &[u8]) -> Vec<Line> {
        let mut archive = tar::Archive::new(tar);
        let line = |entry: tar::Entry<'_, &[u8]>| {
            let header = entry.header();
            let path = entry.path().unwrap().display().to_string();
            let owner = (header.uid().unwrap(), header.gid().unwrap());
            (path, header.mode().unwrap(), owner, header.mtime().unwrap())
        };
        archive.entries().unwrap().map(|entry| line(entry.unwrap())).collect()
    }

    #[test]
    fn the_order_in_which_files_are_added_does_not_count() {
        let mut first = Tree::default();
        first.file("usr/bin/modemfleet", 0o755, vec![1, 2]);
        first.file("etc/fleet.yaml", 0o640, vec![3]);
        let mut second = Tree::default();
        second.file("etc/fleet.yaml", 0o640, vec![3]);
        second.file("usr/bin/modemfleet", 0o755, vec![1, 2]);
        assert_eq!(first.tar_gz("./", 7).unwrap(), second.tar_gz("./", 7).unwrap());
        assert_eq!(first.bytes(), 3);
        let line = |path: &str, mode| (path.to_owned(), mode, (0, 0), 7);
        let expected = [
            line("./etc/", 0o755),
            line("./etc/fleet.yaml", 0o640),
            line("./usr/", 0o755),
            line("./usr/bin/", 0o755),
            line("./usr/bin/modemfleet", 0o755),
        ];
        let got = lines(&first.tar("./", 7).unwrap());
        let bare = |path: &str| path.trim_end_matches('/').trim_start_matches("./").to_owned();
        for (got, expected) in got.iter().zip(&expected) {
            assert_eq!(bare(&got.0), bare(&expected.0));
            assert_eq!((got.1, got.2, got.3), (expected.1, expected.2, expected.3));
        }
        assert_eq!(got.len(), expected.len());
    }

    #[test]
    fn a_folder_may_be_another_users_and_a_long_path_is_kept() {
        let mut tree = Tree::default();
        tree.folder("var/lib/modemfleet", 0o750, (10001, 10001));
        let long = format!("{}/x", "a".repeat(150));
        tree.file(&long, 0o644, Vec::new());
        let got = lines(&tree.tar("", 0).unwrap());
        assert!(got.iter().any(|line| line.0 == "var/lib/modemfleet/" && line.2 == (10001, 10001)));
        assert!(got.iter().any(|line| line.0 == long), "{got:?}");
    }

    #[test]
    fn what_is_compressed_names_no_time() {
        let packed = gzip(b"x").unwrap();
        assert_eq!(packed.get(..10), Some(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255][..]));
    }
}
