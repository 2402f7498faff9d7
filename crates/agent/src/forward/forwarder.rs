//! The forwarder of one lane: which message goes to which session, and what happens when none can.

mod setback;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::select_all;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use modem::session::{Chain, Outcome};
use queue::{Lease, MessageId, Queue, StoreError};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::batch::{Gathered, flaw, gather};
use super::delivery::{Delivery, News, deliver};
use super::given::{Given, Holding};
use super::parcel::Parcel;
use super::routing::{Choice, Path, Routing};
use super::target::Target;
use crate::config::{SessionId, check_name};
use crate::metrics::{Metrics, SwitchCause};

/// Messages of one lane handed to a session at a time: the one on its way and the next.
const WINDOW: usize = 2;

/// Messages leased ahead, so that the modem never waits for the disk: as many as were used up within
/// [`AHEAD_TIME`], between these bounds. Those that are leased no longer make way for a higher priority.
const AHEAD: (usize, usize) = (2, 64);

/// How long the messages leased ahead should last.
const AHEAD_TIME: Duration = Duration::from_millis(50);

/// How long to wait after the store failed to hand out messages.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// How long a forwarder that ends waits for the end of what it gave out.
const LAST_NEWS: Duration = Duration::from_secs(10);

/// Distance of two messages in the order, with room for one that is sent by other paths too.
const ORDER_STEP: u64 = 16;

/// A message under which sessions were closed by their broker.
#[derive(Debug, Default)]
struct Suspicion {
    losses: u32,
    /// For each session that was lost under it, by its place in the lane: the session's count of
    /// acknowledgements at that loss.
    seen: HashMap<usize, u64>,
}

/// A message that a broker has, and that is still in the queue.
struct Taken {
    id: MessageId,
    /// The session whose broker has it.
    path: Arc<str>,
    /// It is known to be there until its end is recorded.
    _given: Arc<Holding>,
}

type Acks =
    FuturesUnordered<Pin<Box<dyn Future<Output = (Taken, Result<bool, StoreError>)> + Send>>>;

type InFlight = FuturesUnordered<Pin<Box<dyn Future<Output = Delivery> + Send>>>;

/// Forwards one lane.
pub(super) struct Forwarder {
    queue: Queue,
    lane: String,
    targets: Vec<Target>,
    routing: Routing,
    /// The path that messages take now, and when to choose again.
    active: Option<usize>,
    choose_at: Option<Instant>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    /// The session that has each message.
    given: Given,
    /// Leased and not given out, by the order of their lease.
    ready: BTreeMap<u64, Lease>,
    /// Suspected messages wait here until another one was acknowledged.
    suspects: BTreeMap<u64, Lease>,
    suspicions: HashMap<MessageId, Suspicion>,
    /// Messages that are published in a batch of their own.
    alone: HashSet<MessageId>,
    /// When the oldest message goes out, whether or not its batch is full.
    due_at: Option<Instant>,
    /// Messages that fit none of the paths that are free now, but may fit another.
    unfit: BTreeMap<u64, Lease>,
    /// How many to lease ahead, and when that was done last.
    ahead: usize,
    last_lease: Instant,
    /// The store failed: not before this time again.
    retry_at: Option<Instant>,
    next_order: u64,
    in_flight: InFlight,
    /// Acks on their way to the disk, and those that the disk refused.
    acks: Acks,
    unacked: Vec<Taken>,
    /// Those in flight and when they were handed in, by their order.
    under_way: BTreeMap<u64, (Vec<MessageId>, SystemTime)>,
    /// Messages whose result stays out and that no other path could take, by their order.
    stuck: BTreeMap<u64, (usize, Parcel)>,
    /// Messages that went to another path while a result was out.
    moved: Vec<u64>,
    /// How many of those in flight hold a place in the window.
    window: usize,
    /// When the oldest message was handed in that a connected session of this lane could carry.
    waiting: watch::Sender<Option<SystemTime>>,
}

enum Wake {
    Stop,
    News(Box<Delivery>),
    Acked(Taken, Result<bool, StoreError>),
    Look,
}

impl Forwarder {
    pub(super) fn new(
        queue: Queue,
        lane: String,
        targets: Vec<Target>,
        routing: Routing,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
        given: Given,
    ) -> Self {
        if let Some(route) = &routing.label {
            let paths: Vec<&SessionId> = targets.iter().map(|target| &target.id).collect();
            metrics.route(route, &paths);
        }
        Self {
            queue,
            lane,
            targets,
            routing,
            active: None,
            choose_at: None,
            metrics,
            stop,
            given,
            ready: BTreeMap::new(),
            suspects: BTreeMap::new(),
            suspicions: HashMap::new(),
            alone: HashSet::new(),
            due_at: None,
            unfit: BTreeMap::new(),
            ahead: AHEAD.0,
            last_lease: Instant::now(),
            retry_at: None,
            next_order: 0,
            in_flight: FuturesUnordered::new(),
            acks: FuturesUnordered::new(),
            unacked: Vec::new(),
            under_way: BTreeMap::new(),
            stuck: BTreeMap::new(),
            moved: Vec::new(),
            window: 0,
            waiting: watch::Sender::new(None),
        }
    }

    /// When the oldest message was handed in that a connected session of this lane could carry.
    pub(super) fn waiting(&self) -> watch::Receiver<Option<SystemTime>> {
        self.waiting.subscribe()
    }

    /// Forwards until told to stop, and then until the end of what was given out is known: an
    /// acknowledgement that came while the agent ends counts.
    pub(super) async fn run(mut self) {
        let mut leasable = self.queue.watch();
        while !self.stop.is_cancelled() {
            leasable.borrow_and_update();
            self.fill().await;
            self.tell_waiting();
            match self.wake(&mut leasable).await {
                Wake::Stop => break,
                Wake::News(delivery) => {
                    self.news(*delivery);
                    // Those that end together are all back in their places before the first goes out again.
                    while let Some(Some(delivery)) = self.in_flight.next().now_or_never() {
                        self.news(delivery);
                    }
                }
                Wake::Acked(taken, done) => self.ack_ended(taken, done),
                Wake::Look => {}
            }
        }
        self.finish().await;
    }

    /// Sees what was given out to its end, and gives the rest back, so that another forwarder may take
    /// it. A result that stays out is not waited for longer than [`LAST_NEWS`]: its message is given back
    /// too, and published once more.
    async fn finish(&mut self) {
        let deadline = Instant::now() + LAST_NEWS;
        self.ready.append(&mut self.suspects);
        self.give_back();
        while let Ok(Some(delivery)) = timeout_at(deadline, self.in_flight.next()).await {
            self.news(delivery);
            self.ready.append(&mut self.suspects);
            self.give_back();
        }
        for (ids, _) in std::mem::take(&mut self.under_way).into_values() {
            for id in ids {
                drop(self.queue.release(id));
            }
        }
        for Taken { id, path, .. } in std::mem::take(&mut self.unacked) {
            drop(self.queue.ack(id, &path));
        }
    }

    /// Waits for news, for a session that comes or goes, or for new messages.
    async fn wake(&mut self, leasable: &mut watch::Receiver<u64>) -> Wake {
        let changes = self.targets.iter().map(|target| Box::pin(target.changed()));
        let hungry = self.window < WINDOW && self.ready.len() < self.wanted();
        let (retry_at, choose_at) = (self.retry_at, self.choose_at);
        let due_at = self.due_at.filter(|_| self.window < WINDOW);
        // All arms are cancel safe, and none awaits in its body.
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Wake::Stop,
            Some(delivery) = self.in_flight.next() => Wake::News(Box::new(delivery)),
            Some((taken, done)) = self.acks.next() => Wake::Acked(taken, done),
            _ = select_all(changes) => Wake::Look,
            () = until(retry_at) => Wake::Look,
            () = until(choose_at) => Wake::Look,
            () = until(due_at) => Wake::Look,
            changed = leasable.changed(), if hungry && retry_at.is_none() => match changed {
                Ok(()) => Wake::Look,
                Err(_) => Wake::Stop, // the queue was closed
            },
        }
    }

    /// Gives out what can be given out.
    async fn fill(&mut self) {
        if self.retry_at.is_some_and(|at| at <= Instant::now()) {
            self.retry_at = None;
            for taken in std::mem::take(&mut self.unacked) {
                self.ack(taken);
            }
        }
        self.move_stuck();
        let Some(target) = self.choose() else { return self.give_back() };
        let mut tried_again = false;
        loop {
            // Those that are too large for now hold up nobody, until they are as many as may be held at all.
            if self.ready.len() < self.wanted() && self.unfit.len() < AHEAD.1 {
                self.lease().await;
            }
            if self.ready.is_empty() && self.window == 0 {
                // Nothing else is there, nor on its way, that could clear or condemn them.
                self.ready.append(&mut self.suspects);
            }
            if !std::mem::replace(&mut tried_again, true) {
                self.ready.append(&mut self.unfit);
            }
            if self.ready.is_empty() {
                self.due_at = None;
            }
            if self.ready.is_empty() || self.window >= WINDOW {
                return;
            }
            let (before, mut some) = (self.window, false);
            while self.window < WINDOW {
                let Some(parcel) = self.next_parcel(target) else { break };
                some = true;
                self.give(parcel, target);
            }
            // Where all were too large for now, those behind them may not be.
            if self.window > before || !some {
                return;
            }
        }
    }

    /// Below so many that are ready, more are leased.
    fn wanted(&self) -> usize {
        let batched = self.routing.batch.as_ref().map_or(0, |batch| batch.max_messages);
        batched.max(self.ahead / 2).max(1)
    }

    /// What goes out next by this path; where that waits for its batch to fill, `due_at` says how long.
    fn next_parcel(&mut self, target: usize) -> Option<Parcel> {
        let Some(batch) = &self.routing.batch else {
            let (order, lease) = self.ready.pop_first()?;
            return Some(Parcel::single(order, lease, None));
        };
        let most = self.targets.get(target).map_or(usize::MAX, Target::max_payload);
        let limit = batch.max_bytes.min(most);
        let is_due = self.due_at.is_some_and(|at| at <= Instant::now());
        let now = SystemTime::now();
        let orders = match gather(batch, limit, &self.ready, &self.alone, is_due, now) {
            Gathered::Now(orders) => orders,
            Gathered::Later(left) => {
                let at = Instant::now() + left;
                // Never later than it was once said: the clock may be set meanwhile.
                self.due_at = Some(self.due_at.map_or(at, |due| due.min(at)));
                return None;
            }
            Gathered::Nothing => {
                self.due_at = None;
                return None;
            }
        };
        self.due_at = None;
        let mut members = orders.into_iter().filter_map(|at| self.ready.remove_entry(&at));
        let (order, first) = members.next()?;
        let rest = members.collect();
        Some(Parcel::of(order, first, rest, self.routing.batch.as_ref()))
    }

    /// Gives a message to the path, or to the next free one that is large enough for it and whose SIM's
    /// budget lets it through.
    fn give(&mut self, parcel: Parcel, preferred: usize) {
        let fits = |at: &usize| self.fits(*at, &parcel);
        // The preferred one was free before the lease, which may have taken its time.
        let is_free = |at: &usize| self.targets.get(*at).is_some_and(Target::is_free);
        let takes = |at: &usize| is_free(at) && self.lets_through(*at, &parcel) && fits(at);
        let others = (0..self.targets.len()).filter(|at| *at != preferred);
        let Some(target) = std::iter::once(preferred).chain(others).find(takes) else {
            return self.not_given(parcel, preferred);
        };
        let Some(Target { id, path, uplink, stalled, vars, .. }) = self.targets.get(target) else {
            return;
        };
        let topic = self.routing.topic_of(&parcel.first, id, vars);
        if let Err(fault) = check_name(&topic) {
            let words = format!("its topic by the route {fault}");
            parcel.leases().for_each(|lease| self.set_aside(lease, "refused", &words));
            return;
        }
        let (uplink, stalled) = (uplink.clone(), stalled.subscribe());
        self.window += 1;
        let ids: Vec<MessageId> = parcel.leases().map(|lease| lease.id).collect();
        let given = self.given.note(ids.iter().copied(), path);
        self.under_way.insert(parcel.order, (ids, parcel.first.appended_at));
        let delivery = deliver(parcel, topic, target, uplink, self.routing.stall, stalled, given);
        self.in_flight.push(Box::pin(delivery));
    }

    /// No path that is free takes it.
    fn not_given(&mut self, parcel: Parcel, preferred: usize) {
        if !parcel.rest.is_empty() {
            // Each by itself may find one.
            for (order, lease) in parcel.into_members() {
                let parcel = Parcel::single(order, lease, self.routing.batch.as_ref());
                self.give(parcel, preferred);
            }
            return;
        }
        if parcel.priority() < self.floor() {
            // Not leased again before a budget lets it through.
            drop(self.queue.release(parcel.first.id));
        } else if (0..self.targets.len()).any(|at| self.fits(at, &parcel)) {
            // Its path is down, or its SIM's budget used up: it waits, and holds up nobody.
            self.unfit.insert(parcel.order, parcel.first);
        } else {
            let rooms: BTreeSet<_> = self.targets.iter().filter_map(Target::room).collect();
            let rooms = rooms.into_iter().collect::<Vec<_>>().join(", or ");
            let payload = parcel.payload().len();
            let words = format!(
                "its payload of {payload} bytes, or its topic, fits no path: they take {rooms}"
            );
            self.set_aside(&parcel.first, "refused", &words);
        }
    }

    fn lets_through(&self, target: usize, parcel: &Parcel) -> bool {
        self.targets.get(target).is_some_and(|target| target.floor() <= parcel.priority())
    }

    /// The least priority that one of the free paths lets through.
    fn floor(&self) -> u8 {
        let free = self.targets.iter().filter(|target| target.is_free());
        free.map(Target::floor).min().unwrap_or(0)
    }

    fn fits(&self, target: usize, parcel: &Parcel) -> bool {
        self.targets.get(target).is_some_and(|target| {
            let topic = self.routing.topic_of(&parcel.first, &target.id, &target.vars);
            target.may_take(&topic, parcel.payload())
        })
    }

    /// The path to take now; tells the metrics where it is another.
    fn choose(&mut self) -> Option<usize> {
        let now = Instant::now();
        let paths: Vec<Path> = self.targets.iter_mut().map(|target| target.look(now)).collect();
        let Choice { path, again } = self.routing.choose(&paths, self.active, now);
        self.choose_at = again;
        let chosen = path?;
        if self.active != Some(chosen) {
            self.tell_switch(chosen);
            self.active = Some(chosen);
        }
        Some(chosen)
    }

    fn tell_switch(&self, chosen: usize) {
        let (Some(route), Some(to)) = (&self.routing.label, self.targets.get(chosen)) else {
            return;
        };
        let from = self.active.and_then(|at| self.targets.get(at));
        let cause = from.map(|from| match (from.is_connected(), from.is_stalled()) {
            (false, _) => SwitchCause::Down,
            (true, true) => SwitchCause::Stalled,
            (true, false) if from.floor() > to.floor() => SwitchCause::Budget,
            (true, false) => SwitchCause::FailBack,
        });
        if let (Some(from), Some(cause)) = (from, cause) {
            let cause = cause.as_str();
            tracing::info!(route, from = %from.id, to = %to.id, cause, "another path");
        }
        self.metrics.route_switched(route, from.map(|from| &from.id), &to.id, cause);
    }

    async fn lease(&mut self) {
        if self.retry_at.is_some() {
            return;
        }
        let stat = self.queue.stat();
        if stat.lanes.get(self.lane.as_str()).is_none_or(|lane| lane.messages == 0) {
            return;
        }
        let fast = self.last_lease.elapsed() < AHEAD_TIME;
        // A batch for each place in the window.
        let batches = self.routing.batch.as_ref().map_or(0, |batch| WINDOW * batch.max_messages);
        let (least, most) = (AHEAD.0.max(batches), AHEAD.1.max(batches));
        self.ahead = if fast { self.ahead * 2 } else { self.ahead / 2 }.clamp(least, most);
        self.last_lease = Instant::now();
        let room = self.ahead.saturating_sub(self.ready.len());
        match self.queue.lease_from(&self.lane, room, self.floor()).await {
            Ok(leases) => {
                for lease in leases {
                    self.leased(lease);
                }
            }
            Err(StoreError::Closed) => {}
            Err(error) => {
                tracing::error!(lane = self.lane, "could not lease messages: {}", Chain(&error));
                self.retry_at = Some(Instant::now() + STORE_RETRY);
            }
        }
    }

    fn leased(&mut self, lease: Lease) {
        let flaw = |batch| flaw(batch, &lease.payload);
        // Hand-in refuses such a message; this one was there before its route made batches.
        if let Some(flaw) = self.routing.batch.as_ref().and_then(flaw) {
            return self.set_aside(&lease, "refused", &format!("its payload {flaw}"));
        }
        self.next_order += ORDER_STEP;
        self.ready.insert(self.next_order, lease);
    }

    /// No path is free: the messages leased ahead go back, so that priorities and expiry hold again.
    fn give_back(&mut self) {
        self.due_at = None;
        self.ready.append(&mut self.unfit);
        for lease in std::mem::take(&mut self.ready).into_values() {
            drop(self.queue.release(lease.id));
        }
    }

    /// What a session of this lane could carry now, and since when it waits.
    fn tell_waiting(&self) {
        let held = self.ready.values().chain(self.suspects.values()).map(|lease| lease.appended_at);
        let oldest = held.chain(self.under_way.values().map(|(_, at)| *at)).min();
        let connected = self.targets.iter().any(Target::is_connected);
        let waiting = oldest.filter(|_| connected);
        self.waiting.send_if_modified(|told| std::mem::replace(told, waiting) != waiting);
    }

    fn news(&mut self, delivery: Delivery) {
        let Delivery { parcel, target, given, news } = delivery;
        let outcome = match news {
            News::Stalled(rest) => return self.stalled(parcel, target, rest, given),
            News::Done(outcome) => outcome,
        };
        let order = parcel.order;
        self.under_way.remove(&order);
        self.stuck.remove(&order);
        let moved = self.moved.iter().position(|moved| *moved == order);
        if let Some(at) = moved {
            self.moved.swap_remove(at);
            // The result that stayed out is in: this session gets messages again.
            if let Some(target) = self.targets.get(target) {
                target.stalled.send_if_modified(std::mem::take);
            }
        } else {
            self.window = self.window.saturating_sub(1);
        }
        if let Outcome::Acknowledged = outcome {
            let given = Arc::new(given);
            parcel.leases().for_each(|lease| self.acknowledged(lease, target, &given));
        } else if moved.is_none() {
            self.failed(parcel, target, outcome);
        }
    }

    fn acknowledged(&mut self, lease: &Lease, target: usize, given: &Arc<Holding>) {
        let Some(target) = self.targets.get_mut(target) else { return };
        target.acknowledged += 1;
        let (path, given) = (Arc::clone(&target.path), Arc::clone(given));
        self.suspicions.remove(&lease.id);
        self.alone.remove(&lease.id);
        self.ready.append(&mut self.suspects);
        // It may wait for another path meanwhile: the late result spares it the way.
        for waiting in [&mut self.ready, &mut self.unfit] {
            waiting.retain(|_, waiting| waiting.id != lease.id);
        }
        self.ack(Taken { id: lease.id, path, _given: given });
    }

    /// Sends an ack on its way to the disk; if the agent dies before it is there, the message is
    /// published once more.
    fn ack(&mut self, taken: Taken) {
        let ack = self.queue.ack(taken.id, &taken.path);
        self.acks.push(Box::pin(async move { (taken, ack.await) }));
    }

    /// An ack that the disk refused is tried again: the broker has the message.
    fn ack_ended(&mut self, taken: Taken, done: Result<bool, StoreError>) {
        if let Err(error) = done
            && !matches!(error, StoreError::Closed)
        {
            tracing::error!(id = %taken.id, "could not remove a delivered message; trying again: {}", Chain(&error));
            self.unacked.push(taken);
            self.retry_at = Some(Instant::now() + STORE_RETRY);
        }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
