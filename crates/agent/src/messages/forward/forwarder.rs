//! The forwarder of one lane: which message goes to which session, and what happens when none can.
//!
//! The [`Ledger`] says where each message stands and which may go next. This drives it: it asks the
//! queue, watches the sessions, and passes the time in.

mod giving;
mod storing;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use modem::session::{Chain, Outcome, Place};
use queue::Queue;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::delivery::{Delivery, News, await_end};
use super::given::{Given, Holding};
use super::ledger::{End, Landing, Ledger, Order};
use super::passed::Passed;
use super::routing::Routing;
use super::target::{Reach, Target};
use crate::metrics::Metrics;
use crate::now::Waiting;
use fleet::SessionId;
use storing::Answer;

/// How long a forwarder that ends waits for the end of what it gave out.
const LAST_NEWS: Duration = Duration::from_secs(10);

type Running<T> = FuturesUnordered<Pin<Box<dyn Future<Output = T> + Send>>>;

/// Held for a publish until the ends of all its messages are on disk.
pub(super) struct Hold {
    /// Its place in the window of its session.
    _place: Place,
    /// Its path is known to have them.
    _given: Holding,
}

/// Forwards one lane.
pub(super) struct Forwarder {
    queue: Queue,
    lane: String,
    targets: Vec<Target>,
    routing: Routing,
    /// The path that messages take now, and when to choose again.
    active: Option<usize>,
    choose_at: Option<Instant>,
    /// A path is free.
    has_path: bool,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    /// The session that has each message.
    given: Given,
    ledger: Ledger<Hold>,
    passed: Passed,
    /// The reach of each path when it was looked at last.
    reach: Vec<Option<Reach>>,
    /// When the oldest message goes out, whether or not its batch is full.
    due_at: Option<Instant>,
    /// The time of the next suspect's turn.
    turn_at: Option<Instant>,
    in_flight: Running<Delivery>,
    /// Paths on which a message is ready and waits for a place of the session's window.
    queued: BTreeMap<usize, Pin<Box<dyn Future<Output = Place> + Send>>>,
    /// Places that came and are not used yet.
    places: BTreeMap<usize, Place>,
    /// Questions to the queue that are open.
    asked: Running<Answer>,
    leases: storing::Leases,
    /// The store failed: not before this time again.
    retry_at: Option<Instant>,
    waiting: watch::Sender<Waiting>,
}

enum Wake {
    Stop,
    News(Delivery),
    Answer(Answer),
    Place(usize, Place),
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
            metrics.routes.begin(route, &paths);
        }
        Self {
            leases: storing::Leases::new(queue.watch()),
            queue,
            lane,
            reach: vec![None; targets.len()],
            targets,
            routing,
            active: None,
            choose_at: None,
            has_path: false,
            metrics,
            stop,
            given,
            ledger: Ledger::new(),
            passed: Passed::default(),
            due_at: None,
            turn_at: None,
            in_flight: Running::new(),
            queued: BTreeMap::new(),
            places: BTreeMap::new(),
            asked: Running::new(),
            retry_at: None,
            waiting: watch::Sender::new(Waiting::default()),
        }
    }

    /// The oldest messages of this lane that wait.
    pub(super) fn waiting(&self) -> watch::Receiver<Waiting> {
        self.waiting.subscribe()
    }

    /// Forwards until told to stop, and then until the end of what was given out is known: an
    /// acknowledgement that came while the agent ends counts.
    pub(super) async fn run(mut self) {
        // One that ran before may have been lost.
        drop(self.queue.look_again(&self.lane));
        while !self.stop.is_cancelled() {
            self.fill();
            self.tell_waiting();
            match self.wake().await {
                Wake::Stop => break,
                Wake::News(delivery) => {
                    self.news(delivery);
                    // Those that end together are all back in their places before the first goes out again.
                    while let Some(Some(delivery)) = self.in_flight.next().now_or_never() {
                        self.news(delivery);
                    }
                }
                Wake::Answer(answer) => self.answered(answer),
                Wake::Place(path, place) => drop(self.places.insert(path, place)),
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
        self.stop_giving();
        while let Ok(Some(delivery)) = timeout_at(deadline, self.in_flight.next()).await {
            self.news(delivery);
            self.stop_giving();
        }
        for id in self.ledger.under_way() {
            drop(self.queue.release(id));
        }
        self.queue.hurry();
        while let Ok(Some(answer)) = timeout_at(deadline, self.asked.next()).await {
            self.answered(answer);
        }
        for order in self.ledger.again() {
            self.commit(order);
        }
    }

    /// Waits for news, for a session that comes or goes, or for new messages.
    async fn wake(&mut self) -> Wake {
        let changes = self.targets.iter().map(|target| Box::pin(target.changed()));
        let (retry_at, choose_at) = (self.retry_at, self.choose_at);
        let (turn_at, check_at) = (self.turn_at, self.passed.check_at());
        let due_at = self.due_at.filter(|_| self.queued.is_empty());
        let hungry = self.is_hungry();
        // All arms are cancel safe, and none awaits in its body.
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Wake::Stop,
            Some(delivery) = self.in_flight.next() => Wake::News(delivery),
            Some(answer) = self.asked.next() => Wake::Answer(answer),
            (path, place) = first_place(&mut self.queued) => Wake::Place(path, place),
            _ = select_all(changes) => Wake::Look,
            () = until(retry_at) => Wake::Look,
            () = until(choose_at) => Wake::Look,
            () = until(due_at) => Wake::Look,
            () = until(turn_at) => Wake::Look,
            () = until(check_at) => Wake::Look,
            more = self.leases.more(), if hungry => match more {
                true => Wake::Look,
                false => Wake::Stop, // the queue was closed
            },
        }
    }

    fn news(&mut self, delivery: Delivery) {
        let Delivery { flight, news } = delivery;
        let outcome = match news {
            News::Stalled(rest) => {
                self.ledger.stalled(flight);
                self.in_flight.push(Box::pin(await_end(flight, rest)));
                return self.move_stalled();
            }
            News::Done(outcome) => outcome,
        };
        let landing = match outcome {
            Outcome::Acknowledged => Landing::Acknowledged,
            Outcome::Refused(error) => Landing::Refused(Chain(&error).to_string()),
            Outcome::Lost { by_broker: true } => Landing::Kicked,
            Outcome::Lost { by_broker: false } | Outcome::NotSent => Landing::Back,
        };
        let landed = self.ledger.landed(flight, landing, Instant::now());
        if let Some(target) = landed.came_in.and_then(|path| self.targets.get(path)) {
            // The result that stayed out is in: this session gets messages again.
            target.stalled.send_if_modified(std::mem::take);
        }
        for order in landed.ending {
            self.begin_end(order);
        }
    }

    /// Begins to write the end of a message.
    fn begin_end(&mut self, order: Order) {
        if let Some((lease, End::Aside { reason, words })) = self.ledger.end(order) {
            self.metrics.set_aside(reason);
            tracing::error!(id = %lease.id, topic = lease.topic, "a message became a dead letter, see `modemfleet queue inspect`: {words}");
        }
        self.commit(order);
    }

    /// Publishes since when messages wait.
    fn tell_waiting(&self) {
        let is_connected = self.targets.iter().any(Target::is_connected);
        let oldest = self.ledger.oldest().filter(|_| is_connected);
        let waiting = Waiting { oldest, unfit: self.passed.oldest() };
        self.waiting.send_if_modified(|told| std::mem::replace(told, waiting) != waiting);
    }
}

/// The first place that comes, and its path.
///
/// # Cancel safety
/// Those that wait keep their turn.
async fn first_place(
    queued: &mut BTreeMap<usize, Pin<Box<dyn Future<Output = Place> + Send>>>,
) -> (usize, Place) {
    let (path, place) = std::future::poll_fn(|context| {
        for (path, place) in queued.iter_mut() {
            if let std::task::Poll::Ready(place) = place.as_mut().poll(context) {
                return std::task::Poll::Ready((*path, place));
            }
        }
        std::task::Poll::Pending
    })
    .await;
    queued.remove(&path);
    (path, place)
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
