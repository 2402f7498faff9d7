//! The file of the history: a JSON object a line, appended to, and now and then rewritten whole.
//!
//! An event that changed is appended once more, and its last line counts. A line that was torn by a power loss is
//! left out.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use api::events::Event;

use super::MAX_EVENTS;

/// The size of the file at which it is rewritten, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// The most bytes of a file that was rewritten.
const KEPT_BYTES: usize = 512 * 1024;

/// The lines of the file at which it is rewritten.
const MAX_LINES: usize = MAX_EVENTS + MAX_EVENTS / 2;

/// The file.
pub(super) struct EventFile {
    path: PathBuf,
    lines: usize,
    bytes: u64,
    /// True if the end of the file may be torn, so that nothing may be appended.
    is_torn: bool,
    /// True if the last write failed. The log says so once.
    is_failing: bool,
}

impl EventFile {
    /// Opens the file, with the events that it holds. A file that cannot be read counts as empty, and is replaced by
    /// the first write.
    pub(super) fn open(path: &Path) -> (Self, Vec<Event>) {
        let new = |lines, bytes, is_torn| Self {
            path: path.to_owned(),
            lines,
            bytes,
            is_torn,
            is_failing: false,
        };
        let text = match read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return (new(0, 0, false), Vec::new());
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), "the history of events cannot be read: {error}");
                return (new(0, 0, true), Vec::new());
            }
        };
        let (events, lines, is_torn) = parse(&text);
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        (new(lines, bytes, is_torn), events)
    }

    /// Reports whether the file has to be rewritten before so many more lines.
    pub(super) fn is_full(&self, more: usize) -> bool {
        self.is_torn || self.bytes >= MAX_BYTES || self.lines.saturating_add(more) > MAX_LINES
    }

    /// Appends `batch`, or rewrites the file with `all`. Returns whether that succeeded.
    pub(super) fn write(mut self, batch: &[Event], all: Option<&[Event]>) -> (Self, bool) {
        let done = match all {
            Some(all) => self.rewrite(all),
            None => self.append(batch),
        };
        match done {
            Ok(()) => self.is_failing = false,
            Err(error) => {
                self.is_torn = true;
                if !std::mem::replace(&mut self.is_failing, true) {
                    let path = self.path.display();
                    tracing::warn!(%path, "the history of events cannot be written: {error}");
                }
            }
        }
        let is_written = !self.is_failing;
        (self, is_written)
    }

    fn append(&mut self, batch: &[Event]) -> io::Result<()> {
        let text = lines(batch)?;
        let mut file =
            fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        file.write_all(&text)?;
        file.sync_data()?;
        self.lines = self.lines.saturating_add(batch.len());
        self.bytes = self.bytes.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Writes beside, syncs, renames, syncs the folder.
    fn rewrite(&mut self, all: &[Event]) -> io::Result<()> {
        let mut bytes = 0_usize;
        let mut kept = Vec::new();
        for event in all.iter().rev() {
            let line = lines(std::slice::from_ref(event))?;
            bytes = bytes.saturating_add(line.len());
            if bytes > KEPT_BYTES {
                break;
            }
            kept.push(line);
        }
        kept.reverse();
        let beside = self.path.with_extension("new");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        let text = kept.concat();
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        let folder = self.path.parent().unwrap_or_else(|| Path::new("."));
        fs::File::open(folder)?.sync_all()?;
        self.lines = kept.len();
        self.bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.is_torn = false;
        Ok(())
    }
}

/// Reads the file; of one that grew beyond its bound only the beginning. A file that others may read, such as a copy
/// from a backup, is the agent's own from then on.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let file = fs::File::open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    file.take(2 * MAX_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

/// Returns the events of a file by their numbers, its lines, and whether some line was damaged.
fn parse(text: &[u8]) -> (Vec<Event>, usize, bool) {
    let mut events = BTreeMap::new();
    let (mut count, mut is_torn) = (0_usize, !text.is_empty() && !text.ends_with(b"\n"));
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        count = count.saturating_add(1);
        match serde_json::from_slice::<Event>(line) {
            // The highest number is left free: the next event has to have one.
            Ok(event) if event.id > 0 && event.id < u64::MAX => {
                events.insert(event.id, event);
            }
            _ => is_torn = true,
        }
    }
    while events.len() > MAX_EVENTS {
        events.pop_first();
    }
    (events.into_values().collect(), count, is_torn)
}

fn lines(events: &[Event]) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for event in events {
        serde_json::to_writer(&mut text, event).map_err(io::Error::other)?;
        text.push(b'\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: u64, words: &str) -> Event {
        Event { id, words: words.to_owned(), ..Event::default() }
    }

    #[test]
    fn the_last_line_of_an_event_counts_and_a_torn_one_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let (file, none) = EventFile::open(&path);
        assert_eq!((none.len(), file.is_full(1)), (0, false));
        let (file, written) = file.write(&[event(1, "a"), event(2, "b")], None);
        assert!(written);
        let (_file, written) = file.write(&[event(1, "c")], None);
        assert!(written);
        let mut text = fs::read(&path).unwrap();
        text.extend(b"{\"id\":3,\"wor");
        fs::write(&path, text).unwrap();
        let (file, events) = EventFile::open(&path);
        assert_eq!(events, [event(1, "c"), event(2, "b")]);
        assert!(file.is_full(0), "nothing is appended to half a line");
        let (file, written) = file.write(&[], Some(&events));
        assert!(written && !file.is_full(1));
        assert_eq!(EventFile::open(&path).1, events);
    }

    #[test]
    fn the_file_stays_within_its_bound_whatever_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let (mut file, _) = EventFile::open(&path);
        let long = "x".repeat(900);
        let mut all = Vec::new();
        for id in 1..4_000 {
            all.push(event(id, &long));
            let full = file.is_full(1).then(|| all.clone());
            let written;
            let last = std::slice::from_ref(&all[all.len() - 1]);
            (file, written) = file.write(last, full.as_deref());
            assert!(written);
        }
        assert!(fs::metadata(&path).unwrap().len() <= MAX_BYTES + 1_000);
        assert_eq!(EventFile::open(&path).1.last().map(|last| last.id), Some(3_999));
    }

    #[test]
    fn a_disk_that_fails_is_no_fault_of_the_history() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gone/events.jsonl");
        let (file, _) = EventFile::open(&path);
        let (file, written) = file.write(&[event(1, "a")], None);
        assert!(!written);
        fs::create_dir(folder.path().join("gone")).unwrap();
        let (_file, written) = file.write(&[], Some(&[event(1, "a")]));
        assert!(written);
        assert_eq!(EventFile::open(&path).1.len(), 1);
    }
}
