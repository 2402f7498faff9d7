//! The books: what each SIM has carried since its last reset, and what that means for its modem.

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

/// How often the books are brought up to date.
const TICK: Duration = Duration::from_secs(5);

/// Bytes that are written down with the next tick. A killed agent forgets as much at most, and what came
/// within a tick.
const WORTH_WRITING: u64 = 32 * 1024;

/// How long less than that may wait: each write is two syncs, which wear a memory card.
const PATIENCE: Duration = Duration::from_secs(60);

/// A clock that shows less was not set yet: a gateway without a battery for it has just booted.
const CLOCK_IS_SET: i64 = 1_735_689_600; // 2025

/// SIMs that are remembered; of more the one that was reset the longest time ago is forgotten.
const MAX_ACCOUNTS: usize = 256;

/// How far a SIM is on the way through its budget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Nothing to say.
    #[default]
    Normal,
    /// Beyond `warn`.
    Warned,
    /// Messages of a low priority wait.
    Shedding,
    /// All messages wait but urgent ones.
    Stopped,
}

impl Stage {
    /// All stages, for metrics that show each as 0 or 1.
    pub const ALL: [Self; 4] = [Self::Normal, Self::Warned, Self::Shedding, Self::Stopped];

    /// The stage in the words of the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Warned => "warned",
            Self::Shedding => "shedding",
            Self::Stopped => "stopped",
        }
    }
}

/// What may be published through a modem now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance {
    /// How far its SIM is.
    pub stage: Stage,
    /// Messages of at least this priority; beyond [`MAX_PRIORITY`] none.
    pub floor: u8,
}

impl Allowance {
    /// By a budget, once `used` bytes of it are.
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

/// How a modem's SIM stands, for those who look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The bytes of the budget.
    pub bytes: u64,
    /// Those that were carried since the last reset; `None` while it is not known which SIM it is.
    pub used: Option<u64>,
    /// What that means.
    pub stage: Stage,
    /// When the count begins anew.
    pub resets_at: Option<Timestamp>,
}

impl Standing {
    /// What is left, where it is known.
    pub fn left(&self) -> Option<u64> {
        self.used.map(|used| self.bytes.saturating_sub(used))
    }

    /// Why messages wait or soon will, in words; nothing to say of a budget that is far from used up.
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

/// What one SIM has carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Account {
    /// The reset that it began with, in seconds since the epoch.
    since: i64,
    bytes: u64,
}

impl Account {
    fn new(since: Timestamp) -> Self {
        Self { since: since.as_second(), bytes: 0 }
    }

    /// Brings it to the month that began at `start`; `true` where that changed it.
    fn roll(&mut self, start: Timestamp, now: Timestamp) -> bool {
        let before = *self;
        if start.as_second() > self.since {
            *self = Self::new(start);
        } else if self.since > now.as_second() && now.as_second() >= CLOCK_IS_SET {
            // The clock was wrong, and far ahead: the count stays, and begins anew when it should.
            self.since = start.as_second();
        }
        *self != before
    }
}

/// What a session costs beside its messages.
#[derive(Debug, Clone, Copy)]
struct Costs {
    /// A CONNECT, in bytes.
    connect: u64,
    /// The time from one ping to the next.
    keep_alive: Duration,
    /// Whether all of it is in records of TLS.
    secured: bool,
}

/// One modem in the books.
struct Entry {
    budget: Option<Budget>,
    calendar: Calendar,
    sessions: BTreeMap<String, Costs>,
    sim: Option<String>,
    /// Since when each connected session has not been counted for its pings.
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

    /// The name of the account that it counts on: the SIM's, or its own until that is known.
    fn account(&self, modem: &str) -> String {
        self.sim.clone().unwrap_or_else(|| own_account(modem))
    }

    /// Keep-alives of a session up to now, as if it had nothing else to say; in bytes.
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

/// The account of a modem whose SIM is not known. No ICCID has a blank.
fn own_account(modem: &str) -> String {
    format!("modem {modem}")
}

#[derive(Default)]
struct State {
    accounts: BTreeMap<String, Account>,
    modems: BTreeMap<String, Entry>,
    /// Bytes that were counted and not written down; all there are where a month began.
    unsaved: u64,
}

impl State {
    /// Adds to the account that a modem counts on; `true` where that makes another stage.
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

    /// Another SIM is in a modem. What was carried before it was known is its own.
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

    /// What an account means for the modems that count on it.
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

    /// New months, and the keep-alives of quiet sessions.
    fn tick(&mut self, now: Timestamp, instant: Instant) {
        let names: Vec<String> = self.modems.keys().cloned().collect();
        for modem in names {
            let Some(entry) = self.modems.get_mut(&modem) else { continue };
            let sessions: Vec<String> = entry.connected.keys().cloned().collect();
            let pings = sessions.iter().map(|session| entry.pings(session, instant)).sum();
            // A modem that never carried anything, and of whose SIM nothing is known, has no account.
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
    /// Some SIM came to another stage: that had better be on disk soon.
    stage_changed: Notify,
}

impl Books {
    /// The books in `dir`, which must be there, for these modems.
    ///
    /// # Errors
    /// The system's words. A file that is damaged is put aside, and the count begins with nothing.
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

    /// Takes in what a new fleet file says of the modems. What was counted stays.
    pub fn revise(&self, modems: &[fleet::Modem]) {
        self.change(|state, _| {
            state.revise(modems);
            true
        });
    }

    /// Counts for one modem.
    pub fn meter(self: &Arc<Self>, modem: &str) -> Meter {
        Meter { books: Arc::clone(self), modem: modem.to_owned() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the books; what makes another stage is written down soon.
    fn change(&self, change: impl FnOnce(&mut State, Timestamp) -> bool) {
        if change(&mut self.state(), Timestamp::now()) {
            self.stage_changed.notify_one();
        }
    }

    /// Keeps the books up to date and on disk until told to stop.
    ///
    /// # Cancel safety
    /// Dropping the future leaves at most the last seconds unwritten.
    pub async fn keep(&self, stop: &CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        // The first count after a start is written at once: a gateway may be awake for less than a minute.
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

    /// Writes the books down, where they changed. What the disk refuses is tried again next time.
    ///
    /// # Cancel safety
    /// The write goes on whether or not it is waited for.
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

/// Counts for one modem; a cheap handle, to be cloned.
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

    /// What may be published through it, now and from now on.
    pub fn allowance(&self) -> watch::Receiver<Allowance> {
        let state = self.books.state();
        match state.modems.get(&self.modem) {
            Some(entry) => entry.allowance.subscribe(),
            None => watch::channel(Allowance::default()).1,
        }
    }

    /// How its SIM stands; `None` where it has no budget.
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

    // Its QoS is not known; the costlier of the usual two is counted.
    fn received(&self, session: &str, message: &Received) {
        let (topic, payload, qos) = (message.topic.len(), message.payload.len(), Qos::AtLeastOnce);
        self.message(session, cost::message(topic, payload, qos), qos);
    }

    // Whether it went well or not: it may have gone all its way.
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
