//! From the queue to the sessions: one forwarder per lane, failing over between its sessions.
//!
//! A lane of the queue is a route, or a session that messages were pinned to. Its forwarder leases
//! messages in order and gives them to the first session of the lane that is connected. The queue owns
//! a message until the broker's acknowledgement: a forwarder that dies loses nothing but its leases.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use futures_util::StreamExt;
use futures_util::future::select_all;
use futures_util::stream::FuturesUnordered;
use modem::mqtt::{Message, Qos};
use modem::session::{Job, Outcome, Progress, Uplink};
use queue::{Lease, Queue, StoreError};
use sha1::{Digest, Sha1};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{Fleet, Route, SessionId};
use crate::view::View;

/// Messages of one lane handed to a session at a time: the one on its way and the next.
const WINDOW: usize = 2;

/// Messages leased ahead, so that the modem never waits for the disk: as many as were used up within
/// [`AHEAD_TIME`], between these bounds. Those that are leased no longer make way for a higher priority.
const AHEAD: (usize, usize) = (2, 64);

/// How long the messages leased ahead should last.
const AHEAD_TIME: std::time::Duration = std::time::Duration::from_millis(50);

/// News of one message: that its result stays out, and its end.
const PROGRESS: usize = 2;

/// How long to wait after the store failed to hand out messages.
const STORE_RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// The lane of a route. Filters that are too long for a lane's name stand there as a digest.
pub fn route_lane(route: &Route) -> String {
    let lane = format!("route {}", route.topic);
    if lane.len() <= queue::MAX_NAME {
        return lane;
    }
    let digest: String =
        Sha1::digest(route.topic.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
    format!("route sha1:{digest}")
}

/// The lane of messages that wait for one session only.
pub fn session_lane(session: &SessionId) -> String {
    format!("session {session}")
}

/// Moves messages of lanes that the fleet file no longer has to the routes that match them now. Those
/// that match none stay, and are named.
///
/// # Errors
/// [`StoreError`] where the queue could not be read.
pub async fn adopt_orphans(queue: &Queue, fleet: &Fleet) -> Result<(), StoreError> {
    let known: Vec<String> = fleet
        .routes()
        .iter()
        .map(route_lane)
        .chain(fleet.sessions().map(|s| session_lane(&s.id)))
        .collect();
    let lanes: Vec<String> = queue.stat().lanes.keys().map(ToString::to_string).collect();
    for lane in lanes.into_iter().filter(|lane| !known.contains(lane)) {
        // A message pinned to a session waits for that session, even if it comes back later.
        let stranded = match lane.starts_with("session ") {
            true => queue.stat().lanes.get(lane.as_str()).map_or(0, |lane| lane.messages),
            false => reroute(queue, fleet, &lane).await?,
        };
        if stranded > 0 {
            tracing::warn!(
                lane,
                stranded,
                "queued messages have no way out by this fleet file; they are kept"
            );
        }
    }
    Ok(())
}

/// Moves what a route matches; tells how many messages no route matches.
async fn reroute(queue: &Queue, fleet: &Fleet, lane: &str) -> Result<u64, StoreError> {
    let mut stranded = Vec::new();
    loop {
        let leases = queue.lease(lane, 256).await?;
        if leases.is_empty() {
            break;
        }
        for lease in leases {
            let Some(route) = fleet.route(&lease.topic) else {
                stranded.push(lease.id);
                continue;
            };
            if let Err(error) = queue.transfer(lease.id, &route_lane(route)).await {
                tracing::error!(id = %lease.id, "could not move a message to its new route: {error}");
                stranded.push(lease.id);
            }
        }
    }
    let count = u64::try_from(stranded.len()).unwrap_or(u64::MAX);
    for id in stranded {
        drop(queue.release(id));
    }
    Ok(count)
}

/// All forwarders of a fleet: one per route, and one per session for what is pinned to it.
pub fn forwarders(fleet: &Fleet, view: &View, stop: &CancellationToken) -> Vec<Forwarder> {
    let forwarder = |lane: String, to: &[SessionId]| {
        let targets = to
            .iter()
            .filter_map(|id| Some(Target::new(id.clone(), view.session(id)?.uplink.clone())));
        Forwarder::new(view.queue.clone(), lane, targets.collect(), stop.clone())
    };
    let routes = fleet.routes().iter().map(|route| forwarder(route_lane(route), &route.to));
    let pinned =
        fleet.sessions().map(|s| forwarder(session_lane(&s.id), std::slice::from_ref(&s.id)));
    routes.chain(pinned).collect()
}

/// One session of a lane.
struct Target {
    id: SessionId,
    uplink: Uplink,
    /// A result stays out there: it gets nothing more until that result is in.
    stalled: watch::Sender<bool>,
}

impl Target {
    fn new(id: SessionId, uplink: Uplink) -> Self {
        Self { id, uplink, stalled: watch::Sender::new(false) }
    }

    fn is_free(&self) -> bool {
        self.uplink.state.borrow().is_connected() && !*self.stalled.borrow()
    }
}

/// What became of a message given to a session.
enum News {
    /// Its end.
    Done(Outcome),
    /// No result in time; the rest of its news will come here.
    Stalled(mpsc::Receiver<Progress>),
}

/// A message on its way, and what became of it.
struct Delivery {
    order: u64,
    lease: Lease,
    target: usize,
    /// The message was given to another path meanwhile.
    elsewhere: bool,
    news: News,
}

type InFlight = FuturesUnordered<Pin<Box<dyn Future<Output = Delivery> + Send>>>;

/// Forwards one lane.
pub struct Forwarder {
    queue: Queue,
    lane: String,
    targets: Vec<Target>,
    stop: CancellationToken,
    /// Leased and not given out, by the order of their lease.
    ready: BTreeMap<u64, Lease>,
    /// How many to lease ahead, and when that was done last.
    ahead: usize,
    last_lease: Instant,
    next_order: u64,
    in_flight: InFlight,
    /// How many of those in flight still hold a place in the window.
    window: usize,
}

enum Wake {
    Stop,
    News(Box<Delivery>),
    Look,
}

impl Forwarder {
    fn new(queue: Queue, lane: String, targets: Vec<Target>, stop: CancellationToken) -> Self {
        let in_flight = FuturesUnordered::new();
        Self {
            queue,
            lane,
            targets,
            stop,
            ready: BTreeMap::new(),
            ahead: AHEAD.0,
            last_lease: Instant::now(),
            next_order: 0,
            in_flight,
            window: 0,
        }
    }

    /// Forwards until told to stop. What is not acknowledged then is leased by nobody after a restart.
    pub async fn run(mut self) {
        let mut leasable = self.queue.watch();
        loop {
            leasable.borrow_and_update();
            self.fill().await;
            match self.wake(&mut leasable).await {
                Wake::Stop => return,
                Wake::News(delivery) => self.news(*delivery),
                Wake::Look => {}
            }
        }
    }

    /// Waits for news, for a session that comes or goes, or for new messages. All arms are cancel
    /// safe, and none awaits in its body.
    async fn wake(&mut self, leasable: &mut watch::Receiver<u64>) -> Wake {
        let states = self.targets.iter().map(|target| {
            let mut state = target.uplink.state.clone();
            let connected = target.uplink.state.borrow().is_connected();
            Box::pin(async move {
                // A modem that is gone for good changes nothing any more.
                if state.wait_for(|state| state.is_connected() != connected).await.is_err() {
                    std::future::pending::<()>().await;
                }
            })
        });
        let hungry = self.ready.is_empty() && self.window < WINDOW;
        // All arms are cancel safe, and none awaits in its body.
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Wake::Stop,
            Some(delivery) = self.in_flight.next() => Wake::News(Box::new(delivery)),
            _ = select_all(states) => Wake::Look,
            changed = leasable.changed(), if hungry => match changed {
                Ok(()) => Wake::Look,
                Err(_) => Wake::Stop, // the queue was closed
            },
        }
    }

    /// Gives out what can be given out.
    async fn fill(&mut self) {
        let Some(target) = self.targets.iter().position(Target::is_free) else {
            return self.give_back();
        };
        if self.ready.len() < self.ahead / 2 {
            self.lease().await;
        }
        while self.window < WINDOW {
            let Some((order, lease)) = self.ready.pop_first() else { return };
            let Some(Target { uplink, stalled, .. }) = self.targets.get(target) else { return };
            self.window += 1;
            let delivery = deliver(order, lease, target, uplink.clone(), stalled.subscribe());
            self.in_flight.push(Box::pin(delivery));
        }
    }

    async fn lease(&mut self) {
        let stat = self.queue.stat();
        if stat.lanes.get(self.lane.as_str()).is_none_or(|lane| lane.messages == 0) {
            return;
        }
        let fast = self.last_lease.elapsed() < AHEAD_TIME;
        self.ahead = if fast { self.ahead * 2 } else { self.ahead / 2 }.clamp(AHEAD.0, AHEAD.1);
        self.last_lease = Instant::now();
        match self.queue.lease(&self.lane, self.ahead.saturating_sub(self.ready.len())).await {
            Ok(leases) => {
                for lease in leases {
                    self.next_order += 1;
                    self.ready.insert(self.next_order, lease);
                }
            }
            Err(StoreError::Closed) => {}
            Err(error) => {
                tracing::error!(
                    lane = self.lane,
                    "could not lease messages: {}",
                    modem::session::Chain(&error)
                );
                tokio::time::sleep(STORE_RETRY).await;
            }
        }
    }

    /// No path is free: the messages leased ahead go back, so that priorities and expiry hold again.
    fn give_back(&mut self) {
        for lease in std::mem::take(&mut self.ready).into_values() {
            drop(self.queue.release(lease.id));
        }
    }

    fn news(&mut self, delivery: Delivery) {
        let Delivery { order, lease, target, elsewhere, news } = delivery;
        match news {
            News::Stalled(rest) => self.stalled(order, lease, target, rest),
            News::Done(outcome) => {
                if elsewhere {
                    // The result that stayed out is in: this session gets messages again.
                    if let Some(target) = self.targets.get(target) {
                        target.stalled.send_if_modified(std::mem::take);
                    }
                } else {
                    self.window = self.window.saturating_sub(1);
                }
                self.done(order, lease, elsewhere, outcome);
            }
        }
    }

    fn done(&mut self, order: u64, lease: Lease, elsewhere: bool, outcome: Outcome) {
        match outcome {
            // The ack is on its way to the disk; if it gets lost the message is published once more.
            Outcome::Acknowledged => {
                // It may wait for another path meanwhile: the late result spares it the way.
                self.ready.retain(|_, waiting| waiting.id != lease.id);
                drop(self.queue.ack(lease.id));
            }
            Outcome::Refused(error) if !elsewhere => {
                // Its lease is kept: the lane goes on, and the message stays on disk.
                let error = modem::session::Chain(&error);
                tracing::error!(id = %lease.id, topic = lease.topic, "message set aside until the next start: {error}");
            }
            Outcome::Lost | Outcome::NotSent if !elsewhere => drop(self.ready.insert(order, lease)),
            Outcome::Refused(_) | Outcome::Lost | Outcome::NotSent => {}
        }
    }

    /// A result stays out. Where another path is free the message goes there too, with the same id.
    fn stalled(&mut self, order: u64, lease: Lease, target: usize, rest: mpsc::Receiver<Progress>) {
        let other =
            self.targets.iter().enumerate().any(|(at, other)| at != target && other.is_free());
        if other {
            if let Some(target) = self.targets.get(target) {
                tracing::warn!(id = %lease.id, session = %target.id, "no result in time; trying the next path");
                target.stalled.send_replace(true);
            }
            self.window = self.window.saturating_sub(1);
            self.ready.insert(order, lease.clone());
        }
        self.in_flight.push(Box::pin(await_end(order, lease, target, other, rest)));
    }
}

/// Gives a message to a session and waits for its end, or for its result to stay out.
async fn deliver(
    order: u64,
    lease: Lease,
    target: usize,
    uplink: Uplink,
    mut stalled: watch::Receiver<bool>,
) -> Delivery {
    let (progress, mut news) = mpsc::channel(PROGRESS);
    let mut state = uplink.state.clone();
    let given = async {
        let job = Job { message: message(&lease), progress };
        if uplink.jobs.send(job).await.is_err() {
            return Some(Progress::Done(Outcome::NotSent));
        }
        news.recv().await
    };
    // Withdrawn where the session goes down, or stalls on a message before this one: what it has begun
    // it ends with news of its own first.
    let told = tokio::select! {
        biased;
        told = given => told.unwrap_or(Progress::Done(Outcome::Lost)),
        _ = state.wait_for(|state| !state.is_connected()) => Progress::Done(Outcome::NotSent),
        _ = stalled.wait_for(|stalled| *stalled) => Progress::Done(Outcome::NotSent),
    };
    let news = match told {
        Progress::Stalled => News::Stalled(news),
        Progress::Done(outcome) => News::Done(outcome),
    };
    Delivery { order, lease, target, elsewhere: false, news }
}

async fn await_end(
    order: u64,
    lease: Lease,
    target: usize,
    elsewhere: bool,
    mut rest: mpsc::Receiver<Progress>,
) -> Delivery {
    let outcome = loop {
        match rest.recv().await {
            Some(Progress::Done(outcome)) => break outcome,
            Some(Progress::Stalled) => {}
            None => break Outcome::Lost,
        }
    };
    Delivery { order, lease, target, elsewhere, news: News::Done(outcome) }
}

fn message(lease: &Lease) -> Message {
    Message {
        topic: lease.topic.clone(),
        payload: lease.payload.clone(),
        // The queue was given one of the three.
        qos: Qos::from_number(lease.qos).unwrap_or(Qos::AtLeastOnce),
        retain: lease.retain,
    }
}
