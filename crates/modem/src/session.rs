//! One MQTT session inside a modem, from CONNECT to DISC, again and again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
pub use crate::chain::Chain;
use crate::message::Inbox;
use crate::mqtt::{Connection, MqttError, Qos, Scope};
use crate::observe::{DisconnectReason, Observer, PublishResult};

mod broken;
mod context;
mod failures;
mod job;
mod presence;
mod publish;
mod stagger;
mod state;
mod window;
mod words;

use broken::Broken;
pub(crate) use context::{Lost, ServeEnd, SessionContext, Supervisor};
use failures::Failures;
pub use job::{Job, Outcome, Progress};
pub use presence::Presence;
use publish::publish_patiently;
pub use stagger::Stagger;
pub use state::{SessionPhase, SessionState};
pub use window::{Place, Window};
use words::with_cause;

/// Messages handed over before their turn: one on its way and one behind it, so that the modem
/// never waits for us. More messages would be stuck when the session ends.
const JOBS: usize = 2;

/// Messages of a session inside a modem that are published and not yet recorded as delivered.
pub const WINDOW: usize = JOBS;

/// The time without a result after which a publish counts as unknown, and its message may take
/// another path. The route may set another time.
pub const STALL: Duration = Duration::from_secs(15);

/// The time for which a session must hold before earlier failures are forgotten.
const STABLE: Duration = Duration::from_secs(120);

/// The first wait before a reconnect.
const RECONNECT: Duration = Duration::from_secs(1);

/// The time after a failed publish within which the URC of the lost connection comes, if any.
const LOST_FOLLOWS: Duration = Duration::from_millis(300);

/// The longest time for the last message before DISC.
const FAREWELL: Duration = Duration::from_secs(3);

/// The number of sessions closed by the broker under their first message after which that message
/// is left out. The broker may forbid its topic, and the other messages should still go.
const KICKS: u32 = 3;

/// Returns the settings with which a session signs in. It is called before each CONNECT, on a
/// thread that may block, so that a rotated secret takes effect; `Err` holds the reason as text.
pub type ConnectionSource = Arc<dyn Fn() -> Result<Connection, String> + Send + Sync>;

/// The settings of a session.
#[derive(Clone)]
pub struct SessionConfig {
    /// Its name in the fleet file.
    pub name: String,
    /// The settings with which it signs in.
    pub connection: ConnectionSource,
    /// Its subscriptions after each CONNECT.
    pub subscriptions: Vec<(String, Qos)>,
    /// The longest wait before a reconnect.
    pub reconnect_max: Duration,
    /// True if it uses TLS; its [`Connection`] then has the certificates.
    pub secured: bool,
    /// The messages about its own presence, if any.
    pub presence: Option<Presence>,
    /// Takes its received messages.
    pub inbox: Arc<dyn Inbox>,
}

/// The agent's end of a session.
#[derive(Debug, Clone)]
pub struct Uplink {
    /// Takes messages while the session is connected.
    pub jobs: mpsc::Sender<Job>,
    /// The state of the session.
    pub state: watch::Receiver<SessionState>,
    /// Ends the session for good, in order; used by [`Roster::leave`](crate::Roster::leave).
    pub leave: CancellationToken,
    /// True while the result of a message is overdue; those behind it wait.
    pub stalled: watch::Receiver<bool>,
    /// Its places for messages of the queue. A message in the session holds one of them.
    pub window: Window,
    /// Asks for a new connection; used by [`reconnect`](Self::reconnect).
    pub renew: watch::Sender<u64>,
}

impl Uplink {
    /// Has the session sign out and in again. If it waits before its next attempt, that comes now.
    pub fn reconnect(&self) {
        self.renew.send_modify(|asked| *asked = asked.wrapping_add(1));
    }
}

enum Next {
    Stop,
    Forbidden,
    Renew,
    Lost(Lost),
    Job(Job),
}

/// The modem's end of a session. It lives as long as the fleet entry; state of one run of the
/// service is in `SessionContext`.
pub struct Session {
    pub(crate) config: SessionConfig,
    jobs: mpsc::Receiver<Job>,
    state: watch::Sender<SessionState>,
    stalled: watch::Sender<bool>,
    renew: watch::Receiver<u64>,
    observer: Arc<dyn Observer>,
    backoff: Backoff,
    /// True while a connection stands whose end is not counted yet.
    open: bool,
    /// Cancelled to end the session for good.
    pub(crate) leave: CancellationToken,
    /// Sessions in a row that the broker closed under their first message.
    kicked_greetings: u32,
    /// True if its broker closed it under a message that its sender suspected.
    is_excused: bool,
    /// Its recent failures.
    failures: Failures,
}

/// Creates a session, with the end that the agent keeps.
pub fn session(config: SessionConfig, observer: Arc<dyn Observer>) -> (Uplink, Session) {
    let (job_tx, jobs) = mpsc::channel(JOBS);
    let (state, state_rx) =
        watch::channel(SessionState { phase: SessionPhase::Waiting, reason: None });
    let (stalled, stalled_rx) = watch::channel(false);
    let renew = watch::Sender::default();
    let renew_rx = renew.subscribe();
    let backoff = Backoff::new(RECONNECT, config.reconnect_max);
    let leave = CancellationToken::new();
    (
        Uplink {
            jobs: job_tx,
            state: state_rx,
            stalled: stalled_rx,
            leave: leave.clone(),
            window: Window::new(WINDOW),
            renew,
        },
        Session {
            config,
            jobs,
            state,
            stalled,
            renew: renew_rx,
            observer,
            backoff,
            open: false,
            leave,
            kicked_greetings: 0,
            is_excused: false,
            failures: Failures::default(),
        },
    )
}

impl Session {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn stand(&self, phase: SessionPhase, reason: Option<String>) {
        self.state.send_replace(SessionState { phase, reason });
    }

    /// Ends the connected phase, if it stood, and gives back the messages that were not sent.
    pub(crate) fn went(&mut self, reason: DisconnectReason, words: &str) {
        self.count_end(reason);
        if matches!(reason, DisconnectReason::Unplug) {
            // Another life of the modem follows: its first CONNECT waits for nothing.
            self.backoff.reset();
            self.failures = Failures::default();
        }
        if self.state.borrow().phase != SessionPhase::Failed {
            self.stand(SessionPhase::Waiting, Some(words.to_owned()));
        }
        self.give_back();
    }

    fn count_end(&mut self, reason: DisconnectReason) {
        if std::mem::take(&mut self.open) {
            self.observer.disconnect(self.name(), reason);
        }
    }

    /// Marks the session as impossible at present, once.
    pub(crate) fn turn_away(&mut self, reason: &str) {
        let failed = SessionState { phase: SessionPhase::Failed, reason: Some(reason.to_owned()) };
        if *self.state.borrow() != failed {
            tracing::error!(session = self.name(), "{reason}");
            self.state.send_replace(failed);
        }
        self.give_back();
    }

    fn give_back(&mut self) {
        self.stalled.send_if_modified(std::mem::take);
        while let Ok(job) = self.jobs.try_recv() {
            job.done(Outcome::NotSent);
        }
    }

    /// Waits while the session is down; messages that come meanwhile go back at once.
    async fn while_down<T>(&mut self, wait: impl Future<Output = T>) -> T {
        let mut wait = std::pin::pin!(wait);
        loop {
            // Both arms are cancel safe, and none awaits in its body.
            tokio::select! {
                value = &mut wait => return value,
                Some(job) = self.jobs.recv() => job.done(Outcome::NotSent),
            }
        }
    }

    /// Keeps the session up until the stop.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the modem's client open; the owner then calls [`Self::went`] and
    /// restarts the service or the modem.
    pub(crate) async fn serve(&mut self, mut context: SessionContext<'_>) -> ServeEnd {
        self.failures.service_started();
        loop {
            self.stand(SessionPhase::Waiting, Some("not registered in a network".to_owned()));
            let mut registered = context.registered.clone();
            let stop = context.stop.clone();
            let stagger = context.stagger;
            let ready = async {
                // Both arms are cancel safe, and none awaits in its body.
                tokio::select! {
                    () = stop.cancelled() => false,
                    ready = registered.wait_for(|yes| *yes) => ready.is_ok(),
                }
            };
            if !self.while_down(ready).await {
                return ServeEnd::Stopped;
            }
            self.while_down(stagger.turn()).await;
            match self.once(&mut context).await {
                Ok(()) => return ServeEnd::Stopped,
                Err(_) if self.failures.is_forgotten && !context.supervisor.others_are_sound() => {
                    return ServeEnd::Forgotten;
                }
                // A recent acknowledgement of another session of this modem vetoes the restart of
                // both.
                Err(Scope::Service) if !context.supervisor.others_are_sound() => {
                    return ServeEnd::ServiceLost;
                }
                Err(Scope::Message) => {
                    // The configuration cannot work with this modem; a reload, another modem or a
                    // person who changed the broker may help.
                    if self.rests(None, context.stop).await {
                        return ServeEnd::Stopped;
                    }
                    continue;
                }
                Err(Scope::Service | Scope::Session | Scope::Busy) => {}
            }
            let (fails, sound) = (self.failures.is_row(), context.supervisor.others_are_sound());
            context.supervisor.fails(&self.config.name, fails);
            if fails && !sound && context.supervisor.is_restart_due() {
                self.failures.forgive();
                return ServeEnd::Failing;
            }
            // The failure that a suspected message caused makes no other message wait longer the
            // next time.
            let wait = match std::mem::take(&mut self.is_excused) {
                true => RECONNECT,
                false => self.failures.next_wait(&mut self.backoff, sound),
            };
            if self.rests(Some(wait), context.stop).await {
                return ServeEnd::Stopped;
            }
        }
    }

    /// Waits before the next attempt, until a person asks for it at the latest. Returns true at the
    /// stop.
    async fn rests(&mut self, wait: Option<Duration>, stop: &CancellationToken) -> bool {
        let mut renew = self.renew.clone();
        let over = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        self.while_down(async {
            // All arms are cancel safe, and none awaits in its body.
            tokio::select! {
                () = stop.cancelled() => true,
                Ok(()) = renew.changed() => false,
                () = over => false,
            }
        })
        .await
    }

    /// Notes that the stack works for this session.
    fn is_sound(&mut self, context: &SessionContext<'_>) {
        self.failures.forgive();
        context.supervisor.fails(&self.config.name, false);
    }

    /// Runs one connection, from CONNECT to its end. `Ok` after the stop.
    async fn once(&mut self, context: &mut SessionContext<'_>) -> Result<(), Scope> {
        while context.lost.try_recv().is_ok() {} // of an earlier connection
        self.renew.mark_unchanged();
        self.stand(SessionPhase::Connecting, None);
        context.supervisor.connecting();
        let began = Instant::now();
        if let Err(error) = self.open(context).await {
            let has_service = context.mqtt.has_service();
            self.failures.of_connect(&error, began.elapsed(), has_service);
            let scope = match error.scope() {
                // A CONNECT that is refused while registered only needs patience.
                Scope::Message if !error.is_hopeless() => Scope::Session,
                scope => scope,
            };
            // The cause of a loss came meanwhile, or follows.
            let lost = tokio::time::timeout(LOST_FOLLOWS, context.lost.recv());
            let lost = self.while_down(lost).await.ok().flatten();
            let reason = with_cause(lost.map(|lost| lost.cause), &error);
            self.observer.connect(self.name(), false);
            // -1 is the modem's own code: neither the network nor the broker has sent it.
            if scope != Scope::Service && error.code().is_some_and(|code| code >= 0) {
                context.supervisor.refused();
            }
            tracing::warn!(
                session = self.name(),
                command = error.command(),
                code = error.code(),
                "could not connect: {reason}"
            );
            let phase = if scope == Scope::Message {
                SessionPhase::Failed
            } else {
                SessionPhase::BackingOff
            };
            self.stand(phase, Some(reason));
            self.while_down(async {
                // A SUB that failed may be followed by one more OK, as a failed publish may: it must
                // not be taken for the answer of DISC.
                context.at.doubt().await;
                context.mqtt.close(context.at, context.client).await;
            })
            .await;
            return Err(scope);
        }
        self.observer.connect(self.name(), true);
        self.open = true;
        self.failures.connected();
        self.stand(SessionPhase::Connected, None);
        context.supervisor.connected();
        tracing::info!(session = self.name(), "connected");
        let since = Instant::now();
        let end = self.connected(context).await;
        context.supervisor.ended();
        if since.elapsed() >= STABLE {
            self.backoff.reset();
            self.failures.stable();
            self.is_sound(context);
        }
        self.ended(context, end).await
    }

    /// Signs out after `end`, and returns the extent of the loss.
    async fn ended(
        &mut self,
        context: &SessionContext<'_>,
        end: Result<(), Broken>,
    ) -> Result<(), Scope> {
        let (reason, words, scope) = match &end {
            Ok(()) => (DisconnectReason::Agent, "ended by this agent".to_owned(), None),
            Err(broken) => (broken.reason, broken.words.clone(), Some(broken.scope)),
        };
        self.count_end(reason);
        self.stand(SessionPhase::BackingOff, Some(words.clone()));
        self.give_back();
        tracing::info!(session = self.name(), "disconnected: {words}");
        self.while_down(context.mqtt.close(context.at, context.client)).await;
        scope.map_or(Ok(()), Err)
    }

    async fn open(&mut self, context: &SessionContext<'_>) -> Result<(), MqttError> {
        let source = Arc::clone(&self.config.connection);
        let subscriptions = self.config.subscriptions.clone();
        self.while_down(async {
            let connection = tokio::task::spawn_blocking(move || source())
                .await
                .unwrap_or_else(|_| Err("the thread that reads the secret panicked".to_owned()))
                .map_err(|reason| MqttError::NoCredentials { reason })?;
            if connection.tls.is_some() && !context.mqtt.speaks_tls() {
                return Err(MqttError::NoTls);
            }
            if connection.triple.is_some() && !context.mqtt.signs_aliyun() {
                return Err(MqttError::NoAliauth);
            }
            let connection = Connection { is_shared: context.supervisor.is_shared(), ..connection };
            context.mqtt.open(context.at, context.client, &connection).await?;
            if subscriptions.is_empty() {
                return Ok(());
            }
            context.mqtt.subscribe(context.at, context.client, &subscriptions).await
        })
        .await
    }

    /// Publishes messages until the session breaks, or the stop.
    async fn connected(&mut self, context: &mut SessionContext<'_>) -> Result<(), Broken> {
        self.greet(context).await?;
        loop {
            // All arms are cancel safe, and none awaits in its body.
            let next = tokio::select! {
                biased;
                Some(lost) = context.lost.recv() => Next::Lost(lost),
                () = context.stop.cancelled() => Next::Stop,
                Ok(_) = context.forbidden.wait_for(|forbidden| *forbidden) => Next::Forbidden,
                Ok(()) = self.renew.changed() => Next::Renew,
                Some(job) = self.jobs.recv() => Next::Job(job),
            };
            match next {
                Next::Stop => {
                    self.part(context).await;
                    return Ok(());
                }
                Next::Lost(lost) => return Err(lost.into()),
                Next::Job(job) if job.progress.is_closed() => {} // withdrawn
                Next::Job(job) => self.publish(context, job).await?,
                Next::Renew => {
                    self.part(context).await;
                    return Err(Broken::asked());
                }
                Next::Forbidden => {
                    self.part(context).await;
                    return Err(Broken::forbidden());
                }
            }
        }
    }

    /// Publishes the first message.
    async fn greet(&mut self, context: &mut SessionContext<'_>) -> Result<(), Broken> {
        let Some(presence) = self.config.presence.clone() else { return Ok(()) };
        if self.kicked_greetings >= KICKS {
            return Ok(());
        }
        let topic = presence.online.topic.clone();
        let (job, mut news) = Job::new(presence.online, STALL);
        let said = self.publish(context, job).await;
        let mut kicked = false;
        while let Ok(progress) = news.try_recv() {
            kicked = matches!(progress, Progress::Done(Outcome::Lost { by_broker: true }));
        }
        self.kicked_greetings = if kicked { self.kicked_greetings + 1 } else { 0 };
        if self.kicked_greetings >= KICKS {
            tracing::error!(
                session = self.name(),
                topic,
                "the broker closes the session each time it publishes `online`; not published again"
            );
        }
        said
    }

    /// Publishes the last message, if there is time.
    async fn part(&mut self, context: &SessionContext<'_>) {
        let Some(presence) = self.config.presence.clone() else { return };
        let message = presence.offline;
        self.observer.sending(self.name(), &message);
        let started = Instant::now();
        let said = tokio::time::timeout(FAREWELL, publish_patiently(context, &message));
        let result = match self.while_down(said).await {
            Ok(Ok(())) => PublishResult::Ok,
            Ok(Err(error)) if !error.is_timeout() => PublishResult::Error,
            Ok(Err(_)) | Err(_) => PublishResult::Timeout,
        };
        self.observer.publish(self.name(), message.qos.number(), result, started.elapsed());
    }

    /// Waits for the URC that follows a failed publish. Returns the reason, whether the message may
    /// have caused it, and the error as text.
    async fn who_broke_it(
        &mut self,
        context: &mut SessionContext<'_>,
        error: &MqttError,
    ) -> (DisconnectReason, bool, String) {
        let lost = tokio::time::timeout(LOST_FOLLOWS, context.lost.recv());
        let (reason, accused, cause) = match self.while_down(lost).await {
            Ok(Some(Lost { by_broker: true, cause })) => {
                (DisconnectReason::Broker, error.may_accuse_message(), Some(cause))
            }
            // Another cause, or the modem is going: it was not the message.
            Ok(lost) => (DisconnectReason::Network, false, lost.map(|lost| lost.cause)),
            // No URC came: the code of the failed publish is all there is.
            Err(_) => (DisconnectReason::Network, error.is_kick(), None),
        };
        // The causes that a modem prints after a loss of its network mean nothing.
        (reason, accused && *context.registered.borrow(), with_cause(cause, error))
    }

    /// Publishes one message and reports the outcome to its sender.
    async fn publish(&mut self, context: &mut SessionContext<'_>, job: Job) -> Result<(), Broken> {
        let started = Instant::now();
        self.observer.sending(self.name(), &job.message);
        let outcome = self.publish_watched(context, &job, started).await;
        self.stalled.send_if_modified(std::mem::take);
        let tell = |result| {
            self.observer.publish(self.name(), job.message.qos.number(), result, started.elapsed())
        };
        let error = match outcome {
            Ok(()) => {
                tell(PublishResult::Ok);
                context.supervisor.acknowledged();
                self.is_sound(context);
                job.done(Outcome::Acknowledged);
                return Ok(());
            }
            Err(error) => error,
        };
        tell(if error.is_timeout() { PublishResult::Timeout } else { PublishResult::Error });
        tracing::warn!(
            session = self.name(),
            command = error.command(),
            code = error.code(),
            topic = job.message.topic,
            "publish failed: {}",
            Chain(&error)
        );
        if error.scope() == Scope::Message {
            job.done(Outcome::Refused(error));
            return Ok(());
        }
        self.failures.of_publish(&error, started.elapsed());
        // Down before its sender gets the outcome, so that the message is not handed over here
        // again.
        self.stand(SessionPhase::BackingOff, Some(Chain(&error).to_string()));
        let (reason, by_broker, words) = self.who_broke_it(context, &error).await;
        self.is_excused = by_broker && job.is_suspect;
        job.done(Outcome::Lost { by_broker });
        // Some firmware sends one more OK after an operation that failed this way.
        context.at.doubt().await;
        Err(Broken { reason, words, scope: error.scope() })
    }

    async fn publish_watched(
        &self,
        context: &SessionContext<'_>,
        job: &Job,
        started: Instant,
    ) -> Result<(), MqttError> {
        let mut publishing = std::pin::pin!(publish_patiently(context, &job.message));
        let mut stalled = false;
        loop {
            // Both arms are cancel safe, and none awaits in its body.
            tokio::select! {
                outcome = &mut publishing => return outcome,
                () = tokio::time::sleep_until(started + job.stall), if !stalled => {
                    stalled = true;
                    self.observer.publish(self.name(), job.message.qos.number(), PublishResult::Unknown, started.elapsed());
                    // Its own sender gets the news first, and those behind it then.
                    let _ = job.progress.try_send(Progress::Stalled);
                    self.stalled.send_replace(true);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
