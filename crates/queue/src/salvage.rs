//! Salvage of a damaged file: its readable part is copied into a new file, and the old file is kept
//! aside.
//!
//! The new file is built beside the old file and replaces it only once it is whole and synced, so
//! that an interrupted salvage restarts. The table and each of its indices list the messages: if
//! one is torn, another may know the rest. The damaged file is moved into a folder of its own and
//! never deleted.

mod copying;
mod wreck;

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use rusqlite::Connection;
use rustix::fs::{FlockOperation, flock};

pub(crate) use self::{
    copying::{Count, copy},
    wreck::Wreck,
};
use crate::{
    config::Fsync,
    error::{Holder, OpenError, StoreError},
    layout::Layout,
    lock::{DirLock, make_private_dir, sync_dir, write_private},
    schema::{self, failed},
    store::Store,
};

/// The folder in which the new file is built.
const WORKSHOP: &str = "salvage";

/// A file in the workshop, written once the new file is whole. It holds the name of the folder for
/// the damaged file, and the numbers of saved and lost messages. From then on the new file takes
/// its place, however often that is interrupted.
const DECIDED: &str = "goes-to";

/// The parts of the damaged file. The log is moved first: it must never be found beside the new
/// file.
const PARTS: [&str; 3] = ["-wal", "-page1", ""];

/// The result of a salvage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvage {
    /// Messages that are in the new file.
    pub saved: u64,
    /// Messages that are not in the new file, as far as the damaged file shows their number.
    pub lost: u64,
    /// The folder in which the damaged file is kept.
    pub kept: PathBuf,
}

/// Reports whether an error means that the file is damaged.
pub(crate) fn is_damage(error: &OpenError) -> bool {
    matches!(error, OpenError::Store { source: StoreError::Corrupt(_), .. })
}

/// Reports whether the file lost its very beginning: SQLite would take it for a new file, and drop
/// its log.
pub(crate) fn is_emptied(dir: &Path) -> bool {
    let length = |path: PathBuf| fs::metadata(path).map(|meta| meta.len()).ok();
    let file = dir.join(schema::FILE);
    length(file.clone()) == Some(0) && length(beside(&file, "-wal")).is_some_and(|log| log > 0)
}

/// Completes an earlier salvage that was decided, and returns it; removes an undecided salvage.
pub(crate) fn resume(dir: &Path) -> io::Result<Option<Salvage>> {
    let workshop = dir.join(WORKSHOP);
    let decided = match fs::read_to_string(workshop.join(DECIDED)) {
        Ok(text) => Some(decision(dir, &text)?),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) => None,
    };
    if let Some(salvage) = &decided {
        put_in_place(dir, &salvage.kept)?;
    }
    match fs::remove_dir_all(workshop) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if let Some(Salvage { saved, lost, kept }) = &decided {
        tracing::error!(
            saved, lost, kept = %kept.display(),
            "the queue's file was damaged; its readable messages were saved"
        );
    }
    Ok(decided)
}

/// Parses the recorded decision of a salvage.
fn decision(dir: &Path, text: &str) -> io::Result<Salvage> {
    let mut words = text.split_whitespace();
    let name = words.next().filter(|name| name.starts_with("damaged-"));
    let mut number = || words.next()?.parse().ok();
    let decided = name.zip(number().zip(number()));
    let Some((name, (saved, lost))) = decided else {
        let strange = format!("{}/{DECIDED} says {text:?}", dir.join(WORKSHOP).display());
        return Err(io::Error::other(strange));
    };
    Ok(Salvage { saved, lost, kept: dir.join(name) })
}

/// Salvages the queue in `dir`, which must not be open in any process, even if opening it would not
/// salvage it. An [`Inspector`](crate::Inspector) shows whether that is needed.
///
/// # Errors
/// [`OpenError`]; the file is then still in its place.
pub fn repair(dir: &Path) -> Result<Salvage, OpenError> {
    let _lock = DirLock::acquire(dir)?;
    salvage(dir)
}

/// Replaces the damaged file by a new file with its readable part. No other process may write to
/// the file meanwhile.
pub(crate) fn salvage(dir: &Path) -> Result<Salvage, OpenError> {
    let prepare = |source| OpenError::Prepare { path: dir.to_owned(), source };
    let (file, workshop) = (dir.join(schema::FILE), dir.join(WORKSHOP));
    if let Some(ended) = resume(dir).map_err(prepare)? {
        return Ok(ended);
    }
    // Until the end: without the lock file, the folder's lock keeps out no other program.
    let _held = hold(&file).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => {
            OpenError::Locked { dir: dir.to_owned(), holder: Holder { pid: None, command: None } }
        }
        _ => prepare(source),
    })?;
    make_private_dir(&workshop).map_err(prepare)?;
    let mut made = Store::open(&workshop, Fsync::Off)?;
    let made_file = workshop.join(schema::FILE);
    let copied = match find_mended(dir, &file, &workshop)? {
        Some(wreck) => copy(&mut made, &wreck).map_err(|error| failed(&made_file, error))?,
        // Nothing of the file is readable.
        None => Count::default(),
    };
    // Closing moves the log into the file; an unsynced file must not replace the old file.
    made.close().map_err(|error| failed(&made_file, error))?;
    File::open(&made_file).and_then(|file| file.sync_all()).map_err(prepare)?;
    // Its name as well, before the old file loses its own.
    sync_dir(&workshop).map_err(prepare)?;
    decide(dir, copied).map_err(prepare)?;
    let salvage = resume(dir).map_err(prepare)?;
    salvage.ok_or_else(|| prepare(io::Error::other("what was decided is not there")))
}

/// Locks the file itself, if there is one, as [`Space`](crate::space::Space) does while it is open.
fn hold(file: &Path) -> io::Result<Option<File>> {
    match File::open(file) {
        Ok(held) => {
            flock(&held, FlockOperation::NonBlockingLockExclusive)?;
            Ok(Some(held))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens the damaged file; if its first page is not readable, with the first page of the format
/// that then shows messages.
fn find_mended(dir: &Path, file: &Path, workshop: &Path) -> Result<Option<Wreck>, OpenError> {
    // An emptied file is mended unopened: SQLite deletes the log of a file without pages.
    if !is_emptied(dir)
        && let Some(wreck) = Wreck::find(file)?
    {
        return Ok(Some(wreck));
    }
    for layout in [Layout::Current, Layout::Released] {
        mend_first_pages(file, workshop, layout)?;
        if let Some(wreck) = Wreck::find(file)?
            && (wreck.layout == layout && !wreck.buckets().0.is_empty())
        {
            return Ok(Some(wreck));
        }
    }
    Ok(None)
}

/// Makes the folder for the damaged file, and records that the new file is whole.
fn decide(dir: &Path, count: Count) -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut number = 0;
    let name = loop {
        let name = match number {
            0 => format!("damaged-{now}"),
            n => format!("damaged-{now}-{n}"),
        };
        match make_private_dir(&dir.join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
            Ok(()) => break name,
        }
    };
    sync_dir(dir)?;
    // Renamed when whole: half a name would be that of a missing folder.
    let (workshop, draft) = (dir.join(WORKSHOP), dir.join(WORKSHOP).join("draft"));
    let mut file = File::create(&draft)?;
    write!(file, "{name} {} {}", count.saved, count.lost)?;
    file.sync_all()?;
    fs::rename(draft, workshop.join(DECIDED))?;
    sync_dir(&workshop)
}

/// Moves the rest of the damaged file into the folder that keeps it, and the new file into its
/// place. Does nothing if the new file is there already.
fn put_in_place(dir: &Path, kept: &Path) -> io::Result<()> {
    let (made, file) = (dir.join(WORKSHOP).join(schema::FILE), dir.join(schema::FILE));
    if !made.try_exists()? {
        return Ok(());
    }
    for suffix in PARTS {
        let from = beside(&file, suffix);
        if from.try_exists()? {
            fs::rename(&from, kept.join(from.file_name().unwrap_or_default()))?;
        }
    }
    // This is only an index of the log, rebuilt at each opening.
    match fs::remove_file(beside(&file, "-shm")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    sync_dir(kept)?;
    sync_dir(dir)?;
    fs::rename(&made, &file)?;
    sync_dir(dir)
}

/// Replaces damaged first pages by those of a new file: they are the index of everything, and the
/// same in every file of a format. The very first page is kept beside the file.
fn mend_first_pages(file: &Path, workshop: &Path, layout: Layout) -> Result<(), OpenError> {
    let prepare = |source| OpenError::Prepare { path: file.to_owned(), source };
    let place = workshop.join(format!("first-{}", layout.page()));
    fs::create_dir(&place).map_err(prepare)?;
    let model = model(&place.join(schema::FILE), layout)?;
    let page_size = u64::try_from(layout.page()).unwrap_or(u64::MAX);
    let mend = || -> io::Result<()> {
        let old = File::options().read(true).write(true).open(file)?;
        keep_first_page(file, &old)?;
        let pages = old.metadata()?.len() / page_size;
        let of_schema = schema_pages(&model, layout);
        for (number, page) in (1_u32..).zip(model.chunks(layout.page())) {
            let is_missing = u64::from(number) > pages;
            if is_missing || of_schema.contains(&number) {
                old.write_all_at(page, u64::from(number.saturating_sub(1)) * page_size)?;
            }
        }
        // The number of pages in the header (file format §1.3.7) must be the actual number. The
        // list of free pages is unknown, and not needed to read.
        let pages = u32::try_from(old.metadata()?.len().div_ceil(page_size)).unwrap_or(u32::MAX);
        let mut counts = [0; 12];
        counts.iter_mut().zip(pages.max(1).to_be_bytes()).for_each(|(byte, new)| *byte = new);
        old.write_all_at(&counts, 28)?;
        old.sync_all()
    };
    mend().map_err(prepare)
}

/// Keeps the damaged beginning of the file beside it. If it is kept already, an earlier try
/// overwrote it with pages of another size: then it is restored.
fn keep_first_page(file: &Path, old: &File) -> io::Result<()> {
    let kept = beside(file, "-page1");
    if kept.try_exists()? {
        return old.write_all_at(&fs::read(kept)?, 0);
    }
    let mut was = vec![0; Layout::Released.page()];
    let read = old.read_at(&mut was, 0)?;
    was.truncate(read);
    write_private(&kept, &was)
}

/// Returns the content of a new file of this format.
fn model(path: &Path, layout: Layout) -> Result<Vec<u8>, OpenError> {
    let made = || -> rusqlite::Result<()> {
        let conn = Connection::open(path)?;
        schema::create(&conn, layout)?;
        conn.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()))?;
        conn.close().map_err(|(_, error)| error)
    };
    made().map_err(|error| failed(path, error))?;
    fs::read(path).map_err(|source| OpenError::Prepare { path: path.to_owned(), source })
}

/// Returns the pages of a new file that hold the declarations of its tables: the first, and those
/// it points to if they do not fit on it (file format §1.6).
fn schema_pages(model: &[u8], layout: Layout) -> Vec<u32> {
    const INTERIOR: u8 = 5;
    let byte = |at: usize| model.get(at).copied().unwrap_or(0);
    let number = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|n| byte(at.saturating_add(n))));
    let mut pages = vec![1];
    if byte(100) == INTERIOR {
        let cells = usize::from(u16::from_be_bytes([byte(103), byte(104)]));
        pages.push(number(108));
        for cell in 0..cells.min(layout.page()) {
            let pointer = 112 + 2 * cell;
            let at = usize::from(u16::from_be_bytes([byte(pointer), byte(pointer + 1)]));
            pages.push(number(at));
        }
    }
    pages
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a decided salvage that was interrupted after its first `moves` moves.
    fn cut_short(moves: usize) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let (workshop, kept) = (dir.path().join(WORKSHOP), dir.path().join("damaged-7"));
        fs::create_dir(&workshop).unwrap();
        fs::create_dir(&kept).unwrap();
        fs::write(workshop.join(schema::FILE), "new").unwrap();
        fs::write(workshop.join(DECIDED), "damaged-7 5 2").unwrap();
        let file = dir.path().join(schema::FILE);
        for suffix in PARTS {
            fs::write(beside(&file, suffix), format!("old{suffix}")).unwrap();
        }
        for suffix in PARTS.iter().take(moves) {
            let from = beside(&file, suffix);
            fs::rename(&from, kept.join(from.file_name().unwrap())).unwrap();
        }
        if moves > PARTS.len() {
            fs::rename(workshop.join(schema::FILE), &file).unwrap();
            fs::write(beside(&file, "-wal"), "new-wal").unwrap();
        }
        dir
    }

    #[test]
    fn a_salvage_that_was_decided_is_ended_wherever_it_was_cut_short() {
        for moves in 0..=PARTS.len() + 1 {
            let dir = cut_short(moves);
            let told = resume(dir.path()).unwrap().unwrap();
            assert_eq!((told.saved, told.lost), (5, 2), "{moves}");
            let read = |path: &str| fs::read_to_string(dir.path().join(path)).ok();
            assert_eq!(read("queue.db").as_deref(), Some("new"), "{moves}");
            for suffix in PARTS {
                let kept = read(&format!("damaged-7/queue.db{suffix}"));
                assert_eq!(kept, Some(format!("old{suffix}")), "{moves}");
            }
            // The log of the old file is not beside the new file; the new file's log is untouched.
            let log = (moves > PARTS.len()).then(|| "new-wal".to_owned());
            assert_eq!(read("queue.db-wal"), log, "{moves}");
            assert!(!dir.path().join(WORKSHOP).exists(), "{moves}");
        }
    }

    #[test]
    fn a_salvage_that_was_not_decided_leaves_the_file_where_it_is() {
        let dir = cut_short(0);
        let decided = dir.path().join(WORKSHOP).join(DECIDED);
        for strange in ["", "damaged-7", "damaged-7 5", "/etc 5 2"] {
            fs::write(&decided, strange).unwrap();
            assert!(resume(dir.path()).is_err(), "{strange:?}");
        }
        fs::remove_file(decided).unwrap();
        assert_eq!(resume(dir.path()).unwrap(), None);
        let file = dir.path().join(schema::FILE);
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
        assert_eq!(fs::read_to_string(beside(&file, "-wal")).unwrap(), "old-wal");
    }

    #[test]
    fn what_cannot_be_opened_at_all_is_not_taken_for_damaged() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(schema::FILE)).unwrap();
        let error = repair(dir.path()).unwrap_err();
        assert!(!is_damage(&error), "{error:?}");
        assert!(dir.path().join(schema::FILE).is_dir());
    }
}
