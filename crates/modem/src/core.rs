//! The settings and the state of one modem, which all parts of its life share.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::apn::Apn;
use crate::end::End;
use crate::environment::Environment;
use crate::exam::Link;
use crate::flapping::Flapping;
use crate::location::Location;
use crate::observe::{Observer, RecoveryCause, RecoveryOutcome};
use crate::place::Line;
use crate::profile::Status;
use crate::radio::Radio;
use crate::recovery::{Cause, Ladder, Recovery, Sign, Stage};
use crate::snapshot::{Snapshot, State};
use crate::turns::Turn;
use crate::veto::Failing;
use crate::vitals::Vitals;

/// What a modem of the fleet is to be.
#[derive(Debug, Clone)]
pub struct ModemConfig {
    /// Its name in the fleet file.
    pub name: String,
    /// Where it is found.
    pub port: Location,
    /// The IMEI it must have, where the fleet file says one.
    pub imei: Option<String>,
    /// How its `AT+CGMM` must begin, where the fleet file says so.
    pub model: Option<String>,
    /// The ICCID its SIM must have, where the fleet file says one.
    pub iccid: Option<String>,
    /// Whether the SIM is asked for its ICCID before the first session opens, because somebody counts by
    /// it. One that does not tell is served all the same.
    pub sim_first: bool,
    /// Its access point; none leaves the modem's own.
    pub apn: Option<Apn>,
    /// The PIN of its SIM.
    pub pin: Option<SecretString>,
    /// Whether sessions may open while roaming.
    pub roaming: bool,
    /// Whether radio and access point are ours to change. Where another program has them they are looked at only.
    pub radio_is_ours: bool,
    /// Time between two status polls.
    pub poll: Duration,
    /// Whether text messages are kept off the port, once the modem has printed one.
    pub stores_messages: bool,
    /// How a tty of a fixed name is set.
    pub line: Line,
    /// What may be done to bring it back.
    pub recovery: Recovery,
}

/// What the parts of a modem's life share.
pub(crate) struct Core {
    pub(crate) config: ModemConfig,
    pub(crate) env: Environment,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) snapshot: watch::Sender<Snapshot>,
    pub(crate) found: Instant,
    pub(crate) ladder: Mutex<Ladder>,
    /// Signs that it is at something.
    pub(crate) vitals: Arc<Vitals>,
    /// Its sessions that fail again and again.
    pub(crate) failing: Failing,
    /// The right to reset, while a reset is on its way.
    pub(crate) turn: Mutex<Option<Turn>>,
    pub(crate) radio: Radio,
    /// How often the device came back, but for our own resets.
    flapping: Mutex<Flapping>,
    /// The way to the modem while it is identified, for those who ask it in passing.
    pub(crate) link: watch::Sender<Option<Link>>,
    /// Detection and readiness are counted once for each time the tty appears.
    pub(crate) count_detection: AtomicBool,
    pub(crate) count_ready: AtomicBool,
}

impl Core {
    /// A modem of which nothing is known, and where it can be watched.
    pub(crate) fn new(
        config: ModemConfig,
        env: Environment,
        observer: Arc<dyn Observer>,
    ) -> (Self, watch::Receiver<Snapshot>) {
        let (snapshot, watched) = watch::channel(Snapshot::absent());
        let ladder = Mutex::new(Ladder::new(&config.recovery));
        let core = Self {
            config,
            env,
            observer,
            snapshot,
            found: Instant::now(),
            ladder,
            vitals: Arc::default(),
            failing: Failing::default(),
            turn: Mutex::new(None),
            radio: Radio::default(),
            flapping: Mutex::default(),
            link: watch::Sender::new(None),
            count_detection: AtomicBool::new(false),
            count_ready: AtomicBool::new(false),
        };
        (core, watched)
    }

    pub(crate) fn ladder(&self) -> MutexGuard<'_, Ladder> {
        self.ladder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often its device came back.
    pub(crate) fn flaps(&self) -> MutexGuard<'_, Flapping> {
        self.flapping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Snapshot)) {
        let (causes, busy) = (self.causes(), self.vitals.is_busy());
        self.snapshot.send_if_modified(|snapshot| {
            let before = snapshot.clone();
            change(snapshot);
            (snapshot.causes, snapshot.busy) = (causes, busy);
            snapshot.returns = self.flaps().count(Instant::now());
            *snapshot != before
        });
    }

    /// What is wrong with the modem now.
    pub(crate) fn causes(&self) -> BTreeSet<RecoveryCause> {
        let trouble = self.ladder().trouble().map(|(cause, _)| cause.word());
        let update = self.vitals.update().map(|_| RecoveryCause::Update);
        let boots = self.vitals.is_in_boot_loop().then_some(RecoveryCause::BootLoop);
        let flaps = self.flaps().is_flapping(Instant::now()).then_some(RecoveryCause::Flapping);
        [trouble, update, boots, flaps].into_iter().flatten().collect()
    }

    /// Shows a modem that is being brought back, or that nothing brought back, as such: a step on its way to
    /// service is news only once it is over.
    pub(crate) fn stand(&self, state: State, reason: Option<String>) {
        let on_its_way = matches!(state, State::Identifying | State::Searching | State::Serving);
        let stage = self.ladder().stage();
        let (state, reason) = match stage {
            Stage::Trying(action) if on_its_way => {
                let words = format!("being brought back by {}", action.as_str());
                (State::Recovering, Some(with(words, reason)))
            }
            // It starts, and is refused, or goes again.
            Stage::Calm if on_its_way && self.is_service_in_trouble() => {
                (State::Recovering, reason)
            }
            // A service that starts may still have no network: only a sign of life ends a failure.
            Stage::Failed(until) => (State::Failed, Some(with(waits_for(until), reason))),
            _ => (state, reason),
        };
        let reason = match self.vitals.update() {
            Some((_, line)) => Some(with(updates_firmware(&line), reason)),
            None => reason,
        };
        self.update(|s| (s.state, s.reason, s.present) = (state, reason, true));
    }

    fn is_service_in_trouble(&self) -> bool {
        let trouble = self.ladder().trouble();
        trouble.is_some_and(|(cause, _)| matches!(cause, Cause::Service | Cause::Wedged))
    }

    /// Takes in a sign of life.
    pub(crate) fn shows(&self, sign: Sign) {
        let before = self.ladder().stage();
        let cured = self.ladder().shows(sign, Instant::now());
        if let Some(action) = cured {
            tracing::info!(action = action.as_str(), "the modem is back");
            self.observer.recovery(action, RecoveryOutcome::Cured);
            self.end_turn();
        }
        let is_over = self.ladder().stage() == Stage::Calm;
        if sign == Sign::Service && is_over && before != Stage::Calm {
            self.stand(State::Serving, None);
        }
    }

    pub(crate) fn end_turn(&self) {
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Somebody plugged the modem out or in.
    pub(crate) fn replugged(&self) {
        if !self.ladder().is_resetting() {
            self.ladder().replugged();
        }
        self.vitals.replugged();
    }

    /// A session is connected: the first one since the device appeared makes the modem ready.
    pub(crate) fn ready(&self) {
        if self.snapshot.borrow().ready_seconds.is_none() {
            let took = self.found.elapsed();
            if self.count_ready.swap(false, Ordering::Relaxed) {
                self.observer.ready(took);
            }
            self.update(|s| s.ready_seconds = Some(took.as_secs_f64()));
        }
    }

    pub(crate) fn learned(&self, status: Status) {
        let Status { signals, carriers, temperature_celsius, implausible } = status;
        if implausible > 0 {
            self.observer.implausible(implausible);
        }
        self.update(|s| {
            (s.signals, s.carriers, s.temperature_celsius) =
                (signals, carriers, temperature_celsius);
        });
    }

    pub(crate) fn must_be(
        &self,
        what: &str,
        wanted: Option<&str>,
        fits: impl Fn(&str) -> bool,
        is: &str,
    ) -> Result<(), End> {
        match wanted {
            Some(wanted) if !fits(wanted) => Err(End::Unusable(format!(
                "the fleet file names {what} {wanted} at {}, but the modem there has {is}",
                self.config.port
            ))),
            _ => Ok(()),
        }
    }

    /// What was read before a boot does not hold any more.
    pub(crate) fn forget_readings(&self) {
        self.update(|s| {
            (s.registration, s.operator, s.temperature_celsius) = (None, None, None);
            s.signals.clear();
            s.carriers.clear();
        });
    }

    /// Shows what the modem is seen to be at, for ever.
    pub(crate) async fn follow_vitals(&self) {
        let show = || {
            let update = self.vitals.update().map(|(_, line)| updates_firmware(&line));
            self.update(|s| {
                if update.is_some() || s.state == State::Serving {
                    s.reason = update;
                }
            });
        };
        self.vitals.follow(show).await;
    }

    /// Waits, unless told to stop.
    pub(crate) async fn pause(&self, wait: Duration) -> Result<(), End> {
        match tokio::time::timeout(wait, self.env.stop.cancelled()).await {
            Ok(()) => Err(End::Stopped),
            Err(_) => Ok(()),
        }
    }
}

/// A modem that writes its firmware, in words.
fn updates_firmware(line: &str) -> String {
    format!("the modem updates its firmware ({line}); it is not reset meanwhile")
}

/// What a modem waits for that everything was tried for.
fn waits_for(until: Instant) -> String {
    let minutes = until.saturating_duration_since(Instant::now()).as_secs().div_ceil(60);
    format!(
        "all recovery actions that are allowed now are used; the next follow in {minutes} min. Until then the modem is tried at \
         least every two minutes, and at once if it is plugged in again"
    )
}

fn with(words: String, reason: Option<String>) -> String {
    match reason {
        Some(reason) => format!("{words}; {reason}"),
        None => words,
    }
}
