//! The history of the fleet: connects and disconnects, states, recoveries, reloads and actions of people.
//!
//! It answers "what happened last night" on the gateway itself, without a log and without Prometheus. It is kept in
//! memory and beside the queue, and both are bounded. A disk that fails costs the history of this run at the
//! next start, and nothing else.

mod file;

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use api::events::{Event, Level};
use fleet::printable::printable;
use tokio_util::sync::CancellationToken;

use file::EventFile;

/// The most events that are kept.
pub const MAX_EVENTS: usize = 2_000;

/// The longest sentence of an event, in characters.
const MAX_WORDS: usize = 300;

/// The time within which an event that repeats an earlier one of its modem is counted there. A session that
/// flaps all night leaves room for the evening before.
const REPEATS: Duration = Duration::from_secs(600);

/// The number of last events of a modem among which a repetition is looked for.
const NEAR: usize = 8;

/// The interval between two writes. Each is a sync, which wears a memory card.
const WRITES: Duration = Duration::from_secs(5);

/// The kind of the first and the last event of a run.
const AGENT: &str = "agent";

/// The sentence of the last event of a run that ended in order.
const ENDED: &str = "the agent ended";

/// The history. Clones share it.
#[derive(Clone, Default)]
pub struct Chronicle(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The newest is the last.
    events: VecDeque<Noted>,
    next: u64,
    /// The numbers of the events that are not on disk as they are.
    unwritten: BTreeSet<u64>,
    file: Option<EventFile>,
    /// True once the run is over: the sessions that sign out then are no news.
    is_over: bool,
}

/// An event, and its time of last change.
struct Noted {
    event: Event,
    /// The time of the event or of its last repetition; `None` for events of earlier runs.
    last: Option<SystemTime>,
}

impl Chronicle {
    /// Opens the history in this folder and notes the start of a run. Without a readable file it is empty.
    pub fn open(folder: &Path) -> Self {
        let (file, events) = EventFile::open(&folder.join("events.jsonl"));
        let ended = events.last().is_none_or(|last| last.kind == AGENT && last.words == ENDED);
        let next = events.last().map_or(1, |last| last.id.saturating_add(1));
        let events = events.into_iter().map(|event| Noted { event, last: None }).collect();
        let state = State { events, next, file: Some(file), ..State::default() };
        let chronicle = Self(Arc::new(Mutex::new(state)));
        let version = crate::version::NUMBER;
        let (level, words) = match ended {
            true => (Level::Info, format!("the agent {version} started")),
            false => (
                Level::Warn,
                format!("the agent {version} started after a run that did not end in order"),
            ),
        };
        chronicle.push(Event { kind: AGENT.to_owned(), level, words, ..Event::default() });
        chronicle
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock leaves it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event; its number and its time are given here. Returns the number.
    pub fn push(&self, event: Event) -> u64 {
        self.state().push(event, SystemTime::now())
    }

    /// Replaces the sentence of an event, which may make it the repetition of an earlier one.
    pub fn amend(&self, id: u64, words: &str) {
        self.state().amend(id, words, SystemTime::now());
    }

    /// Returns events before this number, the newest first, and whether there are more.
    pub fn page(&self, modem: Option<&str>, before: u64, limit: usize) -> (Vec<Event>, bool) {
        let state = self.state();
        let mut found = state.events.iter().rev().map(|noted| &noted.event).filter(|event| {
            event.id < before && modem.is_none_or(|modem| event.modem.as_deref() == Some(modem))
        });
        let page = found.by_ref().take(limit).cloned().collect();
        (page, found.next().is_some())
    }

    /// Returns the events after this number, the oldest first, at most so many of the newest.
    pub fn since(&self, id: u64, limit: usize) -> Vec<Event> {
        let state = self.state();
        let newer = state.events.iter().rev().take_while(|noted| noted.event.id > id).take(limit);
        let mut events: Vec<Event> = newer.map(|noted| noted.event.clone()).collect();
        events.reverse();
        events
    }

    /// Returns the number of the newest event.
    pub fn newest(&self) -> u64 {
        self.state().next.saturating_sub(1)
    }

    /// Writes the history from time to time until the stop.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the last seconds unwritten.
    pub async fn keep(&self, stop: &CancellationToken) {
        let mut tick = tokio::time::interval(WRITES);
        // Both arms are cancel safe, and none awaits in its body.
        while tokio::select! { _ = tick.tick() => true, () = stop.cancelled() => false } {
            self.save().await;
        }
    }

    /// Notes that the agent ends. Later events are dropped: sessions that sign out then are no news.
    pub fn ending(&self) {
        let words = ENDED.to_owned();
        self.push(Event { kind: AGENT.to_owned(), words, ..Event::default() });
        self.state().is_over = true;
    }

    /// Writes what is not on disk yet.
    ///
    /// # Cancel safety
    /// Once begun, a write is done.
    pub async fn save(&self) {
        let (file, batch, all) = {
            let mut state = self.state();
            if state.unwritten.is_empty() {
                return;
            }
            let Some(file) = state.file.take() else { return };
            let unwritten = std::mem::take(&mut state.unwritten);
            let events = || state.events.iter().map(|noted| &noted.event);
            let batch: Vec<Event> =
                events().filter(|event| unwritten.contains(&event.id)).cloned().collect();
            let all = file.is_full(batch.len()).then(|| events().cloned().collect::<Vec<_>>());
            (file, batch, all)
        };
        let numbers: Vec<u64> = batch.iter().map(|event| event.id).collect();
        let written = tokio::task::spawn_blocking(move || file.write(&batch, all.as_deref())).await;
        let mut state = self.state();
        // A thread that panicked took the file with it: the history goes on in memory.
        if let Ok((file, is_written)) = written {
            state.file = Some(file);
            if !is_written {
                state.unwritten.extend(numbers);
            }
        }
    }
}

impl State {
    fn push(&mut self, event: Event, now: SystemTime) -> u64 {
        if self.is_over {
            return 0;
        }
        let event = Event { words: short(&event.words), ..event };
        if let Some(id) = self.count_repetition(&event, now) {
            return id;
        }
        let id = self.next.max(1);
        self.next = id.saturating_add(1);
        let event = Event { id, at: time(now), repeated: 0, until: None, ..event };
        self.events.push_back(Noted { event, last: Some(now) });
        self.unwritten.insert(id);
        while self.events.len() > MAX_EVENTS
            && let Some(oldest) = self.events.pop_front()
        {
            self.unwritten.remove(&oldest.event.id);
        }
        id
    }

    fn amend(&mut self, id: u64, words: &str, now: SystemTime) {
        let Some(at) = self.events.iter().rposition(|noted| noted.event.id == id) else { return };
        let Some(mut noted) = self.events.remove(at) else { return };
        noted.event.words = short(words);
        if noted.event.repeated == 0 && self.count_repetition(&noted.event, now).is_some() {
            self.unwritten.remove(&id);
            return;
        }
        self.events.insert(at, noted);
        self.unwritten.insert(id);
    }

    /// Counts an event at the recent one that it repeats, and returns the number of that.
    fn count_repetition(&mut self, event: &Event, now: SystemTime) -> Option<u64> {
        let noted = self.repeated(event, now)?;
        noted.event.repeated = noted.event.repeated.saturating_add(1);
        noted.event.until = Some(time(now));
        noted.last = Some(now);
        let id = noted.event.id;
        self.unwritten.insert(id);
        Some(id)
    }

    /// Returns the recent event of the same modem that this one repeats. An action of a person is never one.
    fn repeated(&mut self, event: &Event, now: SystemTime) -> Option<&mut Noted> {
        event.modem.as_ref().filter(|_| event.by.is_none())?;
        let of_modem = |noted: &&mut Noted| noted.event.modem == event.modem;
        let near = self.events.iter_mut().rev().filter(of_modem).take(NEAR);
        let is_recent = |last: SystemTime| now.duration_since(last).is_ok_and(|age| age < REPEATS);
        near.into_iter().find(|noted| {
            let old = &noted.event;
            noted.last.is_some_and(is_recent)
                && (&old.kind, &old.session, &old.words, &old.by)
                    == (&event.kind, &event.session, &event.words, &event.by)
        })
    }
}

fn time(now: SystemTime) -> String {
    humantime::format_rfc3339_millis(now).to_string()
}

/// Returns a sentence for one line of bounded length. Modems and brokers say what they like.
fn short(words: &str) -> String {
    printable(words).chars().take(MAX_WORDS).collect()
}

#[cfg(test)]
mod tests;
