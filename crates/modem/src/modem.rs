//! One modem: open its tty, identify it, attach, serve its sessions; when it goes, wait for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backoff::Attempts;
use crate::chain::Chain;
use crate::closed::{Device, LOOK, MUTE, OVERDUE, exists, may_still_boot};
use crate::console::{Access, Open};
use crate::core::Core;
pub use crate::core::ModemConfig;
use crate::end::End;
use crate::environment::Environment;
use crate::exam::Link;
use crate::holder::{Busy, Holder};
use crate::known::{identify, introduced, lend};
use crate::location::Introduction;
use crate::observe::{DisconnectReason, Observer};
use crate::place::Place;
use crate::port::{At, Port, PortEnd, PortEvent};
use crate::recovery::{Sign, Stage};
use crate::reset::{Requests, Resets, reset_on_request};
use crate::roster::Roster;
use crate::serial;
use crate::service::{listen, work};
use crate::session::Session;
use crate::shared::Shared;
use crate::snapshot::{Snapshot, State};
use crate::urc_listeners::UrcListeners;

/// A fifth of the time for which a tty's node may outlast the end of its data.
const NODE_GOES: Duration = Duration::from_millis(20);

/// The time between two tries of a modem that cannot be used as it is.
const UNUSABLE: Duration = Duration::from_secs(60);

/// One modem of the fleet.
pub struct Modem {
    core: Core,
    device: Device,
    roster: Arc<Roster>,
    /// True if the tty was there at the last look.
    present: bool,
    /// The index of the port to try: the next port after each that failed.
    turn: usize,
    /// True if no layout names the tty as an AT port.
    is_guess: bool,
    /// The number of unanswered questions when each tty of the present device was closed.
    asked: BTreeMap<PathBuf, Arc<AtomicU32>>,
    /// True if the device was there before.
    was_there: bool,
    /// The way to the port for a person's own commands, and its ends in this task.
    access: Access,
    opened: watch::Sender<Option<At>>,
    listeners: Arc<UrcListeners>,
    /// The way to ask for a reset, and its end in this task.
    resets: Resets,
    requests: Requests,
}

impl Modem {
    /// Creates a modem that is not opened yet, with the receiver of its snapshots.
    pub fn new(
        config: ModemConfig,
        sessions: Vec<Session>,
        env: Environment,
        observer: Arc<dyn Observer>,
    ) -> (Self, watch::Receiver<Snapshot>) {
        let (core, watched) = Core::new(config, env, observer);
        let (access, opened, listeners) = Access::new();
        let (resets, requests) = Resets::new();
        let modem = Self {
            core,
            device: Device::default(),
            roster: Arc::new(Roster::new(sessions)),
            present: false,
            turn: 0,
            is_guess: false,
            asked: BTreeMap::new(),
            was_there: false,
            access,
            opened,
            listeners,
            resets,
            requests,
        };
        (modem, watched)
    }

    /// Returns the way to its port for a person's own commands.
    pub fn access(&self) -> Access {
        self.access.clone()
    }

    /// Returns its sessions: others may join and leave while it runs.
    pub fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.roster)
    }

    /// Returns the way to ask for its reset.
    pub fn resets(&self) -> Resets {
        self.resets.clone()
    }

    /// Returns the way to the modem while it is identified, for questions beside its service.
    pub fn link(&self) -> watch::Receiver<Option<Link>> {
        self.core.link.subscribe()
    }

    /// Runs the modem's whole life: returns after the stop, with every session signed out.
    pub async fn run(&mut self) {
        let mut attempts = Attempts::default();
        let stop = self.core.env.stop.clone();
        let mut brief = false;
        while !stop.is_cancelled() {
            let end = match self.open(&stop).await {
                Ok(mut open) => {
                    let since = Instant::now();
                    let (mut given, tty) = (self.core.config.port.clone(), self.device.tty.clone());
                    // All arms end the stay on this port.
                    let end = tokio::select! {
                        end = self.on_port(open.tty) => end,
                        () = given.given_another(&tty) => End::Gone,
                        holder = open.stranger.seen() => self.shared_with(holder),
                    };
                    let gone = self.vanished(&end).await;
                    brief = since.elapsed() < LOOK && !gone;
                    end
                }
                Err(end) => end,
            };
            if self.core.snapshot.borrow().ready_seconds.is_some() {
                attempts.reset();
            }
            self.left(&end);
            let again =
                matches!(end, End::Mute | End::Failed(_) | End::Unopened(_) | End::Foreign(_));
            self.turn = if again { self.turn.wrapping_add(1) } else { 0 };
            let is_mute = self.device.sum_up(&self.core, &end);
            let wait = match end {
                End::Stopped => return,
                // A tty that opens and fails at once is not there any more, or not yet.
                End::Gone if brief => LOOK,
                End::Gone | End::Booted(_) => {
                    attempts.reset();
                    Duration::ZERO
                }
                // The tty may be free again later; nothing is done to the modem.
                End::Unopened(_) => attempts.next_wait(),
                End::Unusable(_) => UNUSABLE,
                // Another port of the device may answer: all are tried before any action on the
                // device.
                End::Mute | End::Foreign(_) if !is_mute => Duration::ZERO,
                End::Mute | End::Foreign(_) if may_still_boot(&self.core) => LOOK,
                end => match self.device.recover(&mut self.core, end, &mut attempts).await {
                    Ok(wait) => wait,
                    Err(_) => return,
                },
            };
            self.device.rest(&mut self.core, wait).await;
        }
    }

    /// Brings sessions and snapshot into a known state after a panic of [`run`](Self::run).
    pub fn panicked(&mut self, words: &str) {
        self.left(&End::Failed(words.to_owned()));
    }

    /// Marks the modem as one that no task runs any more.
    pub fn give_up(&mut self, words: &str) {
        self.left(&End::Unusable(words.to_owned()));
    }

    /// Reports whether the tty went away at the end of the stay: its node goes a moment after its
    /// data.
    async fn vanished(&mut self, end: &End) -> bool {
        if !matches!(end, End::Gone) {
            return false;
        }
        for _ in 0..5 {
            if !exists(&self.device.tty).await {
                self.present = false;
                self.core.observer.vanished();
                self.device.replugged(&self.core);
                return true;
            }
            tokio::time::sleep(NODE_GOES).await;
        }
        false
    }

    /// Returns the end of a stay during which another program was seen to have the port open too.
    fn shared_with(&self, holder: Holder) -> End {
        let busy = Busy { tty: self.device.tty.clone(), holder: Some(holder) };
        self.core.observer.opened(Some(&busy));
        End::Unopened(busy.to_string())
    }

    /// Waits for the tty and opens it, unless discovery left it open.
    async fn open(&mut self, stop: &CancellationToken) -> Result<serial::Open, End> {
        let (place, asked) = loop {
            self.device.ports = self.core.config.port.ports();
            if let Some(asked) = self.core.config.port.take_open() {
                break (asked.open.place.clone(), Some(asked));
            }
            if let Some(place) = self.core.config.port.place(self.turn)
                && exists(&place.tty).await
            {
                break (place, None);
            }
            if std::mem::replace(&mut self.present, false) {
                self.core.observer.vanished();
                self.device.replugged(&self.core);
            }
            let reason = Some(format!("{} is not there", self.core.config.port));
            self.core.update(|s| *s = Snapshot { reason, ..Snapshot::absent() });
            let due = self.core.ladder().trial().or(self.device.due);
            // All arms are cancel safe, and none awaits in its body.
            tokio::select! {
                () = overdue(due) => return Err(End::Overdue),
                () = self.core.config.port.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
                () = stop.cancelled() => return Err(End::Stopped),
            }
        };
        self.device.tty.clone_from(&place.tty);
        self.is_guess = place.is_guess;
        if !std::mem::replace(&mut self.present, true) {
            if std::mem::replace(&mut self.was_there, true) && !self.core.ladder().is_resetting() {
                self.core.flaps().returned(Instant::now());
            }
            // A device that came back without an event is found now, not when it first came.
            let since = place.since.filter(|since| *since > self.core.found);
            self.core.found = since.unwrap_or_else(Instant::now);
            self.core.observer.appeared();
            self.asked.clear();
            self.device.replugged(&self.core);
            self.core.count_detection.store(true, Ordering::Relaxed);
            self.core.count_ready.store(true, Ordering::Relaxed);
        }
        let opened = match asked {
            Some(Introduction { identity, open }) => {
                introduced(&self.core, identity);
                Ok(open)
            }
            None => serial::open(Place { line: self.core.config.line, ..place }).await,
        };
        self.core.observer.opened(opened.as_ref().err().and_then(serial::OpenError::busy));
        match opened {
            Ok(open) => {
                tracing::debug!(tty = %self.device.tty.display(), "tty opened");
                self.core.update(|s| s.tty = Some(self.device.tty.clone()));
                Ok(open)
            }
            Err(serial::OpenError::Absent { .. }) => Err(End::Gone),
            // A driver that hangs because of a modem answers as little as the modem.
            Err(serial::OpenError::Wedged { .. }) => Err(End::Mute),
            Err(error) => Err(End::Unopened(Chain(&error).to_string())),
        }
    }

    /// Serves on a byte stream that was just opened.
    async fn on_port<S: AsyncRead + AsyncWrite + Send>(&mut self, stream: S) -> End {
        let Self {
            core,
            device: Device { tty, .. },
            roster,
            is_guess,
            asked,
            opened,
            listeners,
            requests,
            ..
        } = self;
        core.stand(State::Identifying, None);
        let framing = core.env.catalog.borrow().framing();
        let (port, at, mut events) = Port::new(stream, framing, Arc::clone(&core.observer));
        let asked = Arc::clone(asked.entry(tty.clone()).or_default());
        let port =
            port.heard_by(Arc::clone(listeners)).owed(asked).noted_in(Arc::clone(&core.vitals));
        let port = if *is_guess { port.as_a_guess() } else { port };
        let _open = Open::new(opened, at.clone());
        let serve = async {
            loop {
                match serve(core, &at, &mut events, roster, requests).await {
                    End::Booted(words) => {
                        tracing::info!("{words}; restarting");
                        roster.went(DisconnectReason::Network, words);
                        core.vitals.booted();
                        core.forget_readings();
                        // A lost SIM comes without a boot line: ask for the identity all the same.
                        at.doubt().await;
                        core.stand(State::Identifying, None);
                    }
                    end => return end,
                }
            }
        };
        // All arms end the stay on this port; a step that `serve` leaves half done ends with the
        // port.
        let end = tokio::select! {
            end = port.run() => match end {
                PortEnd::Gone(error) => {
                    tracing::info!("the port is gone: {error}");
                    End::Gone
                }
                PortEnd::Mute => End::Mute,
                PortEnd::Foreign(it) => End::Foreign(format!("{} {}", tty.display(), it.as_str())),
                PortEnd::Released => End::Gone,
            },
            end = serve => end,
            () = core.follow_vitals() => End::Gone,
        };
        core.vitals.set_busy(false);
        end
    }

    /// Brings sessions and snapshot into the state after `end`.
    fn left(&mut self, end: &End) {
        let (reason, words) = match end {
            End::Stopped => (DisconnectReason::Agent, "the agent ends".to_owned()),
            End::Gone => (DisconnectReason::Unplug, "the modem is gone".to_owned()),
            End::Mute => (DisconnectReason::Network, MUTE.to_owned()),
            End::Booted(words) => (DisconnectReason::Network, (*words).to_owned()),
            End::Overdue => (DisconnectReason::Network, OVERDUE.to_owned()),
            End::Unusable(words)
            | End::Failed(words)
            | End::Unopened(words)
            | End::Foreign(words)
            | End::Beyond(_, words) => (DisconnectReason::Network, words.clone()),
        };
        self.roster.went(reason, &words);
        let state = match end {
            End::Stopped | End::Gone | End::Booted(_) => State::Absent,
            End::Unusable(_) => State::Failed,
            _ => State::Recovering,
        };
        let has_failed = matches!(self.core.ladder().stage(), Stage::Failed(_));
        let state = if has_failed && state == State::Recovering { State::Failed } else { state };
        if !matches!(end, End::Stopped | End::Gone) {
            tracing::warn!(state = state.as_str(), "{words}");
        }
        let present = !matches!(end, End::Gone | End::Stopped | End::Overdue);
        self.core.observer.sim(None);
        self.core.vitals.set_busy(false);
        self.core.update(|s| {
            *s = Snapshot { state, present, reason: Some(words), ..Snapshot::absent() }
        });
    }
}

/// Waits until the action at `due`; for ever without one.
async fn overdue(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Serves from an opened port, or a boot, to the end of service.
async fn serve(
    core: &Core,
    at: &At,
    events: &mut mpsc::Receiver<PortEvent>,
    roster: &Roster,
    requests: &mut Requests,
) -> End {
    let known = match identify(core, at, events).await {
        Ok(known) => known,
        Err(end) => return end,
    };
    core.shows(Sign::Identified);
    let shared = Shared::new(&core.env.stop);
    let _lent = lend(core, at, &known);
    // All arms end the service; none awaits in its body.
    tokio::select! {
        end = listen(core, events, known.profile.listener(), &shared) => end,
        end = reset_on_request(core, at, known.profile, &shared, requests) => end,
        end = work(core, at, &known, roster, &shared) => end,
    }
}
