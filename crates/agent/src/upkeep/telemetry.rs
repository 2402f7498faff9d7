//! Telemetry: a modem's state as JSON on a topic, published at an interval.
//!
//! It does not go through the queue, since only the newest state is useful. In the queue it would
//! take the place of applications' messages while a session is down, and arrive when it is
//! outdated. It takes a turn in its session like any message, only while the session is connected.
//! It pauses while the budget of the SIM lets low priorities wait.
//!
//! `online` is the session's own first message, `offline` its last message and its will. SIMCom's
//! stack has no retained will. So if a session stays away, another session of the gateway at the
//! same broker publishes its `offline`, retained.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use modem::mqtt::Message;
use modem::session::{Job, Outcome, Progress, STALL};
use modem::{Snapshot, State};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::now::{ModemView, SessionView, find_session};
use fleet::{Access, Fleet, Session, SessionId, Telemetry};

/// The longest wait of a session's first state for the first signal, which is asked for only then.
const FIRST_SIGNAL: Duration = Duration::from_secs(5);

/// The absence after which another session reports it.
const AWAY: Duration = Duration::from_secs(3);

/// The number of sessions in a row that the broker closes during a state. After them no more states
/// are published: the broker may forbid the topic, and other messages must still pass.
const KICKS: u32 = 3;

/// The tasks that publish telemetry, one for each modem that does.
#[derive(Default)]
pub struct TelemetryTasks {
    running: BTreeMap<String, (TelemetryTask, CancellationToken)>,
    tasks: JoinSet<()>,
}

impl TelemetryTasks {
    /// Makes the running tasks those of `wanted`; an unchanged task continues. `stop` ends them
    /// all.
    pub fn set(&mut self, wanted: Vec<TelemetryTask>, stop: &CancellationToken) {
        while self.tasks.try_join_next().is_some() {}
        let stays = |name: &String, task: &TelemetryTask| {
            wanted.iter().any(|wanted| wanted.modem.name == *name && wanted.is_like(task))
        };
        self.running.retain(|name, (task, stop)| {
            let stays = stays(name, task);
            if !stays {
                stop.cancel();
            }
            stays
        });
        for task in wanted {
            let name = task.modem.name.clone();
            if !self.running.contains_key(&name) {
                let stop = stop.child_token();
                self.tasks.spawn(task.clone().run(stop.clone()));
                self.running.insert(name, (task, stop));
            }
        }
    }

    /// Waits for a task to panic, and returns the panic.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn failed(&mut self) -> anyhow::Error {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(())) => {}
                Some(Err(panic)) => return anyhow::anyhow!(panic).context("telemetry panicked"),
                None => std::future::pending().await,
            }
        }
    }
}

/// Publishes the state of one modem.
#[derive(Clone)]
pub struct TelemetryTask {
    gateway: String,
    telemetry: Telemetry,
    modem: ModemView,
    session: SessionView,
    kicks: u32,
    /// Sessions that may report it offline, each with its modem.
    others: Vec<(ModemView, SessionView)>,
}

/// Returns the tasks of a fleet.
pub fn tasks(fleet: &Fleet, modems: &[ModemView]) -> Vec<TelemetryTask> {
    let task = |modem: &fleet::Modem| {
        let telemetry = modem.telemetry.clone()?;
        let id = SessionId { modem: modem.name.clone(), session: telemetry.session.clone() };
        Some(TelemetryTask {
            gateway: fleet.gateway.to_string(),
            telemetry,
            modem: find_session(modems, &id)?.0.clone(),
            session: find_session(modems, &id)?.1.clone(),
            kicks: 0,
            others: others(fleet, modems, &id),
        })
    };
    fleet.modems.iter().filter_map(task).collect()
}

/// Returns the sessions of other modems at the broker of this session.
fn others(fleet: &Fleet, modems: &[ModemView], id: &SessionId) -> Vec<(ModemView, SessionView)> {
    let at_broker = |session: &&Session| {
        // A device of Alibaba Cloud may publish on its own topics only.
        matches!(session.access, Access::Plain { .. })
    };
    let Some(own) = fleet.sessions().filter(at_broker).find(|session| session.id == *id) else {
        return Vec::new();
    };
    let address = own.address();
    let same = fleet
        .sessions()
        .filter(at_broker)
        .filter(|other| other.id.modem != id.modem && other.address() == address);
    same.filter_map(|other| {
        let (modem, session) = find_session(modems, &other.id)?;
        Some((modem.clone(), session.clone()))
    })
    .collect()
}

impl TelemetryTask {
    /// Reports whether a task can replace another: the same values, published by the same running
    /// sessions.
    fn is_like(&self, other: &Self) -> bool {
        let same = |one: &SessionView, other: &SessionView| {
            one.uplink.jobs.same_channel(&other.uplink.jobs)
        };
        self.gateway == other.gateway
            && self.telemetry == other.telemetry
            && same(&self.session, &other.session)
            && self.others.len() == other.others.len()
            && self.others.iter().zip(&other.others).all(|((_, one), (_, other))| same(one, other))
    }

    /// Publishes the state at its interval until stopped.
    ///
    /// # Cancel safety
    /// Dropping the future may lose a state that is on its way.
    pub async fn run(mut self, stop: CancellationToken) {
        // Both arms are cancel safe, and none awaits in its body.
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.tell() => {}
        }
    }

    async fn tell(&mut self) {
        while self.kicks < KICKS {
            self.come_back().await;
            let mut state = self.session.uplink.state.clone();
            let mut snapshot = self.modem.snapshot.clone();
            // Both arms are cancel safe, and none awaits in its body.
            tokio::select! {
                // A modem that reports no signal still has a state.
                _ = timeout(FIRST_SIGNAL, snapshot.wait_for(|now| !now.signals.is_empty())) => {}
                _ = state.wait_for(|state| !state.is_connected()) => continue,
            }
            let mut every = interval(self.telemetry.every);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                // Both arms are cancel safe, and none awaits in its body.
                let due = tokio::select! {
                    _ = every.tick() => true,
                    _ = state.wait_for(|state| !state.is_connected()) => false,
                };
                if !due || !self.tell_once().await {
                    break;
                }
            }
        }
        // A task that ends by itself would count as a failure.
        std::future::pending().await
    }

    /// Waits for its session to connect. If that takes long, another session reports it offline.
    async fn come_back(&mut self) {
        let mut state = self.session.uplink.state.clone();
        let mut said = false;
        loop {
            let back = async { state.wait_for(|state| state.is_connected()).await.map(drop) };
            match timeout(if said { Duration::MAX } else { AWAY }, back).await {
                Ok(Ok(())) => return,
                // The modem is gone for good.
                Ok(Err(_)) => std::future::pending().await,
                Err(_) => said = self.say_offline().await,
            }
            // The session may have connected while that was on its way, and published `online`
            // before it.
            if said && state.borrow().is_connected() {
                if let Some(online) = self.status("online") {
                    self.session.publish(online).await;
                }
                return;
            }
        }
    }

    /// Publishes `offline` for its session through another session; `true` if nothing is left to
    /// publish.
    async fn say_offline(&mut self) -> bool {
        let Some(message) = self.status("offline") else { return true };
        let may = |(modem, session): &&(ModemView, SessionView)| {
            session.state().is_connected() && !spares(modem)
        };
        let Some((_, other)) = self.others.iter().find(may) else { return self.others.is_empty() };
        match other.publish(message).await {
            Outcome::Acknowledged => true,
            Outcome::Lost { by_broker: true } => {
                tracing::warn!(session = %self.session.id, other = %other.id, "the broker closed this session when it published `offline` for another one; not tried again");
                self.others.clear();
                true
            }
            Outcome::Refused(_) | Outcome::Lost { .. } | Outcome::NotSent => false,
        }
    }

    fn status(&self, word: &str) -> Option<Message> {
        Some(Message {
            topic: self.telemetry.status.clone()?,
            payload: word.as_bytes().to_vec(),
            qos: self.telemetry.qos,
            retain: true,
        })
    }

    /// Publishes the state once; `false` if the session ended.
    async fn tell_once(&mut self) -> bool {
        if spares(&self.modem) {
            return true;
        }
        let topic = &self.telemetry.topic;
        match self.session.publish(self.message()).await {
            Outcome::Acknowledged => {
                self.kicks = 0;
                true
            }
            Outcome::Refused(error) => {
                let words = modem::session::Chain(&error);
                tracing::warn!(session = %self.session.id, topic, "telemetry refused: {words}");
                true
            }
            Outcome::Lost { by_broker } => {
                self.kicks = if by_broker { self.kicks + 1 } else { 0 };
                if self.kicks >= KICKS {
                    tracing::error!(session = %self.session.id, topic, "the broker closes the session each time telemetry is published; telemetry stops until the agent restarts");
                }
                false
            }
            Outcome::NotSent => false,
        }
    }

    fn message(&self) -> Message {
        let snapshot = self.modem.snapshot.borrow().clone();
        let state = state(&self.gateway, &self.modem.name, &snapshot, Timestamp::now());
        Message {
            topic: self.telemetry.topic.clone(),
            payload: state.to_string().into_bytes(),
            qos: self.telemetry.qos,
            retain: self.telemetry.retain,
        }
    }
}

/// Reports whether the budget of a modem's SIM lets low priorities wait.
fn spares(modem: &ModemView) -> bool {
    modem.meter.as_ref().is_some_and(|meter| meter.allowance().borrow().floor > 0)
}

impl SessionView {
    /// Publishes a message in its turn among those of the queue, and returns its outcome.
    async fn publish(&self, message: Message) -> Outcome {
        let (job, mut news) = Job::new(message, STALL);
        if self.uplink.jobs.send(job).await.is_err() {
            return Outcome::NotSent;
        }
        loop {
            match news.recv().await {
                Some(Progress::Done(outcome)) => return outcome,
                Some(Progress::Stalled) => {}
                None => return Outcome::NotSent,
            }
        }
    }
}

/// Returns the state as JSON. Unknown values are left out, and so are the identities of the modem
/// and its SIM.
fn state(gateway: &str, modem: &str, snapshot: &Snapshot, now: Timestamp) -> Value {
    let mut object = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            object.insert(key.to_owned(), value);
        }
    };
    let seconds = now.round(jiff::Unit::Second).unwrap_or(now);
    put("gateway", Some(json!(gateway)));
    put("modem", Some(json!(modem)));
    put("time", Some(json!(seconds.to_string())));
    put("state", Some(json!(State::as_str(snapshot.state))));
    if let Some(is) = &snapshot.identified {
        put("model", Some(json!(is.model)));
        put("manufacturer", Some(json!(is.manufacturer)));
        put("firmware", is.firmware.as_ref().map(|firmware| json!(firmware)));
    }
    put("operator", snapshot.operator.as_ref().map(|operator| json!(operator)));
    // The cell is left out, since it reveals the place.
    put("registration", snapshot.registration.as_ref().map(|it| json!(it.stat.as_str())));
    let signals = &snapshot.signals;
    put("signals", (!signals.is_empty()).then(|| json!(signals)));
    put("temperature_celsius", snapshot.temperature_celsius.map(|celsius| json!(celsius)));
    Value::Object(object)
}

#[cfg(test)]
mod tests;
