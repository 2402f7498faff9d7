//! From an identified modem to running sessions: SIM, network, MQTT service, sessions, status poll.

use std::time::Duration;

use at::Answer;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::attach::access_point;
use crate::backoff::Attempts;
use crate::card::{same_card, sim_known, tell_card, unlock};
use crate::chain::Chain;
use crate::climb::climb;
use crate::core::Core;
use crate::end::{BOOTED, End, QUIET_BOOT, unless_ended};
use crate::kept::fetch_kept;
use crate::known::Known;
use crate::location::Card;
use crate::message::Client;
use crate::mqtt::{MqttError, Scope};
use crate::observe::DisconnectReason;
use crate::port::{At, Kind, PortEvent};
use crate::profile::{self, Listener, Notice};
use crate::radio::radio_on;
use crate::recovery::Cause;
use crate::reply::{self, Act, Stat};
use crate::roster::Roster;
use crate::search::{LOST, look_at_radio, lost_because, registered, search};
use crate::serving::{NO_NETWORK, serve_sessions};
use crate::session::{Lost, ServeEnd};
use crate::shared::Shared;
use crate::snapshot::State;
use crate::text_messages::{is_printed, store_messages};

/// The interval between questions for the operator's name. Some modems ask the network for it,
/// which took up to 20 s.
const OPERATOR: Duration = Duration::from_secs(300);

/// The status poll begins once a session is connected, or after this long without one.
const POLL_AFTER: Duration = Duration::from_secs(3);

/// The time before the first poll, in which messages that waited for the session go out.
const POLL_SETTLE: Duration = Duration::from_millis(250);

/// The factor between the duration of a poll and the pause after it: on a slow modem the channel is
/// left to the sessions.
const SHARE: u32 = 4;

/// The time for which the MQTT service must hold before earlier failures are forgotten.
const STABLE: Duration = Duration::from_secs(120);

/// The time after identification, or after a radio step, during which a line that ends a boot is
/// ignored: it may belong to a known boot. A SIM7600 prints `PB DONE` 15 s after its boot.
const SETTLED: Duration = Duration::from_secs(120);

const SIM_LOST: &str = "the SIM is gone, or needs a PIN or PUK";
const SESSIONS: &str = "its sessions fail one after the other, without a refusal by their brokers";

/// Sorts the port's events until the modem boots.
pub(crate) async fn listen(
    core: &Core,
    events: &mut mpsc::Receiver<PortEvent>,
    mut listener: Box<dyn Listener>,
    shared: &Shared,
) -> End {
    let mut begins_anew = None;
    loop {
        // Both arms are cancel safe, and none awaits in its body.
        let event = tokio::select! {
            biased;
            // Lines that the modem prints because of our own step do not end that step half-way.
            () = core.radio.at_rest(), if begins_anew.is_some() => {
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
                Some(Notice::BootDone) if is_settled(core, shared) => {
                    begins_anew = Some(QUIET_BOOT);
                }
                Some(notice) => heed(core, notice, shared),
                None => {}
            },
        }
    }
}

fn heed(core: &Core, notice: Notice, shared: &Shared) {
    match notice {
        Notice::Lost { client, cause, by_broker } => {
            shared.heard.forget(client);
            // It is only full if the session does not read any more.
            shared.holders.with(client, |holder| {
                let _ = holder.lost.try_send(Lost { cause, by_broker });
            });
        }
        Notice::ServiceLost => shared.lose_service(),
        Notice::Message { client, message } => {
            shared.holders.with(client, |_| shared.heard.note(client));
            shared.holders.with(client, |holder| {
                core.observer.received(&holder.session, &message);
                holder.inbox.take(message);
            });
        }
        Notice::Pending { client, slot } => {
            shared.holders.with(client, |_| shared.kept.note(client, slot));
        }
        Notice::Damaged(how) => {
            core.observer.damaged();
            tracing::warn!("{how}");
        }
        // The loss of one domain is not the loss of the modem, and speech is not data: ask for the
        // whole state.
        Notice::Registration(registration)
            if !registration.stat.is_registered() || !registration.domain.carries_data() =>
        {
            shared.look.notify_one();
        }
        Notice::Registration(registration) => registered(core, registration, shared),
        Notice::Warning(words) => tracing::warn!("the modem warns: {words}"),
        Notice::Booted | Notice::SimLost | Notice::BootDone => {}
    }
}

/// Reports whether the modem was in service long enough for the lines of its boot, or of its radio,
/// to be over.
fn is_settled(core: &Core, shared: &Shared) -> bool {
    let last = core.radio.last_step().max(Some(shared.since));
    last.is_none_or(|last| last.elapsed() >= SETTLED)
}

// --- work --------------------------------------------------------------------------------------

/// Brings up SIM, network, service and sessions, in this order, until the stop.
pub(crate) async fn work(
    core: &Core,
    at: &At,
    known: &Known,
    roster: &Roster,
    shared: &Shared,
) -> End {
    let attached = async {
        if core.config.radio_is_ours {
            radio_on(&core.radio, at).await?;
        }
        unlock(core, at, known).await?;
        access_point(core, at, known).await?;
        search(core, at, known, shared).await
    };
    if let Err(end) = attached.await {
        return end;
    }
    let secured = roster.secured(known.model.mqtt.clients);
    // Polling and tidying end only with the port; the sessions end at the stop.
    tokio::select! {
        end = keep_service(core, at, known, roster, shared) => end,
        end = poll(core, at, known, shared) => end,
        end = tidy(at, known, shared, secured) => end,
        () = fetch_kept(at, known.profile.mqtt(), &shared.kept) => End::Gone,
        end = store_messages(at, &shared.printed), if core.config.stores_messages => end,
    }
}

/// Keeps the MQTT service up, and the sessions on it.
async fn keep_service(
    core: &Core,
    at: &At,
    known: &Known,
    roster: &Roster,
    shared: &Shared,
) -> End {
    let mut attempts = Attempts::default();
    loop {
        if let Err(end) = start_may_follow(core).await {
            return end;
        }
        let since = Instant::now();
        let (cause, words) = match service(core, at, known, roster, shared).await {
            Ok(Some(trouble)) => trouble,
            Ok(None) => continue,
            Err(end) => return end,
        };
        if since.elapsed() >= STABLE {
            attempts.reset();
        }
        roster.went(DisconnectReason::Network, &words);
        let climbed = climb(core, at, known.profile, cause, &words).await;
        let wait = if cause == Cause::Sessions { Duration::ZERO } else { attempts.next_wait() };
        let paused = match climbed {
            Ok(()) => core.pause(wait).await,
            Err(end) => return end,
        };
        if let Err(end) = paused {
            known.profile.mqtt().stop(at).await;
            return end;
        }
        if cause == Cause::Sessions {
            // A stack with clients in use may accept a start and keep the clients.
            tear_down(at, known).await;
        }
        // Earlier knowledge does not hold any more; without a network nothing starts.
        shared.registered.send_replace(false);
        shared.unregistered.send_replace(Some(Instant::now()));
        if let Err(end) = search(core, at, known, shared).await {
            return end;
        }
    }
}

/// Waits until a START may follow boots that came right after earlier STARTs.
async fn start_may_follow(core: &Core) -> Result<(), End> {
    while let Some((until, boots)) = core.vitals.not_before() {
        let words = format!(
            "the modem booted {boots} times in a row right after it began to start its service or to sign in: check its \
             power supply, which may be too weak when the modem transmits"
        );
        tracing::warn!("{words}");
        core.stand(State::Recovering, Some(words));
        core.pause(until.saturating_duration_since(Instant::now())).await?;
    }
    Ok(())
}

/// Signs out every client, in any state, and ends the service.
async fn tear_down(at: &At, known: &Known) {
    let mqtt = known.profile.mqtt();
    for client in (0..known.model.mqtt.clients).map(Client) {
        mqtt.close(at, client).await;
    }
    mqtt.stop(at).await;
}

/// Runs the MQTT service once. Returns the trouble that ended it, or `None` if only the need for
/// the service changed.
async fn service(
    core: &Core,
    at: &At,
    known: &Known,
    roster: &Roster,
    shared: &Shared,
) -> Result<Option<(Cause, String)>, End> {
    let (mqtt, stop) = (known.profile.mqtt(), &core.env.stop);
    // Without sessions no service is needed: the modem is here for signal and registration.
    let is_needed = !roster.is_empty();
    if is_needed {
        core.vitals.starting();
        // A start that is dropped half-way leaves the service running; the next start tears it
        // down.
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
    core.stand(State::Serving, None);
    shared.service_up.send_replace(true);
    let end = serve_sessions(core, at, known, roster, shared, is_needed).await;
    shared.service_up.send_replace(false);
    match end {
        ServeEnd::ServiceLost => return Ok(Some((Cause::Service, NO_NETWORK.to_owned()))),
        ServeEnd::Unregistered => {
            let (cause, words) = lost_because(core, shared).unwrap_or((Cause::Unregistered, LOST));
            return Ok(Some((cause, words.to_owned())));
        }
        ServeEnd::Failing => return Ok(Some((Cause::Sessions, SESSIONS.to_owned()))),
        ServeEnd::Forgotten => return Err(End::Booted(QUIET_BOOT)),
        ServeEnd::Stopped | ServeEnd::Regrouped => {}
    }
    if is_needed {
        mqtt.stop(at).await;
    }
    if end != ServeEnd::Stopped {
        return Ok(None);
    }
    // Sessions that made way for a reset: the reset ends this stay.
    stop.cancelled().await;
    Err(End::Stopped)
}

/// Removes files of earlier runs from the modem once sessions are on their way, and then waits for
/// ever. It waits for a session that signs in, and nothing waits for it.
async fn tidy(at: &At, known: &Known, shared: &Shared, mut secured: Vec<Client>) -> End {
    shared.settled.notified().await;
    secured.extend(shared.holders.secured());
    known.profile.mqtt().tidy(at, &secured).await;
    std::future::pending().await
}

/// Polls slow values and the registration, as long as the modem serves.
async fn poll(core: &Core, at: &At, known: &Known, shared: &Shared) -> End {
    // Sessions first: a poll between two steps of a CONNECT delays the first message.
    let _ = tokio::time::timeout(POLL_AFTER, shared.connected.notified()).await;
    tokio::time::sleep(POLL_SETTLE).await;
    // A port that is gone or a boot end the service by other ways as well.
    let _ = learn(core, at, known).await;
    shared.settled.notify_one();
    let mut named = None;
    let mut asked = Duration::ZERO;
    loop {
        let begun = Instant::now();
        match known.profile.status(at).await {
            Ok(status) => core.learned(status),
            Err(error) if error.is_gone() => return End::Gone,
            Err(error) => tracing::debug!("status poll failed: {}", Chain(&error)),
        }
        if let Err(end) = name_operator(core, at, &mut named).await {
            return end;
        }
        // Until the next poll, or until news of the registration require a look.
        let pause = core.config.poll.max(SHARE * (asked + begun.elapsed()));
        let _ = tokio::time::timeout(pause, shared.look.notified()).await;
        let begun = Instant::now();
        match profile::registration(at, &known.model.registration).await {
            Ok(registration) => registered(core, registration, shared),
            Err(error) if error.is_gone() => return End::Gone,
            Err(error) => tracing::debug!("registration poll failed: {}", Chain(&error)),
        }
        let looked = look_at_radio(core, at, shared).await;
        if let Err(end) = looked.and(same_card(core, at, known).await) {
            return end;
        }
        asked = begun.elapsed();
    }
}

/// Reads the operator's name at intervals, and when the registration changed. `named` holds the
/// time of the last read and the registration at that time.
async fn name_operator(
    core: &Core,
    at: &At,
    named: &mut Option<(Instant, (Stat, Option<Act>))>,
) -> Result<(), End> {
    let Some(registration) = core.snapshot.borrow().registration.clone() else { return Ok(()) };
    let now = (registration.stat, registration.act);
    let is_known = named.is_some_and(|(when, of)| when.elapsed() < OPERATOR && of == now);
    if is_known || !registration.stat.is_registered() {
        return Ok(());
    }
    *named = Some((Instant::now(), now));
    match profile::operator(at).await {
        Ok(operator) => core.update(|s| s.operator = operator.operator),
        Err(error) => drop(unless_ended::<()>(error)?),
    }
    Ok(())
}

/// Reads values that are useful but not required, once the sessions are on their way.
async fn learn(core: &Core, at: &At, known: &Known) -> Result<(), End> {
    let revision = Answer::Matching(is_revision);
    let firmware = match profile::run(at, Kind::Status, "AT+CGMR", revision).await {
        Ok(lines) => reply::revision(&lines).ok(),
        Err(error) => unless_ended(error)?,
    };
    core.update(|s| {
        if let Some(identified) = &mut s.identified {
            identified.firmware = firmware;
        }
    });
    match known.profile.iccid(at).await {
        Ok(iccid) => {
            tell_card(core, Card::Iccid(iccid.clone()));
            sim_known(core, iccid);
        }
        Err(error) => drop(unless_ended::<()>(error)?),
    }
    Ok(())
}

/// Returns the cause of a failed start: the network, or the modem itself.
fn why_no_start(error: &MqttError) -> Cause {
    if error.scope() == Scope::Service { Cause::Service } else { Cause::Wedged }
}

/// Reports whether a line may be the answer to `AT+CGMR`, with or without its prefix.
fn is_revision(line: &str) -> bool {
    line.starts_with("+CGMR:") || !line.starts_with(['+', '*', '^'])
}
