//! A damaged file: what can be read of it goes into a new one, and the old one is kept aside.
//!
//! The new file is built beside the old one and takes its place only once it is whole and synced, so
//! that a salvage that is cut short is begun anew. Which messages there were is told by the table and
//! by each of its indices: where one is torn, another may know the rest. The damaged file is moved
//! into a folder of its own and never deleted.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, OpenFlags, Row, params};

use crate::{
    error::{OpenError, StoreError},
    lock::{DirLock, sync_dir},
    message::{DEFAULT_PRIORITY, MAX_PRIORITY, OVERHEAD},
    queue::Fsync,
    schema::{self, failed},
    store::{self, Seq, Store, Stored, to_u64},
    tally::{Bucket, BucketId, Tally},
};

/// Where the new file is built.
const WORKSHOP: &str = "salvage";

/// In the workshop, once the new file is whole: the name of the folder that the damaged one goes into, how
/// many messages were saved, and how many were not. From then on the new one takes its place, however often
/// that is cut short.
const DECIDED: &str = "goes-to";

/// What belongs to the damaged file. The log goes first: it must never be found beside the new one.
const PARTS: [&str; 3] = ["-wal", "-page1", ""];

/// The lane of a message whose own can no longer be told. No fleet has it, so its messages are
/// routed anew.
const NO_LANE: &str = "salvaged";

/// Messages that one transaction saves.
const BATCH: usize = 512;

/// What came of a salvage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvage {
    /// Messages that are in the new file.
    pub saved: u64,
    /// Messages that are not, as far as the damaged file tells how many there were.
    pub lost: u64,
    /// Where the damaged file is kept.
    pub kept: PathBuf,
}

/// Whether an error means that the file is damaged.
pub(crate) fn is_damage(error: &OpenError) -> bool {
    matches!(error, OpenError::Store { source: StoreError::Corrupt(_), .. })
}

/// Whether the file lost its very beginning: SQLite would take it for a new one, and drop its log.
pub(crate) fn is_emptied(dir: &Path) -> bool {
    let length = |path: PathBuf| fs::metadata(path).map(|meta| meta.len()).ok();
    let file = dir.join(schema::FILE);
    length(file.clone()) == Some(0) && length(beside(&file, "-wal")).is_some_and(|log| log > 0)
}

/// Ends what an earlier salvage had decided, and tells of it; clears away what it had not.
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
            "the queue's file was damaged; what could be read of it was saved"
        );
    }
    Ok(decided)
}

/// What was written down of a salvage.
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

/// Salvages the queue in `dir`, which nobody may have open, whether or not opening it would. An
/// [`Inspector`](crate::Inspector) tells whether it needs that.
///
/// # Errors
/// [`OpenError`]; the file is then still in its place.
pub fn repair(dir: &Path) -> Result<Salvage, OpenError> {
    let _lock = DirLock::acquire(dir)?;
    salvage(dir)
}

/// Puts a new file in the place of the damaged one, with all that can be read of it. Nobody else may
/// write to the file meanwhile.
pub(crate) fn salvage(dir: &Path) -> Result<Salvage, OpenError> {
    let prepare = |source| OpenError::Prepare { path: dir.to_owned(), source };
    let (file, workshop) = (dir.join(schema::FILE), dir.join(WORKSHOP));
    if let Some(ended) = resume(dir).map_err(prepare)? {
        return Ok(ended);
    }
    fs::create_dir(&workshop).map_err(prepare)?;
    // An emptied file is mended unopened: SQLite deletes the log of a file without pages.
    if is_emptied(dir) || Wreck::find(&file)?.is_none() {
        mend_first_page(&file, &workshop)?;
    }
    let made = Store::open(&workshop, Fsync::Off)?;
    let copied = match Wreck::find(&file)? {
        Some(wreck) => Copying { made: &made, wreck: &wreck }.run(),
        // Nothing of it can be read.
        None => Ok(Count::default()),
    };
    let made_file = workshop.join(schema::FILE);
    let copied = copied.map_err(|error| failed(&made_file, error))?;
    // Closing moves the log into the file; what cannot be synced must not take the old one's place.
    made.close().map_err(|error| failed(&made_file, error))?;
    File::open(&made_file).and_then(|file| file.sync_all()).map_err(prepare)?;
    // Its name as well, before the old file gives up its own.
    sync_dir(&workshop).map_err(prepare)?;
    decide(dir, copied).map_err(prepare)?;
    let salvage = resume(dir).map_err(prepare)?;
    salvage.ok_or_else(|| prepare(io::Error::other("what was decided is not there")))
}

/// Makes the folder for the damaged file, and writes down that the new one is whole.
fn decide(dir: &Path, count: Count) -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut number = 0;
    let name = loop {
        let name = match number {
            0 => format!("damaged-{now}"),
            n => format!("damaged-{now}-{n}"),
        };
        match fs::create_dir(dir.join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
            Ok(()) => break name,
        }
    };
    sync_dir(dir)?;
    // Whole from its first moment on: half a name would be a folder that is not there.
    let (workshop, draft) = (dir.join(WORKSHOP), dir.join(WORKSHOP).join("draft"));
    let mut file = File::create(&draft)?;
    write!(file, "{name} {} {}", count.saved, count.lost)?;
    file.sync_all()?;
    fs::rename(draft, workshop.join(DECIDED))?;
    sync_dir(&workshop)
}

/// Moves what is left of the damaged file into the folder where it is kept, and the new one into its place;
/// does nothing where the new one is there already.
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
    // Only an index of the log, made anew at each opening.
    match fs::remove_file(beside(&file, "-shm")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    sync_dir(kept)?;
    sync_dir(dir)?;
    fs::rename(&made, &file)?;
    sync_dir(dir)
}

/// The first page says where everything is, and is the same in every file of ours: a damaged one is
/// kept beside the file, and replaced by a new one's.
fn mend_first_page(file: &Path, workshop: &Path) -> Result<(), OpenError> {
    let prepare = |source| OpenError::Prepare { path: file.to_owned(), source };
    let place = workshop.join("first");
    fs::create_dir(&place).map_err(prepare)?;
    let model = Store::open(&place, Fsync::Off)?;
    model.close().map_err(|error| failed(&place, error))?;
    let mut page = fs::read(place.join(schema::FILE)).map_err(prepare)?;
    page.truncate(schema::PAGE);
    // How many pages there are by the header (file format §1.3.7) must be what there is. The list of
    // free pages is not known, and not needed to read.
    let length = fs::metadata(file).map_err(prepare)?.len();
    let page_size = u64::try_from(schema::PAGE).unwrap_or(u64::MAX);
    let pages = u32::try_from(length.div_ceil(page_size)).unwrap_or(u32::MAX).max(1);
    if let Some(header) = page.get_mut(28..40) {
        header.fill(0);
        header.iter_mut().zip(pages.to_be_bytes()).for_each(|(byte, new)| *byte = new);
    }
    let mend = || -> io::Result<()> {
        let old = File::options().read(true).write(true).open(file)?;
        let mut was = vec![0; schema::PAGE];
        let read = old.read_at(&mut was, 0)?;
        was.truncate(read);
        fs::write(beside(file, "-page1"), was)?;
        old.write_all_at(&page, 0)?;
        old.sync_all()
    };
    mend().map_err(prepare)
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    saved: u64,
    lost: u64,
}

/// A damaged file that lets itself be opened.
struct Wreck {
    conn: Connection,
    /// The columns of a message: a file of version 1 has no checksums.
    columns: String,
}

impl Wreck {
    /// The file, where anything of it can be read; what has nothing to do with damage is an error, since a
    /// sound file must not be taken for a wreck for want of a file descriptor.
    fn find(file: &Path) -> Result<Option<Self>, OpenError> {
        use rusqlite::ErrorCode::{
            CannotOpen, DatabaseBusy, DatabaseLocked, OutOfMemory, PermissionDenied,
        };
        let passing = [CannotOpen, DatabaseBusy, DatabaseLocked, OutOfMemory, PermissionDenied];
        match Self::open(file) {
            Ok(wreck) => Ok(Some(wreck)),
            Err(error) if error.sqlite_error_code().is_some_and(|code| passing.contains(&code)) => {
                Err(failed(file, error))
            }
            Err(_damage) => Ok(None),
        }
    }

    /// Read-only: nothing of the log goes into the file. With a writable schema SQLite puts up with
    /// a file that is shorter than its first page says.
    fn open(file: &Path) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(file, flags)?;
        conn.execute_batch("pragma writable_schema = on; pragma cache_size = -512;")?;
        conn.query_row("select 1 from sqlite_schema where name = 'message'", [], |_| Ok(()))?;
        let mut wreck = Self { conn, columns: store::STORED.to_owned() };
        if !wreck.has("select crc from message") {
            wreck.columns = store::STORED.replace("crc", "null");
        }
        Ok(wreck)
    }

    /// Whether its version has what this asks for.
    fn has(&self, sql: &str) -> bool {
        self.conn.prepare(sql).is_ok()
    }

    /// Reads rows from the beginning until it fails, and then from the end until it fails.
    /// `sql` ends with the key to order by. Answers whether all of it could be read.
    fn both_ways(&self, sql: &str, mut take: impl FnMut(&Row<'_>) -> rusqlite::Result<()>) -> bool {
        let mut read = |direction: &str| -> rusqlite::Result<()> {
            let mut statement = self.conn.prepare(&format!("{sql} {direction}"))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                // A value that cannot be is no reason to leave out the rest.
                if let Err(error) = take(row) {
                    tracing::debug!(error = %error, "a row of the damaged file makes no sense");
                }
            }
            Ok(())
        };
        read("asc").is_ok() || {
            let _ = read("desc");
            false
        }
    }

    /// The places of all messages that the table or an index knows.
    fn seqs(&self) -> Vec<Seq> {
        let mut seqs = Vec::new();
        for sql in [
            "select seq from message not indexed order by seq",
            "select seq from message indexed by message_next order by bucket",
            "select seq from message indexed by message_id order by id",
        ] {
            self.both_ways(sql, |row| {
                seqs.push(row.get(0)?);
                Ok(())
            });
            seqs.sort_unstable();
            seqs.dedup();
        }
        seqs
    }

    /// The buckets that can be read, and how many messages there were if all of them can.
    fn buckets(&self) -> (HashMap<BucketId, Bucket>, Option<u64>) {
        let mut buckets = HashMap::new();
        let whole = self.both_ways(
            "select id, lane, priority, messages from bucket not indexed order by id",
            |row| {
                let id = BucketId(row.get(0)?);
                let (lane, priority): (String, u8) = (row.get(1)?, row.get(2)?);
                let mut bucket = Bucket::empty(id, Arc::from(lane), priority.min(MAX_PRIORITY));
                bucket.held.messages = to_u64(row.get(3)?);
                buckets.insert(id, bucket);
                Ok(())
            },
        );
        let all = buckets.values().map(|bucket: &Bucket| bucket.held.messages).sum();
        (buckets, whole.then_some(all))
    }

    /// The message at `seq`, if it is whole.
    fn message(&self, seq: Seq) -> Option<Stored> {
        let sql = format!("select {} from message not indexed where seq = ?", self.columns);
        let mut statement = self.conn.prepare_cached(&sql).ok()?;
        let stored = statement.query_row([seq], store::stored).ok()?;
        let length = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let size = length(stored.topic.len())
            .saturating_add(length(stored.payload.len()))
            .saturating_add(OVERHEAD);
        (stored.intact && stored.at.size == size && stored.at.qos <= 2 && stored.at.seq > 0)
            .then_some(stored)
    }
}

/// From the damaged file into the new one.
struct Copying<'a> {
    made: &'a Store,
    wreck: &'a Wreck,
}

impl Copying<'_> {
    fn run(&self) -> rusqlite::Result<Count> {
        let (mut buckets, held) = self.wreck.buckets();
        let stray = BucketId(buckets.keys().map(|id| id.0).max().unwrap_or(0).saturating_add(1));
        let stray = Bucket::empty(stray, Arc::from(NO_LANE), DEFAULT_PRIORITY);
        let stray_id = stray.id;
        buckets.insert(stray_id, stray);
        let known: Vec<Bucket> = buckets
            .values()
            .map(|bucket| Bucket::empty(bucket.id, Arc::clone(&bucket.lane), bucket.priority))
            .collect();
        let mut tally = Tally::new(known);
        let seqs = self.wreck.seqs();
        let mut count = Count::default();
        for batch in seqs.chunks(BATCH) {
            self.made.begin()?;
            for seq in batch {
                let Some(mut stored) = self.wreck.message(*seq) else { continue };
                if !buckets.contains_key(&stored.at.bucket) {
                    stored.at.bucket = stray_id;
                }
                // Two rows of one id cannot be; the first one stays.
                if self.made.restore(&stored)? {
                    tally.add(stored.at.bucket, stored.at.size);
                    count.saved = count.saved.saturating_add(1);
                }
            }
            for bucket in tally.drain_changed() {
                self.made.save_bucket(&bucket)?;
            }
            self.made.commit()?;
        }
        self.made.begin()?;
        self.copy_aside(&tally)?;
        self.copy_keys()?;
        self.made.commit()?;
        let known = held.unwrap_or_else(|| u64::try_from(seqs.len()).unwrap_or(u64::MAX));
        count.lost = known.saturating_sub(count.saved);
        Ok(count)
    }

    /// Why messages were set aside. One whose reason is lost stays aside, under a reason that says so.
    fn copy_aside(&self, tally: &Tally) -> rusqlite::Result<()> {
        let conn = self.made.connection();
        let mut insert = conn.prepare(
            "insert or ignore into aside (seq, lane, reason, words, at)
             select ?, ?, ?, ?, ? where exists (select 1 from message where seq = ?1)",
        )?;
        self.wreck.both_ways(
            "select seq, lane, reason, words, at from aside order by seq",
            |row| {
                let (seq, at): (i64, i64) = (row.get(0)?, row.get(4)?);
                let text = |n: usize| row.get::<_, String>(n);
                insert.execute(params![seq, text(1)?, text(2)?, text(3)?, at]).map(drop)
            },
        );
        for bucket in tally.aside_buckets() {
            conn.execute(
                "insert or ignore into aside (seq, lane, reason, words, at)
                 select seq, ?, 'unknown', 'its reason was lost with the damaged file', appended_at
                 from message where bucket = ?",
                params![NO_LANE, bucket.id.0],
            )?;
        }
        Ok(())
    }

    fn copy_keys(&self) -> rusqlite::Result<()> {
        let mut insert = self
            .made
            .connection()
            .prepare("insert or ignore into seen (n, key, id, crc) values (?, ?, ?, ?)")?;
        let crc = if self.wreck.has("select crc from seen") { "crc" } else { "null" };
        let all = format!("select n, key, id, {crc} from seen not indexed order by n");
        self.wreck.both_ways(&all, |row| {
            let (n, key, id): (i64, String, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let crc: Option<u32> = row.get(3)?;
            if id.len() != 16 {
                return Ok(());
            }
            insert.execute(params![n, key, id, crc]).map(drop)
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A salvage that was decided, and cut short after its first `moves` moves.
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
            // The log of the old file is not beside the new one; that of the new one is untouched.
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
