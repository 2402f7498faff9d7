//! From an identified modem to running sessions: SIM, network, MQTT service, sessions, status poll.

use std::sync::atomic::Ordering;
use std::time::Duration;

use at::Answer;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use crate::attach;
use crate::backoff::Attempts;
use crate::end::{BOOTED, End, unless_ended};
use crate::identify::Known;
use crate::kept::Kept;
use crate::location::Card;
use crate::modem::Core;
use crate::mqtt::{Client, MqttError, Scope};
use crate::observe::DisconnectReason;
use crate::port::{At, Kind, PortEvent};
use crate::profile::{self, Listener, Notice, Status};
use crate::recovery::{Cause, Sign};
use crate::reply::{self, Act, Registration, Stat};
use crate::roster::Roster;
use crate::search::{LOST, is_denied};
use crate::serving::Holders;
use crate::session::{Chain, Lost, ServeEnd};
use crate::sim::{self, SimState};
use crate::snapshot::State;
use crate::text_messages::is_printed;
use crate::veto::Heard;

/// The operator's name is asked for this often, since some modems ask the network for it: 20 s were seen.
const OPERATOR: Duration = Duration::from_secs(300);

/// The status poll begins once a session is connected, or after this long without one.
const POLL_AFTER: Duration = Duration::from_secs(3);

/// What waited for the session goes out before the first poll.
const POLL_SETTLE: Duration = Duration::from_millis(250);

/// Between two polls so many times as long as one takes: on a modem that answers slowly the channel is the sessions'.
const SHARE: u32 = 4;

/// A SIM that waits for somebody is looked at this often: it may be changed, or unlocked by hand.
const BLOCKED: Duration = Duration::from_secs(20);

/// How long the MQTT service must hold before earlier failures are forgotten.
const STABLE: Duration = Duration::from_secs(120);

/// A line that ends a boot says nothing so soon after the modem was identified, or its radio switched: it may be that
/// of a boot that is known. A SIM7600 prints `PB DONE` 15 s after its boot.
const SETTLED: Duration = Duration::from_secs(120);

/// A card is asked for each second for so long, since a modem that boots finds it late.
const CARD_COMES: Duration = Duration::from_secs(10);

const SIM_LOST: &str = "the SIM is gone, or asks for something";
const SESSIONS: &str = "its sessions fail one after the other, and not by their brokers' word";
const QUIET_BOOT: &str = "the modem booted and did not say so";
pub(crate) const NO_NETWORK: &str = "the modem's MQTT service lost its network";

impl Core {
    /// Sorts what the port tells until the modem boots.
    pub(crate) async fn listen(
        &self,
        events: &mut mpsc::Receiver<PortEvent>,
        mut listener: Box<dyn Listener>,
        shared: &Shared,
    ) -> End {
        let mut begins_anew = None;
        loop {
            // Both arms are cancel safe, and none awaits in its body.
            let event = tokio::select! {
                biased;
                // What a step of ours makes the modem print does not end it half-way.
                () = self.radio.at_rest(), if begins_anew.is_some() => {
                    return End::Booted(begins_anew.unwrap_or(BOOTED));
                }
                event = events.recv() => event,
            };
            match event {
                None => return End::Gone,
                Some(PortEvent::InStep { .. }) => {}
                Some(PortEvent::EchoBack) => begins_anew = Some(QUIET_BOOT),
                Some(PortEvent::Urc(urc)) if is_printed(&urc.line) => shared.printed.notify_one(),
                Some(PortEvent::Urc(urc)) => match listener.hear(urc) {
                    Some(Notice::Booted) => begins_anew = Some(BOOTED),
                    Some(Notice::SimLost) => begins_anew = Some(SIM_LOST),
                    Some(Notice::BootDone) if self.is_settled(shared) => {
                        begins_anew = Some(QUIET_BOOT);
                    }
                    Some(notice) => self.notice(notice, shared),
                    None => {}
                },
            }
        }
    }

    fn notice(&self, notice: Notice, shared: &Shared) {
        match notice {
            Notice::Lost { client, cause, by_broker } => {
                shared.heard.forget(client);
                // Full only where the session is past caring.
                shared.holders.with(client, |holder| {
                    let _ = holder.lost.try_send(Lost { cause, by_broker });
                });
            }
            Notice::ServiceLost => shared.lose_service(),
            Notice::Message { client, message } => {
                shared.holders.with(client, |_| shared.heard.note(client));
                shared
                    .holders
                    .with(client, |holder| self.observer.received(&holder.session, message));
            }
            Notice::Pending { client, slot } => {
                shared.holders.with(client, |_| shared.kept.note(client, slot));
            }
            Notice::Damaged(how) => {
                self.observer.damaged();
                tracing::warn!("{how}");
            }
            // One domain's loss is not the modem's, and speech is not data: what holds is asked for.
            Notice::Registration(registration)
                if !registration.stat.is_registered() || !registration.domain.carries_data() =>
            {
                shared.look.notify_one();
            }
            Notice::Registration(registration) => self.registered(registration, shared),
            Notice::Warning(words) => tracing::warn!("the modem warns: {words}"),
            Notice::Booted | Notice::SimLost | Notice::BootDone => {}
        }
    }

    /// Reports whether the modem was in service for so long that the lines of its boot, or of its radio, are long over.
    fn is_settled(&self, shared: &Shared) -> bool {
        let last = self.radio.last_step().max(Some(shared.since));
        last.is_none_or(|last| last.elapsed() >= SETTLED)
    }

    /// Takes in a registration, and tells the sessions whether they may open.
    pub(crate) fn registered(&self, registration: Registration, shared: &Shared) {
        let may = attach::may_serve(&registration, self.config.roaming);
        shared
            .registered
            .send_if_modified(|now| std::mem::replace(now, may.is_ok()) != may.is_ok());
        let forbidden = registration.stat.is_roaming() && !self.config.roaming;
        shared.forbidden.send_if_modified(|now| std::mem::replace(now, forbidden) != forbidden);
        if is_denied(&registration) {
            shared.denied.send_replace(Some(Instant::now()));
        }
        if registration.stat.is_registered() {
            shared.denied.send_replace(None);
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
            Err(reason) => {
                if !self.snapshot.borrow().reason.as_ref().is_some_and(|was| was.ends_with(&reason))
                {
                    tracing::info!("{reason}");
                }
                self.stand(State::Searching, Some(reason));
            }
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
        let attached = async {
            self.radio_on(at).await?;
            self.unlock(at, known).await?;
            self.access_point(at, known).await?;
            self.search(at, known, shared).await
        };
        if let Err(end) = attached.await {
            return end;
        }
        let secured = roster.secured(known.model.mqtt.clients);
        // What is polled and tidied ends with the port only; the sessions when they are told to.
        tokio::select! {
            end = self.keep_service(at, known, roster, shared) => end,
            end = self.poll(at, known, shared) => end,
            end = self.tidy(at, known, shared, secured) => end,
            () = self.fetch_kept(at, known.profile.mqtt(), &shared.kept) => End::Gone,
            end = self.store_messages(at, shared), if self.config.stores_messages => end,
        }
    }

    pub(crate) async fn unlock(&self, at: &At, known: &Known) -> Result<(), End> {
        let mut sim = sim::Unlock::new(self.config.pin.as_ref(), self.env.ledger.as_ref());
        let (since, mut attempts, mut told) = (Instant::now(), Attempts::default(), String::new());
        loop {
            let state = match self.card(at, known).await? {
                Ok(()) => sim.look(at, known.profile, &known.imei).await?,
                Err(unread) => SimState::Wait(unread),
            };
            let (waits, reason) = match state {
                SimState::Ready => {
                    self.shows(Sign::Card);
                    return Ok(());
                }
                SimState::Wait(reason) => (true, reason),
                SimState::Blocked(reason) => (false, reason),
            };
            if told != reason {
                tracing::warn!("{reason}");
                told.clone_from(&reason);
            }
            self.stand(State::Sim, Some(reason.clone()));
            let wait = match (waits, since.elapsed() < CARD_COMES) {
                (true, true) => sim::ASK_AGAIN,
                (true, false) => {
                    self.climb(at, known.profile, Cause::Sim, &reason).await?;
                    attempts.next_wait()
                }
                (false, _) => BLOCKED,
            };
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
            Ok(iccid) => self.must_be_card(iccid).map(Ok),
            Err(error) if error.is_gone() || error.is_boot() => Err(error.into()),
            Err(error) if self.config.iccid.is_none() => {
                tracing::warn!("the SIM does not tell its ICCID: {}", Chain(&error));
                Ok(Ok(()))
            }
            Err(error) => {
                self.tell_card(Card::Unread);
                Ok(Err(format!("the SIM does not tell its ICCID: {}", Chain(&error))))
            }
        }
    }

    /// Reports whether the card that is in is the one that the fleet file names.
    fn must_be_card(&self, iccid: String) -> Result<(), End> {
        self.tell_card(Card::Iccid(iccid.clone()));
        self.must_be("iccid", self.config.iccid.as_deref(), |wanted| wanted == iccid, &iccid)?;
        self.sim_known(iccid);
        Ok(())
    }

    /// Looks whether the card is still the one that the fleet file names: not each modem reports a change.
    async fn same_card(&self, at: &At, known: &Known) -> Result<(), End> {
        if self.config.iccid.is_none() {
            return Ok(());
        }
        match known.profile.iccid(at).await {
            Ok(iccid) => self.must_be_card(iccid),
            Err(error) => unless_ended(error).map(|_: Option<()>| ()),
        }
    }

    /// Tells discovery which card is in: another entry of the fleet file may want it.
    fn tell_card(&self, card: Card) {
        let identified = self.snapshot.borrow().identified.clone();
        if let Some(is) = identified {
            self.config.port.tell(&is.model, &is.imei, Some(card));
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

    /// Keeps the MQTT service up, and on it the sessions.
    async fn keep_service(&self, at: &At, known: &Known, roster: &Roster, shared: &Shared) -> End {
        let mut attempts = Attempts::default();
        loop {
            if let Err(end) = self.start_may_follow().await {
                return end;
            }
            let since = Instant::now();
            let (cause, words) = match self.service(at, known, roster, shared).await {
                Ok(Some(trouble)) => trouble,
                Ok(None) => continue,
                Err(end) => return end,
            };
            if since.elapsed() >= STABLE {
                attempts.reset();
            }
            roster.went(DisconnectReason::Network, &words);
            let climbed = self.climb(at, known.profile, cause, &words).await;
            let wait = if cause == Cause::Sessions { Duration::ZERO } else { attempts.next_wait() };
            let paused = match climbed {
                Ok(()) => self.pause(wait).await,
                Err(end) => return end,
            };
            if let Err(end) = paused {
                known.profile.mqtt().stop(at).await;
                return end;
            }
            if cause == Cause::Sessions {
                // A stack of which clients are in use may say that it starts, and keep them.
                self.tear_down(at, known).await;
            }
            // What was known before does not hold any more; without a network nothing starts.
            shared.registered.send_replace(false);
            shared.unregistered.send_replace(Some(Instant::now()));
            if let Err(end) = self.search(at, known, shared).await {
                return end;
            }
        }
    }

    /// Waits until a START may follow boots that came right after earlier ones.
    async fn start_may_follow(&self) -> Result<(), End> {
        while let Some((until, boots)) = self.vitals.not_before() {
            let words = format!(
                "the modem booted {boots} times in a row right after it was to start its service or sign in: look at its \
                 supply, which falls short when it transmits"
            );
            tracing::warn!("{words}");
            self.stand(State::Recovering, Some(words));
            self.pause(until.saturating_duration_since(Instant::now())).await?;
        }
        Ok(())
    }

    /// Signs out every client, whatever state it is in, and ends the service.
    async fn tear_down(&self, at: &At, known: &Known) {
        let mqtt = known.profile.mqtt();
        for client in (0..known.model.mqtt.clients).map(Client) {
            mqtt.close(at, client).await;
        }
        mqtt.stop(at).await;
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
            self.vitals.starting();
            // Stopping half-way leaves the service running; the next start tears it down.
            let started = tokio::select! {
                started = mqtt.start(at) => started,
                () = stop.cancelled() => return Err(End::Stopped),
            };
            if let Err(error) = started {
                let reason = Chain(&error).to_string();
                tracing::warn!("the MQTT service does not start: {reason}");
                return Ok(Some((why_no_start(&error), reason)));
            }
        }
        self.stand(State::Serving, None);
        shared.service_up.send_replace(true);
        let end = self.serve_sessions(at, known, roster, shared, is_needed).await;
        shared.service_up.send_replace(false);
        match end {
            ServeEnd::ServiceLost => return Ok(Some((Cause::Service, NO_NETWORK.to_owned()))),
            ServeEnd::Unregistered => {
                let (cause, words) =
                    self.lost_because(shared).unwrap_or((Cause::Unregistered, LOST));
                return Ok(Some((cause, words.to_owned())));
            }
            ServeEnd::Failing => return Ok(Some((Cause::Sessions, SESSIONS.to_owned()))),
            ServeEnd::Forgotten => return Err(End::Booted(QUIET_BOOT)),
            ServeEnd::Stopped | ServeEnd::Regrouped => {}
        }
        if is_needed {
            mqtt.stop(at).await;
        }
        if end == ServeEnd::Stopped { Err(End::Stopped) } else { Ok(None) }
    }

    /// Removes what earlier runs left in the modem, once sessions are on their way, and then nothing any more. It waits
    /// for a session that signs in, and nothing waits for it.
    async fn tidy(&self, at: &At, known: &Known, shared: &Shared, mut secured: Vec<Client>) -> End {
        shared.settled.notified().await;
        secured.extend(shared.holders.secured());
        known.profile.mqtt().tidy(at, &secured).await;
        std::future::pending().await
    }

    /// Asks for what changes slowly, and for the registration, as long as the modem serves.
    async fn poll(&self, at: &At, known: &Known, shared: &Shared) -> End {
        // Sessions first: a poll between two steps of a CONNECT delays the first message.
        let _ = tokio::time::timeout(POLL_AFTER, shared.connected.notified()).await;
        tokio::time::sleep(POLL_SETTLE).await;
        // A port that is gone or a boot end the service by other ways as well.
        let _ = self.learn(at, known).await;
        shared.settled.notify_one();
        let mut named = None;
        let mut asked = Duration::ZERO;
        loop {
            let begun = Instant::now();
            match known.profile.status(at).await {
                Ok(status) => self.learned(status),
                Err(error) if error.is_gone() => return End::Gone,
                Err(error) => tracing::debug!("status poll failed: {}", Chain(&error)),
            }
            if let Err(end) = self.name_operator(at, &mut named).await {
                return end;
            }
            // Until the next poll, or until news of the registration want a look.
            let pause = self.config.poll.max(SHARE * (asked + begun.elapsed()));
            let _ = tokio::time::timeout(pause, shared.look.notified()).await;
            let begun = Instant::now();
            match profile::registration(at, &known.model.registration).await {
                Ok(registration) => self.registered(registration, shared),
                Err(error) if error.is_gone() => return End::Gone,
                Err(error) => tracing::debug!("registration poll failed: {}", Chain(&error)),
            }
            let looked = self.mind_radio(at, shared).await;
            if let Err(end) = looked.and(self.same_card(at, known).await) {
                return end;
            }
            asked = begun.elapsed();
        }
    }

    /// Asks for the operator's name now and then, and when the registration is another one. `named` is when that was
    /// done last, and for which registration.
    async fn name_operator(
        &self,
        at: &At,
        named: &mut Option<(Instant, (Stat, Option<Act>))>,
    ) -> Result<(), End> {
        let Some(registration) = self.snapshot.borrow().registration.clone() else { return Ok(()) };
        let now = (registration.stat, registration.act);
        let is_known = named.is_some_and(|(when, of)| when.elapsed() < OPERATOR && of == now);
        if is_known || !registration.stat.is_registered() {
            return Ok(());
        }
        *named = Some((Instant::now(), now));
        match profile::operator(at).await {
            Ok(operator) => self.update(|s| s.operator = operator.operator),
            Err(error) => drop(unless_ended::<()>(error)?),
        }
        Ok(())
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
            Ok(iccid) => {
                self.tell_card(Card::Iccid(iccid.clone()));
                self.sim_known(iccid);
            }
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
}

/// Reports whether it is the network that keeps the service from starting, or the modem.
fn why_no_start(error: &MqttError) -> Cause {
    if error.scope() == Scope::Service { Cause::Service } else { Cause::Wedged }
}

/// Lines that may be the answer to `AT+CGMR`, with or without its prefix.
fn is_revision(line: &str) -> bool {
    line.starts_with("+CGMR:") || !line.starts_with(['+', '*', '^'])
}

/// What the sorting of URCs tells the rest.
pub(crate) struct Shared {
    /// When the modem was identified.
    since: Instant,
    pub(crate) registered: watch::Sender<bool>,
    /// The fleet file forbids to be connected as things are.
    pub(crate) forbidden: watch::Sender<bool>,
    service_up: watch::Sender<bool>,
    /// Since when there has been no registration.
    pub(crate) unregistered: watch::Sender<Option<Instant>>,
    /// When the network was seen to deny data last; none since it gave some.
    pub(crate) denied: watch::Sender<Option<Instant>>,
    pub(crate) heard: Heard,
    /// Counts the losses of the service's network.
    pub(crate) service_lost: watch::Sender<u64>,
    pub(crate) connected: Notify,
    /// The first poll was made.
    settled: Notify,
    /// The registration wants a look before the next poll.
    look: Notify,
    /// A text message was printed.
    pub(crate) printed: Notify,
    /// Who holds which client of the MQTT stack, by its index.
    pub(crate) holders: Holders,
    /// Messages that the modem keeps until it is asked.
    kept: Kept,
}

impl Shared {
    /// Of a modem that was identified just now.
    pub(crate) fn new() -> Self {
        Self {
            since: Instant::now(),
            registered: watch::Sender::default(),
            forbidden: watch::Sender::default(),
            service_up: watch::Sender::default(),
            unregistered: watch::Sender::default(),
            denied: watch::Sender::default(),
            heard: Heard::default(),
            service_lost: watch::Sender::default(),
            connected: Notify::new(),
            settled: Notify::new(),
            look: Notify::new(),
            printed: Notify::new(),
            holders: Holders::default(),
            kept: Kept::default(),
        }
    }

    /// How long there has been no registration.
    pub(crate) fn searched_for(&self) -> Option<Duration> {
        self.unregistered.borrow().map(|since| since.elapsed())
    }

    fn lose_service(&self) {
        self.service_lost.send_modify(|losses| *losses += 1);
    }
}
