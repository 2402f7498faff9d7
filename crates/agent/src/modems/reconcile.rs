//! Keeps the running modems in line with the fleet file: observed and desired state, a plan, its
//! steps.
//!
//! The plan is a value made by a pure function, so that every case is a line of a table test.
//! Planning twice without a change in between plans nothing.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use modem::Modem;
use modem::backoff::Backoff;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::metrics::Metrics;

/// The least and the longest wait after a panic of a modem's task.
const AFTER_PANIC: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// After so many panics within [`PANIC_MEMORY`] a modem is not restarted: a loop would hide a bug.
const MAX_PANICS: usize = 5;

/// The most orders in the channel: a reload with more orders waits.
const ORDERS: usize = 16;

/// The time for which a panic counts.
const PANIC_MEMORY: Duration = Duration::from_secs(3_600);

/// The state of one modem's task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// Its task runs.
    Running,
    /// It may start at this time.
    Idle {
        /// The earliest start.
        from: Instant,
    },
    /// It ended in order, or panicked too often: it is not started again.
    Over,
}

/// The present steps, and the time of the next look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Modems to start.
    pub start: Vec<String>,
    /// The earliest start of a modem that has to wait, if any.
    pub again: Option<Instant>,
}

impl Plan {
    /// Plans the starts at `now`. Nothing starts while the agent ends.
    pub fn new(observed: &BTreeMap<String, Observed>, ending: bool, now: Instant) -> Self {
        let mut plan = Self::default();
        for (name, modem) in observed {
            match modem {
                Observed::Idle { .. } if ending => {}
                Observed::Idle { from } if *from <= now => plan.start.push(name.clone()),
                Observed::Idle { from } => {
                    plan.again = Some(plan.again.map_or(*from, |again| again.min(*from)))
                }
                Observed::Running | Observed::Over => {}
            }
        }
        plan
    }
}

/// An order of a reload.
pub enum Order {
    /// Runs another modem until `stop`.
    Start {
        /// Its unique name.
        name: String,
        /// The modem.
        modem: Box<Modem>,
        /// Ends it.
        stop: CancellationToken,
    },
    /// Ends a modem for good and forgets it.
    Retire {
        /// Its name.
        name: String,
        /// True if its sessions have had their time to sign out: it then ends at once.
        is_late: bool,
        /// Notified when it has ended; dropped if there is no such modem.
        done: oneshot::Sender<()>,
    },
}

/// A modem and its past.
struct Entry {
    /// Absent while its task has it.
    modem: Option<Modem>,
    /// Ends it in order.
    stop: CancellationToken,
    /// Distinguishes an entry from a later entry of the same name.
    number: u64,
    task: Option<AbortHandle>,
    /// Callers that wait for its end.
    retire: Vec<oneshot::Sender<()>>,
    backoff: Backoff,
    panics: Vec<Instant>,
    observed: Observed,
}

/// The end of a task: the modem's name, its number, the modem, and true after a panic.
type Ended = (String, u64, Modem, bool);

/// The modems of a fleet, each in a task of its own.
pub struct Reconciler {
    entries: BTreeMap<String, Entry>,
    tasks: JoinSet<Ended>,
    orders: mpsc::Receiver<Order>,
    numbers: u64,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
}

impl Reconciler {
    /// Makes a reconciler without modems, and the channel for its orders.
    pub fn new(metrics: Arc<Metrics>, stop: CancellationToken) -> (Self, mpsc::Sender<Order>) {
        let (sender, orders) = mpsc::channel(ORDERS);
        let (entries, tasks) = (BTreeMap::new(), JoinSet::new());
        (Self { entries, tasks, orders, numbers: 0, metrics, stop }, sender)
    }

    /// Keeps the modems running until stopped, and until every modem has ended in order.
    ///
    /// # Cancel safety
    /// Dropping the future ends all modems at once, their sessions without DISCONNECT.
    pub async fn run(mut self) {
        loop {
            let plan = Plan::new(&self.observed(), self.stop.is_cancelled(), Instant::now());
            for name in &plan.start {
                self.start(name);
            }
            let stopping = self.stop.is_cancelled();
            if stopping && self.tasks.is_empty() {
                return;
            }
            // All arms are cancel safe, and none awaits in its body.
            tokio::select! {
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok(ended) => self.ended(ended),
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => tracing::error!("a modem's task was lost: {error}"),
                },
                Some(order) = self.orders.recv() => self.take(order),
                () = until(plan.again) => {}
                () = self.stop.cancelled(), if !stopping => {}
            }
        }
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Start { name, modem, stop } => {
                self.numbers = self.numbers.wrapping_add(1);
                let entry = Entry {
                    modem: Some(*modem),
                    stop,
                    number: self.numbers,
                    task: None,
                    retire: Vec::new(),
                    backoff: Backoff::new(AFTER_PANIC.0, AFTER_PANIC.1),
                    panics: Vec::new(),
                    observed: Observed::Idle { from: Instant::now() },
                };
                self.entries.insert(name, entry);
            }
            Order::Retire { name, is_late, done } => {
                let Some(entry) = self.entries.get_mut(&name) else { return };
                entry.stop.cancel();
                entry.retire.push(done);
                if is_late && let Some(task) = &entry.task {
                    task.abort();
                }
                if is_late || entry.modem.is_some() {
                    self.forget(&name);
                }
            }
        }
    }

    /// Forgets a retired modem, and notifies the callers that wait.
    fn forget(&mut self, name: &str) {
        let waiting = self.entries.remove(name).map(|entry| entry.retire).unwrap_or_default();
        for done in waiting {
            // The caller may be gone.
            let _ = done.send(());
        }
    }

    fn observed(&self) -> BTreeMap<String, Observed> {
        self.entries.iter().map(|(name, entry)| (name.clone(), entry.observed)).collect()
    }

    fn start(&mut self, name: &str) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let Some(mut modem) = entry.modem.take() else { return };
        entry.observed = Observed::Running;
        // With every filter: without it a warning does not name its modem, and no AT dialogue is found.
        let span = tracing::error_span!("modem", name);
        let (name, number) = (name.to_owned(), entry.number);
        let task = async move {
            // A state that the panic left behind does not stay: `ended` sets it back to
            // "recovering".
            let panicked = AssertUnwindSafe(modem.run()).catch_unwind().await.is_err();
            (name, number, modem, panicked)
        };
        entry.task = Some(self.tasks.spawn(task.instrument(span)));
    }

    /// Handles the end of a task. A panic ends a modem's stay on its port and nothing else: it is
    /// counted, and the modem restarts.
    fn ended(&mut self, (name, number, mut modem, panicked): Ended) {
        let name = name.as_str();
        let Some(entry) = self.entries.get_mut(name) else { return };
        if entry.number != number {
            return;
        }
        let now = Instant::now();
        entry.observed = Observed::Over;
        if panicked {
            self.metrics.modems.panicked(name);
            entry.panics.retain(|panic| now.duration_since(*panic) < PANIC_MEMORY);
            entry.panics.push(now);
            if entry.panics.len() < MAX_PANICS {
                let from = now + entry.backoff.next_wait();
                entry.observed = Observed::Idle { from };
                tracing::error!(modem = name, "the modem's task panicked; it restarts");
                modem.panicked("its task panicked; it restarts");
            } else {
                tracing::error!(
                    modem = name,
                    "the modem's task panicked {MAX_PANICS} times and is not restarted"
                );
                modem.give_up("its task panicked too often; restart the agent, and report this");
            }
        }
        entry.modem = Some(modem);
        if !entry.retire.is_empty() {
            self.forget(name);
        }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_starts_what_may_start_and_names_the_next_time() {
        let now = Instant::now();
        let later = now + Duration::from_secs(5);
        let observed = BTreeMap::from([
            ("due".to_owned(), Observed::Idle { from: now }),
            ("later".to_owned(), Observed::Idle { from: later }),
            ("over".to_owned(), Observed::Over),
            ("runs".to_owned(), Observed::Running),
        ]);
        let plan = Plan::new(&observed, false, now);
        assert_eq!(plan, Plan { start: vec!["due".to_owned()], again: Some(later) });
        assert_eq!(
            Plan::new(&observed, true, now),
            Plan::default(),
            "nothing starts while the agent ends"
        );
        // After the planned starts, planning again plans nothing.
        let mut done = observed;
        done.insert("due".to_owned(), Observed::Running);
        assert_eq!(Plan::new(&done, false, now).start, Vec::<String>::new());
        assert_eq!(Plan::new(&done, false, later).start, ["later"]);
    }
}
