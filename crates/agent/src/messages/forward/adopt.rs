//! The adoption of messages in lanes that the fleet file no longer has.
//!
//! A lane whose messages all belong to one lane of the fleet gets its name, however many they are. Of any
//! other lane each message is moved by itself. Both go on beside all other work. Only the forwarders of
//! lanes that messages may still come into wait meanwhile: these lanes are *held*, so that no newer message
//! overtakes an older one of its topic.

mod homes;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use modem::session::Chain;
use queue::{AppendError, Inspector, MessageId, Queue, Seen};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::messages::backlog::BacklogError;
use crate::now::View;
use fleet::Fleet;
use homes::Homes;

/// Lanes whose forwarders wait.
pub type Held = BTreeSet<Arc<str>>;

/// Messages that are moved in one commit.
const STEP: usize = 256;

/// The most times that a lane is emptied so that another one can get its name. Each time a message may be handed in
/// just then; to move all of the other lane would take longer than so many attempts.
const ATTEMPTS: u32 = 1_000;

/// The wait after a failure, until the rest is looked at again.
const RETRY: Duration = Duration::from_secs(60);

/// The lanes with messages that a fleet does not have, and the homes of these messages.
pub struct Adoption {
    queue: Queue,
    reader: Reader,
    orphans: Vec<Orphan>,
    held: Held,
}

/// A lane that the fleet does not have.
struct Orphan {
    lane: Arc<str>,
    seen: Seen,
    /// The number of messages seen of each home; `None`: no route matches.
    homes: BTreeMap<Option<Arc<str>>, u64>,
    /// All of them were seen, but for those that came since.
    is_whole: bool,
    is_settled: bool,
}

/// Reads through a connection of its own, on a thread that may block.
struct Reader {
    dir: PathBuf,
    homes: Arc<Homes>,
    inspector: Option<Inspector>,
}

/// Some messages with their homes.
struct Page {
    found: Vec<(MessageId, Option<Arc<str>>)>,
    has_more: bool,
}

/// The reason for which messages stay in their lane.
#[derive(Debug, thiserror::Error)]
enum AdoptError {
    /// The waiting messages could not be read.
    #[error("could not read the waiting messages of the queue")]
    Read(#[from] BacklogError),
    /// The queue did not move something.
    #[error("the queue could not move waiting messages")]
    Move(#[from] AppendError),
}

impl Adoption {
    /// Of the lanes that hold messages now and that this fleet does not have.
    pub fn new(queue: &Queue, fleet: &Fleet) -> Self {
        let (dir, homes) = (fleet.queue.path.clone(), Arc::new(Homes::of(fleet)));
        let mut adoption = Self {
            queue: queue.clone(),
            reader: Reader { dir, homes, inspector: None },
            orphans: Vec::new(),
            held: Held::new(),
        };
        adoption.find();
        adoption
    }

    /// Adds lanes that are not known yet.
    fn find(&mut self) {
        for lane in self.gone() {
            let is_known = self.orphans.iter().any(|orphan| orphan.lane == lane);
            if !is_known && !is_pinned(&lane) {
                self.orphans.push(Orphan::new(lane));
            }
        }
    }

    /// All lanes with messages that the fleet does not have.
    fn gone(&self) -> Vec<Arc<str>> {
        let lanes = self.queue.stat().lanes.into_iter();
        let held = lanes.filter(|(lane, held)| held.messages > 0 && !self.reader.homes.has(lane));
        held.map(|(lane, _)| lane).collect()
    }

    /// Looks at what waits, for about so long at most: the more is known, the less has to wait later.
    ///
    /// # Cancel safety
    /// Nothing is changed.
    pub async fn look(&mut self, limit: Duration) {
        let end = Instant::now() + limit;
        for orphan in &mut self.orphans {
            while !orphan.is_whole && Instant::now() < end {
                if let Err(error) = orphan.look(&mut self.reader).await {
                    tracing::warn!(lane = %orphan.lane, "{}", Chain(&error));
                    break;
                }
            }
        }
    }

    /// The lanes that have to be held from now on, as far as it is known what waits.
    pub fn hold(&mut self) -> Held {
        self.held = self.reachable();
        self.held.clone()
    }

    /// The lanes that messages may still come into.
    fn reachable(&self) -> Held {
        let open = self.orphans.iter().filter(|orphan| !orphan.is_settled);
        open.flat_map(|orphan| match orphan.is_whole {
            true => orphan.homes.keys().flatten().cloned().collect(),
            false => self.reader.homes.near(&orphan.lane),
        })
        .collect()
    }

    /// Gives those lanes their new names of which it is known by now that they can have it. What is held must
    /// have no forwarder any more.
    ///
    /// # Cancel safety
    /// A lane has the one name or the other.
    pub async fn rename(&mut self) {
        let Self { queue, reader, orphans, held } = self;
        for orphan in orphans.iter_mut().filter(|orphan| orphan.is_whole) {
            if let Err(error) = rename(queue, reader, orphan, held).await {
                // It is tried once more when the rest is done.
                tracing::warn!(lane = %orphan.lane, "{}", Chain(&error));
            }
        }
    }

    /// Does all that is left; a lane leaves `held` as soon as nothing more comes into it. False if something
    /// failed: that waits where it was.
    ///
    /// # Cancel safety
    /// Each message is in one lane or the other.
    async fn finish(mut self, held: &watch::Sender<Held>) -> bool {
        self.find();
        let mut is_done = true;
        // A new name takes no time, so those that get one go first.
        for one_by_one in [false, true] {
            for at in 0..self.orphans.len() {
                let Self { queue, reader, orphans, held: all } = &mut self;
                let Some(orphan) = orphans.get_mut(at).filter(|it| !it.is_settled) else {
                    continue;
                };
                let settled = match one_by_one {
                    true => move_each(queue, reader, orphan).await.map(|()| true),
                    false => rename(queue, reader, orphan, all).await,
                };
                orphan.is_settled = one_by_one || matches!(settled, Ok(true));
                if let (Err(error), true) = (settled, one_by_one) {
                    let words = "messages of a removed lane wait for the next attempt to move them";
                    tracing::error!(lane = %orphan.lane, "{words}: {}", Chain(&error));
                    is_done = false;
                }
                let still = &self.reachable() & &self.held;
                held.send_if_modified(|held| std::mem::replace(held, still.clone()) != still);
            }
        }
        held.send_if_modified(|held| !std::mem::take(held).is_empty());
        for lane in self.gone().iter().filter(|lane| is_pinned(lane)) {
            warn_stranded(lane, waiting(&self.queue, lane));
        }
        is_done
    }
}

impl Orphan {
    fn new(lane: Arc<str>) -> Self {
        let (seen, homes) = (Seen::default(), BTreeMap::new());
        Self { lane, seen, homes, is_whole: false, is_settled: false }
    }

    /// Looks at some more.
    async fn look(&mut self, reader: &mut Reader) -> Result<(), AdoptError> {
        let page = reader.page(&self.lane, &self.lane, &mut self.seen).await?;
        for (_, home) in page.found {
            let count = self.homes.entry(home).or_default();
            *count = count.saturating_add(1);
        }
        self.is_whole = !page.has_more;
        Ok(())
    }

    /// The home of all messages, if there is one.
    fn only_home(&self) -> Option<Arc<str>> {
        match (self.homes.len(), self.homes.first_key_value()) {
            (1, Some((home, _))) => home.clone(),
            _ => None,
        }
    }
}

impl Reader {
    /// The next messages of a lane with their homes, as messages of the lane `gone`.
    async fn page(
        &mut self,
        lane: &Arc<str>,
        gone: &Arc<str>,
        seen: &mut Seen,
    ) -> Result<Page, BacklogError> {
        let (inspector, dir, homes) =
            (self.inspector.take(), self.dir.clone(), Arc::clone(&self.homes));
        let (lane, gone, mut noted) = (Arc::clone(lane), Arc::clone(gone), seen.clone());
        let read = move || -> Result<_, BacklogError> {
            let inspector = inspector.map_or_else(|| Inspector::open(&dir), Ok)?;
            let (home, mut known) = (homes.of_lane(&gone), HashMap::new());
            let mut found = Vec::new();
            let has_more = inspector.topics(&lane, &mut noted, |id, topic| {
                let home = match known.get(topic) {
                    Some(home) => Option::clone(home),
                    None => known.entry(topic.to_owned()).or_insert_with(|| home(topic)).clone(),
                };
                found.push((id, home));
            })?;
            Ok((inspector, noted, Page { found, has_more }))
        };
        let (inspector, noted, page) = tokio::task::spawn_blocking(read).await??;
        self.inspector = Some(inspector);
        *seen = noted;
        Ok(page)
    }
}

/// Gives a lane that is gone the name of its messages' home, if they have one that is held. False if that
/// cannot be.
async fn rename(
    queue: &Queue,
    reader: &mut Reader,
    orphan: &mut Orphan,
    held: &Held,
) -> Result<bool, AdoptError> {
    if held.is_empty() {
        return Ok(false);
    }
    loop {
        // Also what came since it was looked at.
        orphan.look(reader).await?;
        if orphan.is_whole {
            break;
        }
    }
    let Some(home) = orphan.only_home().filter(|home| held.contains(home)) else {
        return Ok(false);
    };
    for _ in 0..ATTEMPTS {
        let messages = waiting(queue, &orphan.lane);
        if queue.rename_lane(&orphan.lane, &home).await? {
            tracing::info!(lane = %orphan.lane, %home, messages, "a removed lane has a new name");
            // Its forwarder may have been lost, and have left some behind.
            drop(queue.look_again(&home));
            sort_out(queue, reader, orphan, &home).await?;
            return Ok(true);
        }
        if waiting(queue, &home) > messages {
            break;
        }
        // The few go to the many. Each message keeps its place in the order, and no forwarder takes one meanwhile.
        let mut seen = Seen::default();
        while !move_some(queue, reader, (&home, &orphan.lane), &mut seen, |_| {
            Some(Arc::clone(&orphan.lane))
        })
        .await?
        {}
    }
    Ok(false)
}

/// Takes those messages out of a lane again that came into it under its former name, after it was looked at,
/// and that belong elsewhere.
async fn sort_out(
    queue: &Queue,
    reader: &mut Reader,
    orphan: &Orphan,
    home: &Arc<str>,
) -> Result<(), AdoptError> {
    let mut seen = orphan.seen.clone();
    let elsewhere = |to: &Option<Arc<str>>| {
        let to = to.as_ref().unwrap_or(&orphan.lane);
        (to != home).then(|| Arc::clone(to))
    };
    while !move_some(queue, reader, (home, &orphan.lane), &mut seen, elsewhere).await? {}
    Ok(())
}

/// Moves each message of a lane that is gone to its home.
async fn move_each(queue: &Queue, reader: &mut Reader, orphan: &Orphan) -> Result<(), AdoptError> {
    let (mut seen, mut moved, mut stranded) = (Seen::default(), 0_u64, 0_u64);
    loop {
        let count = |home: &Option<Arc<str>>| {
            let counter = if home.is_some() { &mut moved } else { &mut stranded };
            *counter = counter.saturating_add(1);
            home.clone()
        };
        let lanes = (&orphan.lane, &orphan.lane);
        if move_some(queue, reader, lanes, &mut seen, count).await? {
            break;
        }
    }
    if moved > 0 {
        tracing::info!(lane = %orphan.lane, moved, "messages of a removed lane were moved to other lanes");
    }
    if stranded > 0 {
        warn_stranded(&orphan.lane, stranded);
    }
    Ok(())
}

/// Moves some messages of a lane, each to where `to` says by its home as a message of another one. True at
/// the end of the lane.
async fn move_some(
    queue: &Queue,
    reader: &mut Reader,
    (lane, gone): (&Arc<str>, &Arc<str>),
    seen: &mut Seen,
    mut to: impl FnMut(&Option<Arc<str>>) -> Option<Arc<str>>,
) -> Result<bool, AdoptError> {
    let page = reader.page(lane, gone, seen).await?;
    let moves: Vec<_> = page.found.iter().filter_map(|(id, home)| Some((*id, to(home)?))).collect();
    for some in moves.chunks(STEP) {
        // Asked for together, they share a commit.
        let moved = some.iter().map(|(id, lane)| queue.transfer(*id, lane));
        join_all(moved).await.into_iter().try_for_each(|moved| moved.map(drop))?;
    }
    Ok(!page.has_more)
}

/// A message pinned to a session waits for that session, even if it comes back later.
fn is_pinned(lane: &str) -> bool {
    lane.starts_with("session ")
}

fn waiting(queue: &Queue, lane: &str) -> u64 {
    queue.stat().lanes.get(lane).map_or(0, |lane| lane.messages)
}

fn warn_stranded(lane: &str, stranded: u64) {
    tracing::warn!(
        lane,
        stranded,
        "queued messages have no route in this fleet file; they are kept"
    );
}

/// The adoption that is under way, and behind it the search for what was handed in while a reload took its
/// lane away.
pub struct Adopter {
    view: View,
    held: watch::Sender<Held>,
    ends: CancellationToken,
    /// Stops the adoption that is under way.
    stop: CancellationToken,
    /// One at most.
    running: JoinSet<()>,
}

impl Adopter {
    /// Nothing is under way. `held` are the lanes whose forwarders wait, `ends` is the agent's end.
    pub fn new(view: View, held: watch::Sender<Held>, ends: CancellationToken) -> Self {
        Self { view, held, stop: ends.child_token(), ends, running: JoinSet::new() }
    }

    /// Goes on with this adoption, in a task of its own. None must be under way.
    pub fn begin(&mut self, adoption: Adoption) {
        self.stop = self.ends.child_token();
        let (view, held, stop) = (self.view.clone(), self.held.clone(), self.stop.clone());
        self.running.spawn(async move {
            // Where it stops, each message is in one lane or the other.
            stop.run_until_cancelled(adopt(view, held, adoption)).await;
        });
    }

    /// Stops the adoption that is under way. The rest is for the next one.
    ///
    /// # Cancel safety
    /// It was asked to stop; the next call waits for its end.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        while let Some(ended) = self.running.join_next().await {
            if let Err(error) = ended {
                tracing::error!("the adoption of removed lanes was lost: {error}");
            }
        }
    }

    /// Waits until it ends, which it should not, and says why.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn failed(&mut self) -> anyhow::Error {
        let words = "the adoption of removed lanes";
        match self.running.join_next().await {
            Some(Ok(())) => anyhow::anyhow!("{words} ended unexpectedly"),
            Some(Err(panic)) => anyhow::anyhow!(panic).context(format!("{words} panicked")),
            None => std::future::pending().await,
        }
    }
}

async fn adopt(view: View, held: watch::Sender<Held>, mut adoption: Adoption) {
    loop {
        let next = match adoption.finish(&held).await {
            true => Duration::MAX,
            false => RETRY,
        };
        // An error is the end of that time.
        drop(timeout(next, view.strays.notified()).await);
        adoption = Adoption::new(&view.queue, &view.now().fleet);
    }
}

#[cfg(test)]
mod tests;
