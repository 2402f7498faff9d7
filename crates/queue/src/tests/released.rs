//! Tests of files of earlier formats: taken over, or used unchanged.

use rusqlite::{Connection, params};

use super::*;
use crate::{
    Filter, Inspector, State,
    layout::Layout,
    order::BucketId,
    row::Located,
    schema,
    store::Store,
    tally::{Amount, Bucket},
};

/// Makes a file of the released format with `count` messages: every second one in lane `m`, the
/// third set aside; the first has the key `k`, and a message of key `gone` left.
fn released(dir: &Path, count: i64) -> Vec<MessageId> {
    let conn = Connection::open(dir.join(schema::FILE)).unwrap();
    schema::create(&conn, Layout::Released).unwrap();
    conn.close().unwrap();
    let mut store = Store::open(dir, crate::Fsync::Off).unwrap();
    assert_eq!(store.layout(), Layout::Released);
    let lanes = [(1, "l"), (2, "m"), (3, "(aside)")];
    let mut held = [Amount::default(); 3];
    let mut ids = Vec::new();
    store.begin().unwrap();
    for seq in 1..=count {
        let bucket = if seq == 3 { 3 } else { 2 - seq % 2 };
        let (id, message) = (MessageId::fresh(), message(&seq.to_string()));
        let at = Located {
            seq,
            bucket: BucketId(bucket),
            id,
            size: message.size(),
            qos: 1,
            expires_at: None,
        };
        store.insert(&at, &message, 1_000).unwrap();
        held[usize::try_from(bucket - 1).unwrap()].add(at.size);
        ids.push(id);
    }
    store.put_aside(3, "l", "poison", "the broker kicks", 1_000).unwrap();
    let conn = store.connection();
    let seen = "insert into seen (key, id, crc) values (?, ?, 5)";
    conn.execute(seen, params!["gone", MessageId::fresh().as_bytes()]).unwrap();
    conn.execute(seen, params!["k", ids[0].as_bytes()]).unwrap();
    for ((id, lane), held) in lanes.into_iter().zip(held) {
        let bucket = Bucket { held, ..Bucket::empty(BucketId(id), Arc::from(lane), 4) };
        store.save_bucket(&bucket).unwrap();
    }
    store.commit().unwrap();
    store.close().unwrap();
    ids
}

/// Removes the additions of later versions from the file.
fn older(dir: &Path, version: u8) {
    let sql = match version {
        3 => "drop table record",
        2 => "drop table record; alter table seen drop column crc; pragma user_version = 2",
        _ => {
            "drop table record; drop table aside; alter table message drop column crc;
             alter table seen drop column crc; pragma user_version = 1;
             update message set bucket = 1 where bucket = 3; delete from bucket where id = 3;
             update bucket set messages = messages + 1, bytes = bytes + 130 where id = 1"
        }
    };
    Connection::open(dir.join(schema::FILE)).unwrap().execute_batch(sql).unwrap();
}

fn layout(dir: &Path) -> Layout {
    schema::open_for_reading(&dir.join(schema::FILE)).unwrap().1
}

async fn is_all_there(queue: &Queue, ids: &[MessageId], version: u8) {
    let count = u64::try_from(ids.len()).unwrap();
    let aside = u64::from(version > 1);
    assert_eq!((queue.stat().messages, queue.stat().aside.messages), (count, aside));
    let duplicate = queue.append(keyed("k", message("1"))).await.unwrap();
    assert_eq!((duplicate.id, duplicate.outcome), (ids[0], Outcome::Duplicate));
    let gone = queue.append(keyed("gone", message("1"))).await.unwrap();
    assert_eq!(gone.outcome, Outcome::Duplicate);
    let is_waiting = |trace: &crate::Trace| trace.state == State::Waiting;
    assert!(queue.trace(ids[1]).await.unwrap().as_ref().is_some_and(is_waiting));
    leases_all(queue, ids, version).await;
    assert!(queue.ack(ids[1], &"north/cloud".into()).await.unwrap());
    assert!(queue.purge(ids[2]).await.unwrap() == (version > 1), "leased, where it is not aside");
    let state = queue.trace(ids[2]).await.unwrap().unwrap().state;
    assert_eq!(matches!(state, State::Dropped { .. }), version > 1, "{state:?}");
    let state = queue.trace(ids[1]).await.unwrap().unwrap().state;
    assert_eq!(state, State::Acknowledged { path: "north/cloud".into() });
}

async fn leases_all(queue: &Queue, ids: &[MessageId], version: u8) {
    let odd = ids.iter().step_by(2).enumerate();
    let odd: Vec<_> = odd.filter(|(n, _)| *n != 1 || version == 1).map(|(_, id)| *id).collect();
    let leased: Vec<_> = queue.lease("l", 99).await.unwrap().iter().map(|it| it.id).collect();
    assert_eq!(leased, odd);
    let leased: Vec<_> = queue.lease("m", 99).await.unwrap().iter().map(|it| it.id).collect();
    assert_eq!(leased, ids.iter().skip(1).step_by(2).copied().collect::<Vec<_>>());
}

#[test]
fn topics_of_a_lane_are_shown_from_a_file_of_the_released_format() {
    let dir = tempfile::tempdir().unwrap();
    let ids = released(dir.path(), 7);
    let inspector = Inspector::open(dir.path()).unwrap();
    let (mut seen, mut shown) = (crate::Seen::default(), Vec::new());
    assert!(
        !inspector.topics("m", &mut seen, |id, topic| shown.push((id, topic.to_owned()))).unwrap()
    );
    let even = ids.iter().skip(1).step_by(2);
    assert_eq!(shown, even.map(|id| (*id, "t".to_owned())).collect::<Vec<_>>());
    assert!(!inspector.topics("m", &mut seen, |_, topic| panic!("{topic} again")).unwrap());
}

#[tokio::test]
async fn files_of_all_versions_are_taken_over_with_all_that_is_in_them() {
    for version in [1, 2, 3] {
        let dir = tempfile::tempdir().unwrap();
        let ids = released(dir.path(), 20);
        older(dir.path(), version);
        let queue = open(dir.path());
        assert_eq!(layout(dir.path()), Layout::Current);
        is_all_there(&queue, &ids, version).await;
        let id = store(&queue, message("new")).await;
        queue.close().await;
        let queue = open(dir.path());
        assert_eq!(payloads(&queue.lease("l", 99).await.unwrap()).pop().unwrap(), "new");
        assert!(queue.ack(id, &"p".into()).await.unwrap());
        assert!(!queue.ack(ids[1], &"p".into()).await.unwrap());
        assert_eq!(Inspector::open(dir.path()).unwrap().check().unwrap(), Vec::<String>::new());
        assert_eq!(dir.path().read_dir().unwrap().count(), 4, "db, log, its index, lock");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_taken_over_is_used_as_it_is() {
    for version in [1, 2, 3] {
        let dir = tempfile::tempdir().unwrap();
        let ids = released(dir.path(), 20);
        older(dir.path(), version);
        // A file in place of the workshop: making the folder fails.
        std::fs::write(dir.path().join("takeover"), "in the way").unwrap();
        let queue = open(dir.path());
        assert_eq!(layout(dir.path()), Layout::Released);
        is_all_there(&queue, &ids, version).await;
        let id = store(&queue, message("new")).await;
        assert!(queue.set_aside(id, "refused", "").await.unwrap());
        let inspector = Inspector::open(dir.path()).unwrap();
        assert!(inspector.find(id).unwrap().is_some_and(|it| it.aside.is_some()));
        let aside = Filter { aside: Some(true), ..Filter::default() };
        assert_eq!(inspector.page(0, 9, &aside).unwrap().records.len(), 1);
        assert_eq!(inspector.check().unwrap(), Vec::<String>::new());
        queue.close().await;
        std::fs::remove_file(dir.path().join("takeover")).unwrap();
        let queue = open(dir.path());
        assert_eq!(layout(dir.path()), Layout::Current, "the next start takes it over");
        assert!(queue.requeue(id).await.unwrap());
        let state = queue.trace(ids[1]).await.unwrap().unwrap().state;
        assert_eq!(state, State::Acknowledged { path: "north/cloud".into() });
    }
}

#[tokio::test]
async fn a_version_that_lost_a_bit_is_told_by_the_tables() {
    for wrong in [0, 1, 2] {
        let dir = tempfile::tempdir().unwrap();
        store(&open(dir.path()), message("a")).await;
        let path = dir.path().join(schema::FILE);
        let sql = format!("pragma user_version = {wrong}");
        Connection::open(&path).unwrap().execute_batch(&sql).unwrap();
        assert_eq!(open(dir.path()).stat().messages, 1);
    }
}

#[test]
fn a_file_of_the_first_version_is_salvaged_too() {
    let dir = tempfile::tempdir().unwrap();
    released(dir.path(), 5);
    older(dir.path(), 1);
    let salvage = crate::repair(dir.path()).unwrap();
    assert_eq!((salvage.saved, salvage.lost), (5, 0));
}

/// A row of the first version has no checksum, and the size fits: three bytes, like the replacement
/// letter.
#[tokio::test]
async fn a_topic_that_is_no_text_is_not_sent_where_no_checksum_tells() {
    let damage =
        "update message set topic = cast(x'f09f98' as text), size = size + 2 where seq = 2;
                  update bucket set bytes = bytes + 2 where id = 2";
    for way in ["taken over", "as it is", "salvaged"] {
        let dir = tempfile::tempdir().unwrap();
        let ids = released(dir.path(), 4);
        older(dir.path(), 1);
        Connection::open(dir.path().join(schema::FILE)).unwrap().execute_batch(damage).unwrap();
        match way {
            "as it is" => std::fs::write(dir.path().join("takeover"), "in the way").unwrap(),
            "salvaged" => assert_eq!(crate::repair(dir.path()).unwrap().saved, 4),
            _ => {}
        }
        let queue = open(dir.path());
        let leased = queue.lease("m", 99).await.unwrap();
        assert_eq!(leased.iter().map(|it| it.id).collect::<Vec<_>>(), [ids[3]], "{way}");
        assert_eq!(queue.lease("l", 99).await.unwrap().len(), 2, "{way}");
        assert_eq!(queue.stat().aside.messages, 1, "{way}");
    }
}
