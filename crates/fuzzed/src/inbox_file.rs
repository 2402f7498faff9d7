//! The inbox's files: with any damage, they are opened or rejected, and later messages are kept.

use std::path::Path;
use std::sync::OnceLock;

use fleet::topic_matches;
use inbox::{Config, Inbox, NewMessage, Seq};
use tokio::sync::oneshot;

use crate::damage::{damage, read, write};
use crate::place::{folder, wait_for};

/// The names of the database and of its log.
const FILES: [&str; 2] = ["inbox.db", "inbox.db-wal"];

/// Messages of the file before it is damaged.
const MESSAGES: usize = 60;

/// Messages of one page, and pages that are read: together more than the messages.
const PAGE: usize = 20;
const PAGES: usize = 10;

/// Damages the files of an inbox as the input describes, and reads the rest as a reader and as a
/// session. With an odd first byte the inbox was killed and left its log; otherwise it was closed.
pub fn run(input: &[u8]) {
    static CLOSED: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    static KILLED: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    let Some((first, damages)) = input.split_first() else { return };
    let stored = match first & 1 {
        0 => CLOSED.get_or_init(|| store(true)),
        _ => KILLED.get_or_init(|| store(false)),
    };
    let dir = folder();
    let mut files = stored.clone();
    damage(&mut files, damages);
    let is_whole = files == *stored;
    write(dir.path(), FILES, &files);
    wait_for(serve(dir.path(), is_whole));
}

fn open(dir: &Path) -> Result<Inbox, inbox::OpenError> {
    Inbox::open(Config::new(dir, topic_matches))
}

/// Opens the damaged files, reads them, and puts in one more message.
async fn serve(dir: &Path, is_whole: bool) {
    let Ok(inbox) = open(dir) else {
        assert!(!is_whole, "a whole file is refused");
        return;
    };
    let found = read_all(&inbox).await + read_session(&inbox).await;
    assert!(!is_whole || found > MESSAGES, "{found} messages of a whole file");
    let stored = put(&inbox, MESSAGES).await;
    inbox.close().await;
    if let Some(seq) = stored {
        let inbox = open(dir).expect("an inbox that took a message opens again");
        assert_eq!(inbox.stat().failing, None);
        match inbox.read("new", None, 1000).await {
            Ok(page) => {
                let is_there = page.messages.iter().any(|(_, message)| message.seq == seq);
                assert!(is_there || page.more, "{seq} was lost: {page:?}");
            }
            // Damage that only reading finds moves the file aside, and later messages go to a new
            // file.
            Err(_) => drop(inbox.read("new", None, 1000).await.expect("a new file")),
        }
        inbox.close().await;
    }
}

/// Reads as `GET /api/v1/inbox` does, page by page.
async fn read_all(inbox: &Inbox) -> usize {
    let (mut found, mut last) = (0, Seq::MIN);
    for _ in 0..PAGES {
        let Ok(page) = inbox.read("reader", None, PAGE).await else { break };
        let Some((cursor, _)) = page.messages.last() else { break };
        for (_, message) in &page.messages {
            assert!(message.seq > last, "{} behind {last}", message.seq);
            last = message.seq;
        }
        found += page.messages.len();
        if inbox.confirm("reader", &cursor.to_string()).await.is_err() {
            break;
        }
    }
    found
}

/// Reads as a client of the MQTT listener with a kept session does.
async fn read_session(inbox: &Inbox) -> usize {
    let Ok(Some((attached, hold))) = inbox.attach("session", None, false, None).await else {
        return 0;
    };
    let (mut found, mut position) = (0, attached.position);
    for _ in 0..PAGES {
        let Ok(page) = hold.next(position, PAGE).await else { break };
        assert!(page.messages.len() <= PAGE && page.through >= position, "{page:?}");
        if page.through == position {
            break;
        }
        (found, position) = (found + page.messages.len(), page.through);
        drop(hold.confirm(position).await);
    }
    found
}

/// Puts a message in; `None` if it could not be stored.
async fn put(inbox: &Inbox, number: usize) -> Option<Seq> {
    let message = NewMessage {
        source: "m/s".to_owned(),
        topic: format!("t/{}", number % 7),
        qos: 1,
        payload: vec![b'p'; number * 10].into(),
    };
    let (told, stored) = oneshot::channel();
    let then = move |stored: Result<Seq, _>| {
        let _ = told.send(stored.ok());
    };
    inbox.put(message, then).ok()?;
    stored.await.ok().flatten()
}

/// Returns the files of a used inbox.
fn store(is_closed: bool) -> [Vec<u8>; 2] {
    let dir = folder();
    let inbox = open(dir.path()).expect("a new inbox");
    wait_for(async {
        let begun = inbox.attach("session", None, false, None).await.expect("a session");
        let (_, hold) = begun.expect("one that is kept");
        hold.subscribe(vec![("t/+".to_owned(), 1)]).await.expect("its filter");
        for number in 0..MESSAGES {
            put(&inbox, number).await.expect("room for a message");
        }
    });
    if is_closed {
        wait_for(inbox.close());
        return read(dir.path(), FILES);
    }
    let files = read(dir.path(), FILES);
    assert!(!files[1].is_empty(), "the log is in use");
    wait_for(inbox.close());
    files
}
