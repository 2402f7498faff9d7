//! From an identified modem to running sessions: SIM, network, MQTT service, sessions, status poll.

use std::sync::atomic::Ordering;
use std::time::Duration;

use at::Answer;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use crate::attach;
use crate::backoff::Backoff;
use crate::climb::Climbed;
use crate::identify::Known;
use crate::modem::{Core, End, REOPEN};
use crate::mqtt::Client;
use crate::observe::DisconnectReason;
use crate::port::{At, Kind, PortEvent};
use crate::profile::{self, Listener, Notice, Status, StepError};
use crate::recovery::{Cause, Sign};
use crate::reply::{self, Registration};
use crate::roster::Roster;
use crate::serving::Holders;
use crate::session::{Chain, Lost, ServeEnd};
use crate::sim::{self, SimState};
use crate::snapshot::State;
use crate::veto::Acknowledged;

/// How often the registration is asked for while there is none.
const SEARCH: Duration = Duration::from_secs(1);

/// The status poll begins once a session is connected, or after this long without one.
const POLL_AFTER: Duration = Duration::from_secs(3);

/// What waited for the session goes out before the first poll.
const POLL_SETTLE: Duration = Duration::from_millis(250);

/// A SIM that waits for somebody is looked at this often: it may be changed, or unlocked by hand.
const BLOCKED: Duration = Duration::from_secs(30);

/// How long the MQTT service must hold before earlier failures are forgotten.
const STABLE: Duration = Duration::from_secs(120);

const LOST: &str = "not registered in a network for too long";
pub(crate) const NO_NETWORK: &str = "the modem's MQTT service lost its network";

impl Core {
    /// Sorts what the port tells until the modem boots.
    pub(crate) async fn listen(
        &self,
        events: &mut mpsc::Receiver<PortEvent>,
        mut listener: Box<dyn Listener>,
        shared: &Shared,
    ) -> End {
        while let Some(event) = events.recv().await {
            match event {
                PortEvent::InStep { .. } => {}
                PortEvent::Urc(urc) => match listener.hear(urc) {
                    Some(Notice::Booted | Notice::SimLost) => return End::Booted,
                    Some(notice) => self.notice(notice, shared),
                    None => {}
                },
            }
        }
        End::Gone
    }

    fn notice(&self, notice: Notice, shared: &Shared) {
        match notice {
            Notice::Lost { client, cause, by_broker } => {
                shared.acknowledged.forget(client);
                // Full only where the session is past caring.
                shared.holders.with(client, |holder| {
                    let _ = holder.lost.try_send(Lost { cause, by_broker });
                });
            }
            Notice::ServiceLost => shared.lose_service(),
            Notice::Message { client, message } => {
                shared
                    .holders
                    .with(client, |holder| self.observer.received(&holder.session, message));
            }
            // One domain's loss is not the modem's: what holds is asked for.
            Notice::Registration(registration) if !registration.stat.is_registered() => {
                shared.look.notify_one();
            }
            Notice::Registration(registration) => self.registered(registration, shared),
            Notice::Warning(words) => tracing::warn!("the modem warns: {words}"),
            Notice::Booted | Notice::SimLost => {}
        }
    }

    /// Takes in a registration, and tells the sessions whether they may open.
    fn registered(&self, registration: Registration, shared: &Shared) {
        let may = attach::may_serve(&registration, self.config.roaming);
        shared
            .registered
            .send_if_modified(|now| std::mem::replace(now, may.is_ok()) != may.is_ok());
        let forbidden = registration.stat.is_roaming() && !self.config.roaming;
        shared.forbidden.send_if_modified(|now| std::mem::replace(now, forbidden) != forbidden);
        if registration.stat.is_registered() {
            shared.unregistered.send_if_modified(|since| since.take().is_some());
            self.shows(Sign::Registered);
        } else {
            shared.unregistered.send_if_modified(|since| {
                let is_new = since.is_none();
                since.get_or_insert_with(Instant::now);
                is_new
            });
        }
        self.update(|s| s.registration = Some(registration));
        let serving = self.snapshot.borrow().state == State::Serving;
        match may {
            Ok(()) if !serving && *shared.service_up.borrow() => self.stand(State::Serving, None),
            Ok(()) => {}
            Err(reason) => self.stand(State::Searching, Some(reason)),
        }
    }

    // --- work --------------------------------------------------------------------------------------

    /// SIM, network, service, sessions: in this order, until told to stop.
    pub(crate) async fn work(
        &self,
        at: &At,
        known: &Known,
        roster: &Roster,
        shared: &Shared,
    ) -> End {
        if let Err(end) = self.unlock(at, known).await {
            return end;
        }
        if let Some(apn) = &self.config.apn
            && let Err(error) = attach::set_apn(at, apn, known.model.apn_auth).await
        {
            return error.into();
        }
        if let Err(end) = self.search(at, known, shared).await {
            return end;
        }
        let secured = roster.secured(known.model.mqtt.clients);
        // The poll ends with the port only; the sessions when they are told to.
        tokio::select! {
            end = self.keep_service(at, known, roster, shared) => end,
            end = self.poll(at, known, shared, &secured) => end,
        }
    }

    async fn unlock(&self, at: &At, known: &Known) -> Result<(), End> {
        let mut sim = sim::Unlock::new(self.config.pin.as_ref(), self.env.ledger.as_ref());
        loop {
            let state = match self.card(at, known).await? {
                Ok(()) => sim.look(at, known.profile, &known.imei).await?,
                Err(unread) => SimState::Wait(unread),
            };
            let (wait, reason) = match state {
                SimState::Ready => return Ok(()),
                SimState::Wait(reason) => (sim::ASK_AGAIN, reason),
                SimState::Blocked(reason) => (BLOCKED, reason),
            };
            if self.snapshot.borrow().reason.as_deref() != Some(&reason) {
                tracing::warn!("{reason}");
            }
            self.stand(State::Sim, Some(reason));
            self.pause(wait).await?;
        }
    }

    /// Where the fleet file names a card, it must be that one, before a PIN is spent on it or anything
    /// is published by it. `Ok(Err)` where the card does not tell yet, and must.
    async fn card(&self, at: &At, known: &Known) -> Result<Result<(), String>, End> {
        if self.config.iccid.is_none() && !self.config.sim_first {
            return Ok(Ok(()));
        }
        match known.profile.iccid(at).await {
            Ok(iccid) => {
                self.must_be(
                    "iccid",
                    self.config.iccid.as_deref(),
                    |wanted| wanted == iccid,
                    &iccid,
                )?;
                self.sim_known(iccid);
                Ok(Ok(()))
            }
            Err(error) if error.is_gone() || error.is_boot() => Err(error.into()),
            Err(error) if self.config.iccid.is_none() => {
                tracing::warn!("the SIM does not tell its ICCID: {}", Chain(&error));
                Ok(Ok(()))
            }
            Err(error) => Ok(Err(format!("the SIM does not tell its ICCID: {}", Chain(&error)))),
        }
    }

    fn sim_known(&self, iccid: String) {
        self.observer.sim(Some(&iccid));
        self.update(|s| {
            if let Some(identified) = &mut s.identified {
                identified.iccid = Some(iccid);
            }
        });
    }

    /// Waits, unless told to stop.
    pub(crate) async fn pause(&self, wait: Duration) -> Result<(), End> {
        match tokio::time::timeout(wait, self.env.stop.cancelled()).await {
            Ok(()) => Err(End::Stopped),
            Err(_) => Ok(()),
        }
    }

    /// Waits for a registration that the sessions may use.
    async fn search(&self, at: &At, known: &Known, shared: &Shared) -> Result<(), End> {
        shared.unregistered.send_if_modified(|since| {
            since.get_or_insert_with(Instant::now);
            false
        });
        let mut wait = SEARCH;
        loop {
            match profile::registration(at, &known.model.registration).await {
                Ok(registration) => self.registered(registration, shared),
                Err(error) if error.is_gone() => return Err(End::Gone),
                Err(error) => self.stand(State::Searching, Some(Chain(&error).to_string())),
            }
            if *shared.registered.borrow() {
                return Ok(());
            }
            // Somebody may be looking for the reason.
            if let Ok(status) = known.profile.status(at).await {
                self.learned(status);
            }
            if self.is_lost_too_long(shared) {
                wait = match self.climb(at, known.profile, Cause::Unregistered, LOST).await? {
                    Climbed::Tried => SEARCH,
                    // Looking harms nobody: a network may come by itself.
                    Climbed::Over(_) => self.config.poll.max(SEARCH),
                };
                shared.unregistered.send_replace(Some(Instant::now()));
            }
            self.pause(wait).await?;
        }
    }

    /// Whether there was no registration for as long as may be.
    fn is_lost_too_long(&self, shared: &Shared) -> bool {
        let since = *shared.unregistered.borrow();
        since.is_some_and(|since| since.elapsed() >= self.config.recovery.registration_lost)
    }

    /// Waits until there was no registration for as long as may be.
    pub(crate) async fn lost_too_long(&self, shared: &Shared) {
        let mut unregistered = shared.unregistered.subscribe();
        loop {
            let since = *unregistered.borrow_and_update();
            let Some(since) = since else {
                let _ = unregistered.changed().await;
                continue;
            };
            let until = since + self.config.recovery.registration_lost;
            if tokio::time::timeout_at(until, unregistered.changed()).await.is_err() {
                return;
            }
        }
    }

    /// Keeps the MQTT service up, and on it the sessions.
    async fn keep_service(&self, at: &At, known: &Known, roster: &Roster, shared: &Shared) -> End {
        let mut backoff = Backoff::new(REOPEN.0, REOPEN.1);
        loop {
            let since = Instant::now();
            let (cause, words) = match self.service(at, known, roster, shared).await {
                Ok(Some(trouble)) => trouble,
                Ok(None) => continue,
                Err(end) => return end,
            };
            if since.elapsed() >= STABLE {
                backoff.reset();
            }
            roster.went(DisconnectReason::Network, &words);
            let wait = match self.climb(at, known.profile, cause, &words).await {
                Ok(Climbed::Tried) => backoff.next_wait(),
                // It is looked for all the same.
                Ok(Climbed::Over(_)) if cause == Cause::Unregistered => Duration::ZERO,
                // The poll goes on: what is known of it is shown.
                Ok(Climbed::Over(until)) => until.saturating_duration_since(Instant::now()),
                Err(end) => return end,
            };
            if let Err(end) = self.pause(wait).await {
                known.profile.mqtt().stop(at).await;
                return end;
            }
            // What was known before does not hold any more; without a network nothing starts.
            shared.registered.send_replace(false);
            shared.unregistered.send_replace(Some(Instant::now()));
            if let Err(end) = self.search(at, known, shared).await {
                return end;
            }
        }
    }

    /// One run of the MQTT service, and the trouble that ended it; `None` where it is needed now and was
    /// not, or not any more.
    async fn service(
        &self,
        at: &At,
        known: &Known,
        roster: &Roster,
        shared: &Shared,
    ) -> Result<Option<(Cause, String)>, End> {
        let (mqtt, stop) = (known.profile.mqtt(), &self.env.stop);
        // Without sessions there is nothing to bring up: signal and registration are what it is here for.
        let is_needed = !roster.is_empty();
        if is_needed {
            // Stopping half-way leaves the service running; the next start tears it down.
            let started = tokio::select! {
                started = mqtt.start(at) => started,
                () = stop.cancelled() => return Err(End::Stopped),
            };
            if let Err(error) = started {
                let reason = Chain(&error).to_string();
                tracing::warn!("the MQTT service does not start: {reason}");
                return Ok(Some((Cause::Service, reason)));
            }
        }
        self.stand(State::Serving, None);
        shared.service_up.send_replace(true);
        let end = self.serve_sessions(at, known, roster, shared, is_needed).await;
        shared.service_up.send_replace(false);
        match end {
            ServeEnd::ServiceLost => return Ok(Some((Cause::Service, NO_NETWORK.to_owned()))),
            ServeEnd::Unregistered => return Ok(Some((Cause::Unregistered, LOST.to_owned()))),
            ServeEnd::Stopped | ServeEnd::Regrouped => {}
        }
        if is_needed {
            mqtt.stop(at).await;
        }
        if end == ServeEnd::Stopped { Err(End::Stopped) } else { Ok(None) }
    }

    /// Asks for what changes slowly, and for the registration, as long as the modem serves.
    async fn poll(&self, at: &At, known: &Known, shared: &Shared, secured: &[Client]) -> End {
        // Sessions first: a poll between two steps of a CONNECT delays the first message.
        let _ = tokio::time::timeout(POLL_AFTER, shared.connected.notified()).await;
        tokio::time::sleep(POLL_SETTLE).await;
        // A port that is gone or a boot end the service by other ways as well.
        let _ = self.learn(at, known).await;
        let mut secured = secured.to_vec();
        secured.extend(shared.holders.secured());
        known.profile.mqtt().tidy(at, &secured).await;
        loop {
            match known.profile.status(at).await {
                Ok(status) => self.learned(status),
                Err(error) if error.is_gone() => return End::Gone,
                Err(error) => tracing::debug!("status poll failed: {}", Chain(&error)),
            }
            // Until the next poll, or until news of the registration want a look.
            let _ = tokio::time::timeout(self.config.poll, shared.look.notified()).await;
            match profile::registration(at, &known.model.registration).await {
                Ok(registration) => self.registered(registration, shared),
                Err(error) if error.is_gone() => return End::Gone,
                Err(error) => tracing::debug!("registration poll failed: {}", Chain(&error)),
            }
        }
    }

    /// What is good to know but needed by nothing: asked for once the sessions are on their way.
    async fn learn(&self, at: &At, known: &Known) -> Result<(), End> {
        let revision = Answer::Matching(is_revision);
        let firmware = match profile::run(at, Kind::Status, "AT+CGMR", revision).await {
            Ok(lines) => reply::revision(&lines).ok(),
            Err(error) => unless_ended(error)?,
        };
        self.update(|s| {
            if let Some(identified) = &mut s.identified {
                identified.firmware = firmware;
            }
        });
        match known.profile.iccid(at).await {
            Ok(iccid) => self.sim_known(iccid),
            Err(error) => drop(unless_ended::<()>(error)?),
        }
        Ok(())
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

    fn learned(&self, status: Status) {
        let Status { signals, operator, temperature_celsius, implausible } = status;
        if implausible > 0 {
            self.observer.implausible(implausible);
        }
        self.update(|s| {
            (s.signals, s.operator, s.temperature_celsius) =
                (signals, operator, temperature_celsius)
        });
    }
}

/// A value that is not to be had is left out; a port that is gone and a boot end the service.
fn unless_ended<T>(error: StepError) -> Result<Option<T>, End> {
    if error.is_gone() || error.is_boot() { Err(error.into()) } else { Ok(None) }
}

/// Lines that may be the answer to `AT+CGMR`, with or without its prefix.
fn is_revision(line: &str) -> bool {
    line.starts_with("+CGMR:") || !line.starts_with(['+', '*', '^'])
}

/// What the sorting of URCs tells the rest.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) registered: watch::Sender<bool>,
    /// The fleet file forbids to be connected as things are.
    pub(crate) forbidden: watch::Sender<bool>,
    service_up: watch::Sender<bool>,
    /// Since when there has been no registration.
    unregistered: watch::Sender<Option<Instant>>,
    pub(crate) acknowledged: Acknowledged,
    /// Counts the losses of the service's network.
    pub(crate) service_lost: watch::Sender<u64>,
    pub(crate) connected: Notify,
    /// The registration wants a look before the next poll.
    look: Notify,
    /// Who holds which client of the MQTT stack, by its index.
    pub(crate) holders: Holders,
}

impl Shared {
    fn lose_service(&self) {
        self.service_lost.send_modify(|losses| *losses += 1);
    }
}
