//! The books: the bytes of each SIM since its last reset, and the allowance that follows for its
//! modem.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use modem::Observer;
use modem::mqtt::{Message, Qos, Received};
use modem::observe::DisconnectReason;
use queue::MAX_PRIORITY;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cost;
use super::period::Calendar;
use crate::json_file;
use fleet::Budget;

/// The interval of updates of the books.
const TICK: Duration = Duration::from_secs(5);

/// Unsaved bytes that the next tick writes to the disk. A killed agent forgets at most these, and
/// those of one tick.
const WORTH_WRITING: u64 = 32 * 1024;

/// The longest wait of fewer bytes: each write is two syncs, which wear a memory card.
const PATIENCE: Duration = Duration::from_secs(60);

/// The oldest time of a set clock. An earlier time is that of a gateway without a clock battery
/// after its boot.
const CLOCK_IS_SET: i64 = 1_735_689_600; // 2025

/// The most SIMs remembered; beyond it the SIM with the oldest reset is forgotten.
const MAX_ACCOUNTS: usize = 256;

/// The progress of a SIM through its budget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Below `warn`.
    #[default]
    Normal,
    /// Beyond `warn`.
    Warned,
    /// Messages of low priority wait.
    Shedding,
    /// All messages wait except urgent ones.
    Stopped,
}

impl Stage {
    /// All stages, for metrics that show each as 0 or 1.
    pub const ALL: [Self; 4] = [Self::Normal, Self::Warned, Self::Shedding, Self::Stopped];

    /// Returns the stage as the metrics spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Warned => "warned",
            Self::Shedding => "shedding",
            Self::Stopped => "stopped",
        }
    }
}

/// The messages that may be published through a modem now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance {
    /// The stage of its SIM.
    pub stage: Stage,
    /// The least priority that may be published; beyond [`MAX_PRIORITY`] no message may.
    pub floor: u8,
}

impl Allowance {
    /// Returns the allowance after `used` bytes of a budget.
    fn of(budget: &Budget, used: u64) -> Self {
        let beyond =
            |percent: u8| u128::from(used) * 100 >= u128::from(budget.bytes) * u128::from(percent);
        if budget.stop.is_some_and(beyond) {
            return Self {
                stage: Stage::Stopped,
                floor: budget.urgent.unwrap_or(MAX_PRIORITY + 1),
            };
        }
        match budget.shed {
            Some(shed) if beyond(shed.at) => {
                Self { stage: Stage::Shedding, floor: shed.below_priority }
            }
            _ if beyond(budget.warn) => Self { stage: Stage::Warned, floor: 0 },
            _ => Self::default(),
        }
    }
}

/// A snapshot of the budget of a modem's SIM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The bytes of the budget.
    pub bytes: u64,
    /// The bytes carried since the last reset; `None` if the SIM is not known yet.
    pub used: Option<u64>,
    /// The stage that follows from them.
    pub stage: Stage,
    /// The time of the next reset.
    pub resets_at: Option<Timestamp>,
}

impl Standing {
    /// Returns the bytes left, if the bytes used are known.
    pub fn left(&self) -> Option<u64> {
        self.used.map(|used| self.bytes.saturating_sub(used))
    }

    /// Explains why messages wait or soon will; `None` if the budget is far from used up.
    pub fn words(&self) -> Option<String> {
        let size = bytesize::ByteSize::b;
        let (bytes, used) = (size(self.bytes).display().si(), size(self.used?).display().si());
        let what = match self.stage {
            Stage::Normal => return None,
            Stage::Warned => "nearly used up",
            Stage::Shedding => "nearly used up, messages of low priority wait",
            Stage::Stopped => "used up, messages wait",
        };
        let until = self.resets_at.map(|at| format!(", reset at {at}")).unwrap_or_default();
        Some(format!("the SIM's budget is {what}: {used} of {bytes}{until}"))
    }
}

/// The traffic of one SIM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Account {
    /// The reset with which the count started, in seconds since the epoch.
    since: i64,
    bytes: u64,
}

impl Account {
    fn new(since: Timestamp) -> Self {
        Self { since: since.as_second(), bytes: 0 }
    }

    /// Moves the account to the month that began at `start`; `true` if that changed it.
    fn roll(&mut self, start: Timestamp, now: Timestamp) -> bool {
        let before = *self;
        if start.as_second() > self.since {
            *self = Self::new(start);
        } else if self.since > now.as_second() && now.as_second() >= CLOCK_IS_SET {
            // The clock was wrong and far ahead: the count stays, and restarts when it should.
            self.since = start.as_second();
        }
        *self != before
    }
}

/// The traffic of a session apart from its messages.
#[derive(Debug, Clone, Copy)]
struct Costs {
    /// Bytes of a CONNECT.
    connect: u64,
    /// The interval between pings.
    keep_alive: Duration,
    /// True if all of it travels in TLS records.
    secured: bool,
}

/// One modem in the books.
struct Entry {
    budget: Option<Budget>,
    calendar: Calendar,
    sessions: BTreeMap<String, Costs>,
    sim: Option<String>,
    /// The time up to which the pings of each connected session are counted.
    connected: BTreeMap<String, Instant>,
    allowance: watch::Sender<Allowance>,
}

impl Entry {
    fn new(modem: &fleet::Modem) -> Self {
        let sessions = modem.sessions.iter().map(|session| {
            let costs = Costs {
                connect: cost::connect(session),
                keep_alive: session.keep_alive,
                secured: session.tls.is_some(),
            };
            (session.id.session.to_string(), costs)
        });
        Self {
            budget: modem.budget.clone(),
            calendar: modem.budget.as_ref().map(Calendar::of).unwrap_or_default(),
            sessions: sessions.collect(),
            sim: None,
            connected: BTreeMap::new(),
            allowance: watch::Sender::new(Allowance::default()),
        }
    }

    /// Returns the name of its account: the SIM's, or the modem's own until the SIM is known.
    fn account(&self, modem: &str) -> String {
        self.sim.clone().unwrap_or_else(|| own_account(modem))
    }

    /// Counts the pings of a session up to now, as if it sent nothing else. Returns their bytes.
    fn pings(&mut self, session: &str, now: Instant) -> u64 {
        let Some(Costs { keep_alive: every, secured, .. }) = self.sessions.get(session).copied()
        else {
            return 0;
        };
        let Some(since) = self.connected.get_mut(session).filter(|_| !every.is_zero()) else {
            return 0;
        };
        let mut bytes = 0;
        while *since + every <= now {
            *since += every;
            bytes += cost::ping(secured);
        }
        bytes
    }
}

/// Returns the account of a modem whose SIM is not known. An ICCID has no blank.
fn own_account(modem: &str) -> String {
    format!("modem {modem}")
}

#[derive(Default)]
struct State {
    accounts: BTreeMap<String, Account>,
    modems: BTreeMap<String, Entry>,
    /// Bytes counted but not written; `u64::MAX` if a month began.
    unsaved: u64,
}

impl State {
    /// Adds bytes to the account of a modem; `true` if that changes a stage.
    fn count(&mut self, modem: &str, bytes: u64, now: Timestamp) -> bool {
        let Some(entry) = self.modems.get(modem) else { return false };
        let start = entry.calendar.start(now);
        let name = entry.account(modem);
        let account = self.accounts.entry(name.clone()).or_insert_with(|| Account::new(start));
        let rolled = account.roll(start, now);
        account.bytes = account.bytes.saturating_add(bytes);
        self.unsaved = self.unsaved.saturating_add(if rolled { u64::MAX } else { bytes });
        self.assess(&name)
    }

    /// Notes the SIM of a modem, or its absence. Bytes carried before the ICCID was known count for
    /// the SIM.
    fn sim(&mut self, modem: &str, iccid: Option<&str>, now: Timestamp) -> bool {
        let Some(entry) = self.modems.get_mut(modem) else { return false };
        entry.sim = iccid.map(str::to_owned);
        let Some(iccid) = iccid else { return self.assess(&own_account(modem)) };
        let (own, start) = (own_account(modem), entry.calendar.start(now));
        let carried = self.accounts.remove(&own).map_or(0, |mut own| {
            own.roll(start, now);
            own.bytes
        });
        let changed = self.count(modem, carried, now);
        tracing::debug!(modem, sim = iccid, carried, "traffic is counted for this SIM");
        changed
    }

    /// Sets the allowance of the modems that count on an account; `true` if a stage changes.
    fn assess(&mut self, name: &str) -> bool {
        let used = self.accounts.get(name).map_or(0, |account| account.bytes);
        let mut changed = false;
        for (modem, entry) in &self.modems {
            let Some(budget) = entry.budget.as_ref().filter(|_| entry.account(modem) == name)
            else {
                continue;
            };
            let allowance = Allowance::of(budget, used);
            let before = entry.allowance.send_replace(allowance);
            if before.stage != allowance.stage {
                changed = true;
                let (stage, bytes) = (allowance.stage.as_str(), budget.bytes);
                if allowance.stage > before.stage {
                    tracing::warn!(
                        modem,
                        stage,
                        used,
                        bytes,
                        "the budget of the modem's SIM entered another stage"
                    );
                } else if entry.sim.is_some() {
                    tracing::info!(
                        modem,
                        stage,
                        used,
                        bytes,
                        "the budget of the modem's SIM entered another stage"
                    );
                }
            }
        }
        changed
    }

    fn revise(&mut self, modems: &[fleet::Modem]) {
        self.modems.retain(|name, _| modems.iter().any(|modem| modem.name.as_str() == name));
        for modem in modems {
            let new = Entry::new(modem);
            let name = modem.name.to_string();
            let Some(entry) = self.modems.get_mut(&name) else {
                self.modems.insert(name, new);
                continue;
            };
            let Entry { budget, calendar, sessions, .. } = new;
            (entry.budget, entry.calendar, entry.sessions) = (budget, calendar, sessions);
            if entry.budget.is_none() {
                entry.allowance.send_replace(Allowance::default());
            }
            let account = entry.account(&name);
            self.assess(&account);
        }
    }

    /// Starts new months, and counts the pings of quiet sessions.
    fn tick(&mut self, now: Timestamp, instant: Instant) {
        let names: Vec<String> = self.modems.keys().cloned().collect();
        for modem in names {
            let Some(entry) = self.modems.get_mut(&modem) else { continue };
            let sessions: Vec<String> = entry.connected.keys().cloned().collect();
            let pings = sessions.iter().map(|session| entry.pings(session, instant)).sum();
            // A modem that carried nothing and whose SIM is unknown has no account.
            if entry.sim.is_some() || pings > 0 || self.accounts.contains_key(&own_account(&modem))
            {
                self.count(&modem, pings, now);
            }
        }
    }

    fn standing(&self, modem: &str, now: Timestamp) -> Option<Standing> {
        let entry = self.modems.get(modem)?;
        let budget = entry.budget.as_ref()?;
        Some(Standing {
            bytes: budget.bytes,
            used: self.accounts.get(&entry.account(modem)).map(|account| account.bytes),
            stage: entry.allowance.borrow().stage,
            resets_at: entry.calendar.next(now),
        })
    }

    fn forget_oldest(&mut self) {
        while self.accounts.len() > MAX_ACCOUNTS {
            let oldest = self.accounts.iter().min_by_key(|(_, account)| account.since);
            let Some(name) = oldest.map(|(name, _)| name.clone()) else { return };
            self.accounts.remove(&name);
        }
    }
}

/// The books of all SIMs of a gateway.
pub struct Books {
    path: PathBuf,
    state: Mutex<State>,
    /// Wakes the writer when a SIM changes its stage, which should be on disk soon.
    stage_changed: Notify,
}

impl Books {
    /// Opens the books in `dir`, which must exist, for these modems.
    ///
    /// # Errors
    /// The system's error. A damaged file is moved aside, and all counts restart.
    pub fn open(dir: &Path, modems: &[fleet::Modem]) -> io::Result<Arc<Self>> {
        let path = dir.join("budget.json");
        let accounts = match json_file::read(&path) {
            Ok(accounts) => accounts,
            Err(error) if error.kind() == io::ErrorKind::Other => {
                let aside = path.with_extension("damaged");
                std::fs::rename(&path, &aside)?;
                tracing::error!(kept = %aside.display(), "the budget's file is damaged, all accounts start at 0: {error}");
                BTreeMap::new()
            }
            Err(error) => return Err(error),
        };
        let modems = modems.iter().map(|modem| (modem.name.to_string(), Entry::new(modem)));
        let state = State { accounts, modems: modems.collect(), unsaved: 0 };
        Ok(Arc::new(Self { path, state: Mutex::new(state), stage_changed: Notify::new() }))
    }

    /// Applies a new fleet file. The counts stay.
    pub fn revise(&self, modems: &[fleet::Modem]) {
        self.change(|state, _| {
            state.revise(modems);
            true
        });
    }

    /// Returns the meter of one modem.
    pub fn meter(self: &Arc<Self>, modem: &str) -> Meter {
        Meter { books: Arc::clone(self), modem: modem.to_owned() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the books; a change of a stage is written soon.
    fn change(&self, change: impl FnOnce(&mut State, Timestamp) -> bool) {
        if change(&mut self.state(), Timestamp::now()) {
            self.stage_changed.notify_one();
        }
    }

    /// Keeps the books up to date and on disk until stopped.
    ///
    /// # Cancel safety
    /// Dropping the future leaves at most the last seconds unwritten.
    pub async fn keep(&self, stop: &CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        // The first count after a start is written at once: a gateway may be awake for less than a
        // minute.
        let mut written = None;
        loop {
            // All arms are cancel safe, and none awaits in its body.
            let is_urgent = tokio::select! {
                _ = tick.tick() => false,
                () = self.stage_changed.notified() => true,
                () = stop.cancelled() => return,
            };
            let unsaved = {
                let mut state = self.state();
                state.tick(Timestamp::now(), Instant::now());
                state.unsaved
            };
            let is_old = written.is_none_or(|at: Instant| at.elapsed() >= PATIENCE);
            if unsaved > 0 && (is_urgent || is_old || unsaved >= WORTH_WRITING) {
                self.save().await;
                written = Some(Instant::now());
            }
        }
    }

    /// Writes the books, if they changed. After an error the next call tries again.
    ///
    /// # Cancel safety
    /// The write goes on if the future is dropped.
    pub async fn save(&self) {
        let accounts = {
            let mut state = self.state();
            if std::mem::take(&mut state.unsaved) == 0 {
                return;
            }
            state.forget_oldest();
            state.accounts.clone()
        };
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || json_file::write(&path, &accounts)).await;
        if let Err(error) = written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            tracing::error!(file = %self.path.display(), "could not write the budget's account: {error}");
            self.state().unsaved = u64::MAX;
        }
    }
}

/// Counts for one modem; cheap to clone.
#[derive(Clone)]
pub struct Meter {
    books: Arc<Books>,
    modem: String,
}

impl Meter {
    fn message(&self, session: &str, bytes: u64, qos: Qos) {
        self.books.change(|state, now| {
            let entry = state.modems.get(&self.modem);
            let secured = entry.and_then(|entry| entry.sessions.get(session));
            let tls =
                if secured.is_some_and(|costs| costs.secured) { cost::records(qos) } else { 0 };
            state.count(&self.modem, bytes.saturating_add(tls), now)
        });
    }

    /// Watches the messages that may be published through the modem.
    pub fn allowance(&self) -> watch::Receiver<Allowance> {
        let state = self.books.state();
        match state.modems.get(&self.modem) {
            Some(entry) => entry.allowance.subscribe(),
            None => watch::channel(Allowance::default()).1,
        }
    }

    /// Returns the state of the SIM's budget; `None` if the modem has none.
    pub fn standing(&self) -> Option<Standing> {
        self.books.state().standing(&self.modem, Timestamp::now())
    }
}

impl Observer for Meter {
    fn sim(&self, iccid: Option<&str>) {
        self.books.change(|state, now| state.sim(&self.modem, iccid, now));
    }

    fn sending(&self, session: &str, message: &Message) {
        self.message(session, cost::published(message), message.qos);
    }

    // The QoS of a received message is not known: the costlier of the usual two is counted.
    fn received(&self, session: &str, message: &Received) {
        let (topic, payload, qos) = (message.topic.len(), message.payload.len(), Qos::AtLeastOnce);
        self.message(session, cost::message(topic, payload, qos), qos);
    }

    // A failed connect counts too: its packets may all have been sent.
    fn connect(&self, session: &str, ok: bool) {
        self.books.change(|state, now| {
            let Some(entry) = state.modems.get_mut(&self.modem) else { return false };
            let bytes = entry.sessions.get(session).map_or(0, |costs| costs.connect);
            if ok {
                entry.connected.insert(session.to_owned(), Instant::now());
            }
            state.count(&self.modem, bytes, now)
        });
    }

    fn disconnect(&self, session: &str, _: DisconnectReason) {
        self.books.change(|state, now| {
            let Some(entry) = state.modems.get_mut(&self.modem) else { return false };
            let bytes = entry.pings(session, Instant::now());
            entry.connected.remove(session);
            state.count(&self.modem, bytes, now)
        });
    }
}

#[cfg(test)]
mod tests;
