//! The queue as an operator sees it: listed, brought back, purged; a page at a time.
//!
//! The running agent's API and the commands on a stopped agent's folder share this, so that they
//! mean the same. Listing reads the folder through a connection of its own and disturbs nobody.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use api::queue::{Amount, Figures, Lane, Message};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use queue::{
    Filter, Inspector, LaneStat, MessageId, OpenError, Page, Queue, Record, Stat, StoreError,
};

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
    /// True if all messages are meant.
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

/// The work done on the messages of one page.
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

/// A message for the API; an export has the payload as well.
pub fn message(record: &Record, payload: bool) -> Message {
    let time = |time| humantime::format_rfc3339_millis(time).to_string();
    let aside = record.aside.as_ref();
    Message {
        id: record.id.to_string(),
        state: if aside.is_some() { "set_aside" } else { "waiting" }.to_owned(),
        topic: record.topic.clone(),
        payload_base64: payload.then(|| STANDARD.encode(&record.payload)),
        bytes: record.payload.len(),
        qos: record.qos,
        retain: record.retain,
        lane: record.lane.clone(),
        priority: record.priority,
        appended: time(record.appended_at),
        expires: record.expires_at.map(time),
        reason: aside.map(|aside| aside.reason.clone()),
        words: aside.map(|aside| aside.words.clone()),
        set_aside: aside.map(|aside| time(aside.since)),
        intact: (!record.intact).then_some(false),
    }
}

/// The figures for the API. `running`: those of an agent that runs, which knows more than the file.
pub fn figures(stat: &Stat, running: bool) -> Figures {
    let amount = |held: &LaneStat| Amount { messages: held.messages, bytes: held.bytes };
    let lanes = stat.lanes.iter().filter(|(_, held)| held.messages > 0);
    let age = |oldest| SystemTime::now().duration_since(oldest).unwrap_or_default().as_secs();
    let dropped = stat.dropped.by_reason().map(|(reason, count)| (reason.to_owned(), count));
    Figures {
        running,
        messages: stat.messages,
        bytes: stat.bytes,
        set_aside: amount(&stat.aside),
        lanes: lanes
            .map(|(lane, held)| Lane { lane: lane.to_string(), held: amount(held) })
            .collect(),
        oldest_age_seconds: stat.oldest.map(age),
        leased: running.then_some(stat.leased),
        dropped: running.then(|| dropped.into()),
        corruptions: running.then_some(stat.salvages),
        commit_errors: running.then_some(stat.failed_commits),
        failing: stat.failing.filter(|_| running).map(|failing| failing.as_str().to_owned()),
        ..Figures::default()
    }
}
