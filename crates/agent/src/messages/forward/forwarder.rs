//! The forwarder of one lane: gives each message to a session, and records its end.
//!
//! Three values have the state: the [`Ledger`] of the messages, the [`Paths`] of the sessions, and the [`LaneQueue`] of
//! the questions to the queue. This drives them and passes the time in.

mod giving;
mod storing;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use modem::session::{Chain, Outcome, Place};
use queue::Queue;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::delivery::{Delivery, News, await_end};
use super::given::{Given, Holding};
use super::lane_queue::{Answer, LaneQueue, QueueEvent};
use super::ledger::{Landing, Ledger};
use super::paths::Paths;
use super::places::Places;
use super::routing::Routing;
use super::target::Target;
use crate::metrics::Metrics;
use crate::now::Waiting;
use fleet::SessionId;

/// The longest that a forwarder that ends waits for the results of its publishes.
const LAST_NEWS: Duration = Duration::from_secs(10);

/// Held for a publish until the ends of all its messages are on disk.
struct Hold {
    /// Its place in the window of its session.
    _place: Place,
    /// Its path is known to have them.
    _given: Holding,
}

/// Forwards one lane.
pub(super) struct Forwarder {
    queue: LaneQueue,
    ledger: Ledger<Hold>,
    paths: Paths,
    places: Places,
    in_flight: FuturesUnordered<Pin<Box<dyn Future<Output = Delivery> + Send>>>,
    /// The time at which the oldest message goes out, whether or not its batch is full.
    due_at: Option<Instant>,
    /// The time of the next suspect's turn.
    turn_at: Option<Instant>,
    /// The session that has each message, for others.
    given: Given,
    waiting: watch::Sender<Waiting>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
}

enum Wake {
    Stop,
    News(Delivery),
    Answer(Answer),
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
            queue: LaneQueue::new(queue, lane),
            ledger: Ledger::new(),
            paths: Paths::new(targets, routing),
            places: Places::default(),
            in_flight: FuturesUnordered::new(),
            due_at: None,
            turn_at: None,
            given,
            waiting: watch::Sender::new(Waiting::default()),
            metrics,
            stop,
        }
    }

    /// The oldest messages of this lane that wait.
    pub(super) fn waiting(&self) -> watch::Receiver<Waiting> {
        self.waiting.subscribe()
    }

    /// Forwards until it is asked to stop, and then until the results of its publishes are in: an
    /// acknowledgement that comes while the agent ends counts.
    pub(super) async fn run(mut self) {
        // An earlier forwarder of the lane may have been lost.
        self.queue.look_again();
        while !self.stop.is_cancelled() {
            self.fill();
            self.publish_waiting();
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
                Wake::Look => {}
            }
        }
        self.finish().await;
    }

    /// Waits for the results of its publishes, and gives all other messages back, so that another forwarder may take
    /// them. A result that stays out is not waited for longer than [`LAST_NEWS`]: its message is given back
    /// too, and published once more.
    async fn finish(&mut self) {
        let deadline = Instant::now() + LAST_NEWS;
        self.stop_giving();
        while let Ok(Some(delivery)) = timeout_at(deadline, self.in_flight.next()).await {
            self.news(delivery);
            self.stop_giving();
        }
        for id in self.ledger.under_way() {
            self.queue.release(id);
        }
        self.queue.hurry();
        while let Ok(Some(answer)) = timeout_at(deadline, self.queue.answer()).await {
            self.answered(answer);
        }
        for order in self.ledger.again() {
            self.commit(order);
        }
    }

    /// Waits for news, for a session that comes or goes, or for new messages.
    async fn wake(&mut self) -> Wake {
        let changed = self.paths.changed();
        let (retry_at, choose_at) = (self.queue.retry_at(), self.paths.choose_at());
        let (turn_at, check_at) = (self.turn_at, self.queue.passed().check_at());
        let due_at = self.due_at.filter(|_| !self.places.is_waiting());
        let is_hungry = self.is_hungry();
        // All arms are cancel safe, and none awaits in its body.
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Wake::Stop,
            Some(delivery) = self.in_flight.next() => Wake::News(delivery),
            event = self.queue.event(is_hungry) => match event {
                QueueEvent::Answer(answer) => Wake::Answer(answer),
                QueueEvent::More => Wake::Look,
                QueueEvent::Closed => Wake::Stop,
            },
            () = self.places.come() => Wake::Look,
            () = changed => Wake::Look,
            () = until(retry_at) => Wake::Look,
            () = until(choose_at) => Wake::Look,
            () = until(due_at) => Wake::Look,
            () = until(turn_at) => Wake::Look,
            () = until(check_at) => Wake::Look,
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
        if let Some(target) = landed.came_in.and_then(|path| self.paths.get(path)) {
            // This session gets messages again.
            target.is_late.send_if_modified(std::mem::take);
        }
        for order in landed.ending {
            self.begin_end(order);
        }
    }

    /// Publishes the times since which messages wait.
    fn publish_waiting(&self) {
        let is_connected = self.paths.iter().any(Target::is_connected);
        let oldest = self.ledger.oldest().filter(|_| is_connected);
        let waiting = Waiting { oldest, unfit: self.queue.passed().oldest() };
        self.waiting.send_if_modified(|last| std::mem::replace(last, waiting) != waiting);
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
