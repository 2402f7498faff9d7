//! The forwarders that run: one for each lane, each with a stop of its own, so that a lane that does not
//! change goes on while others end and begin.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use queue::Queue;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::adopt::Held;
use super::forwarder::Forwarder;
use super::given::Given;
use super::plan::LanePlan;
use crate::metrics::Metrics;
use crate::now::Waiting;

/// All forwarders of an agent.
pub struct Forwarding {
    queue: Queue,
    metrics: Arc<Metrics>,
    given: Given,
    /// Their forwarders wait.
    held: watch::Sender<Held>,
    stop: CancellationToken,
    running: BTreeMap<String, Running>,
    /// Each gives its lane's name at its end.
    tasks: JoinSet<String>,
}

struct Running {
    plan: LanePlan,
    stop: CancellationToken,
    waiting: watch::Receiver<Waiting>,
    task: AbortHandle,
}

impl Forwarding {
    /// None runs yet; `stop` ends all of them.
    pub fn new(queue: Queue, metrics: Arc<Metrics>, stop: CancellationToken) -> Self {
        let (running, tasks) = (BTreeMap::new(), JoinSet::new());
        let (given, held) = (Given::default(), watch::Sender::default());
        Self { queue, metrics, given, held, stop, running, tasks }
    }

    /// The session that has each message.
    pub fn given(&self) -> Given {
        self.given.clone()
    }

    /// The lanes whose forwarders wait: its holder may let them begin.
    pub fn held(&self) -> watch::Sender<Held> {
        self.held.clone()
    }

    /// Holds these lanes, and no others: forwarders that are started there from now on wait.
    pub fn hold(&self, lanes: Held) {
        self.held.send_replace(lanes);
    }

    /// Asks those to end whose lane is not wanted, or not in this form, or held. They wait for the results of their
    /// publishes, and give the rest of their messages back.
    pub fn end_others(&self, wanted: &[LanePlan]) {
        for (lane, running) in &self.running {
            let stays = wanted.iter().any(|plan| plan.lane == *lane && plan.is_like(&running.plan));
            if !stays || self.held.borrow().contains(lane.as_str()) {
                running.stop.cancel();
            }
        }
    }

    /// Waits until those that were asked to end have ended.
    ///
    /// # Cancel safety
    /// Those that have not ended yet do so by themselves, and are waited for at the next call.
    pub async fn ended(&mut self) {
        while self.running.values().any(|running| running.stop.is_cancelled()) {
            let Some(ended) = self.tasks.join_next().await else { break };
            self.note_end(ended);
        }
        self.running.retain(|_, running| !running.stop.is_cancelled());
    }

    /// Starts the forwarders that are wanted and do not run.
    pub fn start(&mut self, wanted: Vec<LanePlan>) {
        self.forget_routes(&wanted);
        self.queue.share_among(wanted.iter().map(|plan| plan.lane.clone()).collect());
        for plan in wanted {
            if self.running.contains_key(&plan.lane) {
                continue;
            }
            let (stop, lane) = (self.stop.child_token(), plan.lane.clone());
            let forwarder = Forwarder::new(
                self.queue.clone(),
                lane.clone(),
                plan.targets(),
                plan.routing.clone(),
                Arc::clone(&self.metrics),
                stop.clone(),
                self.given.clone(),
            );
            let (waiting, name) = (forwarder.waiting(), lane.clone());
            let (mut held, told) = (self.held.subscribe(), stop.clone());
            let span = tracing::error_span!("lane", lane);
            let task = async move {
                let is_free = held.wait_for(|held| !held.contains(lane.as_str()));
                // An error, or a stop: it has nothing to do then.
                drop(told.run_until_cancelled(is_free).await);
                forwarder.run().await;
                lane
            };
            let task = self.tasks.spawn(task.instrument(span));
            self.running.insert(name, Running { plan, stop, waiting, task });
        }
    }

    /// Takes the series of paths that no lane has any more.
    fn forget_routes(&self, wanted: &[LanePlan]) {
        let paths: BTreeSet<_> = wanted.iter().flat_map(LanePlan::paths).collect();
        self.metrics.routes.keep_paths(&paths);
    }

    /// For each lane by its name, since when messages wait.
    pub fn waiting(&self) -> Vec<(String, watch::Receiver<Waiting>)> {
        let lane = |(name, running): (&String, &Running)| (name.clone(), running.waiting.clone());
        self.running.iter().map(lane).collect()
    }

    /// Waits for a forwarder to end unexpectedly, and returns the error.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn failed(&mut self) -> anyhow::Error {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(lane)) if !self.is_told(&lane) => {
                    return anyhow::anyhow!(
                        "the forwarder of the lane {lane:?} ended unexpectedly"
                    );
                }
                Some(Ok(lane)) => drop(self.running.remove(&lane)),
                Some(Err(panic)) => return anyhow::anyhow!(panic).context("a forwarder panicked"),
                None => std::future::pending().await,
            }
        }
    }

    fn is_told(&self, lane: &str) -> bool {
        self.running.get(lane).is_none_or(|running| running.stop.is_cancelled())
    }

    fn note_end(&mut self, ended: Result<String, tokio::task::JoinError>) {
        match ended {
            Ok(lane) => drop(self.running.remove(&lane)),
            Err(error) => {
                // Its lane is started again, if it is still wanted.
                self.running.retain(|_, running| running.task.id() != error.id());
                tracing::error!("a forwarder was lost: {error}");
            }
        }
    }

    /// Waits until all have ended.
    ///
    /// # Cancel safety
    /// Those that have not ended yet do so by themselves.
    pub async fn all_ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Ends all at once; messages that they gave out may be published once more.
    pub async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }
}
