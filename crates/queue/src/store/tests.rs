//! Tests of the cost of the statements: every statement of the hot path must use an index.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// Lets a commit fail like a failed sync, as often as `faults` demands.
pub(super) fn fail_if_told(faults: &AtomicU32) -> rusqlite::Result<()> {
    let told = faults.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
    if told.is_err() {
        return Ok(());
    }
    let code = rusqlite::ffi::SQLITE_IOERR_FSYNC;
    Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None))
}

impl Store {
    /// Acts as if the disk were full at this many pages of 1 KiB.
    pub(crate) fn limit_pages(&self, pages: u32) {
        let sql = format!("pragma max_page_count = {pages}");
        self.conn.query_row(&sql, [], |_| Ok(())).unwrap();
    }
}

fn plan(store: &Store, sql: &str) -> String {
    let mut statement = store.conn.prepare(&format!("explain query plan {sql}")).unwrap();
    let count = statement.parameter_count();
    let rows = statement
        .query_map(rusqlite::params_from_iter(vec![1i64; count]), |row| row.get::<_, String>(3))
        .unwrap();
    rows.map(Result::unwrap).collect::<Vec<_>>().join("; ")
}

#[test]
fn hot_statements_use_an_index_and_sort_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Fsync::Always).unwrap();
    for sql in [
        format!("select {STORED} from message where {}", store.layout.in_order()),
        format!("select {LOCATED} from message where {} limit 1", store.layout.in_order()),
        format!(
            "select seq, appended_at from message where {} desc limit 1",
            store.layout.in_order()
        ),
        format!("select {LOCATED} from message where place = ?"),
        format!("select {LOCATED} from message where expires_at <= ? order by expires_at limit ?"),
        "select min(expires_at) from message where expires_at > ?".to_owned(),
        "select id, key, digest from record where seq = ?".to_owned(),
        "select seq from former where id = ?".to_owned(),
    ] {
        let plan = plan(&store, &sql);
        assert!(plan.contains("SEARCH"), "{sql}: {plan}");
        assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
    }
}

#[test]
fn only_commits_of_acks_go_unsynced_and_only_where_commits_are_synced_at_all() {
    for (fsync, acks, others) in
        [(Fsync::Always, 1, 2), (Fsync::Interval(Duration::from_secs(1)), 1, 1), (Fsync::Off, 0, 0)]
    {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), fsync).unwrap();
        for (sync, level) in [(false, acks), (true, others), (false, acks)] {
            store.sync_commits(sync).unwrap();
            let number =
                |sql: &str| store.conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
            assert_eq!(number("pragma synchronous"), level, "{fsync:?}");
        }
    }
}

#[test]
fn commits_are_synced_and_logged_ahead() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Fsync::Always).unwrap();
    let text = |sql: &str| store.conn.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    let number = |sql: &str| store.conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(text("pragma journal_mode"), "wal");
    assert_eq!(number("pragma synchronous"), 2);
    assert_eq!(number("pragma page_size"), 1024);
}

#[test]
fn ballast_that_was_rolled_back_is_put_in_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), Fsync::Off).unwrap();
    let count = |store: &Store| {
        let sql = "select count(*) from ballast";
        store.conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let whole = count(&store);
    store.begin().unwrap();
    store.burn_ballast().unwrap();
    store.commit().unwrap();
    assert_eq!(count(&store), whole - 1);
    store.begin().unwrap();
    store.ensure_space(true).unwrap();
    store.rollback().unwrap();
    assert_eq!(count(&store), whole - 1);
    store.begin().unwrap();
    store.ensure_space(true).unwrap();
    store.commit().unwrap();
    assert_eq!(count(&store), whole);
}
