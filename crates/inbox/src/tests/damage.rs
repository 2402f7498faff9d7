//! Tests of failing disks and damaged files.

use super::*;

/// Runs SQL on the file behind the writer's back.
fn sql(desk: &Desk, sql: &str) {
    let path = desk.config.dir.join("inbox.db");
    rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

/// Puts a value that its table would refuse into a column of a message, as a flipped bit does.
fn misread(dir: &Path, column: &str, seq: Seq) {
    let path = dir.join("inbox.db");
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch(
            "pragma writable_schema = on;
             update sqlite_schema set sql = replace(replace(sql, 'not null', ''), 'strict', '')
             where name = 'message'",
        )
        .unwrap();
    let change = format!("update message set {column} = null where seq = {seq}");
    rusqlite::Connection::open(path).unwrap().execute_batch(&change).unwrap();
}

fn folders(desk: &Desk) -> Vec<String> {
    let names = std::fs::read_dir(&desk.config.dir).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("damaged-")).collect()
}

#[test]
fn a_failing_disk_is_told_and_holds_up_nothing_and_is_made_up_for() {
    let mut desk = Desk::new();
    let inbox = desk.inbox.clone();
    let (_, hold) = desk.attach("s");
    desk.ask(hold.subscribe(vec![("t".to_owned(), 1)])).unwrap();
    desk.put("t", "1").unwrap();
    desk.fail(u32::MAX);
    assert_eq!(desk.put("t", "2"), Err(Some(Failing::DiskFull)));
    let stat = desk.inbox.stat();
    assert_eq!((stat.failing, stat.dropped.failed), (Some(Failing::DiskFull), 1));
    // Stored messages are read, confirmed in memory, and a new reader is accepted.
    assert_eq!(desk.pull(&hold, 0), [("1".to_owned(), 1)]);
    assert!(desk.ask(hold.confirm(1)).is_err());
    assert!(desk.ask(hold.subscribe(vec![("u".to_owned(), 1)])).is_err(), "it is not on disk");
    let (_, fresh) = desk.attach("fresh");
    let granted = desk.ask(fresh.subscribe(vec![("u".to_owned(), 1)]));
    assert!(granted.is_ok(), "a session that no file knows is told to be gone after a kill");
    assert_eq!(desk.read("r", None).0, ["1"]);
    desk.fail(0);
    assert_eq!(desk.put("u", "3"), Ok(2), "no number is used up by what failed");
    assert_eq!(desk.inbox.stat().failing, None);
    drop((hold, fresh, inbox));
    let mut desk = desk.killed();
    let (attached, hold) = desk.attach("s");
    assert_eq!((attached.position, attached.filters.len()), (1, 2));
    assert_eq!(desk.pull(&hold, 1), [("3".to_owned(), 1)]);
    assert_eq!(desk.inbox.stat().readers.len(), 1);
}

#[test]
fn a_file_that_is_no_inbox_is_moved_aside_or_refused() {
    let desk = Desk::new();
    let mut desk = desk.killed_with(|dir| {
        std::fs::remove_file(dir.join("inbox.db")).unwrap();
        std::fs::write(dir.join("inbox.db"), "a text, and not a short one".repeat(99)).unwrap();
    });
    assert_eq!(desk.inbox.stat().corruptions, 1);
    let kept = desk.config.dir.join(&folders(&desk)[0]).join("inbox.db");
    assert!(std::fs::read_to_string(kept).unwrap().starts_with("a text"));
    assert_eq!(desk.put("t", "x"), Ok(1));
    for (change, expected) in [
        ("pragma user_version = 9", "its format is version 9, this program knows up to 1"),
        ("pragma application_id = 7", "the file belongs to another program"),
    ] {
        let desk = Desk::new();
        sql(&desk, change);
        let Desk { dir, config, now, inbox, writer, commands, .. } = desk;
        drop((inbox, writer, commands));
        let error = Desk::open(Arc::clone(&dir), config, now).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(dir.path().join("inbox.db").exists());
    }
}

#[test]
fn damage_that_is_met_moves_the_file_aside_and_readers_go_on() {
    let mut desk = Desk::new();
    let (_, hold) = desk.attach("s");
    desk.ask(hold.subscribe(vec![("t".to_owned(), 1)])).unwrap();
    desk.put("t", "1").unwrap();
    let (_, cursors) = desk.read("r", None);
    let inbox = desk.inbox.clone();
    desk.ask(inbox.confirm("r", &cursors[0])).unwrap();
    for n in 2..=50 {
        desk.put("t", &format!("{n} {}", "x".repeat(500))).unwrap();
    }
    // Only the pages of the file, not of the log.
    sql(&desk, "pragma wal_checkpoint(truncate)");
    let path = desk.config.dir.join("inbox.db");
    let mut bytes = std::fs::read(&path).unwrap();
    // Without the first page, which holds the tables' places.
    for byte in bytes.iter_mut().skip(1024) {
        *byte = 0x5a;
    }
    std::fs::write(&path, bytes).unwrap();
    // The writer meets it at this or the next step; later puts are stored.
    let stored: Vec<_> = (0..3).map(|n| desk.put("t", &format!("after {n}"))).collect();
    let stat = desk.inbox.stat();
    assert_eq!((stat.corruptions, folders(&desk).len()), (1, 1), "{stored:?}");
    assert!(stat.dropped.damaged >= 49, "{stat:?}");
    assert_eq!(stored.last().unwrap(), &Ok(53), "numbers go on");
    let page = desk.ask(inbox.read("r", Some(&cursors[0]), 100)).unwrap();
    assert!(page.missed >= 49 && !page.messages.is_empty(), "the reader is known, and told");
    let got = desk.pull(&hold, 0);
    assert_eq!(got.last().unwrap(), &("after 2".to_owned(), 1), "and so is the session");
    drop((hold, inbox));
    let mut desk = desk.killed();
    assert!(desk.attach("s").0.present, "both are in the new file");
    assert_eq!(desk.inbox.stat().readers.len(), 1);
}

#[test]
fn a_damaged_message_is_passed_over_and_counted_once() {
    let mut desk = Desk::new();
    for n in 1..=3 {
        desk.put("t", &n.to_string()).unwrap();
    }
    sql(&desk, "update message set payload = x'39' where seq = 2");
    for _ in 0..2 {
        assert_eq!(desk.read("r", None).0, ["1", "3"]);
    }
    desk.pump();
    assert_eq!(desk.inbox.stat().dropped.damaged, 1);
}

/// A flipped bit may turn a text into a number, or into bytes that are not UTF-8: the readers must
/// not stop at it for ever.
#[test]
fn a_message_that_cannot_be_read_is_passed_over_too() {
    let changes = [
        "topic = cast(x'ff74' as text)",
        "source = cast(x'6dff' as text)",
        "qos = 300",
        "crc = -1",
    ];
    for change in changes {
        let mut desk = Desk::new();
        for n in 1..=3 {
            desk.put("t", &n.to_string()).unwrap();
        }
        sql(&desk, &format!("update message set {change} where seq = 2"));
        assert_eq!(desk.read("r", None).0, ["1", "3"], "{change}");
        desk.pump();
        let stat = desk.inbox.stat();
        assert_eq!((stat.dropped.damaged, stat.corruptions), (1, 0), "{change}");
    }
}

/// The bounds use columns that no reader needs: an unreadable value there must not cost all the
/// other messages.
#[test]
fn a_size_or_an_age_that_cannot_be_read_costs_no_message() {
    for column in ["total", "size", "aged"] {
        for seq in [1, 3] {
            let mut desk = Desk::with(|config| config.max_age = Duration::from_secs(1000));
            for n in 1..=3 {
                desk.put("t", &n.to_string()).unwrap();
            }
            misread(&desk.config.dir, column, seq);
            assert_eq!(desk.put("t", "4"), Ok(4), "{column} of {seq}");
            assert_eq!(desk.read("r", None).0, ["1", "2", "3", "4"], "{column} of {seq}");
            let mut desk = desk.killed_with(|dir| misread(dir, column, 4));
            assert_eq!(desk.put("t", "5"), Ok(5), "{column} of {seq}");
            assert_eq!(desk.read("r", None).0, ["1", "2", "3", "4", "5"], "{column} of {seq}");
            desk.pass(Duration::from_secs(1001));
            desk.put("t", "6").unwrap();
            let stat = desk.inbox.stat();
            let seen = (stat.messages, stat.dropped.age, stat.corruptions, stat.bytes);
            assert_eq!(seen, (1, 5, 0, 141), "{column} of {seq}");
        }
    }
}

/// If no value is readable, the bounds cannot be kept: the file is damaged, and a new file is
/// begun.
#[test]
fn a_front_that_tells_nothing_moves_the_file_aside() {
    let mut desk = Desk::new();
    (0..64).for_each(|n| desk.hand("t", &n.to_string()));
    desk.pump();
    misread(&desk.config.dir, "aged", 1);
    sql(&desk, "update message set aged = null");
    desk.put("t", "x").unwrap();
    assert_eq!(desk.inbox.stat().corruptions, 0, "the last one tells it");
    sql(&desk, "update message set aged = null");
    desk.pump();
    assert_eq!(desk.inbox.stat().corruptions, 1);
    assert!(desk.put("t", "y").is_ok());
}

/// A step may read a single message, if all before it may leave.
#[test]
fn the_last_of_many_that_all_have_costs_nothing_either() {
    let mut desk = Desk::new();
    for _ in 0..16 {
        (0..64).for_each(|n| desk.hand("t", &n.to_string()));
        desk.pump();
    }
    misread(&desk.config.dir, "aged", 1024);
    let inbox = desk.inbox.clone();
    let page = desk.ask(inbox.read("r", None, 1023)).unwrap();
    let last = page.messages.last().unwrap().0.to_string();
    assert_eq!(desk.ask(inbox.confirm("r", &last)).unwrap(), 1023);
    let stat = desk.inbox.stat();
    assert_eq!((stat.messages, stat.corruptions), (1, 0));
    assert_eq!(desk.read("r", None).0, ["63"]);
}

#[test]
fn a_folder_that_cannot_be_made_yet_is_tried_again() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    // A folder in place of the file is not damage, and does not pass.
    let config = Config::new(dir.path().join("inbox"), matches);
    std::fs::create_dir_all(dir.path().join("inbox/inbox.db")).unwrap();
    let now = Moment { wall: 1_800_000_000_000, running: Duration::ZERO };
    let opened = Desk::open(Arc::clone(&dir), config.clone(), Arc::new(Mutex::new(now)));
    assert!(opened.is_err());
    std::fs::remove_dir(dir.path().join("inbox/inbox.db")).unwrap();
    // An inbox that loses its file, like that of a disk that was pulled out.
    let mut desk = Desk::open(dir, config, Arc::new(Mutex::new(now))).unwrap();
    let (_, hold) = desk.attach("s");
    desk.ask(hold.subscribe(vec![("t".to_owned(), 1)])).unwrap();
    desk.put("t", "1").unwrap();
    desk.writer.lose_file();
    assert!(desk.put("t", "2").is_err());
    desk.pass(Duration::from_secs(6));
    assert_eq!(desk.put("t", "3"), Ok(2));
    let got = [("1".to_owned(), 1), ("3".to_owned(), 1)];
    assert_eq!(desk.pull(&hold, 0), got);
}

/// Changes the number of the first message in the page itself: SQL would put the row in its place.
fn renumber_the_first(dir: &Path, number: u8) {
    let path = dir.join("inbox.db");
    let file = rusqlite::Connection::open(&path).unwrap();
    let sql = "select rootpage, (select page_size from pragma_page_size) from sqlite_schema
               where name = 'message'";
    let (root, size): (u32, u32) =
        file.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    drop(file);
    let (root, size) = (usize::try_from(root).unwrap(), usize::try_from(size).unwrap());
    let mut bytes = std::fs::read(&path).unwrap();
    let page = &mut bytes[(root - 1) * size..root * size];
    assert_eq!(page[0], 13, "a leaf of a table (file format of SQLite, 1.6)");
    let cell = usize::from(u16::from_be_bytes([page[8], page[9]]));
    assert!(page[cell] < 128 && page[cell + 1] == 1, "a short row with the number 1");
    page[cell + 1] = number;
    std::fs::write(&path, bytes).unwrap();
}

/// The rows of the damaged file cannot be found by number, so a later message could not be either.
#[test]
fn a_first_number_behind_the_last_is_damage_and_later_messages_are_kept() {
    let mut desk = Desk::new();
    for payload in ["1", "2", "3"] {
        desk.put("t", payload).unwrap();
    }
    // Into the file, since the log holds the page too.
    sql(&desk, "pragma wal_checkpoint(truncate)");
    let mut desk = desk.killed_with(|dir| renumber_the_first(dir, 114));
    assert_eq!(desk.inbox.stat().corruptions, 1);
    desk.put("t", "4").unwrap();
    let mut desk = desk.killed();
    assert_eq!(desk.read("r", None).0, ["4"]);
}

#[test]
fn what_is_gone_with_a_file_is_counted_and_numbers_go_on() {
    let mut desk = Desk::new();
    for n in 1..=3 {
        desk.put("t", &n.to_string()).unwrap();
    }
    desk.writer.lose_file();
    for file in ["inbox.db", "inbox.db-wal", "inbox.db-shm"] {
        // The connection that ended may have removed the log.
        drop(std::fs::remove_file(desk.config.dir.join(file)));
    }
    desk.pass(Duration::from_secs(5));
    assert_eq!(desk.put("t", "after"), Ok(4));
    let stat = desk.inbox.stat();
    assert_eq!((stat.messages, stat.dropped.damaged, stat.corruptions), (1, 3, 0));
}

#[test]
fn files_that_are_taken_away_are_noticed_and_what_comes_after_is_kept() {
    for gone in ["inbox.db-wal", "inbox.db", ""] {
        let mut desk = Desk::with(|config| config.dir = config.dir.join("inbox"));
        let (_, hold) = desk.attach("s");
        desk.ask(hold.subscribe(vec![("t".to_owned(), 1)])).unwrap();
        desk.put("t", "1").unwrap();
        desk.put("t", "2").unwrap();
        let dir = desk.config.dir.clone();
        match gone {
            "" => std::fs::rename(&dir, desk.dir.path().join("elsewhere")).unwrap(),
            file => std::fs::remove_file(dir.join(file)).unwrap(),
        }
        desk.pass(Duration::from_secs(1));
        desk.pump();
        let stat = desk.inbox.stat();
        assert_eq!((stat.messages, stat.dropped.damaged), (0, 2), "{gone}");
        assert_eq!(desk.put("t", "3"), Ok(3), "{gone}");
        drop(hold);
        let mut desk = desk.killed();
        let (attached, hold) = desk.attach("s");
        assert!(attached.present, "{gone}");
        assert_eq!(desk.pull(&hold, attached.position), [("3".to_owned(), 1)], "{gone}");
    }
}

#[test]
fn a_second_opener_is_refused_without_the_lock_file_too() {
    let desk = Desk::new();
    std::fs::remove_file(desk.config.dir.join("inbox.lock")).unwrap();
    let second = Desk::open(Arc::clone(&desk.dir), desk.config.clone(), Arc::clone(&desk.now));
    assert!(matches!(second.err(), Some(OpenError::Locked { .. })));
}
