//! The queue as an operator sees it: listed, brought back, purged; a page at a time.
//!
//! The running agent's API and the commands on a stopped agent's folder share this, so that they
//! mean the same. Listing reads the folder through a connection of its own and disturbs nobody.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use queue::{Filter, Inspector, MessageId, OpenError, Page, Queue, Record, Stat, StoreError};
use serde_json::{Map, Value, json};

use fleet::topic_matches;

/// The most messages of one page: with payloads of 10 KiB in base64 some four MiB.
pub const PAGE: u32 = 256;

/// Which messages are meant: all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// This one.
    pub id: Option<MessageId>,
    /// Those of this lane.
    pub lane: Option<String>,
    /// Those whose topic this filter selects.
    pub topic: Option<String>,
    /// Those that were set aside, or those that were not.
    pub aside: Option<bool>,
    /// Those that were set aside for this reason.
    pub reason: Option<String>,
    /// Those that were handed in at least so long ago.
    pub older_than: Option<Duration>,
}

impl Selection {
    /// Whether all messages are meant.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    fn filter(&self) -> Filter {
        let before = |age| SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        Filter {
            id: self.id,
            lane: self.lane.clone(),
            aside: self.aside.or(self.reason.is_some().then_some(true)),
            reason: self.reason.clone(),
            appended_before: self.older_than.map(before),
        }
    }

    fn takes(&self, record: &Record) -> bool {
        self.topic.as_ref().is_none_or(|filter| topic_matches(filter, &record.topic))
    }
}

/// What was done to the messages of one page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// To so many it was.
    pub done: u64,
    /// So many are on their way to a broker, or went meanwhile.
    pub left: u64,
    /// After which place to go on; `None` at the end.
    pub next: Option<i64>,
}

/// Why nothing more can be said of the queue.
#[derive(Debug, thiserror::Error)]
pub enum BacklogError {
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It could not be read or changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The thread that read it ended early.
    #[error("the thread that reads the queue ended early")]
    Thread(#[from] tokio::task::JoinError),
}

/// A page of the messages of the queue in `dir`, after place `after`. `held` is dropped once it is
/// read, also if the caller has left.
///
/// # Errors
/// [`BacklogError`].
///
/// # Cancel safety
/// Nothing is changed; a dropped call reads on in vain.
pub async fn page(
    dir: &Path,
    selection: &Selection,
    after: i64,
    limit: u32,
    held: impl Send + 'static,
) -> Result<Page, BacklogError> {
    let (dir, selection): (PathBuf, _) = (dir.to_owned(), selection.clone());
    let read = move || -> Result<Page, BacklogError> {
        let _held = held;
        let inspector = Inspector::open(&dir)?;
        if let Some(id) = selection.id {
            let found = inspector.find(id)?.filter(|record| record.seq > after);
            return Ok(Page { records: found.into_iter().collect(), next: None });
        }
        let mut page = inspector.page(after, limit.clamp(1, PAGE), &selection.filter())?;
        page.records.retain(|record| selection.takes(record));
        Ok(page)
    };
    tokio::task::spawn_blocking(read).await?
}

/// Brings messages back that were set aside: those of the next page that are meant.
///
/// # Errors
/// [`BacklogError`]; those before the error are back.
///
/// # Cancel safety
/// A dropped call may have brought back any of the page.
pub async fn requeue(
    queue: &Queue,
    dir: &Path,
    selection: &Selection,
    after: i64,
) -> Result<Step, BacklogError> {
    let selection = Selection { aside: Some(true), ..selection.clone() };
    let page = page(dir, &selection, after, PAGE, ()).await?;
    step(page, |id| queue.requeue(id)).await
}

/// Removes messages for good: those of the next page that are meant, without those on their way.
///
/// # Errors
/// [`BacklogError`]; those before the error are gone.
///
/// # Cancel safety
/// A dropped call may have removed any of the page.
pub async fn purge(
    queue: &Queue,
    dir: &Path,
    selection: &Selection,
    after: i64,
) -> Result<Step, BacklogError> {
    let page = page(dir, selection, after, PAGE, ()).await?;
    step(page, |id| queue.purge(id)).await
}

/// Asked for together, the changes of a page share commits.
async fn step<F>(page: Page, change: impl Fn(MessageId) -> F) -> Result<Step, BacklogError>
where
    F: Future<Output = Result<bool, StoreError>>,
{
    let mut step = Step { next: page.next, ..Step::default() };
    for done in join_all(page.records.iter().map(|record| change(record.id))).await {
        if done? {
            step.done += 1;
        } else {
            step.left += 1;
        }
    }
    Ok(step)
}

/// A message as JSON; an export has the payload as well.
pub fn record_json(record: &Record, payload: bool) -> Value {
    let time = |time| humantime::format_rfc3339_millis(time).to_string();
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("id", json!(record.id.to_string()));
    put("state", json!(if record.aside.is_some() { "set_aside" } else { "waiting" }));
    put("topic", json!(record.topic));
    if payload {
        put("payload_base64", json!(STANDARD.encode(&record.payload)));
    }
    put("bytes", json!(record.payload.len()));
    put("qos", json!(record.qos));
    put("retain", json!(record.retain));
    put("lane", json!(record.lane));
    put("priority", json!(record.priority));
    put("appended", json!(time(record.appended_at)));
    if let Some(expires) = record.expires_at {
        put("expires", json!(time(expires)));
    }
    if let Some(aside) = &record.aside {
        put("reason", json!(aside.reason));
        put("words", json!(aside.words));
        put("set_aside", json!(time(aside.since)));
    }
    if !record.intact {
        put("intact", json!(false));
    }
    Value::Object(object)
}

/// The figures as JSON. `running`: those of an agent that runs, which knows more than the file.
pub fn stat_json(stat: &Stat, running: bool) -> Value {
    let lanes: Vec<Value> = stat
        .lanes
        .iter()
        .filter(|(_, held)| held.messages > 0)
        .map(|(lane, held)| json!({ "lane": **lane, "messages": held.messages, "bytes": held.bytes }))
        .collect();
    let mut value = json!({
        "running": running,
        "messages": stat.messages,
        "bytes": stat.bytes,
        "set_aside": { "messages": stat.aside.messages, "bytes": stat.aside.bytes },
        "lanes": lanes,
    });
    let Value::Object(object) = &mut value else { return value };
    if let Some(oldest) = stat.oldest {
        let age = SystemTime::now().duration_since(oldest).unwrap_or_default();
        object.insert("oldest_age_seconds".to_owned(), json!(age.as_secs()));
    }
    if running {
        let dropped: Value = stat.dropped.by_reason().into_iter().collect();
        object.insert("leased".to_owned(), json!(stat.leased));
        object.insert("dropped".to_owned(), dropped);
        object.insert("corruptions".to_owned(), json!(stat.salvages));
        object.insert("commit_errors".to_owned(), json!(stat.failed_commits));
        if let Some(failing) = stat.failing {
            object.insert("failing".to_owned(), json!(failing.as_str()));
        }
    }
    value
}
