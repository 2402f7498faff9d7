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

/// The settings of one modem of the fleet.
#[derive(Debug, Clone)]
pub struct ModemConfig {
    /// Its name in the fleet file.
    pub name: String,
    /// The place at which it is found.
    pub port: Location,
    /// The IMEI that it must have, if the fleet file names one.
    pub imei: Option<String>,
    /// The beginning that its `AT+CGMM` must have, if the fleet file names one.
    pub model: Option<String>,
    /// The ICCID that its SIM must have, if the fleet file names one.
    pub iccid: Option<String>,
    /// True to read the ICCID before the first session opens, because usage is counted by it. A SIM
    /// that does not report its ICCID is served all the same.
    pub sim_first: bool,
    /// Its access point; `None` leaves the modem's own.
    pub apn: Option<Apn>,
    /// The PIN of its SIM.
    pub pin: Option<SecretString>,
    /// True if sessions may open while roaming.
    pub roaming: bool,
    /// True if radio and access point are ours to change. If another program has them, they are
    /// only read.
    pub radio_is_ours: bool,
    /// Time between two status polls.
    pub poll: Duration,
    /// True if text messages are kept off the port, once the modem has printed one.
    pub stores_messages: bool,
    /// The settings of a tty with a fixed name.
    pub line: Line,
    /// The actions that may be taken to bring it back.
    pub recovery: Recovery,
}

/// The values that the parts of a modem's life share.
pub(crate) struct Core {
    pub(crate) config: ModemConfig,
    pub(crate) env: Environment,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) snapshot: watch::Sender<Snapshot>,
    pub(crate) found: Instant,
    pub(crate) ladder: Mutex<Ladder>,
    /// Signs that the modem is busy with work of its own.
    pub(crate) vitals: Arc<Vitals>,
    /// Its sessions that keep failing.
    pub(crate) failing: Failing,
    /// The right to reset, while a reset is on its way.
    pub(crate) turn: Mutex<Option<Turn>>,
    pub(crate) radio: Radio,
    /// The returns of the device, except those after our own resets.
    flapping: Mutex<Flapping>,
    /// The way to the modem while it is identified, for questions beside its service.
    pub(crate) link: watch::Sender<Option<Link>>,
    /// Detection and readiness are counted once each time the tty appears.
    pub(crate) count_detection: AtomicBool,
    pub(crate) count_ready: AtomicBool,
}

impl Core {
    /// Creates the core of a modem that was not seen yet, with the receiver of its snapshots.
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

    /// Locks the record of the device's returns.
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

    /// Returns the current troubles of the modem.
    pub(crate) fn causes(&self) -> BTreeSet<RecoveryCause> {
        let trouble = self.ladder().trouble().map(|(cause, _)| cause.word());
        let update = self.vitals.update().map(|_| RecoveryCause::Update);
        let boots = self.vitals.is_in_boot_loop().then_some(RecoveryCause::BootLoop);
        let flaps = self.flaps().is_flapping(Instant::now()).then_some(RecoveryCause::Flapping);
        [trouble, update, boots, flaps].into_iter().flatten().collect()
    }

    /// Shows a state. A modem that is being brought back, or that failed, is shown as such: a step
    /// on its way to service does not hide that.
    pub(crate) fn stand(&self, state: State, reason: Option<String>) {
        let on_its_way = matches!(state, State::Identifying | State::Searching | State::Serving);
        let stage = self.ladder().stage();
        let (state, reason) = match stage {
            Stage::Trying(action) if on_its_way => {
                let words = format!("being brought back by {}", action.as_str());
                (State::Recovering, Some(with(words, reason)))
            }
            // The service starts, and is refused or ends again.
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

    /// Handles a sign of life.
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

    /// Notes that a person plugged the modem out or in.
    pub(crate) fn replugged(&self) {
        if !self.ladder().is_resetting() {
            self.ladder().replugged();
        }
        self.vitals.replugged();
    }

    /// Notes that a session is connected. The first since the device appeared makes the modem
    /// ready.
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

    /// Clears the readings of before a boot.
    pub(crate) fn forget_readings(&self) {
        self.update(|s| {
            (s.registration, s.operator, s.temperature_celsius) = (None, None, None);
            s.signals.clear();
            s.carriers.clear();
        });
    }

    /// Shows the modem's own work, such as a firmware update, for ever.
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

    /// Waits, or returns [`End::Stopped`] at the stop.
    pub(crate) async fn pause(&self, wait: Duration) -> Result<(), End> {
        match tokio::time::timeout(wait, self.env.stop.cancelled()).await {
            Ok(()) => Err(End::Stopped),
            Err(_) => Ok(()),
        }
    }
}

/// Returns a sentence about a modem that writes its firmware.
fn updates_firmware(line: &str) -> String {
    format!("the modem updates its firmware ({line}); it is not reset meanwhile")
}

/// Returns a sentence about the wait of a modem for which everything was tried.
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
